"""Loading and saving the model: the one place that picks device and dtype, and the only one that reads weights.

Reads our own layout and every official one (see :mod:`naturelm_audio.official`), always strictly: a tensor that is
missing, unexpected or of the wrong shape is an error that names it, and nothing is ever left at random values.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig
from transformers.tokenization_utils_base import AddedToken

from naturelm_audio import layouts, official, prompts
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import NatureLMConfig, NatureLMForConditionalGeneration
from naturelm_audio.placement import resolve_device, resolve_dtype
from naturelm_audio.saving import PAD_TOKEN, save_model, save_official
from naturelm_audio.sources import Source, locate
from naturelm_audio.tensors import Stored, Weights, fingerprint, open_weights, read_json, shown, weight_files

logger = logging.getLogger(__name__)

__all__ = ["Provenance", "load_model", "save_model", "save_official"]


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
    """Everything that is needed to build a model, nothing of it read yet."""

    config: NatureLMConfig
    weights: Weights
    tokenizer: Any
    eos_token_ids: list[int]
    files: tuple[Path, ...]


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
        arguments: the official constructor's arguments, for a weights file without settings beside it.
        revision: branch, tag or commit of a hub id.

    Raises:
        CheckpointError: weights, configuration or tokenizer are missing, incomplete or of another model.
        OptionsError: an unknown or unavailable device or dtype.
    """
    target = resolve_device(device)
    source = locate(name_or_path, revision=revision)
    if _is_ours(source.path):
        if llama is not None:
            logger.warning("%s: has its own language model; llama=%s is not used", source.name, llama)
        parts = _own_parts(source)
    else:
        parts = _official_parts(source, llama, arguments, qformer_heads)
    number_format = resolve_dtype(dtype, target, sum(_elements(stored) for stored in parts.weights.values()))
    model = _build(parts, target, number_format)
    model.provenance = Provenance(source.name, source.revision, fingerprint(parts.files), source.path)
    return model


def _elements(stored: Stored) -> int:
    return torch.Size(stored.shape).numel()


def _is_ours(path: Path) -> bool:
    config = (path if path.is_dir() else path.parent) / "config.json"
    return config.is_file() and read_json(config).get("model_type") == NatureLMConfig.model_type


def _own_parts(source: Source) -> _Parts:
    folder = source.path if source.path.is_dir() else source.path.parent
    try:
        config = NatureLMConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None
    tokenizer = prepare_tokenizer(folder, config)
    files = (source.path,) if source.path.is_file() else tuple(weight_files(folder))
    weights = {name: stored for file in files for name, stored in open_weights(file).items()}
    return _Parts(config, weights, tokenizer, eos_token_ids(folder, config, tokenizer), files)


def _official_parts(
    source: Source, llama: str | Path | None, arguments: Mapping[str, Any] | None, heads: int
) -> _Parts:
    checkpoint = official.open_checkpoint(source.path, arguments)
    if isinstance(checkpoint, official.BeatsFile):
        raise CheckpointError(
            f"{source.path}: an audio encoder alone, without a language model; load_audio_tower reads it"
        )
    base = official.open_base(checkpoint, llama)
    found = official.audio_tensors(checkpoint)
    language, rows = official.llm_tensors(checkpoint, base)
    found |= language
    base.config.vocab_size = rows
    config = layouts.model_config(checkpoint.arguments, base.config, found, heads)
    tokenizer = prepare_tokenizer(base.source.path, config)
    files = sorted({stored.path for stored in found.values()})
    return _Parts(config, found, tokenizer, eos_token_ids(base.source.path, config, tokenizer), tuple(files))


# --- tokenizer --------------------------------------------------------------------------------------------------


def prepare_tokenizer(folder: Path, config: NatureLMConfig) -> Any:  # noqa: ANN401  (transformers has no one type)
    """Return the tokenizer of a local folder with the tokens that every loading path needs, and set its ids.

    The pad token of training, ``[PAD]``, is added where the embedding table has a row for it; ``<AudioHere>``
    always (its id may lie behind the table: the model replaces it before embedding). Padding is on the left with
    the end token. ``config.audio_token_id`` is set, or checked where the tokenizer already has the token.

    Raises:
        CheckpointError: no tokenizer there, or not the model's.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: no usable tokenizer here: {error}") from None
    rows = int(config.text_config.vocab_size)
    vocabulary = tokenizer.get_vocab()
    if PAD_TOKEN not in vocabulary and prompts.AUDIO_TOKEN not in vocabulary and len(tokenizer) < rows:
        tokenizer.add_tokens([AddedToken(PAD_TOKEN, special=True, normalized=False)], special_tokens=True)
    if prompts.AUDIO_TOKEN not in vocabulary:
        tokenizer.add_tokens(
            [AddedToken(prompts.AUDIO_TOKEN, special=True, normalized=False)], special_tokens=True
        )
    config.audio_token_id = tokenizer.convert_tokens_to_ids(prompts.AUDIO_TOKEN)
    outside = [t for t, i in tokenizer.get_vocab().items() if i >= rows and t != prompts.AUDIO_TOKEN]
    if outside:
        raise CheckpointError(
            f"{folder}: not this model's tokenizer: {len(outside)} tokens have no row in the embedding table of {rows}: "
            f"{shown(sorted(outside))}"
        )
    _check_special_tokens(tokenizer, config, folder)
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    return tokenizer


def _check_special_tokens(tokenizer: Any, config: NatureLMConfig, folder: Path) -> None:  # noqa: ANN401
    for name in ("bos_token", "eos_token"):
        if getattr(tokenizer, name) is None:
            raise CheckpointError(f"{folder}: the tokenizer has no {name}, which the prompt needs")
    ids = tokenizer(config.end_symbol, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise CheckpointError(
            f"{folder}: the end symbol {config.end_symbol!r} (end_sym) is not one token of this tokenizer; "
            "wrong tokenizer, or a wrong end_sym in the model's settings"
        )


def eos_token_ids(folder: Path, config: NatureLMConfig, tokenizer: Any) -> list[int]:  # noqa: ANN401
    """Return every id that ends an answer: those of the base model's generation settings and the end symbol."""
    path = folder / "generation_config.json"
    ids = read_json(path).get("eos_token_id") if path.is_file() else None
    if ids is None:
        ids = config.text_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    end_symbol = tokenizer(config.end_symbol, add_special_tokens=False).input_ids
    return sorted({*(ids if isinstance(ids, list | tuple) else [ids]), *end_symbol})


# --- building ---------------------------------------------------------------------------------------------------


def _build(parts: _Parts, device: torch.device, dtype: torch.dtype) -> NatureLMForConditionalGeneration:
    """Return the model with these weights; they go straight from the files to the device."""
    check_complete(parts)
    placement = {} if device.type == "cpu" else {"device_map": {"": device}}
    model, report = NatureLMForConditionalGeneration.from_pretrained(
        None,
        config=parts.config,
        state_dict={name: stored.read() for name, stored in parts.weights.items()},
        dtype=dtype,
        output_loading_info=True,
        **placement,
    )
    problems = {
        kind: report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]
    }
    if problems:
        raise CheckpointError(f"{parts.files[0]}: weights don't fit the model: {problems}")
    tokenizer = parts.tokenizer
    model.tokenizer = tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=parts.eos_token_ids,
        pad_token_id=tokenizer.eos_token_id,
        do_sample=False,
    )
    return model.eval()


def check_complete(parts: _Parts) -> None:
    """Check that the files hold exactly the model's tensors, in its shapes.

    Raises:
        CheckpointError: naming the first few that are missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        skeleton = NatureLMForConditionalGeneration(parts.config)
    expected = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    if parts.config.text_config.tie_word_embeddings:
        expected.pop(layouts.HEAD, None)
    compare(expected, parts.weights, parts.files)


def compare(expected: Mapping[str, tuple[int, ...]], weights: Weights, files: tuple[Path, ...]) -> None:
    """Check names and shapes of opened tensors.

    Raises:
        CheckpointError: naming the first few that are missing, unexpected or of another shape.
    """
    missing = [name for name in expected if name not in weights]
    unexpected = [stored.name for name, stored in weights.items() if name not in expected]
    wrong = [
        f"{stored.name} {list(stored.shape)} instead of {list(expected[name])}"
        for name, stored in weights.items()
        if name in expected and stored.shape != expected[name]
    ]
    found = [
        f"{len(names)} {kind}: {shown(names)}"
        for kind, names in (
            ("missing tensors", missing),
            ("unexpected tensors", unexpected),
            ("tensors of the wrong shape", wrong),
        )
        if names
    ]
    if found:
        raise CheckpointError(f"{shown(files)}: {'; '.join(found)}")
