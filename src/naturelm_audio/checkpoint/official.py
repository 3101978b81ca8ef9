"""Official checkpoints of every layout, gathered from their files under our names.

Layouts: A hub release (no base LLM), B full ``save_pretrained``, C training checkpoint ``.pth``, D ``.pt``
and the exported folder, E a BEATs file alone. What is missing, unexpected or contradictory is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers import AutoConfig

from naturelm_audio.checkpoint.layouts import (
    AUDIO_PARTS,
    EMBEDDING,
    HEAD,
    PREDICTOR,
    Arguments,
    beats_config,
    check_alias,
    read_arguments,
    to_ours,
    translate,
)
from naturelm_audio.checkpoint.sources import Source, local_path, locate
from naturelm_audio.checkpoint.tensors import (
    PICKLE_SUFFIXES,
    Stored,
    Weights,
    equal,
    has_weights,
    model_entry,
    open_weights,
    prefixed,
    read_json,
    shown,
    stored_tensors,
    weight_files,
)
from naturelm_audio.checkpoint.unpickle import load_pickle, plain
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import BeatsConfig

logger = logging.getLogger(__name__)

LLAMA_HINT = ", or pass a local folder of the base language model with --llama-path (llama= in Python)"
_EXPORT = "model_config.yaml"
_BIAS_TABLE = "audio_tower.encoder.relative_attention_bias.weight"


@dataclass(frozen=True)
class Checkpoint:
    """An opened official checkpoint: tensors by official names, and what its settings say."""

    arguments: Arguments
    weights: Weights
    path: Path

    @property
    def folder(self) -> Path:
        """Where relative paths of the settings are looked for first."""
        return self.path if self.path.is_dir() else self.path.parent

    def part(self, *, llm: bool) -> dict[str, Stored]:
        """Return the language model's tensors, or all others (unknown names included)."""
        return {
            name: stored
            for name, stored in self.weights.items()
            if (to_ours(name) or "").startswith("language_model.") is llm
        }


@dataclass(frozen=True)
class BeatsFile:
    """A BEATs encoder alone: tensors under our names."""

    config: BeatsConfig
    weights: Weights


# --- opening ---


def open_checkpoint(path: Path, arguments: Mapping[str, Any] | None = None) -> Checkpoint | BeatsFile:
    """Return the official checkpoint at ``path``, a file or folder, in whichever layout it is.

    Args:
        path: a folder, or a ``.safetensors``, ``.pth`` or ``.pt`` file.
        arguments: the official constructor's arguments, used if there are none beside the weights.

    Raises:
        CheckpointError: no layout is recognised, or its settings are missing or not supported.
    """
    file = _weights_file(path) if path.is_dir() else path
    if file.suffix not in PICKLE_SUFFIXES:
        return Checkpoint(_arguments_for(file, arguments, None), open_weights(path), path)
    content = load_pickle(file)
    if isinstance(content, dict) and "cfg" in content:
        return _beats_file(content, file)
    weights = stored_tensors(model_entry(content, file), file)
    return Checkpoint(_arguments_for(file, arguments, plain(content.get("config"))), weights, path)


def _weights_file(folder: Path) -> Path:
    """Return the file of a folder that holds its weights, or its first shard."""
    if has_weights(folder):
        return weight_files(folder)[0]
    if (folder / _EXPORT).is_file() and (folder / "model.pt").is_file():
        return folder / "model.pt"
    found = sorted(path for path in folder.iterdir() if path.suffix in (".pt", ".pth"))
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{folder}: {len(found)} checkpoints here: name one of {shown(p.name for p in found)}"
        )
    raise CheckpointError(
        f"{folder}: no model here; looked for model.safetensors (or its shards), model.pt with {_EXPORT}, "
        "and one .pth or .pt file"
    )


def _arguments_for(file: Path, given: Mapping[str, Any] | None, stored: Any) -> Arguments:
    """Return the settings beside the file, else given ones, else those in a training file."""
    config, export = file.parent / "config.json", file.parent / _EXPORT
    if config.is_file():
        return read_arguments(read_json(config), config)
    if export.is_file():
        return read_arguments(_read_yaml(export), export, yaml=True)
    if given:
        return read_arguments(given, file, yaml=True)
    if isinstance(stored, dict) and isinstance(stored.get("model"), dict):
        return read_arguments(stored["model"], file, yaml=True)
    raise CheckpointError(
        f"{file}: the model's settings are not in this file: put its config.json or {_EXPORT} beside it, or "
        "name the YAML file that it was trained with (--cfg-path, arguments= in Python)"
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: can't be read as YAML: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a list of settings")
    section = content.get("model", content)
    return section if isinstance(section, dict) else content


def _beats_file(content: dict[str, Any], path: Path) -> BeatsFile:
    given = plain(content["cfg"])
    if not isinstance(given, dict):
        raise CheckpointError(f'{path}: "cfg" of a BEATs file must be a dict of settings')
    state = model_entry({"model": content.get("model")}, path)
    found = translate(prefixed(stored_tensors(state, path), "beats."))
    predictor = any(name.startswith(PREDICTOR) for name in found)
    return BeatsFile(beats_config(given, path, predictor=predictor), found)


# --- the audio half ---


def audio_tensors(checkpoint: Checkpoint) -> dict[str, Stored]:
    """Return the encoder's and bridge's tensors under our names, from the checkpoint and the files it names.

    Raises:
        CheckpointError: a file that must supply them is missing, or they contradict each other.
    """
    found = translate(checkpoint.part(llm=False))
    arguments, folder = checkpoint.arguments, checkpoint.folder
    tower = {name for name in found if name.startswith(AUDIO_PARTS[0])}
    if not tower - {_BIAS_TABLE}:
        _merge(found, _frozen_encoder(arguments, folder))
    if not any(name.startswith("bridge.projection.") for name in found):
        source = _named_file(arguments["audio_llama_proj_model"], folder, "audio_llama_proj.pt")
        if source is not None:
            _merge(found, _projection(source))
    if not _has_predictor(arguments, found):
        found = {name: stored for name, stored in found.items() if not name.startswith(PREDICTOR)}
    return found


def _has_predictor(arguments: Arguments, found: Weights) -> bool:
    """Return whether the encoder has its tagger: the tensors may be there unused, or be left out."""
    given = arguments["beats_cfg"]
    config = beats_config(given, arguments.path, yaml=arguments.yaml)
    return config.finetuned_model and any(name.startswith(PREDICTOR) for name in found)


def _merge(found: dict[str, Stored], more: Weights) -> None:
    for name, stored in more.items():
        if name in found:
            check_alias(found[name], stored)
        found.setdefault(name, stored)


def _frozen_encoder(arguments: Arguments, folder: Path) -> Weights:
    """Return the tensors of the BEATs file: a training checkpoint with a frozen encoder doesn't hold them."""
    path = _named_file(arguments["beats_path"], folder, "beats.pt")
    if path is None:
        raise CheckpointError(
            f"{folder}: the checkpoint holds no audio encoder (it was frozen in training) and its settings "
            "name no beats_path: put the BEATs file that it was trained with beside it as beats.pt"
        )
    opened = load_pickle(path)
    if not isinstance(opened, dict) or "cfg" not in opened:
        raise CheckpointError(f'{path}: not a BEATs file; expected {{"cfg": ..., "model": ...}}')
    return _beats_file(opened, path).weights


def _projection(path: Path) -> Weights:
    opened = open_weights(path)
    prefix = "audio_llama_proj."
    full = opened if any(name.startswith(prefix) for name in opened) else prefixed(opened, prefix)
    if set(full) != {f"{prefix}weight", f"{prefix}bias"}:
        raise CheckpointError(f"{path}: expected the tensors weight and bias, found {shown(sorted(opened))}")
    return translate(full)


def _named_file(name: str | None, folder: Path, beside: str) -> Path | None:
    """Return the file that a setting names, else the one that the official export puts beside the weights."""
    found = local_path(name, beside=folder) if name else None
    if found is None and (folder / beside).is_file():
        found = folder / beside
    if found is None and name:
        raise CheckpointError(f"{name}: no such file; looked in {folder} and in the working directory")
    return found


# --- the language model ---


@dataclass(frozen=True)
class Base:
    """The base language model's folder and its configuration."""

    source: Source
    config: Any

    @property
    def tied(self) -> bool:
        """Whether its output head is its embedding."""
        return bool(self.config.tie_word_embeddings)


def open_base(checkpoint: Checkpoint, llama: str | Path | None) -> Base:
    """Return the base language model that the user names, or else the checkpoint's settings.

    Raises:
        CheckpointError: it is nowhere, not accessible, or not a language model.
    """
    name = llama or checkpoint.arguments["llama_path"]
    if not name:
        raise CheckpointError(f"{checkpoint.arguments.path}: llama_path is missing{LLAMA_HINT}")
    needed = not any(".layers." in name and ".lora_" not in name for name in checkpoint.part(llm=True))
    beside = None if llama else checkpoint.folder
    source = locate(name, beside=beside, weights=needed, hint=LLAMA_HINT)
    return Base(source, read_text_config(source.path))


def read_text_config(folder: Path) -> Any:
    """Return the configuration of the language model in a local folder, without the folder's path.

    Raises:
        CheckpointError: it is missing, damaged, or of no language model.
    """
    read_json(folder / "config.json")  # says clearly if it is missing or damaged
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: not the configuration of a language model: {error}") from None
    config._name_or_path = ""  # else saved folders would hold this machine's paths
    return config


def llm_tensors(checkpoint: Checkpoint, base: Base) -> tuple[dict[str, Stored], int]:
    """Return the LLM's tensors under our names and its vocabulary's size, base weights from either place.

    Raises:
        CheckpointError: another base model, adapters of another rank, or aliases that differ.
    """
    found = translate(checkpoint.part(llm=True), tied=base.tied)
    _check_rank(found, checkpoint.arguments)
    aliases = {EMBEDDING, HEAD} if base.tied else {EMBEDDING}
    complete = any(".lora_" not in name and name not in aliases for name in found)
    opened = _base_tensors(base, required=not complete)
    embedding = found.get(EMBEDDING) or opened.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(
            f"{checkpoint.path}: no embedding table, neither here nor in {base.source.path}"
        )
    _check_same_base(embedding, opened.get(EMBEDDING), base)
    rows = embedding.shape[0]
    if (
        not complete
    ):  # some of the base's tensors but not all: the comparison with the model names the missing
        found = opened | found
        if HEAD in found:
            found[HEAD] = with_pad_row(found[HEAD], rows)
    return found, rows


def _check_rank(found: Weights, arguments: Arguments) -> None:
    first = next((stored for name, stored in found.items() if name.endswith(".lora_A.weight")), None)
    if first is not None and first.shape[:1] != (arguments.lora_rank,):
        setting = f"lora_rank is {arguments.lora_rank}" if arguments.lora_rank else "lora is false"
        raise CheckpointError(
            f"{first.path}: adapters of rank {first.shape[0]}, but {setting} in {arguments.path}"
        )


def _base_tensors(base: Base, *, required: bool) -> dict[str, Stored]:
    folder = base.source.path
    if not required and not (folder.is_dir() and has_weights(folder)):
        return {}
    opened = prefixed(open_weights(folder), "language_model.")
    kept = {name: stored for name, stored in opened.items() if not name.endswith("rotary_emb.inv_freq")}
    if base.tied and HEAD in kept:
        if EMBEDDING in kept:
            check_alias(kept[EMBEDDING], kept[HEAD])
        kept.setdefault(EMBEDDING, kept[HEAD])
        del kept[HEAD]
    return kept


def _check_same_base(ours: Stored, base: Stored | None, opened: Base) -> None:
    """Check by the embedding tables that this is the base model, up to the added pad row."""
    rows = base.shape[0] if base is not None else int(opened.config.vocab_size)
    where = f"{opened.source.path}: not the base model of {ours.path}"
    if ours.shape[0] not in (rows, rows + 1):
        raise CheckpointError(
            f"{where}: {rows} rows in its embedding table, {ours.shape[0]} in the checkpoint's"
        )
    if base is None or base is ours:
        return
    if base.shape[1:] != ours.shape[1:]:
        raise CheckpointError(
            f"{where}: vectors of {base.shape[1]} numbers, {ours.shape[1]} in the checkpoint"
        )
    if not equal(base.read(), ours.read()[:rows], rounded=True):
        raise CheckpointError(f"{where}: the common rows of their embedding tables differ")


def with_pad_row(head: Stored, rows: int) -> Stored:
    """Return an output head with a row for the added pad token that is never chosen.

    The row is the mean of the others, so its logit is the mean of all logits and never the largest.
    """
    if head.shape[0] != rows - 1:
        return head

    def read() -> Tensor:
        table = head.read()
        return torch.cat([table, table.mean(dim=0, keepdim=True, dtype=torch.float32).to(table.dtype)])

    return Stored(head.name, head.path, (rows, *head.shape[1:]), read)
