"""One question about one clip with its answer: the row of every annotation file, shard and compiled manifest.

A row holds either ``path``, or ``files`` (one placeholder each), or ``mix``: a recipe of clips that become
one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from naturelm_audio.prompts import AUDIO_TOKEN, with_audio, without_audio
from naturelm_audio.train.manifest.problems import did_you_mean

__all__ = ["DEFAULT_TASK", "Example", "MixPart", "Recipe", "from_mapping", "split_name"]

DEFAULT_TASK = "asr"
_SPLITS = {
    "": "", "train": "train", "training": "train", "valid": "valid", "validation": "valid",
    "val": "valid", "dev": "valid", "test": "test", "testing": "test",
}  # fmt: skip
# The names of the public training set -> ours.
_HUB_NAMES = {"instruction": "prompt", "output": "text", "source_dataset": "source"}
_KEYS = (
    "path", "files", "mix", "prompt", "text", "task", "start_seconds", "end_seconds", "channel", "split",
    "labels", "source", "recording_id", "weight", "metadata", "id", "license",
)  # fmt: skip
KNOWN_KEYS = frozenset((*_KEYS, *_HUB_NAMES))


@dataclass(frozen=True, kw_only=True)
class MixPart:
    """One clip of a mixture."""

    path: str
    start_seconds: float = 0.0
    """Where the clip starts in its file."""
    end_seconds: float | None = None
    channel: int | None = None
    offset_seconds: float = 0.0
    """Where it starts in the mixture."""
    gain_db: float = 0.0
    speed: float = 1.0
    """2 is twice as fast and twice as high."""
    silence_seed: int | None = None
    """Silences are put in at quiet places drawn from this seed; None puts none in."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How clips become one: scaled in time, cut by silences, shifted, summed, put into a room, clamped."""

    parts: tuple[MixPart, ...]
    length_seconds: float = 10.0
    impulse_response: str | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question about audio and its answer.

    ``encoded`` are the bytes of the files, for rows that carry their audio; ``files`` then are names only.
    """

    files: tuple[str, ...]
    prompt: str
    text: str
    task: str = DEFAULT_TASK
    start_seconds: float | None = None
    end_seconds: float | None = None
    channel: int | None = None
    split: str = ""
    labels: tuple[str, ...] = ()
    source: str = ""
    recording_id: str = ""
    weight: float = 1.0
    mix: Recipe | None = None
    id: str = ""
    license: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    encoded: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def clips(self) -> int:
        """How many clips the model hears: one for each placeholder."""
        return 1 if self.mix else len(self.files)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that is needed, those of a recipe included."""
        if self.mix is None:
            return self.files
        room = (self.mix.impulse_response,) if self.mix.impulse_response else ()
        return (*(part.path for part in self.mix.parts), *room)

    @property
    def full_prompt(self) -> str:
        """The question with its placeholders, as the model gets it."""
        return with_audio(self.prompt, self.clips)

    def to_mapping(self) -> dict[str, Any]:
        """Return the JSON row; what has its default is left out, except prompt, text and task."""
        row: dict[str, Any] = {}
        if self.mix is not None:
            row["mix"] = _recipe_to_mapping(self.mix)
        elif len(self.files) == 1:
            row["path"] = self.files[0]
        else:
            row["files"] = list(self.files)
        for name in ("start_seconds", "end_seconds", "channel"):
            if getattr(self, name) is not None:
                row[name] = getattr(self, name)
        row |= {"prompt": self.prompt, "text": self.text, "task": self.task}
        for name in ("split", "labels", "source", "recording_id", "id", "license", "metadata"):
            value = getattr(self, name)
            if value:
                row[name] = list(value) if isinstance(value, tuple) else value
        if self.weight != 1.0:
            row["weight"] = self.weight
        return row


def from_mapping(row: Mapping[str, Any]) -> Example:
    """Return the example of one row of an annotation file.

    ``instruction``, ``output`` and ``source_dataset`` of the public training set are read as ``prompt``,
    ``text`` and ``source``. Null is the same as absent. Whether files exist is not looked at.

    Raises:
        ValueError: with every fault of the row.
    """
    faults: list[str] = []
    values = _renamed(row, faults)
    files = _files(values, faults)
    mix = _recipe(values.get("mix"), faults)
    if sum((bool(files), mix is not None)) != 1:
        faults.append("give exactly one of 'path', 'files' and 'mix'")
    start, end = _span(values, faults)
    prompt = _text(values, "prompt", faults)
    if not without_audio(prompt):
        faults.append("the prompt is empty")
    found, clips = prompt.count(AUDIO_TOKEN), 1 if mix else len(files)
    if found not in (0, clips):
        faults.append(f"{found} placeholders {AUDIO_TOKEN} for {clips} clips: give one each, or none")
    text = _text(values, "text", faults)
    if not text.strip():
        faults.append("the answer 'text' is empty; where nothing is heard write \"None\"")
    labels = values.get("labels") or []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        faults.append("'labels' is not a list of texts")
    channel, weight = _channel(values, faults), _real(values, "weight", faults)
    if weight is not None and weight < 0:
        faults.append("'weight' is below 0")
    metadata = _metadata(values.get("metadata"), faults)
    try:
        split = split_name(_text(values, "split", faults))
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return Example(
        files=files, prompt=prompt, text=text, task=_text(values, "task", faults) or DEFAULT_TASK,
        start_seconds=start, end_seconds=end, channel=channel, split=split, labels=tuple(labels),
        source=_text(values, "source", faults), recording_id=_text(values, "recording_id", faults),
        weight=1.0 if weight is None else weight, mix=mix, id=_text(values, "id", faults),
        license=_text(values, "license", faults), metadata=metadata,
    )  # fmt: skip


def split_name(name: str) -> str:
    """Return ``train``, ``valid``, ``test`` or nothing for the usual names of splits.

    Raises:
        ValueError: it is none of them.
    """
    found = _SPLITS.get(name.strip().casefold())
    if found is None:
        raise ValueError(f"{name!r} is no split: write train, valid or test")
    return found


def _renamed(row: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return the row without nulls under our names."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key not in KNOWN_KEYS:
            faults.append(f"unknown key {key!r}{did_you_mean(key, KNOWN_KEYS)}")
        elif value is not None:
            name = _HUB_NAMES.get(key, key)
            if name in values and values[name] != value:
                faults.append(f"{name!r} is given twice, with two values")
            values[name] = value
    return values


def _files(values: Mapping[str, Any], faults: list[str]) -> tuple[str, ...]:
    path, files = values.get("path"), values.get("files")
    if path is not None and files is not None:
        faults.append("both 'path' and 'files' are given")
    listed = [path] if path is not None else files if files is not None else []
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        faults.append("'files' is not a list")
        return ()
    if not all(isinstance(one, str) and one.strip() for one in listed):
        faults.append("a path is empty or no text")
        return ()
    return tuple(listed)


def _text(values: Mapping[str, Any], name: str, faults: list[str]) -> str:
    value = values.get(name, "")
    if isinstance(value, str):
        return value
    faults.append(f"{name!r} is not a text")
    return ""


def _real(values: Mapping[str, Any], name: str, faults: list[str]) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        faults.append(f"{name!r} is not a finite number")
        return None
    return float(value)


def _span(values: Mapping[str, Any], faults: list[str]) -> tuple[float | None, float | None]:
    start, end = _real(values, "start_seconds", faults), _real(values, "end_seconds", faults)
    if start is not None and start < 0:
        faults.append("'start_seconds' is below 0")
    if end is not None and end <= (start or 0.0):
        faults.append(f"it ends at {end:g} s, not after its start at {start or 0.0:g} s")
    return start, end


def _channel(values: Mapping[str, Any], faults: list[str]) -> int | None:
    value = values.get("channel")
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    faults.append("'channel' is not a whole number from 1")
    return None


def _metadata(value: object, faults: list[str]) -> dict[str, Any]:
    """Return metadata, which the public training set stores as JSON text."""
    if value is None or value == "":
        return {}
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        parsed = None
    if not isinstance(parsed, Mapping):
        faults.append("'metadata' is neither an object nor its JSON text")
        return {}
    return dict(parsed)


def _recipe(value: object, faults: list[str]) -> Recipe | None:
    if value is None:
        return None
    if isinstance(value, str):  # from Parquet
        try:
            value = json.loads(value)
        except ValueError:
            faults.append("'mix' is not JSON")
            return None
    try:
        fields: dict[str, Any] = dict(value)  # type: ignore[call-overload]
        parts = tuple(MixPart(**part) for part in fields.pop("parts"))
        recipe = Recipe(parts=parts, **fields)
    except (TypeError, KeyError, ValueError):
        faults.append("'mix' is not an object with a list 'parts' of clips with known keys")
        return None
    if not parts or not all(isinstance(part.path, str) and part.path and part.speed > 0 for part in parts):
        faults.append("'mix' has no parts, or a part without a path or with a speed of 0")
    return recipe


def _recipe_to_mapping(recipe: Recipe) -> dict[str, Any]:
    empty, parts = MixPart(path=""), []
    for part in recipe.parts:
        parts.append({name: value for name, value in vars(part).items() if value != getattr(empty, name)})
    row: dict[str, Any] = {"parts": parts, "length_seconds": recipe.length_seconds}
    if recipe.impulse_response:
        row["impulse_response"] = recipe.impulse_response
    return row
