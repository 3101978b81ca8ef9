"""Recordings -> windows with their samples, decoded by a thread that runs ahead of whoever takes them.

What :mod:`~naturelm_audio.pipeline` and :mod:`~naturelm_audio.embeddings` have in common. Memory is bounded
by how far the thread is ahead, never by the length of a recording. A recording that can't be read ends with
its error, which stops nobody.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from naturelm_audio import audio
from naturelm_audio.audio import Recording
from naturelm_audio.errors import AudioError, MissingExtraError
from naturelm_audio.windows import Window, WindowPlan

__all__ = ["Clip", "End", "Hearing", "Piece", "Source", "chunks", "read_ahead", "sources"]


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


@dataclass(frozen=True)
class Hearing:
    """How a source becomes samples at the model's rate."""

    channel: int | None
    speed_factor: float
    resampler: str


@dataclass(frozen=True, eq=False)
class Piece:
    """One window of one source, with its samples at the model's rate."""

    source: Recording | Clip
    window: Window
    samples: np.ndarray


@dataclass(frozen=True, eq=False)
class End:
    """The end of one source: how many windows it had, its length, and why it ended early if it did."""

    source: Recording | Clip
    windows: int
    duration_seconds: float | None
    error: AudioError | None


def sources(recordings: Source | Sequence[Source]) -> list[Recording | Clip]:
    """Every recording and clip, in the order given; folders and patterns are expanded."""
    items = [recordings] if isinstance(recordings, (Recording, Clip, str, Path)) else list(recordings)
    found: list[Recording | Clip] = []
    paths: list[str | Path] = []
    for item in [*items, None]:
        if isinstance(item, (str, Path)):
            paths.append(item)
            continue
        # Neighbouring paths are looked up together, so that doubles go and equal names are told apart.
        found.extend(audio.find_recordings(paths) if paths else [])
        paths = []
        found.extend([item] if item is not None else [])
    if not found:
        raise AudioError("no recordings given", code="audio_empty")
    return found


def _blocks(source: Recording | Clip, hearing: Hearing) -> Iterable[np.ndarray]:
    """The source as consecutive blocks of samples at the model's rate."""
    if isinstance(source, Clip):
        rate_hz = source.sample_rate_hz * hearing.speed_factor
        return [
            audio.as_waveform(source.samples, rate_hz, channel=hearing.channel, resampler=hearing.resampler)
        ]
    return audio.stream(
        source.path, channel=hearing.channel, speed_factor=hearing.speed_factor, resampler=hearing.resampler
    )


def _read(source: Recording | Clip, plan: WindowPlan, hearing: Hearing) -> Iterator[Piece | End]:
    """The windows of one source, then its end."""
    windows, duration_seconds = 0, None
    try:
        for window, samples in plan.cut(_blocks(source, hearing)):
            windows, duration_seconds = windows + 1, window.seconds_in_file(hearing.speed_factor)[1]
            yield Piece(source, window, samples)
    except AudioError as error:
        yield End(source, windows, None, error)
    except MissingExtraError as error:  # one film among recordings doesn't stop them
        yield End(source, windows, None, AudioError(str(error), code="missing_extra"))
    else:
        yield End(source, windows, duration_seconds, None)


def read_ahead(
    sources: Sequence[Recording | Clip], plan: WindowPlan, hearing: Hearing, ahead: int
) -> Iterator[Piece | End]:
    """All windows of all sources, decoded by a thread that is at most ``ahead`` windows in front."""
    items: queue.Queue[Piece | End | BaseException | None] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: Piece | End | BaseException | None) -> None:
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


def chunks(items: Iterable[Piece | End], windows: int) -> Iterator[list[Piece | End]]:
    """Runs of items with as many windows as one batch takes."""
    chunk: list[Piece | End] = []
    taken = 0
    for item in items:
        chunk.append(item)
        taken += isinstance(item, Piece)
        if taken >= windows:
            yield chunk
            chunk, taken = [], 0
    if chunk:
        yield chunk
