"""Files of tensors, opened lazily: names, shapes and dtypes first, values only when they are asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from naturelm_audio.checkpoint.unpickle import load_pickle
from naturelm_audio.errors import CheckpointError

PICKLE_SUFFIXES = (".pt", ".pth", ".bin")
SAFETENSORS = "model.safetensors"
_SMALL_FILE_BYTES = 64 * 2**20
_SAMPLE_BYTES, _SAMPLES = 2**16, 64


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not yet read; ``name`` is its name there."""

    name: str
    path: Path
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


Weights = Mapping[str, Stored]


def open_weights(path: Path) -> dict[str, Stored]:
    """Return the tensors of a weights file or of a folder's ``model.safetensors`` (or its shards), by name.

    Raises:
        CheckpointError: there is no weights file, or it can't be read.
    """
    if path.is_dir():
        return {name: stored for file in weight_files(path) for name, stored in open_weights(file).items()}
    if path.suffix in PICKLE_SUFFIXES:
        return stored_tensors(model_entry(load_pickle(path), path), path)
    return _open_safetensors(path)


def weight_files(folder: Path) -> list[Path]:
    """Return the weights files of a folder in transformers' naming.

    Raises:
        CheckpointError: there are none, or a shard of the index is missing.
    """
    for name in (SAFETENSORS, "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = sorted(set(read_json(index).get("weight_map", {}).values()))
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing or not shards:
                count = f"{len(missing)} of {len(shards)} files are missing"
                raise CheckpointError(f"{index}: {count}: {shown(missing)}")
            return [folder / shard for shard in shards]
    raise CheckpointError(
        f"{folder}: no weights here; looked for {SAFETENSORS}, its shards and pytorch_model.bin"
    )


def has_weights(folder: Path) -> bool:
    """Return whether :func:`weight_files` would find any."""
    names = (SAFETENSORS, "pytorch_model.bin")
    return any((folder / f"{name}{suffix}").is_file() for name in names for suffix in ("", ".index.json"))


def _open_safetensors(path: Path) -> dict[str, Stored]:
    try:
        handle: Any = safe_open(path, framework="pt")
        names = list(handle.keys())
        shapes = {name: tuple(handle.get_slice(name).get_shape()) for name in names}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or truncated ({error})") from None
    return {name: Stored(name, path, shapes[name], partial(handle.get_tensor, name)) for name in names}


def model_entry(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict of a ``.pt`` or ``.pth`` file: its entry "model", else the whole of it.

    Raises:
        CheckpointError: there is no state dict in it.
    """
    entry = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(entry, dict) or not entry:
        raise CheckpointError(f'{path}: no state dict in it; expected {{"model": state dict}}')
    odd = [
        str(name)
        for name, value in entry.items()
        if not isinstance(value, Tensor) or not isinstance(name, str)
    ]
    if odd:
        raise CheckpointError(f"{path}: {len(odd)} entries of its state dict are no tensors: {shown(odd)}")
    return entry


def stored_tensors(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Stored]:
    """Return tensors that are already (lazily) open in the same form as those of a file."""
    return {name: Stored(name, path, tuple(tensor.shape), tensor.detach) for name, tensor in tensors.items()}


def prefixed(weights: Weights, prefix: str) -> dict[str, Stored]:
    """Return the same tensors under names that begin with ``prefix``."""
    return {prefix + name: replace(stored, name=prefix + name) for name, stored in weights.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        CheckpointError: the file is missing or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return content


def fingerprint(files: Iterable[Path]) -> str:
    """Return a hash (hex) that names these weights: of all bytes of small files, of samples of large ones."""
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            if size <= _SMALL_FILE_BYTES:
                digest.update(file.read())
                continue
            for index in range(
                _SAMPLES
            ):  # the first sample begins with the header, the last one ends the file
                file.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def equal(left: Tensor, right: Tensor, *, rounded: bool = False) -> bool:
    """Return whether two copies of one tensor agree: to the last bit, or ``rounded`` to bfloat16.

    Copies of different dtypes are always compared rounded.
    """
    if left.shape != right.shape:
        return False
    if left.dtype == right.dtype and not rounded:
        return torch.equal(left, right)
    rows = range(0, max(1, len(left)), 8192) if left.dim() else range(1)
    for start in rows:  # in pieces: an embedding table in float32 would double the memory
        pair = [
            (side[start : start + 8192] if side.dim() else side).to(torch.bfloat16) for side in (left, right)
        ]
        # Subnormal float16 numbers have lost bits that bfloat16 keeps, hence the small absolute difference.
        if not torch.allclose(pair[0].float(), pair[1].float(), rtol=0.0, atol=6e-8):
            return False
    return True


def shown(names: Iterable[object], limit: int = 5) -> str:
    """Return the first few names for a message, and how many more there are."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def elements(weights: Weights) -> int:
    """Return how many numbers these tensors hold."""
    return sum(torch.Size(stored.shape).numel() for stored in weights.values())


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that a module's state dict has."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def check_complete(
    expected: Mapping[str, tuple[int, ...]],
    weights: Weights,
    source: Path,
    named: Callable[[str], str] = str,
) -> None:
    """Check that opened tensors are exactly the expected ones, in their shapes.

    Args:
        expected: shapes by our names.
        weights: what was found, by our names.
        source: file or folder for the message.
        named: from our name to that in the file.

    Raises:
        CheckpointError: naming the first few that are missing, unexpected or of another shape.
    """
    missing = [named(name) for name in expected if name not in weights]
    unexpected = [stored.name for name, stored in weights.items() if name not in expected]
    wrong = [
        f"{stored.name} {list(stored.shape)} instead of {list(expected[name])}"
        for name, stored in weights.items()
        if name in expected and stored.shape != expected[name]
    ]
    found = {"missing": missing, "unexpected": unexpected, "of the wrong shape": wrong}
    problems = [f"{len(names)} tensors {kind}: {shown(names)}" for kind, names in found.items() if names]
    if problems:
        raise CheckpointError(f"{source}: {'; '.join(problems)}")
