"""Sound in: find recordings, decode, mix to mono, resample -> float32 (samples,) at the model's rate.

The one way from a file or an array to what the model hears. It knows nothing about windows or models;
:mod:`~naturelm_audio.recordings` finds files, :mod:`~naturelm_audio.decoders` opens them, and
:mod:`~naturelm_audio.resampling` changes their rate.

Times given to it and named by it are seconds of the file as stored. With a speed factor f the model hears
the recording f times as fast: a file second holds ``sample_rate_hz / f`` model samples. Sample n of the
model lies at frame ``n * per_sample`` of the file, an exact fraction, so that any span can be decoded alone
and still equals the same span of the whole recording.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from naturelm_audio.decoders import AudioInfo, FloatArray, open_audio
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.recordings import (
    AUDIO_SUFFIXES,
    MEDIA_SUFFIXES,
    Recording,
    find_recordings,
    shown_path,
)
from naturelm_audio.resampling import require_resampler, resampled

__all__ = [
    "AUDIO_SUFFIXES",
    "MEDIA_SUFFIXES",
    "SAMPLE_RATE_HZ",
    "AudioInfo",
    "Recording",
    "as_waveform",
    "find_recordings",
    "probe",
    "read_span",
    "resample",
    "stream",
]

logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 16_000
"""The rate at which the model listens."""

_MAX_BUFFER_VALUES = 1 << 20  # 4 MB of float32: large enough to be fast, small enough for 1024 channels
_MARGIN_PERIODS = 512  # more than the half width of the resampling filter, in periods of the lower rate
_MAX_SPEED_DENOMINATOR = 1_000_000  # 0.1 means 1/10, not the double next to it
_FAR_OUTSIDE = 2.0  # a resampled recording that was clipped overshoots by less
_MAX_CHANNELS_TO_GUESS = 32


def probe(path: str | Path) -> AudioInfo:
    """Return what the header says, without decoding.

    Raises:
        AudioError: the file can't be opened as audio.
    """
    with closing(open_audio(Path(path))) as source:
        return source.info


def stream(
    path: str | Path,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    channel: int | None = None,
    speed_factor: float = 1.0,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    block_seconds: float = 10.0,
    resampler: str = "soxr",
) -> Iterator[FloatArray]:
    """Yield the recording as float32 (samples,) blocks that join without a seam; memory is constant.

    One resampler runs through the whole recording. A block holds about ``block_seconds`` of what the model
    hears, or less, is never empty, and belongs to the caller. ``channel`` counts from 1; None is the mean of
    all. Start and duration are seconds of the file; a span that reaches beyond the end stops there.
    ``resampler`` is soxr or kaiser_best, see :mod:`~naturelm_audio.resampling`.

    Raises:
        AudioError: what decoded before a fault comes first, then the error that names the time of the fault.
        OptionsError: an argument is out of range (raised by the call itself).
    """
    _require_positive("sample_rate_hz", sample_rate_hz)
    _require_positive("speed_factor", speed_factor)
    _require_positive("block_seconds", block_seconds)
    require_resampler(resampler)
    if not 0 <= start_seconds < math.inf:
        raise OptionsError(f"start_seconds must be 0 or more, not {start_seconds}")
    speed = _as_fraction(speed_factor)
    first = round(start_seconds / float(speed) * sample_rate_hz)
    end = None
    if duration_seconds is not None:
        _require_positive("duration_seconds", duration_seconds)
        end = max(first + 1, round((start_seconds + duration_seconds) / float(speed) * sample_rate_hz))
    block_samples = max(1, round(block_seconds * sample_rate_hz))
    return _stream(Path(path), speed / sample_rate_hz, channel, first, end, block_samples, resampler)


def read_span(
    path: str | Path,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    channel: int | None = None,
    speed_factor: float = 1.0,
    resampler: str = "soxr",
) -> FloatArray:
    """Return a span as float32 (samples,): the same samples as that span of the whole resampled recording.

    Decodes the span and a small margin only; containers of the [media] extra are decoded from their start.

    Raises:
        AudioError: the span can't be decoded to its end, or starts after the end of the recording.
        OptionsError: an argument is out of range.
    """
    blocks = stream(
        path,
        sample_rate_hz=sample_rate_hz,
        channel=channel,
        speed_factor=speed_factor,
        start_seconds=start_seconds,
        duration_seconds=duration_seconds,
        resampler=resampler,
    )
    return np.concatenate(list(blocks))


def resample(samples: FloatArray, from_hz: float, to_hz: float, *, resampler: str = "soxr") -> FloatArray:
    """Return float32 (samples,) at another rate, its length rounded down, so that it never grows longer."""
    _require_positive("from_hz", from_hz)
    _require_positive("to_hz", to_hz)
    require_resampler(resampler)
    blocks = list(resampled(iter([samples]), _as_fraction(from_hz) / _as_fraction(to_hz), resampler))
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def as_waveform(
    samples: Any,
    sample_rate_hz: float = SAMPLE_RATE_HZ,
    *,
    channel_axis: int | None = None,
    channel: int | None = None,
    resampler: str = "soxr",
) -> FloatArray:
    """Return samples in memory as float32 (samples,) at 16 kHz in [-1, 1].

    Takes a list, a tuple, a numpy array or a torch tensor, of one or two dimensions. Whole numbers are scaled
    by the range of their type, unsigned ones have their zero in the middle; a list of whole numbers has no
    range and is refused unless it lies in -1...1. Of two dimensions ``channel_axis`` says which counts
    channels (0: channels first, 1 or -1: last). Without it the shorter one does, the first if both are equal,
    and arrays with more than 32 of both are refused.

    Raises:
        AudioError: wrong shape, no samples, or a sample that is not a finite number.
        OptionsError: the rate is not above 0, or there is no such resampler.
    """
    _require_positive("sample_rate_hz", sample_rate_hz)
    array = _as_array(samples)
    frames = _frames_first(array, channel_axis)
    if frames.size == 0:
        raise AudioError("the array holds no samples", code="audio_empty")
    mono = _mixed(_scaled(frames, is_list=isinstance(samples, list | tuple)), channel)
    at = _first_not_finite(mono)
    if at is not None:
        raise AudioError(f"sample {at} is not a finite number", code="audio_not_finite")
    heard = resample(mono, sample_rate_hz, SAMPLE_RATE_HZ, resampler=resampler)
    if heard.size == 0:
        raise AudioError("the array is shorter than one sample at 16 kHz", code="audio_empty")
    if _clamp(heard) > _FAR_OUTSIDE:
        logger.warning("samples reach far outside -1...1 and were clipped: scale them by their range")
    return heard


# --- from file to model samples ---------------------------------------------------------------------------


def _stream(
    path: Path,
    seconds_per_sample: Fraction,
    channel: int | None,
    first: int,
    end: int | None,
    block_samples: int,
    resampler: str,
) -> Iterator[FloatArray]:
    """Yield model samples first <= n < end of a file."""
    with closing(open_audio(path)) as source:
        per_sample = source.info.sample_rate_hz * seconds_per_sample
        aligned = _aligned_start(first, per_sample)
        if end is not None:  # no more is decoded than the end and the resampler's filter need
            block_samples = min(block_samples, end - aligned + _margin(per_sample))
        buffer_frames = _MAX_BUFFER_VALUES // source.info.channels
        block_frames = max(1, min(buffer_frames, math.ceil(block_samples * per_sample)))
        frames = source.blocks(int(aligned * per_sample), block_frames)
        mono = _mono(frames, path, channel, source.info.sample_rate_hz, int(aligned * per_sample))
        samples = resampled(mono, per_sample, resampler, aligned)
        wanted = _cut(samples, first - aligned, None if end is None else end - aligned)
        heard = warned = False
        for block in wanted:
            heard = True
            peak = _clamp(block)
            if peak > _FAR_OUTSIDE and not warned:
                warned = True
                logger.warning(
                    "%s: samples reach %.3g, far outside -1...1, and were clipped", shown_path(path), peak
                )
            yield block
    if not heard:
        seconds = float(first * seconds_per_sample)
        message = f"ends before {seconds:g} s" if first else "holds no sound, or less than one sample of it"
        raise AudioError(message, path=shown_path(path), code="audio_empty")


def _aligned_start(first: int, per_sample: Fraction) -> int:
    """Return the sample to begin at: a margin before ``first``, and exactly on a frame of the file.

    The resampler starts with the phase it would have there if it came from the start of the file.
    """
    return max(0, (first - _margin(per_sample)) // per_sample.denominator * per_sample.denominator)


def _margin(per_sample: Fraction) -> int:
    """Return how many samples the resampler's filter reaches to each side, and some."""
    return math.ceil(_MARGIN_PERIODS * max(Fraction(1), 1 / per_sample))


def _mono(
    blocks: Iterator[FloatArray], path: Path, channel: int | None, rate_hz: int, frame: int
) -> Iterator[FloatArray]:
    """Mix blocks of (frames, channels) down, checking each value."""
    for block in blocks:
        try:
            mono = _mixed(block, channel)
        except AudioError as error:
            raise AudioError(error.reason, path=shown_path(path), code=error.code) from None
        at = _first_not_finite(mono)
        if at is None:
            yield mono
            frame += len(mono)
            continue
        if at:
            yield mono[:at]
        message = f"the sample at {(frame + at) / rate_hz:.6f} s is not a finite number"
        raise AudioError(message, path=shown_path(path), code="audio_not_finite")


def _mixed(frames: FloatArray, channel: int | None) -> FloatArray:
    """Return (frames, channels) as (frames,): one channel, counted from 1, or the mean of all."""
    channels = frames.shape[1]
    if channel is not None and not 1 <= channel <= channels:
        message = f"there is no channel {channel}: channels count from 1 to {channels}"
        raise AudioError(message, code="audio_no_such_channel")
    if channel is not None or channels == 1:
        return np.ascontiguousarray(frames[:, (channel or 1) - 1])
    mono = frames[:, 0].copy()
    with np.errstate(over="ignore", invalid="ignore"):  # reported as not finite afterwards
        for other in range(1, channels):
            mono += frames[:, other]
    mono *= np.float32(1 / channels)
    return mono


def _first_not_finite(mono: FloatArray) -> int | None:
    """Return the index of the first NaN or infinity. The two reductions find none without a copy."""
    if math.isfinite(mono.max()) and math.isfinite(mono.min()):
        return None
    return int(np.flatnonzero(~np.isfinite(mono))[0])


def _cut(blocks: Iterator[FloatArray], first: int, end: int | None) -> Iterator[FloatArray]:
    """Yield samples first <= n < end of the joined blocks, and stop asking for more after that."""
    start = 0
    for block in blocks:
        piece = block[max(0, first - start) : None if end is None else end - start]
        start += len(block)
        if len(piece):
            yield piece
        if end is not None and start >= end:
            return


def _clamp(samples: FloatArray) -> float:
    """Limit to [-1, 1] in place; return the peak before."""
    peak = float(max(samples.max(), -samples.min()))
    if peak > 1:
        np.clip(samples, -1, 1, out=samples)
    return peak


def _as_fraction(number: float) -> Fraction:
    """Return the simple fraction that a float stands for; tiny numbers keep their value."""
    simple = Fraction(number).limit_denominator(_MAX_SPEED_DENOMINATOR)
    return simple if simple else Fraction(number)


def _require_positive(name: str, number: float) -> None:
    if not 0 < number < math.inf:
        raise OptionsError(f"{name} must be a number above 0, not {number}")


# --- arrays -----------------------------------------------------------------------------------------------


def _as_array(samples: Any) -> npt.NDArray[Any]:
    """Return numbers as an array; tensors are recognised by what they can do, so torch isn't imported."""
    if hasattr(samples, "detach") and hasattr(samples, "cpu"):
        samples = samples.detach().cpu()
        if str(samples.dtype) == "torch.bfloat16":  # unknown to numpy
            samples = samples.float()
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise AudioError(
            "not an array of numbers of one or two dimensions", code="audio_bad_array"
        ) from error
    if array.dtype.kind not in "iuf":
        message = f"samples must be whole or floating-point numbers, not {array.dtype}"
        raise AudioError(message, code="audio_bad_array")
    return array


def _frames_first(array: npt.NDArray[Any], channel_axis: int | None) -> npt.NDArray[Any]:
    """Return one or two dimensions as (frames, channels)."""
    if array.ndim == 1 and channel_axis is None:
        return array[:, None]
    if array.ndim != 2:
        raise AudioError(
            f"samples must be (samples,) or two-dimensional with a channel axis, not of shape {array.shape}",
            code="audio_bad_array",
        )
    if channel_axis is None:
        if min(array.shape) > _MAX_CHANNELS_TO_GUESS:
            message = f"which axis of {array.shape} counts channels? Pass channel_axis=0 or channel_axis=1"
            raise AudioError(message, code="audio_bad_array")
        channel_axis = 0 if array.shape[0] <= array.shape[1] else 1
    if channel_axis not in (0, 1, -1):
        raise OptionsError(
            f"channel_axis must be 0 (channels first) or 1 (channels last), not {channel_axis}"
        )
    return array.T if channel_axis == 0 else array


def _scaled(array: npt.NDArray[Any], *, is_list: bool) -> FloatArray:
    """Return samples as float32; whole numbers scaled to [-1, 1) by the range of their type."""
    kind = array.dtype.kind
    if kind == "f" or (is_list and kind == "i" and np.abs(array).max() <= 1):
        with np.errstate(over="ignore"):  # found as infinity afterwards
            return array.astype(np.float32)
    if is_list:
        message = "a list of whole numbers has no range: pass floats in -1...1 or a numpy array of int16"
        raise AudioError(message, code="audio_bad_array")
    half_range = 2.0 ** (8 * array.dtype.itemsize - 1)
    zero = half_range if kind == "u" else 0.0
    return ((array.astype(np.float64) - zero) / half_range).astype(np.float32)
