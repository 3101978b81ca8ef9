"""The user's own table of recordings, folders and what is known about them: the most trusted source."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, tzinfo
from pathlib import Path

from naturelm_audio.errors import OptionsError
from naturelm_audio.files import encoding_of
from naturelm_audio.metadata.clocks import localised, parse_time, parse_zone

__all__ = ["KnownRow", "KnownTable", "read_known_table"]

COLUMNS = ("audio_path", "start_time", "time_zone", "latitude", "longitude", "site", "recorder")
MOST_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class KnownRow:
    """What the user knows of one recording, or of all in a folder; None where the cell is empty."""

    start: datetime | None = None
    zone: tzinfo | None = None
    latitude: float | None = None
    longitude: float | None = None
    site: str | None = None
    recorder: str | None = None

    def over(self, other: KnownRow) -> KnownRow:
        """Return this row with its gaps filled from a less special one."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.latitude is not None:  # a position is one thing
            own["longitude"] = self.longitude
        return replace(other, **{name: value for name, value in own.items() if value is not None})


class KnownTable:
    """Rows by the path that recordings have in results; a row for a folder holds for all below it."""

    def __init__(self, rows: Mapping[str, KnownRow]) -> None:
        """Keep the rows; keys are paths with "/" and without one at the end."""
        self.rows = dict(rows)
        self.unused = set(self.rows)

    def row(self, name: str) -> KnownRow:
        """Return what is known of the recording of this name, its folders' rows included.

        Raises:
            OptionsError: a row with a time of its own stands for a folder.
        """
        parts = name.split("/")
        found = KnownRow()
        for depth in range(len(parts)):
            folder = "/".join(parts[:depth]) or "."
            if folder in self.rows:
                if self.rows[folder].start is not None:
                    raise OptionsError(
                        f"--metadata: {folder!r} has a start_time, and is a folder with recordings"
                    )
                self.unused.discard(folder)
                found = self.rows[folder].over(found)
        if name not in self.rows:
            return found
        self.unused.discard(name)
        return self.rows[name].over(found)


def read_known_table(path: str | Path, *, zone: tzinfo | None = None) -> KnownTable:
    """Return a CSV with ``audio_path`` and any of start_time, time_zone, latitude, longitude, site, recorder.

    Reads comma, semicolon and tab, a byte-order mark, CRLF, and UTF-16 with a mark. Other columns are left
    aside. ``zone`` is that of times without one, where the row names none.

    Raises:
        OptionsError: naming the line that can't be used.
    """
    text = _text(Path(path))
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: dict[str, KnownRow] = {}
    try:
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        if "audio_path" not in names:
            columns = ", ".join(name for name in names if name) or "none"
            raise OptionsError(f"--metadata {path}: has no column audio_path; its columns are {columns}")
        reader.fieldnames = names
        for cells in reader:
            where = f"--metadata {path}, line {reader.line_num}"
            name, row = _row({key: (cells.get(key) or "").strip() for key in COLUMNS}, where, zone)
            if name in rows:
                raise OptionsError(f"{where}: {name} is there twice")
            rows[name] = row
    except csv.Error as error:
        raise OptionsError(f"--metadata {path}, line {reader.line_num}: is not a row: {error}") from None
    return KnownTable(rows)


def _row(cells: Mapping[str, str], where: str, zone: tzinfo | None) -> tuple[str, KnownRow]:
    name = cells["audio_path"].replace("\\", "/").removeprefix("./").rstrip("/") or cells["audio_path"]
    if not name:
        raise OptionsError(f"{where}: audio_path is empty")
    try:
        own_zone = parse_zone(cells["time_zone"]) if cells["time_zone"] else None
    except OptionsError as error:
        raise OptionsError(f"{where}: {str(error).removeprefix('--time-zone ')}") from None
    start = parse_time(cells["start_time"]) if cells["start_time"] else None
    if cells["start_time"] and start is None:
        raise OptionsError(
            f"{where}: start_time {cells['start_time']!r} is not a time like 2024-05-01T04:00:00+02:00"
        )
    local_zone = own_zone or zone
    if start is not None and start.tzinfo is None and local_zone is not None:
        start = localised(start, local_zone)[0]
    latitude, longitude = (_degrees(cells[key], where, key) for key in ("latitude", "longitude"))
    if (latitude is None) != (longitude is None):
        raise OptionsError(f"{where}: give both latitude and longitude, or neither")
    return name, KnownRow(
        start=start,
        zone=own_zone,
        latitude=latitude,
        longitude=longitude,
        site=cells["site"] or None,
        recorder=cells["recorder"] or None,
    )


def _degrees(cell: str, where: str, name: str) -> float | None:
    """Return decimal degrees; a comma is read where there is no point."""
    if not cell:
        return None
    limit = 90 if name == "latitude" else 180
    try:
        number = float(cell.replace(",", ".") if "." not in cell else cell)
    except ValueError:
        number = math.nan
    if not abs(number) <= limit:
        raise OptionsError(
            f"{where}: {name} must be decimal degrees from -{limit} to {limit}, found {cell!r}"
        )
    return number


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise OptionsError(f"--metadata {path}: is larger than 256 MB, so not a table of recordings")
        data = path.read_bytes()
    except OSError as error:
        raise OptionsError(f"--metadata {path}: can't be read: {error.strerror or error}") from None
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError:
        raise OptionsError(f"--metadata {path}: is not UTF-8 text: save it as UTF-8") from None
