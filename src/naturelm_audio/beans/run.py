"""A whole run of a benchmark: options -> a file of predictions that can be resumed. No parsing, no scores.

Rows are read, their clips prepared by threads that are a few batches ahead, answered in batches, and appended
in the order of the data. A row that can't be asked becomes a row with ``error``, and the run goes on.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from naturelm_audio import prompts
from naturelm_audio.beans.dataset import DatasetError, HubRows, LocalRows, Row, open_rows
from naturelm_audio.beans.models import Item, Model, Outcome
from naturelm_audio.beans.options import BeansOptions
from naturelm_audio.beans.predicted import PredictionFile
from naturelm_audio.beans.selection import Selection, clip_seconds, expected_rows, question
from naturelm_audio.components import Benchmark, Component, benchmark_of, read_benchmark
from naturelm_audio.errors import AudioError, NatureLMError, OptionsError, PromptError
from naturelm_audio.matching import strict_labels
from naturelm_audio.records import Label
from naturelm_audio.runs import RunStoppedError, about_run
from naturelm_audio.score import probabilities

__all__ = ["BeansSummary", "Loader", "find_benchmark", "run_beans"]

logger = logging.getLogger(__name__)

BATCHES_AHEAD = 3
LABELS_SHOWN = 5  # of a ranking, in a row
LOG_DECIMALS = 5
Loader = Callable[[BeansOptions, "Rows", Sequence[Component]], Model]
Rows = LocalRows | HubRows
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BeansSummary:
    """What a finished run left: rows on file, how many of them are errors, and rows of unknown components.

    ``absent`` are components that were wanted and have no row; ``report`` says how rows were made.
    """

    benchmark: Benchmark
    rows: int
    errors: int
    unknown: Mapping[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


def find_benchmark(options: BeansOptions) -> Benchmark:
    """Return the benchmark that is meant, with every wanted component in it.

    Raises:
        OptionsError: a component that it has not, or a table that can't be read.
    """
    benchmark = read_benchmark(options.benchmark) if options.benchmark else benchmark_of(options.data)
    for name in options.components:
        if benchmark.find(name) is None:
            raise OptionsError(f"--components: {name!r} is unknown: {benchmark.closest(name)}")
    return benchmark


def run_beans(options: BeansOptions, load: Loader) -> BeansSummary:
    """Answer all rows into the output; return what there is at the end.

    ``load`` is called once, with the options, the rows and the components; and only if a row is left.

    Raises:
        RunStoppedError: it ended midway; the rows made so far are on file.
        NatureLMError: nothing was done, for the reason it gives.
    """
    benchmark = find_benchmark(options)
    rows = open_rows(options.data)
    wanted = [_found(benchmark, name).name for name in options.components]
    _refuse_missing(benchmark, rows, wanted)
    predicted = PredictionFile.open(
        options.output_path, mode=options.output_mode, settings=options.settings(), about=about_run()
    )
    before = predicted.count
    selection = Selection(benchmark, wanted, limit=options.limit, done=predicted.done)
    try:
        with predicted:
            predicted.run_file.confirm("data", _about_data(benchmark, rows))
            run = _Run(options, benchmark, predicted, load)
            run.answer_all(rows, selection, wanted)
    except NatureLMError as error:
        if predicted.count == before:
            raise
        raise RunStoppedError(f"{error}; {_how_to_go_on(predicted, options)}") from error
    except KeyboardInterrupt:
        raise RunStoppedError(_how_to_go_on(predicted, options), interrupted=True) from None
    return BeansSummary(
        benchmark,
        predicted.count,
        predicted.errors.total(),
        dict(selection.unknown),
        tuple(one.name for one in _wanted(benchmark, wanted) if not predicted.rows[one.name]),
        _report(predicted.run_file.content),
    )


def _report(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the scores should know of the run."""
    settings = run["settings"]
    replaced = {name: one["asked"] for name, one in run.get("questions", {}).items() if one["replaced"]}
    found: dict[str, Any] = {
        "model": settings.get("model", {}),
        "data": settings["data"]["benchmark"],
        "generation": {name: value for name, value in settings["generate"].items() if value is not None},
        "resampler": settings["resampler"],
        "rows of each component": settings["limit"] or "all",
        "rows at once": run.get("rows_at_once"),
        "seconds per row": run.get("seconds_per_row"),
        "run": run["run_id"],
        "times resumed": len(run.get("resumed", [])) or None,
    }
    if replaced:
        found["questions replaced by the published rule"] = replaced
    return {name: value for name, value in found.items() if value is not None}


def _found(benchmark: Benchmark, name: str) -> Component:
    component = benchmark.find(name)
    if component is None:
        raise OptionsError(f"component {name!r} is unknown: {benchmark.closest(name)}")
    return component


def _wanted(benchmark: Benchmark, names: Sequence[str]) -> list[Component]:
    """The components of these names, all of them where there are none."""
    return [component for component in benchmark if not names or component.name in names]


def _refuse_missing(benchmark: Benchmark, rows: Rows, wanted: Sequence[str]) -> None:
    """Say at once what local data can't give; the hub's contents only show in its stream."""
    if rows.counts is None:
        return
    there = {found.name for name in rows.counts if (found := benchmark.find(name)) is not None}
    missing = [name for name in wanted if name not in there]
    if missing or not there:
        raise DatasetError(
            f"{rows.name}: has no row of {', '.join(missing) or benchmark.name}; its components are "
            f"{', '.join(sorted(rows.counts)) or 'none'}"
            + ("" if there else ": name their table with --benchmark")
        )
    absent = [component.name for component in benchmark if component.name not in there]
    if absent and not wanted:
        logger.warning("%s: has no row of %s, components of %s", rows.name, ", ".join(absent), benchmark.name)


def _about_data(benchmark: Benchmark, rows: Rows) -> dict[str, Any]:
    counts = None if rows.counts is None else dict(sorted(rows.counts.items()))
    return {"benchmark": benchmark.name, "version": benchmark.version, "rows": counts}


def _how_to_go_on(predicted: PredictionFile, options: BeansOptions) -> str:
    if not predicted.count:
        return "no row was made yet"
    instead = " instead of --overwrite" if options.overwrite else ""
    return (
        f"{predicted.count:,} rows on file in {predicted.output}; the same command with --resume{instead} "
        "goes on"
    )


class _Run:
    """State of one run."""

    def __init__(
        self, options: BeansOptions, benchmark: Benchmark, predicted: PredictionFile, load: Loader
    ) -> None:
        self._options = options
        self._benchmark = benchmark
        self._predicted = predicted
        self._load = load
        self._questions: dict[str, dict[str, Any]] = {}
        self._labels: dict[str, tuple[str, ...]] = {}

    def answer_all(self, rows: Rows, selection: Selection, wanted: Sequence[str]) -> None:
        """Answer every row that is not on file yet."""
        total = None
        if rows.counts is not None:
            total = expected_rows(self._benchmark, rows.counts, wanted, self._options.limit)
            if total == self._predicted.count:
                for _ in rows.rows(selection):  # compares the rows on file with the data, reads no sound
                    break
                return
        model = self._load(self._options, rows, _wanted(self._benchmark, wanted))
        self._predicted.run_file.confirm("model", model.about())
        started, before = time.monotonic(), self._predicted.count
        try:
            with _bar(total, self._predicted.count) as bar:
                self._answer(rows, selection, model, bar)
        finally:
            made = self._predicted.count - before
            seconds = time.monotonic() - started
            # A resumed run has seen only its own part of the components.
            known = self._predicted.run_file.content.get("questions", {})
            self._predicted.run_file.note(
                rows_at_once=model.rows_at_once,
                questions=known | self._questions,
                seconds_per_row=round(seconds / made, 4) if made else None,
                unknown_components=dict(selection.unknown),
            )

    def _answer(self, rows: Rows, selection: Selection, model: Model, bar: Any) -> None:
        items = (self._item(row) for row in rows.rows(selection))
        for batch in _batches(_prepared(items, model, self._options.workers), model.rows_at_once):
            sound = [(item, audio) for item, audio in batch if not isinstance(audio, AudioError)]
            outcomes = iter(model.answer(sound) if sound else [])
            for item, audio in batch:
                outcome = _failed(audio) if isinstance(audio, AudioError) else next(outcomes)
                self._predicted.append(self._row(item, outcome))
                if outcome.error is not None:
                    bar.write(f"{item.component.name} {item.row.id}: {outcome.error}", file=sys.stderr)
            bar.set_postfix_str(f"{batch[-1][0].component.name}", refresh=False)
            bar.update(len(batch))

    def _item(self, row: Row) -> Item:
        component = _found(self._benchmark, row.dataset_name)
        asked = question(row, component)
        if row.fault is None:
            try:
                prompts.build(asked)
            except PromptError as error:
                row = replace(row, fault=f"prompt_error: {error}")
        if component.name not in self._questions:
            self._questions[component.name] = {
                "asked": prompts.without_audio(asked),
                "clip_seconds": clip_seconds(component),
                "replaced": prompts.without_audio(asked) != prompts.without_audio(row.instruction),
            }
        return Item(row, component, asked)

    def _row(self, item: Item, outcome: Outcome) -> dict[str, Any]:
        """The row as it is written, official columns first."""
        row: dict[str, Any] = {
            "prediction": outcome.prediction or "",
            "label": item.row.label,
            "id": item.row.id,
            "dataset_name": item.component.name,
            "file_name": item.row.file_name,
            **outcome.extras,
        }
        if outcome.log_likelihoods is not None:
            row |= self._ranking(item.component, outcome.log_likelihoods)
            row["label_tokens"] = outcome.label_tokens
        row["error"] = outcome.error
        return {name: value for name, value in row.items() if value is not None}

    def _ranking(self, component: Component, scores: Floats) -> dict[str, Any]:
        if component.name not in self._labels:
            self._labels[component.name] = strict_labels(component).labels
        labels = self._labels[component.name]
        likely = probabilities(scores)
        best = np.argsort(-scores, kind="stable")[:LABELS_SHOWN]
        return {
            "labels": [Label(label=labels[place], score=likely[place]).to_mapping() for place in best],
            "log_likelihoods": [round(float(score), LOG_DECIMALS) for score in scores],
        }


def _failed(error: AudioError) -> Outcome:
    return Outcome(error=f"{error.code}: {error.reason}")


def _prepare(model: Model, item: Item) -> Any:
    """The item's audio, or why there is none."""
    if item.row.fault is not None:
        code, _, reason = item.row.fault.partition(": ")
        return AudioError(reason, code=code)
    try:
        return model.prepare(item)
    except AudioError as error:
        return error


def _prepared(items: Iterator[Item], model: Model, workers: int) -> Iterator[tuple[Item, Any]]:
    """Items with their audio, in order; threads are a few batches ahead."""
    ahead: deque[tuple[Item, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    try:
        for item in items:
            ahead.append((item, pool.submit(_prepare, model, item)))
            if len(ahead) > BATCHES_AHEAD * model.rows_at_once:
                first, audio = ahead.popleft()
                yield first, audio.result()
        while ahead:
            first, audio = ahead.popleft()
            yield first, audio.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(items: Iterator[tuple[Item, Any]], size: int) -> Iterator[list[tuple[Item, Any]]]:
    batch: list[tuple[Item, Any]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _bar(total: int | None, done: int) -> Any:
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        unit="row",
        file=sys.stderr,
        mininterval=0.2 if terminal else 30.0,  # no terminal: each refresh is a line of a log file
        ncols=None if terminal else 79,
    )
