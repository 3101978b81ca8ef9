"""Cells and numbers as text files of other programs have them: one line each, no surprises."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TextIO

__all__ = ["csv_rows", "decimal", "moment", "one_line", "plain_cell", "spreadsheet_safe"]

# What no table shows, or some reader takes for the end of a line, such as U+0085, U+2028 and U+2029.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str) -> str:
    """Return the text with each run of control characters as one blank, without blanks at its ends."""
    return CONTROL.sub(" ", text).strip()


def plain_cell(text: str) -> str:
    """Return a cell for tables without quoting: one line, and apostrophes for double quotes."""
    return one_line(text.replace('"', "'"))


def moment(text: str | None) -> datetime | None:
    """Return a time of a row; None if there is none, or it is none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def spreadsheet_safe(text: str) -> str:
    """Return a cell that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def decimal(value: float | None) -> str:
    """Return a number with a decimal point and no exponent; "" for None."""
    if value is None:
        return ""
    text = repr(float(value))
    return text if "e" not in text else f"{value:.9f}".rstrip("0").rstrip(".")


class _Lines:
    """Hands the lines of a CSV writer on with a line feed at the end.

    The writer itself ends lines with CR and LF, because it then quotes cells that hold either of them.
    """

    def __init__(self, file: TextIO) -> None:
        self._write = file.write

    def write(self, line: str) -> int:
        return self._write(f"{line[:-2]}\n")


def csv_rows(file: TextIO, header: Iterable[str]) -> Callable[[Iterable[Any]], Any]:
    """Write a header as RFC 4180 has it and return the function that writes a row."""
    writer = csv.writer(_Lines(file), lineterminator="\r\n")
    writer.writerow(header)
    return writer.writerow
