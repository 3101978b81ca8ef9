"""Rankings of a component's labels by their likelihood -> top-k accuracy, average precision, calibration.

A ranking is the log-likelihood of every label of the component as the answer, which ``beans --rank-labels``
writes beside each prediction. Never mixed with the scores of free answers. Probabilities are a softmax over
the list: they say how likely a label is if it is one of them.

Likelihoods are those of whole answers, sums over their tokens. Where the numbers of tokens are there too,
the same is scored by the mean per token: that is the loss of training, and does not favour short names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

__all__ = ["First", "Ranking", "Rankings", "rank", "read_rankings"]

Floats = npt.NDArray[np.float64]
DEPTHS = (1, 3, 5)  # of top-k
LEAST_ROWS = 4  # for a temperature
DECIMALS = 4
KEY, LENGTHS = "log_likelihoods", "label_tokens"


@dataclass(frozen=True)
class First:
    """The likeliest label of a row: its probability over the list, as it is and by the fitted temperature."""

    label: str
    probability: float
    calibrated: float | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Return JSON values."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The scores of one component's rankings.

    ``rows`` have a ranking and, for detection, a label. ``calibration`` has the error of the first label's
    probability as it is and after a temperature that was fitted to other rows. ``f1_above_none`` is macro F1
    where each label that is likelier than None counts as detected. ``per_token`` has top-k and average
    precision by the mean log-likelihood per token. ``firsts`` are of all rows.
    """

    name: str
    rows: int
    labels: int
    top: Mapping[str, float]
    mean_average_precision: float
    chance: float
    calibration: Mapping[str, float] = field(default_factory=dict)
    f1_above_none: float | None = None
    per_token: Ranking | None = None
    firsts: tuple[First, ...] = field(default=(), repr=False, compare=False)

    def to_mapping(self) -> dict[str, Any]:
        """Return JSON values."""
        above = {} if self.f1_above_none is None else {"F1_above_None": self.f1_above_none}
        found: dict[str, Any] = {
            "n": self.rows,
            "labels": self.labels,
            **self.top,
            "mAP": self.mean_average_precision,
            **above,
            "chance_top_1": self.chance,
            **self.calibration,
        }
        if self.per_token is not None:
            found["by_mean_per_token"] = {**self.per_token.top, "mAP": self.per_token.mean_average_precision}
        return found


@dataclass(frozen=True)
class Rankings:
    """Those of all components of a file; ``notes`` say what could not be read.

    ``firsts`` are by the place of the row, see :class:`naturelm_audio.predictions.Prediction`.
    """

    components: Mapping[str, Ranking] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    firsts: Mapping[str, First] = field(default_factory=dict)


@dataclass
class _Ranked:
    """Rows of one component that have a ranking."""

    gold: list[str] = field(default_factory=list)
    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    lengths: list[int] | None = None
    unfit: str | None = None


def read_rankings(path: Path, benchmark: Benchmark) -> Rankings:
    """Return the scores of the rankings in a JSON Lines file of predictions; empty if it has none."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return Rankings()
    found: dict[str, _Ranked] = {}
    for where, row in _rows(path):
        component = benchmark.find(str(row.get("dataset_name")))
        if component is not None and component.task != "captioning" and isinstance(row.get("label"), str):
            _take(found.setdefault(component.name, _Ranked()), component, row, where)
    ranked: dict[str, Ranking] = {}
    firsts: dict[str, First] = {}
    notes = []
    for component in benchmark:
        some = found.get(component.name, _Ranked())
        reason = some.unfit
        if some.gold and reason is None:
            table = np.stack(some.scores).astype(np.float64)
            ranking = rank(component, some.gold, table, some.lengths)
            if ranking is not None:
                ranked[component.name] = ranking
                firsts.update(zip(some.places, ranking.firsts, strict=True))
                continue
            reason = "no row has a label of the list"
        if reason is not None:
            notes.append(f"{component.name}: rankings are not scored: {reason}")
    return Rankings(ranked, tuple(notes), firsts)


def _take(some: _Ranked, component: Component, row: Mapping[str, Any], where: str) -> None:
    wanted = len(strict_labels(component))
    try:
        values = np.asarray(row[KEY], dtype=np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, dtype=np.float32)
    if values.shape != (wanted,) or not np.isfinite(values).all():
        some.unfit = some.unfit or f"{where}: {KEY} are not a number for each of its labels"
        return
    if some.lengths is None and _are_lengths(row.get(LENGTHS), wanted):
        some.lengths = row[LENGTHS]
    some.gold.append(row["label"])
    some.scores.append(values)
    some.places.append(where)


def _are_lengths(values: Any, wanted: int) -> bool:
    fits = isinstance(values, list) and len(values) == wanted
    return fits and all(type(one) is int and one > 0 for one in values)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if f'"{KEY}"' not in line:
                continue
            try:
                row = json.loads(line)
            except ValueError:  # a torn last line, which the reader of answers has named
                continue
            if isinstance(row, dict) and isinstance(row.get(KEY), list):
                yield f"{path}, line {number}", row


def rank(
    component: Component, gold: Sequence[str], scores: Floats, lengths: Sequence[int] | None = None
) -> Ranking | None:
    """Return the scores of a component's rankings; None where no row has a label of the list.

    Args:
        component: whose list the columns follow, see :func:`naturelm_audio.matching.strict_labels`.
        gold: right answers, (rows,).
        scores: log-likelihoods, (rows, labels).
        lengths: tokens of each label as an answer, (labels,); with them the mean per token is scored too.
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
    if not truth.any():
        return None
    found = _ranking(component.name, truth, scores, named)
    calibrated: dict[int, float] = {}
    if component.task == "detection":
        none = next(place for place, label in enumerate(labels.labels) if is_none(label))
        found = replace(found, f1_above_none=_f1(truth, scores[:, named] > scores[:, [none]]))
    else:
        with_label = np.flatnonzero(truth.any(axis=1))
        calibration, fitted = _calibration(truth[with_label], scores[with_label])
        found = replace(found, calibration=calibration)
        calibrated = dict(zip(with_label.tolist(), fitted.max(axis=1).tolist(), strict=False))
    if lengths is not None:
        found = replace(found, per_token=_ranking(component.name, truth, scores / np.asarray(lengths), named))
    return replace(found, firsts=_firsts(labels.labels, scores, calibrated))


def _firsts(labels: Sequence[str], scores: Floats, calibrated: Mapping[int, float]) -> tuple[First, ...]:
    best, likely = scores.argmax(axis=1), _softmax(scores).max(axis=1)
    return tuple(
        First(
            labels[place],
            round(float(likely[row]), DECIMALS),
            round(calibrated[row], DECIMALS) if row in calibrated else None,
        )
        for row, place in enumerate(best)
    )


def _ranking(name: str, truth: npt.NDArray[np.bool_], scores: Floats, named: Sequence[int]) -> Ranking:
    """Top-k, average precision and chance."""
    with_label = truth.any(axis=1)
    # Answers that exclude each other: their probabilities can be compared between rows.
    likely = _softmax(scores)[:, named]
    classes = np.flatnonzero(truth.any(axis=0))
    precision = [metrics.average_precision(truth[:, place], likely[:, place]) for place in classes]
    right = _right_at(truth[with_label], scores[with_label][:, named])
    return Ranking(
        name=name,
        rows=int(with_label.sum()),
        labels=len(named),
        top={f"top_{depth}": float((right < depth).mean()) for depth in DEPTHS if depth < len(named)},
        mean_average_precision=metrics.mean(precision),
        chance=float(truth[with_label].sum(axis=1).mean() / len(named)),
    )


def _f1(truth: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> float:
    """Macro F1 over the classes that have a row."""
    classes = np.flatnonzero(truth.any(axis=0))
    counts = metrics.detection_scores(truth[:, classes], found[:, classes], [str(one) for one in classes])
    return metrics.macro(counts)[2]


def _right_at(truth: npt.NDArray[np.bool_], scores: Floats) -> npt.NDArray[np.int64]:
    """The rank, from 0, of the first right label of each row; ties go to the order of the list."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(truth, order, axis=1).argmax(axis=1)


def _calibration(truth: npt.NDArray[np.bool_], scores: Floats) -> tuple[dict[str, float], Floats]:
    """Calibration error of the first label's probability, before and after a temperature; the latter's table.

    Each half of the rows gets the temperature that fits the other half, so nothing is fitted to itself. Few
    rows have neither: the table is then empty.
    """
    if len(scores) < LEAST_ROWS:
        return {}, np.empty((0, scores.shape[1]))
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
    }, after


def _error(truth: npt.NDArray[np.bool_], likely: Floats) -> float:
    first = likely.argmax(axis=1)
    return calibration_error(likely.max(axis=1), truth[np.arange(len(truth)), first])


def _softmax(scores: Floats) -> Floats:
    """Probabilities over the list, without the model's library that :mod:`naturelm_audio.score` needs."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
