"""Rankings of a component's labels by their likelihood -> top-k accuracy, average precision, calibration.

A ranking is the log-likelihood of every label of the component as the answer, which ``beans --rank-labels``
writes beside each prediction. Never mixed with the scores of free answers. Probabilities are a softmax over
the list: they say how likely a label is if it is one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from naturelm_audio import metrics
from naturelm_audio.calibration import calibration_error, fit_temperature
from naturelm_audio.components import Benchmark, Component
from naturelm_audio.detections import label_table
from naturelm_audio.labels import is_none
from naturelm_audio.matching import label_parts, strict_labels

__all__ = ["Ranking", "Rankings", "rank", "read_rankings"]

Floats = npt.NDArray[np.float64]
DEPTHS = (1, 3, 5)  # of top-k
LEAST_ROWS = 4  # for a temperature
KEY = "log_likelihoods"


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The scores of one component's rankings.

    ``rows`` have a ranking and, for detection, a label. ``calibration`` has the error of the first label's
    probability as it is and after a temperature that was fitted to other rows.
    """

    name: str
    rows: int
    labels: int
    top: Mapping[str, float]
    mean_average_precision: float
    chance: float
    calibration: Mapping[str, float] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "n": self.rows,
            "labels": self.labels,
            **self.top,
            "mAP": self.mean_average_precision,
            "chance_top_1": self.chance,
            **self.calibration,
        }


@dataclass(frozen=True)
class Rankings:
    """Those of all components of a file; ``notes`` say what could not be read."""

    components: Mapping[str, Ranking] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_rankings(path: Path, benchmark: Benchmark) -> Rankings:
    """Return the scores of the rankings in a JSON Lines file of predictions; empty if it has none."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return Rankings()
    gold: dict[str, list[str]] = {}
    scores: dict[str, list[npt.NDArray[np.float32]]] = {}
    unfit: dict[str, str] = {}
    for where, row in _rows(path):
        component = benchmark.find(str(row.get("dataset_name")))
        if component is None or component.task == "captioning" or not isinstance(row.get("label"), str):
            continue
        values = np.asarray(row[KEY], dtype=np.float32)
        if values.shape != (len(strict_labels(component)),) or not np.isfinite(values).all():
            unfit.setdefault(component.name, f"{where}: {KEY} are not a number for each of its labels")
            continue
        gold.setdefault(component.name, []).append(row["label"])
        scores.setdefault(component.name, []).append(values)
    notes = [f"{name}: rankings are not scored: {reason}" for name, reason in unfit.items()]
    ranked: dict[str, Ranking] = {}
    for component in benchmark:
        if component.name in gold and component.name not in unfit:
            table = np.stack(scores[component.name]).astype(np.float64)
            found = rank(component, gold[component.name], table)
            if found is None:
                notes.append(f"{component.name}: rankings are not scored: no row has a label of the list")
            else:
                ranked[component.name] = found
    return Rankings(ranked, tuple(notes))


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if f'"{KEY}"' in line:
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get(KEY), list):
                    yield f"{path}, line {number}", row


def rank(component: Component, gold: Sequence[str], scores: Floats) -> Ranking | None:
    """Return the scores of a component's rankings; None where no row has a label of the list.

    Args:
        component: whose list the columns follow, see :func:`naturelm_audio.matching.strict_labels`.
        gold: right answers, (rows,).
        scores: log-likelihoods, (rows, labels).
    """
    labels = strict_labels(component)
    if component.task == "detection":
        parts = [label_parts(text, labels) for text in gold]
    else:
        parts = [frozenset([labels.same(text) or ""]) for text in gold]
    named = [
        place
        for place, label in enumerate(labels.labels)
        if not is_none(label) or component.task != "detection"
    ]
    truth = label_table(parts, [labels.labels[place] for place in named])
    with_label = truth.any(axis=1)
    if not with_label.any():
        return None
    # Answers that exclude each other: their probabilities can be compared between rows.
    likely = _softmax(scores)[:, named]
    classes = np.flatnonzero(truth.any(axis=0))
    precision = [metrics.average_precision(truth[:, place], likely[:, place]) for place in classes]
    right = _right_at(truth[with_label], scores[with_label][:, named])
    return Ranking(
        name=component.name,
        rows=int(with_label.sum()),
        labels=len(named),
        top={f"top_{depth}": float((right < depth).mean()) for depth in DEPTHS if depth < len(named)},
        mean_average_precision=metrics.mean(precision),
        chance=float(truth[with_label].sum(axis=1).mean() / len(named)),
        calibration={}
        if component.task == "detection"
        else _calibration(truth[with_label], scores[with_label]),
    )


def _right_at(truth: npt.NDArray[np.bool_], scores: Floats) -> npt.NDArray[np.int64]:
    """The rank, from 0, of the first right label of each row; ties go to the order of the list."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(truth, order, axis=1).argmax(axis=1)


def _calibration(truth: npt.NDArray[np.bool_], scores: Floats) -> dict[str, float]:
    """Calibration error of the first label's probability, before and after a temperature.

    Each half of the rows gets the temperature that fits the other half, so nothing is fitted to itself.
    """
    if len(scores) < LEAST_ROWS:
        return {}
    right = truth.argmax(axis=1)
    odd = np.zeros(len(scores), dtype=bool)
    odd[np.lexsort(scores.T)[1::2]] = True  # by what is in the rows, not by where they are in the file
    fitted = [fit_temperature(list(scores[half]), right[half].tolist()) for half in (odd, ~odd)]
    after = np.empty_like(scores)
    after[~odd], after[odd] = _softmax(scores[~odd] / fitted[0]), _softmax(scores[odd] / fitted[1])
    return {
        "calibration_error": _error(truth, _softmax(scores)),
        "calibration_error_fitted": _error(truth, after),
        "temperature": float(np.sqrt(fitted[0] * fitted[1])),
    }


def _error(truth: npt.NDArray[np.bool_], likely: Floats) -> float:
    first = likely.argmax(axis=1)
    return calibration_error(likely.max(axis=1), truth[np.arange(len(truth)), first])


def _softmax(scores: Floats) -> Floats:
    """Probabilities over the list, without the model's library that :mod:`naturelm_audio.score` needs."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
