"""Answers -> annotations: a span with one label, as annotation programs have it; equal neighbours merged."""

from __future__ import annotations

import math
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from naturelm_audio.formats.choices import FormatOptions
from naturelm_audio.labels import is_none
from naturelm_audio.records import Answer, Label

__all__ = ["Annotation", "Merger", "annotations_of", "band_hz", "best_score", "compared", "keeps_row"]

MODEL_HIGHEST_HZ = 8_000.0
"""What the model hears at its own rate, at normal speed."""
RANKINGS = frozenset({"label_softmax", "calibrated"})
"""Kinds of confidence whose labels are alternatives, of which at most a few are true."""
TOUCH_SECONDS = 1e-6  # times are rounded to this


@dataclass(slots=True)
class Annotation:
    """A label from start to end, in seconds of the file; ``answer`` is the first row that it comes from."""

    answer: Answer
    label: str
    start_seconds: float
    end_seconds: float
    end_time: str | None
    score: float | None
    scientific_name: str | None
    common_name: str | None
    code: str | None
    windows: int = 1
    scored: int = 1
    is_open: bool = True
    """Whether a later window may still belong to it."""

    @property
    def names(self) -> tuple[str, str]:
        """Scientific and common name; the label stands for one that is not known."""
        common = self.common_name or self.label
        return self.scientific_name or common, common

    def extend(self, later: Annotation) -> None:
        """Take in an equal annotation of a later window; the score is the mean."""
        self.end_seconds = max(self.end_seconds, later.end_seconds)
        self.end_time = later.end_time
        self.windows += 1
        if later.score is not None:
            known = self.scored if self.score is not None else 0
            self.score = ((self.score or 0.0) * known + later.score) / (known + 1)
            self.scored = known + 1


def best_score(answer: Answer) -> float | None:
    """Return the answer's confidence, else the score of its best label."""
    if answer.confidence is None and answer.labels:
        return answer.labels[0].score
    return answer.confidence


def annotations_of(answer: Answer, options: FormatOptions) -> list[Annotation]:
    """Return one annotation per label of the answer; none for errors, "None" and what options leave out."""
    if answer.output is None or answer.start_seconds is None or answer.end_seconds is None:
        return []
    return [
        Annotation(
            answer,
            label.label,
            answer.start_seconds,
            answer.end_seconds,
            answer.end_time,
            score,
            label.scientific_name,
            common_name_of(label),
            label.code,
        )
        for label in _labels(answer, options)
        if _is_wanted(label, score := answer.confidence if label.score is None else label.score, options)
    ]


def common_name_of(label: Label) -> str | None:
    """Return the common name; a label with another scientific name is one."""
    if label.common_name is None and label.scientific_name not in (None, label.label):
        return label.label
    return label.common_name


def _labels(answer: Answer, options: FormatOptions) -> tuple[Label, ...] | list[Label]:
    if answer.labels:
        return answer.labels[: options.top_k] if answer.confidence_kind in RANKINGS else answer.labels
    text = answer.output or ""
    if not options.split_answers:
        return [Label(label=text)]
    return _split(text)


def _split(text: str) -> list[Label]:
    return [Label(label=part) for part in dict.fromkeys(part.strip() for part in text.split(","))]


def _is_wanted(label: Label, score: float | None, options: FormatOptions) -> bool:
    if not label.label.strip() or (is_none(label.label) and not options.keep_none):
        return False
    if options.min_confidence is not None and score is not None and score < options.min_confidence:
        return False
    return options.species is None or _is_named(label, options.species)


def _is_named(label: Label, species: frozenset[str]) -> bool:
    names = (label.label, label.scientific_name, label.common_name, label.code)
    return any(name and compared(name) in species for name in names)


@lru_cache(maxsize=4096)
def compared(name: str) -> str:
    """Return a name as lists of species are compared: in lower case, however it is composed."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def keeps_row(answer: Answer, options: FormatOptions) -> bool:
    """Return whether a table of rows keeps this one; errors always stay."""
    if answer.output is None:
        return True
    score = best_score(answer)
    if options.min_confidence is not None and score is not None and score < options.min_confidence:
        return False
    if options.species is None:
        return True
    return any(_is_named(label, options.species) for label in answer.labels or _split(answer.output))


class Merger:
    """Joins equal annotations of one recording whose windows touch or overlap, in a stream.

    A window of the same question and channel that does not have the label ends its run, so a different
    answer, "None" or a failure between two equal ones keeps them apart.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, object], dict[str, Annotation]] = {}
        self._waiting: deque[Annotation] = deque()

    def add(self, answer: Answer, found: list[Annotation]) -> Iterator[Annotation]:
        """Take the annotations of the next row and yield those that are complete, in order of their start."""
        key = (answer.query, answer.channel)
        before, now = self._open.get(key, {}), {}
        for one in found:
            if one.label in now:  # named twice in one answer
                continue
            run = before.get(one.label)
            if run is not None and one.start_seconds <= run.end_seconds + TOUCH_SECONDS:
                run.extend(one)
            else:
                run = one
                self._waiting.append(one)
            now[one.label] = run
        for label, run in before.items():
            run.is_open = now.get(label) is run
        self._open[key] = now
        while self._waiting and not self._waiting[0].is_open:
            yield self._waiting.popleft()

    def flush(self) -> Iterator[Annotation]:
        """Yield the rest at the end of the recording."""
        self._open.clear()
        while self._waiting:
            yield self._waiting.popleft()


def band_hz(answer: Answer, nyquist_hz: float | None) -> tuple[float, float] | None:
    """Return the band of an annotation in hertz of the file, within 0 ... Nyquist; None if nothing is left.

    It is the row's own, else what the model heard. Rounded down to 3 decimals, so never above Nyquist.
    """
    return _band(answer.low_freq_hz, answer.high_freq_hz, answer.speed_factor or 1.0, nyquist_hz)


@lru_cache(maxsize=1024)
def _band(
    low_hz: float | None, high_hz: float | None, speed_factor: float, nyquist_hz: float | None
) -> tuple[float, float] | None:
    high = MODEL_HIGHEST_HZ / speed_factor if high_hz is None else high_hz
    if nyquist_hz is not None:
        high = min(high, nyquist_hz)
    low, high = (math.floor(max(value, 0.0) * 1000) / 1000 for value in (low_hz or 0.0, high))
    return (low, high) if low < high else None
