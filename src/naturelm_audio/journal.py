"""What makes a run resumable and its rows traceable: append-only rows, a journal, and a run file.

    <output>              one JSON row per window and question, each appended with a single write
    <output>.state.jsonl  one line when a recording begins and one when it is finished
    <output>.run.json     settings, model, inputs, times and counts, see :mod:`~naturelm_audio.run_files`

A process that dies at any moment leaves at worst a last line without its line feed, which is removed on
resume. All rows of a recording come before those of the next, so rows that the journal does not vouch for yet
belong to the recording that was being answered. Knows nothing of models or audio.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from naturelm_audio.errors import OutputError
from naturelm_audio.files import LineFile, clear_errors
from naturelm_audio.records import Answer, dump_json
from naturelm_audio.run_files import START_AGAIN, ResumableFile

__all__ = ["Journal", "RecordingState", "Source", "read_answers", "read_states"]

STATUSES = ("begun", "ok", "failed")


class Source(Protocol):
    """A recording as the journal sees it."""

    @property
    def name(self) -> str:
        """The path as rows have it."""

    @property
    def path(self) -> Path:
        """Where the file is."""


Stat = tuple[int | None, int | None]  # size in bytes, modification time in nanoseconds
RecordingType = TypeVar("RecordingType", bound=Source)


@dataclass(frozen=True, kw_only=True)
class RecordingState:
    """One line of the journal: a recording that has begun, or is finished with so many windows and rows.

    The rest is what other formats need to know of it and no row says: its full path, and rate, channels and
    length as stored. ``frames`` is None where only an estimate is known.
    """

    path: str
    status: Literal["begun", "ok", "failed"]
    size: int | None = None
    mtime_ns: int | None = None
    windows: int | None = None
    rows: int | None = None
    file: str | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    frames: int | None = None
    duration_seconds: float | None = None

    @property
    def finished(self) -> bool:
        """Whether all rows of the recording are on file."""
        return self.status != "begun"

    def to_json(self) -> str:
        """Return the line without its line feed."""
        return dump_json({name: value for name, value in vars(self).items() if value is not None})

    @classmethod
    def from_json(cls, line: str) -> RecordingState:
        """Return the state of one line.

        Raises:
            ValueError: the line is not one of a journal.
        """
        row = json.loads(line)
        if not isinstance(row, dict) or row.get("status") not in STATUSES or "path" not in row:
            raise ValueError("unknown content")
        return cls(**{name: value for name, value in row.items() if name in cls.__dataclass_fields__})


class Journal(ResumableFile):
    """The output of one run: rows are appended as they come, finished recordings are remembered.

    Made by :meth:`open`. A context manager, which notes in the run file how the run ended.

    Args:
        output: the file of rows; its folder must exist.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self.state_path = output.with_name(f"{output.name}.state.jsonl")
        self.rows_on_file: dict[str, int] = {}
        self._state: LineFile | None = None
        self._states: dict[str, RecordingState] = {}
        self._with_error: set[str] = set()

    @property
    def run_id(self) -> str:
        """The id that every row of this file has, also after a resume."""
        return self.run_file.run_id

    @property
    def failed(self) -> list[str]:
        """Names of the finished recordings with an error, in order."""
        return [state.path for state in self._states.values() if state.status == "failed"]

    @property
    def row_count(self) -> int:
        """Rows on file, those of earlier runs included."""
        return sum(self.rows_on_file.values())

    def confirm(self, section: str, values: Mapping[str, Any]) -> None:
        """Add JSON ``values`` to the settings once they are known; on resume they must equal the stored ones.

        Raises:
            OutputError: naming the setting that differs.
        """
        self.run_file.confirm(section, values)

    def note(self, **values: Any) -> None:
        """Put JSON values into the run file that are worth knowing and not compared, such as the device."""
        self.run_file.note(**values)

    def remaining(self, recordings: Sequence[RecordingType]) -> list[RecordingType]:
        """Return the recordings that are not finished, beginning with one that was interrupted.

        ``rows_on_file`` has the number of its rows. Recordings that are new since the first run come last.

        Raises:
            OutputError: two have one name, one has changed since its rows were made, or the interrupted one
                is gone.
        """
        by_name: dict[str, RecordingType] = {}
        for recording in recordings:
            if recording.name in by_name:
                raise OutputError(
                    f"{by_name[recording.name].path} and {recording.path} would both be called "
                    f"{recording.name} in the results: give the folder above them instead"
                )
            by_name[recording.name] = recording
            self._refuse_changed(recording)
        for name in self.rows_on_file:
            if name not in by_name and not self._is_finished(name):
                raise OutputError(
                    f"{self.output}: the interrupted recording {name} is not among the inputs any more: "
                    f"bring it back, {START_AGAIN}"
                )
        self.note(inputs=[{"path": name, "size": _stat(item.path)[0]} for name, item in by_name.items()])
        todo = [recording for recording in recordings if not self._is_finished(recording.name)]
        return sorted(todo, key=lambda recording: recording.name not in self.rows_on_file)

    def append(self, answer: Answer, recording: Source) -> None:
        """Write one row with the run's id; the operating system has it when this returns.

        Raises:
            OutputError: the disk is full or the file can't be written; it then ends with the row before.
        """
        if recording.name not in self._states:
            size, mtime_ns = _stat(recording.path)
            file = str(recording.path.absolute())
            begun = RecordingState(
                path=recording.name, status="begun", size=size, mtime_ns=mtime_ns, file=file
            )
            self._set(begun)
        self._rows.append(replace(answer, run_id=self.run_id).to_json())
        self._count(answer)

    def finish(self, recording: Source, *, windows: int, error: str | None = None, **facts: Any) -> None:
        """Remember that all rows of a recording are on file, and whether one of them is an error.

        ``facts`` are further fields of :class:`RecordingState`.

        Raises:
            OutputError: the journal can't be written.
        """
        self._rows.sync()  # rows reach the disk before the line that vouches for them
        if error is not None:
            self._with_error.add(recording.name)
        self._set_finished(recording.name, windows=windows, stat=_stat(recording.path), **facts)

    def _begin(self) -> None:
        self._state = LineFile(self.state_path)
        self._state.truncate(0)

    def _take_up(self) -> None:
        """Remove a torn line of the journal too, and count what is on file."""
        self._state = LineFile(self.state_path)
        self._state.remove_torn_line()
        self._states = read_states(self.state_path)
        for answer in read_answers(self.output):
            self._count(answer)
        self._settle()

    def _came_to_nothing(self) -> bool:
        return not self._states

    def _ended(self) -> dict[str, Any]:
        return {
            "counts": {
                "recordings": len(self.run_file.content.get("inputs", [])),
                "finished": sum(state.finished for state in self._states.values()),
                "failed": len(self.failed),
                "rows": self.row_count,
            }
        }

    def _files(self) -> tuple[Path, ...]:
        return (self.state_path, *super()._files())

    def _settle(self) -> None:
        """Check what the journal vouches for; a recording with another's rows behind its own is finished."""
        for state in self._states.values():
            found = self.rows_on_file.get(state.path, 0)
            if state.finished and found != state.rows:
                raise OutputError(
                    f"{self.output}: has {found} rows of {state.path} where its journal has {state.rows}, so "
                    f"it was changed after it was written: bring it back, {START_AGAIN}"
                )
        for name in list(self.rows_on_file)[:-1]:
            if not self._is_finished(name):
                self._set_finished(name, windows=None)

    def _set_finished(
        self, name: str, *, windows: int | None, stat: Stat = (None, None), **facts: Any
    ) -> None:
        begun = self._states.get(name)
        size, mtime_ns = (begun.size, begun.mtime_ns) if begun else stat
        if begun is not None:
            facts.setdefault("file", begun.file)
        self._set(
            RecordingState(
                path=name,
                status="failed" if name in self._with_error else "ok",
                size=size,
                mtime_ns=mtime_ns,
                windows=windows,
                rows=self.rows_on_file.get(name, 0),
                **facts,
            )
        )

    def _count(self, answer: Answer) -> None:
        self.rows_on_file[answer.audio_path] = self.rows_on_file.get(answer.audio_path, 0) + 1
        if answer.failed:
            self._with_error.add(answer.audio_path)

    def _is_finished(self, name: str) -> bool:
        return name in self._states and self._states[name].finished

    def _refuse_changed(self, recording: Source) -> None:
        state = self._states.get(recording.name)
        if state is not None and state.size is not None:
            size, mtime_ns = _stat(recording.path)
            if (size, mtime_ns) != (state.size, state.mtime_ns):
                raise OutputError(
                    f"{recording.path}: has changed since its rows were made (it had {state.size} bytes and "
                    f"has {size}, or was saved anew): bring the old file back, {START_AGAIN}"
                )

    def _set(self, state: RecordingState) -> None:
        if self._state is not None:
            self._state.append(state.to_json())
        self._states[state.path] = state

    def _let_go(self) -> None:
        super()._let_go()
        if self._state is not None:
            self._state.close()


def read_answers(path: str | Path) -> Iterator[Answer]:
    """Yield the rows of a JSON Lines file in order.

    Raises:
        OutputError: the file can't be read, or naming the line that is not a row.
    """
    with clear_errors(Path(path), "read"), open(path, encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                answer = Answer.from_json(line)
            except ValueError as error:
                raise OutputError(f"{path}, line {number}: not a row of results ({error})") from None
            yield answer


def read_states(path: Path) -> dict[str, RecordingState]:
    """Return the last state of each recording, in the order of their first.

    Raises:
        OutputError: the file can't be read, or naming the line that is not one of a journal.
    """
    states: dict[str, RecordingState] = {}
    with clear_errors(path, "read"), open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                state = RecordingState.from_json(line)
            except ValueError as error:
                raise OutputError(f"{path}, line {number}: not a line of a journal ({error})") from None
            states[state.path] = state
    return states


def _stat(path: Path) -> Stat:
    """Return size and modification time; None for a file that is gone."""
    try:
        status = path.stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns
