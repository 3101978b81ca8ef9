"""What scoring is asked for and what comes of it: options, the scores of a component, those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from naturelm_audio.components import Benchmark
from naturelm_audio.errors import OptionsError
from naturelm_audio.matching import Answered
from naturelm_audio.metrics import ClassScore

__all__ = ["METRICS", "MODES", "ComponentScore", "Mode", "ScoreOptions", "Scores"]

Mode = Literal["official", "strict"]
MODES: tuple[Mode, ...] = ("official", "strict")
# Task -> the official names of its metrics.
METRICS = {
    "classification": ("Accuracy", "Precision", "Recall", "F1 Score", "Top-1 Accuracy"),
    "detection": ("mAP", "F1", "Recall", "Precision"),
    "captioning": ("SPIDEr", "CIDEr", "SPICE"),
}


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How to score.

    ``partial`` scores the rows that are there alone; without it, strict mode counts missing rows as wrong.
    ``spice`` asks for SPIDEr, which needs Java. Intervals are of ``resamples`` draws from ``seed``.

    Raises:
        OptionsError: a value is out of range.
    """

    mode: Mode = "strict"
    partial: bool = False
    spice: bool = True
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise OptionsError(f"mode must be official or strict, not {self.mode!r}")
        if self.resamples < 1:
            raise OptionsError(f"resamples must be at least 1, not {self.resamples}")


@dataclass(frozen=True, kw_only=True)
class ComponentScore:
    """The scores of one component.

    ``metrics`` has the official names; ``rows_alone`` the same before missing rows were counted as wrong.
    ``interval`` is that of ``headline``. ``reason`` says why ``status`` is failed, or a value is None.
    ``rows`` have an answer, ``errors`` an error instead.
    """

    name: str
    task: str
    rows: int
    expected: int | None
    headline: str
    metrics: Mapping[str, float | None]
    rows_alone: Mapping[str, float | None] = field(default_factory=dict)
    status: Literal["ok", "failed"] = "ok"
    reason: str | None = None
    interval: tuple[float, float] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[ClassScore, ...] = ()
    confusion: Mapping[tuple[str, str], int] = field(default_factory=dict)
    answers: tuple[Answered, ...] = ()
    notes: tuple[str, ...] = ()
    errors: int = 0

    @property
    def missing(self) -> int:
        """How many rows of the component have no answer: they are not there, or have an error instead."""
        return max((self.expected or self.rows) - self.rows, 0)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All components of a file in the benchmark's order; ``absent`` are those without a row.

    ``unscored`` are names of components that the benchmark has not, with their rows.
    """

    options: ScoreOptions
    benchmark: Benchmark
    components: tuple[ComponentScore, ...]
    absent: tuple[str, ...] = ()
    unscored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def missing_rows(self) -> list[str]:
        """How many rows of each component have no answer, in words."""
        return [
            f"{item.name} {item.missing:,} of {item.expected:,}" for item in self.components if item.missing
        ]

    @property
    def failed(self) -> tuple[ComponentScore, ...]:
        """Components without their headline score."""
        return tuple(component for component in self.components if component.status == "failed")

    @property
    def in_full(self) -> bool:
        """Whether everything in the file has a score."""
        return not (self.failed or self.unscored or any(item.errors for item in self.components))

    def __getitem__(self, name: str) -> ComponentScore:
        return next(component for component in self.components if component.name == name)
