"""Checks of values that a user gave: each raises an OptionsError that names the option or the file."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from naturelm_audio.errors import OptionsError

__all__ = ["mapping", "one_of", "real", "refuse_unknown", "typed", "whole"]

KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return a section of a file with its keys as text; None is an empty one.

    Raises:
        OptionsError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise OptionsError(f"{where}: expected keys and values, found {type(value).__name__} {value!r}")
    return {str(key): item for key, item in value.items()}


def refuse_unknown(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Do nothing if all keys are known.

    Raises:
        OptionsError: naming the first that is not, and the nearest that is.
    """
    names = sorted(known)
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(names)}"
            raise OptionsError(f"{where}: unknown key {name!r}; {hint}")


def typed(owner: type, name: str, value: Any, where: str) -> Any:
    """Return a YAML value as the type of the dataclass field ``name``.

    Raises:
        OptionsError: it has another type.
    """
    declared = {item.name: str(item.type) for item in dataclasses.fields(owner)}
    kind = declared[name].removesuffix(" | None")
    if kind == "float" and isinstance(value, str):  # YAML 1.1 reads 1e-1 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if name == "batch_size" and value == "auto":
        return None
    accepted, words = KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind != "bool"):
        raise OptionsError(f"{where}: {name} must be {words}, found {value!r}")
    return float(value) if kind == "float" else value


def one_of(value: Any, name: str, known: Iterable[str]) -> None:
    """Do nothing if the value is one of those known.

    Raises:
        OptionsError: it is not.
    """
    if value not in known:
        raise OptionsError(f"{name} must be one of {', '.join(known)}, found {value!r}")


def whole(value: Any, name: str, *, at_least: int) -> None:
    """Do nothing if the value is a whole number in range.

    Raises:
        OptionsError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise OptionsError(f"{name} must be a whole number of at least {at_least}, found {value!r}")


def real(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Do nothing if the value is a finite number in range.

    Raises:
        OptionsError: it is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = number and (above is None or value > above) and (at_least is None or value >= at_least)
    if not fits or (at_most is not None and value > at_most):
        limits = {"above": above, "of at least": at_least, "of at most": at_most}
        wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)
        raise OptionsError(f"{name} must be a finite number {wanted}".rstrip() + f", found {value!r}")
