"""Prediction files of a benchmark, JSON Lines or CSV: columns prediction, label, dataset_name, optionally id.

Everything is read as text, never as a number or a missing value. Knows nothing of components or scores.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from naturelm_audio.errors import NatureLMError
from naturelm_audio.files import text_encoding

__all__ = ["Prediction", "PredictionsError", "check_rows", "read_predictions"]

logger = logging.getLogger(__name__)

COLUMNS = ("dataset_name", "prediction", "label")
NEEDED = ", ".join(COLUMNS)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
LONGEST_CELL = 10_000_000  # characters


class PredictionsError(NatureLMError):
    """A file of predictions that can't be read or scored."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row: what a model answered to one clip of a component, and the right answer.

    ``where`` names the row in messages. ``error`` says why there is no answer: the model failed, or the row
    has something that is no text.
    """

    dataset_name: str
    prediction: str
    label: str
    id: str | None = None
    where: str = ""
    error: str | None = None


def read_predictions(path: str | Path) -> list[Prediction]:
    """Return the rows of a file in their order; ``.csv`` and ``.tsv`` are tables, anything else JSON Lines.

    UTF-8 with or without a mark, or UTF-16 with one.

    A row whose prediction or label is not text is kept with an ``error``, as is one that says so itself. A
    torn last line, as a killed run leaves it, is left out with a warning.

    Raises:
        PredictionsError: the file is not there, is empty, lacks a column, or a row can't be made out; the
            message names the row.
    """
    path = Path(path)
    try:
        with open(path, encoding=text_encoding(path), newline="") as file:
            separator = SEPARATORS.get(path.suffix.lower())
            records = _json_lines(file, path) if separator is None else _table(file, path, separator)
            rows = _predictions(records)
    except FileNotFoundError:
        raise PredictionsError(f"{path}: there is no such file") from None
    except UnicodeError:
        raise PredictionsError(f"{path}: is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise PredictionsError(f"{path}: can't be read: {error.strerror or error}") from None
    if not rows:
        raise PredictionsError(f"{path}: has no predictions in it: give a row with {NEEDED} for every clip")
    return rows


def check_rows(records: Iterable[Mapping[str, Any]]) -> list[Prediction]:
    """Return the rows of dictionaries, checked as those of a file.

    Raises:
        PredictionsError: see :func:`read_predictions`.
    """
    return _predictions((record, f"row {number}") for number, record in enumerate(records, 1))


def _json_lines(file: TextIO, path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number > 1 and not line.endswith("\n"):
                logger.warning("%s: torn, as a killed run leaves it: left out; go on with --resume", where)
                return
            raise PredictionsError(
                f"{where}: is not a JSON object of its own: predictions are JSON Lines, or a table "
                "whose name ends in .csv"
            ) from None
        if not isinstance(record, dict):
            raise PredictionsError(f"{where}: must be a JSON object with {NEEDED}")
        yield record, where


def _table(file: TextIO, path: Path, separator: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    limit = csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(file, delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if header and missing:
            raise PredictionsError(
                f"{path}: has no column {', '.join(missing)}, only {', '.join(header)}: give every row "
                f"{NEEDED}"
            )
        for cells in reader:
            if not cells:
                continue
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(header):
                raise PredictionsError(
                    f"{where}: has {len(cells)} cells, the header has {len(header)}: put texts with commas "
                    "in quotes"
                )
            yield dict(zip(header, cells, strict=True)), where
    except csv.Error as error:
        raise PredictionsError(f"{path}, line {reader.line_num}: is not a row of a table: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _predictions(records: Iterable[tuple[Mapping[str, Any], str]]) -> list[Prediction]:
    """The rows; what the first one lacks is missing from the file, not from a row."""
    rows: list[Prediction] = []
    for record, where in records:
        missing = [name for name in COLUMNS if name not in record]
        if missing and not rows:
            raise PredictionsError(f"{where}: has no {', '.join(missing)}: give every row {NEEDED}")
        rows.append(_prediction(record, where))
    return rows


def _prediction(record: Mapping[str, Any], where: str) -> Prediction:
    faults = {
        name: fault
        for name in COLUMNS
        if (fault := _fault(record[name]) if name in record else "is not there")
    }
    identity = record.get("id")
    if identity is not None and (not isinstance(identity, str | int) or isinstance(identity, bool)):
        faults["id"] = f"is {str(identity)[:40]}, not text: put it in quotes"
    for name in ("dataset_name", "id"):
        if name in faults:  # without them nobody knows what the row belongs to
            raise PredictionsError(f"{where}: {name} {faults[name]}")
    said = record.get("error")
    fault = next((f"{name} {fault}" for name, fault in faults.items()), None)
    return Prediction(
        record["dataset_name"].strip(),
        "" if "prediction" in faults else record["prediction"],
        "" if "label" in faults else record["label"],
        None if identity in (None, "") else str(identity),
        where,
        said if isinstance(said, str) and said.strip() else fault,
    )


def _is_unicode(text: str) -> bool:
    """Whether the text has no half of a character, which JSON's escapes can spell and no file can hold."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _fault(value: Any) -> str | None:
    """What is wrong with a value that should be text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return f"is {'null' if value is None else 'NaN'}: an empty answer is written as empty text"
    if not isinstance(value, str):
        return f"is {str(value)[:40]}, not text: put it in quotes"
    return None if _is_unicode(value) else f"has half of a character: {value[:40]!a}"
