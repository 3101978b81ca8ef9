"""A file of rows, recording by recording in order of their names, without holding the rows.

A first pass notes where each recording's lines are, and what must be known before anything is written; rows
are read in the second. Lines that are no rows are noted with their numbers and left out.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from naturelm_audio.errors import OutputError
from naturelm_audio.files import clear_errors, encoding_of
from naturelm_audio.formats.text import one_line
from naturelm_audio.records import Answer

__all__ = ["BadLine", "ResultFile"]

SURROGATE = re.compile("[\ud800-\udfff]")
QUERY = re.compile(rb'"query":("(?:[^"\\]|\\.)*")')
BAD_LINES_KEPT = 1000
NO_LINE = b"\n\n"
"""What no line begins with."""


@dataclass(frozen=True)
class BadLine:
    """A line that is no row, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class _Part:
    """Neighbouring lines of one recording: bytes from ``start`` to ``end``, the first in line ``line``."""

    line: int
    start: int
    end: int


class ResultFile:
    """Rows of JSON Lines, by recording; a context manager.

    ``queries`` are all questions, in order of their first row. ``bad_lines`` grows while rows are read, to a
    limit; ``bad_count`` has them all.

    Raises:
        OutputError: the file can't be read, or has not a single row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.queries: list[str] = []
        self.bad_lines: list[BadLine] = []
        self.bad_count = 0
        self._recordings: dict[str, list[_Part]] = {}
        self._file = _opened(path)
        try:
            _Index(self, self._recordings).fill(self._file)
            if not self._recordings and self.bad_lines:
                bad = self.bad_lines[0]
                raise OutputError(
                    f"{path}: has no row of results; line {bad.line}: {bad.reason}: give the JSON Lines of "
                    "`naturelm infer`"
                )
        except BaseException:
            self.close()
            raise
        self._order = {query: number for number, query in enumerate(self.queries)}

    @cached_property
    def names(self) -> list[str]:
        """Names of the recordings that have rows, sorted."""
        return sorted(self._recordings)

    def first(self, name: str) -> Answer | None:
        """Return the first row of a recording; it is read anew, for there may be very many recordings."""
        parts = self._recordings.get(name)
        if not parts:
            return None
        with clear_errors(self.path, "read"):
            here = self._file.tell()  # rows may be on their way
            self._file.seek(parts[0].start)
            line = self._file.readline()
            self._file.seek(here)
        return self.parsed(line, parts[0].line)

    def answers(self, name: str) -> Iterator[Answer]:
        """Yield a recording's rows in order of their start, then of the questions.

        Rows that stand together are in order as they were written, so they are not held.
        """
        parts = self._recordings.get(name, [])
        rows = (answer for part in parts for answer in self._read(part))
        if len(parts) < 2:
            yield from rows
            return
        yield from sorted(rows, key=self._place)

    def _place(self, answer: Answer) -> tuple[float, int]:
        start = float("inf") if answer.start_seconds is None else answer.start_seconds
        return start, self._order.get(answer.query, len(self._order))

    def _read(self, part: _Part) -> Iterator[Answer]:
        with clear_errors(self.path, "read"):
            self._file.seek(part.start)
            number, offset = part.line, part.start
            while offset < part.end:
                line = self._file.readline()
                if not line:
                    return
                if answer := self.parsed(line, number):
                    yield answer
                number, offset = number + 1, offset + len(line)

    def parsed(self, line: bytes, number: int) -> Answer | None:
        """Return the row of a line; None, and a note, for one that is none."""
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            answer = Answer.from_json(text)
            # Only an escape can bring half a character, which no file of text can hold.
            return _without_surrogates(text) if b"\\ud" in line or b"\\uD" in line else answer
        except (ValueError, RecursionError) as error:
            self.bad_count += 1
            if len(self.bad_lines) < BAD_LINES_KEPT:
                self.bad_lines.append(BadLine(number, one_line(str(error))))
            return None

    def close(self) -> None:
        """Let the file go; a second time does nothing."""
        self._file.close()

    def __enter__(self) -> ResultFile:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the file go."""
        self.close()


class _Index:
    """The first pass. A line that begins like the one before is of the same recording and is not parsed."""

    def __init__(self, rows: ResultFile, recordings: dict[str, list[_Part]]) -> None:
        self._rows = rows
        self._recordings = recordings
        self._seen: set[bytes] = set()
        self._prefix = NO_LINE
        self._start = float("-inf")
        self._part = _Part(0, 0, 0)

    def fill(self, file: IO[bytes]) -> None:
        offset = 0
        with clear_errors(self._rows.path, "read"):
            for number, line in enumerate(file, start=1):
                if not line.startswith(self._prefix) or self._goes_back(line):
                    self._begin(line, number, offset)
                offset += len(line)
                self._part.end = offset
                query = QUERY.search(line, len(self._prefix))
                if query is not None and query[1] not in self._seen:
                    self._seen.add(query[1])
                    with contextlib.suppress(ValueError):
                        self._ask(json.loads(query[1]))

    def _goes_back(self, line: bytes) -> bool:
        """Whether the row starts before the one above it; parts of a recording are put in order later."""
        first = len(self._prefix)
        try:
            start = float(line[first : line.index(b",", first)])
        except ValueError:  # null, in the row of a failure
            return False
        before, self._start = self._start, start
        return start < before

    def _begin(self, line: bytes, number: int, offset: int) -> None:
        """Start a part with a line that doesn't follow the one before."""
        self._prefix, self._start = NO_LINE, float("-inf")
        self._part = _Part(number, offset, offset)
        if not line.strip():
            return
        answer = self._rows.parsed(line, number)
        if answer is None:
            return
        self._ask(answer.query)
        self._recordings.setdefault(answer.audio_path, []).append(self._part)
        prefix, separator, _ = line.partition(b'","start_seconds":')
        if separator and prefix.startswith(b'{"audio_path":"'):
            self._prefix = prefix + separator
            self._goes_back(line)

    def _ask(self, query: str) -> None:
        query = SURROGATE.sub(_escaped, query)
        if query not in self._rows.queries:
            self._rows.queries.append(query)


def _opened(path: Path) -> IO[bytes]:
    """Open the file as UTF-8; UTF-16, as some editors save, is rewritten first."""
    with clear_errors(path, "read"):
        file = open(path, "rb")  # noqa: SIM115 - closed by ResultFile
        encoding = encoding_of(file.read(2))
        if encoding != "utf-16":
            file.seek(0)
            return file
        file.close()
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - as above
        with open(path, encoding=encoding, newline="") as source:
            shutil.copyfileobj(source, codecs.getwriter("utf-8")(copy))
        copy.seek(0)
        return copy


def _without_surrogates(text: str) -> Answer:
    """Return the row with every half of a character written as its escape."""
    value = json.loads(text)
    return Answer.from_json(json.dumps(_mended(value)))


def _mended(value: object) -> object:
    if isinstance(value, str):
        return SURROGATE.sub(_escaped, value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {key: _mended(item) for key, item in value.items()}
    return value


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
