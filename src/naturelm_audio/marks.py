"""What a person said about windows: the CSV that the review page exports.

    path           recording, as the results name it (relative to the folder of recordings)
    start_seconds  of the window, in seconds of the file
    end_seconds
    label          what the model said: the best label, or its free answer
    score          its confidence, from 0 to 1; empty if it had none
    mark           right, wrong or unsure; empty where nobody listened yet, and the row then says nothing
    correct_label  what it is instead, where somebody knew; only beside wrong or unsure

A window's truth is its label where that was marked right, else the correct label; where neither is known it
teaches nothing, but ``wrong`` still counts against the model. ``naturelm finetune --data`` learns from the
windows with a truth, ``naturelm calibrate`` fits scores to right and wrong. Columns of one's own are ignored.
Read as spreadsheets write it: byte-order marks, semicolons, decimal commas.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from naturelm_audio.errors import LabelError
from naturelm_audio.files import clear_errors, text_encoding

__all__ = ["MARKS", "MARK_COLUMNS", "Mark", "known_truth", "read_marks"]

MARK_COLUMNS = ("path", "start_seconds", "end_seconds", "label", "score", "mark", "correct_label")
MARKS = ("right", "wrong", "unsure")
_DELIMITERS = ",;\t"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One judged window; fields are the columns of the file."""

    path: str
    start_seconds: float
    end_seconds: float
    label: str
    score: float | None
    mark: str
    correct_label: str = ""

    @property
    def truth(self) -> str | None:
        """What is heard, or None where nobody knew."""
        return known_truth(self.label, self.mark, self.correct_label)

    @property
    def is_right(self) -> bool | None:
        """Whether the label is right; None where nobody could say."""
        if self.mark == "unsure" and not self.correct_label:
            return None
        return self.mark == "right"


def known_truth(label: str, mark: str, correct_label: str) -> str | None:
    """Return what a window holds by its mark, or None where nobody knew.

    Raises:
        ValueError: no such mark, or a label that is right and has another one as the correct one.
    """
    mark = mark.strip().casefold()
    label, correct_label = label.strip(), correct_label.strip()
    if not mark:
        return None
    if mark not in MARKS:
        raise ValueError(f"mark is {mark!r}: write {', '.join(MARKS[:-1])} or {MARKS[-1]}")
    if mark == "right":
        if correct_label and correct_label.casefold() != label.casefold():
            raise ValueError(f"{label!r} is marked right, but has the correct label {correct_label!r}")
        return label or None
    return correct_label or None


def read_marks(path: str | Path) -> list[Mark]:
    """Return the marked rows of a file of marks in their order.

    Raises:
        LabelError: a column is missing, or a row is faulty (the first is named with its line).
        OutputError: the file can't be read.
    """
    path = Path(path)
    with clear_errors(path, "read"), open(path, encoding=text_encoding(path), newline="") as file:
        text = file.read()
    header = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count))
    _require_columns(reader.fieldnames or (), path)
    marks = []
    for row in reader:
        if not (row.get("mark") or "").strip():
            continue
        try:
            marks.append(_mark(row))
        except ValueError as error:
            raise LabelError(f"{path}, line {reader.line_num}: {error}") from None
    return marks


def _require_columns(found: Sequence[str], path: Path) -> None:
    missing = [name for name in MARK_COLUMNS if name not in found and name != "correct_label"]
    if missing:
        raise LabelError(
            f"{path}: has no column {', '.join(missing)}, so it is not a file of marks: export one from the "
            "page of `naturelm clips`"
        )


def _mark(row: Mapping[str, str | None]) -> Mark:
    cells = {name: (row.get(name) or "").strip() for name in MARK_COLUMNS}
    if not cells["path"]:
        raise ValueError("the path is empty")
    start_seconds, end_seconds = _number(cells, "start_seconds"), _number(cells, "end_seconds")
    if not 0 <= start_seconds < end_seconds:
        raise ValueError(f"{start_seconds:g} to {end_seconds:g} s is no span of time")
    score = _number(cells, "score") if cells["score"] else None
    known_truth(cells["label"], cells["mark"], cells["correct_label"])
    return Mark(
        path=cells["path"],
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        label=cells["label"],
        score=score,
        mark=cells["mark"].casefold(),
        correct_label=cells["correct_label"],
    )


def _number(cells: Mapping[str, str], name: str) -> float:
    text = cells[name]
    try:
        value = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} is {text!r}: write a number")
    return value
