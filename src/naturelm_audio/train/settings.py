"""The settings of a training run, read from a YAML file and refused when a key is unknown."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.data import MixOptions

_Settings = TypeVar("_Settings")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the recordings are and how often each source is heard."""

    manifest: str = "../shared/recordings/manifest.csv"
    exclude_sources: tuple[str, ...] = ()
    source_weights: dict[str, float] = field(default_factory=dict)
    synthetic_per_kind: int = 0
    """Clips made by our own synthesiser, for each kind it knows."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Sizes of the three parts, under the names of the model's own configuration."""

    audio: dict[str, Any] = field(default_factory=dict)
    bridge: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    vocabulary: int = 2000


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One stage: what is learned, for how long and how fast."""

    name: str
    questions: int = 0
    """Questions on each scene; 0 trains encoder and bridge alone, on the teacher and the labels."""
    steps: int = 1000
    minutes: float | None = None
    """A stage ends after so many minutes even if steps are left; the schedule then follows the clock."""
    batch_size: int = 24
    """Scenes of 5 s in an update, over all processes."""
    long_every: int = 8
    """Every n-th update has half as many scenes of 10 s; 0 for none."""
    learning_rate: float = 1e-3
    text_learning_rate: float = 1e-3
    final_factor: float = 0.02
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 2.0
    ema_decay: float = 0.999
    mask_probability: float = 0.3
    teacher_weight: float = 1.0
    label_weight: float = 1.0
    mix: MixOptions = field(default_factory=MixOptions)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything a run depends on."""

    stages: tuple[StageSettings, ...]
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    teacher_path: str | None = None
    seed: int = 13
    precision: str = "bfloat16"
    save_minutes: float = 3.0
    log_every: int = 20
    evaluate_every: int = 400


def read_settings(path: str | Path, options: Sequence[str] = ()) -> TrainSettings:
    """Return the settings of a YAML file, changed by options such as `stages.0.steps=10`.

    Raises:
        OptionsError: if the file is missing or no YAML, or a key or value is wrong.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise OptionsError(f"{path}: can't read these training settings: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise OptionsError(f"{path}: this is not YAML: {' '.join(str(error).split())}") from error
    for option in options:
        _override(raw, option)
    return _build(TrainSettings, raw, str(path))


def _override(raw: Any, option: str) -> None:
    """Set one `dotted.key=value` in nested dictionaries and lists."""
    key, equals, value = option.partition("=")
    if not equals:
        raise OptionsError(f"option {option!r}: write it as key=value, for example stages.0.steps=10.")
    *parents, last = key.split(".")
    try:
        for part in parents:
            raw = raw[int(part)] if isinstance(raw, list) else raw.setdefault(part, {})
        raw[int(last) if isinstance(raw, list) else last] = yaml.safe_load(value)
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise OptionsError(f"option {option!r}: there is no such place in the settings.") from error


def _build(kind: type[_Settings], raw: Any, where: str) -> _Settings:
    """Return a settings class filled from a dictionary."""
    if not isinstance(raw, Mapping):
        raise OptionsError(f"{where}: expected keys and values, not {raw!r}.")
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(hints)}."
            raise OptionsError(f"{where}: unknown key {key}{meant}")
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise OptionsError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return a value as the type of its field."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise OptionsError(f"{where}: expected a list, not {value!r}.")
        return tuple(_convert(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is types.UnionType:
        return None if value is None else _convert(arguments[0], value, where)
    if origin is dict or hint is dict:
        return dict(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except ValueError:
            pass
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise OptionsError(f"{where}: expected {hint.__name__}, not {value!r}.")
    return value
