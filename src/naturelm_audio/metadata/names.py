"""File names of recorders -> start time and device. The whole name must fit, not any run of digits in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from naturelm_audio.metadata.clocks import parse_offset

__all__ = ["NamedTime", "read_name"]

YEARS = range(1970, 2100)
FIRST_AUDIOMOTH_YEAR = 2017


@dataclass(frozen=True, kw_only=True)
class NamedTime:
    """What a file name says. ``time`` has a zone only if the name has one, or its kind is always UTC.

    With a ``part`` above 0 it is the start of the recording that was split.
    """

    time: datetime
    recorder: str | None = None
    prefix: str | None = None
    part: int = 0
    warning: str | None = None


DATE = r"(?P<date>\d{8})"
CLOCK = r"(?P<clock>\d{6})"
ISO = re.compile(
    rf"(?:(?P<prefix>.+?)[_-])?{DATE}T{CLOCK}(?:\.(?P<fraction>\d{{1,6}}))?"
    r"(?P<zone>Z|[+-]\d\d[:_]?\d\d)?(?:[_-].*)?",
    re.I,
)
AUDIOMOTH = re.compile(rf"(?:(?P<prefix>[0-9A-F]{{16}})_)?{DATE}_{CLOCK}(?P<triggered>T)?", re.I)
AUDIOMOTH_HEX = re.compile(r"[0-9A-F]{8}", re.I)
SONG_METER = re.compile(
    rf"(?P<prefix>.*?)(?:_+(?:0\+1|-?[01]-?))?_+{DATE}[_$]{CLOCK}(?:_(?P<fraction>\d{{6}})|_(?P<part>\d{{3}}))?"
)
SOUNDTRAP = re.compile(rf"(?P<prefix>\d{{3,}})\.(?P<date>\d{{6}}){CLOCK}")
# Letters, digits and signs around a date and a time that are set apart; neither side may add a digit.
OTHER = re.compile(
    r"(?P<prefix>(?:.*[^\d])?)(?P<date>\d{4}(?P<gap>[-_.]?)\d\d(?P=gap)\d\d)[-_ T.]*"
    r"(?P<clock>\d\d(?P<mark>[-_.:]?)\d\d(?P=mark)\d\d)(?:[^\d].*)?",
    re.I,
)


def read_name(stem: str, *, recorder: str = "auto", now: datetime | None = None) -> NamedTime | None:
    """Return what the name of a recording (without its extension) says; None if it fits no pattern.

    Args:
        stem: the name.
        recorder: try the patterns of this one only, and the general ones; auto tries all.
        now: for the check of the oldest AudioMoth names, which could be any number.
    """
    if recorder in ("auto", "audiomoth"):
        found = _hex_time(stem, now or datetime.now(UTC), forced=recorder == "audiomoth")
        if found is not None:
            return found
    for family, pattern, build in PATTERNS:
        match = pattern.fullmatch(stem) if family in (recorder, "any") or recorder == "auto" else None
        found = build(match) if match is not None else None
        if found is not None:
            return found
    return None


def _hex_time(stem: str, now: datetime, *, forced: bool) -> NamedTime | None:
    """Return the time of eight hex digits: seconds in UTC. Most numbers of eight digits are none."""
    if AUDIOMOTH_HEX.fullmatch(stem) is None:
        return None
    time = datetime.fromtimestamp(int(stem, 16), UTC)
    if not forced and not (time.year >= FIRST_AUDIOMOTH_YEAR and time <= now + timedelta(days=1)):
        return None
    return NamedTime(time=time, recorder="audiomoth")


def _iso(match: re.Match[str]) -> NamedTime | None:
    time = _time(match["date"], match["clock"], match["fraction"])
    if time is None:
        return None
    if match["zone"]:
        zone = parse_offset(match["zone"].replace("_", ""))
        if zone is None:
            return None
        time = time.replace(tzinfo=zone)
    return NamedTime(time=time, prefix=match["prefix"])


def _audiomoth(match: re.Match[str]) -> NamedTime | None:
    time = _time(match["date"], match["clock"])
    if time is None:
        return None
    triggered, device = match["triggered"], match["prefix"]
    warning = "triggered recording: times after its first gap are too early until it is expanded"
    return NamedTime(
        time=time,
        recorder="audiomoth" if triggered or device else None,
        prefix=device,
        warning=warning if triggered else None,
    )


def _song_meter(match: re.Match[str]) -> NamedTime | None:
    time = _time(match["date"], match["clock"], match["fraction"])
    if time is None:
        return None
    part = int(match["part"] or 0)
    warning = f"part of a split recording: the name of part {part} has the start of the whole"
    return NamedTime(
        time=time,
        recorder="song-meter" if match["prefix"] else None,
        prefix=match["prefix"] or None,
        part=part,
        warning=warning if part else None,
    )


def _soundtrap(match: re.Match[str]) -> NamedTime | None:
    time = _time(f"20{match['date']}", match["clock"])
    return NamedTime(time=time, recorder="soundtrap", prefix=match["prefix"]) if time else None


def _other(match: re.Match[str]) -> NamedTime | None:
    time = _time(re.sub(r"\D", "", match["date"]), re.sub(r"\D", "", match["clock"]))
    return NamedTime(time=time, prefix=match["prefix"].strip("-_. ") or None) if time else None


def _time(date: str, clock: str, fraction: str | None = None) -> datetime | None:
    """Return digits as a time; None if they are out of range, so that the name means something else."""
    year = int(date[:4])
    digits = (int(date[4:6]), int(date[6:]), int(clock[:2]), int(clock[2:4]), int(clock[4:]))
    try:
        time = datetime(year, *digits, int((fraction or "0").ljust(6, "0")))
    except ValueError:
        return None
    return time if year in YEARS else None


PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], NamedTime | None]], ...] = (
    ("any", ISO, _iso),
    ("audiomoth", AUDIOMOTH, _audiomoth),
    ("song-meter", SONG_METER, _song_meter),
    ("soundtrap", SOUNDTRAP, _soundtrap),
    ("any", OTHER, _other),
)
"""Family, pattern of the whole name, and what it means; the first that fits wins."""
