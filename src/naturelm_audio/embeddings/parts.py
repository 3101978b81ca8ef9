"""The files of a table of vectors: what each part is, written as a whole and read where it lies.

    part-00000.npy            vectors (rows, width); readers map it into memory
    part-00000.norms.npy      their lengths (rows,), so that cosines need no second pass
    part-00000.csv            audio_path,start_seconds,end_seconds of each row, in the same order
    part-00000.parquet        all of it in one file, in place of these three
    _embeddings.jsonl         a line per part: what it holds and where each recording stands by then
    _embeddings.jsonl.run.json  settings, model, inputs, times and counts

A part is written under another name, then renamed; it counts once its line is there. So a process that dies
at any moment loses the part that it had in memory, and nothing comes twice. Knows nothing of audio or models.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from naturelm_audio.errors import MissingExtraError, OutputError
from naturelm_audio.files import clear_errors, replacing, replacing_file
from naturelm_audio.records import dump_json

__all__ = [
    "JOURNAL",
    "WRITERS",
    "EmbeddedSpan",
    "FloatArray",
    "HeardRecording",
    "Part",
    "Source",
    "read_parts",
    "read_spans",
    "read_vectors",
    "require_pyarrow",
]

JOURNAL = "_embeddings.jsonl"  # readers of whole folders of Parquet pass over names with an underscore
INDEX_COLUMNS = ("audio_path", "start_seconds", "end_seconds")

FloatArray = npt.NDArray[np.floating[Any]]


class Source(Protocol):
    """A recording as the table sees it."""

    @property
    def name(self) -> str:
        """The path as rows have it."""

    @property
    def path(self) -> Path:
        """Where the file is."""


@dataclass(frozen=True)
class EmbeddedSpan:
    """What one vector is of."""

    audio_path: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, kw_only=True)
class HeardRecording:
    """Where a recording stands: so many of its windows are in the table, and whether there will be more."""

    path: str
    file: str
    status: str = "begun"
    size: int | None = None
    mtime_ns: int | None = None
    windows: int = 0
    error: str | None = None

    @classmethod
    def of(cls, recording: Source) -> HeardRecording:
        """Return the state of a recording of which nothing is in the table."""
        file = str(recording.path.resolve())
        with contextlib.suppress(OSError):
            status = recording.path.stat()
            return cls(path=recording.name, file=file, size=status.st_size, mtime_ns=status.st_mtime_ns)
        return cls(path=recording.name, file=file)


@dataclass(frozen=True)
class Part:
    """One line of the journal; ``name`` is None where there was nothing but failures."""

    name: str | None
    rows: int
    recordings: tuple[HeardRecording, ...]

    def to_json(self) -> str:
        """Return the line without its line feed."""
        states = [
            {name: value for name, value in vars(one).items() if value is not None} for one in self.recordings
        ]
        return dump_json({"part": self.name, "rows": self.rows, "recordings": states})

    @classmethod
    def from_json(cls, line: str) -> Part:
        """Return the part of one line.

        Raises:
            ValueError: it is none.
        """
        row = json.loads(line)
        try:
            states = tuple(HeardRecording(**one) for one in row["recordings"])
            return cls(row["part"], int(row["rows"]), states)
        except (TypeError, KeyError) as error:
            raise ValueError(f"unknown content ({error})") from None


def read_parts(path: Path) -> list[Part]:
    """Return the lines of a journal; a last one that is being written, or torn, is left out.

    Raises:
        OutputError: it can't be read.
    """
    parts = []
    with clear_errors(path, "read"), open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):  # being written, or torn
                break
            try:
                parts.append(Part.from_json(line))
            except ValueError as error:
                raise OutputError(f"{path}, line {number}: not a line of a journal ({error})") from None
    return parts


def _lines_of(text: str, rows: int, places: Sequence[int]) -> list[Any]:
    """Return these rows of an index; of a name with a line feed every row takes several lines."""
    lines = text.split("\n")
    if len(lines) == rows + 2:  # the header and the empty text behind the last line feed
        return list(csv.reader([lines[place + 1] for place in places]))
    every = list(csv.reader(io.StringIO(text, newline="")))
    return [every[place + 1] for place in places]


def _write_numpy(path: Path, spans: Sequence[EmbeddedSpan], vectors: FloatArray) -> None:
    with replacing_file(path.with_suffix(".npy")) as temporary:
        np.save(temporary, vectors)
    with replacing_file(path.with_suffix(".norms.npy")) as temporary:
        np.save(temporary, _norms(vectors))
    with replacing(path.with_suffix(".csv")) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(INDEX_COLUMNS)
        writer.writerows((span.audio_path, span.start_seconds, span.end_seconds) for span in spans)


def _write_parquet(path: Path, spans: Sequence[EmbeddedSpan], vectors: FloatArray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array([span.audio_path for span in spans], pa.string())
    flat = pa.array(np.ascontiguousarray(vectors).ravel())
    columns = {
        "audio_path": names,
        "start_seconds": pa.array([span.start_seconds for span in spans], pa.float64()),
        "end_seconds": pa.array([span.end_seconds for span in spans], pa.float64()),
        "norm": pa.array(_norms(vectors)),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    with replacing_file(path.with_suffix(".parquet")) as temporary:
        # Numbers of vectors don't get smaller by compression, only slower to read.
        pq.write_table(pa.table(columns), temporary, compression="NONE", use_dictionary=["audio_path"])


PartWriter = Callable[[Path, Sequence[EmbeddedSpan], FloatArray], None]
WRITERS: dict[str, PartWriter] = {"numpy": _write_numpy, "parquet": _write_parquet}
"""By the name of the file format: path without suffix, spans, vectors (rows, width)."""


def read_vectors(path: Path) -> tuple[FloatArray, FloatArray]:
    """Return vectors (rows, width) and their lengths (rows,) of a part; NumPy files are mapped, not read.

    Raises:
        OutputError: they can't be read.
    """
    numpy_path = path.with_suffix(".npy")
    with clear_errors(numpy_path, "read"):
        if numpy_path.exists():
            return np.load(numpy_path, mmap_mode="r"), np.load(path.with_suffix(".norms.npy"))
        return _parquet_vectors(path.with_suffix(".parquet"))


def read_spans(path: Path, rows: int, places: Sequence[int]) -> list[EmbeddedSpan]:
    """Return what these rows of a part with so many are of.

    Raises:
        OutputError: they can't be read.
    """
    index_path = path.with_suffix(".csv")
    with clear_errors(index_path, "read"):
        if index_path.exists():
            found = _lines_of(index_path.read_text(encoding="utf-8"), rows, places)
        else:
            found = _parquet_spans(path.with_suffix(".parquet"), places)
    return [EmbeddedSpan(str(name), float(start), float(end)) for name, start, end in found]


def _norms(vectors: FloatArray) -> FloatArray:
    return np.linalg.norm(vectors.astype(np.float32, copy=False), axis=1)


def _parquet_vectors(path: Path) -> tuple[FloatArray, FloatArray]:
    pq = require_pyarrow()
    table = pq.read_table(path, columns=["norm", "vector"], memory_map=True)
    vectors = table["vector"].combine_chunks()
    flat = vectors.flatten().to_numpy()
    return flat.reshape(len(vectors), -1), table["norm"].to_numpy()


def _parquet_spans(path: Path, places: Sequence[int]) -> list[Any]:
    pq = require_pyarrow()
    table = pq.read_table(path, columns=list(INDEX_COLUMNS)).take(list(places))
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def require_pyarrow() -> Any:
    """Return the module for Parquet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("parquet", "A table in Parquet") from None
    return pyarrow.parquet
