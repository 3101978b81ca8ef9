"""Times and zones: text -> datetime, local time -> instant. Never guesses a zone, and never the computer's.

A datetime without a zone is a wall-clock reading whose zone is unknown; one with a zone is an instant.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from naturelm_audio.errors import OptionsError

__all__ = ["iso_time", "localised", "moved", "parse_offset", "parse_time", "parse_zone", "seconds_between"]

TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8})[Tt_ ]\s*"
    r"(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<zone>[Zz]|UTC|[+-]\d\d:?\d\d|[+-]\d\d)?"
)
OFFSET = re.compile(r"(?:UTC|GMT)?\s*(?P<sign>[+\-\u2212])(?P<hours>\d{1,2})(?::?(?P<minutes>\d\d))?", re.I)
GREENWICH = frozenset({"utc", "gmt", "z"})
YEARS = range(1900, 2200)  # far enough from the ends of what can be computed with
LONGEST_OFFSET = timedelta(hours=15)


def parse_zone(text: str) -> tzinfo:
    """Return the zone of an IANA name (``Europe/Berlin``) or a fixed offset (``+02:00``, ``UTC-5``, ``Z``).

    Raises:
        OptionsError: there is no such zone; it names a near one.
    """
    name = text.strip()
    fixed = parse_offset(name)
    if fixed is not None:
        return fixed
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # a path, a folder of zones, an unknown name
        pass
    folded = {zone.casefold(): zone for zone in available_timezones()}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {folded[near[0]]!r}?" if near else "examples: Europe/Berlin, UTC, +02:00"
    raise OptionsError(f"--time-zone {text!r}: there is no such zone; {hint}")


def parse_offset(text: str) -> timezone | None:
    """Return the zone of ``UTC``, ``Z``, ``+02:00``, ``UTC-5``, ``UTC+5:30``, ``-0330``; None for others."""
    text = text.strip()
    if text.casefold() in GREENWICH:
        return UTC
    found = OFFSET.fullmatch(text)
    if found is None or int(found["minutes"] or 0) > 59:
        return None
    offset = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"] or 0))
    if offset > LONGEST_OFFSET:
        return None
    return timezone(offset if found["sign"] == "+" else -offset) if offset else UTC


def parse_time(text: str) -> datetime | None:
    """Return a date and time of ISO 8601, with a zone if the text has one; None if it is not one."""
    found = TIME.fullmatch(text.strip())
    if found is None:
        return None
    date = found["date"].replace("-", "")
    microseconds = int((found["fraction"] or "0").ljust(6, "0")[:6])
    zone = None
    if found["zone"]:
        zone = parse_offset(found["zone"])
        if zone is None:
            return None
    clock = (int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    try:
        time = datetime(int(date[:4]), int(date[4:6]), int(date[6:]), *clock, microseconds, zone)
    except ValueError:
        return None
    return time if time.year in YEARS else None


def localised(local: datetime, zone: tzinfo) -> tuple[datetime, str | None]:
    """Return the instant at which clocks of the zone showed a local time, and a warning if that is unclear.

    A time that occurs twice in autumn is taken as the first; one that doesn't exist in spring is moved
    forward by what the clocks were.
    """
    early = local.replace(tzinfo=zone, fold=0)
    if early.utcoffset() == local.replace(tzinfo=zone, fold=1).utcoffset():
        return early, None
    moved_time = early.astimezone(UTC).astimezone(zone)
    if moved_time.replace(tzinfo=None, fold=0) != local:
        return (
            moved_time,
            f"local time does not exist: {iso_time(local)} in {zone}, taken as {iso_time(moved_time)}",
        )
    return early, f"local time occurs twice: {iso_time(local)} in {zone}, taken as the first"


def moved(time: datetime, seconds: float) -> datetime:
    """Return the time so many seconds later in absolute time, as clocks of its zone show it then."""
    step = timedelta(microseconds=round(seconds * 1_000_000))
    if time.tzinfo is None:
        return time + step
    return (time.astimezone(UTC) + step).astimezone(time.tzinfo)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Return the seconds from one time to another; of wall clocks if one of them has no zone."""
    if (earlier.tzinfo is None) != (later.tzinfo is None):
        earlier, later = earlier.replace(tzinfo=None), later.replace(tzinfo=None)
    elif earlier.tzinfo is not None:  # two times of one ZoneInfo would be subtracted as wall clocks
        earlier, later = earlier.astimezone(UTC), later.astimezone(UTC)
    return (later - earlier).total_seconds()


def iso_time(time: datetime) -> str:
    """Return ISO 8601 with the offset if it is known: ``2024-05-01T04:00:14.5+02:00``."""
    whole = time.replace(microsecond=0).isoformat()
    if not time.microsecond:
        return whole
    fraction = f".{time.microsecond:06d}".rstrip("0")
    return f"{whole[:19]}{fraction}{whole[19:]}"
