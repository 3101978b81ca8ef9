"""The results table of BirdNET-Analyzer, which many scripts read; the ``model`` column says whose it is."""

from __future__ import annotations

from typing import ClassVar, TextIO

from naturelm_audio.formats.annotations import Annotation
from naturelm_audio.formats.text import csv_rows, decimal, moment
from naturelm_audio.formats.writing import AnnotationWriter, Export
from naturelm_audio.records import Answer

__all__ = ["BirdNetWriter"]

COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")
UNKNOWN = "-1"


class BirdNetWriter(AnnotationWriter):
    """One row per annotation; place and week are there if a recording has a place."""

    name: ClassVar[str] = "birdnet"
    suffix: ClassVar[str] = ".results.csv"

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        firsts = (export.run.first(name) for name in export.names)
        self._has_place = any(first is not None and first.latitude is not None for first in firsts)
        least = export.options.min_confidence
        self._least = () if least is None else (decimal(least),)

    def head(self, file: TextIO) -> None:
        """Take the file and write the names of the columns."""
        place = ("lat", "lon", "week") * self._has_place
        self._write = csv_rows(file, (*COLUMNS, *place, *(("min_conf",) if self._least else ()), "model"))

    def annotation(self, annotation: Annotation) -> None:
        """Write a row."""
        answer = annotation.answer
        score = "" if annotation.score is None else f"{annotation.score:.4f}"
        self._write(
            (
                decimal(annotation.start_seconds),
                decimal(annotation.end_seconds),
                *annotation.names,
                score,
                answer.audio_path,
                *(_place(answer) if self._has_place else ()),
                *self._least,
                answer.model,
            )
        )


def _place(answer: Answer) -> tuple[str, str, str]:
    latitude, longitude = (decimal(value) or UNKNOWN for value in (answer.latitude, answer.longitude))
    return latitude, longitude, _week(answer.start_time)


def _week(time: str | None) -> str:
    """Return BirdNET's week: four in every month, from 1 to 48."""
    date = moment(time)
    if date is None:
        return UNKNOWN
    return str((date.month - 1) * 4 + min(4, (date.day - 1) // 7 + 1))
