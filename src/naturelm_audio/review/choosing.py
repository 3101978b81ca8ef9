"""Rows of results -> the windows worth a person's time, by label: the best, the least certain, or any.

A ranked list of probabilities stands for its best label, a list of several sounds heard at once for each of
them, a free answer for itself. What a row was least certain of: the lead of its best label over the second,
or its confidence where there is no list. Memory is bounded by what is chosen, never by the number of rows.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from naturelm_audio.errors import OptionsError
from naturelm_audio.records import Answer

__all__ = ["SELECTIONS", "Candidate", "choose", "only_query"]

SELECTIONS = ("top", "uncertain", "random")
RANKED_KINDS = ("label_softmax", "calibrated")
MOST_LABEL_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A window with one label; ``certainty`` orders the least certain first, and is None without a score."""

    path: str
    start_seconds: float
    end_seconds: float
    label: str
    score: float | None = None
    certainty: float | None = None
    channel: int | None = None
    speed_factor: float = 1.0

    @property
    def key(self) -> str:
        """What tells it from all others, in any order of rows."""
        parts = (self.path, self.start_seconds, self.end_seconds, self.channel, self.label)
        return "\x1f".join(map(str, parts))


def only_query(queries: Sequence[str], wanted: str | None) -> str | None:
    """Return the question whose answers are reviewed; None if there is no row.

    Raises:
        OptionsError: there are several and none of them is wanted.
    """
    if wanted is not None and wanted not in queries:
        raise OptionsError(f"--query {wanted!r} was not asked; these were: {_listed(queries)}")
    if wanted is None and len(queries) > 1:
        raise OptionsError(
            f"the results answer {len(queries)} questions; choose one, --query {_listed(queries)}"
        )
    return wanted if wanted is not None else next(iter(queries), None)


def choose(
    answers: Iterable[Answer],
    *,
    per_label: int = 20,
    select: str = "top",
    labels: Sequence[str] = (),
    least_score: float = 0.0,
    seed: int = 0,
) -> list[Candidate]:
    """Return up to ``per_label`` windows of each label, by its name, the first to look at first.

    Args:
        answers: rows of one question.
        per_label: the most of each label.
        select: ``top``, the highest scores; ``uncertain``, where the model was least sure; ``random``, any,
            which is what figures such as a calibration should be made of.
        labels: only these, compared without case; none is all.
        least_score: rows below are left out; rows without a score are kept.
        seed: of the random choice, which doesn't depend on the order of rows.

    Raises:
        OptionsError: a number out of range, or no such selection.
    """
    if select not in SELECTIONS:
        raise OptionsError(f"--select must be one of {', '.join(SELECTIONS)}, not {select!r}")
    if per_label < 1:
        raise OptionsError(f"--per-label must be 1 or more, not {per_label}")
    wanted = {label.strip().casefold() for label in labels}
    order = _order(select, seed)
    kept: dict[str, list[_Kept]] = {}
    for answer in answers:
        for candidate in _candidates(answer):
            if wanted and candidate.label.casefold() not in wanted:
                continue
            if candidate.score is not None and candidate.score < least_score:
                continue
            heap = kept.setdefault(candidate.label, [])
            entry = _Kept(order(candidate), candidate)
            if len(heap) < per_label:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)
    return [entry.candidate for label in sorted(kept) for entry in sorted(kept[label], reverse=True)]


@dataclass(frozen=True)
class _Kept:
    """An entry of a heap whose first is the last to look at."""

    order: tuple[float, str]
    candidate: Candidate

    def __lt__(self, other: _Kept) -> bool:
        return self.order > other.order


def _order(select: str, seed: int) -> Callable[[Candidate], tuple[float, str]]:
    """Return what candidates are sorted by; those without a score come last."""

    def drawn(candidate: Candidate) -> tuple[float, str]:
        return 0.0, hashlib.sha256(f"{seed}\0{candidate.key}".encode()).hexdigest()

    def by_score(candidate: Candidate) -> tuple[float, str]:
        return (2.0 if candidate.score is None else -candidate.score), candidate.key

    def by_certainty(candidate: Candidate) -> tuple[float, str]:
        return (2.0 if candidate.certainty is None else candidate.certainty), candidate.key

    return {"top": by_score, "uncertain": by_certainty, "random": drawn}[select]


def _candidates(answer: Answer) -> Iterator[Candidate]:
    if answer.output is None or answer.start_seconds is None or answer.end_seconds is None:
        return
    window = Candidate(
        path=answer.audio_path,
        start_seconds=answer.start_seconds,
        end_seconds=answer.end_seconds,
        label=" ".join(answer.output.split())[:MOST_LABEL_CHARACTERS],
        score=answer.confidence,
        certainty=answer.confidence,
        channel=answer.channel if isinstance(answer.channel, int) else None,
        speed_factor=answer.speed_factor or 1.0,
    )
    if not answer.labels:
        yield window
        return
    scores = [one.score for one in answer.labels if one.score is not None]
    ranked = answer.confidence_kind in RANKED_KINDS
    for one in answer.labels[:1] if ranked else answer.labels:
        certainty = scores[0] - scores[1] if ranked and len(scores) > 1 else one.score
        yield replace(window, label=one.label, score=one.score, certainty=certainty)


def _listed(queries: Sequence[str]) -> str:
    return " or ".join(repr(query) for query in queries[:5])
