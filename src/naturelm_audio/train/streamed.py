"""Samples from a stream of rows that carry their audio: shards in a folder, or a data set on the hub.

Rows are read in chunks; within one they are shuffled, augmented and mixed like rows of a file. Every batch
brings the place of its reader, so a run goes on at exactly the next row: the chunk is read again, and what
was learned from is passed over.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import IterableDataset

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.draws import Draws, NoisePool, Reader, Sample
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.hub import RowStream, Selection, open_rows
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import AugmentOptions, DataOptions
from naturelm_audio.train.rows import hold_outs, unwanted

__all__ = ["Place", "StreamedBatch", "StreamedDraws", "row_filter", "stream_opener"]

CHUNK_ROWS = 256
"""Rows in memory at a time, about; partners of a mixture are from the same chunk."""
Opener = Callable[[int], RowStream]


@dataclass(frozen=True)
class Place:
    """How far a reader is: its pass, the stream's state before its chunk, the chunk, rows taken of it, and
    how many rows before the chunk were left out for which reason.
    """

    turn: int = 0
    rows: dict[str, Any] | None = None
    chunk: int = 0
    taken: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StreamedBatch:
    """Samples, and the reader's place after them."""

    samples: tuple[Sample, ...]
    place: Place


class StreamedDraws(IterableDataset[StreamedBatch]):
    """The batches of one process, without an end.

    Args:
        opener: opens the rows of a pass for this process, their shards in an order of that pass's own.
        wanted: returns why a row is left out, or nothing.
        reader: reads their audio.
        options: of augmentation.
        seed: of all draws; each process has its own.
        batch_rows: rows in a batch.
        chunk_rows: rows in memory at a time.
    """

    rows = 0
    """How many there are in all is not known."""

    def __init__(
        self,
        opener: Opener,
        wanted: Callable[[Example], str],
        reader: Reader,
        options: AugmentOptions,
        *,
        seed: int,
        batch_rows: int,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.opener, self.wanted, self.reader, self.options = opener, wanted, reader, options
        self.seed, self.batch_rows = seed, batch_rows
        self.chunk_rows = -(-chunk_rows // batch_rows) * batch_rows
        self.start = Place()
        self.left_out: Counter[str] = Counter()
        self._noise = NoisePool(options.noise_folders)

    def __iter__(self) -> Iterator[StreamedBatch]:
        """Yield batches from the place where a run goes on.

        Raises:
            OptionsError: a whole pass has no row to learn from.
        """
        place, self.left_out = self.start, Counter(self.start.left_out)
        while True:
            found = 0
            for begun, examples in self._chunks(place):
                found += len(examples)
                yield from self._batches(begun, examples)
            if not found and place.rows is None:
                left_out = dict(self.left_out) or "none"
                raise OptionsError(f"data.train: no row of the stream is left; left out: {left_out}")
            place = Place(turn=place.turn + 1)

    def _chunks(self, place: Place) -> Iterator[tuple[Place, list[Example]]]:
        """Yield the chunks of a pass, each with the place of its first row that was not yet taken."""
        stream = self.opener(place.turn)
        if place.rows is not None:
            stream.load_state_dict(place.rows)
        before, kept, counted = stream.state_dict(), list[Example](), dict(self.left_out)
        for example in stream:
            reason = self.wanted(example)
            if reason:
                self.left_out[reason] += 1
                continue
            kept.append(example)
            if len(kept) == self.chunk_rows:
                yield dataclasses.replace(place, rows=before, left_out=counted), kept
                place = Place(turn=place.turn, chunk=place.chunk + 1)
                before, kept, counted = stream.state_dict(), [], dict(self.left_out)
        if kept:
            yield dataclasses.replace(place, rows=before, left_out=counted), kept

    def _batches(self, place: Place, examples: Sequence[Example]) -> Iterator[StreamedBatch]:
        """Yield the batches of a chunk; the last one of a pass is filled up with rows from its front."""
        seed = digest(self.seed, "stream", place.turn, place.chunk) % 2**63
        length = -(-len(examples) // self.batch_rows) * self.batch_rows
        draws = Draws(examples, self.reader, self.options, seed=seed, length=length, noise=self._noise)
        first = place.chunk * self.chunk_rows
        for start in range(place.taken, length, self.batch_rows):
            samples = (draws[draw] for draw in range(start, start + self.batch_rows))
            numbered = tuple(_numbered(sample, first) for sample in samples)
            yield StreamedBatch(numbered, dataclasses.replace(place, taken=start + self.batch_rows))


def _numbered(sample: Sample, first: int) -> Sample:
    """Return a sample whose rows, not noise, are counted from the start of its pass, not of its chunk."""
    failed = tuple(
        dataclasses.replace(one, row=first + one.row) if one.row >= 0 else one for one in sample.unreadable
    )
    return dataclasses.replace(sample, row=first + sample.row, unreadable=failed)


def stream_opener(options: DataOptions, *, seed: int, rank: int, world: int) -> Opener:
    """Return what opens the rows of a pass for one process; no row goes to two of them.

    Raises:
        OptionsError: not exactly one source, or readers in other processes.
    """
    if len(options.train) != 1:
        raise OptionsError("data.stream: name one folder of shards or one data set in data.train")
    if options.workers:
        raise OptionsError("data.stream: rows are read in the process that trains; set data.workers to 0")
    selection = Selection(tasks=options.tasks, without_tasks=options.exclude_tasks, sources=options.sources)

    def opened(turn: int) -> RowStream:
        return open_rows(
            options.train[0],
            selection=selection,
            rank=rank,
            world_size=world,
            shuffle_seed=digest(seed, "shards", turn) % 2**31,
        )

    return opened


def row_filter(options: DataOptions) -> Callable[[Example], str]:
    """Return a function that says why a row is left out: by the recipe's filters, or by a held-out taxon."""
    held_out = hold_outs(options.hold_outs)

    def reason(example: Example) -> str:
        if example.split not in ("", "train"):
            return "not of the split train"
        return unwanted(example, options, held_out)

    return reason
