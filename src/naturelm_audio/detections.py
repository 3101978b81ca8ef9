"""Sets of detected labels: as tables, what was confused with what, and what ties could have made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from naturelm_audio import metrics
from naturelm_audio.matching import Answered, label_parts

__all__ = ["confused", "f1_range_of_ties", "label_table"]


def label_table(sets: Sequence[frozenset[str]], classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return (rows, classes): whether the row has the class; labels of no class are left aside."""
    columns = {label: number for number, label in enumerate(classes)}
    table = np.zeros((len(sets), len(classes)), dtype=np.bool_)
    for row, labels in enumerate(sets):
        for label in labels:
            if label in columns:
                table[row, columns[label]] = True
    return table


def confused(gold: Sequence[frozenset[str]], found: Sequence[frozenset[str]]) -> Counter[tuple[str, str]]:
    """Return (gold, answer) -> rows, for labels missed or wrongly named; "" where there is no counterpart."""
    pairs: Counter[tuple[str, str]] = Counter()
    for truth, answer in zip(gold, found, strict=True):
        pairs.update((label, other) for label in truth - answer for other in (answer - truth or {""}))
        pairs.update(("", label) for label in answer - truth if not truth - answer)
    return pairs


def f1_range_of_ties(
    truth: npt.NDArray[np.bool_],
    gold: Sequence[frozenset[str]],
    answers: Sequence[Answered],
    found: Sequence[frozenset[str]],
    classes: Sequence[str],
) -> list[float]:
    """Return macro F1 with every tied piece taken as badly, and as well, as its row allows."""
    bounds = []
    for sign in (-1, 1):
        chosen = list(found)
        for number, answer in enumerate(answers):
            if answer.choices:
                chosen[number] = _chosen(answer, gold[number], sign)
        counts = metrics.detection_scores(truth, label_table(chosen, classes), classes)
        bounds.append(metrics.macro(counts)[2])
    return bounds


def _chosen(answer: Answered, gold: frozenset[str], sign: int) -> frozenset[str]:
    """The labels of an answer whose tied pieces became the best (or worst) of their choices."""
    labels = set(label_parts(answer.label))
    for choices in answer.choices:
        parts = [label_parts(choice) for choice in choices]
        labels -= parts[0]
        labels |= max(parts, key=lambda some: sign * (len(some & gold) - len(some - gold)))
    return frozenset(labels)
