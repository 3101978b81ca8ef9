"""When, where and with what a recording was made: every source, in order of trust -> one typed answer.

The order: 1 the user; 2 GUANO with a zone; 3 AudioMoth's comment; 4 WAMD; 5 a file name with a zone; 6 a file
name and the user's zone; 7 GUANO or a broadcast chunk and the user's zone; 8 any local time, whose zone then
stays unknown. Times of the file system are never used, nor is the zone of the computer. Broken metadata never
fails a recording.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO

from naturelm_audio.errors import OptionsError
from naturelm_audio.metadata import chunks, fields, tags
from naturelm_audio.metadata.checks import clock_warning, sources_disagree
from naturelm_audio.metadata.clocks import iso_time, localised, moved, parse_offset, parse_zone
from naturelm_audio.metadata.fields import Found
from naturelm_audio.metadata.names import NamedTime, read_name
from naturelm_audio.metadata.sidecars import audiomoth_zone, batlogger_time
from naturelm_audio.metadata.table import KnownRow
from naturelm_audio.recorder_names import RECORDERS

__all__ = ["RecordingMetadata", "read_metadata"]

logger = logging.getLogger(__name__)

BELIEVED: dict[str, frozenset[str]] = {
    "auto": frozenset({"guano", "audiomoth", "wamd", "bext", "batlogger", "filename"}),
    "audiomoth": frozenset({"guano", "audiomoth", "filename"}),
    "song-meter": frozenset({"guano", "wamd", "filename"}),
    "guano": frozenset({"guano"}),
    "soundtrap": frozenset({"filename"}),
    "batlogger": frozenset({"guano", "batlogger"}),
    "filename": frozenset({"filename"}),
    "none": frozenset(),
}
ZONE_UNKNOWN = "time zone unknown"
PLAIN_FORMS = frozenset({1, 3, 0xFFFE})  # of WAV: whole numbers, floats, either with more in the header
MODELS = {"audiomoth": "AudioMoth", "soundtrap": "SoundTrap"}  # whose names are like no others'


@dataclass(frozen=True, kw_only=True)
class RecordingMetadata:
    """What is known of one recording.

    ``start`` has a zone if one is known, else it is a wall-clock reading. ``time_expansion`` N means that the
    file plays N times slower than life. ``details`` are the texts of its metadata as they are.
    """

    start: datetime | None = None
    time_source: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    elevation_m: float | None = None
    site: str | None = None
    make: str | None = None
    model: str | None = None
    serial: str | None = None
    label: str | None = None
    sample_rate_hz: int | None = None
    duration_seconds: float | None = None
    time_expansion: float = 1.0
    details: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def recorder(self) -> str | None:
        """Return the recorder as one text: the user's own, or model and serial number."""
        named = " ".join(part for part in (self.model, self.serial) if part)
        return self.label or named or None

    def time_at(self, seconds: float) -> datetime | None:
        """Return the time at so many seconds of the file as stored; None if the start is unknown."""
        return None if self.start is None else moved(self.start, seconds / self.time_expansion)

    def row_values(self, start_seconds: float | None, end_seconds: float | None) -> dict[str, Any]:
        """Return what a row of results says about this span of the recording, by the names of its keys."""
        values: dict[str, Any] = {
            "site": self.site,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "recorder": self.recorder,
            "sample_rate": self.sample_rate_hz,
            "duration_seconds": self.duration_seconds,
            "time_expansion": self.time_expansion if self.time_expansion != 1.0 else None,
            "warnings": self.warnings or None,
        }
        if self.start is not None and start_seconds is not None and end_seconds is not None:
            begin, end = self.time_at(start_seconds), self.time_at(end_seconds)
            values["start_time"] = iso_time(begin) if begin else None
            values["end_time"] = iso_time(end) if end else None
            values["time_source"] = self.time_source
        return {name: value for name, value in values.items() if value is not None}


def read_metadata(
    path: str | Path,
    *,
    recorder: str | None = None,
    time_zone: str | tzinfo | None = None,
    known: KnownRow | None = None,
    now: datetime | None = None,
) -> RecordingMetadata:
    """Return what a recording's metadata, its name and the user say about it.

    Args:
        path: the file; its header is read, never its sound. It need not exist for its name to be read.
        recorder: believe the sources of this one only, see RECORDERS; None and auto believe all.
        time_zone: of times that come without one: an IANA name, a fixed offset, or a zone.
        known: the user's own row, which wins over everything.
        now: the present, for the check of the clock.

    Raises:
        OptionsError: there is no such recorder or time zone.
    """
    kind = recorder or "auto"
    if kind not in BELIEVED:
        raise OptionsError(f"--recorder must be one of {', '.join(RECORDERS)}, found {recorder!r}")
    zone = parse_zone(time_zone) if isinstance(time_zone, str) else time_zone
    known = known or KnownRow()
    path = Path(path)
    raw = _Raw.of(path)
    sources = [found for found in raw.sources if found.source in BELIEVED[kind]]
    if "batlogger" in BELIEVED[kind]:
        sources.extend(batlogger_time(path))
    name = read_name(path.stem, recorder=kind, now=now) if "filename" in BELIEVED[kind] else None
    if any(found.source == "batlogger" for found in sources):
        name = None  # eight digits that count recordings
    zone = known.zone or zone or _zone_beside(path, sources, name)
    return _joined(known, sources, name, zone, raw, now)


@dataclass(frozen=True)
class _Raw:
    """What the file itself holds."""

    sources: tuple[Found, ...] = ()
    header_rate_hz: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, path: Path) -> _Raw:
        """Return the sources inside a file; none if it can't be read."""
        if not path.is_file():  # opening a pipe would wait for ever
            return cls()
        try:
            with open(path, "rb") as file:
                start = file.read(4)
                file.seek(0)
                reader = READERS.get(start[:3], READERS.get(start))
                return reader(file) if reader else cls()
        except OSError as error:
            logger.debug("%s: metadata not read: %s", path, error)
            return cls()


def _of_wav(file: BinaryIO) -> _Raw:
    found: list[Found | None] = []
    texts: dict[str, str] = {}
    form, rate_hz, bytes_per_second, length = 0, 0, 0, None
    for chunk in chunks.read_chunks(file):
        if chunk.name == b"fmt " and len(chunk.data) >= 12:
            form, _, rate_hz, bytes_per_second = struct.unpack_from("<HHII", chunk.data)
        elif chunk.name == chunks.SOUND:
            length = chunk.length
        elif chunk.name == b"guan":
            found.append(fields.parse_guano(chunk.data))
        elif chunk.name == b"wamd":
            found.append(fields.parse_wamd(chunk.data))
        elif chunk.name == b"bext":
            found.append(fields.parse_bext(chunk.data))
        elif chunk.name in (b"id3 ", b"ID3 "):
            found.extend(_of_tags(tags.parse_id3(chunk.data)))
        texts |= chunks.info_texts(chunk)
    found.append(fields.parse_audiomoth(texts.get("ICMT", ""), texts.get("IART", "")))
    known_length = length is not None and form in PLAIN_FORMS and bytes_per_second
    seconds = length / bytes_per_second if length is not None and known_length else None
    return _Raw(tuple(one for one in found if one is not None), rate_hz or None, seconds)


def _of_flac(file: BinaryIO) -> _Raw:
    found, rate_hz, seconds = tags.read_flac(file)
    return _Raw(tuple(_of_tags(found)), rate_hz, seconds)


def _of_mp3(file: BinaryIO) -> _Raw:
    return _Raw(tuple(_of_tags(tags.read_id3(file))))


def _of_ogg(file: BinaryIO) -> _Raw:
    return _Raw(tuple(_of_tags(tags.read_ogg(file))))


READERS: dict[bytes, Callable[[BinaryIO], _Raw]] = {
    b"RIFF": _of_wav,
    b"RF64": _of_wav,
    b"BW64": _of_wav,
    b"fLaC": _of_flac,
    b"ID3": _of_mp3,
    b"OggS": _of_ogg,
}
GUANO_KEYS = ("Timestamp", "Loc Position", "Make", "Model", "Serial", "TE", "Samplerate", "Loc Elevation")


def _of_tags(found: Mapping[str, str]) -> Iterator[Found]:
    """Yield what tags say that hold GUANO's keys or AudioMoth's sentence."""
    folded = {name.casefold(): text for name, text in found.items()}
    values = {key: folded[key.casefold()] for key in GUANO_KEYS if key.casefold() in folded}
    values |= {"Timestamp": folded["recordingstart"]} if "recordingstart" in folded else {}
    if values:
        yield fields.guano_found(values, "guano")
    sentence = fields.parse_audiomoth(folded.get("comment", ""), folded.get("artist", ""))
    if sentence is not None:
        yield sentence


def _zone_beside(path: Path, sources: list[Found], name: NamedTime | None) -> tzinfo | None:
    """Return the zone of AudioMoth's CONFIG.TXT for a name of AudioMoth's whose file doesn't tell."""
    if name is None or name.recorder not in ("audiomoth", None) or any(found.time for found in sources):
        return None
    text = audiomoth_zone(path)
    return parse_offset(text) if text else None


@dataclass(frozen=True)
class _Candidate:
    """One source's start time and how much it is trusted (1 most)."""

    trust: int
    source: str
    time: datetime
    warning: str | None = None


# Trust with a zone of its own, with the user's zone; local times come last, in this order.
TRUST = {
    "user": (1, 1),
    "guano": (2, 7),
    "audiomoth": (3, 3),
    "wamd": (4, 4),
    "filename": (5, 6),
    "batlogger": (5, 6),
    "bext": (7, 7),
}
LOCAL = 8


def _joined(
    known: KnownRow,
    sources: list[Found],
    name: NamedTime | None,
    zone: tzinfo | None,
    raw: _Raw,
    now: datetime | None,
) -> RecordingMetadata:
    """Return one answer of all sources, with what is doubtful about it."""
    candidates = list(_candidates(known, sources, name, zone))
    best = min(candidates, key=lambda one: one.trust) if candidates else None
    ordered = sorted(sources, key=lambda found: TRUST[found.source][0])
    make, model, serial = (_first(ordered, key) for key in ("make", "model", "serial"))
    named = name.recorder if name else None
    kind = " ".join(part for part in (make, model, named) if part)
    expansion, odd_rate = _time_expansion(ordered, raw.header_rate_hz)
    warnings = [warning for found in ordered for warning in found.warnings] + odd_rate
    warnings += _cut_from_another(ordered, raw.seconds, expansion)
    if best is not None:
        warnings += _doubts(best, candidates, kind, now)
    if name is not None and name.warning and best is not None and best.source == "filename":
        warnings.append(name.warning)
    places: list[KnownRow | Found] = [known, *ordered]
    placed = next((found for found in places if found.latitude is not None), known)
    return RecordingMetadata(
        start=best.time if best else None,
        time_source=best.source if best else None,
        latitude=placed.latitude,
        longitude=placed.longitude,
        elevation_m=_first(ordered, "elevation_m"),
        site=known.site,
        make=make,
        model=model or MODELS.get(named or ""),
        serial=serial or (name.prefix if name and named in MODELS else None),
        label=known.recorder,
        sample_rate_hz=raw.header_rate_hz,
        duration_seconds=raw.seconds,
        time_expansion=expansion,
        details={key: value for found in reversed(ordered) for key, value in found.details.items()},
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _candidates(
    known: KnownRow, sources: list[Found], name: NamedTime | None, zone: tzinfo | None
) -> Iterator[_Candidate]:
    """Yield every source's time; the order is that of trust among local times."""
    times: list[tuple[str, datetime | None]] = [("user", known.start)]
    times += [(found.source, found.time) for found in sources if found.source in ("audiomoth", "wamd")]
    others = [(found.source, found.time) for found in sources if found.source not in ("audiomoth", "wamd")]
    knows_part = any(time is not None for _, time in times + others)
    if name is not None and not (name.part and knows_part):  # the start of the whole disagrees with a part's
        times.append(("filename", name.time))
    times += others
    for source, time in times:
        if time is None:
            continue
        with_own, with_given = TRUST[source]
        if time.tzinfo is not None:
            yield _Candidate(with_own, source, time)
        elif zone is not None:
            yield _Candidate(with_given, source, *localised(time, zone))
        else:
            yield _Candidate(1 if source == "user" else LOCAL, source, time)


def _doubts(best: _Candidate, candidates: list[_Candidate], kind: str, now: datetime | None) -> Iterator[str]:
    """Yield what is doubtful about the start time that was chosen."""
    if best.warning:
        yield best.warning
    if best.time.tzinfo is None:
        yield ZONE_UNKNOWN
    wrong = clock_warning(best.time, kind, now=now)
    if wrong:
        yield wrong
    for other in candidates:
        if other is best or not sources_disagree(best.time, other.time):
            continue
        if best.source == "user" and clock_warning(other.time, kind, now=now):
            continue  # the user has mended a wrong clock
        yield (
            f"start times disagree: {best.source} says {iso_time(best.time)}, {other.source} "
            f"{iso_time(other.time)}; the first is taken"
        )


def _time_expansion(sources: list[Found], header_rate_hz: int | None) -> tuple[float, list[str]]:
    """Return how many times slower than life the file plays; the header's rate is believed, not GUANO's."""
    expansion = _first(sources, "time_expansion")
    expansion = float(expansion) if expansion and expansion > 0 else 1.0
    true_rate_hz = _first(sources, "true_rate_hz")
    if header_rate_hz and true_rate_hz and round(true_rate_hz) != round(header_rate_hz * expansion):
        return expansion, [
            f"GUANO Samplerate is not that of the header: {true_rate_hz:g} Hz, not {header_rate_hz} Hz times "
            f"{expansion:g}; the header is believed"
        ]
    return expansion, []


def _cut_from_another(sources: list[Found], seconds: float | None, expansion: float) -> list[str]:
    """Tell of a file that is shorter than its metadata say: a clip still has its recording's."""
    true_seconds = _first(sources, "true_seconds")
    if not seconds or not true_seconds:
        return []
    here = seconds / expansion
    if true_seconds - here <= max(1.0, 0.01 * true_seconds) or abs(true_seconds - seconds) <= 1.0:
        return []
    return [
        f"metadata are of a longer recording: of {true_seconds:g} s, and this file has {here:g} s; its start "
        "time may be that of the recording it was cut from"
    ]


def _first(sources: list[Found], name: str) -> Any:
    """Return the first source's value that is there."""
    return next((value for found in sources if (value := getattr(found, name)) is not None), None)
