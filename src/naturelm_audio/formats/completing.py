"""Gaps of rows filled afterwards: times, zones and places that the user knows and the run did not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from naturelm_audio.formats.about import Run
from naturelm_audio.metadata.noting import FieldNotes
from naturelm_audio.recordings import Recording
from naturelm_audio.records import Answer

__all__ = ["Completer", "completer"]

Completer = Callable[[Run], Callable[[Answer], Answer]]


def completer(table: Path | None, time_zone: str | None) -> Completer | None:
    """Return what makes, for a run, the function that fills gaps of its rows; None if nothing was given.

    Raises:
        OptionsError: there is no such zone, or the table can't be used.
    """
    if table is None and time_zone is None:
        return None
    notes = FieldNotes(time_zone=time_zone, table=table)

    def of_run(run: Run) -> Callable[[Answer], Answer]:
        notes.check(Recording(run.file(name) or Path(name), name) for name in run.names)

        def complete(answer: Answer) -> Answer:
            if answer.start_time and not _has_zone(answer.start_time):  # read again, now with its zone
                answer = replace(answer, start_time=None, end_time=None, time_source=None)
            name = answer.audio_path
            return notes.described(answer, Recording(run.file(name) or Path(name), name))

        return complete

    return of_run


def _has_zone(time: str) -> bool:
    try:
        return datetime.fromisoformat(time).tzinfo is not None
    except ValueError:
        return False
