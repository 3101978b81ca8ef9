"""The vectors of a table nearest to one: exact, part by part, memory-mapped.

One pass reads every vector once, so the time is that of reading them from memory; nothing is built beforehand
and nothing is approximate. Equal scores keep the order of the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from naturelm_audio.audio import SAMPLE_RATE_HZ, read_span
from naturelm_audio.embeddings.encoder import Embedder
from naturelm_audio.embeddings.parts import EmbeddedSpan, FloatArray
from naturelm_audio.embeddings.table import EmbeddingTable
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.recordings import shown_path

__all__ = ["METRICS", "Hit", "Query", "embed_query", "nearest"]

METRICS = ("cosine", "inner")
LEAST_SECONDS = 0.5
NO_SCORE = -np.inf


@dataclass(frozen=True)
class Hit:
    """A row of the table; ``score`` is the cosine or the inner product."""

    span: EmbeddedSpan
    score: float


@dataclass(frozen=True, kw_only=True)
class Query:
    """A stretch of a recording, in seconds of the file; without an end it goes to the end of the file."""

    path: Path
    start_seconds: float = 0.0
    end_seconds: float | None = None

    def is_heard_in(self, span: EmbeddedSpan, files: dict[str, Path]) -> bool:
        """Return whether a row overlaps the query itself."""
        if files.get(span.audio_path) != self.path.resolve():
            return False
        ends_before = self.end_seconds is not None and span.start_seconds >= self.end_seconds
        return not ends_before and span.end_seconds > self.start_seconds


def embed_query(embedder: Embedder, table: EmbeddingTable, query: Query) -> FloatArray:
    """Return the vector (width,) of a query, heard as the recordings of the table were.

    Raises:
        OptionsError: the table is of another encoder, or the query too short or too long for it.
        AudioError: the query can't be read.
    """
    _require_same_encoder(embedder, table)
    settings = table.settings
    given = None if query.end_seconds is None else query.end_seconds - query.start_seconds
    if given is not None and not given > 0:
        raise OptionsError(f"--end-seconds {query.end_seconds:g} is not after {query.start_seconds:g}")
    longest = embedder.max_seconds * settings["speed_factor"]
    samples = read_span(
        query.path,
        query.start_seconds,
        # A little more than is heard, so that a longer recording is seen to be longer without reading it.
        min(given or math.inf, longest + 0.01),
        channel=settings["channel"],
        speed_factor=settings["speed_factor"],
        resampler=settings["resampler"],
    )
    if len(samples) > round(embedder.max_seconds * SAMPLE_RATE_HZ):
        raise OptionsError(
            f"{shown_path(query.path)}: longer than the {longest:g} s heard at once: choose a part with "
            "--start-seconds and --end-seconds"
        )
    if len(samples) < LEAST_SECONDS * SAMPLE_RATE_HZ:
        message = (
            f"{len(samples) / SAMPLE_RATE_HZ:.3g} s of sound; a query needs at least {LEAST_SECONDS:g} s"
        )
        raise AudioError(message, path=shown_path(query.path), code="audio_too_short")
    vectors: FloatArray = embedder.embed([samples])[0][0]
    return vectors


def nearest(
    table: EmbeddingTable,
    vector: FloatArray,
    *,
    metric: str = "cosine",
    top_k: int = 20,
    keep: Callable[[EmbeddedSpan], bool] | None = None,
) -> list[Hit]:
    """Return the rows with the highest scores, best first.

    Args:
        table: where to look.
        vector: (width,), of the table's level.
        metric: one of METRICS.
        top_k: so many at most.
        keep: rows that it refuses are passed over.

    Raises:
        OptionsError: another width, no such metric, or no number of hits.
        OutputError: the table can't be read.
    """
    if metric not in METRICS:
        raise OptionsError(f"--metric must be one of {', '.join(METRICS)}, not {metric!r}")
    if top_k < 1:
        raise OptionsError(f"--top-k must be 1 or more, not {top_k}")
    if vector.shape != (table.width,):
        raise OptionsError(f"a vector of shape {vector.shape} in a table of vectors of {table.width} numbers")
    wanted = top_k
    while True:
        places, scores = _best(table, vector, metric, min(wanted, table.rows))
        spans = table.spans(places.tolist())
        hits = [Hit(span, float(score)) for span, score in zip(spans, scores, strict=True)]
        kept = [hit for hit in hits if keep is None or keep(hit.span)]
        if len(kept) >= top_k or wanted >= table.rows:
            return kept[:top_k]
        wanted = 2 * wanted + 64


def _best(
    table: EmbeddingTable, vector: FloatArray, metric: str, wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (places, scores) of the best rows, best first."""
    direction = vector.astype(np.float32)
    if metric == "cosine":
        direction = direction / max(float(np.linalg.norm(direction)), 1e-30)
    places, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    least = NO_SCORE
    for first, vectors, norms in table.blocks():
        found = vectors.astype(np.float32, copy=False) @ direction
        if metric == "cosine":
            found /= np.maximum(norms, 1e-30)  # a vector of zeros is like nothing
        better = np.flatnonzero(found > least)
        if not better.size:
            continue
        places = np.concatenate([places, first + better])
        scores = np.concatenate([scores, found[better]])
        if len(scores) > wanted:
            # By score, then by place: where scores are equal the first rows stay, whatever the blocks are.
            order = np.lexsort((places, -scores))[:wanted]
            places, scores = places[order], scores[order]
            least = float(scores[-1])
    order = np.lexsort((places, -scores))
    return places[order], scores[order]


def _require_same_encoder(embedder: Embedder, table: EmbeddingTable) -> None:
    stored, provenance = table.settings.get("model"), embedder.tower.provenance
    if stored and provenance and stored["weights"] != provenance.weights_fingerprint:
        raise OptionsError(
            f"{table.folder}: was made with {stored['name']}, and {provenance.model_name} gives other "
            "vectors: search with the same weights (--model), or embed the recordings again"
        )
    if embedder.level != table.settings["level"] or embedder.width != table.width:
        raise OptionsError(
            f"{table.folder}: holds {table.width} numbers of level {table.settings['level']}, not the "
            f"{embedder.width} of level {embedder.level}: embed the recordings again"
        )
