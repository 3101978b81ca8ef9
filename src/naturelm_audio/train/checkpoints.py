"""Checkpoints of a run: folders of plain tensors and JSON that appear as a whole, the last few and the best.

``checkpoint-N`` holds ``model.safetensors`` with everything that load_model needs (or ``trained.safetensors``
alone), ``optimizer.pt`` (tensors and numbers), and JSON for the rest. A full disk leaves the earlier ones.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from naturelm_audio.checkpoint import save_model
from naturelm_audio.checkpoint.tensors import SAFETENSORS, open_weights, read_json, shown
from naturelm_audio.errors import CheckpointError, OutputError
from naturelm_audio.model import NatureLMForConditionalGeneration

__all__ = [
    "HEADS_PREFIX",
    "NotSavedError",
    "checkpoint_folder",
    "clear_save_errors",
    "clear_write_errors",
    "last_checkpoint",
    "load_heads",
    "prune",
    "publish",
    "read_average",
    "read_optimiser",
    "read_progress",
    "read_weights",
    "temporary_folder",
    "tied_names",
    "write_average",
    "write_finished",
    "write_heads",
    "write_mean",
    "write_model",
    "write_optimiser",
    "write_progress",
    "write_trained",
]

TRAINED = "trained.safetensors"
HEADS = "heads.safetensors"
AVERAGE = "average.safetensors"
OPTIMISER = "optimizer.pt"
PROGRESS = "progress.json"
HEADS_PREFIX = "heads."
"""Of the heads' tensors where they stand among the model's."""
_FOLDER = re.compile(r"checkpoint-(\d+)")


class NotSavedError(OutputError):
    """A checkpoint can't be written, so the run stops; the one before is whole."""


def checkpoint_folder(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint after so many updates."""
    return run / f"checkpoint-{step}"


def temporary_folder(run: Path, step: int) -> Path:
    """Return the folder in which it is written, by all processes."""
    return run / f".checkpoint-{step}.tmp"


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest checkpoint of a run; half-written ones have other names."""
    found = _steps(run)
    return checkpoint_folder(run, found[-1]) if found else None


def publish(temporary: Path, folder: Path) -> None:
    """Let a finished checkpoint appear under its name."""
    with clear_save_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)


def prune(run: Path, keep_last: int, best: int | None) -> None:
    """Remove all checkpoints but the last ones and the best."""
    found = _steps(run)
    for step in found[:-keep_last]:
        if step != best:
            shutil.rmtree(checkpoint_folder(run, step), ignore_errors=True)


@contextlib.contextmanager
def clear_save_errors(folder: Path) -> Iterator[None]:
    """Remove what is half-written and say in one line why it can't be written."""
    try:
        yield
    except (OSError, SafetensorError, OutputError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise NotSavedError(
            f"{folder}: the checkpoint can't be written: {_why(error)}; the one before is unchanged, "
            "and the same command goes on from it"
        ) from error


@contextlib.contextmanager
def clear_write_errors(path: Path) -> Iterator[None]:
    """Say in one line why a file of the run can't be written."""
    try:
        yield
    except (OSError, OutputError) as error:
        raise NotSavedError(
            f"{path}: can't be written: {_why(error)}; the same command goes on from the last checkpoint"
        ) from error


def _why(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, OutputError) and error.__cause__ else error
    full = "No space left" in str(cause) or getattr(cause, "errno", None) == errno.ENOSPC
    return "the disk is full" if full else (getattr(cause, "strerror", None) or str(cause))


def write_model(model: NatureLMForConditionalGeneration, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write a whole model with these weights into a folder, as load_model reads it."""
    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # one for every checkpoint would bury the log
    try:
        save_model(model, folder, state_dict=state)
    finally:
        if shows_bars:
            transformers_logging.enable_progress_bar()


def write_finished(
    model: NatureLMForConditionalGeneration, state: Mapping[str, Tensor], folder: Path, precision: str
) -> None:
    """Write what a run ends with, in a number format such as ``float16``."""
    dtype: torch.dtype = getattr(torch, precision)
    if dtype != torch.float32:
        tokenizer, model = model.tokenizer, copy.deepcopy(model).to(dtype)
        model.tokenizer = tokenizer
        state = {name: one.to(dtype) if one.is_floating_point() else one for name, one in state.items()}
    write_model(model, state, folder)


def write_trained(state: Mapping[str, Tensor], names: frozenset[str], folder: Path) -> None:
    """Write only the weights that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_tensors({name: state[name] for name in names}, folder / TRAINED)


def write_heads(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write the layers that learn beside the model and are no part of it."""
    _write_tensors(state, folder / HEADS)


def load_heads(heads: nn.Module, folder: Path) -> bool:
    """Give the heads what a checkpoint has of them; return whether it has any.

    Raises:
        CheckpointError: they are of other sizes.
    """
    if not (folder / HEADS).is_file():
        return False
    state = {name: one.read() for name, one in open_weights(folder / HEADS).items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in heads.state_dict().items()}
    strange = [name for name in wanted.keys() | state if wanted.get(name) != _shape_of(state.get(name))]
    if strange:
        raise CheckpointError(
            f"{folder / HEADS}: heads of other labels, or of another teacher: {shown(sorted(strange))}"
        )
    heads.load_state_dict(state)
    return True


def write_average(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write the running mean of the weights."""
    _write_tensors(state, folder / AVERAGE)


def read_average(folder: Path) -> dict[str, Tensor]:
    """Return what :func:`write_average` wrote.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return {name: one.read() for name, one in open_weights(folder / AVERAGE).items()}


def write_mean(sources: Sequence[Path], folder: Path) -> None:
    """Write the mean of whole checkpoints, heads included, as a folder to start from.

    Where a checkpoint has a running mean of its weights, that is what counts.

    Raises:
        CheckpointError: they are of different architectures.
        NotSavedError: the folder can't be written.
    """
    states = [_judged(source) for source in sources]
    for source, state in zip(sources, states, strict=True):
        if {name: _shape_of(one) for name, one in state.items()} != {
            name: _shape_of(one) for name, one in states[-1].items()
        }:
            raise CheckpointError(f"{source} and {sources[-1]}: no mean of different architectures")
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }
    # Every process of a run makes the same mean; the first to finish lets it appear.
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with clear_save_errors(temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        leave = shutil.ignore_patterns(OPTIMISER, AVERAGE, PROGRESS, "trainer_state.json", "*.safetensors")
        shutil.copytree(sources[-1], temporary, ignore=leave)
        heads = {
            name.removeprefix(HEADS_PREFIX): one
            for name, one in mean.items()
            if name.startswith(HEADS_PREFIX)
        }
        if heads:
            write_heads(heads, temporary)
        model = {name: one for name, one in mean.items() if not name.startswith(HEADS_PREFIX)}
        _write_tensors(model, temporary / SAFETENSORS)
        if not _appear(temporary, folder):
            shutil.rmtree(temporary)


def _appear(temporary: Path, folder: Path) -> bool:
    """Let a folder appear under its name; return whether it was not there already."""
    try:
        temporary.rename(folder)
    except OSError:
        if folder.is_dir():
            return False
        raise
    return True


def _judged(folder: Path) -> dict[str, Tensor]:
    """Return the weights that a whole checkpoint was judged by, those of heads with a prefix."""
    if (folder / TRAINED).is_file():
        raise CheckpointError(f"{folder}: only trained weights are here; set run.checkpoint_weights to all")
    state = {name: one.read() for name, one in open_weights(folder / SAFETENSORS).items()}
    if (folder / HEADS).is_file():
        state |= {f"{HEADS_PREFIX}{name}": one.read() for name, one in open_weights(folder / HEADS).items()}
    return state | (read_average(folder) if (folder / AVERAGE).is_file() else {})


def _write_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    save_file(tensors, path, metadata={"format": "pt"})


def _shape_of(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def write_optimiser(state: dict[str, Any], folder: Path) -> None:
    """Write the optimiser's memory: tensors and numbers, readable without running any code of the file."""
    try:
        torch.save(state, folder / OPTIMISER)
    except RuntimeError as error:  # how torch's own writer says that the disk is full
        if "PytorchStreamWriter" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def read_optimiser(folder: Path) -> dict[str, Any]:
    """Return the optimiser's memory."""
    state: dict[str, Any] = torch.load(folder / OPTIMISER, map_location="cpu", weights_only=True)
    return state


def write_progress(progress: Mapping[str, Any], folder: Path) -> None:
    """Write what else a run goes on from."""
    (folder / PROGRESS).write_text(json.dumps(progress, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_progress(folder: Path) -> dict[str, Any]:
    """Return what :func:`write_progress` wrote.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return read_json(folder / PROGRESS)


def tied_names(state: Mapping[str, Tensor]) -> frozenset[str]:
    """Return names of weights that are the same memory as one before them, and so are not stored."""
    seen: set[int] = set()
    tied: set[str] = set()
    for name, tensor in state.items():
        if tensor.numel() and tensor.data_ptr() in seen:
            tied.add(name)
        seen.add(tensor.data_ptr())
    return frozenset(tied)


def read_weights(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], tied: frozenset[str]
) -> dict[str, Tensor]:
    """Return the weights of a checkpoint, of all parameters or of those that were trained.

    Args:
        folder: of the checkpoint.
        shapes: of the model's weights, by name.
        tied: names that need not be stored.

    Raises:
        CheckpointError: they are missing, or of another architecture.
    """
    only_trained = (folder / TRAINED).is_file()
    stored = open_weights(folder / TRAINED if only_trained else folder)
    strange = [name for name, one in stored.items() if shapes.get(name) != tuple(one.shape)]
    missing = [] if only_trained else [name for name in shapes if name not in stored and name not in tied]
    if strange or missing:
        raise CheckpointError(
            f"{folder}: a checkpoint of another architecture: unexpected {shown(strange) or 'nothing'}; "
            f"missing {shown(missing) or 'nothing'}"
        )
    return {name: one.read() for name, one in stored.items()}


def _steps(run: Path) -> list[int]:
    """Return the numbers of a run's whole checkpoints, rising."""
    folders = run.iterdir() if run.is_dir() else ()
    matches = [_FOLDER.fullmatch(path.name) for path in folders]
    return sorted(int(match[1]) for match in matches if match and (run / match[0] / PROGRESS).is_file())
