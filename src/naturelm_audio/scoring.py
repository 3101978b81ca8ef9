"""Prediction rows -> scores of each component, in two modes.

``official`` reproduces the published scorer, oddities included; ``strict`` is complete and doesn't depend on
the order of rows. Both carry what the headline hides: exact matches, far-off and tied answers, rows that are
missing, counts per class. Knows nothing of files.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from naturelm_audio import metrics
from naturelm_audio.components import Benchmark, Component, beans_zero
from naturelm_audio.detections import confused, f1_range_of_ties, label_table
from naturelm_audio.errors import LabelError
from naturelm_audio.labels import END_TOKENS, LabelSet, cut, is_none
from naturelm_audio.matching import (
    FARTHEST,
    Answered,
    label_parts,
    official_answers,
    official_labels,
    strict_answers,
    strict_labels,
)
from naturelm_audio.predictions import Prediction, PredictionsError
from naturelm_audio.scored import METRICS, MODES, ComponentScore, ScoreOptions, Scores
from naturelm_audio.spice import SpiceError, spice_scores

__all__ = ["MODES", "ComponentScore", "ScoreOptions", "Scores", "score"]

NO_RANKING = "answers are yes or no, so mAP tells nothing of a ranking"


@dataclass(frozen=True)
class _Part:
    """A component with its rows, those with an error apart."""

    component: Component
    rows: Sequence[Prediction]
    options: ScoreOptions
    errors: Sequence[Prediction] = ()

    @property
    def strict(self) -> bool:
        return self.options.mode == "strict"

    @property
    def texts(self) -> list[str]:
        return [row.prediction for row in self.rows]

    @property
    def expected(self) -> int | None:
        there = len(self.rows) + len(self.errors)
        return max(self.component.rows or 0, there) if self.component.rows or self.errors else None

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, zlib.crc32(self.component.name.encode())])

    def result(self, scores: Mapping[str, float | None], **more: Any) -> ComponentScore:
        given = {"headline": self.component.headline, **more}
        return ComponentScore(
            name=self.component.name,
            task=self.component.task,
            rows=len(self.rows),
            expected=self.expected,
            errors=len(self.errors),
            metrics=scores,
            rows_alone=scores,
            **given,
        )


def score(
    rows: Sequence[Prediction], options: ScoreOptions | None = None, benchmark: Benchmark | None = None
) -> Scores:
    """Return the scores of every component that has rows.

    Args:
        rows: in the file's order, on which the official average precision depends.
        options: strict by default.
        benchmark: BEANS-Zero by default.

    A component that can't be scored is there with its reason: in strict mode also one with an id that is
    there twice, or with a gold label that is not in its list.

    Raises:
        PredictionsError: there are no rows, or none of a component that is known.
    """
    options, benchmark = options or ScoreOptions(), benchmark or beans_zero()
    parts, unknown = _parts(rows, options, benchmark)
    notes = [_unknown_note(some, len(rows), benchmark) for some in unknown.values()]
    for part in parts:
        notes.extend(_notes(part))
    there = {part.component.name for part in parts}
    return Scores(
        options=options,
        benchmark=benchmark,
        components=tuple(_score_part(part) for part in parts),
        absent=tuple(component.name for component in benchmark if component.name not in there),
        unscored={name: len(some) for name, some in unknown.items()},
        notes=tuple(notes),
    )


def _parts(
    rows: Sequence[Prediction], options: ScoreOptions, benchmark: Benchmark
) -> tuple[list[_Part], dict[str, list[Prediction]]]:
    """Components with their rows, and rows of unknown ones by name."""
    if not rows:
        raise PredictionsError("there are no predictions to score")
    groups: dict[str, list[Prediction]] = {}
    unknown: dict[str, list[Prediction]] = {}
    for row in rows:
        component = benchmark.find(row.dataset_name)
        home = unknown if component is None else groups
        home.setdefault(component.name if component else row.dataset_name, []).append(row)
    if not groups:
        first = next(iter(unknown.values()))[0]
        raise PredictionsError(
            f"{first.where}: dataset_name {first.dataset_name!r} is unknown: "
            f"{benchmark.closest(first.dataset_name)}"
        )
    parts = []
    for item in benchmark:
        some = groups.get(item.name, [])
        sound, faulty = [row for row in some if not row.error], [row for row in some if row.error]
        if some:
            parts.append(_Part(item, sound, options, faulty))
    return parts, unknown


def _unknown_note(some: Sequence[Prediction], rows: int, benchmark: Benchmark) -> str:
    name = some[0].dataset_name
    return (
        f"unknown component {name!r} ({some[0].where}): {len(some):,} of {rows:,} rows are not scored; "
        f"{benchmark.closest(name)}"
    )


def _notes(part: _Part) -> list[str]:
    """What is odd about the rows of a component."""
    name, there, known = part.component.name, len(part.rows) + len(part.errors), part.component.rows
    notes = []
    if part.errors:
        first = part.errors[0]
        notes.append(
            f"{name}: {len(part.errors):,} of {there:,} rows have no answer, the first {first.where}: "
            f"{first.error}"
        )
    again = [] if part.strict else _doubles(part)
    if again:
        notes.append(f"{name}: {len(again)} rows have an id that was there before")
    if known and there > known:
        notes.append(f"{name}: {there:,} rows where the benchmark has {known:,}")
    return notes


def _doubles(part: _Part) -> list[tuple[Prediction, Prediction]]:
    """Rows whose id was there before, each with the row that had it first."""
    first: dict[str, Prediction] = {}
    return [
        (row, first[row.id])
        for row in [*part.rows, *part.errors]
        if row.id is not None and first.setdefault(row.id, row) is not row
    ]


def _score_part(part: _Part) -> ComponentScore:
    by_task = {"classification": _classification, "detection": _detection, "captioning": _captioning}
    try:
        if part.strict:
            _refuse_doubles(part)
        if not part.rows:
            raise PredictionsError(f"none of its {len(part.errors):,} rows has an answer")
        scored = by_task[part.component.task](part)
    except (LabelError, PredictionsError) as error:
        return part.result(_no_scores(part), status="failed", reason=str(error))
    if not part.strict or part.options.partial or not scored.missing:
        return scored
    share = scored.rows / (scored.rows + scored.missing)
    return replace(
        scored,
        metrics={name: None if value is None else value * share for name, value in scored.metrics.items()},
        interval=None
        if scored.interval is None
        else (scored.interval[0] * share, scored.interval[1] * share),
        notes=(*scored.notes, f"the {scored.missing:,} missing rows count as wrong"),
    )


def _no_scores(part: _Part) -> dict[str, float | None]:
    return dict.fromkeys(METRICS[part.component.task])


def _refuse_doubles(part: _Part) -> None:
    for row, before in _doubles(part):
        raise PredictionsError(
            f"{row.where}: id {row.id!r} of {part.component.name} is there already, see "
            f"{before.where.rpartition(', ')[2]}: keep one of the two"
        )


def _answers(part: _Part) -> tuple[list[Answered], LabelSet, list[str]]:
    """Matched answers, the labels they were matched to, and the gold strings."""
    task, gold = part.component.task, [row.label for row in part.rows]
    if part.strict:
        labels = strict_labels(part.component)
        return strict_answers(task, part.texts, labels), labels, _listed_gold(part, labels)
    labels = official_labels(part.component, gold)
    return official_answers(task, part.texts, labels), labels, gold


def _listed_gold(part: _Part, labels: LabelSet) -> list[str]:
    """Gold strings in the list's own form.

    Raises:
        LabelError: one is not in the list.
    """
    listed: dict[str, str] = {}
    for row in part.rows:
        if row.label in listed:
            continue
        pieces = labels.split(row.label) if part.component.task == "detection" else [row.label]
        known = [labels.same(piece) for piece in pieces]
        for piece, label in zip(pieces, known, strict=True):
            if label is None:
                raise LabelError(_outside(part, row, piece, labels))
        listed[row.label] = ", ".join(label for label in known if label is not None)
    return [listed[row.label] for row in part.rows]


def _outside(part: _Part, row: Prediction, piece: str, labels: LabelSet) -> str:
    if not piece.strip():
        return (
            f"{row.where}: the label is empty: give one of the {len(labels)} labels of {part.component.name}"
        )
    near = labels.nearest([piece])[piece].label
    return (
        f"{row.where}: label {piece!r} is not one of the {len(labels)} labels of {part.component.name}; "
        f"the nearest is {near!r}: correct it, or name your own list with --benchmark"
    )


def _classification(part: _Part) -> ComponentScore:
    answers, _, gold = _answers(part)
    predicted = [answer.label for answer in answers]
    classes = metrics.class_scores(gold, predicted)
    right = [label == text for label, text in zip(gold, predicted, strict=True)]
    precision, recall, f1 = metrics.weighted(classes)
    accuracy = metrics.accuracy(gold, predicted)
    # The official figure calls a right answer with a comma in it wrong.
    top_1 = accuracy if part.strict else metrics.top_1_accuracy(gold, predicted)
    scores = {
        "Accuracy": accuracy,
        "Precision": precision,
        "Recall": recall,
        "F1 Score": f1,
        "Top-1 Accuracy": top_1,
    }
    near = [hit and answer.distance <= FARTHEST for hit, answer in zip(right, answers, strict=True)]
    exact = [answer.text == row.label.strip() for answer, row in zip(answers, part.rows, strict=True)]
    could = [
        label in answer.choices[0] if answer.choices else hit
        for label, answer, hit in zip(gold, answers, right, strict=True)
    ]
    must = [hit and not answer.choices for hit, answer in zip(right, answers, strict=True)]
    extras = {
        "exact_match": metrics.mean(exact),
        f"accuracy_within_{FARTHEST}_edits": metrics.mean(near),
        "f1_macro": metrics.macro([item for item in classes if item.support])[2],
        **_doubtful(answers),
        "accuracy_range_of_ties": [metrics.mean(must), metrics.mean(could)],
    }
    confusion = Counter(
        (label, text or "") for label, text, hit in zip(gold, predicted, right, strict=True) if not hit
    )
    return part.result(
        scores,
        interval=metrics.bootstrap_mean(right, part.rng(), part.options.resamples),
        extras=extras,
        classes=tuple(classes),
        confusion=confusion,
        answers=tuple(answers),
    )


def _doubtful(answers: Sequence[Answered]) -> dict[str, int]:
    """Counts of answers that a reader should know of."""
    return {
        "empty_answers": sum(not answer.text.strip() for answer in answers),
        "tied_answers": sum(bool(answer.choices) for answer in answers),
    }


def _detection(part: _Part) -> ComponentScore:
    answers, labels, gold = _answers(part)
    known = labels if part.strict else None
    gold_parts = [label_parts(label, known) for label in gold]
    classes = sorted({label for some in gold_parts for label in some})
    if not classes:
        return _without_classes(part, answers)
    truth = label_table(gold_parts, classes)
    found = [label_parts(answer.label, known) for answer in answers]
    if not part.strict:
        found = [
            frozenset() if is_none(answer.label or "") else some
            for answer, some in zip(answers, found, strict=True)
        ]
    table = label_table(found, classes)
    counts = metrics.detection_scores(truth, table, classes)
    precision, recall, f1 = metrics.macro(counts)
    grouped = [metrics.average_precision(truth[:, n], table[:, n]) for n in range(len(classes))]
    bounds = [metrics.average_precision_bounds(truth[:, n], table[:, n]) for n in range(len(classes))]
    mean_ap = metrics.mean(grouped) if part.strict else metrics.official_average_precision(truth, table)
    spurious = Counter(label for some in found for label in some if label not in classes)
    extras = {
        **_doubtful(answers),
        "f1_range_of_ties": f1_range_of_ties(truth, gold_parts, answers, found, classes),
        "map_range_of_row_orders": [
            metrics.mean([low for low, _ in bounds]),
            metrics.mean([top for _, top in bounds]),
        ],
        "map_ties_grouped": metrics.mean(grouped),
        "false_positives_without_gold": dict(sorted(spurious.items())),
    }
    return part.result(
        {"mAP": mean_ap, "F1": f1, "Recall": recall, "Precision": precision},
        interval=metrics.bootstrap_macro_f1(truth, table, part.rng(), part.options.resamples),
        extras=extras,
        classes=tuple(counts),
        confusion=confused(gold_parts, found),
        answers=tuple(answers),
        notes=(NO_RANKING,),
    )


def _without_classes(part: _Part, answers: Sequence[Answered]) -> ComponentScore:
    wrong = sum(bool(label_parts(answer.label)) for answer in answers)
    return part.result(
        _no_scores(part),
        status="failed",
        reason=f"every label is None, so no class can be scored; {wrong} of {len(answers)} answers name one",
        extras={**_doubtful(answers), "false_positives": wrong},
        answers=tuple(answers),
    )


def _captioning(part: _Part) -> ComponentScore:
    references = [row.label for row in part.rows]
    texts = part.texts
    if part.strict:
        texts = [cut(text, END_TOKENS).strip() for text in texts]
    per_row = metrics.cider(references, texts)
    cider, spice, reason = metrics.mean(per_row), None, None
    try:
        if part.options.spice:
            per_row_spice = spice_scores(references, texts)
            spice = metrics.mean(per_row_spice)
    except SpiceError as error:
        reason = f"no SPIDEr, CIDEr alone: {error}"
    scores: dict[str, float | None] = {"SPIDEr": None, "CIDEr": cider, "SPICE": spice}
    values = per_row
    if spice is not None:
        scores["SPIDEr"] = metrics.spider(cider, spice)
        values = [metrics.spider(*pair) for pair in zip(per_row, per_row_spice, strict=True)]
    elif not part.options.spice:
        reason = "SPIDEr was not asked for"
    return part.result(
        scores,
        headline="CIDEr" if spice is None else "SPIDEr",
        status="failed" if spice is None and part.options.spice else "ok",
        reason=reason,
        interval=metrics.bootstrap_mean(values, part.rng(), part.options.resamples),
        extras={"empty_answers": sum(not text.strip() for text in texts)},
        answers=tuple(Answered(text, text) for text in texts),
    )
