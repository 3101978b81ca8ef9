"""Does a clock look right? Not set, in the future, before the recorder was made, or going backwards."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from naturelm_audio.metadata.clocks import iso_time, seconds_between

__all__ = ["SequenceCheck", "clock_warning", "sources_disagree"]

# The first year of each; a little early rather than late.
FIRST_YEARS = {
    "audiomoth": 2017,
    "song meter micro": 2021,
    "song meter mini": 2019,
    "sm4": 2015,
    "sm3": 2013,
    "song meter": 2007,
    "soundtrap": 2012,
}
EARLIEST_YEAR = 2000  # clocks without a battery begin at 1970, 1980 or 2000-01-01
QUARTER_SECONDS = 900
SLACK_SECONDS = 2
DIGITS = re.compile(r"\d+")


def clock_warning(time: datetime, recorder: str | None = None, *, now: datetime | None = None) -> str | None:
    """Return what is wrong with a start time; None if nothing is.

    Args:
        time: with or without a zone.
        recorder: make, model or kind, for the year in which there was none yet.
        now: the present, an instant; the computer's clock by default.
    """
    now = now or datetime.now(UTC)
    shown = iso_time(time)
    if time.year < EARLIEST_YEAR or (time.year == EARLIEST_YEAR and time.timetuple().tm_yday == 1):
        return f"clock looks wrong: {shown} is what a clock shows that was not set"
    if seconds_between(now, time) > timedelta(days=1).total_seconds():
        return f"clock looks wrong: {shown} is in the future"
    name = (recorder or "").casefold().replace("-", " ")
    for kind, year in FIRST_YEARS.items():
        if kind in name:
            if time.year < year:
                return f"clock looks wrong: {shown} is before there was any {kind} ({year})"
            break
    return None


def sources_disagree(first: datetime, second: datetime) -> bool:
    """Return whether two times differ by more than 2 s and not by whole quarters of an hour (a zone)."""
    apart = abs(seconds_between(first, second))
    return SLACK_SECONDS < apart % QUARTER_SECONDS < QUARTER_SECONDS - SLACK_SECONDS


class SequenceCheck:
    """Watches recordings in order and tells of one that starts before the one that its number follows."""

    def __init__(self) -> None:
        """Begin without any recording."""
        self._last: dict[str, tuple[tuple[int, ...], datetime]] = {}

    def warning(self, name: str, start: datetime | None) -> str | None:
        """Return what is wrong with a recording's start beside the recording before it; None if nothing is.

        Only names are compared that differ in their numbers alone, the later one with the higher number.
        """
        if start is None:
            return None
        family = DIGITS.sub("#", name)
        numbers = tuple(int(digits) for digits in DIGITS.findall(name))
        before = self._last.get(family)
        self._last[family] = (numbers, start)
        if before is None or before[0] >= numbers or (before[1].tzinfo is None) != (start.tzinfo is None):
            return None
        if seconds_between(before[1], start) >= 0:
            return None
        return (
            f"clock looks wrong: starts at {iso_time(start)}, before the recording in front of it "
            f"({iso_time(before[1])})"
        )
