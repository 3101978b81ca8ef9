"""Official checkpoints of every layout, gathered from their files under our names.

Layouts: A hub release (no base LLM), B full ``save_pretrained``, C training checkpoint ``.pth``, D ``.pt`` and the
exported folder, E a BEATs file alone. Strict: what is missing, unexpected or contradictory is an error that names it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from naturelm_audio.errors import CheckpointError
from naturelm_audio.layouts import (
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
from naturelm_audio.model import BeatsConfig
from naturelm_audio.sources import Source, local_path, locate
from naturelm_audio.tensors import (
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
)
from naturelm_audio.unpickle import load_pickle, plain

logger = logging.getLogger(__name__)

LLAMA_HINT = ", or pass a local folder of the base language model with --llama-path (llama= in Python)"
_EXPORT = "model_config.yaml"
_BIAS_TABLE = "audio_tower.encoder.relative_attention_bias.weight"


@dataclass(frozen=True)
class Checkpoint:
    """An opened official checkpoint: tensors by official names, and what its settings say."""

    arguments: Arguments
    weights: Weights
    folder: Path
    files: tuple[Path, ...] = field(default=())


@dataclass(frozen=True)
class BeatsFile:
    """A BEATs encoder alone: tensors under our names."""

    config: BeatsConfig
    weights: Weights
    files: tuple[Path, ...]


# --- opening ----------------------------------------------------------------------------------------------------


def open_checkpoint(path: Path, arguments: Mapping[str, Any] | None = None) -> Checkpoint | BeatsFile:
    """Return the official checkpoint at ``path``, a file or folder, in whichever layout it is.

    Args:
        path: a folder, or a ``.safetensors``, ``.pth`` or ``.pt`` file.
        arguments: the official constructor's arguments if they are not beside the weights.

    Raises:
        CheckpointError: no layout is recognised, or its settings are missing or not supported.
    """
    file = _weights_file(path) if path.is_dir() else path
    if file.suffix in PICKLE_SUFFIXES:
        content = load_pickle(file)
        if isinstance(content, dict) and "cfg" in content:
            return _beats_file(content, file)
        weights = stored_tensors(model_entry(content, file), file)
        own_settings = plain(content.get("config")) if isinstance(content, dict) else None
    else:
        weights, own_settings = open_weights(path), None
    read = _arguments_beside(file, arguments, own_settings)
    return Checkpoint(read, weights, file.parent, tuple(sorted({stored.path for stored in weights.values()})))


def _weights_file(folder: Path) -> Path:
    """Return the file of a folder that holds its weights (or the first thing that leads to them)."""
    if has_weights(folder):
        return next(
            path
            for path in sorted(folder.iterdir())
            if path.name.startswith(("model.saf", "pytorch_model.bin"))
        )
    if (folder / _EXPORT).is_file() and (folder / "model.pt").is_file():
        return folder / "model.pt"
    found = sorted(path for path in folder.iterdir() if path.suffix in (".pt", ".pth"))
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{folder}: {len(found)} checkpoints here ({shown(p.name for p in found)}): name one file"
        )
    raise CheckpointError(
        f"{folder}: no checkpoint here; looked for model.safetensors, model.pt with {_EXPORT}, and one .pth or .pt file"
    )


def _arguments_beside(file: Path, given: Mapping[str, Any] | None, stored: Any) -> Arguments:  # noqa: ANN401
    """Return the settings: given ones, else those beside the file, else those a training checkpoint carries."""
    if given:
        return read_arguments(given, file, yaml=True)
    config, export = file.parent / "config.json", file.parent / _EXPORT
    if config.is_file():
        return read_arguments(read_json(config), config)
    if export.is_file():
        return read_arguments(_read_yaml(export), export, yaml=True)
    if isinstance(stored, dict) and isinstance(stored.get("model"), dict):
        return read_arguments(stored["model"], file, yaml=True)
    raise CheckpointError(
        f"{file}: the model's settings are not in this file; put its config.json or {_EXPORT} beside it, or pass "
        "--cfg-path with the YAML file that it was trained with"
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
    return BeatsFile(beats_config(given, path, predictor=predictor), found, (path,))


# --- the audio half ---------------------------------------------------------------------------------------------


def audio_tensors(checkpoint: Checkpoint) -> dict[str, Stored]:
    """Return the encoder's and bridge's tensors under our names, from the checkpoint and the files it names.

    Raises:
        CheckpointError: a file that must supply them is missing, or they contradict each other.
    """
    found = translate(checkpoint.weights, known_llm=False)
    arguments, folder = checkpoint.arguments, checkpoint.folder
    tower = {name for name in found if name.startswith(AUDIO_PARTS[0])}
    if not tower - {_BIAS_TABLE}:
        _merge(found, _frozen_encoder(arguments, folder))
    if not any(name.startswith("bridge.projection.") for name in found):
        source = _named_file(arguments["audio_llama_proj_model"], folder, "audio_llama_proj.pt")
        if source is not None:
            _merge(found, _projection(source))
    if not arguments["beats_cfg"].get("finetuned_model", True) or not {
        f"{PREDICTOR}weight",
        f"{PREDICTOR}bias",
    } <= set(found):
        found = {name: stored for name, stored in found.items() if not name.startswith(PREDICTOR)}
    return found


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
            f"{folder}: the checkpoint holds no audio encoder (it was frozen in training) and its settings name no "
            "beats_path; put the BEATs file it was trained with beside it as beats.pt"
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


# --- the language model -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """The base language model's folder, its configuration, and its own tensors where they are needed."""

    source: Source
    config: PreTrainedConfig
    files: tuple[Path, ...] = ()

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
    weights = not _llm_names(checkpoint.weights)
    source = locate(name, beside=None if llama else checkpoint.folder, weights=weights, hint=LLAMA_HINT)
    return Base(source, text_config(source.path))


def text_config(folder: Path) -> PreTrainedConfig:
    """Return the configuration of the language model in a folder.

    Raises:
        CheckpointError: there is none, or of an unknown kind.
    """
    read_json(folder / "config.json")  # says clearly if it is missing or damaged
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: not the configuration of a language model: {error}") from None


def llm_tensors(checkpoint: Checkpoint, base: Base) -> tuple[dict[str, Stored], int]:
    """Return the LLM's tensors under our names and its vocabulary's size, base weights from either place.

    Raises:
        CheckpointError: some but not all base tensors, another base model, or aliases that differ.
    """
    names = {
        name: stored
        for name, stored in checkpoint.weights.items()
        if (to_ours(name) or "").startswith("language_model.")
    }
    found = translate(names, tied=base.tied)
    adapters = {name for name in found if ".lora_" in name}
    aliases = {EMBEDDING, HEAD} if base.tied else {EMBEDDING}
    opened = _base_tensors(base, required=not set(found) - adapters - aliases)
    embedding = found.get(EMBEDDING) or opened.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{checkpoint.folder}: no embedding table in the checkpoint or its base model")
    rows = embedding.shape[0]
    _check_same_base(embedding, opened.get(EMBEDDING), int(base.config.vocab_size), base)
    if not set(found) - adapters - aliases:
        for name, stored in opened.items():
            found.setdefault(name, stored)
        if HEAD in found and not base.tied:
            found[HEAD] = with_pad_row(found[HEAD], rows)
    return found, rows


def _llm_names(weights: Weights) -> list[str]:
    """Return the base LLM's tensors in a checkpoint, adapters and embedding aliases apart."""
    ours = {name: to_ours(name) or "" for name in weights}
    return [n for n, o in ours.items() if o.startswith("language_model.model.layers.") and ".lora_" not in o]


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


def _check_same_base(ours: Stored, base: Stored | None, base_rows: int, opened: Base) -> None:
    """Check by the embedding tables that the checkpoint was trained on this base model, up to the added pad row."""
    rows = base.shape[0] if base is not None else base_rows
    where = f"{opened.source.path}: this is not the base model of {ours.path}"
    if ours.shape[0] not in (rows, rows + 1):
        raise CheckpointError(
            f"{where}: {rows} rows in its embedding table, {ours.shape[0]} in the checkpoint's"
        )
    if base is None or base is ours:
        return
    if base.shape[1] != ours.shape[1]:
        raise CheckpointError(f"{where}: its width is {base.shape[1]}, the checkpoint's {ours.shape[1]}")
    if not equal(base.read(), ours.read()[:rows]):
        raise CheckpointError(f"{where}: their embedding tables differ{LLAMA_HINT}")


def with_pad_row(head: Stored, rows: int) -> Stored:
    """Return an output head with a row for the added pad token that is never chosen.

    The row is the mean of the others, so its logit is the mean of all logits and never the largest.
    """
    if head.shape[0] != rows - 1:
        return head

    def read() -> Tensor:
        table = head.read()
        return torch.cat([table, table.float().mean(dim=0, keepdim=True).to(table.dtype)])

    return Stored(head.name, head.path, (rows, *head.shape[1:]), read)
