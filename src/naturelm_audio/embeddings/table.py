"""Read a table of vectors: block after block, memory-mapped, and what single rows are of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturelm_audio.embeddings.parts import (
    JOURNAL,
    EmbeddedSpan,
    FloatArray,
    Part,
    read_parts,
    read_spans,
    read_vectors,
)
from naturelm_audio.errors import OutputError
from naturelm_audio.run_files import RunFile

__all__ = ["EmbeddingTable"]


@dataclass(frozen=True)
class EmbeddingTable:
    """A table to read. Made by :meth:`open`.

    ``settings`` says how it was made, ``model_source`` where the weights were, ``parts`` what there is, and
    ``files`` where each recording was.
    """

    folder: Path
    settings: Mapping[str, Any]
    finished: bool
    model_source: str | None
    parts: tuple[Part, ...]
    files: Mapping[str, str] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> EmbeddingTable:
        """Return the table of a folder; one that is still being made has what is there by now.

        Raises:
            OutputError: there is none, or it holds no vector.
        """
        folder = Path(folder)
        run_path = RunFile(folder / JOURNAL).path
        if not run_path.is_file():
            raise OutputError(f"{folder}: is no table of embeddings: make one with `naturelm embed`")
        try:
            run = json.loads(run_path.read_text(encoding="utf-8"))
            settings, finished = run["settings"], run["status"] == "finished"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{run_path}: can't be read ({error})") from None
        parts = read_parts(folder / JOURNAL)
        files = {one.path: one.file for part in parts for one in part.recordings}
        filled = tuple(part for part in parts if part.rows)
        if not filled:
            raise OutputError(f"{folder}: the table is empty: none of its recordings could be heard")
        return cls(folder, settings, finished, run.get("model_source"), filled, files)

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return sum(part.rows for part in self.parts)

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.settings["vectors"]["width"])

    def blocks(self) -> Iterator[tuple[int, FloatArray, FloatArray]]:
        """Yield (number of the first row, vectors (rows, width), their lengths (rows,)) of part after part.

        NumPy parts are mapped, not read, so they take memory only while they are used.

        Raises:
            OutputError: a part is missing or has another size than its line says.
        """
        first = 0
        for part in self.parts:
            vectors, norms = read_vectors(self.folder / str(part.name))
            if vectors.shape != (part.rows, self.width) or norms.shape != (part.rows,):
                raise OutputError(
                    f"{self.folder / str(part.name)}: is not as its journal says: embed the recordings again"
                )
            yield first, vectors, norms
            first += part.rows

    def spans(self, places: Iterable[int]) -> list[EmbeddedSpan]:
        """Return what the rows of these numbers are of, in their order.

        Raises:
            OutputError: an index is missing or broken.
        """
        wanted = list(places)
        found: dict[int, EmbeddedSpan] = {}
        first = 0
        for part in self.parts:
            inside = [place - first for place in wanted if first <= place < first + part.rows]
            if inside:
                spans = read_spans(self.folder / str(part.name), part.rows, inside)
                found |= {first + place: span for place, span in zip(inside, spans, strict=True)}
            first += part.rows
        return [found[place] for place in wanted]
