"""Files that recorders write beside their recordings: AudioMoth's CONFIG.TXT, BATLOGGER's XML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from naturelm_audio.metadata.fields import Found, config_zone

__all__ = ["audiomoth_zone", "batlogger_time"]

MOST_BYTES = 1 << 16
DATE_TIME = re.compile(r"<DateTime>\s*(\d\d)\.(\d\d)\.(\d{4})\s+(\d\d):(\d\d):(\d\d)", re.I)


def audiomoth_zone(path: Path) -> str | None:
    """Return the zone in CONFIG.TXT on a recording's card (its folder or the one above); None if none."""
    for folder in (path.parent, path.parent.parent):
        text = _start_of(folder / "CONFIG.TXT")
        if text is not None:
            return config_zone(text)
    return None


def batlogger_time(path: Path) -> Iterator[Found]:
    """Yield what BATLOGGER's file of the same name says: a local time."""
    if not path.stem.isdigit():
        return
    text = _start_of(path.with_suffix(".xml")) or ""
    match = DATE_TIME.search(text)
    if match is None:
        return
    day, month, year, hour, minute, second = (int(part) for part in match.groups())
    try:
        time = datetime(year, month, day, hour, minute, second)
    except ValueError:
        yield Found(source="batlogger", warnings=(f"BATLOGGER's time does not exist: {match[0]!r}",))
        return
    yield Found(source="batlogger", time=time, model="BATLOGGER")


def _start_of(path: Path) -> str | None:
    """Return the beginning of a text file; None if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
