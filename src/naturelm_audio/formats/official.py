"""The form of the official program: one JSON line per recording with the keys ``audio_path`` and ``output``.

``output`` strings all windows together as ``#0.00s - 10.00s#: text``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from naturelm_audio.errors import OutputError
from naturelm_audio.files import clear_errors, replacing, text_encoding
from naturelm_audio.formats.about import Recording
from naturelm_audio.formats.annotations import keeps_row
from naturelm_audio.formats.writing import Writer, make_folder
from naturelm_audio.records import Answer, dump_json

__all__ = [
    "OfficialRow",
    "OfficialWindow",
    "OfficialWriter",
    "official_paths",
    "official_string",
    "parse_official_string",
    "read_official",
    "write_official",
]

WINDOW_START = re.compile(r"^#(\d+(?:\.\d+)?)s - (\d+(?:\.\d+)?)s#: ?", re.MULTILINE)
LINE_FEED = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class OfficialWindow:
    """One window of an official string; times in seconds, with two decimals."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True)
class OfficialRow:
    """One line of an official file; ``output`` is None for a recording that failed."""

    audio_path: str
    output: str | None

    @property
    def windows(self) -> list[OfficialWindow]:
        """The windows of ``output``; none for a recording that failed."""
        return parse_official_string(self.output or "")


def official_string(answers: Iterable[Answer], *, nominal_window_seconds: float | None = None) -> str:
    """Return the windows of one recording and one question as the official program prints them.

    Rows with an error are left out. With ``nominal_window_seconds`` every end is start + window, as the
    official program has it, even beyond the end of the file. Line feeds in an answer become blanks.
    """
    parts = []
    for answer in answers:
        if answer.output is None or answer.start_seconds is None or answer.end_seconds is None:
            continue
        start, end = answer.start_seconds, answer.end_seconds
        if nominal_window_seconds is not None:
            end = start + nominal_window_seconds
        parts.append(f"#{start:.2f}s - {end:.2f}s#: {LINE_FEED.sub(' ', answer.output)}\n")
    return "".join(parts)


def parse_official_string(output: str) -> list[OfficialWindow]:
    """Return the windows of an official string; a text that spans lines is kept whole."""
    starts = list(WINDOW_START.finditer(output))
    bounds = [*(found.start() for found in starts), len(output)]
    return [
        OfficialWindow(float(found[1]), float(found[2]), output[found.end() : end].removesuffix("\n"))
        for found, end in zip(starts, bounds[1:], strict=True)
    ]


def official_paths(path: Path, questions: int) -> list[Path]:
    """Return one file for each question: the form has no place for a second one."""
    if questions == 1:
        return [path]
    return [path.with_name(f"{path.stem}.query{number}{path.suffix}") for number in range(1, questions + 1)]


def write_official(
    answers: Iterable[Answer],
    path: Path,
    queries: Sequence[str],
    *,
    nominal_window_seconds: float | None = None,
) -> list[Path]:
    """Write rows, in order, in the official form; return the files, one for each question.

    A recording without any answer has the output null: it is neither left out nor silent.

    Raises:
        OutputError: a file can't be written; those of before are untouched then.
    """
    paths = official_paths(path, len(queries))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(replacing(item)) for item in paths]
        for name, group in itertools.groupby(answers, key=lambda answer: answer.audio_path):
            rows = list(group)
            for query, file in zip(queries, files, strict=True):
                file.write(f"{official_line(name, rows, query, nominal_window_seconds)}\n")
    return paths


def official_line(
    name: str, rows: Sequence[Answer], query: str, nominal_window_seconds: float | None = None
) -> str:
    """Return the line of one recording and question, without its line feed."""
    mine = [row for row in rows if row.query == query]
    text = official_string(mine, nominal_window_seconds=nominal_window_seconds)
    failed = not text and any(row.failed for row in rows)
    return dump_json({"audio_path": name, "output": None if failed else text})


def read_official(path: str | Path) -> Iterator[OfficialRow]:
    """Yield the lines of an official file, ours or one of the official program.

    Raises:
        OutputError: the file can't be read, or naming the line that is not of this form.
    """
    path = Path(path)
    with clear_errors(path, "read"), open(path, encoding=text_encoding(path), newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            output = row.get("output") if isinstance(row, dict) else 0
            if not isinstance(output, str | None) or not isinstance(row.get("audio_path"), str):
                raise OutputError(f"{path}, line {number}: not a line with audio_path and output")
            yield OfficialRow(row["audio_path"], output)


class OfficialWriter(Writer):
    """The official form; one file for each question, one line for each recording."""

    name: ClassVar[str] = "official"
    suffix: ClassVar[str] = ".official.jsonl"
    only_one_way: ClassVar[bool] = True

    def paths(self) -> Iterator[Path]:
        """Yield one file for each question."""
        yield from official_paths(self.combined_path(), len(self.export.queries))

    def start(self) -> None:
        """Open them."""
        make_folder(self.combined_path())
        self._texts = [self._files.enter_context(replacing(path)) for path in self.paths()]

    def begin(self, recording: Recording) -> None:
        """Take up a recording."""
        self._answers: list[Answer] = []

    def add(self, answer: Answer) -> None:
        """Take a row that is not left out."""
        if keeps_row(answer, self.options):
            self._answers.append(answer)

    def end(self, recording: Recording) -> None:
        """Write the recording's line into each file."""
        for query, file in zip(self.export.queries, self._texts, strict=True):
            self.rows += 1
            line = official_line(recording.name, self._answers, query, self.options.nominal_window_seconds)
            file.write(f"{line}\n")
