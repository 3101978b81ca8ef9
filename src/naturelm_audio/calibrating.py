"""One run of ``naturelm calibrate``: labelled recordings -> scores -> a temperature and an honest report.

The temperature is fitted to all rows. The report is cross-fitted: each tenth of the recordings is judged with
the temperature of the other nine, so that nothing is judged by what was fitted to it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from naturelm_audio import prompts
from naturelm_audio.audio import stream
from naturelm_audio.calibration import Calibration, Reliability, fit_temperature, reliability
from naturelm_audio.errors import AudioError, LabelError
from naturelm_audio.generate import Request
from naturelm_audio.label_lists import LabelList
from naturelm_audio.labels import LabelSet, is_none
from naturelm_audio.listening import Hearing
from naturelm_audio.marks import MARK_COLUMNS, read_marks
from naturelm_audio.options import RESAMPLERS
from naturelm_audio.pipeline import Pipeline
from naturelm_audio.records import Label
from naturelm_audio.score import LabelScorer, probabilities
from naturelm_audio.train.manifest.tables import Row, Table, is_blank, number, read_table
from naturelm_audio.windows import WindowPlan

__all__ = ["CalibrationReport", "Judged", "Sound", "calibrate", "labels_of", "read_sounds"]

logger = logging.getLogger(__name__)

FEWEST, FEW = 10, 100
FOLDS = 10
WINDOWS_AT_ONCE = 64
PATHS = ("path", "file", "filename", "audio_path", "filepath")
LABELS = ("label", "species", "common_name", "text")
USUAL = Hearing(channel=None, speed_factor=1.0, resampler=RESAMPLERS[0])


@dataclass(frozen=True)
class Sound:
    """A recording or a part of it, with what is known of it.

    Either ``label`` is heard in it or, if ``refuted``, is known to be wrong. ``recording`` keeps cuts of one
    recording in one half.
    """

    path: Path
    label: str
    recording: str
    start_seconds: float = 0.0
    end_seconds: float | None = None
    refuted: bool = False


@dataclass(frozen=True, eq=False)
class Judged:
    """One window: scores (labels,) of the list, the place of its label, and perhaps a free answer."""

    sound: Sound
    place: int
    log_likelihoods: np.ndarray
    free_is_right: bool | None = None
    free_confidence: float = 0.0


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration found. ``free`` is of free answers to the same question, if they were asked for."""

    calibration: Calibration
    recordings: int
    failed: int
    before: Reliability
    after: Reliability
    free: Reliability | None = None


def read_sounds(
    table: Path, *, audio_root: Path | None = None, only: Mapping[str, Sequence[str]] | None = None
) -> list[Sound]:
    """The rows of a table of labelled recordings, or of marks from the review page.

    Args:
        table: columns path and label, perhaps start_seconds, end_seconds and recording; or a file of marks.
        audio_root: folder of the paths; None is the table's own.
        only: column -> values; other rows are left aside.

    Raises:
        LabelError: a column is missing, a row is faulty, none is left, or rows of marks are to be chosen.
        ManifestError: the table can't be read.
    """
    content, root = read_table(table), audio_root or table.parent
    if set(MARK_COLUMNS[:-1]) <= set(content.columns):
        if only:
            raise LabelError(f"{table}: is a file of marks, all of which are used: leave out --only")
        sounds = _marked(table, root)
    else:
        path, label = content.column(*PATHS), content.column(*LABELS)
        if path is None or label is None:
            raise LabelError(f"{table}: needs the columns path and label, found {', '.join(content.columns)}")
        rows = _only(content, only or {})
        sounds = [_sound(row, content, root / row.cells[path], row.cells[label]) for row in rows]
    if not sounds:
        raise LabelError(f"{table}: has no row to learn from")
    return sounds


def _only(table: Table, only: Mapping[str, Sequence[str]]) -> list[Row]:
    rows = list(table.rows)
    for name, values in only.items():
        column = table.column(name)
        if column is None:
            raise LabelError(f"{table.path}: has no column {name}, found {', '.join(table.columns)}")
        rows = [row for row in rows if row.cells[column] in values]
    return rows


def _sound(row: Row, table: Table, path: Path, label: str) -> Sound:
    if is_blank(label):
        raise LabelError(f"{table.path}, line {row.line}: the label is empty")
    cells = {name: row.cells.get(table.column(name) or "", "") for name in ("start_seconds", "end_seconds")}
    try:
        times: dict[str, Any] = {name: number(cell) for name, cell in cells.items() if not is_blank(cell)}
    except ValueError as error:
        raise LabelError(f"{table.path}, line {row.line}: {error}") from None
    recording = row.cells.get(table.column("recording") or "", "")
    return Sound(path, label, recording or str(path), **times)


def _marked(table: Path, root: Path) -> list[Sound]:
    """Rows of marks with a truth, or with an answer that is wrong; the unsure ones teach nothing."""
    sounds = []
    for mark in read_marks(table):
        if mark.truth is None and mark.is_right is not False:
            continue
        refuted = mark.truth is None
        label = mark.label if mark.truth is None else mark.truth
        times = (mark.start_seconds, mark.end_seconds)
        sounds.append(Sound(root / mark.path, label, mark.path, *times, refuted=refuted))
    return sounds


def labels_of(sounds: Sequence[Sound]) -> tuple[Label, ...]:
    """The labels that the rows speak of, in alphabetical order, "None" left out."""
    texts = sorted({sound.label for sound in sounds if not is_none(sound.label)})
    return tuple(Label(label=text) for text in texts)


def calibrate(
    pipeline: Pipeline,
    sounds: Sequence[Sound],
    listed: LabelList,
    *,
    question: str | None = None,
    free_answers: bool = False,
    hearing: Hearing = USUAL,
) -> CalibrationReport:
    """Score the list for every window of the sounds, fit the temperature, and say how well it does.

    Args:
        pipeline: with the model.
        sounds: what is known of recordings.
        listed: the list to rank.
        question: to ask; None is the list's own.
        free_answers: judge free answers to it as well.
        hearing: how recordings become samples.

    Raises:
        LabelError: too few windows, or all sounds have labels outside the list.
        AudioError: no recording could be read.
        PromptError: a question that can't be asked.
    """
    question = question or listed.question
    prompts.check_queries([question])
    known = LabelSet(listed.texts)
    wanted = [(sound, label) for sound in sounds if (label := known.same(sound.label)) is not None]
    if len(wanted) < len(sounds):
        logger.warning("%d rows have a label outside the list and are left aside", len(sounds) - len(wanted))
    failed: list[AudioError] = []
    heard = _heard(wanted, pipeline.model.config.max_clip_seconds, hearing, failed)
    with tqdm(total=len(wanted), desc="rows", file=sys.stderr, disable=None) as progress:
        rows = list(_judge(pipeline, heard, listed, question, free_answers, progress))
    if not rows and failed:
        raise failed[0]
    if len(rows) < FEWEST:
        raise LabelError(f"only {len(rows)} windows with a label of the list: at least {FEWEST} are needed")
    if len(rows) < FEW:
        logger.warning("%d windows are few: the temperature may be far off; use some hundred", len(rows))
    return _report(pipeline, rows, listed, question, hearing, len(failed))


def _judge(
    pipeline: Pipeline,
    heard: Iterator[tuple[Sound, str, np.ndarray]],
    listed: LabelList,
    question: str,
    free_answers: bool,
    progress: tqdm[Any],
) -> Iterator[Judged]:
    generator = pipeline.generator
    scorer = LabelScorer(generator, listed.texts)
    prompt = prompts.build(question, template=pipeline.model.config.prompt_template)
    known = LabelSet(listed.texts)
    while some := list(itertools.islice(heard, WINDOWS_AT_ONCE)):
        vectors = generator.encode([samples for _, _, samples in some])
        requests = [Request(prompt, (vector,), str(row)) for row, vector in enumerate(vectors)]
        answers = generator.answer(requests) if free_answers else [None] * len(some)
        scores = scorer.log_likelihoods(requests)
        for (sound, label, _), row, answer in zip(some, scores, answers, strict=True):
            judged = Judged(sound, listed.texts.index(label), row)
            if answer is not None:
                is_right = (known.same(answer.text) == label) != sound.refuted
                judged = replace(judged, free_is_right=is_right, free_confidence=answer.confidence)
            yield judged
        progress.update(len({id(sound) for sound, _, _ in some}))


def _heard(
    sounds: Sequence[tuple[Sound, str]], longest_seconds: float, hearing: Hearing, failed: list[AudioError]
) -> Iterator[tuple[Sound, str, np.ndarray]]:
    """Every window of the sounds; what can't be read goes to ``failed``."""
    plan = WindowPlan(
        window_length_seconds=longest_seconds,
        hop_length_seconds=longest_seconds,
        model_max_seconds=longest_seconds,
    )
    for sound, label in sounds:
        try:
            duration = None if sound.end_seconds is None else sound.end_seconds - sound.start_seconds
            blocks = stream(
                sound.path,
                start_seconds=sound.start_seconds,
                duration_seconds=duration,
                **asdict(hearing),
            )
            for _, samples in plan.cut(blocks):
                yield sound, label, samples
        except AudioError as error:
            logger.warning("%s", error)
            failed.append(error)


def _report(
    pipeline: Pipeline, rows: list[Judged], listed: LabelList, question: str, hearing: Hearing, failed: int
) -> CalibrationReport:
    plain, crossed, temperatures = _cross_fitted(rows)
    told = [place for place, (_, is_right) in enumerate(plain) if is_right is not None]
    before = _reliability([plain[place] for place in told])
    after = _reliability([crossed[place] for place in told])
    more: dict[str, Any] = {"temperatures_of_folds": temperatures, "hearing": asdict(hearing)}
    asked = [row for row in rows if row.free_is_right is not None and not row.sound.refuted]
    free = _reliability([(row.free_confidence, row.free_is_right) for row in asked]) if asked else None
    if free is not None:
        more["free_answers"] = asdict(free)
    provenance = pipeline.model.provenance
    calibration = Calibration(
        temperature=_fit(rows),
        rows=len(rows),
        model=provenance.model_name,
        weights=provenance.weights_fingerprint,
        question=question,
        labels=len(listed.labels),
        before=asdict(before),
        after=asdict(after),
        more=more,
    )
    recordings = len({row.sound.recording for row in rows})
    return CalibrationReport(calibration, recordings, failed, before, after, free)


_Claim = tuple[float, bool | None]


def _cross_fitted(rows: Sequence[Judged]) -> tuple[list[_Claim], list[_Claim], list[float]]:
    """Claims without a temperature, with that of the other folds, and those temperatures."""
    folds = _folds(rows)
    fitted = {
        own: _fit([row for row, fold in zip(rows, folds, strict=True) if fold != own])
        for own in sorted(set(folds))
    }
    plain = [_first(row, 1.0) for row in rows]
    crossed = [_first(row, fitted[fold]) for row, fold in zip(rows, folds, strict=True)]
    return plain, crossed, list(fitted.values())


def _reliability(claims: Sequence[_Claim]) -> Reliability:
    return reliability([claim for claim, _ in claims], [bool(is_right) for _, is_right in claims])


def _fit(rows: Sequence[Judged]) -> float:
    return fit_temperature(
        [row.log_likelihoods for row in rows],
        [row.place for row in rows],
        refuted=[row.sound.refuted for row in rows],
    )


def _first(row: Judged, temperature: float) -> _Claim:
    """Confidence of the best label, and whether it is right; None where that isn't known."""
    scores = probabilities(row.log_likelihoods, temperature=temperature)
    best = int(scores.argmax())
    if row.sound.refuted:
        return float(scores[best]), False if best == row.place else None
    return float(scores[best]), best == row.place


def _folds(rows: Sequence[Judged]) -> list[int]:
    """Which fold each row is in: recordings stay whole, and each label is in as many folds as it can be.

    Decided by names alone, so that the order of the table changes nothing.
    """
    labels: dict[str, Counter[str]] = {}
    for row in rows:
        labels.setdefault(row.sound.recording, Counter())[row.sound.label] += 1
    if len(labels) < 2:
        raise LabelError("all windows are of one recording: a report needs at least two")

    def place(recording: str) -> tuple[Any, ...]:
        most = min(labels[recording].items(), key=lambda item: (-item[1], item[0]))[0]
        return most, hashlib.sha256(recording.encode("utf-8", "surrogateescape")).digest()

    fold = {recording: number % FOLDS for number, recording in enumerate(sorted(labels, key=place))}
    return [fold[row.sound.recording] for row in rows]
