"""What each kind of metadata says: GUANO, AudioMoth's sentence, WAMD, bext -> one typed :class:`Found`.

Nothing here fails: what can't be read becomes a warning or is left out.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from naturelm_audio.metadata.chunks import text_of
from naturelm_audio.metadata.clocks import parse_offset, parse_time

__all__ = ["Found", "config_zone", "parse_audiomoth", "parse_bext", "parse_guano", "parse_wamd", "position"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one source says about a recording. ``time`` has no zone if the source doesn't say which."""

    source: str
    time: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    elevation_m: float | None = None
    make: str | None = None
    model: str | None = None
    serial: str | None = None
    time_expansion: float | None = None
    true_rate_hz: float | None = None
    true_seconds: float | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def parse_guano(data: bytes, source: str = "guano") -> Found | None:
    """Return what a ``guan`` chunk says; None if it is not GUANO. Unknown keys are kept in ``details``."""
    lines = data.decode("utf-8", "replace").replace("\0", "").split("\n")
    pairs = [line.partition(":") for line in lines if ":" in line]
    values = {key.strip(): value.strip().replace("\\n", "\n") for key, _, value in pairs}
    return guano_found(values, source) if values else None


def guano_found(values: Mapping[str, str], source: str) -> Found:
    """Return what GUANO's keys say, wherever they were found."""
    warnings: list[str] = []
    stamp = values.get("Timestamp", "")
    time = parse_time(stamp)
    if stamp and time is None:
        warnings.append(f"GUANO Timestamp is not a time: {stamp[:40]!r}")
    latitude, longitude = _pair(values.get("Loc Position", ""), warnings)
    return Found(
        source=source,
        time=time,
        latitude=latitude,
        longitude=longitude,
        elevation_m=_number(values.get("Loc Elevation")),
        make=values.get("Make") or None,
        model=values.get("Model") or None,
        serial=values.get("Serial") or None,
        time_expansion=_number(values.get("TE")),
        true_rate_hz=_number(values.get("Samplerate")),
        true_seconds=_number(values.get("Length")),
        details=values,
        warnings=tuple(warnings),
    )


RECORDED = re.compile(
    r"Recorded at (?P<clock>\d{1,2}:\d\d:\d\d(?:\.\d+)?) (?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d{4})"
    r"\s*(?:\((?P<zone>[^)]*)\))?",
    re.I,
)
DEVICE = re.compile(r"AudioMoth\s+(?P<device>[0-9A-F]{8,16})", re.I)
DEPLOYMENT = re.compile(r"during deployment (?P<deployment>[0-9A-F]{8,16})", re.I)
GAIN = re.compile(
    r"at (?:gain (?:setting )?(?P<number>\d)|(?P<word>low-medium|medium-high|low|medium|high) gain)"
)
BATTERY = re.compile(
    r"battery (?:state )?was (?P<battery>(?:(?:less|greater) than |<\s*|>\s*)?\d+(?:\.\d+)?)\s*V"
)
TEMPERATURE = re.compile(r"temperature was (?P<temperature>-?\d+(?:\.\d+)?)\s*C")


def parse_audiomoth(comment: str, artist: str = "") -> Found | None:
    """Return what AudioMoth's sentence (``ICMT``) and name (``IART``) say; None if neither is its own."""
    if "audiomoth" not in f"{comment} {artist}".casefold():
        return None
    details = {"comment": comment}
    for pattern in (DEPLOYMENT, GAIN, BATTERY, TEMPERATURE):
        match = pattern.search(comment)
        if match is not None:
            kind = "gain" if pattern is GAIN else next(iter(match.groupdict()))
            details[kind] = next(value for value in match.groupdict().values() if value)
    device = DEVICE.search(comment) or DEVICE.search(artist)
    time, warnings = _recorded_at(comment)
    return Found(
        source="audiomoth",
        time=time,
        make="Open Acoustic Devices",
        model="AudioMoth",
        serial=device["device"].upper() if device else None,
        details=details,
        warnings=warnings,
    )


def _recorded_at(comment: str) -> tuple[datetime | None, tuple[str, ...]]:
    """Return the time of the sentence, with its zone if it names one."""
    match = RECORDED.search(comment)
    if match is None:
        return None, ()
    date = f"{match['year']}-{int(match['month']):02d}-{int(match['day']):02d}"
    time = parse_time(f"{date} {match['clock'].zfill(8)}")
    if time is None:
        return None, (f"AudioMoth's comment has no time that exists: {match[0]!r}",)
    zone = parse_offset(match["zone"] or "")
    if zone is None and match["zone"]:
        return time, (f"AudioMoth's comment has an unknown zone: {match['zone'][:20]!r}",)
    return time.replace(tzinfo=zone), ()


WAMD_MODEL, WAMD_SERIAL, WAMD_PREFIX, WAMD_TIME, WAMD_POSITION, WAMD_EXPANSION = 1, 2, 4, 5, 6, 15
WAMD_TEXTS = {WAMD_MODEL: "Model", WAMD_SERIAL: "Serial", 3: "Firmware", WAMD_PREFIX: "Prefix"}


def parse_wamd(data: bytes) -> Found | None:
    """Return what Wildlife Acoustics' ``wamd`` chunk says; None if it holds no record."""
    records = _wamd_records(data)
    if not records:
        return None
    warnings: list[str] = []
    texts = {key: text_of(value) for key, value in records.items()}
    stamp = texts.get(WAMD_TIME, "")
    time = parse_time(stamp)
    if stamp and time is None:
        warnings.append(f"WAMD timestamp is not a time: {stamp[:40]!r}")
    latitude, longitude = _wamd_position(texts.get(WAMD_POSITION, ""), warnings)
    expansion = records.get(WAMD_EXPANSION, b"")
    return Found(
        source="wamd",
        time=time,
        latitude=latitude,
        longitude=longitude,
        make="Wildlife Acoustics, Inc.",
        model=texts.get(WAMD_MODEL) or None,
        serial=texts.get(WAMD_SERIAL) or None,
        time_expansion=float(int.from_bytes(expansion[:2], "little")) if len(expansion) >= 2 else None,
        details={name: texts[key] for key, name in WAMD_TEXTS.items() if texts.get(key)},
        warnings=tuple(warnings),
    )


def _wamd_records(data: bytes) -> dict[int, bytes]:
    """Return the first value of each id; what follows a record that is cut off is left out."""
    records: dict[int, bytes] = {}
    place = 0
    while place + 6 <= len(data):
        key, length = struct.unpack_from("<HI", data, place)
        place += 6
        if place + length > len(data):
            break
        records.setdefault(key, data[place : place + length])
        place += length
    records.pop(0, None)  # the version of the chunk
    return records


def _wamd_position(text: str, warnings: list[str]) -> tuple[float | None, float | None]:
    """Return the position of ``WGS84,52.5,N,13.4,E`` or ``WGS84,52.5,13.4``."""
    parts = [part.strip() for part in text.split(",")[1:]]
    if len(parts) >= 4 and parts[1].upper() in ("N", "S") and parts[3].upper() in ("E", "W"):
        south, west = parts[1].upper() == "S", parts[3].upper() == "W"
        parts = [f"-{parts[0]}" if south else parts[0], f"-{parts[2]}" if west else parts[2]]
    return _pair(" ".join(parts[:2]), warnings)


def parse_bext(data: bytes) -> Found | None:
    """Return the time of a broadcast-wave chunk, which has no zone; None if it has no time."""
    if len(data) < 338:
        return None
    date, clock = text_of(data[320:330]), text_of(data[330:338])
    time = parse_time(f"{re.sub(r'[^0-9]', '-', date)} {re.sub(r'[^0-9]', ':', clock)}")
    if time is None:
        return None
    return Found(source="bext", time=time, details={"originator": text_of(data[256:288])})


CONFIG_ZONE = re.compile(r"^\s*Time ?zone\s*:\s*(?P<zone>UTC\S*)\s*$", re.MULTILINE | re.I)


def config_zone(text: str) -> str | None:
    """Return the zone that AudioMoth's CONFIG.TXT names; None if it names none."""
    match = CONFIG_ZONE.search(text)
    return match["zone"] if match and parse_offset(match["zone"]) else None


def position(latitude: float | None, longitude: float | None) -> tuple[float | None, float | None]:
    """Return a position on earth; None for both where it is none, or is 0, 0, which means "no fix"."""
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        return None, None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else (None, None)


def _pair(text: str, warnings: list[str]) -> tuple[float | None, float | None]:
    """Return latitude and longitude of a text with two numbers."""
    parts = re.split(r"[\s,]+", text.strip())
    if len(parts) < 2:
        return None, None
    latitude, longitude = _number(parts[0]), _number(parts[1])
    found = position(latitude, longitude)
    if found[0] is None and (latitude, longitude) != (0, 0):
        warnings.append(f"position is not one on earth: {text[:40]!r}")
    return found


def _number(text: str | None) -> float | None:
    """Return a finite number at the start of a text, as in ``34.0 m``."""
    match = re.match(r"\s*([+-]?\d{1,12}(?:\.\d+)?)", text or "")
    return float(match[1]) if match else None
