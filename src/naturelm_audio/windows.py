"""From a number of samples to windows: pure arithmetic on sample positions, no files and no model.

Windows are counted in samples of what the model hears. With a speed factor f (0.1: heard ten times slower)
the seconds of the file are the model's times f: :meth:`Window.seconds_in_file`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from naturelm_audio.errors import AudioError, OptionsError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

__all__ = ["Window", "WindowPlan"]


@dataclass(frozen=True)
class Window:
    """Samples ``start_sample <= n < end_sample`` at the model's rate; ``index`` counts from 0."""

    index: int
    start_sample: int
    end_sample: int
    sample_rate_hz: int

    @property
    def start_seconds(self) -> float:
        """Start in seconds as the model hears them, rounded to 6 decimals."""
        return round(self.start_sample / self.sample_rate_hz, 6)

    @property
    def end_seconds(self) -> float:
        """True end in seconds as the model hears them, rounded to 6 decimals."""
        return round(self.end_sample / self.sample_rate_hz, 6)

    def seconds_in_file(self, speed_factor: float = 1.0) -> tuple[float, float]:
        """Return start and end in seconds of the file, rounded once, at the very end."""
        start, end = self.start_sample * speed_factor, self.end_sample * speed_factor
        return round(start / self.sample_rate_hz, 6), round(end / self.sample_rate_hz, 6)


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are cut: every sample is in a window, no window is longer than the model hears.

    Windows start every ``hop_length_seconds`` (default: the window's length) until one reaches the end; that
    one is shorter, but never below ``min_seconds``: it rather starts earlier. A window longer than
    ``model_max_seconds`` is cut into equal parts; if such windows overlap, their parts start at even steps of
    at most a part's length, and no span comes twice. A hop longer than the window leaves gaps, so it has to
    be allowed.

    Raises:
        OptionsError: a length is not a number, out of range, or gaps or splitting aren't allowed.
    """

    window_length_seconds: float = 10.0
    hop_length_seconds: float | None = None
    model_max_seconds: float = 10.0
    sample_rate_hz: int = 16_000
    min_seconds: float = 0.5
    allow_gaps: bool = False
    allow_split: bool = True

    def __post_init__(self) -> None:
        """Check everything before any work is done."""
        window, hop = self.window_length_seconds, self._hop_seconds
        for name, seconds in (
            ("the window length", window),
            ("the hop length", hop),
            ("the model's longest window", self.model_max_seconds),
            ("the shortest window", self.min_seconds),
        ):
            if not 0 < seconds < math.inf:
                raise OptionsError(f"{name} must be a number of seconds above 0, not {seconds}")
            if self._samples(seconds) < 1:
                raise OptionsError(f"{name} is less than one sample: {seconds} s")
        if window < self.min_seconds:
            message = f"the window length must be at least {self.min_seconds:g} s, not {window:g} s"
            raise OptionsError(f"{message}: the model hears nothing in less")
        if hop > window and not self.allow_gaps:
            raise OptionsError(
                f"the hop length {hop:g} s is longer than the window length {window:g} s, which leaves sound "
                "between windows unheard: shorten the hop, or allow gaps"
            )
        if window > self.model_max_seconds and not self.allow_split:
            raise OptionsError(
                f"the window length {window:g} s is longer than the {self.model_max_seconds:g} s the model "
                "hears at once: shorten it, or allow splitting"
            )
        if self._part < self._samples(self.min_seconds):
            raise OptionsError(
                f"a window of {window:g} s can't be cut into parts of {self.min_seconds:g} s or more"
            )

    def windows(self, total_samples: int) -> list[Window]:
        """Return the windows of a recording.

        Raises:
            AudioError: the recording is shorter than ``min_seconds``.
        """
        self._require_enough(total_samples)
        found: list[Window] = []
        while (window := self._next(found[-1] if found else None, total_samples)) is not None:
            found.append(window)
        return found

    def cut(self, blocks: Iterable[FloatArray]) -> Iterator[tuple[Window, FloatArray]]:
        """Yield the windows of a stream of (samples,) blocks with their samples, as soon as each is complete.

        The windows are those of :meth:`windows`. Holds at most one window and one block. If the stream
        breaks off with an AudioError, what came before is yielded as if it ended there; then it is raised.

        Raises:
            AudioError: the recording is shorter than ``min_seconds``, or its stream broke off.
        """
        held = _Held(self._samples(self.min_seconds))
        last: Window | None = None
        failure: AudioError | None = None
        upcoming = self._full(0)
        try:
            for block in blocks:
                held.append(block)
                while upcoming.end_sample <= held.end:
                    yield upcoming, held.take(upcoming.start_sample, upcoming.end_sample)
                    last, upcoming = upcoming, self._full(upcoming.index + 1)
                held.forget_before(upcoming.start_sample)
        except AudioError as error:
            failure = error
        if failure is None:
            self._require_enough(held.end)
        if held.end >= self._samples(self.min_seconds):
            tail = self._next(last, held.end)
            if tail is not None:
                yield tail, held.take(tail.start_sample, tail.end_sample)
        if failure is not None:
            raise failure

    def _next(self, last: Window | None, total_samples: int) -> Window | None:
        """Return the window after ``last`` in a recording of known length."""
        if last is not None and last.end_sample >= total_samples:
            return None
        window = self._full(0 if last is None else last.index + 1)
        if window.start_sample >= total_samples:  # the recording ends in a gap
            return None
        end = min(window.end_sample, total_samples)
        # A short rest reaches back, so that the model hears enough of it.
        start = min(window.start_sample, max(0, end - self._samples(self.min_seconds)))
        return Window(window.index, start, end, self.sample_rate_hz)

    def _full(self, index: int) -> Window:
        """Return a window of an endless recording, from its number alone: nothing is added up."""
        window, hop = self._samples(self.window_length_seconds), self._samples(self._hop_seconds)
        parts = self._parts
        group, part = divmod(index, parts)
        span = min(hop, window)  # what the parts of one group share evenly
        start = group * hop + part * span // parts
        end = start + self._part if hop < window else group * hop + (part + 1) * span // parts
        return Window(index, start, end, self.sample_rate_hz)

    @property
    def _part(self) -> int:
        """The longest a window gets, in samples: its length, or that of its equal parts."""
        window = self._samples(self.window_length_seconds)
        return math.ceil(window / math.ceil(window / self._samples(self.model_max_seconds)))

    @property
    def _parts(self) -> int:
        """How many windows start within one hop."""
        hop = self._samples(self._hop_seconds)
        return math.ceil(min(hop, self._samples(self.window_length_seconds)) / self._part)

    @property
    def _hop_seconds(self) -> float:
        return self.window_length_seconds if self.hop_length_seconds is None else self.hop_length_seconds

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate_hz)

    def _require_enough(self, total_samples: int) -> None:
        if total_samples < 1:
            raise AudioError("the recording holds no samples", code="audio_empty")
        if total_samples < self._samples(self.min_seconds):
            seconds = total_samples / self.sample_rate_hz
            message = f"{seconds:.3g} s of sound; the model needs at least {self.min_seconds:g} s"
            raise AudioError(message, code="audio_too_short")


class _Held:
    """The stretch of a stream that is still needed: what the next window takes, and always the last bit."""

    def __init__(self, always_samples: int) -> None:
        self.end = 0
        self._start = 0
        self._always_samples = always_samples
        self._blocks: deque[FloatArray] = deque()

    def append(self, block: FloatArray) -> None:
        if len(block):
            self._blocks.append(block.copy())  # the producer may fill its block again
            self.end += len(block)

    def take(self, start: int, end: int) -> FloatArray:
        """Return samples start <= n < end as an array of their own."""
        import numpy as np

        pieces, at = [], self._start
        for block in self._blocks:
            if at >= end:
                break
            pieces.append(block[max(0, start - at) : end - at])
            at += len(block)
        return np.concatenate(pieces)

    def forget_before(self, sample: int) -> None:
        keep_from = min(sample, self.end - self._always_samples)
        while self._blocks and self._start + len(self._blocks[0]) <= keep_from:
            self._start += len(self._blocks.popleft())
