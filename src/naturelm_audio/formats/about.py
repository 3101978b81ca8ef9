"""What conversions must know besides the rows: the run, and the length, rate and channels of recordings.

From the run file and journal beside the rows, else from the rows, else from the recording's own header. What
is nowhere stays None; nothing is guessed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from naturelm_audio.audio import probe
from naturelm_audio.errors import AudioError, MissingExtraError, OutputError
from naturelm_audio.formats.source import ResultFile
from naturelm_audio.journal import RecordingState, read_states
from naturelm_audio.options import BUNDLED_MODEL, OFFICIAL_MODEL
from naturelm_audio.recordings import shown_path
from naturelm_audio.records import Answer

__all__ = ["PlannedRun", "Recording", "Run", "licence_of"]

LICENCES = {
    BUNDLED_MODEL: "non-commercial demonstration only, see the model card",
    OFFICIAL_MODEL.rsplit("/", 1)[-1]: "CC BY-NC-SA 4.0; its language model under Meta's Llama licence",
}
UNKNOWN_LICENCE = "that of the weights used, see their model card"
WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
RUN_TIME = re.compile(r"(\d{8}T\d{6})Z-")


def licence_of(model: str | None) -> str:
    """Return what the weights' licence allows for, in a few words."""
    return LICENCES.get((model or "").rsplit("/", 1)[-1], UNKNOWN_LICENCE)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording as formats see it; ``folder`` and ``path`` are as another program opens them.

    ``frames`` is the true length at ``sample_rate_hz``; None where it is not known for sure.
    """

    name: str
    folder: str = ""
    sub_folder: str = ""
    file_name: str = ""
    path: str = ""
    sample_rate_hz: int | None = None
    channels: int | None = None
    frames: int | None = None
    duration_seconds: float | None = None
    failed: bool = False

    @property
    def nyquist_hz(self) -> float | None:
        """Half the sample rate."""
        return None if self.sample_rate_hz is None else self.sample_rate_hz / 2

    @property
    def exact_seconds(self) -> Fraction | None:
        """The length as a fraction; None if it is not known."""
        if self.frames is not None and self.sample_rate_hz:
            return Fraction(self.frames, self.sample_rate_hz)
        return None if self.duration_seconds is None else Fraction(self.duration_seconds).limit_denominator()


@dataclass
class Run:
    """The run that made a file of rows.

    Args:
        rows: the rows.
        audio_root: where the recordings are now, if not where they were.
        written_root: the folder that is written in front of names instead.
        complete: fills gaps of a row, such as its time and place.
    """

    rows: ResultFile
    audio_root: Path | None = None
    written_root: str | None = None
    complete: Callable[[Answer], Answer] | None = None
    content: Mapping[str, Any] = field(init=False)
    states: Mapping[str, RecordingState] = field(init=False)

    def __post_init__(self) -> None:
        """Read what lies beside the rows; a damaged file there costs what it says, not the conversion."""
        path = self.rows.path
        self.content, self.states = {}, {}
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(path.with_name(f"{path.name}.run.json").read_text(encoding="utf-8"))
            self.content = content if isinstance(content, dict) else {}
        with contextlib.suppress(OutputError):
            self.states = read_states(path.with_name(f"{path.name}.state.jsonl"))

    @property
    def queries(self) -> list[str]:
        """All questions that were asked, in order."""
        asked = self.content.get("settings", {}).get("queries")
        if not isinstance(asked, list):
            return self.rows.queries
        return [*asked, *(query for query in self.rows.queries if query not in asked)]

    @property
    def names(self) -> list[str]:
        """Names of all recordings that were analysed, sorted; those that were not reached are not there."""
        done = {name for name, state in self.states.items() if state.finished}
        return sorted({*self.rows.names, *done})

    def first(self, name: str) -> Answer | None:
        """Return a recording's first row."""
        row = self.rows.first(name)
        return row if row is None or self.complete is None else self.complete(row)

    def answers(self, name: str) -> Iterator[Answer]:
        """Yield a recording's rows in order."""
        rows = self.rows.answers(name)
        return rows if self.complete is None else map(self.complete, rows)

    @property
    def unfinished(self) -> int:
        """How many recordings of the run were not reached, or not to their end."""
        finished = sum(state.finished for state in self.states.values())
        return max(0, len(self.content.get("inputs", [])) - finished) if self.states else 0

    @property
    def model(self) -> str | None:
        """The model's name."""
        first = self._first
        named = self.content.get("settings", {}).get("model", {})
        return (first.model if first else None) or (named.get("name") if isinstance(named, dict) else None)

    @cached_property
    def _first(self) -> Answer | None:
        """A row that says who made it; some row of a failed recording does not."""
        rows = (self.rows.first(name) for name in self.rows.names)
        return next((row for row in rows if row is not None and row.model), None)

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the rows: the run file, where there is one, and the licence of the weights."""
        kept = {name: value for name, value in self.content.items() if name != "inputs"}
        if not kept and self._first is not None:
            names = ("model", "model_revision", "version", "run_id")
            kept = {name: getattr(self._first, name) for name in names}
        return {**kept, "licence_of_weights": licence_of(self.model)}

    def made_at(self, run_id: str | None) -> str:
        """Return when the rows were made, ISO 8601 in UTC; "" if nothing tells."""
        first = self._first
        return _made_at(run_id or str(self.content.get("run_id") or (first and first.run_id) or ""))

    def recording(self, name: str) -> Recording:
        """Return what is known of a recording."""
        state, first = self.states.get(name), self.rows.first(name)
        file = self.file(name)
        known: dict[str, Any] = {
            "sample_rate_hz": first.sample_rate if first else None,
            "duration_seconds": first.duration_seconds if first else None,
            "failed": state is not None and state.status == "failed",
        }
        for key in ("sample_rate_hz", "channels", "frames", "duration_seconds"):
            value = getattr(state, key, None)
            if value is not None:
                known[key] = value
        if None in (known["sample_rate_hz"], known["duration_seconds"], known.get("channels")):
            known = _header(file) | {key: value for key, value in known.items() if value is not None}
        return Recording(name=name, **known, **self._written(name, file))

    def file(self, name: str) -> Path | None:
        """Return where the recording is on this machine, as far as is known."""
        if self.audio_root is not None:
            return self.audio_root / name
        state = self.states.get(name)
        if state is not None and state.file:
            return Path(state.file)
        return next((root / name for root in self._searched if (root / name).is_file()), None)

    @cached_property
    def _searched(self) -> list[Path]:
        """Folders that the run was told to search; journals of older versions don't say where files are."""
        command, directory = self.content.get("command"), self.content.get("directory")
        if not isinstance(command, list) or not isinstance(directory, str):
            return []
        words = [str(word) for word in command]
        told = [after for word, after in pairwise(words) if word == "--audio-path"]
        told += [word.partition("=")[2] for word in words if word.startswith("--audio-path=")]
        places = [Path(directory) / place for place in told]
        return [*places, *(place.parent for place in places)]

    def _written(self, name: str, file: Path | None) -> dict[str, Any]:
        """Return the parts of the path as they are written; no folder where none is known."""
        root: str | None = ""
        if self.written_root is not None:
            root = self.written_root
        elif file is not None:
            shown = shown_path(file)
            root = _above(shown, name)
            if root is None:  # a name of its own, such as one with escapes
                return {"folder": shown_path(file.parent), "file_name": shown_path(file.name), "path": shown}
        separator = separator_of(root or "")
        folder = root if root in ("", "/", "\\") else (root or "").rstrip("/\\")
        below = name.lstrip("/").replace("/", separator)
        return {
            "folder": folder or "",
            "sub_folder": below.rpartition(separator)[0],
            "file_name": below.rpartition(separator)[2],
            "path": f"{folder.rstrip(separator)}{separator}{below}" if folder else name,
        }


class PlannedRun(Run):
    """A run that has no rows yet: which files it will write can be said before."""

    def __init__(self, names: list[str], queries: list[str]) -> None:
        self._names, self._queries = names, queries

    @property
    def names(self) -> list[str]:
        """Names of the recordings to come."""
        return self._names

    @property
    def queries(self) -> list[str]:
        """The questions to come."""
        return self._queries

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing yet."""
        return {}

    def first(self, name: str) -> Answer | None:
        """Return None: there are no rows."""
        return None

    def recording(self, name: str) -> Recording:
        """Return the name alone."""
        return Recording(name=name)


@lru_cache(maxsize=64)
def _made_at(run_id: str) -> str:
    found = RUN_TIME.match(run_id)
    if found is None:
        return ""
    return f"{datetime.strptime(found[1], '%Y%m%dT%H%M%S').replace(tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}"


def separator_of(folder: str) -> str:
    """Return what stands between folders: that of Windows in its paths, else "/"."""
    return "\\" if WINDOWS_PATH.match(folder) else "/"


def _above(file: str, name: str) -> str | None:
    """Return the folder that ``name`` is counted from, if the file's path ends in it."""
    plain = file.replace(os.sep, "/")
    return file[: len(file) - len(name) - 1] or "/" if plain.endswith(f"/{name}") else None


def _header(file: Path | None) -> dict[str, Any]:
    """Return what the recording's own header says; its length only where headers don't lie."""
    if file is None:
        return {}
    try:
        info = probe(file)
    except (AudioError, MissingExtraError):
        return {}
    known: dict[str, Any] = {"sample_rate_hz": info.sample_rate_hz, "channels": info.channels}
    if info.exact:
        known |= {"frames": info.frames, "duration_seconds": info.duration_seconds}
    return known
