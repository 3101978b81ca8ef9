"""Which rows of a benchmark are asked, what they are asked, and how long their clips are.

Knows nothing of files, models or scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from naturelm_audio.beans.dataset import DatasetError, Row
from naturelm_audio.components import Benchmark, Component
from naturelm_audio.labels import NONE
from naturelm_audio.prompts import without_audio

__all__ = ["OPEN_QUESTION", "Selection", "clip_seconds", "expected_rows", "question"]

DEFAULT_SECONDS = 10.0
OPEN_QUESTION = "What are the common names for the species in the audio, if any?"
MOST_LISTED = 8  # labels, None among them, that a detection question may list

Key = tuple[str, str]


def clip_seconds(component: Component) -> float:
    """Return the length to which the component's clips are cut or padded."""
    return float(component.max_seconds or DEFAULT_SECONDS)


def question(row: Row, component: Component) -> str:
    """Return what is asked: the row's own question but for detection among many labels, which is open.

    With a placeholder for the audio where the row has one.

    The published rule; a question that is the component's own is kept.
    """
    if component.task != "detection" or len({*component.labels, NONE}) <= MOST_LISTED:
        return row.instruction.strip()
    own = without_audio(row.instruction) == (component.prompt or OPEN_QUESTION)
    return row.instruction.strip() if own else OPEN_QUESTION


def expected_rows(
    benchmark: Benchmark, counts: Mapping[str, int], components: Sequence[str], limit: int | None
) -> int:
    """Return how many rows a run has.

    Args:
        benchmark: whose components are known.
        counts: rows of each name in the data.
        components: wanted names; none are all.
        limit: rows of each component, at most.
    """
    rows: Counter[str] = Counter()
    for name, number in counts.items():
        component = benchmark.find(name)
        if component is not None and (not components or component.name in components):
            rows[component.name] += number
    return sum(number if limit is None else min(number, limit) for number in rows.values())


class Selection:
    """Asked of every row in order: is it to be answered now?

    Args:
        benchmark: whose components are known; rows of others are counted in ``unknown``.
        components: names wanted; none are all.
        limit: rows of each component, at most.
        done: components and ids of the rows that are on file, in their order: they come first and are left
            out.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        components: Sequence[str] = (),
        *,
        limit: int | None = None,
        done: Sequence[Key] = (),
    ) -> None:
        self.unknown: Counter[str] = Counter()
        self._benchmark = benchmark
        self._components = frozenset(components)
        self._limit = limit
        self._done = done
        self._taken: Counter[str] = Counter()
        self._passed = 0

    @property
    def complete(self) -> bool:
        """Whether no later row can be wanted any more."""
        limit = self._limit
        if limit is None:
            return False
        wanted = [item for item in self._benchmark if not self._components or item.name in self._components]
        return all(self._taken[item.name] >= min(limit, item.rows or limit) for item in wanted)

    def __call__(self, name: str, identity: str | None) -> str | None:
        """Return the id of the row if it is to be answered; one without is called by its place.

        Raises:
            DatasetError: the row on file at this place is another one.
        """
        component = self._benchmark.find(name)
        if component is None:
            self.unknown[name] += 1
            return None
        if self._components and component.name not in self._components:
            return None
        if self._limit is not None and self._taken[component.name] >= self._limit:
            return None
        self._taken[component.name] += 1
        identity = identity or f"{component.name}-{self._taken[component.name]}"
        if self._passed >= len(self._done):
            return identity
        there = self._done[self._passed]
        self._passed += 1
        if (component.name, identity) != there:
            raise DatasetError(
                f"row {self._passed} on file is {there[1]} of {there[0]}, but the data has {identity} of "
                f"{component.name} there: bring the old data back, or start again with --overwrite"
            )
        return None
