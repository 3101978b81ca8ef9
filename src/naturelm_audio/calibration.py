"""How well scores say how often they are right: temperature, reliability, and the file that keeps them.

Pure arithmetic on log-likelihoods, and one small JSON file. Sources: Guo et al. (2017), "On Calibration of
Modern Neural Networks"; Wilson (1927) for intervals of shares, the bootstrap for others.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from naturelm_audio.errors import LabelError
from naturelm_audio.files import write_atomically

__all__ = [
    "Bin",
    "Calibration",
    "Reliability",
    "all_certain",
    "area_under_curve",
    "calibration_error",
    "fit_temperature",
    "read_calibration",
    "reliability",
    "write_calibration",
]

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BINS = 10
SCHEMA_VERSION = 1
SMALLEST, LARGEST = 0.01, 100.0  # temperatures; beyond, all of it goes to one label, or all get the same
GRID = 93  # points over that range, each a tenth above the one before
RESAMPLES = 2000
DRAWN_AT_MOST = 20_000_000  # rows of all resamples together, so that large tables don't take minutes
CERTAIN = 1.959964  # standard deviations of a 95 % interval


def fit_temperature(
    log_likelihoods: Sequence[Floats], places: Sequence[int], *, refuted: Sequence[bool] | None = None
) -> float:
    """The temperature under which what is known of the rows is likeliest, between 0.01 and 100.

    The same for any order of the rows.

    Args:
        log_likelihoods: one array (labels,) for each row; lists may differ between rows.
        places: place of each row's right label.
        refuted: where True, the label at that place is known to be wrong instead.

    Raises:
        ValueError: no rows.
    """
    if not log_likelihoods:
        raise ValueError("no rows to fit a temperature to")
    wrong = refuted or [False] * len(log_likelihoods)
    rows = [
        (np.asarray(row, dtype=np.float64), np.asarray([place]))
        for row, place in zip(log_likelihoods, places, strict=True)
    ]
    known = [
        # Of a refuted label all others together are right.
        (row, np.delete(np.arange(len(row)), place) if is_wrong else place)
        for (row, place), is_wrong in zip(rows, wrong, strict=True)
    ]

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return -math.fsum(
            float(np.logaddexp.reduce(row[right] * scale) - np.logaddexp.reduce(row * scale))
            for row, right in known
        )

    # With refuted labels the loss may have several minima: the lowest of a grid, then the bottom beside it.
    grid = np.linspace(math.log(SMALLEST), math.log(LARGEST), GRID)
    lowest = int(np.argmin([loss(float(point)) for point in grid]))
    return math.exp(_lowest(loss, float(grid[max(lowest - 1, 0)]), float(grid[min(lowest + 1, GRID - 1)])))


def all_certain(temperature: float) -> bool:
    """Whether a temperature makes every score 1, as where all windows are right: nothing then says how sure
    a score may be.
    """
    return temperature < 1.05 * SMALLEST


def _lowest(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one minimum is lowest, by golden sections."""
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-5:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    return (low + high) / 2


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence is in [low, high): how many, their mean claim, and their share of right ones."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Reliability:
    """How well a confidence says how often it is right; intervals are of 95 %.

    ``error`` is the expected calibration error. ``error_by_chance`` is what a perfect confidence of as many
    rows would show: with few rows it is far from 0. ``area`` is the AUROC of the confidence for being right,
    None where all rows are right or all wrong.
    """

    rows: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    error: float
    error_interval: tuple[float, float]
    error_by_chance: float
    area: float | None
    area_interval: tuple[float, float] | None
    bins: tuple[Bin, ...] = ()


def reliability(
    confidence: npt.ArrayLike, right: npt.ArrayLike, *, bins: int = BINS, seed: int = 0
) -> Reliability:
    """The reliability of ``confidence`` (rows,) in [0, 1] of answers that are ``right`` (rows,) or not.

    Raises:
        ValueError: no rows.
    """
    sure, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if not sure.size:
        raise ValueError("no rows")
    draws = np.random.default_rng(seed)
    errors, areas = [], []
    for _ in range(min(RESAMPLES, max(DRAWN_AT_MOST // len(sure), 100))):
        taken = draws.integers(0, len(sure), len(sure))
        errors.append(calibration_error(sure[taken], hits[taken], bins=bins))
        areas.append(area_under_curve(sure[taken], hits[taken]))
    by_chance = [calibration_error(sure, draws.random(len(sure)) < sure, bins=bins) for _ in range(200)]
    known = [area for area in areas if area is not None]
    area = area_under_curve(sure, hits)
    return Reliability(
        rows=len(sure),
        accuracy=float(hits.mean()),
        accuracy_interval=wilson(int(hits.sum()), len(hits)),
        error=calibration_error(sure, hits, bins=bins),
        error_interval=_middle(errors),
        error_by_chance=float(np.mean(by_chance)),
        area=area,
        area_interval=None if area is None else _middle(known),
        bins=tuple(_bins(sure, hits, bins)),
    )


def _bins(confidence: Floats, right: Bools, bins: int) -> list[Bin]:
    """The bins that have rows."""
    places = _places(confidence, bins)
    found = []
    for place in np.unique(places):
        inside = places == place
        hits, rows = int(right[inside].sum()), int(inside.sum())
        found.append(
            Bin(
                low=float(place / bins),
                high=float((place + 1) / bins),
                rows=rows,
                confidence=float(confidence[inside].mean()),
                accuracy=hits / rows,
                interval=wilson(hits, rows),
            )
        )
    return found


def _places(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def calibration_error(confidence: Floats, right: Bools, *, bins: int = BINS) -> float:
    """Expected calibration error: mean over rows of how far their bin's claim is from its accuracy.

    Bins have equal widths.
    """
    gaps = np.bincount(_places(confidence, bins), weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def area_under_curve(confidence: Floats, right: Bools) -> float | None:
    """How often a right answer has a higher confidence than a wrong one, ties half; None without both."""
    hits = int(right.sum())
    misses = len(right) - hits
    if not hits or not misses:
        return None
    values, places = np.unique(confidence, return_inverse=True)
    of_hits = np.bincount(places[right], minlength=len(values))
    of_misses = np.bincount(places[~right], minlength=len(values))
    below = np.cumsum(of_misses) - of_misses
    return float((of_hits * (below + 0.5 * of_misses)).sum() / (hits * misses))


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, spread = hits / rows, CERTAIN**2 / rows
    middle = (share + spread / 2) / (1 + spread)
    half = CERTAIN * math.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _middle(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A temperature, and what it was fitted to: model, question, list, number of rows, and figures."""

    temperature: float
    rows: int
    model: str | None = None
    weights: str | None = None
    question: str | None = None
    labels: int | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def check(self, weights: str, questions: Sequence[str]) -> None:
        """Log a warning where this was fitted to another model or another question."""
        if self.weights is not None and self.weights != weights:
            logger.warning("the calibration is of other weights (%s): fit it again", self.model)
        if self.question is not None and any(question != self.question for question in questions):
            logger.warning("the calibration is of the question %r: fit it to yours", self.question)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the JSON file that ``naturelm infer --calibration`` reads.

    Raises:
        OutputError: it can't be written.
    """
    content = {"schema_version": SCHEMA_VERSION, "kind": "calibration", **asdict(calibration)}
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_calibration(path: str | Path) -> Calibration:
    """Return what such a file says; unknown keys are ignored.

    Raises:
        LabelError: it can't be read, or is no calibration.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LabelError(f"{path}: can't be read: {error.strerror or error}") from None
    except ValueError:
        content = None
    temperature = content.get("temperature") if isinstance(content, dict) else None
    if not isinstance(temperature, int | float) or isinstance(temperature, bool):
        raise LabelError(f"{path}: is no calibration: make one with naturelm calibrate")
    if not SMALLEST / 2 <= temperature <= LARGEST * 2:
        raise LabelError(f"{path}: the temperature {temperature} is out of range: make it again")
    known = {name: content[name] for name in Calibration.__dataclass_fields__ if name in content}
    return Calibration(**(known | {"temperature": float(temperature), "rows": int(content.get("rows") or 0)}))
