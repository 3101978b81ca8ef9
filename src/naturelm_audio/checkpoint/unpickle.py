"""Reading ``.pt`` and ``.pth`` files without running what is in them.

A pickle is a program that may call any function it names. Here it builds tensors and plain containers only:
every other class or function becomes an inert stand-in that keeps its arguments and does nothing.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import torch

from naturelm_audio.errors import CheckpointError

# What `torch.save` needs for tensors; storages are handled by torch itself.
_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    **{("torch._utils", name): getattr(torch._utils, name) for name in _REBUILD},
    **{("torch", name): getattr(torch, name) for name in _DTYPES},
}


class Inert:
    """What an unknown class or function of a pickle becomes: it keeps what it was given and does nothing."""

    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any, **_: Any) -> Inert:
        """Return a stand-in that remembers its arguments."""
        self = super().__new__(cls)
        self.arguments = args
        self.state, self.items = None, []
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        """Do nothing: everything is kept by ``__new__``, which a pickle may call alone."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state instead of becoming it."""
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an item of what was a dict."""
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        """Keep an element of what was a list."""
        self.items.append(value)

    def extend(self, values: Any) -> None:
        """Keep elements of what was a list."""
        self.items.extend(values)

    add = append


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed builder, else a stand-in of that name."""
        found = _ALLOWED.get((module, name))
        return found if found is not None else type(name, (Inert,), {"__module__": module})


def load_pickle(path: Path) -> Any:
    """Return what a ``.pt`` or ``.pth`` file holds: tensors mapped from it, unknown things :class:`Inert`.

    Raises:
        CheckpointError: the file is no such file, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle versions: the next reader knows them
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, AttributeError, KeyError):
        # Objects of unknown classes, an old format or a damaged file: the next reader tells them apart.
        return _load_restricted(path)


def _load_restricted(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: not a PyTorch checkpoint, or truncated; download or copy it again")
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("constants.pkl") for name in archive.namelist()):
            raise CheckpointError(f"{path}: a TorchScript program, not a checkpoint")
    restricted = SimpleNamespace(Unpickler=_Unpickler, __name__="restricted")
    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=True, pickle_module=restricted)
    except Exception as error:  # a damaged or hostile pickle can fail in any way; none of it is our bug
        problem = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: can't be read as a checkpoint ({problem})") from error


def plain(value: Any) -> Any:
    """Return ``value`` with stand-ins as plain values: their state, a path's text, an enumeration's value."""
    if isinstance(value, Inert):
        if type(value).__name__.endswith("Path"):
            return str(PurePosixPath(*(str(part) for part in value.arguments)))
        state = value.state
        if isinstance(state, dict):
            return plain(state.get("__dict__", state))
        return plain(value.arguments[0]) if len(value.arguments) == 1 else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if isinstance(key, str)}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return value
