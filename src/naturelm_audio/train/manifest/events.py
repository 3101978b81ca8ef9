"""Tables of annotated events of other programs -> events with the file, span and label of each.

Raven selections, Audacity labels, BirdNET and Kaleidoscope results, our own rows after review, and any CSV
with a path, times and a label. Columns go by their names. What can't be used is listed with file and line,
never guessed.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from naturelm_audio.audio import probe
from naturelm_audio.errors import AudioError
from naturelm_audio.recordings import AUDIO_SUFFIXES, MEDIA_SUFFIXES
from naturelm_audio.train.manifest.audio_files import AudioFiles
from naturelm_audio.train.manifest.event_tables import (
    Raw,
    TimeUnit,
    audacity_rows,
    base_name,
    generic_rows,
    is_audacity,
    kaleidoscope_rows,
    raven_files,
    raven_rows,
    reviewed_rows,
    to_seconds,
)
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.tables import Table, is_blank, number, parse_table, read_table, read_text

__all__ = ["Event", "EventTable", "TimeUnit", "is_event_table", "kind_of", "read_event_tables", "read_events"]

MODEL_BAND_HZ = 8000.0

_NO_SPECIES = {"nocall", "noid", "no id", "noise"}
_STEM_ENDINGS = (
    r"\.Table\.\d+\.selections", r"\.BirdNET\.selection\.table", r"\.BirdNET\.results", r"\.selections",
    r"\.labels", r"\.results", r"\.selection\.table",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something heard in a recording, at seconds of its file."""

    audio: str
    """Path below the audio root, with "/"."""
    start_seconds: float
    end_seconds: float
    label: str
    scientific_name: str = ""
    low_hz: float | None = None
    high_hz: float | None = None
    channel: int | None = None
    confidence: float | None = None
    table: str = ""
    line: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal where one table was exported twice."""
        span = (self.start_seconds, self.end_seconds, self.low_hz, self.high_hz)
        return (self.audio, self.label, self.channel, *span)


@dataclass
class EventTable:
    """Events in the order of their tables, and what became of the other rows."""

    events: list[Event] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> rows that are no events, such as second views of one selection."""
    silent: list[tuple[str, float, float]] = field(default_factory=list)
    """Spans (audio, start, end) that a reviewed table calls ``None``."""
    files: set[str] = field(default_factory=set)
    """Recordings that a table is about, also one in which nothing was found."""
    read: int = 0
    _known: set[tuple[object, ...]] = field(default_factory=set, repr=False)

    @property
    def above_model_band(self) -> int:
        """How many events begin above 8 kHz: the model can't hear them at normal speed."""
        return sum((event.low_hz or 0.0) >= MODEL_BAND_HZ for event in self.events)

    def extend(self, other: EventTable) -> None:
        """Take in another table; events that came with an earlier one already are dropped."""
        fresh = [event for event in other.events if event.key not in self._known]
        if len(fresh) < len(other.events):
            self.dropped["the same event in another table"] += len(other.events) - len(fresh)
        self._known.update(event.key for event in fresh)
        self.events += fresh
        self.problems += other.problems
        self.dropped += other.dropped
        self.silent += other.silent
        self.files |= other.files
        self.read += other.read


def read_events(
    path: str | Path,
    audio_root: str | Path,
    *,
    label_column: str | None = None,
    time_unit: TimeUnit = "seconds",
    sequence: Sequence[str] | None = None,
    least_confidence: float = 0.0,
) -> EventTable:
    """Return the events of a table of any known program, told apart by its columns.

    Args:
        path: the table; a folder is searched for tables.
        audio_root: where recordings are.
        label_column: which column has the labels, where that isn't plain.
        time_unit: of every time in the table; never guessed.
        sequence: recordings in the order in which Raven opened them, for tables of several files without
            ``File Offset (s)``. Found by itself in ``<stem>.list.txt``.
        least_confidence: events below are dropped.

    Raises:
        ManifestError: not a table of events, or positions in several files can't be told.
    """
    path, files = Path(path), AudioFiles(Path(audio_root))
    reader = _Reader(files, label_column, time_unit, sequence, least_confidence)
    if not path.is_dir():
        return reader.read(path)
    found = EventTable()
    for one in sorted(path.rglob("*")):
        if one.suffix.lower() in (".txt", ".csv", ".tsv", ".jsonl") and not one.name.endswith(".list.txt"):
            found.extend(reader.read(one))
    return found


def read_event_tables(
    paths: Iterable[str | Path], audio_root: str | Path, *, label_column: str | None = None
) -> EventTable:
    """Return the events of several tables as one: a recording may have some in each.

    Raises:
        ManifestError: see :func:`read_events`.
    """
    merged = EventTable()
    for path in paths:
        merged.extend(read_events(path, audio_root, label_column=label_column))
    return merged


def kind_of(table: Path) -> Literal["recordings", "folders", "events"]:
    """Return what a table or a folder is, by what it holds.

    Raises:
        ManifestError: it can't be read.
    """
    if not table.is_dir():
        return "events" if is_event_table(table) else "recordings"
    inside = [path for path in table.rglob("*") if path.is_file()]
    labelled = any(path.suffix.lower() in AUDIO_SUFFIXES and path.parent != table for path in inside)
    tables = any(path.suffix.lower() in (".txt", ".jsonl") for path in inside)
    return "folders" if labelled and not tables else "events"


def is_event_table(path: str | Path) -> bool:
    """Return whether a file is a table of events rather than of whole recordings.

    Raises:
        ManifestError: it can't be read.
    """
    path = Path(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return True
    if path.suffix.lower() not in (".parquet", ".pq") and is_audacity(read_text(path)):
        return True
    table = read_table(path)
    if table.column("mark"):  # windows that somebody judged, of which not every one is right
        return False
    times = table.column("begin_time", "start", "start_seconds", "onset")
    return bool(times or (table.column("in_file") and table.column("indir")))


@dataclass(frozen=True)
class _Reader:
    files: AudioFiles
    label_column: str | None
    time_unit: TimeUnit
    sequence: Sequence[str] | None
    least_confidence: float

    def read(self, path: Path) -> EventTable:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            return self._collect(reviewed_rows(read_text(path)), path)
        if path.suffix.lower() in (".parquet", ".pq"):
            return self._from_table(read_table(path), path)
        text = read_text(path)
        if not text.strip():
            return self._collect(iter(()), path)
        if is_audacity(text):
            return self._collect(audacity_rows(text), path)
        return self._from_table(parse_table(text, str(path)), path)

    def _from_table(self, table: Table, path: Path) -> EventTable:
        if table.column("in_file") and table.column("indir"):
            rows = kaleidoscope_rows(table)
        elif table.column("selection") and table.column("begin_time"):
            starts = self._starts_in_sequence(table, path)
            rows = raven_rows(table, self.label_column, self.time_unit, starts)
        else:
            rows = generic_rows(table, self.label_column)
        found = self._collect(rows, path)
        found.problems += table.problems
        return found

    def _collect(self, rows: Iterator[Raw], path: Path) -> EventTable:
        """Check raw rows one by one."""
        found = EventTable()
        for raw in rows:
            found.read += 1
            if raw.dropped:
                found.dropped[raw.dropped] += 1
                continue
            if raw.fault:
                found.problems.append(Problem(str(path), raw.line, raw.fault))
                continue
            try:
                event = self._event(raw, path)
            except (ValueError, AudioError) as error:
                found.problems.append(Problem(str(path), raw.line, str(error)))
                continue
            found.files.add(event.audio)
            label = event.label.casefold()
            if label == "none":
                found.silent.append((event.audio, event.start_seconds, event.end_seconds))
            elif label in _NO_SPECIES:
                found.dropped[f"label {event.label!r} is no species"] += 1
            elif event.confidence is not None and event.confidence < self.least_confidence:
                found.dropped["below the least confidence"] += 1
            else:
                found.events.append(event)
        if not found.read:  # an empty table: nothing was found in the recording of this name
            with contextlib.suppress(ValueError):
                found.files.add(self.files.find("", near=path, stem=_audio_stem(path)))
        return found

    def _event(self, raw: Raw, path: Path) -> Event:
        """Return one event.

        Raises:
            ValueError: a time or number is wrong, the label is empty, or there is no such recording.
        """
        start, end = to_seconds(raw.start, self.time_unit), to_seconds(raw.end, self.time_unit)
        if raw.is_length:
            end += start
        start, end = start + raw.shift_seconds, end + raw.shift_seconds
        if start < 0:
            raise ValueError(f"starts at {start:g} s, before the recording")
        if end <= start:
            raise ValueError(f"ends at {end:g} s, not after its start at {start:g} s")
        if is_blank(raw.label):
            raise ValueError("the label is empty")
        return Event(
            audio=self.files.find(raw.audio, near=path, stem=_audio_stem(path)),
            start_seconds=round(start, 6),
            end_seconds=round(end, 6),
            label=" ".join(raw.label.split()),
            scientific_name=raw.scientific_name,
            low_hz=_optional(raw.low_hz),
            high_hz=_optional(raw.high_hz),
            channel=int(_optional(raw.channel) or 0) or None,
            confidence=_optional(raw.confidence),
            table=str(path),
            line=raw.line,
        )

    def _starts_in_sequence(self, table: Table, path: Path) -> dict[str, float] | None:
        """Return file name -> where it starts in the sequence; None for tables that don't need it.

        Raises:
            ManifestError: several files, no offsets, and no sequence.
        """
        named = raven_files(table)
        if table.column("file_offset") or len(named) < 2:
            return None
        beside = path.with_name(f"{_audio_stem(path)}.list.txt")
        sequence = self.sequence
        if sequence is None and beside.is_file():
            sequence = [line.strip() for line in read_text(beside).splitlines() if line.strip()]
        if sequence is None:
            raise ManifestError(
                f"{path}: selections of {len(named)} recordings without 'File Offset (s)': export that "
                f"column, or list all recordings in their order in {beside.name}"
            )
        starts, at = {}, 0.0
        for one in sequence:
            starts[base_name(one)] = at
            try:
                seconds = probe(self.files.root / self.files.find(one, near=path)).duration_seconds
            except ValueError as error:
                raise ManifestError(f"{path}: {error}, so later files can't be placed") from None
            if seconds is None:
                raise ManifestError(f"{path}: the length of {one} isn't known: later files have no place")
            at += seconds
        return starts


def _audio_stem(path: Path) -> str:
    """Return the stem of the recording that a table is of."""
    name = path.name.removesuffix(path.suffix)
    for ending in _STEM_ENDINGS:
        name = re.sub(f"{ending}$", "", name, flags=re.IGNORECASE)
    suffix = Path(name).suffix.lower()
    return name.removesuffix(Path(name).suffix) if suffix in AUDIO_SUFFIXES | MEDIA_SUFFIXES else name


def _optional(text: str) -> float | None:
    return None if is_blank(text) else number(text)
