"""The table of Kaleidoscope: its eight columns and no others, and a distance where others have a score."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar, TextIO

from naturelm_audio.errors import OutputError
from naturelm_audio.files import clear_errors, text_encoding
from naturelm_audio.formats.about import Recording
from naturelm_audio.formats.annotations import Annotation
from naturelm_audio.formats.text import csv_rows, decimal
from naturelm_audio.formats.writing import AnnotationWriter

__all__ = ["KaleidoscopeWriter"]

COLUMNS = ("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST", "MANUAL ID")


class KaleidoscopeWriter(AnnotationWriter):
    """One row per annotation; a table in which the user has entered names is never replaced."""

    name: ClassVar[str] = "kaleidoscope"
    suffix: ClassVar[str] = ".kaleidoscope.csv"
    names_folders: ClassVar[bool] = True

    def check(self, path: Path) -> None:
        """Refuse to replace a table that has manual names.

        Raises:
            OutputError: it has.
        """
        with (
            clear_errors(path, "read"),
            open(path, encoding=text_encoding(path), errors="replace", newline="") as lines,
        ):
            if _has_manual_names(lines):
                raise OutputError(
                    f"{path}: has entries in MANUAL ID, which are never overwritten: move it, or choose "
                    "another --output-path"
                )

    def begin(self, recording: Recording) -> None:
        """Take up a recording."""
        super().begin(recording)
        self._place = (recording.folder, recording.sub_folder, recording.file_name)

    def head(self, file: TextIO) -> None:
        """Take the file and write the names of the columns."""
        self._write = csv_rows(file, COLUMNS)

    def annotation(self, annotation: Annotation) -> None:
        """Write a row; the distance is 1 - score, and the manual name is the user's."""
        seconds = round(annotation.end_seconds - annotation.start_seconds, 6)
        distance = "" if annotation.score is None else f"{1.0 - annotation.score:.4f}"
        start = decimal(annotation.start_seconds)
        self._write((*self._place, start, decimal(seconds), annotation.label, distance, ""))


def _has_manual_names(lines: TextIO) -> bool:
    """Return whether the user has entered a name, with whatever program the table was saved."""
    header = lines.readline()
    delimiter = max(",;\t", key=header.count)
    names = [cell.strip().casefold() for cell in next(csv.reader([header], delimiter=delimiter), [])]
    places = [place for place, name in enumerate(names) if name == COLUMNS[-1].casefold()]
    rows = csv.reader(lines, delimiter=delimiter)
    return any(row[place].strip() for row in rows for place in places if place < len(row))
