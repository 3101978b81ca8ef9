"""The rows of other programs' tables as text: which column holds what, and which rows are no events.

Nothing is checked here but what depends on the program; :mod:`~naturelm_audio.train.manifest.events` does the
rest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.tables import Row, Table, number

__all__ = [
    "Raw", "TimeUnit", "audacity_rows", "base_name", "generic_rows", "is_audacity", "kaleidoscope_rows",
    "raven_files", "raven_rows", "reviewed_rows", "to_seconds",
]  # fmt: skip

TimeUnit = Literal["seconds", "milliseconds", "hh:mm:ss"]

_RAVEN = {
    "selection": "selection",
    "view": "view",
    "channel": "channel",
    "begin": "begin_time",
    "end": "end_time",
    "low": "low_freq",
    "high": "high_freq",
    "file": "begin_file",
    "path": "begin_path",
    "offset": "file_offset",
    "scientific": "scientific_name",
}
_RAVEN_LABELS = ("annotation", "species", "common_name", "label")
_PATHS = ("path", "file", "filename", "audio_path", "audiofilename", "filepath")
_STARTS = ("start_seconds", "start", "begin", "onset", "begin_time")
_ENDS = ("end_seconds", "end", "offset", "end_time", "stop")
_LABELS = (
    "corrected_label", "corrected", "common_name", "label", "species", "text", "label:species", "output",
    "annotation", "scientific_name",
)  # fmt: skip


@dataclass
class Raw:
    """A row as text; ``dropped`` says why it is no event, ``fault`` what is wrong with it."""

    line: int
    start: str = ""
    end: str = ""
    is_length: bool = False
    """Whether ``end`` counts from the start."""
    shift_seconds: float = 0.0
    """From the table's time to that of the file."""
    label: str = ""
    audio: str = ""
    scientific_name: str = ""
    low_hz: str = ""
    high_hz: str = ""
    channel: str = ""
    confidence: str = ""
    dropped: str = ""
    fault: str = ""


def to_seconds(text: str, unit: TimeUnit = "seconds") -> float:
    """Return a time of a table.

    Raises:
        ValueError: it is none, or one of another unit.
    """
    if unit == "hh:mm:ss":
        parts = [number(part) for part in text.strip().split(":")]
        if len(parts) > 3:
            raise ValueError(f"{text!r} is no time like hh:mm:ss")
        return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))
    if ":" in text:
        raise ValueError(f"{text!r} looks like hh:mm:ss: say so with the time unit")
    return number(text) / (1000.0 if unit == "milliseconds" else 1.0)


def raven_files(table: Table) -> set[str]:
    """Return the names of all recordings in a selection table."""
    columns = [table.column("begin_path"), table.column("begin_file")]
    named = {base_name(_cell(row, columns[0]) or _cell(row, columns[1])) for row in table.rows}
    return named - {""}


def raven_rows(
    table: Table, label_column: str | None, unit: TimeUnit, starts: Mapping[str, float] | None
) -> Iterator[Raw]:
    """Yield selections, one for each number and file: of several views that of the spectrogram.

    Args:
        table: the selections.
        label_column: where the labels are, if that isn't plain.
        unit: of times.
        starts: name of a recording -> where it starts in the sequence, for tables without file offsets.
    """
    columns = {name: table.column(theirs) for name, theirs in _RAVEN.items()}
    columns["label"] = _label_column(table, label_column, _RAVEN_LABELS)
    columns["score"] = table.column("score", "confidence")
    several = len(raven_files(table)) > 1
    by_selection: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for place, row in enumerate(table.rows):
        cells = {name: _cell(row, column) for name, column in columns.items()} | {"line": str(row.line)}
        selection = cells["selection"] or f"row {place}"
        by_selection[cells["path"] or cells["file"], selection].append(cells)
    for views in by_selection.values():
        chosen = next((one for one in views if "spectrogram" in one["view"].casefold()), views[0])
        for _ in views[1:]:
            yield Raw(int(chosen["line"]), dropped="another view of the same selection")
        yield _selection(chosen, unit, starts, several)


def _selection(
    cells: Mapping[str, str], unit: TimeUnit, starts: Mapping[str, float] | None, several: bool
) -> Raw:
    raw = Raw(
        int(cells["line"]),
        start=cells["begin"],
        end=cells["end"],
        label=cells["label"],
        audio=cells["path"] or cells["file"],
        scientific_name=cells["scientific"],
        low_hz=cells["low"],
        high_hz=cells["high"],
        channel=cells["channel"],
        confidence=cells["score"],
    )
    try:
        if cells["offset"]:
            raw.shift_seconds = to_seconds(cells["offset"], unit) - to_seconds(cells["begin"], unit)
        elif starts is not None:
            raw.shift_seconds = -starts[base_name(raw.audio)]
        elif several:
            raw.fault = "no file offset in a table of several recordings"
    except KeyError:
        raw.fault = f"{raw.audio or 'its recording'} is not in the list of the sequence"
    except ValueError as error:
        raw.fault = str(error)
    return raw


def is_audacity(text: str) -> bool:
    """Return whether the first line is two numbers and perhaps a label, with tabs between."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        return "\t" in first and number(first.split("\t")[0]) >= 0
    except ValueError:
        return False


def audacity_rows(text: str) -> Iterator[Raw]:
    """Yield labels; a line that starts with a backslash has the band of the label above."""
    waiting: Raw | None = None
    for line, content in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in content.split("\t")]
        if cells[0] == "\\":
            if waiting is not None and len(cells) > 2:
                waiting.low_hz, waiting.high_hz = (
                    "" if cell.startswith("-") else cell for cell in cells[1:3]
                )
            continue
        if waiting is not None:
            yield waiting
        waiting = _audacity_row(line, cells) if content.strip() else None
    if waiting is not None:
        yield waiting


def _audacity_row(line: int, cells: Sequence[str]) -> Raw:
    if len(cells) < 2:
        return Raw(line, fault="not like 'start, tab, end, tab, label'")
    try:
        point = number(cells[0]) == number(cells[1])
    except ValueError:
        # Very old versions wrote the start and the text only.
        point = len(cells) == 2
    if point:
        return Raw(line, dropped="a point, not a span")
    return Raw(line, start=cells[0], end=cells[1], label=cells[2] if len(cells) > 2 else "")


def kaleidoscope_rows(table: Table) -> Iterator[Raw]:
    """Yield detections: the label of the user, else of the program; score is 1 - distance."""
    manual, top = table.column("manual_id"), table.column("top1match", "auto_id")
    distance = table.column("top1dist")
    for row in table.rows:
        parts = [_cell(row, table.column(name)).replace("\\", "/") for name in ("indir", "folder", "in_file")]
        path = "/".join(
            part.rstrip("/") if place == 0 else part.strip("/") for place, part in enumerate(parts) if part
        )
        by_hand, far = _cell(row, manual), _cell(row, distance)
        raw = Raw(
            row.line,
            start=_cell(row, table.column("offset")) or "0",
            end=_cell(row, table.column("duration")),
            is_length=True,
            label=by_hand or _cell(row, top),
            audio=path,
        )
        try:
            raw.confidence = "" if by_hand or not far else str(1.0 - min(1.0, max(0.0, number(far))))
        except ValueError as error:
            raw.fault = f"TOP1DIST: {error}"
        yield raw


def generic_rows(table: Table, label_column: str | None) -> Iterator[Raw]:
    """Yield rows of BirdNET tables, of ours as CSV, and of any other with times and a label.

    Raises:
        ManifestError: a column of times or labels is missing.
    """
    start, end = table.column(*_STARTS), table.column(*_ENDS)
    if start is None or end is None:
        listed = ", ".join(table.columns)
        raise ManifestError(f"{table.path}: no columns of start and end times; it has {listed}")
    label, audio = _label_column(table, label_column, _LABELS), table.column(*_PATHS)
    return (
        Raw(
            row.line,
            start=_cell(row, start),
            end=_cell(row, end),
            label=_cell(row, label),
            audio=_cell(row, audio),
            scientific_name=_cell(row, table.column("scientific_name")),
            low_hz=_cell(row, table.column("low_freq", "low_freq_hz")),
            high_hz=_cell(row, table.column("high_freq", "high_freq_hz")),
            channel=_cell(row, table.column("channel")),
            confidence=_cell(row, table.column("confidence", "score")),
        )
        for row in table.rows
    )


def reviewed_rows(text: str) -> Iterator[Raw]:
    """Yield the events of our own JSON rows; one with several labels gives several."""
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            yield Raw(line, fault="not a JSON object")
        elif row.get("error"):
            yield Raw(line, dropped="a recording that failed")
        else:
            yield from _reviewed(line, row)


def _reviewed(line: int, row: Mapping[str, Any]) -> Iterator[Raw]:
    labels = row.get("corrected_label") or row.get("labels") or row.get("label") or row.get("output") or ""
    for label in labels if isinstance(labels, list) else str(labels).split(","):
        known = label if isinstance(label, dict) else {"label": label}
        yield Raw(
            line,
            start=str(row.get("start_seconds", "")),
            end=str(row.get("end_seconds", "")),
            label=str(known.get("label", "")).strip(),
            audio=str(row.get("audio_path", row.get("path", ""))),
            scientific_name=str(known.get("scientific_name") or ""),
        )


def base_name(path: str) -> str:
    """Return the name of a file of any system, without case."""
    return PurePosixPath(path.replace("\\", "/")).name.casefold()


def _label_column(table: Table, given: str | None, names: Sequence[str]) -> str:
    found = table.column(given) if given else table.column(*names)
    if found is None:
        wanted = repr(given) if given else "such as Annotation, Species or Label"
        raise ManifestError(f"{table.path}: no column {wanted} for labels; it has {', '.join(table.columns)}")
    return found


def _cell(row: Row, column: str | None) -> str:
    return row.cells.get(column, "").strip() if column else ""
