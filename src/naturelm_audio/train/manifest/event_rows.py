"""Annotated events -> examples: a clip around each, or fixed windows over what was annotated.

Silence is an answer only where everything was annotated; elsewhere it is no evidence and is left out.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from naturelm_audio.audio import SAMPLE_RATE_HZ, probe
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.events import Event, EventTable
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.sounds import NONE
from naturelm_audio.train.manifest.splits import SplitBy, assign_splits, group_of
from naturelm_audio.train.manifest.tables import read_text
from naturelm_audio.train.manifest.wordings import WORDINGS
from naturelm_audio.windows import WindowPlan

__all__ = ["EventOptions", "EventReport", "LabelMap", "event_examples", "read_label_map", "recordings_of"]

ROUNDING_SECONDS = 0.05
LabelMap = Mapping[str, str]
"""Label -> new label; an empty one drops it."""


@dataclass(frozen=True, kw_only=True)
class EventOptions:
    """How events become examples.

    Raises:
        OptionsError: a number out of range.
    """

    mode: Literal["clip", "window"] = "window"
    window_seconds: float = 10.0
    hop_seconds: float = 10.0
    least_share: float = 0.5
    """Of the event, or of the window, that must lie in the window for the label to be in its text."""
    order: Literal["alphabetical", "onset"] = "alphabetical"
    prompt: str = WORDINGS["detect-common"][0]
    task: str = "common-detection"
    completely_annotated: bool = False
    """Whole files; or give ranges to :func:`event_examples`."""
    label_map: LabelMap | None = None
    split_by: SplitBy = "recording"
    valid_share: float = 0.0
    test_share: float = 0.0
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        if not self.window_seconds > 0 or not 0 < self.hop_seconds <= self.window_seconds:
            raise OptionsError("the window must be above 0 s, and the hop not longer than the window")
        if not 0 < self.least_share <= 1:
            raise OptionsError(f"least_share must be above 0 and at most 1, not {self.least_share}")


@dataclass
class EventReport:
    """What came of a table of events."""

    files: int = 0
    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    above_model_band: int = 0
    skipped_windows: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        # dataclasses.asdict would make each Counter one of pairs.
        found = {
            name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()
        }
        return found | {"problems": [str(problem) for problem in self.problems]}

    def as_text(self) -> str:
        """Return the report for people."""
        lines = [f"{self.read:,} events read in {self.files:,} recordings, {self.kept:,} kept"]
        lines += [f"{count:10,}  {label}" for label, count in self.classes.most_common()]
        for title, counts in (
            ("dropped", self.dropped),
            ("windows left out", self.skipped_windows),
            ("labels that the map doesn't know", self.unmapped),
        ):
            lines += [f"{title}:"] if counts else []
            lines += [f"{count:10,}  {reason}" for reason, count in counts.most_common()]
        lines += [f"faulty: {problem}" for problem in self.problems]
        if self.above_model_band:
            lines.append(
                f"{self.above_model_band:,} events lie above 8 kHz, which is not heard at normal speed"
            )
        return "\n".join(lines)


def read_label_map(path: str | Path) -> dict[str, str]:
    """Return the label map of a CSV with the columns ``from`` and ``to``; an empty ``to`` drops a label.

    Raises:
        ManifestError: another header, or one label mapped twice to different ones.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if [name.strip().casefold() for name in rows.fieldnames or ()][:2] != ["from", "to"]:
        raise ManifestError(f"{path}: a label map has the columns from,to")
    found: dict[str, str] = {}
    for row in rows:
        before, after = ((value or "").strip() for value in list(row.values())[:2])
        if found.setdefault(before, after) != after:
            raise ManifestError(f"{path}: {before!r} is mapped to {found[before]!r} and to {after!r}")
    return found


def recordings_of(table: EventTable, source: str = "") -> list[Labelled]:
    """Return a recording for each file of the events, to compile soundscapes from."""
    spans: dict[str, list[Span]] = {audio: [] for audio in sorted(table.files)}
    for event in table.events:
        span = Span(event.start_seconds, event.end_seconds, event.label, event.scientific_name)
        spans.setdefault(event.audio, []).append(span)
    return [
        Labelled(path=audio, recording_id=audio, events=tuple(sorted(found, key=_onset)), source=source)
        for audio, found in spans.items()
    ]


def _onset(span: Span) -> tuple[float, float, str]:
    return span.start_seconds, span.end_seconds, span.label


def event_examples(
    table: EventTable,
    audio_root: str | Path,
    options: EventOptions | None = None,
    *,
    annotated: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> tuple[list[Example], EventReport]:
    """Return examples sorted by file and time, and a report.

    Args:
        table: the events.
        audio_root: where their files are.
        options: see :class:`EventOptions`.
        annotated: file -> spans in seconds in which every event was annotated; only there is silence
        ``None``.

    Raises:
        OptionsError: splits by day of files without a date.
    """
    options = options or EventOptions()
    report = EventReport(read=table.read, dropped=Counter(table.dropped), problems=list(table.problems))
    seconds = _lengths(table.files | set(annotated or {}), audio_root, report)
    by_file: dict[str, list[_Heard]] = {audio: [] for audio in sorted(seconds)}
    for event in table.events:
        if event.audio in seconds:
            _place(event, seconds[event.audio], options, by_file[event.audio], report)
    report.files, report.above_model_band = len(by_file), table.above_model_band
    ranges = _ranges(table, seconds, options, annotated or {})
    splits = _splits(by_file, options)
    make = _clips if options.mode == "clip" else _windows
    rows = []
    for audio, heard in by_file.items():
        for start, end, labels in make(heard, seconds[audio], ranges.get(audio, []), options, report):
            rows.append(_example(audio, start, end, labels, splits[audio], options))
    return rows, report


@dataclass(frozen=True)
class _Heard:
    """An event within its file; without a label one that the map drops, which is heard all the same."""

    start: float
    end: float
    label: str


_Span = tuple[float, float]
_Maker = Callable[
    [list[_Heard], float, Sequence[_Span], EventOptions, EventReport],
    Iterable[tuple[float, float, list[str]]],
]


def _lengths(files: Iterable[str], audio_root: str | Path, report: EventReport) -> dict[str, float]:
    found = {}
    for audio in sorted(files):
        try:
            seconds = probe(resolve(Path(audio_root), audio)).duration_seconds
        except AudioError as error:
            report.problems.append(Problem(audio, 0, str(error)))
            continue
        if seconds is None:
            report.problems.append(Problem(audio, 0, "its length isn't known"))
        else:
            found[audio] = seconds
    return found


def _place(
    event: Event, seconds: float, options: EventOptions, heard: list[_Heard], report: EventReport
) -> None:
    """Add an event under its new label, unless it lies outside its file."""
    if event.end_seconds > seconds + ROUNDING_SECONDS or event.start_seconds >= seconds:
        span = f"{event.start_seconds:g}-{event.end_seconds:g} s"
        report.problems.append(
            Problem(event.table, event.line, f"{span} lies outside {event.audio} of {seconds:g} s")
        )
        return
    label = _mapped(event.label, options.label_map, report)
    heard.append(_Heard(event.start_seconds, min(event.end_seconds, seconds), label))
    if label:
        report.kept += 1
        report.classes[label] += 1
    else:
        report.dropped["its label is mapped to nothing"] += 1


def _mapped(label: str, label_map: LabelMap | None, report: EventReport) -> str:
    if label_map is None:
        return label
    folded = {before.casefold(): after for before, after in label_map.items()}
    found = label_map.get(label, folded.get(label.casefold()))
    if found is None:
        report.unmapped[label] += 1
        return label
    return found


def _ranges(
    table: EventTable,
    seconds: Mapping[str, float],
    options: EventOptions,
    annotated: Mapping[str, Sequence[_Span]],
) -> dict[str, list[_Span]]:
    """Return file -> spans in which everything was annotated, joined where they touch."""
    found: dict[str, list[_Span]] = defaultdict(list)
    silent: dict[str, list[_Span]] = defaultdict(list)
    for audio, start, end in table.silent:
        silent[audio].append((start, end))
    for audio, length in seconds.items():
        spans = [(0.0, length)] if options.completely_annotated else list(annotated.get(audio, []))
        spans += silent[audio]
        for start, end in sorted(spans):
            if found[audio] and start <= found[audio][-1][1]:
                found[audio][-1] = (found[audio][-1][0], max(end, found[audio][-1][1]))
            else:
                found[audio].append((start, min(end, length)))
    return found


def _splits(files: Iterable[str], options: EventOptions) -> dict[str, str]:
    groups = {audio: group_of(audio, audio, options.split_by) for audio in files}
    assigned = assign_splits(
        groups.values(), valid_share=options.valid_share, test_share=options.test_share, seed=options.seed
    )
    return {audio: assigned[group] for audio, group in groups.items()}


def _clips(
    heard: list[_Heard], seconds: float, ranges: Sequence[_Span], options: EventOptions, report: EventReport
) -> Iterable[tuple[float, float, list[str]]]:
    """Yield the event in the middle of a window, moved where the file ends; None is never an answer here."""
    for event in sorted(heard, key=lambda one: (one.start, one.end, one.label)):
        if event.label:
            length = min(options.window_seconds, seconds)
            start = min(max(0.0, (event.start + event.end - length) / 2), seconds - length)
            end = start + length
            labels = _labels(heard, start, end, options)
            yield start, end, labels if event.label in labels else _ordered([*labels, event.label], options)


def _windows(
    heard: list[_Heard], seconds: float, ranges: Sequence[_Span], options: EventOptions, report: EventReport
) -> Iterable[tuple[float, float, list[str]]]:
    """Yield fixed windows: over declared ranges all of them, elsewhere those with events."""
    plan = WindowPlan(options.window_seconds, options.hop_seconds)
    for first, last in ranges or [(0.0, seconds)]:
        try:
            planned = plan.windows(int((last - first) * SAMPLE_RATE_HZ))
        except AudioError:  # shorter than any window
            report.skipped_windows["a range too short"] += 1
            continue
        for window in planned:
            start, end = first + window.start_seconds, first + window.end_seconds
            labels = _labels(heard, start, end, options)
            touched = any(event.start < end and event.end > start for event in heard)
            if labels or (ranges and not touched):
                yield start, end, labels
            elif touched:
                report.skipped_windows["only a small part of an event, or one without a label"] += 1
            else:
                report.skipped_windows["no event, and not declared as completely annotated"] += 1


def _labels(heard: list[_Heard], start: float, end: float, options: EventOptions) -> list[str]:
    """Return labels of events with enough of them, or of the window, in it."""
    found = []
    for event in sorted(heard, key=lambda one: (one.start, one.end, one.label)):
        overlap = min(event.end, end) - max(event.start, start)
        wanted = options.least_share * min(event.end - event.start, end - start)
        # A part in a million is lost to rounding of seconds.
        if event.label and overlap > 0 and overlap >= wanted - 1e-6:
            found.append(event.label)
    return _ordered(found, options)


def _ordered(labels: Iterable[str], options: EventOptions) -> list[str]:
    different = list(dict.fromkeys(labels))
    return different if options.order == "onset" else sorted(different, key=lambda one: (one.casefold(), one))


def _example(
    audio: str, start: float, end: float, labels: list[str], split: str, options: EventOptions
) -> Example:
    return Example(
        files=(audio,),
        prompt=options.prompt,
        text=", ".join(labels) or NONE,
        task=options.task,
        start_seconds=round(start, 6),
        end_seconds=round(end, 6),
        split=split,
        labels=tuple(labels),
        source=options.source,
        recording_id=audio,
    )
