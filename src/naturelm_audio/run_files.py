"""Outputs that can be resumed: a locked file of rows, and its run file, which says who made them and how.

    <output>              whole lines, appended
    <output>.run.json     settings, model, inputs, times and counts; replaced as a whole

Knows nothing of what the rows are.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from naturelm_audio.errors import OutputError
from naturelm_audio.files import LineFile, write_atomically
from naturelm_audio.options import OutputMode
from naturelm_audio.records import dump_json

__all__ = [
    "START_AGAIN",
    "OutputMode",
    "ResumableFile",
    "RunFile",
    "check_place",
    "compare_settings",
    "now",
]

START_AGAIN = "or start again with --overwrite"


class RunFile:
    """The run file beside one output; ``content`` is what it says.

    Args:
        output: the file of rows.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(f"{output.name}.run.json")
        self.content: dict[str, Any] = {}

    @property
    def run_id(self) -> str:
        """The id of the run, the same after a resume."""
        return str(self.content["run_id"])

    def stored(self, rows: LineFile, mode: OutputMode) -> dict[str, Any] | None:
        """Return what an earlier run left if this one goes on with it, None if it begins.

        Args:
            rows: the output, locked.
            mode: ``new`` refuses a file with content, ``resume`` continues it, ``overwrite`` begins it again.

        Raises:
            OutputError: the file exists, or can't be resumed.
        """
        size = rows.path.stat().st_size
        if mode == "new" and size:
            raise OutputError(
                f"{rows.path}: exists already: continue it with --resume, begin it again with --overwrite, "
                "or choose another --output-path"
            )
        stored = _read(self.path) if mode == "resume" else None
        if mode == "resume" and stored is None and size:
            raise OutputError(
                f"{rows.path}: can't be resumed without {self.path.name} beside it, which says how its "
                f"rows were made: bring it back, {START_AGAIN}"
            )
        return None if stored is None or stored.get("status") == "starting" else stored

    def begin(self, settings: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write the file of a new run; a process that dies before ``running`` is noted begins again."""
        self.content = {
            "run_id": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
            "started": now(),
            "settings": dict(settings),
            **about,
        }
        self.note(status="starting")

    def go_on(self, stored: dict[str, Any], settings: Mapping[str, Any]) -> None:
        """Take up an earlier run, whose settings must equal these.

        Raises:
            OutputError: naming the setting that differs.
        """
        compare_settings(stored.get("settings", {}), settings, self.output)
        self.content = stored

    def confirm(self, section: str, values: Mapping[str, Any]) -> None:
        """Add JSON ``values`` to the settings once they are known; on resume they must equal the stored ones.

        Raises:
            OutputError: naming the setting that differs.
        """
        settings = dict(self.content["settings"])
        if section in settings:
            compare_settings(settings[section], values, self.output, f"{section}.")
        self.note(settings=settings | {section: dict(values)})

    def note(self, **values: Any) -> None:
        """Put JSON values into the file that are worth knowing and not compared, such as the device."""
        self.content |= values
        write_atomically(self.path, json.dumps(self.content, indent=2, allow_nan=False) + "\n")


class ResumableFile:
    """The rows of one run: begun or taken up by :meth:`open`, then a context manager.

    It notes in the run file how the run ended, and a new run that made nothing leaves no files. Subclasses
    say what is in the rows. A process that dies while it begins leaves "starting", to be begun again.

    Args:
        output: the file of rows; its folder must exist.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.run_file = RunFile(output)
        self.resumed = False
        self._rows = LineFile(output)

    @classmethod
    def open(
        cls,
        output: str | Path,
        *,
        mode: OutputMode,
        settings: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the output of a new or resumed run, locked and ready for rows.

        Args:
            output: the file of rows; its folder must exist.
            mode: ``new`` refuses a file with content, ``resume`` continues it, ``overwrite`` begins it again.
            settings: JSON values that decide the rows; a resumed run must have equal ones.
            about: more for the run file, such as the command line; not compared.

        Raises:
            OutputError: the file exists, can't be written, is in use, or has rows of other settings.
        """
        check_place(Path(output))
        return cls(Path(output))._start(mode, settings, about or {})

    def _start(self, mode: OutputMode, settings: Mapping[str, Any], about: Mapping[str, Any]) -> Self:
        try:
            self._rows.lock()
            stored = self.run_file.stored(self._rows, mode)
            if stored is None:
                self.run_file.begin(settings, about)
                self._rows.truncate(0)
                self._begin()
                self.run_file.note(status="running")
            else:
                self.run_file.go_on(stored, settings)
                self._rows.remove_torn_line()
                self._take_up()
                self.resumed = True
                self.run_file.note(status="running", resumed=[*stored.get("resumed", []), now()])
        except BaseException:
            self._let_go()
            raise
        return self

    def _begin(self) -> None:
        """Empty whatever lies beside the rows, which are empty by now."""

    def _take_up(self) -> None:
        """Read the rows on file, whose last line is whole by now."""
        raise NotImplementedError

    def _came_to_nothing(self) -> bool:
        """Whether this run has made nothing that is worth keeping."""
        raise NotImplementedError

    def _ended(self) -> dict[str, Any]:
        """What the run file says at the end besides status and time."""
        raise NotImplementedError

    def _files(self) -> tuple[Path, ...]:
        """All files of the run."""
        return (self.run_file.path, self.output)

    def _let_go(self) -> None:
        """Close the files, and with them the lock."""
        self._rows.close()

    def close(self, status: str) -> None:
        """Write times and counts into the run file and let the files go; a full disk is no error here."""
        with contextlib.suppress(OutputError):
            self._rows.sync()
            self.run_file.note(status=status, ended=now(), **self._ended())
        self._let_go()

    def __enter__(self) -> Self:
        """Return the output itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close with the status that says how the block ended."""
        if error is None:
            self.close("finished")
            return
        self.close("interrupted" if isinstance(error, KeyboardInterrupt) else "stopped")
        if not self.resumed and self._came_to_nothing():
            for path in self._files():
                with contextlib.suppress(OSError):
                    path.unlink()


def check_place(path: Path) -> None:
    """Say in plain words why an output can't be made here.

    Raises:
        OutputError: it is a folder, or its folder is not there.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder: name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}: create it first")


def now() -> str:
    """Return the time to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a run file; None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: can't be read ({error}): bring it back, {START_AGAIN}") from None
    if not isinstance(content, dict) or "run_id" not in content:
        raise OutputError(f"{path}: is not a run file: bring it back, {START_AGAIN}")
    return content


def compare_settings(
    stored: Mapping[str, Any], now: Mapping[str, Any], output: Path, prefix: str = ""
) -> None:
    """Raise an error that names the first setting that differs.

    Raises:
        OutputError: one differs.
    """
    for name, value in json.loads(dump_json(dict(now))).items():
        before = stored.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            compare_settings(before, value, output, f"{prefix}{name}.")
        elif before != value:
            raise OutputError(
                f"{output}: has rows made with {prefix}{name} {json.dumps(before)}, now it is "
                f"{json.dumps(value)}: use the same setting with --resume, {START_AGAIN}"
            )
