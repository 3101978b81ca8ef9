"""Another sample rate, in a stream: soxr, the default, or what the official release listened through.

Rates are an exact fraction ``per_sample``, input frames per output sample, so that sample n of the output
lies at frame ``n * per_sample``. A :class:`Resampler` takes blocks of any size and gives back what is certain
by then; the size of blocks never changes a sample, and memory is constant.

``kaiser_best`` gives the samples of ``resampy.resample(..., filter="kaiser_best")`` (resampy 0.4.3), which
the official release used: a sinc of 50 zero crossings under a Kaiser window, after J. O. Smith's "Digital
Audio Resampling". It is 14 dB down at 7.5 kHz, where soxr is flat, but published numbers were made with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr

from naturelm_audio.decoders import FloatArray
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.options import RESAMPLERS

__all__ = ["KaiserBest", "Resampler", "Soxr", "require_resampler", "resampled"]

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# The filter in resampy's `data/kaiser_best.npz`; its module `filters` documents the rounded values.
ZERO_CROSSINGS = 50
ROLLOFF = 0.9173473712608761  # edge of the pass band, as a part of the Nyquist frequency
KAISER_BETA = 12.984585247040012
STEPS_PER_CROSSING = 2**13  # precision of the table; between two entries it is interpolated linearly
_ENTRIES = ZERO_CROSSINGS * STEPS_PER_CROSSING + 1

_BLOCK_VALUES = 1 << 17  # values in the largest array of one step: 1 MB of doubles stays in the cache
_BLOCK_SAMPLES = 1 << 12  # samples made at once where each has its own weights
_MATRIX_SAMPLES = 64  # that one matrix makes: more would be mostly zeros, fewer leave the processor idle
_MAX_MATRIX_VALUES = 1 << 21  # 16 MB; common rates need a tenth


class Resampler(Protocol):
    """Takes float32 (frames,) in blocks and gives float32 (samples,) at the other rate."""

    def feed(self, frames: FloatArray) -> FloatArray:
        """Return the samples that no further frame can change; they belong to the caller."""

    def finish(self) -> FloatArray:
        """Return the rest: the total is the length at the other rate, rounded down."""


def require_resampler(name: str) -> None:
    """Refuse names that are not one of ``options.RESAMPLERS``.

    Raises:
        OptionsError: with the names there are.
    """
    if name not in RESAMPLERS:
        raise OptionsError(f"resampler must be one of {', '.join(RESAMPLERS)}, not {name!r}")


def resampled(
    blocks: Iterator[FloatArray], per_sample: Fraction, resampler: str = RESAMPLERS[0], first_sample: int = 0
) -> Iterator[FloatArray]:
    """Yield blocks of frames as blocks of samples, never empty; at equal rates they are copies.

    Args:
        blocks: float32 (frames,) each; may be a view of a buffer that is filled again.
        per_sample: frames per sample.
        resampler: one of ``options.RESAMPLERS``.
        first_sample: what the first sample is in the whole recording, if the blocks begin in its middle;
            it must lie exactly on a frame.

    Raises:
        AudioError: a fault of ``blocks``, raised after what came before it, down to the last sample.
    """
    stream: Resampler
    if per_sample == 1:
        stream = _Copy()
    else:
        stream = KaiserBest(per_sample, first_sample) if resampler == "kaiser_best" else Soxr(per_sample)
    failure = None
    try:
        for block in blocks:
            out = stream.feed(block)
            if len(out):
                yield out
    except AudioError as error:
        failure = error
    rest = stream.finish()
    if len(rest):
        yield rest
    if failure is not None:
        raise failure


class _Copy:
    """Equal rates."""

    def feed(self, frames: FloatArray) -> FloatArray:
        return frames.copy()

    def finish(self) -> FloatArray:
        return np.empty(0, np.float32)


class Soxr:
    """soxr HQ, flat to 7.3 kHz at 16 kHz.

    Args:
        per_sample: frames per sample.
    """

    def __init__(self, per_sample: Fraction) -> None:
        self._per_sample = per_sample
        self._stream = soxr.ResampleStream(
            float(per_sample.numerator), float(per_sample.denominator), 1, dtype="float32", quality="HQ"
        )
        self._frames = self._samples = 0

    def feed(self, frames: FloatArray) -> FloatArray:
        """Return the samples that are ready."""
        out = self._stream.resample_chunk(frames)
        self._frames += len(frames)
        self._samples += len(out)
        return out

    def finish(self) -> FloatArray:
        """Return the rest."""
        missing = int(self._frames / self._per_sample) - self._samples
        return self._stream.resample_chunk(np.empty(0, np.float32), last=True)[: max(0, missing)]


class KaiserBest:
    """resampy's ``kaiser_best``: the same samples to 1e-6; both ends are next to silence, as there.

    A simple ratio p/q repeats: each q samples lie alike among p frames, so a matrix makes the same samples of
    many periods at once. Where such matrices would be large (44101 Hz) each sample has its weights made for
    it alone, which is many times slower.

    Args:
        per_sample: frames per sample.
        first_sample: as in :func:`resampled`.

    Raises:
        OptionsError: the rate falls so far that the filter has less than one table entry per frame.
    """

    def __init__(self, per_sample: Fraction, first_sample: int = 0) -> None:
        ratio = float(1 / per_sample)
        self._per_sample = per_sample
        self._frames_per_sample = 1 / ratio  # resampy's clock; it may run one rounding beside the fraction
        self._scale = min(1.0, ratio)
        self._step = int(self._scale * STEPS_PER_CROSSING)  # table entries from frame to frame, as there
        if self._step < 1:
            raise OptionsError(f"kaiser_best lowers a rate to 1/{STEPS_PER_CROSSING} at most: use soxr")
        self._wing = _ENTRIES // self._step  # frames heard before a sample, and behind it
        self._first = self._next = first_sample
        self._end = self._frame(first_sample)  # behind the last frame that came
        self._held_start = self._end - self._wing
        self._held = np.zeros(self._wing, np.float32)
        self._pending: list[FloatArray] = []
        self._group, self._matrices = self._periods()
        widest = max([self._group, self._frame(self._group), *(len(matrix) for matrix in self._matrices)])
        self._block = self._group * max(1, _BLOCK_VALUES // widest) if self._matrices else _BLOCK_SAMPLES

    def feed(self, frames: FloatArray) -> FloatArray:
        """Return the samples that are ready, in whole blocks."""
        self._hold(frames.copy())
        ready = [np.empty(0, np.float32)]
        while self._end >= self._needed(self._block):
            ready.append(self._make(self._block))
        return np.concatenate(ready)

    def finish(self) -> FloatArray:
        """Return the rest."""
        end = self._first + int((self._end - self._frame(self._first)) / self._per_sample)
        ready = [np.empty(0, np.float32)]
        while self._next < end:
            wanted = end - self._next
            count = min(self._block, -(-wanted // self._group) * self._group)
            self._hold(np.zeros(max(0, self._needed(count) - self._end), np.float32))
            ready.append(self._make(count)[:wanted])
        return np.concatenate(ready)

    def _frame(self, sample: int) -> int:
        """Return the last frame that is not after a sample."""
        return sample * self._per_sample.numerator // self._per_sample.denominator

    def _needed(self, count: int) -> int:
        """Return the end of the frames that the next ``count`` samples hear, a spare one for the clock."""
        return self._frame(self._next + count) + self._wing + 2

    def _hold(self, frames: FloatArray) -> None:
        self._pending.append(frames)
        self._end += len(frames)

    def _make(self, count: int) -> FloatArray:
        """Return the next samples, whole groups of them, and let go of frames that no later one hears."""
        self._held = np.concatenate([self._held, *self._pending])
        self._pending = []
        if self._matrices:
            out = self._by_matrices(count)
        else:
            out = self._one_by_one(np.arange(self._next, self._next + count))
        self._next += count
        start = self._frame(self._next) - self._wing
        self._held = self._held[start - self._held_start :]
        self._held_start = start
        return out

    def _by_matrices(self, count: int) -> FloatArray:
        rows, frames = count // self._group, self._frame(self._group)
        out = np.empty((rows, self._group), np.float32)
        start = self._frame(self._next) - self._wing + 1 - self._held_start
        column = 0
        for matrix in self._matrices:
            held = self._held[start + self._frame(column) :]
            windows = np.lib.stride_tricks.sliding_window_view(held, len(matrix))[::frames][:rows]
            samples = matrix.shape[1]
            # In doubles: a sum of hundreds of float32 products is wrong by 1e-6 already.
            out[:, column : column + samples] = windows.astype(np.float64) @ matrix
            column += samples
        return self._corrected(out.reshape(-1))

    def _corrected(self, out: FloatArray) -> FloatArray:
        """Make those samples again that lie on a frame, if resampy's clock is a rounding early there.

        It takes the frame before then. As its steps through the table are whole entries, the two wings of the
        filter are not quite alike, and that can be seen.
        """
        period = self._per_sample.denominator
        on_frame = np.arange(self._next, self._next + len(out), period)
        clock = np.floor(on_frame * self._frames_per_sample).astype(np.int64)
        early = on_frame[clock != on_frame // period * self._per_sample.numerator]
        if len(early):
            out[early - self._next] = self._one_by_one(early)
        return out

    def _one_by_one(self, samples: Indices) -> FloatArray:
        """Return any samples whose frames are held: the loop of resampy, a row of weights for each."""
        out = np.empty(len(samples), np.float32)
        size = max(1, _BLOCK_VALUES // (2 * self._wing))
        for at in range(0, len(samples), size):
            times = samples[at : at + size] * self._frames_per_sample
            frames = np.floor(times).astype(np.int64)
            first = frames - self._wing + 1 - self._held_start
            heard = self._held[first[:, None] + np.arange(2 * self._wing)]
            out[at : at + size] = np.einsum("st,st->s", heard, self._weights(times - frames))
        return out

    def _periods(self) -> tuple[int, list[Doubles]]:
        """Return samples per group, and the matrices (frames, samples) that make them; none if too large."""
        period = self._per_sample.denominator
        group = period * -(-_MATRIX_SAMPLES // period)
        rows = self._frame(_MATRIX_SAMPLES) + 2 * self._wing
        if rows * group > _MAX_MATRIX_VALUES:
            return 1, []
        columns = [np.arange(at, min(at + _MATRIX_SAMPLES, group)) for at in range(0, group, _MATRIX_SAMPLES)]
        return group, [self._matrix(samples) for samples in columns]

    def _matrix(self, samples: Indices) -> Doubles:
        """Return weights (frames, samples); the first frame is the first that the first sample hears."""
        period = self._per_sample.denominator
        frames, parts = np.divmod(samples * self._per_sample.numerator, period)
        frames -= frames[0]
        matrix = np.zeros((frames[-1] + 2 * self._wing, len(samples)))
        heard = frames[:, None] + np.arange(2 * self._wing)
        matrix[heard, np.arange(len(samples))[:, None]] = self._weights(parts / period)
        return matrix

    def _weights(self, fractions: Doubles) -> Doubles:
        """Return (samples, frames) weights for samples that lie ``fractions`` of a frame behind one.

        The columns are the ``wing`` frames up to that one, and the ``wing`` frames after it.
        """
        before = self._scale * fractions
        wings = (self._wing_weights(before)[:, ::-1], self._wing_weights(self._scale - before))
        return np.concatenate(wings, axis=1) * self._scale

    def _wing_weights(self, distance: Doubles) -> Doubles:
        """Return (samples, wing): the filter at a distance in zero crossings, then on frame by frame."""
        table, difference = _half_filter()
        entry = distance * STEPS_PER_CROSSING
        first = entry.astype(np.int64)
        index = first[:, None] + np.arange(self._wing) * self._step
        taps = (_ENTRIES - first) // self._step  # up to one step short of the table's end, as in resampy
        index[np.arange(self._wing) >= taps[:, None]] = _ENTRIES  # where both arrays hold 0
        return table[index] + (entry - first)[:, None] * difference[index]


@cache
def _half_filter() -> tuple[Doubles, Doubles]:
    """Return the right half of the filter and the differences between its entries; one 0 more ends both."""
    place = np.linspace(0, 1, _ENTRIES)
    window = np.i0(KAISER_BETA * np.sqrt(1 - place**2)) / np.i0(KAISER_BETA)
    half = window * ROLLOFF * np.sinc(ROLLOFF * ZERO_CROSSINGS * place)
    return np.append(half, 0), np.append(np.diff(half), [0, 0])
