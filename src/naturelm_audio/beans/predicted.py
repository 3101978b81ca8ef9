"""The file of predictions of a run: appended row by row, resumed exactly.

    <output>              one JSON row per prediction: prediction, label, id, dataset_name, and more
    <output>.run.json     data, model, settings, times and counts

Rows are in the order of the data, so the rows on file are its first ones, and that is all a resume must know.
A row that could not be answered has ``error`` and an empty prediction. Knows nothing of models or audio.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OutputError
from naturelm_audio.files import clear_errors
from naturelm_audio.records import dump_json
from naturelm_audio.run_files import START_AGAIN, ResumableFile

__all__ = ["PredictionFile"]

SECONDS_BETWEEN_SYNCS = 5.0


class PredictionFile(ResumableFile):
    """The output of one run. Made by :meth:`open`; a context manager, which notes how the run ended.

    Args:
        output: the file of rows; its folder must exist.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self.done: list[tuple[str, str]] = []
        self.rows: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._synced = time.monotonic()

    def _take_up(self) -> None:
        for row in read_rows(self.output):
            self.done.append((row["dataset_name"], row["id"]))
            self._count(row)

    @property
    def count(self) -> int:
        """Rows on file, those of earlier parts included."""
        return self.rows.total()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; the operating system has it when this returns, the disk seconds later.

        Raises:
            OutputError: the disk is full or the file can't be written; it then ends with the row before.
        """
        self._rows.append(dump_json(dict(row)))
        self._count(row)
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            self._rows.sync()
            self._synced = time.monotonic()

    def _count(self, row: Mapping[str, Any]) -> None:
        self.rows[row["dataset_name"]] += 1
        self.errors[row["dataset_name"]] += row.get("error") is not None

    def _came_to_nothing(self) -> bool:
        return not self.count

    def _ended(self) -> dict[str, Any]:
        counts = {name: {"rows": rows, "errors": self.errors[name]} for name, rows in self.rows.items()}
        return {"counts": counts}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of predictions in order.

    Raises:
        OutputError: the file can't be read, or naming the line that is not such a row.
    """
    with clear_errors(path, "read"), open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                known = isinstance(row["dataset_name"], str) and isinstance(row["id"], str)
            except (ValueError, TypeError, KeyError):
                known = False
            if not known:
                raise OutputError(
                    f"{path}, line {number}: not a row of predictions: bring it back, {START_AGAIN}"
                )
            yield row
