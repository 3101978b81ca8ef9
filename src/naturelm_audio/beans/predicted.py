"""The file of predictions of a run: appended row by row, resumed exactly.

    <output>              one JSON row per prediction: prediction, label, id, dataset_name, and more
    <output>.run.json     data, model, settings, times and counts

Rows are in the order of the data, so the rows on file are its first ones, and that is all a resume must know.
A row that could not be answered has ``error`` and an empty prediction. Knows nothing of models or audio.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from naturelm_audio.errors import OutputError
from naturelm_audio.files import LineFile, clear_errors
from naturelm_audio.records import dump_json
from naturelm_audio.run_files import START_AGAIN, OutputMode, RunFile, check_place, now

__all__ = ["PredictionFile"]

SECONDS_BETWEEN_SYNCS = 5.0


class PredictionFile:
    """The output of one run. Made by :meth:`open`; a context manager, which notes how the run ended."""

    def __init__(self, output: Path, rows: LineFile) -> None:
        """Keep the locked file of rows; :meth:`open` does the rest."""
        self.output = output
        self.run_file = RunFile(output)
        self.done: list[tuple[str, str]] = []
        self.rows: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.resumed = False
        self._rows = rows
        self._synced = time.monotonic()

    @classmethod
    def open(
        cls,
        output: Path,
        *,
        mode: OutputMode,
        settings: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
    ) -> PredictionFile:
        """Return the file of a new or resumed run, locked and ready for rows.

        Args:
            output: the file of rows; its folder must exist.
            mode: ``new`` refuses a file with content, ``resume`` continues it, ``overwrite`` begins it again.
            settings: JSON values that decide the rows; a resumed run must have equal ones.
            about: more for the run file; not compared.

        Raises:
            OutputError: the file exists, can't be written, is in use, or has rows of other settings.
        """
        check_place(output)
        predicted = cls(output, LineFile(output))
        try:
            predicted._rows.lock()
            stored = predicted.run_file.stored(predicted._rows, mode)
            if stored is None:
                predicted.run_file.begin(settings, about or {})
                predicted._rows.truncate(0)
                predicted.run_file.note(status="running")
            else:
                predicted._resume(stored, settings)
        except BaseException:
            predicted._rows.close()
            raise
        return predicted

    def _resume(self, stored: dict[str, Any], settings: Mapping[str, Any]) -> None:
        self.run_file.go_on(stored, settings)
        self._rows.remove_torn_line()
        for row in read_rows(self.output):
            self.done.append((row["dataset_name"], row["id"]))
            self._count(row)
        self.resumed = True
        self.run_file.note(status="running", resumed=[*stored.get("resumed", []), now()])

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

    def __enter__(self) -> PredictionFile:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close with the status that says how the block ended; a new run that made no row leaves no files."""
        status = "finished" if error is None else "stopped"
        if isinstance(error, KeyboardInterrupt):
            status = "interrupted"
        counts = {name: {"rows": rows, "errors": self.errors[name]} for name, rows in self.rows.items()}
        with contextlib.suppress(OutputError):
            self._rows.sync()
            self.run_file.note(status=status, ended=now(), counts=counts)
        self._rows.close()
        if error is not None and not self.resumed and not self.count:
            for path in (self.run_file.path, self.output):
                with contextlib.suppress(OSError):
                    path.unlink()


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
