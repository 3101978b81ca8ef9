"""One run of ``naturelm embed``: options -> a table of vectors that can be resumed. No parsing.

The decode-ahead thread and the windows are those of :mod:`~naturelm_audio.pipeline`. A recording that can't
be heard is noted with its error, and the run goes on.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from naturelm_audio.audio import Recording, find_recordings
from naturelm_audio.embeddings.encoder import LEVELS, POOLINGS, Embedder
from naturelm_audio.embeddings.parts import EmbeddedSpan
from naturelm_audio.embeddings.writer import TableWriter
from naturelm_audio.errors import NatureLMError, OptionsError
from naturelm_audio.listening import Clip, End, Hearing, Piece, chunks, read_ahead
from naturelm_audio.options import RunOptions
from naturelm_audio.options.checks import one_of, real, whole
from naturelm_audio.progress import Progress
from naturelm_audio.resampling import require_resampler
from naturelm_audio.runs import RunStoppedError, about_run, counted
from naturelm_audio.windows import WindowPlan

__all__ = ["DEFAULT_TABLE", "STORED_DTYPES", "EmbedOptions", "EmbedSummary", "Vectors", "embed", "run_embed"]

logger = logging.getLogger(__name__)

DEFAULT_TABLE = Path("embeddings")
STORED_DTYPES = ("float32", "float16")
HALF_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(RunOptions):
    """What ``naturelm embed`` does.

    Raises:
        OptionsError: naming the option that is wrong.
    """

    audio_paths: tuple[str, ...]
    output_path: Path = DEFAULT_TABLE
    level: str = LEVELS[0]
    pooling: str = POOLINGS[0]
    file_format: str = "numpy"
    stored_dtype: str = STORED_DTYPES[0]
    window_length_seconds: float = 10.0
    hop_length_seconds: float | None = None
    allow_gaps: bool = False
    channel: int | None = None
    speed_factor: float = 1.0

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        super().__post_init__()
        if not self.audio_paths:
            raise OptionsError("--audio-path is missing: name a file, a folder or a pattern")
        one_of(self.stored_dtype, "--store", STORED_DTYPES)
        real(self.speed_factor, "--speed-factor", above=0.0)
        if self.channel is not None:
            whole(self.channel, "--channel", at_least=1)
        require_resampler(self.resampler)

    def plan(self, max_seconds: float = 10.0) -> WindowPlan:
        """Return the windows, for an encoder that hears so much at once.

        Raises:
            OptionsError: they leave gaps, or are too short.
        """
        return WindowPlan(
            window_length_seconds=self.window_length_seconds,
            hop_length_seconds=self.hop_length_seconds,
            model_max_seconds=max_seconds,
            allow_gaps=self.allow_gaps,
        )

    def settings(self) -> dict[str, Any]:
        """Return what decides the vectors, as JSON values; two runs with equal ones can share a table."""
        hop = self.window_length_seconds if self.hop_length_seconds is None else self.hop_length_seconds
        return {
            "level": self.level,
            "pooling": self.pooling,
            "stored_dtype": self.stored_dtype,
            "window_length_seconds": float(self.window_length_seconds),
            "hop_length_seconds": float(hop),
            "channel": self.channel,
            "speed_factor": float(self.speed_factor),
            "resampler": self.resampler,
        }


@dataclass(frozen=True)
class EmbedSummary:
    """What a finished run left: vectors in the table, and recordings that failed with their errors."""

    folder: Path
    rows: int
    width: int
    failed: Mapping[str, str]
    windows: int
    """Windows that this run encoded."""
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        """One line for the user."""
        made = f"{counted(self.rows, 'vector')} of {self.width} numbers in {self.folder}"
        speed = f" ({self.windows / self.seconds:.1f} windows/s)" if self.windows and self.seconds else ""
        journal = f"{self.folder.name}/_embeddings.jsonl"
        failed = f"; {counted(len(self.failed), 'recording')} failed, see `error` in {journal}"
        return f"{made}{speed}{failed if self.failed else ''}"


@dataclass(frozen=True, eq=False)
class Vectors:
    """One window with its vectors: float32 (rows, width), and the seconds of the file that each is of."""

    source: Recording | Clip
    spans: tuple[EmbeddedSpan, ...]
    vectors: np.ndarray


def embed(
    embedder: Embedder,
    sources: Sequence[Recording | Clip],
    plan: WindowPlan,
    hearing: Hearing,
    windows_done: Callable[[str], int] = lambda name: 0,
) -> Iterator[Vectors | End]:
    """Yield the vectors of every window in order, and the end of each recording.

    Args:
        embedder: makes the vectors.
        sources: from :func:`naturelm_audio.audio.find_recordings`, or in memory.
        plan: the windows.
        hearing: how files become samples.
        windows_done: name -> windows at its start that are left out.
    """
    ahead = read_ahead(sources, plan, hearing, 4 * embedder.batch_size)
    wanted = (
        one for one in ahead if isinstance(one, End) or one.window.index >= windows_done(one.source.name)
    )
    for chunk in chunks(wanted, embedder.batch_size):
        pieces = [item for item in chunk if isinstance(item, Piece)]
        vectors = iter(embedder.embed([piece.samples for piece in pieces]))
        for item in chunk:
            if isinstance(item, End):
                yield item
            else:
                yield Vectors(item.source, _spans(embedder, item, hearing.speed_factor), next(vectors))


def run_embed(options: EmbedOptions, load: Callable[[EmbedOptions], Embedder]) -> EmbedSummary:
    """Embed all windows of all recordings into the table; return what there is at the end.

    ``load`` is called once, and only if something is left to do.

    Raises:
        RunStoppedError: it ended midway.
        NatureLMError: nothing was done, for the reason it gives.
    """
    options.plan()
    recordings = find_recordings(options.audio_paths)
    table = TableWriter.open(
        options.output_path,
        mode=options.output_mode,
        file_format=options.file_format,
        settings=options.settings(),
        about=about_run(),
    )
    windows, started = 0, time.monotonic()
    try:
        with table:
            todo = table.remaining(recordings)
            if todo:
                embedder = load(options)
                started = time.monotonic()
                windows = _embed_into(table, embedder, options, todo)
    except NatureLMError as error:
        if not table.parts:
            raise
        raise RunStoppedError(f"{error}; {_how_to_go_on(options, table)}") from error
    except KeyboardInterrupt:
        raise RunStoppedError(_how_to_go_on(options, table), interrupted=True) from None
    width = table.run_file.content["settings"].get("vectors", {}).get("width", 0)
    seconds = time.monotonic() - started
    return EmbedSummary(options.output_path, table.rows, width, table.failed, windows, seconds)


def _embed_into(
    table: TableWriter, embedder: Embedder, options: EmbedOptions, todo: Sequence[Recording]
) -> int:
    """Add what is not in the table yet; return how many windows that were."""
    _note_model(table, embedder)
    plan = options.plan(embedder.max_seconds)
    hearing = Hearing(options.channel, options.speed_factor, options.resampler)
    windows_done = {one.name: table.windows_done(one.name) for one in todo}
    windows = 0
    with Progress(todo, plan, options.speed_factor, questions=1, done=windows_done) as progress:
        for one in embed(embedder, todo, plan, hearing, windows_done.__getitem__):
            recording: Any = one.source  # of todo, so no clip
            if isinstance(one, End):
                error = None if one.error is None else f"{one.error.code}: {one.error.reason}"
                table.finish(recording, error)
                progress.recording(recording.name, error)
            else:
                table.add(recording, one.spans, _stored(one.vectors, options.stored_dtype))
                windows += 1
                progress.window()
    return windows


def _spans(embedder: Embedder, piece: Piece, speed_factor: float) -> tuple[EmbeddedSpan, ...]:
    start = piece.window.start_sample / piece.window.sample_rate_hz
    whole = piece.window.seconds_in_file(speed_factor)
    if embedder.pooling == "mean":
        return (EmbeddedSpan(piece.source.name, *whole),)
    return tuple(
        EmbeddedSpan(piece.source.name, *(round((start + at) * speed_factor, 6) for at in span))
        for span in embedder.spans(len(piece.samples))
    )


def _stored(vectors: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float16":  # its largest number is small; such values are cut there instead of lost
        return np.clip(vectors, -HALF_LARGEST, HALF_LARGEST).astype(np.float16)
    return vectors


def _note_model(table: TableWriter, embedder: Embedder) -> None:
    """Compare the encoder with that of the vectors in the table, and note what else is worth knowing."""
    provenance = embedder.tower.provenance
    table.run_file.confirm("vectors", {"width": embedder.width})
    if provenance is not None:
        described = dataclasses.asdict(provenance)
        model = {
            "name": described["model_name"],
            "revision": described["model_revision"],
            "weights": described["weights_fingerprint"],
            "dtype": embedder.dtype,
        }
        table.run_file.confirm("model", model)
        table.run_file.note(model_source=str(provenance.source))
    table.run_file.note(device=str(embedder.device))


def _how_to_go_on(options: EmbedOptions, table: TableWriter) -> str:
    rows = sum(part.rows for part in table.parts)
    if not rows:
        return "no vector was made yet"
    instead = " instead of --overwrite" if options.overwrite else ""
    return f"{counted(rows, 'vector')} in {table.folder}; the same command with --resume{instead} goes on"
