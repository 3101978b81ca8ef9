"""Waveforms -> vectors of the audio encoder, pooled over what was really heard; no language model.

Levels: ``encoder`` is BEATs' output, the mean of its eight frequency bands at every step of 0.16 s;
``qformer`` is what the Q-Former makes of every third of a second; ``tokens`` is that in the width of the
language model, which hears nothing else. Clips are padded with zeros as in training, but vectors of padding
are left out: a mean is the mean of what lies in the recording. A clip's vectors don't depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from naturelm_audio.checkpoint import AudioEncoder
from naturelm_audio.decoders import FloatArray
from naturelm_audio.errors import NatureLMError, OptionsError
from naturelm_audio.model.config import (
    FRAME_HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    filterbank_frames,
    padded_samples,
)

__all__ = ["LEVELS", "POOLINGS", "Embedder"]

LEVELS = ("encoder", "qformer", "tokens")
POOLINGS = ("mean", "frames")
CPU_BATCH = 8
ACCELERATOR_BATCH = 64


class Embedder:
    """Makes vectors with one encoder.

    Args:
        tower: from :func:`naturelm_audio.load_audio_tower`.
        level: one of LEVELS.
        pooling: ``mean``, one vector per clip, or ``frames``, one per step of time.
        batch_size: clips at once; None chooses by device.

    Raises:
        OptionsError: no such level or pooling, a batch size below 1, or a level that these weights lack.
    """

    def __init__(
        self,
        tower: AudioEncoder,
        *,
        level: str = "encoder",
        pooling: str = "mean",
        batch_size: int | None = None,
    ) -> None:
        for value, known, name in ((level, LEVELS, "level"), (pooling, POOLINGS, "pooling")):
            if value not in known:
                raise OptionsError(f"--{name} must be one of {', '.join(known)}, not {value!r}")
        if level != "encoder" and tower.bridge is None:
            raise OptionsError(f"--level {level} needs a Q-Former; these weights are a BEATs encoder alone")
        self.tower, self.level, self.pooling = tower, level, pooling
        self.device = next(tower.parameters()).device
        if batch_size is None:
            batch_size = CPU_BATCH if self.device.type == "cpu" else ACCELERATOR_BATCH
        if batch_size < 1:
            raise OptionsError(f"--batch-size must be at least 1, not {batch_size}")
        self.batch_size = batch_size
        bridge: Any = tower.bridge
        patch, bands = tower.config.input_patch_size, tower.config.frequency_bands
        self._patch_samples = patch * FRAME_HOP_SAMPLES / bands  # eight patches share a step of 2560 samples
        self._bands = bands
        self._stride, self._size, self._queries = bands, bands, 1
        if level != "encoder":
            self._stride, self._size = bridge.config.stride_patches, bridge.config.window_patches
            self._queries = bridge.config.num_query_tokens

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        bridge: Any = self.tower.bridge
        if self.level == "encoder":
            return int(self.tower.config.encoder_embed_dim)
        return int(bridge.config.hidden_size if self.level == "qformer" else bridge.projection.out_features)

    @property
    def dtype(self) -> str:
        """Number format of the weights."""
        return str(next(self.tower.parameters()).dtype).removeprefix("torch.")

    @property
    def max_seconds(self) -> float:
        """The longest clip that is heard at once."""
        return float(self.tower.padded_lengths_seconds[-1])

    def embed(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Return float32 (rows, width) of each mono 16 kHz waveform (samples,): one row, or one per frame.

        Raises:
            ValueError: an empty clip or one longer than ``max_seconds``.
            NatureLMError: a batch doesn't fit into memory.
        """
        lengths = [padded_samples(len(one), self.tower.padded_lengths_seconds) for one in waveforms]
        results: dict[int, FloatArray] = {}
        for length in sorted(set(lengths)):
            places = [place for place, own in enumerate(lengths) if own == length]
            for first in range(0, len(places), self.batch_size):
                batch = places[first : first + self.batch_size]
                clips = np.zeros((len(batch), length), np.float32)
                for row, place in enumerate(batch):
                    clip = waveforms[place][:length]
                    clips[row, : len(clip)] = clip
                frames = [self._frames_heard(len(waveforms[place]), length) for place in batch]
                results.update(zip(batch, self._embed_batch(clips, frames), strict=True))
        return [results[place] for place in range(len(waveforms))]

    def spans(self, samples: int) -> list[tuple[float, float]]:
        """Return start and end of each row of a clip of so many samples, in seconds of it.

        Raises:
            ValueError: an empty clip or one longer than ``max_seconds``.
        """
        whole = samples / SAMPLE_RATE_HZ
        if self.pooling == "mean":
            return [(0.0, whole)]
        length = padded_samples(samples, self.tower.padded_lengths_seconds)
        heard = self._frames_heard(samples, length) // self._queries
        step, size = self._stride * self._patch_samples, self._size * self._patch_samples
        spans = [
            (frame * step / SAMPLE_RATE_HZ, min((frame * step + size) / SAMPLE_RATE_HZ, whole))
            for frame in range(heard)
        ]
        return [span for span in spans for _ in range(self._queries)]

    def _frames_heard(self, samples: int, length: int) -> int:
        """How many of the vectors of a padded clip begin in its sound; at least the first."""
        patches = filterbank_frames(length) // self.tower.config.input_patch_size * self._bands
        frames = (patches - self._size) // self._stride + 1
        begun = -(-samples // (self._stride * self._patch_samples))
        return int(max(1, min(frames, begun))) * self._queries

    @torch.inference_mode()
    def _embed_batch(self, clips: FloatArray, frames: Sequence[int]) -> list[FloatArray]:
        try:
            vectors = self._vectors(torch.from_numpy(clips).to(self.device)).float()  # (B, F, D)
            if self.pooling == "mean":
                counts = torch.tensor(frames, device=vectors.device)
                heard = torch.arange(vectors.shape[1], device=vectors.device) < counts[:, None]  # (B, F)
                means = (vectors * heard[:, :, None]).sum(dim=1) / counts[:, None]
                return list(means[:, None].cpu().numpy())
            found = vectors.cpu().numpy()
        except torch.OutOfMemoryError:
            raise NatureLMError(
                f"out of memory with {len(clips)} windows at once: give a smaller --batch-size"
            ) from None
        return [one[:count].copy() for one, count in zip(found, frames, strict=True)]

    def _vectors(self, waveforms: Tensor) -> Tensor:
        """All vectors (B, F, D) of padded clips (B, N)."""
        if self.level == "tokens":
            return self.tower.encode_tokens(waveforms)
        if self.level == "qformer":
            return self.tower.query_outputs(waveforms).flatten(1, 2)
        return self.tower(waveforms).unflatten(1, (-1, self._bands)).mean(dim=2)
