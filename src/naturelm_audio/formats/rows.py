"""The formats that keep every row: JSON Lines again, and CSV, which is also read back."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, TextIO

from naturelm_audio.errors import OutputError
from naturelm_audio.files import clear_errors, text_encoding
from naturelm_audio.formats.annotations import common_name_of
from naturelm_audio.formats.text import csv_rows, decimal, spreadsheet_safe
from naturelm_audio.formats.writing import RowWriter, TextWriter
from naturelm_audio.records import Answer, Label

__all__ = ["COLUMNS", "CsvWriter", "JsonLinesWriter", "read_csv"]

# fmt: off
COLUMNS = (
    "audio_path", "start_seconds", "end_seconds", "query", "output", "confidence", "label", "label_score",
    "scientific_name", "common_name", "start_time", "end_time", "latitude", "longitude", "site", "channel",
    "model", "model_revision", "run_id", "error",
)
# fmt: on
BYTE_ORDER_MARK = "\ufeff"
NO_LABEL = (None, None, None, None)
TEXTS = frozenset(COLUMNS) - {
    "start_seconds", "end_seconds", "confidence", "label_score", "start_time", "end_time", "latitude",
    "longitude", "channel", "run_id",
}  # fmt: skip


class JsonLinesWriter(RowWriter, TextWriter):
    """The rows themselves, in order, without lines that were none."""

    name: ClassVar[str] = "jsonl"
    suffix: ClassVar[str] = ".jsonl"

    def head(self, file: TextIO) -> None:
        """Take the file; it has no header."""
        self._write = file.write

    def write(self, answer: Answer) -> None:
        """Write a row."""
        self.rows += 1
        self._write(f"{answer.to_json()}\n")


class CsvWriter(RowWriter, TextWriter):
    """Comma-separated values by RFC 4180, one line per row or, long, one per label."""

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"

    def head(self, file: TextIO) -> None:
        """Take the file and write the names of the columns."""
        if self.options.byte_order_mark:
            file.write(BYTE_ORDER_MARK)
        self._write = csv_rows(file, COLUMNS)

    def write(self, answer: Answer) -> None:
        """Write a row, with its best label or each of them."""
        labels = answer.labels or ()
        for label in (labels if self.options.long else labels[:1]) or (None,):
            self.rows += 1
            cells = _cells(answer, label)
            self._write(_safe(cells) if self.options.spreadsheet_safe else cells)


def _cells(answer: Answer, label: Label | None) -> tuple[Any, ...]:
    named: tuple[Any, ...] = NO_LABEL
    if label is not None:
        named = (label.label, label.score, label.scientific_name, common_name_of(label))
    return (
        answer.audio_path,
        decimal(answer.start_seconds),
        decimal(answer.end_seconds),
        answer.query,
        answer.output,
        answer.confidence,
        *named,
        answer.start_time,
        answer.end_time,
        decimal(answer.latitude),
        decimal(answer.longitude),
        answer.site,
        answer.channel,
        answer.model,
        answer.model_revision,
        answer.run_id,
        answer.error,
    )


def _safe(cells: tuple[Any, ...]) -> list[Any]:
    """Return the cells with the texts that begin like a formula marked as text."""
    return [
        spreadsheet_safe(cell) if name in TEXTS and cell else cell
        for name, cell in zip(COLUMNS, cells, strict=True)
    ]


def read_csv(path: str | Path) -> Iterator[Answer]:
    """Yield the rows of a CSV file of this form; labels of the long form become one row each.

    No text means a missing value but the empty one, so the answer "None" stays what it is.

    Raises:
        OutputError: the file can't be read, or naming the line that is no row.
    """
    path = Path(path)
    with clear_errors(path, "read"), open(path, encoding=text_encoding(path), newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            missing = [name for name in COLUMNS[:5] if name not in (reader.fieldnames or ())]
            if missing:
                raise OutputError(f"{path}: has no column {', '.join(missing)}")
            for cells in reader:
                yield _answer(cells)
        except (csv.Error, ValueError) as error:
            raise OutputError(f"{path}, line {reader.line_num}: not a row of results ({error})") from None


def _answer(cells: dict[str, str]) -> Answer:
    row: dict[str, Any] = {name: cells.get(name) or None for name in COLUMNS}
    for name in ("start_seconds", "end_seconds", "confidence", "label_score", "latitude", "longitude"):
        row[name] = None if row[name] is None else float(row[name])
    if row["channel"] is not None and row["channel"] != "mix":
        row["channel"] = int(row["channel"])
    label = {name: row.pop(name) for name in ("label", "label_score", "scientific_name", "common_name")}
    label["score"] = label.pop("label_score")
    row["labels"] = (Label(**label),) if label["label"] is not None else None
    row["audio_path"], row["query"] = cells["audio_path"], cells["query"]
    if row["error"] is None:
        row["output"] = cells["output"]
    return Answer(**row)
