"""Scores of predictions: accuracy, precision, recall, F1, average precision, CIDEr, bootstrap intervals.

Only numbers: labels come as text that is already matched, detections as 0/1 tables. Every sum is over counts
or exactly rounded, so no score depends on the order of rows or on hash seeds; the one exception, the official
average precision, says so in its name. Definitions are scikit-learn's where it has one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "ClassScore",
    "accuracy",
    "average_precision",
    "average_precision_bounds",
    "bootstrap_macro_f1",
    "bootstrap_mean",
    "cider",
    "class_scores",
    "detection_scores",
    "macro",
    "mean",
    "official_average_precision",
    "spider",
    "top_1_accuracy",
    "weighted",
]

Table = npt.NDArray[np.bool_]  # (rows, classes)
Floats = npt.NDArray[np.float64]

CIDER_ORDERS = 4
CIDER_SIGMA = 6.0
CONFIDENCE = 0.95
_DRAWS = 4_000_000  # of a bootstrap that are held at once


def mean(values: Sequence[float]) -> float:
    """Return the exactly rounded mean, whatever the order; 0 without values."""
    return math.fsum(values) / len(values) if values else 0.0


@dataclass(frozen=True)
class ClassScore:
    """Counts of one class; each figure is 0 where it is undefined."""

    label: str
    true_positives: int
    predicted: int
    support: int

    @property
    def precision(self) -> float:
        """The share of its predictions that are right."""
        return self.true_positives / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """The share of its rows that are found."""
        return self.true_positives / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.true_positives / (self.predicted + self.support) if self.true_positives else 0.0


def accuracy(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    """Return the share of equal strings; a prediction of None is wrong."""
    return mean([float(label == text) for label, text in zip(gold, predicted, strict=True)])


def top_1_accuracy(gold: Sequence[str], predicted: Sequence[str | None]) -> float:
    """Return the official figure: the prediction equals one of the parts of the gold string between commas.

    A right answer with a comma in it counts as wrong.
    """
    pairs = zip(gold, predicted, strict=True)
    return mean([float(text in [part.strip() for part in label.split(",")]) for label, text in pairs])


def class_scores(gold: Sequence[str], predicted: Sequence[str | None]) -> list[ClassScore]:
    """Return the counts of every label that is gold or predicted, sorted by label."""
    support, times = Counter(gold), Counter(predicted)
    hits = Counter(label for label, text in zip(gold, predicted, strict=True) if label == text)
    labels = sorted({*support, *(text for text in times if text is not None)})
    return [ClassScore(label, hits[label], times[label], support[label]) for label in labels]


def detection_scores(gold: Table, predicted: Table, labels: Sequence[str]) -> list[ClassScore]:
    """Return the counts of every class of two tables (rows, classes)."""
    counts = [(gold & predicted).sum(axis=0), predicted.sum(axis=0), gold.sum(axis=0)]
    return [
        ClassScore(label, *map(int, row)) for label, row in zip(labels, np.transpose(counts), strict=True)
    ]


def macro(scores: Sequence[ClassScore]) -> tuple[float, float, float]:
    """Return the plain means over classes of precision, recall and F1.

    F1 is computed from the two others, as published, which may differ from the counts' in the last digit.
    """
    pairs = [(score.precision, score.recall) for score in scores]
    harmonic = [2 * ours * theirs / (ours + theirs) if ours + theirs else 0.0 for ours, theirs in pairs]
    return mean([ours for ours, _ in pairs]), mean([theirs for _, theirs in pairs]), mean(harmonic)


def weighted(scores: Sequence[ClassScore]) -> tuple[float, float, float]:
    """Return the means of precision, recall and F1 with each class's gold rows as its weight."""
    support = np.array([score.support for score in scores])
    if not support.sum():
        return 0.0, 0.0, 0.0
    figures = np.array([(score.precision, score.recall, score.f1) for score in scores])
    # Summed class by class as scikit-learn does, so that the last digit agrees too.
    precision, recall, f1 = (float(np.average(column, weights=support)) for column in figures.T)
    return precision, recall, f1


def average_precision(gold: npt.NDArray[np.bool_], scores: npt.ArrayLike) -> float:
    """Return the sum over thresholds of precision times the gain in recall; equal scores are one threshold.

    The same for every order of rows; 0 without a gold positive.

    Args:
        gold: (rows,).
        scores: (rows,), high is positive.
    """
    hits, sizes = _tied_groups(gold, scores)
    if not hits.sum():
        return 0.0
    precision = np.cumsum(hits) / np.cumsum(sizes)
    return math.fsum(precision * hits) / int(hits.sum())


def average_precision_bounds(gold: npt.NDArray[np.bool_], scores: npt.ArrayLike) -> tuple[float, float]:
    """Return the least and the largest average precision over all orders of equal scores."""
    hits, sizes = _tied_groups(gold, scores)
    lowest, highest, seen, found = [], [], 0, 0
    for positives, size in zip(hits.tolist(), sizes.tolist(), strict=True):
        ranks = np.arange(1, positives + 1)
        highest.extend((found + ranks) / (seen + ranks))
        lowest.extend((found + ranks) / (seen + size - positives + ranks))
        seen, found = seen + size, found + positives
    return math.fsum(lowest) / max(found, 1), math.fsum(highest) / max(found, 1)


def _tied_groups(
    gold: npt.NDArray[np.bool_], scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Gold positives and rows of each distinct score, the highest score first."""
    values, group = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    hits = np.bincount(group, weights=gold, minlength=len(values)).astype(np.int64)
    sizes = np.bincount(group, minlength=len(values)).astype(np.int64)
    return hits[::-1], sizes[::-1]


def official_average_precision(gold: Table, predicted: Table) -> float:
    """Return the published mAP: float32, and equal scores in the order that torch's unstable sort leaves.

    It depends on the order of rows, and may on torch's version and device. Tables are (rows, classes).
    """
    import torch

    ranks = torch.arange(1, len(gold) + 1).float()
    values = torch.zeros(gold.shape[1])
    for column in range(gold.shape[1]):
        _, order = torch.sort(torch.from_numpy(predicted[:, column].astype(np.float32)), 0, True)
        truth = torch.from_numpy(gold[:, column].astype(np.int64))[order]
        precision = truth.float().cumsum(0).div(ranks)
        values[column] = precision[truth.bool()].sum() / max(float(truth.sum()), 1)
    return float(values.mean())


def cider(references: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
    """Return the CIDEr-D score of every row, with one reference each; the corpus score is their mean.

    Words are what blanks separate, capitals and punctuation included, and document frequencies are over these
    references. A single row scores 0, because then no word is rarer than another.

    Source: Vedantam et al. (2015), CIDEr, in the form of the published scorer.
    """
    counts = [_n_grams(text) for text in references]
    frequency = Counter(gram for grams in counts for order in grams for gram in order)
    rarity = {gram: math.log(len(references)) - math.log(rows) for gram, rows in frequency.items()}
    unseen = math.log(max(len(references), 1))
    scores = []
    for reference, text in zip(counts, hypotheses, strict=True):
        hypothesis = _n_grams(text)
        terms = [_cosine(*pair, rarity, unseen) for pair in zip(reference, hypothesis, strict=True)]
        longer = sum(hypothesis[1].values()) - sum(reference[1].values())
        penalty = math.exp(-(longer**2) / (2 * CIDER_SIGMA**2))
        scores.append(10 * penalty * math.fsum(terms) / CIDER_ORDERS)
    return scores


Grams = Counter[tuple[str, ...]]


def _n_grams(text: str) -> list[Grams]:
    """Counts of the n-grams of each order."""
    words = text.split()
    return [
        Counter(zip(*(words[start:] for start in range(order)), strict=False))
        for order in range(1, CIDER_ORDERS + 1)
    ]


def _cosine(
    reference: Grams, hypothesis: Grams, rarity: dict[tuple[str, ...], float], unseen: float
) -> float:
    """Clipped cosine of two counts, each weighted by how rare its n-gram is; 0 if a norm is 0."""
    ours = {gram: count * rarity.get(gram, unseen) for gram, count in hypothesis.items()}
    theirs = {gram: count * rarity[gram] for gram, count in reference.items()}
    norms = math.sqrt(math.fsum(w * w for w in ours.values())) * math.sqrt(
        math.fsum(w * w for w in theirs.values())
    )
    if not norms:
        return 0.0
    return (
        math.fsum(min(ours[gram], weight) * weight for gram, weight in theirs.items() if gram in ours) / norms
    )


def spider(cider_score: float, spice_score: float) -> float:
    """Return the mean of SPICE and a tenth of CIDEr."""
    return (cider_score / 10 + spice_score) / 2


def bootstrap_mean(
    values: Sequence[float], rng: np.random.Generator, resamples: int = 1000
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over resampled rows; the same for every order of rows."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    step = max(_DRAWS // max(len(ordered), 1), 1)
    means = [
        ordered[rng.integers(0, len(ordered), (min(step, resamples - start), len(ordered)))].mean(axis=1)
        for start in range(0, resamples, step)
    ]
    return _interval(np.concatenate(means))


def bootstrap_macro_f1(
    gold: Table, predicted: Table, rng: np.random.Generator, resamples: int = 1000
) -> tuple[float, float]:
    """Return the 95 % interval of macro F1 over resampled rows; the same for every order of rows.

    A class without a positive in a resample is left out of that resample's mean, and a resample without any
    is left out; (0, 1) if that leaves none.
    """
    rows, times = np.unique(np.hstack([gold, predicted]), axis=0, return_counts=True)
    truth, answers = rows[:, : gold.shape[1]], rows[:, gold.shape[1] :]
    parts = np.hstack([truth & answers, answers, truth]).astype(np.float64)
    step = max(_DRAWS // len(rows), 1)
    means = []
    for start in range(0, resamples, step):
        draws = rng.multinomial(len(gold), times / len(gold), size=min(step, resamples - start))
        hits, answered, support = np.split(draws @ parts, 3, axis=1)
        f1 = np.where(hits > 0, 2 * hits / np.maximum(answered + support, 1), 0.0)
        classes = (support > 0).sum(axis=1)
        means.append((f1.sum(axis=1, where=support > 0) / np.maximum(classes, 1))[classes > 0])
    values = np.concatenate(means)
    return _interval(values) if len(values) else (0.0, 1.0)


def _interval(values: Floats) -> tuple[float, float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
