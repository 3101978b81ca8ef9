"""Audacity label tracks: start, end, text; one file for each recording, for the format can't name one."""

from __future__ import annotations

from typing import ClassVar, TextIO

from naturelm_audio.formats.annotations import Annotation, band_hz
from naturelm_audio.formats.text import one_line
from naturelm_audio.formats.writing import AnnotationWriter

__all__ = ["AudacityWriter"]


class AudacityWriter(AnnotationWriter):
    """Label tracks; the score stands in brackets behind the label."""

    name: ClassVar[str] = "audacity"
    suffix: ClassVar[str] = ".labels.txt"
    is_per_file: ClassVar[bool] = True
    only_one_way: ClassVar[bool] = True

    def head(self, file: TextIO) -> None:
        """Take the file; it has no header."""
        self._write = file.write

    def annotation(self, annotation: Annotation) -> None:
        """Write a label, and its band if that was asked for."""
        score = "" if annotation.score is None else f" ({annotation.score:.2f})"
        self._write(
            f"{annotation.start_seconds:.6f}\t{annotation.end_seconds:.6f}\t"
            f"{one_line(annotation.label)}{score}\n"
        )
        band = band_hz(annotation.answer, self.recording.nyquist_hz) if self.options.frequency_lines else None
        if band is not None:
            self._write(f"\\\t{band[0]:.6f}\t{band[1]:.6f}\n")
