"""What is known of recordings as a table, which can be corrected and given back with ``--metadata``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from naturelm_audio.audio import probe
from naturelm_audio.errors import AudioError, MissingExtraError
from naturelm_audio.metadata.clocks import iso_time
from naturelm_audio.metadata.noting import FieldNotes
from naturelm_audio.metadata.reading import RecordingMetadata
from naturelm_audio.recordings import Recording

__all__ = ["LISTED", "listing"]

LISTED = (
    "audio_path",
    "start_time",
    "time_source",
    "latitude",
    "longitude",
    "make",
    "model",
    "serial",
    "sample_rate",
    "time_expansion",
    "duration_seconds",
)
"""The columns of the table."""


def listing(recordings: Iterable[Recording], notes: FieldNotes) -> Iterator[str]:
    """Yield the lines of a CSV with one row per recording, the header first; empty cells are unknown.

    Raises:
        OptionsError: the user's own table can't be used.
    """
    yield _line(LISTED)
    for recording in recordings:
        yield _line(_cells(recording, notes.of(recording)))


def _cells(recording: Recording, found: RecordingMetadata) -> tuple[object, ...]:
    rate_hz, seconds = found.sample_rate_hz, found.duration_seconds
    if rate_hz is None or seconds is None:
        rate_hz, seconds = _header(recording)
    return (
        recording.name,
        iso_time(found.start) if found.start else "",
        found.time_source or "",
        "" if found.latitude is None else f"{found.latitude:.5f}",
        "" if found.longitude is None else f"{found.longitude:.5f}",
        found.make or "",
        found.model or "",
        found.serial or "",
        rate_hz or "",
        f"{found.time_expansion:g}",
        "" if seconds is None else round(seconds, 6),
    )


def _header(recording: Recording) -> tuple[int | None, float | None]:
    """Return rate and length as the decoder sees them; None for what is no sound."""
    try:
        info = probe(recording.path)
    except (AudioError, MissingExtraError):
        return None, None
    return info.sample_rate_hz, info.duration_seconds


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
