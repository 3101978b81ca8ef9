"""Any table of a user -> rows of text with their line numbers: CSV, TSV, Parquet; as spreadsheets write.

Accepts byte-order marks, UTF-16 with a mark, Windows-1252, CRLF, semicolons and decimal commas. Knows nothing
of what the columns mean.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio.errors import MissingExtraError
from naturelm_audio.files import encoding_of
from naturelm_audio.train.manifest.problems import ManifestError, Problem

__all__ = ["Row", "Table", "folded", "is_blank", "number", "parquet_rows", "read_table", "read_text"]

logger = logging.getLogger(__name__)

_BLANK = {"", "nan", "na", "n/a", "null", "<na>"}
_DELIMITERS = "\t,;|"


@dataclass(frozen=True)
class Row:
    """One row; ``line`` is where it starts in the file (in Parquet: its number), from 1."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The rows of a file; ``problems`` are rows that had more cells than the header."""

    path: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()

    def column(self, *names: str) -> str | None:
        """Return the first of these columns that is there; case, blanks and units are ignored."""
        present = {folded(column): column for column in reversed(self.columns)}
        return next((present[folded(name)] for name in names if folded(name) in present), None)


def folded(name: str) -> str:
    """Return a column's name for comparison: ``Begin Time (s)``, ``begin_time``, ``beginTime`` are equal."""
    bare = re.sub(r"\((?:s|sec|seconds|hz)\)", "", name.casefold())
    return re.sub(r"[\W_]+", "", bare)


def is_blank(text: str) -> bool:
    """Return whether a cell holds nothing, in the spellings of spreadsheets and data frames."""
    return text.strip().casefold() in _BLANK


def number(text: str) -> float:
    """Return a finite number; a decimal comma is read where there is no point.

    Raises:
        ValueError: it is none, with the reason.
    """
    bare = text.strip()
    if "," in bare and "." not in bare and bare.count(",") == 1:
        bare = bare.replace(",", ".")
    try:
        found = float(bare)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(found) or "_" in bare:
        raise ValueError(f"{text!r} is not a finite number")
    return found


def read_text(path: str | Path) -> str:
    """Return a file as text.

    Raises:
        ManifestError: it is not there, or is no text.
    """
    data = _read_bytes(Path(path))
    encoding = encoding_of(data)
    if encoding == "utf-16" or data.startswith(codecs.BOM_UTF8):  # says what it is: nothing to guess
        return _decoded(data, encoding, path)
    if b"\0" in data[:65536]:
        raise ManifestError(f"{path}: not text (or UTF-16 without a byte-order mark): save it as UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        logger.warning("%s: not UTF-8; read as Windows-1252", path)
        return _decoded(data, "cp1252", path)


def read_table(path: str | Path, *, delimiter: str | None = None) -> Table:
    """Return a table of CSV, TSV or Parquet, told apart by the suffix and the header.

    Raises:
        ManifestError: it can't be read, has no header, or two columns of one name.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        rows = tuple(Row(line, _as_text(row)) for line, row in parquet_rows(path))
        columns = tuple(rows[0].cells) if rows else ()
        return Table(str(path), columns, rows)
    return parse_table(read_text(path), str(path), delimiter=delimiter)


def parse_table(text: str, name: str, *, delimiter: str | None = None) -> Table:
    """Return the table of a text; ``name`` stands for it in messages.

    Raises:
        ManifestError: no header, or two columns of one name.
    """
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = delimiter or _likely_delimiter(header)
    # Raven has no quoting: a quotation mark in a comment is one.
    quoted = not (delimiter == "\t" and "begin time" in header.lower())
    lines = _parsed(text, name, delimiter, quoted)
    _, columns = next(lines, (0, []))
    columns = [column.strip() for column in columns]
    if not any(columns):
        raise ManifestError(f"{name}: the table is empty: the first line must name the columns")
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise ManifestError(f"{name}: two columns are called {twice[0]!r}: rename one")
    rows, problems = [], []
    for line, cells in lines:
        if any(cell.strip() for cell in cells[len(columns) :]):
            reason = f"{len(cells)} cells for {len(columns)} columns: quote cells that hold {delimiter!r}"
            problems.append(Problem(name, line, reason))
            continue
        padded = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
        rows.append(Row(line, {key: cell for key, cell in zip(columns, padded, strict=False) if key}))
    return Table(name, tuple(column for column in columns if column), tuple(rows), tuple(problems))


def parquet_rows(
    path: str | Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, row) of a Parquet file, a batch in memory at a time.

    Raises:
        ManifestError: it can't be read.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("train", "Parquet") from None
    try:
        count = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    count += 1
                    yield count, row
    except (OSError, pyarrow.ArrowException) as error:
        raise ManifestError(f"{path}: not a readable Parquet file: {error}") from None


def _parsed(text: str, name: str, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of lines that aren't empty."""
    lines = io.StringIO(text, newline="")
    if quoted:
        reader = csv.reader(lines, delimiter=delimiter)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ManifestError(f"{name}:{start}: can't be read as a table: {error}") from None
        if any(cell.strip() for cell in cells):
            yield start, cells
        start = reader.line_num + 1


def _likely_delimiter(header: str) -> str:
    """Return the delimiter that cuts the header into most columns."""
    return max(_DELIMITERS, key=lambda one: len(next(csv.reader([header], delimiter=one), [])))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror or error}") from None


def _decoded(data: bytes, encoding: str, path: str | Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: not text in {encoding}: save it as UTF-8") from None


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, Mapping) or (isinstance(value, Iterable) and not isinstance(value, str | bytes)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value).strip()
