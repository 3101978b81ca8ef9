"""The one place that builds a model from files: what it is made of is found first, then read once."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from naturelm_audio.checkpoint import layouts, official
from naturelm_audio.checkpoint.adapters import read_adapter
from naturelm_audio.checkpoint.placement import resolve_device, resolve_dtype
from naturelm_audio.checkpoint.sources import Source, locate
from naturelm_audio.checkpoint.tensors import (
    Weights,
    check_complete,
    elements,
    fingerprint,
    open_weights,
    shapes_of,
)
from naturelm_audio.checkpoint.tokens import eos_token_ids, prepare_tokenizer
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import NatureLMConfig, NatureLMForConditionalGeneration

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """Which weights a model has: for result files, caches and servers.

    ``weights_fingerprint`` is a hash of the weights files; two equal ones give the same answers.
    """

    model_name: str
    model_revision: str | None
    weights_fingerprint: str
    source: Path


@dataclass(frozen=True)
class _Parts:
    """Everything that a model is built from; of the weights only names and shapes are read yet."""

    source: Source
    config: NatureLMConfig
    weights: Weights
    tokenizer: Any
    eos_token_ids: list[int]


def load_model(
    name_or_path: str | Path | None = None,
    *,
    llama: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    qformer_heads: int = layouts.QFORMER_HEADS,
    arguments: Mapping[str, Any] | None = None,
    revision: str | None = None,
) -> NatureLMForConditionalGeneration:
    """Return a model in evaluation mode on its device, with ``.tokenizer`` and ``.provenance``.

    Args:
        name_or_path: ``"naturelm-tiny"`` or None for the bundled model, a local folder or file, or a hub id.
        llama: folder or hub id of the base language model, for checkpoints that come without it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16``, ``float16`` (or ``fp32``, ``bf16``, ``fp16``).
        qformer_heads: of official checkpoints, which don't say it.
        arguments: the official constructor's arguments, used for weights without settings beside them.
        revision: branch, tag or commit of a hub id.

    Raises:
        CheckpointError: weights, configuration or tokenizer are missing, incomplete or of another model.
        OptionsError: an unknown or unavailable device or dtype.
    """
    target = resolve_device(device)
    source = locate(name_or_path, revision=revision)
    if layouts.is_ours(source.path):
        if llama is not None:
            logger.warning("%s has its own language model; %s is not used", source.name, llama)
        parts = _own_parts(source)
    else:
        parts = _official_parts(source, llama, arguments, qformer_heads)
    number_format = resolve_dtype(dtype, target, elements(parts.weights))
    model = _build(parts, target, number_format)
    files = sorted({stored.path for stored in parts.weights.values()})
    model.provenance = Provenance(source.name, source.revision, fingerprint(files), source.path)
    return model


def _own_parts(source: Source) -> _Parts:
    folder = source.path if source.path.is_dir() else source.path.parent
    config = layouts.own_config(folder)
    tokenizer = prepare_tokenizer(folder, config)
    weights = open_weights(source.path)
    _check(config, weights, source.path)
    return _Parts(source, config, weights, tokenizer, eos_token_ids(folder, config, tokenizer))


def _official_parts(
    source: Source, llama: str | Path | None, arguments: Mapping[str, Any] | None, heads: int
) -> _Parts:
    checkpoint = official.open_checkpoint(source.path, arguments)
    if isinstance(checkpoint, official.BeatsFile):
        raise CheckpointError(
            f"{source.path}: an audio encoder alone, without a language model; load_audio_tower reads it"
        )
    base = official.open_base(checkpoint, llama)
    language, base.config.vocab_size = official.llm_tensors(checkpoint, base)
    found = official.audio_tensors(checkpoint) | language
    config = layouts.model_config(checkpoint.arguments, base.config, found, heads)
    _check(config, found, source.path, partial(layouts.to_official, lora=config.lora_rank > 0))
    tokenizer = prepare_tokenizer(base.source.path, config)
    return _Parts(source, config, found, tokenizer, eos_token_ids(base.source.path, config, tokenizer))


def _check(config: NatureLMConfig, weights: Weights, path: Path, named: Callable[[str], str] = str) -> None:
    """Check the opened tensors against the model's, which is built without memory for it."""
    with torch.device("meta"):
        skeleton = NatureLMForConditionalGeneration(config)
    expected = shapes_of(skeleton)
    text: Any = config.text_config
    if text.tie_word_embeddings:
        expected.pop(layouts.HEAD, None)
    check_complete(expected, weights, path, named)


def _build(parts: _Parts, device: torch.device, dtype: torch.dtype) -> NatureLMForConditionalGeneration:
    """Return the model with these weights; they go straight from the files to the device."""
    placement: dict[str, Any] = {} if device.type == "cpu" else {"device_map": {"": device}}
    loaded: Any = NatureLMForConditionalGeneration.from_pretrained(
        None,
        config=parts.config,
        state_dict={name: stored.read() for name, stored in parts.weights.items()},
        dtype=dtype,
        output_loading_info=True,
        **placement,
    )
    model: NatureLMForConditionalGeneration = loaded[0]
    problems = {kind: names for kind, names in loaded[1].items() if names}
    if problems:
        raise CheckpointError(f"{parts.source.path}: the weights don't fit the model: {problems}")
    generation: Any = GenerationConfig
    model.generation_config = generation(
        bos_token_id=parts.tokenizer.bos_token_id,
        eos_token_id=parts.eos_token_ids,
        pad_token_id=parts.tokenizer.eos_token_id,
        do_sample=False,
    )
    model.tokenizer = parts.tokenizer
    return model.eval()


def load_adapter(model: NatureLMForConditionalGeneration, folder: str | Path) -> None:
    """Load a PEFT adapter folder into ``model``, replacing adapters that it has.

    Args:
        model: one of ours; it gets adapters if it has none.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``, of LoRA on the attention
            projections of the language model.

    Raises:
        CheckpointError: files are missing, or the adapter is of another kind, rank or model.
    """
    path = Path(folder).expanduser()
    read_adapter(model, path)
    if model.provenance is not None:
        both = model.provenance.weights_fingerprint + fingerprint([path / "adapter_model.safetensors"])
        model.provenance = dataclasses.replace(
            model.provenance,
            model_name=f"{model.provenance.model_name}+{path.name}",
            weights_fingerprint=hashlib.sha256(both.encode()).hexdigest(),
        )
