"""YAML -> nested dataclasses: unknown keys and wrong types are refused with the key's whole name."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from naturelm_audio.errors import OptionsError
from naturelm_audio.options import find_config, parse_yaml

__all__ = ["closest", "differences", "flattened", "load_yaml", "override", "stages_from_yaml"]

_Options = TypeVar("_Options")
_OF_FILES = ("base", "stages")
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def stages_from_yaml(kind: type[_Options], path: str | Path, changes: Sequence[str] = ()) -> list[_Options]:
    """Return dataclasses filled from a file: of each of its ``stages`` on top of the rest, or one.

    Args:
        kind: a dataclass.
        path: the file; its ``base`` is another one, whose keys it changes.
        changes: such as ``optimiser.steps=10``, for every stage, or ``stages.0.optimiser.steps=10``.

    Raises:
        OptionsError: no such file, no YAML, an unknown key, a value of the wrong type or out of range.
    """
    raw = _on_its_base(path)
    for change in changes:
        if change.strip().startswith("stages."):
            override(raw, change)
    stages = raw.pop("stages", None)
    if stages is not None and (not isinstance(stages, list) or not stages):
        raise OptionsError(f"{path}: stages must be a list of changes, not {stages!r}")
    built = []
    for place, stage in enumerate(stages or [{}]):
        where = f"{path}: stages.{place}" if stages else str(path)
        if not isinstance(stage, Mapping):
            raise OptionsError(f"{where} needs keys and values, not {stage!r}")
        merged = _merged(raw, stage)
        for change in changes:
            if not change.strip().startswith("stages."):
                override(merged, change)
        built.append(_build(kind, merged, where, ""))
    return built


def _on_its_base(path: str | Path, above: Sequence[Path] = ()) -> dict[str, Any]:
    """Return what a file holds, on top of the file beside it that it names as ``base``.

    Raises:
        OptionsError: there is no such file, or files are each other's base.
    """
    raw = load_yaml(path)
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise OptionsError(f"{path}: base must be the name of another file, not {base!r}")
    if Path(path) in above:
        raise OptionsError(f"{path}: is its own base")
    return _merged(_on_its_base(Path(path).parent / base, (*above, Path(path))), raw)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base with changed and added values, keys within keys included; both stay as they are."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else copy.deepcopy(value)
    return merged


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping that a file holds; a name such as ``configs/tiny.yml`` is also one of the package.

    Raises:
        OptionsError: it can't be read, or holds something else.
    """
    file = find_config(Path(path))
    raw = parse_yaml(file)
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise OptionsError(f"{file}: holds no keys and values but {type(raw).__name__}")
    return raw


def override(raw: dict[str, Any], change: str) -> None:
    """Set one ``dotted.key=value`` in place; the value is read as YAML.

    Raises:
        OptionsError: it is not of this form, or a part of the key holds no further keys.
    """
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise OptionsError(f"--options {change!r}: write it as key=value, such as optimiser.steps=10")
    *parents, last = key.strip().split(".")
    place: Any = raw
    for part in parents:
        place = _inside(place, part, change)
    try:
        new = yaml.safe_load(value)
    except yaml.YAMLError:
        raise OptionsError(f"--options {change!r}: the value is not YAML; quote it") from None
    if isinstance(place, list):
        _inside(place, last, change, leaf=True)
        place[int(last)] = new
    else:
        place[last] = new


def _inside(place: Any, part: str, change: str, *, leaf: bool = False) -> Any:
    """Return what a key or the number of a list's item holds; keys that are missing are made."""
    if isinstance(place, list):
        if not part.isdigit() or int(part) >= len(place):
            raise OptionsError(f"--options {change!r}: there is no {part} in a list of {len(place)}")
        found = place[int(part)]
    else:
        if place.get(part) is None:
            place[part] = {}
        found = place[part]
    if not leaf and not isinstance(found, dict | list):
        raise OptionsError(f"--options {change!r}: {part} holds a value, no further keys")
    return found


def flattened(options: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested options as one level of dotted keys; lists are values, and empty ones have no keys."""
    values = dataclasses.asdict(options) if dataclasses.is_dataclass(options) else dict(options)  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= flattened(value, f"{key}.")
        else:
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def differences(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> (old, new) where two sets of options differ; a key that one lacks is None."""
    before, after = flattened(old), flattened(new)
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _build(kind: type[_Options], raw: Any, where: str, prefix: str) -> _Options:
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise OptionsError(f"{where}: {prefix.rstrip('.') or 'the file'} needs keys and values, not {raw!r}")
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in hints:
            known = hints if prefix else (*hints, *_OF_FILES)
            raise OptionsError(f"{where}: unknown key {prefix}{key}{closest(str(key), known)}")
    values = {key: _convert(hints[key], value, where, f"{prefix}{key}") for key, value in raw.items()}
    missing = [
        item.name
        for item in dataclasses.fields(kind)  # type: ignore[arg-type]
        if item.name not in values
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise OptionsError(f"{where}: {prefix}{missing[0]} is missing")
    try:
        return kind(**values)
    except OptionsError as error:
        raise OptionsError(f"{where}: {prefix}{error}") from None


def closest(key: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is meant, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    """Return the value as its field's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        return None if value is None else _convert(arguments[0], value, where, key)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), value, where, f"{key}.")
    if origin is typing.Literal:
        if value not in arguments:
            shown = ", ".join(map(str, arguments))
            raise OptionsError(f"{where}: {key} must be one of {shown}, not {value!r}")
        return value
    if origin is tuple:
        listed = [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value
        if value is None:
            listed = []
        if not isinstance(listed, list | tuple):
            raise OptionsError(f"{where}: {key} must be a list, not {value!r}")
        if arguments[-1] is not Ellipsis and len(arguments) != len(listed):
            raise OptionsError(f"{where}: {key} needs {len(arguments)} values, not {len(listed)}")
        named = ((f"{key}[{place}]", one) for place, one in enumerate(listed))
        return tuple(_convert(arguments[0], one, where, name) for name, one in named)
    if origin is dict:
        if value is not None and not isinstance(value, Mapping):
            raise OptionsError(f"{where}: {key} needs keys and values, not {value!r}")
        return dict(value or {})
    return _simple(hint, value, where, key)


def _simple(hint: Any, value: Any, where: str, key: str) -> Any:
    wrong = OptionsError(f"{where}: {key} must be {_NAMES.get(hint, hint)}, not {value!r}")
    if hint is float and not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            return float(value)  # YAML reads 9e-5 as text
        except ValueError:
            raise wrong from None
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 5.0e5 steps
    if hint is int and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise wrong from None
        if number.is_integer():
            return int(number)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise wrong
    return value
