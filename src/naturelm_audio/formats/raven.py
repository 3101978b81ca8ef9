"""Raven selection tables: one for each recording, or one for a sequence of them with its list of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, TextIO

from naturelm_audio.formats.about import Recording
from naturelm_audio.formats.annotations import Annotation, band_hz
from naturelm_audio.formats.text import one_line, plain_cell
from naturelm_audio.formats.writing import COMBINED, AnnotationWriter, Export

__all__ = ["RavenWriter"]

# fmt: off
COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    "Begin File", "Begin Path", "File Offset (s)", "Annotation", "Score", "Scientific Name",
)
# fmt: on
LIST_SUFFIX = ".list.txt"


@dataclass
class _Table:
    """An open table; ``begin_seconds`` is where the present recording starts in its sequence."""

    file: TextIO
    selections: int = 0
    begin_seconds: Fraction = Fraction(0)


@dataclass(frozen=True)
class _Sequence:
    """Recordings that Raven opens as one: of equal rate and number of channels, each with its length."""

    path: Path
    list_path: Path
    recordings: tuple[Recording, ...]


class RavenWriter(AnnotationWriter):
    """Tab-separated tables that Raven opens beside the sound.

    In a combined table ``Begin Time (s)`` counts from the first file of the list, silent files included.
    """

    name: ClassVar[str] = "raven"
    suffix: ClassVar[str] = ".selections.txt"
    is_per_file: ClassVar[bool] = True
    names_folders: ClassVar[bool] = True

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        self._asks_several = len(export.queries) > 1
        self._sequences = [] if self.per_file else self._found_sequences()
        self._places: dict[str, tuple[_Table, Fraction]] = {}
        self._table: _Table

    def paths(self) -> Iterator[Path]:
        """Yield the tables, and beside combined ones their lists."""
        if self.per_file:
            yield from super().paths()
        for sequence in self._sequences:
            yield from (sequence.path, sequence.list_path)

    def start(self) -> None:
        """Open combined tables and write their lists."""
        for sequence in self._sequences:
            listed = self.opened(sequence.list_path, self._files)
            self.open_file(sequence.path, self._files)
            begin = Fraction(0)
            for recording in sequence.recordings:
                listed.write(f"{one_line(recording.path)}\n")
                self._places[recording.name] = (self._table, begin)
                begin += recording.exact_seconds or 0

    def begin(self, recording: Recording) -> None:
        """Take up a recording, at its place in its sequence."""
        super().begin(recording)
        if recording.nyquist_hz is None and not recording.failed:
            self.doubts[
                "recordings of unknown sample rate, whose bands Raven may refuse: give --audio-root"
            ] += 1
        self._head = f"{plain_cell(recording.file_name)}\t{plain_cell(recording.path)}"
        if not self.per_file:
            self._is_placed = recording.name in self._places
            if self._is_placed:
                self._table, self._table.begin_seconds = self._places[recording.name]

    def head(self, file: TextIO) -> None:
        """Take the file and write the names of the columns."""
        self._table = _Table(file)
        more = ("Query",) * self._asks_several + ("Windows",) * self.merges
        file.write("\t".join((*COLUMNS, *more)) + "\n")

    def annotation(self, annotation: Annotation) -> None:
        """Write a selection; one whose band no such file can hold is left out."""
        answer = annotation.answer
        band = band_hz(answer, self.recording.nyquist_hz)
        if not self.per_file and not self._is_placed:
            self.leave_out("annotations of recordings of unknown length, which have no place in a sequence")
            return
        if band is None:
            self.leave_out("annotations whose band is above the highest frequency of their recording")
            return
        table = self._table
        table.selections += 1
        begin = float(table.begin_seconds)
        score = "" if annotation.score is None else f"{annotation.score:.4f}"
        line = (
            f"{table.selections}\tSpectrogram 1\t{answer.channel if isinstance(answer.channel, int) else 1}\t"
            f"{begin + annotation.start_seconds:.6f}\t{begin + annotation.end_seconds:.6f}\t"
            f"{_hertz(band[0])}\t{_hertz(band[1])}\t{self._head}\t{annotation.start_seconds:.6f}\t"
            f"{plain_cell(annotation.label)}\t{score}\t{plain_cell(annotation.scientific_name or '')}"
        )
        if self._asks_several:
            line += f"\t{plain_cell(answer.query)}"
        if self.merges:
            line += f"\t{annotation.windows}"
        table.file.write(f"{line}\n")

    def _found_sequences(self) -> list[_Sequence]:
        """Group the recordings as Raven can join them; those of unknown length are counted and left out."""
        groups: dict[tuple[int | None, int | None], list[Recording]] = {}
        for name in self.export.names:
            recording = self.export.run.recording(name)
            if recording.exact_seconds is None:
                self.left_out["recordings of unknown length, which have no place in a sequence"] += 1
                continue
            groups.setdefault((recording.sample_rate_hz, recording.channels), []).append(recording)
        folder = self.export.folder
        return [
            _Sequence(folder / f"{stem}{self.suffix}", folder / f"{stem}{LIST_SUFFIX}", tuple(recordings))
            for stem, recordings in (
                (_stem(*key, alone=len(groups) < 2), groups[key]) for key in sorted(groups, key=str)
            )
        ]


def _stem(rate_hz: int | None, channels: int | None, *, alone: bool) -> str:
    if alone:
        return COMBINED
    rate = "unknown_rate" if rate_hz is None else f"{rate_hz}Hz"
    return f"{COMBINED}_{rate}_{channels or 'unknown_'}ch"


def _hertz(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
