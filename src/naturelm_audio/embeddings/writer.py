"""Write a table of vectors: in parts as they come, resumable, with at most one part in memory.

A part is written under another name, then renamed; it counts once its line is there. So a process that dies
at any moment loses what it had in memory, and nothing comes twice. The files are those of
:mod:`~naturelm_audio.embeddings.parts`. Knows nothing of audio or models.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from naturelm_audio.embeddings.parts import (
    JOURNAL,
    WRITERS,
    EmbeddedSpan,
    FloatArray,
    HeardRecording,
    Part,
    Source,
    read_parts,
    require_pyarrow,
)
from naturelm_audio.errors import OutputError
from naturelm_audio.files import clear_errors
from naturelm_audio.run_files import START_AGAIN, OutputMode, ResumableFile, RunFile, check_place

__all__ = ["TableWriter"]

PART_BYTES = 64 * 2**20
# No more work than this is lost when a process dies: a minute, or a fiftieth of a long run.
PART_SECONDS, PART_SHARE = 60.0, 0.02

SourceType = TypeVar("SourceType", bound=Source)


@dataclass(frozen=True, eq=False)
class _Pending:
    """A window that is not written yet, or the end of a recording, with where that recording then stands."""

    state: HeardRecording
    spans: Sequence[EmbeddedSpan] = ()
    vectors: FloatArray | None = None


class TableWriter(ResumableFile):
    """Takes the windows of one recording after the other. Made by :meth:`open`; a context manager."""

    def __init__(self, output: Path) -> None:
        """Keep the journal of a table; :meth:`open` does the rest."""
        super().__init__(output)
        self.folder = output.parent
        self.states: dict[str, HeardRecording] = {}
        self.parts: list[Part] = []
        self._write = WRITERS["numpy"]
        self._pending: list[_Pending] = []
        self._bytes = 0
        self._started = self._since = time.monotonic()

    @classmethod
    def open(
        cls,
        output: str | Path,
        *,
        mode: OutputMode,
        settings: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
        file_format: str = "numpy",
    ) -> Self:
        """Return the writer of a new or resumed table, locked.

        Args:
            output: the table's folder, made if it is not there; the one above it must exist.
            mode: ``new`` refuses a table with content, ``resume`` continues it, ``overwrite`` begins it
                again.
            settings: JSON values that decide the vectors; a resumed run must have equal ones.
            about: more for the run file; not compared.
            file_format: one of FILE_FORMATS.

        Raises:
            OutputError: the table exists, can't be written, is in use, or has vectors of other settings; or
                the folder has parts of something else.
            MissingExtraError: Parquet is asked for and pyarrow is not installed.
        """
        folder = Path(output)
        if file_format == "parquet":
            require_pyarrow()
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file: name a folder for the table")
        if not folder.is_dir():
            check_place(folder)
        with clear_errors(folder):
            folder.mkdir(exist_ok=True)
        _refuse_foreign(folder)
        writer = cls(folder / JOURNAL)
        writer._write = WRITERS[file_format]
        return writer._start(mode, {**settings, "file_format": file_format}, about or {})

    @property
    def rows(self) -> int:
        """Vectors in the table, those still in memory included."""
        return sum(part.rows for part in self.parts) + sum(len(one.spans) for one in self._pending)

    @property
    def failed(self) -> dict[str, str]:
        """Name -> error of the recordings that could not be heard to their end."""
        return {name: one.error or "" for name, one in self.states.items() if one.status == "failed"}

    def windows_done(self, name: str) -> int:
        """Return how many windows of a recording are in the table."""
        return self.states[name].windows if name in self.states else 0

    def remaining(self, recordings: Sequence[SourceType]) -> list[SourceType]:
        """Return the recordings that are not finished, beginning with one that was interrupted.

        Raises:
            OutputError: two have one name, or one has changed since it was heard.
        """
        names: set[str] = set()
        for recording in recordings:
            if recording.name in names:
                raise OutputError(
                    f"two recordings would be called {recording.name}: give the folder above them"
                )
            names.add(recording.name)
            before, current = self.states.get(recording.name), HeardRecording.of(recording)
            if before and (before.size, before.mtime_ns) != (current.size, current.mtime_ns):
                raise OutputError(
                    f"{recording.path}: has changed since it was heard: bring the old one back, {START_AGAIN}"
                )
        self.run_file.note(inputs=len(names))
        begun = [one for one in recordings if one.name in self.states]
        fresh = [one for one in recordings if one.name not in self.states]
        return [one for one in begun if self.states[one.name].status == "begun"] + fresh

    def add(self, recording: Source, spans: Sequence[EmbeddedSpan], vectors: FloatArray) -> None:
        """Take the vectors (rows, width) of the next window of a recording.

        Raises:
            OutputError: a full part can't be written.
        """
        state = self._state(recording)
        self._take(_Pending(replace(state, windows=state.windows + 1), spans, vectors))
        self._bytes += vectors.nbytes
        now_seconds = time.monotonic()
        longest = max(PART_SECONDS, PART_SHARE * (now_seconds - self._started))
        if self._bytes >= PART_BYTES or now_seconds - self._since >= longest:
            self.flush()

    def finish(self, recording: Source, error: str | None = None) -> None:
        """Remember that a recording was heard to its end, or failed."""
        state = self._state(recording)
        self._take(_Pending(replace(state, status="ok" if error is None else "failed", error=error)))

    def flush(self) -> None:
        """Write what is in memory as a part, then the line that vouches for it.

        Raises:
            OutputError: the disk is full or the folder can't be written.
        """
        # Let go first: whatever interrupts this, nothing is written twice.
        pending, self._pending, self._bytes, self._since = self._pending, [], 0, time.monotonic()
        if not pending:
            return
        name = None
        spans = [span for one in pending for span in one.spans]
        if spans:
            name = f"part-{sum(part.name is not None for part in self.parts):05d}"
            vectors = np.concatenate([one.vectors for one in pending if one.vectors is not None])
            self._write(self.folder / name, spans, vectors)
        states = {one.state.path: one.state for one in pending}
        part = Part(name, len(spans), tuple(states.values()))
        self._rows.append(part.to_json())
        self._rows.sync()
        self.parts.append(part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest, and note how the run ended; what a stopped run has in memory is kept too.

        A new run that came to nothing leaves no files.
        """
        failure = error
        try:
            self.flush()
        except OutputError as unwritten:
            failure = error or unwritten
            if error is None:
                raise
        finally:
            super().__exit__(kind, failure, trace)
            if failure is not None and not self.resumed and self._came_to_nothing():
                with contextlib.suppress(OSError):
                    self.folder.rmdir()

    def _begin(self) -> None:
        """Remove parts of a run that died before their line, or of an older one."""
        known = {part.name for part in self.parts}
        for path in self.folder.glob("part-*"):
            if path.name.split(".")[0] not in known:
                path.unlink()

    def _take_up(self) -> None:
        self.parts = read_parts(self.output)
        self.states = {one.path: one for part in self.parts for one in part.recordings}
        self._begin()

    def _came_to_nothing(self) -> bool:
        return not self.parts

    def _ended(self) -> dict[str, Any]:
        counts = {"rows": sum(part.rows for part in self.parts), "recordings": len(self.states)}
        return {"counts": counts, "failed": self.failed}

    def _state(self, recording: Source) -> HeardRecording:
        return self.states.get(recording.name) or HeardRecording.of(recording)

    def _take(self, one: _Pending) -> None:
        self._pending.append(one)
        self.states[one.state.path] = one.state


def _refuse_foreign(folder: Path) -> None:
    """Leave alone what is no table of ours: other programs have a ``part-00000.parquet`` as well."""
    if RunFile(folder / JOURNAL).path.exists():
        return
    foreign = next(iter(sorted(folder.glob("part-*"))), None)
    if foreign is not None:
        raise OutputError(
            f"{folder}: has {foreign.name}, which is of no table of embeddings: choose another --output-path"
        )
