"""Recordings x questions -> answers, lazily and in order: recording, window, question.

An answer is free text, or with a list of labels the best of them and how likely each is.

A thread decodes ahead; each window is encoded once and asked every question; windows of different recordings
share a batch. Memory is bounded by the batch, never by the length of a recording. A recording that can't be
read becomes one row with ``error`` and the run goes on. Knows nothing of output files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import naturelm_audio
from naturelm_audio import prompts
from naturelm_audio.audio import Recording
from naturelm_audio.checkpoint import load_model
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.generate import Generator, OutOfMemoryError, Request
from naturelm_audio.label_lists import LabelList, as_label_list
from naturelm_audio.labels import NONE
from naturelm_audio.listening import Clip, End, Hearing, Piece, Source, chunks, read_ahead, sources
from naturelm_audio.model.naturelm import NatureLMForConditionalGeneration
from naturelm_audio.options import GenerateOptions
from naturelm_audio.records import Answer, Label
from naturelm_audio.resampling import require_resampler
from naturelm_audio.score import LabelScorer, probabilities
from naturelm_audio.windows import WindowPlan

__all__ = ["Clip", "Pipeline"]

logger = logging.getLogger(__name__)

CPU_BATCH = 8
ACCELERATOR_BATCH = 16
SLOW_TOKENS = 3000  # of a list of labels; about 800 names

DoneCallback = Callable[[Recording | Clip, int, int, str | None, float | None], None]


class Pipeline:
    """Asks one model about recordings.

    Args:
        model: a loaded model, or a name, folder or hub id for :func:`naturelm_audio.load_model`; None is the
            bundled one.
        generate: how to generate; the default is the release's, two beams.
        batch_size: rows (window x question) at once; None chooses by device.
    """

    def __init__(
        self,
        model: NatureLMForConditionalGeneration | str | Path | None = None,
        generate: GenerateOptions | None = None,
        *,
        batch_size: int | None = None,
    ) -> None:
        if not isinstance(model, NatureLMForConditionalGeneration):
            model = load_model(model)
        self.model = model
        if batch_size is None:
            batch_size = CPU_BATCH if model.device.type == "cpu" else ACCELERATOR_BATCH
        if batch_size < 1:
            raise OptionsError(f"batch_size must be at least 1, not {batch_size}")
        self.generator = Generator(model, generate, batch_size=batch_size)

    def ask(
        self,
        recordings: Source | Sequence[Source],
        queries: str | Sequence[str] | None = None,
        *,
        labels: LabelList | Sequence[str] | None = None,
        plan: WindowPlan | None = None,
        channel: int | None = None,
        speed_factor: float = 1.0,
        resampler: str = "soxr",
        done: Mapping[str, int] | None = None,
        on_recording_done: DoneCallback | None = None,
    ) -> Iterator[Answer]:
        """Answers in the order recording, window, question, each yielded as soon as its batch is through.

        Args:
            recordings: files, folders, patterns, or waveforms as :class:`Clip`.
            queries: one or more questions, each put to every window; may be left out with ``labels``.
            labels: instead of a free answer, these are ranked for each window and question; the answer is the
                best, and ``labels`` of the row has the best ones with their scores.
            plan: windows; 10 s without overlap by default.
            channel: 1-based channel of the files; None is the mean of all.
            speed_factor: 0.1 lets the model hear everything ten times slower; times are mapped back to file
                seconds.
            resampler: soxr, or kaiser_best, which the official release listened through (weaker above 6 kHz).
            done: rows that are already on file per recording's name; so many are left out at its start.
            on_recording_done: called after a recording's last row was taken, with the recording, its windows,
                its rows (those of an earlier run included), an error or None, and its duration in seconds if
                it was read whole.

        Raises:
            PromptError: a question that can't be asked, or none.
            LabelError: a list of labels that can't be ranked.
            AudioError: nothing to listen to at all. (One unreadable recording among others becomes a row with
                ``error``.)
            OptionsError: windows longer than the model hears, or no such resampler.
        """
        listed = None if labels is None else as_label_list(labels)
        if queries is None and listed is not None:
            queries = listed.question
        questions = [queries] if isinstance(queries, str) else list(queries or ())
        prompts.check_queries(questions)
        longest = self.model.config.max_clip_seconds
        plan = plan or WindowPlan(
            window_length_seconds=longest, hop_length_seconds=longest, model_max_seconds=longest
        )
        if plan.model_max_seconds > longest:
            raise OptionsError(
                f"windows of up to {plan.model_max_seconds:g} s; this model hears {longest:g} s at once"
            )
        require_resampler(resampler)
        heard, batch_size = sources(recordings), self.generator.batch_size
        answerer = _Free(self.generator) if listed is None else _Ranker(self.generator, listed)
        run = _Run(self.generator, answerer, questions, channel, speed_factor, dict(done or {}))
        hearing = Hearing(channel, speed_factor, resampler)
        for chunk in chunks(read_ahead(heard, plan, hearing, 4 * batch_size), batch_size):
            yield from run.answers(chunk, on_recording_done)


class _Free:
    """Answers requests in the model's own words."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __call__(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """What the row of each request says."""
        return [
            {
                "output": answer.text,
                "confidence": round(answer.confidence, 4),
                "confidence_kind": "token_probability",
            }
            for answer in self._generator.answer(requests)
        ]


class _Ranker:
    """Answers requests with the best of a list of labels."""

    def __init__(self, generator: Generator, listed: LabelList) -> None:
        self._listed = listed
        self._scorer = LabelScorer(generator, listed.texts)
        if self._scorer.token_count > SLOW_TOKENS:
            logger.warning(
                "%d labels are %d tokens for the language model in each window, where a free answer takes "
                "about a hundred: this will be slow; a list for the region is faster and ranks better",
                len(listed.labels),
                self._scorer.token_count,
            )

    def __call__(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """What the row of each request says."""
        return [self._row(scores) for scores in self._scorer.log_likelihoods(requests)]

    def _row(self, log_likelihoods: np.ndarray) -> dict[str, Any]:
        listed = self._listed
        scores = probabilities(log_likelihoods, temperature=listed.temperature or 1.0)
        # Of equal labels the first of the list wins, on every machine.
        order = np.argsort(-scores, kind="stable")[: listed.top_k].tolist()
        kept = tuple(
            replace(listed.labels[place], score=float(scores[place]))
            for place in order
            if scores[place] >= listed.min_confidence
        )
        if not kept:
            return {"output": NONE, "warnings": (self._unsure(listed.labels[order[0]], scores[order[0]]),)}
        return {
            "output": kept[0].label,
            "confidence": kept[0].score,
            "confidence_kind": "label_softmax" if listed.temperature is None else "calibrated",
            "labels": kept,
        }

    def _unsure(self, best: Label, score: float) -> str:
        return f"no label reached {self._listed.min_confidence:g}; the best was {best.label} with {score:.4f}"


class _Run:
    """State of one call of :meth:`Pipeline.ask`: how many rows each recording has so far."""

    def __init__(
        self,
        generator: Generator,
        answerer: _Free | _Ranker,
        questions: list[str],
        channel: int | None,
        speed_factor: float,
        done: dict[str, int],
    ) -> None:
        self.generator = generator
        self.answerer = answerer
        self.questions = questions
        self.prompts = [
            prompts.build(question, template=generator.model.config.prompt_template) for question in questions
        ]
        self.channel = channel
        self.speed_factor = speed_factor
        self.done = done
        self.rows: dict[int, int] = {}

    def answers(self, chunk: list[Piece | End], on_done: DoneCallback | None) -> Iterator[Answer]:
        """Rows of one chunk, and the callback after the last row of each recording that ends in it."""
        ready = iter(self._answer_windows([item for item in chunk if isinstance(item, Piece)]))
        for item in chunk:
            rows = self.rows.setdefault(id(item.source), 0)
            on_file = self.done.get(item.source.name, 0)
            if isinstance(item, Piece):
                yield from next(ready)[max(on_file - rows, 0) :]
                self.rows[id(item.source)] = rows + len(self.questions)
                continue
            if item.error is not None:
                if rows >= on_file:
                    yield self._error_row(item.source, item.error)
                rows += 1
            if on_done is not None:
                message = None if item.error is None else f"{item.error.code}: {item.error.reason}"
                on_done(item.source, item.windows, rows, message, item.duration_seconds)

    def _answer_windows(self, pieces: list[Piece]) -> list[list[Answer]]:
        """All rows of each window; none for windows whose rows are all on file, which are not listened to."""
        wanted = [piece for piece in pieces if not self._on_file(piece)]
        results: dict[int, list[Answer]] = {}
        try:
            vectors = self.generator.encode([piece.samples for piece in wanted])
            requests = [
                Request(prompt, (vector,), f"{piece.source.name}\0{piece.window.start_sample}\0{prompt}")
                for piece, vector in zip(wanted, vectors, strict=True)
                for prompt in self.prompts
            ]
            values = iter(self.answerer(requests))
            for piece in wanted:
                results[id(piece)] = [
                    self._row(piece, question, **next(values)) for question in self.questions
                ]
        except OutOfMemoryError as error:
            for piece in wanted:
                row = {"output": None, "error": f"out_of_memory: {error}"}
                results[id(piece)] = [self._row(piece, question, **row) for question in self.questions]
        return [results.get(id(piece), []) for piece in pieces]

    def _on_file(self, piece: Piece) -> bool:
        return (piece.window.index + 1) * len(self.questions) <= self.done.get(piece.source.name, 0)

    def _row(self, piece: Piece, question: str, **values: Any) -> Answer:
        start_seconds, end_seconds = piece.window.seconds_in_file(self.speed_factor)
        return self._answer(
            piece.source,
            question,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            **values,
        )

    def _error_row(self, source: Recording | Clip, error: AudioError) -> Answer:
        """One row for a recording that failed, whatever the number of questions."""
        return self._answer(
            source,
            self.questions[0],
            start_seconds=None,
            end_seconds=None,
            output=None,
            error=f"{error.code}: {error.reason}",
        )

    def _answer(self, source: Recording | Clip, question: str, **values: Any) -> Answer:
        provenance = self.generator.model.provenance
        return Answer(
            audio_path=source.name,
            query=question,
            channel=self.channel,
            speed_factor=self.speed_factor if self.speed_factor != 1.0 else None,
            model=provenance.model_name,
            # Local weights have no revision; their own hash names them as well.
            model_revision=provenance.model_revision or provenance.weights_fingerprint[:12],
            version=naturelm_audio.__version__,
            **values,
        )
