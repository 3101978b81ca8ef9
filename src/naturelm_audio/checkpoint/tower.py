"""The audio half alone, for embeddings: encoder and bridge without the language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from naturelm_audio.checkpoint import layouts, official
from naturelm_audio.checkpoint.loading import Provenance
from naturelm_audio.checkpoint.placement import resolve_device, resolve_dtype
from naturelm_audio.checkpoint.sources import locate
from naturelm_audio.checkpoint.tensors import (
    Weights,
    check_complete,
    elements,
    fingerprint,
    open_weights,
    shapes_of,
)
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import BeatsConfig, BeatsModel, Bridge, BridgeConfig, NatureLMConfig

_RELEASE_LLM_WIDTH = 4096
_RELEASE_LENGTHS_SECONDS = (10.0,)


class AudioEncoder(nn.Module):
    """Encoder and bridge; ``bridge`` is None where the weights were a BEATs file alone.

    ``padded_lengths_seconds`` are the clips that the weights know, ``provenance`` says whose these are.

    Symbols: B clips, N samples, P patches, C encoder width, W windows, n queries each, D the LLM's width.
    """

    def __init__(
        self,
        config: BeatsConfig,
        bridge_config: BridgeConfig | None = None,
        llm_width: int = _RELEASE_LLM_WIDTH,
        padded_lengths_seconds: tuple[float, ...] = _RELEASE_LENGTHS_SECONDS,
    ) -> None:
        super().__init__()
        self.config = config
        self.padded_lengths_seconds = padded_lengths_seconds
        self.provenance: Provenance | None = None
        self.audio_tower = BeatsModel(config)
        width = config.encoder_embed_dim
        self.bridge = None if bridge_config is None else Bridge(bridge_config, width, llm_width)

    def forward(self, waveform: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return patch vectors (B, P, C) of ``waveform`` (B, N), float32 at 16 kHz in [-1, 1].

        Args:
            waveform: samples; the weights know clips of 10 s, padded with zeros at the end.
            padding_mask: (B, N) bool, True where a sample is padding; without it padding is heard, as usual.

        Raises:
            ValueError: too few samples for one time step, or a mask of another shape.
        """
        patches: Tensor = self.audio_tower(waveform, padding_mask)
        return patches

    encode = forward

    def query_outputs(self, waveform: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return Q-Former outputs (B, W, n, Q) of ``waveform`` (B, N), before the projection.

        Raises:
            CheckpointError: there is no bridge.
            ValueError: too few samples for one window (less than 0.495 s).
        """
        return self._require_bridge().query_outputs(self(waveform, padding_mask))

    def encode_tokens(self, waveform: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Return what the language model gets of ``waveform`` (B, N): vectors (B, W * n, D).

        Raises:
            CheckpointError: there is no bridge.
            ValueError: too few samples for one window (less than 0.495 s).
        """
        tokens: Tensor = self._require_bridge()(self(waveform, padding_mask))
        return tokens

    def _require_bridge(self) -> Bridge:
        if self.bridge is None:
            raise CheckpointError(
                "these weights are a BEATs encoder alone: it gives patches, no audio tokens"
            )
        return self.bridge


def load_audio_tower(
    name_or_path: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    qformer_heads: int = layouts.QFORMER_HEADS,
    arguments: Mapping[str, Any] | None = None,
    revision: str | None = None,
) -> AudioEncoder:
    """Return encoder and bridge in evaluation mode on their device; no tensor of the language model is read.

    Args:
        name_or_path: as in :func:`load_model`, or a BEATs ``.pt`` file.
        device: as in :func:`load_model`.
        dtype: as in :func:`load_model`.
        qformer_heads: as in :func:`load_model`.
        arguments: as in :func:`load_model`.
        revision: as in :func:`load_model`.

    Raises:
        CheckpointError: weights or configuration are missing, incomplete or of another model.
        OptionsError: an unknown or unavailable device or dtype.
    """
    target = resolve_device(device)
    source = locate(name_or_path, revision=revision)
    if layouts.is_ours(source.path):
        skeleton, weights = _own(source.path)
    else:
        skeleton, weights = _official(source.path, arguments, qformer_heads)
    check_complete(shapes_of(skeleton), weights, source.path, layouts.to_official)
    number_format = resolve_dtype(dtype, target, elements(weights))
    state = {name: stored.read().to(target, number_format) for name, stored in weights.items()}
    skeleton.load_state_dict(state, strict=True, assign=True)
    files = sorted({stored.path for stored in weights.values()})
    skeleton.provenance = Provenance(source.name, source.revision, fingerprint(files), source.path)
    return skeleton.eval().requires_grad_(False)


def random_audio_tower(
    config: NatureLMConfig | None = None, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> AudioEncoder:
    """Return an encoder and bridge with random weights, by default of the release's sizes, for benchmarks."""
    config = config or NatureLMConfig(text_config={"hidden_size": _RELEASE_LLM_WIDTH})
    with torch.device(device):
        tower = _skeleton(config)
    with torch.no_grad():
        convolution = tower.audio_tower.encoder.pos_conv
        nn.init.normal_(convolution.weight_v, std=0.02)
        if tower.bridge is not None:
            nn.init.normal_(tower.bridge.query_tokens, std=0.02)
    return tower.to(dtype).eval().requires_grad_(False)


def _skeleton(config: NatureLMConfig) -> AudioEncoder:
    parts: Any = config  # its parts are objects after construction, whatever their annotation allows
    lengths = tuple(parts.padded_lengths_seconds)
    return AudioEncoder(parts.audio_config, parts.bridge_config, parts.text_config.hidden_size, lengths)


def _own(path: Path) -> tuple[AudioEncoder, Weights]:
    folder = path if path.is_dir() else path.parent
    config = layouts.own_config(folder)
    with torch.device("meta"):
        skeleton = _skeleton(config)
    weights = open_weights(path)
    return skeleton, {name: one for name, one in weights.items() if name.startswith(layouts.AUDIO_PARTS)}


def _official(path: Path, arguments: Mapping[str, Any] | None, heads: int) -> tuple[AudioEncoder, Weights]:
    opened = official.open_checkpoint(path, arguments)
    if isinstance(opened, official.BeatsFile):
        with torch.device("meta"):
            return AudioEncoder(opened.config), opened.weights
    found = official.audio_tensors(opened)
    audio, bridge = layouts.audio_configs(opened.arguments, found, heads)
    projection = found.get("bridge.projection.weight")
    width = _RELEASE_LLM_WIDTH if projection is None else projection.shape[0]
    with torch.device("meta"):
        return AudioEncoder(audio, bridge, width), found


__all__ = ["AudioEncoder", "load_audio_tower", "random_audio_tower"]
