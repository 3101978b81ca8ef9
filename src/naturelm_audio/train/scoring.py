"""Figures of generated answers during training, by task: exact match, None, several species, events.

Every figure is a mean over items of its task, or counted over all of them, so it doesn't depend on batches or
on how many processes there are. Source: Robinson et al. (2025) and the official training code's metrics.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from naturelm_audio import metrics
from naturelm_audio.detections import label_table
from naturelm_audio.labels import NONE, LabelSet
from naturelm_audio.matching import label_parts, strict_answers

__all__ = [
    "Scored",
    "answer_figures",
    "event_counts",
    "loss_figures",
    "names_of_figures",
    "read_events",
    "set_f1",
]

MIN_IOU = 0.5
_EVENT = re.compile(r"(\d+\.\d+)\s*-\s*(\d+\.\d+)")
_FREE_TEXT = ("caption", "-qa", "icl", "animal-instructions", "fewshot")
_UNREPORTED = "caption-none"
Event = tuple[float, float]


@dataclass(frozen=True)
class Scored:
    """One row of validation.

    ``loss_sum`` is over the ``tokens`` of the answer, of which the arg max hits ``correct``; ``answer`` is
    the generated one, where there is one.
    """

    row: int
    task: str
    loss_sum: float
    tokens: int
    correct: int
    gold: str
    answer: str | None = None


def loss_figures(rows: Iterable[Scored]) -> dict[str, float]:
    """Return ``loss`` and ``token_accuracy`` of all rows, and ``TASK/loss`` and so on.

    A task's loss is the mean over its answers' tokens.
    """
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.row):  # so that sums don't depend on who computed what
        groups[""].append(row)
        if _UNREPORTED not in row.task:
            groups[f"{row.task}/"].append(row)
    figures: dict[str, float] = {}
    for name in sorted(groups):
        tokens = max(sum(row.tokens for row in groups[name]), 1)
        figures[f"{name}loss"] = sum(row.loss_sum for row in groups[name]) / tokens
        figures[f"{name}token_accuracy"] = sum(row.correct for row in groups[name]) / tokens
        if name:
            figures[f"{name}rows"] = float(len(groups[name]))
    return figures


def answer_figures(rows: Iterable[Scored]) -> dict[str, float]:
    """Return ``TASK/METRIC`` of the rows with an answer; see the module for which task has which metric."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.row):
        if row.answer is not None and _UNREPORTED not in row.task:
            groups[row.task].append((row.gold, row.answer))
    figures: dict[str, float] = {}
    for task in sorted(groups):
        pairs = groups[task]
        figures[f"{task}/answers"] = float(len(pairs))
        if not any(word in task for word in _FREE_TEXT):
            figures[f"{task}/exact_match"] = _share(_same(gold, answer) for gold, answer in pairs)
        if "detection" in task:
            figures |= {f"{task}/{name}": value for name, value in _detection(pairs).items()}
            figures[f"{task}/benchmark_f1"] = _benchmark_f1(pairs)
        elif "classification" in task:
            figures[f"{task}/benchmark_accuracy"] = _benchmark_accuracy(pairs)
        if "fewshot" in task:
            figures[f"{task}/event_f1"] = _micro_f1([event_counts(answer, gold) for gold, answer in pairs])
    return figures


def names_of_figures(tasks: Iterable[str], answered: Iterable[str]) -> list[str]:
    """Return what figures rows of these tasks have, of which some are answered."""
    wanted = set(answered)
    rows = [
        Scored(
            row=place,
            task=task,
            loss_sum=0.0,
            tokens=1,
            correct=0,
            gold="x",
            answer="" if task in wanted else None,
        )
        for place, task in enumerate(sorted(set(tasks)))
    ]
    return [*loss_figures(rows), *answer_figures(rows)]


def _detection(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """None accuracy, exact strings of several species, and their F1 without regard to order."""
    several = [(gold, answer) for gold, answer in pairs if "," in gold]
    return {
        "none_accuracy": _share(_same(gold, answer) for gold, answer in pairs if _same(gold, "none")),
        "multi_species_accuracy": _share(_same(gold, answer) for gold, answer in several),
        "multi_species_f1": sum(set_f1(answer, gold) for gold, answer in several) / max(len(several), 1),
    }


def _benchmark_accuracy(pairs: Sequence[tuple[str, str]]) -> float:
    """Return the share of answers whose nearest label, as the benchmark finds it, is the right one."""
    gold = [text.strip() for text, _ in pairs]
    answers = strict_answers("classification", [answer for _, answer in pairs], LabelSet(sorted(set(gold))))
    return metrics.accuracy(gold, [answer.label for answer in answers])


def _benchmark_f1(pairs: Sequence[tuple[str, str]]) -> float:
    """Return the mean F1 of all names that are heard, answers matched as the benchmark does; 0 of none."""
    names = sorted({name for text, _ in pairs for name in label_parts(text)})
    if not names:
        return 0.0
    labels = LabelSet([*names, NONE])
    answers = strict_answers("detection", [answer for _, answer in pairs], labels)
    truth = label_table([label_parts(text, labels) for text, _ in pairs], names)
    found = label_table([label_parts(answer.label, labels) for answer in answers], names)
    return metrics.macro(metrics.detection_scores(truth, found, names))[2]


def set_f1(answer: str, gold: str) -> float:
    """Return the F1 of two comma lists as sets of names, 0..1."""
    said, true = ({name.strip().casefold() for name in text.split(",")} - {""} for text in (answer, gold))
    return 2 * len(said & true) / max(len(said) + len(true), 1)


def read_events(text: str) -> list[Event]:
    """Return the events ``start-end`` of a text; both need decimals, so ``1-2`` is none."""
    return [(float(start), float(end)) for start, end in _EVENT.findall(text)]


def event_counts(answer: str, gold: str) -> tuple[int, int, int]:
    """Return true positives, false positives and false negatives of the largest one-to-one matching.

    Two events match where intersection over union is above one half.
    """
    said, true = read_events(answer), read_events(gold)
    possible = [[_iou(one, other) > MIN_IOU for other in true] for one in said]
    holder: dict[int, int] = {}

    def place(event: int, tried: set[int]) -> bool:
        for other, fits in enumerate(possible[event]):
            if fits and other not in tried:
                tried.add(other)
                if other not in holder or place(holder[other], tried):
                    holder[other] = event
                    return True
        return False

    hits = sum(place(event, set()) for event in range(len(said)))
    return hits, len(said) - hits, len(true) - hits


def _iou(one: Event, other: Event) -> float:
    common = min(one[1], other[1]) - max(one[0], other[0])
    return common / (max(one[1], other[1]) - min(one[0], other[0])) if common > 0 else 0.0


def _micro_f1(counts: Sequence[tuple[int, int, int]]) -> float:
    hits, false, missed = (sum(column) for column in zip(*counts, strict=True))
    return 2 * hits / max(2 * hits + false + missed, 1)


def _same(left: str, right: str) -> bool:
    return left.strip().lower() == right.strip().lower()


def _share(hits: Iterable[bool]) -> float:
    listed = list(hits)
    return sum(listed) / max(len(listed), 1)
