"""Rows of results -> the same rows with when, where and with what they were recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from naturelm_audio.metadata.checks import SequenceCheck
from naturelm_audio.metadata.clocks import parse_zone
from naturelm_audio.metadata.reading import ZONE_UNKNOWN, RecordingMetadata, read_metadata
from naturelm_audio.metadata.table import KnownTable, read_known_table
from naturelm_audio.recordings import Recording
from naturelm_audio.records import Answer

__all__ = ["FieldNotes"]

logger = logging.getLogger(__name__)


class FieldNotes:
    """What is known of each recording, added to its rows. Rows come one recording after another.

    Args:
        recorder: believe this kind only, see ``RECORDERS``.
        time_zone: of times without one: an IANA name or a fixed offset.
        table: the user's own CSV, see :func:`read_known_table`.
        now: the present, for the check of clocks.
        named: so many recordings are named for each kind of doubt, the others counted.

    ``settings`` are JSON values that tell two runs apart: the table by its content, None if nothing is given.

    Raises:
        OptionsError: no such recorder or zone, or a table that can't be used.
    """

    def __init__(
        self,
        *,
        recorder: str = "auto",
        time_zone: str | None = None,
        table: Path | None = None,
        now: datetime | None = None,
        named: int = 1,
    ) -> None:
        self._recorder = recorder
        self._zone: tzinfo | None = parse_zone(time_zone) if time_zone else None
        self._table = read_known_table(table, zone=self._zone) if table else KnownTable({})
        self._now = now
        self._named = named
        self._sequence = SequenceCheck()
        self._current: tuple[str, RecordingMetadata] | None = None
        self._doubts: Counter[str] = Counter()
        digest = hashlib.sha256(table.read_bytes()).hexdigest()[:12] if table else None
        given = {"recorder": recorder, "time_zone": time_zone, "metadata": digest}
        default = {"recorder": "auto", "time_zone": None, "metadata": None}
        self.settings: dict[str, Any] | None = None if given == default else given

    def check(self, recordings: Iterable[Recording]) -> None:
        """Look each recording up in the user's table, and say which of its rows fit none.

        Raises:
            OptionsError: a row with a start time is for a folder.
        """
        for recording in recordings:
            self._table.row(recording.name)
        unused = sorted(self._table.unused)
        if unused:
            shown = ", ".join(unused[:3]) + (", ..." if len(unused) > 3 else "")
            logger.warning("--metadata: fit no recording (%d): %s", len(unused), shown)

    def of(self, recording: Recording) -> RecordingMetadata:
        """Return what is known of a recording; the last one is remembered.

        Raises:
            OptionsError: see :meth:`check`.
        """
        if self._current is None or self._current[0] != recording.name:
            found = read_metadata(
                recording.path,
                recorder=self._recorder,
                time_zone=self._zone,
                known=self._table.row(recording.name),
                now=self._now,
            )
            backwards = self._sequence.warning(recording.name, found.start)
            if backwards:
                found = dataclasses.replace(found, warnings=(*found.warnings, backwards))
            self._current = (recording.name, found)
            self._say(recording.name, found.warnings)
        return self._current[1]

    def described(self, answer: Answer, recording: Recording) -> Answer:
        """Return a row with what is known of its recording; what the row has already stays.

        Doubts are in it once. That a zone is unknown is taken back where a time is new.
        """
        values = self.of(recording).row_values(answer.start_seconds, answer.end_seconds)
        found = values.pop("warnings", ())
        new = {name: value for name, value in values.items() if getattr(answer, name) is None}
        before = answer.warnings or ()
        if "start_time" in new:
            before = tuple(warning for warning in before if warning != ZONE_UNKNOWN)
        return dataclasses.replace(answer, **new, warnings=tuple(dict.fromkeys((*before, *found))) or None)

    def close(self) -> None:
        """Say how many recordings had each kind of doubt, where not all were named."""
        for kind, count in self._doubts.items():
            if count > self._limit(kind):
                logger.warning("%d recordings: %s", count, kind)

    def _say(self, name: str, warnings: Iterable[str]) -> None:
        """Log the first doubts of each kind in full."""
        for warning in warnings:
            kind = warning.partition(":")[0]
            self._doubts[kind] += 1
            if self._doubts[kind] <= self._limit(kind):
                advice = ": give --time-zone" if kind == ZONE_UNKNOWN else ""
                logger.warning("%s: %s%s", name, warning, advice)

    def _limit(self, kind: str) -> int:
        """How many are named: of an unknown zone one, for it is the same for all."""
        return 1 if kind == ZONE_UNKNOWN else self._named
