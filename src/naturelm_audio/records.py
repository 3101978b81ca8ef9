"""Typed results and their JSON Lines row: one :class:`Answer` per recording, window and question.

Numbers are brought to their written form at once (seconds to 6 decimals, scores to 4), so that an answer
read back from a file equals the one that was written. Files are the business of ``journal``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "Label"]

SECONDS_DECIMALS = 6
SCORE_DECIMALS = 4
# Legal in JSON, but U+0085, U+2028 and U+2029 break line readers, and a lone surrogate has no UTF-8 form.
ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label of an answer, with what is known about it."""

    label: str
    score: float | None = None
    scientific_name: str | None = None
    common_name: str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        """Bring every number to its written form."""
        object.__setattr__(self, "score", _number(self.score, SCORE_DECIMALS))

    def to_mapping(self) -> dict[str, Any]:
        """Return the known values in the written order."""
        return {name: value for name, value in _fields(self) if value is not None}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said about one window, or why it said nothing.

    ``start_seconds`` and ``end_seconds`` are seconds of the file as stored; both are None if the whole
    recording failed. ``output`` is None exactly when ``error`` (``code: message``) is set. Fields are in the
    written order.

    Raises:
        ValueError: an answer and an error at once, neither of them, or a time that is not a finite number.
    """

    audio_path: str
    start_seconds: float | None
    end_seconds: float | None
    query: str
    output: str | None
    confidence: float | None = None
    confidence_kind: str | None = None
    labels: tuple[Label, ...] | None = None
    start_time: str | None = None
    end_time: str | None = None
    time_source: str | None = None
    site: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    recorder: str | None = None
    channel: int | str | None = None
    sample_rate: int | None = None
    duration_seconds: float | None = None
    low_freq_hz: float | None = None
    high_freq_hz: float | None = None
    speed_factor: float | None = None
    time_expansion: float | None = None
    model: str | None = None
    model_revision: str | None = None
    version: str | None = None
    run_id: str | None = None
    warnings: tuple[str, ...] | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        """Bring every number to its written form."""
        if (self.output is None) == (self.error is None):
            raise ValueError(f"{self.audio_path}: an answer has either an output or an error")
        for name in ("start_seconds", "end_seconds"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{self.audio_path}: {name} is {value}")
        set_value = object.__setattr__  # files have millions of rows: what is not there costs nothing
        for name, decimals in NUMBER_DECIMALS.items():
            value = getattr(self, name)
            if value is not None:
                set_value(self, name, _number(value, decimals))
        for name in ("speed_factor", "time_expansion"):
            if getattr(self, name) == 1.0:
                set_value(self, name, None)
        if self.confidence is None:
            set_value(self, "confidence_kind", None)
        for name in ("labels", "warnings"):
            value = getattr(self, name)
            if value is not None:
                set_value(self, name, tuple(value) or None)

    @property
    def failed(self) -> bool:
        """Whether this row has an error in place of an answer."""
        return self.error is not None

    def to_json(self) -> str:
        """Return the row as one line of JSON without its line feed; any string encodes as UTF-8."""
        values = {name: value for name, value in _fields(self) if name in ALWAYS_WRITTEN or value is not None}
        if self.labels is not None:
            values["labels"] = [label.to_mapping() for label in self.labels]
        return dump_json(values)

    @classmethod
    def from_json(cls, line: str) -> Answer:
        """Return the answer of one line; unknown keys are ignored, null and absent mean the same.

        Raises:
            ValueError: the line is not such a row.
        """
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("a row must be a JSON object")
        if not row.keys() >= ALWAYS_WRITTEN:
            raise ValueError(f"the row has no {', '.join(sorted(ALWAYS_WRITTEN - row.keys()))}")
        values = dict(ABSENT)
        for name, value in row.items():
            kinds = KINDS.get(name)
            if kinds is None or value is None:
                continue
            if type(value) not in kinds:  # exactly: true and false are no numbers
                raise ValueError(f"{name} is {value!r}, which has the wrong type")
            values[name] = value
        for name in ("audio_path", "query"):
            if values[name] is None:
                raise ValueError(f"{name} is null")
        rate = _number(values["sample_rate"], 0)
        values["sample_rate"] = None if rate is None else int(rate)
        if values["labels"]:
            values["labels"] = tuple(_label(item) for item in values["labels"])
        answer = object.__new__(cls)
        answer.__dict__.update(values)  # what __init__ would do, at a tenth of the time
        answer.__post_init__()
        return answer


NUMBER_DECIMALS: dict[str, int | None] = {
    "start_seconds": SECONDS_DECIMALS,
    "end_seconds": SECONDS_DECIMALS,
    "duration_seconds": SECONDS_DECIMALS,
    "confidence": SCORE_DECIMALS,
    "latitude": None,
    "longitude": None,
    "low_freq_hz": None,
    "high_freq_hz": None,
    "speed_factor": None,
    "time_expansion": None,
}
# Keys in the written order; dictionaries, because they are also looked up.
ANSWER_KEYS = dict.fromkeys(field.name for field in dataclasses.fields(Answer))
LABEL_KEYS = dict.fromkeys(field.name for field in dataclasses.fields(Label))
ALWAYS_WRITTEN = frozenset({"audio_path", "start_seconds", "end_seconds", "query", "output"})
TEXT, REAL = frozenset({str}), frozenset({int, float})
KINDS: dict[str, frozenset[type]] = (
    dict.fromkeys(ANSWER_KEYS, TEXT)
    | dict.fromkeys(NUMBER_DECIMALS, REAL)
    | {"labels": frozenset({list}), "warnings": frozenset({list}), "channel": frozenset({int, str})}
    | {"sample_rate": REAL}
)
"""What a value read from JSON may be; anything may be null."""
ABSENT: dict[str, Any] = dict.fromkeys(ANSWER_KEYS)


def dump_json(value: Any) -> str:
    """Return one line of readable JSON that every line reader splits alike and that UTF-8 can encode.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return ESCAPED_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _fields(item: Label | Answer) -> list[tuple[str, Any]]:
    """Return names and values in declaration order, without the deep copies of ``dataclasses.asdict``."""
    keys = ANSWER_KEYS if isinstance(item, Answer) else LABEL_KEYS
    return [(name, getattr(item, name)) for name in keys]


def _label(item: Mapping[str, Any]) -> Label:
    if not isinstance(item, Mapping) or not isinstance(item.get("label"), str):
        raise ValueError(f"a label must be an object with the key label, found {item!r}")
    known = {name: value for name, value in item.items() if name in LABEL_KEYS and value is not None}
    for name, value in known.items():
        if type(value) not in (REAL if name == "score" else TEXT):
            raise ValueError(f"{name} of a label is {value!r}")
    return Label(**known)


def _number(value: float | None, decimals: int | None) -> float | None:
    """Return a plain float in its written form; NaN and infinity, which JSON lacks, become None."""
    if value is None or not math.isfinite(value):
        return None
    number = float(value)
    return (number if decimals is None else round(number, decimals)) + 0.0  # + 0.0 turns -0.0 into 0.0
