"""What every format shares: where its files go, when they open and appear, and what it counts and leaves out.

A writer takes recordings one after the other: ``begin``, a row at a time, ``end``. Its files have other names
until all is well, so a conversion that fails leaves those of before.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, TextIO

from naturelm_audio.files import clear_errors, replacing
from naturelm_audio.formats.about import Recording, Run
from naturelm_audio.formats.annotations import Annotation, Merger, annotations_of, keeps_row
from naturelm_audio.formats.choices import FormatOptions
from naturelm_audio.formats.names import output_stems
from naturelm_audio.records import Answer

__all__ = [
    "AnnotationWriter",
    "Export",
    "FileWriter",
    "RowWriter",
    "TextWriter",
    "Writer",
    "make_folder",
]

COMBINED = "combined"
"""The stem of a file for all recordings."""


@dataclass
class Export:
    """Where a conversion goes and what it is about; ``names`` are the recordings in order.

    Args:
        run: the run that made the rows.
        folder: of the files that are made.
        options: of all formats.
        single: the one file of a combined format, in place of a name in the folder.
    """

    run: Run
    folder: Path
    options: FormatOptions = field(default_factory=FormatOptions)
    single: Path | None = None

    @cached_property
    def names(self) -> list[str]:
        """All recordings that were analysed, in order."""
        return self.run.names

    @cached_property
    def queries(self) -> list[str]:
        """All questions, in order."""
        return self.run.queries

    @cached_property
    def stems(self) -> dict[str, str]:
        """Name of a recording -> path of its files below the folder, without suffix."""
        return output_stems(self.names)


class Writer(ABC):
    """One format. A context manager: its files appear when the block ends without an error.

    ``left_out`` counts, by reason, what the format has no place for; ``doubts`` what may be wrong in it.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    is_per_file: ClassVar[bool] = False
    """Whether the format has one file for each recording unless told otherwise."""
    only_one_way: ClassVar[bool] = False
    """Whether the format can't be told otherwise."""

    def __init__(self, export: Export) -> None:
        self.export = export
        self.options = export.options
        self.left_out: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self.rows = 0
        asked = self.is_per_file if export.options.per_file is None else export.options.per_file
        self.per_file = self.is_per_file if self.only_one_way else asked
        self._files = contextlib.ExitStack()

    def missing(self) -> Sequence[str]:
        """Return what can't be found out and has to be given; the format can't be written without it."""
        return ()

    def paths(self) -> Iterator[Path]:
        """Yield every file that may be written."""
        if self.per_file:
            yield from (self.path_of(name) for name in self.export.names)
        else:
            yield self.combined_path()

    def path_of(self, name: str) -> Path:
        """Return the file of one recording."""
        return self.export.folder / f"{self.export.stems[name]}{self.suffix}"

    def combined_path(self) -> Path:
        """Return the file of all recordings."""
        return self.export.single or self.export.folder / f"{COMBINED}{self.suffix}"

    def check(self, path: Path) -> None:
        """Raise OutputError for an existing file that may never be replaced."""
        return

    def start(self) -> None:
        """Open what is open from the first recording to the last."""
        return

    @abstractmethod
    def begin(self, recording: Recording) -> None:
        """Take up a recording."""

    @abstractmethod
    def add(self, answer: Answer) -> None:
        """Take a row of the recording."""

    @abstractmethod
    def end(self, recording: Recording) -> None:
        """Finish a recording."""

    def finish(self) -> None:
        """Write what can be known only at the end."""
        return

    def __enter__(self) -> Writer:
        """Open the files and return the writer."""
        with contextlib.ExitStack() as undo:
            undo.push(self._files)
            self.start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the files take their places, or leave those of before."""
        if kind is not None:
            self._files.__exit__(kind, error, trace)
            return
        with self._files:
            self.finish()


class FileWriter(Writer):
    """A format of one file per recording or one for all, which opens with the first row that it has.

    A recording with nothing in it has a file of its own, with the header only; one that failed has none.
    """

    def start(self) -> None:
        """Open the file for all, if it is that."""
        if not self.per_file:
            self.open_file(self.combined_path(), self._files)

    def begin(self, recording: Recording) -> None:
        """Take up a recording."""
        self.recording = recording
        self._answered = self._failed = False
        self._own = contextlib.ExitStack()

    def add(self, answer: Answer) -> None:
        """Take a row; a file of its own opens with the first answer."""
        if answer.failed:
            self._failed = True
        elif self.per_file and not self._answered:
            self._open_own()
        self.row(answer)

    def end(self, recording: Recording) -> None:
        """Let a file of its own take its place."""
        if not self.per_file:
            return
        if not self._answered and not self._failed and not recording.failed:
            self._open_own()
        self._own.close()

    def _open_own(self) -> None:
        self._answered = True
        self.open_file(self.path_of(self.recording.name), self._own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the files take their places, or leave those of before."""
        if kind is not None and self.per_file:
            getattr(self, "_own", contextlib.ExitStack()).__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    @abstractmethod
    def open_file(self, path: Path, files: contextlib.ExitStack) -> None:
        """Open a file and write its header; closing ``files`` lets it take its place."""

    @abstractmethod
    def row(self, answer: Answer) -> None:
        """Write a row."""


class RowWriter(FileWriter):
    """A :class:`FileWriter` of rows as they are; a recording that failed as a whole has none of its own."""

    def row(self, answer: Answer) -> None:
        """Write a row that is not left out."""
        if (self._answered or not self.per_file) and keeps_row(answer, self.options):
            self.write(answer)

    @abstractmethod
    def write(self, answer: Answer) -> None:
        """Write a row."""


def make_folder(path: Path) -> None:
    """Make the folder of a file.

    Raises:
        OutputError: it can't be made.
    """
    with clear_errors(path.parent, "made"):
        path.parent.mkdir(parents=True, exist_ok=True)


class TextWriter(FileWriter):
    """A :class:`FileWriter` of text."""

    def open_file(self, path: Path, files: contextlib.ExitStack) -> None:
        """Open a text file and write its header."""
        self.head(self.opened(path, files))

    def opened(self, path: Path, files: contextlib.ExitStack) -> TextIO:
        """Return a text file, its folder made if need be."""
        make_folder(path)
        return files.enter_context(replacing(path))

    @abstractmethod
    def head(self, file: TextIO) -> None:
        """Take the file and write what stands before the first row."""


class AnnotationWriter(TextWriter):
    """A format of spans with one label each, merged if that was asked for."""

    always_merges: ClassVar[bool] = False
    names_folders: ClassVar[bool] = False
    """Whether another program opens recordings by what is written here."""

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        self.merges = export.options.merge or self.always_merges

    def begin(self, recording: Recording) -> None:
        """Take up a recording."""
        super().begin(recording)
        self._merger = Merger() if self.merges else None
        if self.names_folders and not recording.folder and self.export.run.written_root is None:
            self.doubts["recordings whose folder is not known: give --audio-root or --paths-as"] += 1

    def row(self, answer: Answer) -> None:
        """Write the annotations of a row, or those that it completes."""
        found = annotations_of(answer, self.options)
        if self._merger is not None:
            found = list(self._merger.add(answer, found))
        for annotation in found:
            self.rows += 1
            self.annotation(annotation)

    def end(self, recording: Recording) -> None:
        """Write what was still waiting for an equal neighbour."""
        if self._merger is not None:
            for annotation in self._merger.flush():
                self.rows += 1
                self.annotation(annotation)
        super().end(recording)

    def leave_out(self, reason: str) -> None:
        """Count an annotation that the format has no place for."""
        self.rows -= 1
        self.left_out[reason] += 1

    @abstractmethod
    def annotation(self, annotation: Annotation) -> None:
        """Write one annotation of ``self.recording``."""
