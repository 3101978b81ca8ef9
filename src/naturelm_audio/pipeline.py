"""Recordings x questions -> answers, lazily and in order: recording, window, question.

A thread decodes ahead; each window is encoded once and asked every question; windows of different recordings
share a batch. Memory is bounded by the batch, never by the length of a recording. A recording that can't be
read becomes one row with ``error`` and the run goes on. Knows nothing of output files.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import naturelm_audio
from naturelm_audio import audio, prompts
from naturelm_audio.audio import Recording
from naturelm_audio.checkpoint import load_model
from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError
from naturelm_audio.generate import Generator, OutOfMemoryError, Request
from naturelm_audio.model.naturelm import NatureLMForConditionalGeneration
from naturelm_audio.options import GenerateOptions
from naturelm_audio.records import Answer
from naturelm_audio.resampling import require_resampler
from naturelm_audio.windows import Window, WindowPlan

__all__ = ["Clip", "Pipeline"]

CPU_BATCH = 8
ACCELERATOR_BATCH = 16


@dataclass(frozen=True, eq=False)
class Clip:
    """A waveform in memory, to be asked about like a recording.

    Args:
        samples: one- or two-dimensional, of any number type; integers are scaled by their type's range.
        sample_rate_hz: of ``samples``.
        name: stands for the path in the answers.
    """

    samples: Any
    sample_rate_hz: int = audio.SAMPLE_RATE_HZ
    name: str = "array"


Source = Recording | Clip | str | Path
DoneCallback = Callable[[Recording | Clip, int, int, str | None, float | None], None]


@dataclass(frozen=True)
class _Hearing:
    """How a source becomes samples at the model's rate."""

    channel: int | None
    speed_factor: float
    resampler: str


@dataclass(frozen=True, eq=False)
class _Piece:
    """One window of one source, with its samples at the model's rate."""

    source: Recording | Clip
    window: Window
    samples: np.ndarray


@dataclass(frozen=True, eq=False)
class _End:
    """The end of one source: how many windows it had, its length, and why it ended early if it did."""

    source: Recording | Clip
    windows: int
    duration_seconds: float | None
    error: AudioError | None


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
        queries: str | Sequence[str],
        *,
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
            queries: one or more questions, each put to every window.
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
            PromptError: a question that can't be asked.
            AudioError: nothing to listen to at all. (One unreadable recording among others becomes a row with
                ``error``.)
            OptionsError: windows longer than the model hears, or no such resampler.
        """
        questions = [queries] if isinstance(queries, str) else list(queries)
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
        sources = _sources(recordings)
        run = _Run(self.generator, questions, channel, speed_factor, dict(done or {}))
        hearing = _Hearing(channel, speed_factor, resampler)
        for chunk in _chunks(_read_ahead(sources, plan, hearing, 4 * self.generator.batch_size), self):
            yield from run.answers(chunk, on_recording_done)


class _Run:
    """State of one call of :meth:`Pipeline.ask`: how many rows each recording has so far."""

    def __init__(
        self,
        generator: Generator,
        questions: list[str],
        channel: int | None,
        speed_factor: float,
        done: dict[str, int],
    ) -> None:
        self.generator = generator
        self.questions = questions
        self.prompts = [
            prompts.build(question, template=generator.model.config.prompt_template) for question in questions
        ]
        self.channel = channel
        self.speed_factor = speed_factor
        self.done = done
        self.rows: dict[int, int] = {}

    def answers(self, chunk: list[_Piece | _End], on_done: DoneCallback | None) -> Iterator[Answer]:
        """Rows of one chunk, and the callback after the last row of each recording that ends in it."""
        ready = iter(self._answer_windows([item for item in chunk if isinstance(item, _Piece)]))
        for item in chunk:
            rows = self.rows.setdefault(id(item.source), 0)
            on_file = self.done.get(item.source.name, 0)
            if isinstance(item, _Piece):
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

    def _answer_windows(self, pieces: list[_Piece]) -> list[list[Answer]]:
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
            generated = iter(self.generator.answer(requests))
            for piece in wanted:
                results[id(piece)] = [
                    self._row(
                        piece,
                        question,
                        output=(answer := next(generated)).text,
                        confidence=round(answer.confidence, 4),
                        confidence_kind="token_probability",
                    )
                    for question in self.questions
                ]
        except OutOfMemoryError as error:
            for piece in wanted:
                row = {"output": None, "error": f"out_of_memory: {error}"}
                results[id(piece)] = [self._row(piece, question, **row) for question in self.questions]
        return [results.get(id(piece), []) for piece in pieces]

    def _on_file(self, piece: _Piece) -> bool:
        return (piece.window.index + 1) * len(self.questions) <= self.done.get(piece.source.name, 0)

    def _row(self, piece: _Piece, question: str, **values: Any) -> Answer:
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


def _sources(recordings: Source | Sequence[Source]) -> list[Recording | Clip]:
    """Every recording and clip, in the order given; folders and patterns are expanded."""
    items = [recordings] if isinstance(recordings, (Recording, Clip, str, Path)) else list(recordings)
    sources: list[Recording | Clip] = []
    paths: list[str | Path] = []
    for item in [*items, None]:
        if isinstance(item, (str, Path)):
            paths.append(item)
            continue
        # Neighbouring paths are looked up together, so that doubles go and equal names are told apart.
        sources.extend(audio.find_recordings(paths) if paths else [])
        paths = []
        sources.extend([item] if item is not None else [])
    if not sources:
        raise AudioError("no recordings given", code="audio_empty")
    return sources


def _blocks(source: Recording | Clip, hearing: _Hearing) -> Iterable[np.ndarray]:
    """The source as consecutive blocks of samples at the model's rate."""
    if isinstance(source, Clip):
        rate_hz = source.sample_rate_hz * hearing.speed_factor
        return [
            audio.as_waveform(source.samples, rate_hz, channel=hearing.channel, resampler=hearing.resampler)
        ]
    return audio.stream(
        source.path, channel=hearing.channel, speed_factor=hearing.speed_factor, resampler=hearing.resampler
    )


def _read(source: Recording | Clip, plan: WindowPlan, hearing: _Hearing) -> Iterator[_Piece | _End]:
    """The windows of one source, then its end."""
    windows, duration_seconds = 0, None
    try:
        for window, samples in plan.cut(_blocks(source, hearing)):
            windows, duration_seconds = windows + 1, window.seconds_in_file(hearing.speed_factor)[1]
            yield _Piece(source, window, samples)
    except AudioError as error:
        yield _End(source, windows, None, error)
    except MissingExtraError as error:  # one film among recordings doesn't stop them
        yield _End(source, windows, None, AudioError(str(error), code="missing_extra"))
    else:
        yield _End(source, windows, duration_seconds, None)


def _read_ahead(
    sources: Sequence[Recording | Clip], plan: WindowPlan, hearing: _Hearing, ahead: int
) -> Iterator[_Piece | _End]:
    """All windows of all sources, decoded by a thread that is at most ``ahead`` windows in front."""
    items: queue.Queue[_Piece | _End | BaseException | None] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: _Piece | _End | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return items.put(item, timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for source in sources:
                for item in _read(source, plan, hearing):
                    if stopped.is_set():
                        return
                    put(item)
            put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=produce, name="decode-ahead", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _chunks(items: Iterable[_Piece | _End], pipeline: Pipeline) -> Iterator[list[_Piece | _End]]:
    """Runs of items with as many windows as one batch takes."""
    chunk: list[_Piece | _End] = []
    windows = 0
    for item in items:
        chunk.append(item)
        windows += isinstance(item, _Piece)
        if windows >= pipeline.generator.batch_size:
            yield chunk
            chunk, windows = [], 0
    if chunk:
        yield chunk
