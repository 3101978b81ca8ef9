"""The audio of a benchmark's row -> samples, without a Python number per sample.

Audio is a column of Arrow: lists of numbers, which become views of the column's memory; encoded files, as
bytes; or names of files beside the rows. Knows nothing of components.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from naturelm_audio.audio import SAMPLE_RATE_HZ, as_waveform, probe, read_span
from naturelm_audio.errors import AudioError

__all__ = ["Sound", "as_stored", "sound_at", "waveform"]

Floats = npt.NDArray[np.float32]
_MARGIN_SECONDS = 1.0  # behind the cut, longer than the resampler's filter, so that the cut leaves no trace


@dataclass(frozen=True, eq=False)
class Sound:
    """The audio of one row: samples (a view, (samples,) or two-dimensional), or a file.

    ``sample_rate_hz`` belongs to samples; None where the row doesn't say it. ``encoded`` are the bytes of a
    file, ``path`` is its name.
    """

    samples: npt.NDArray[Any] | None = None
    sample_rate_hz: float | None = None
    encoded: bytes | None = None
    path: str | None = None


def sound_at(column: Any, place: int, sample_rate_hz: float | None = None) -> Sound:
    """Return the audio of one row of an Arrow array.

    Args:
        column: lists of numbers, lists of such lists, bytes of files, names of files, or objects with
            ``bytes`` and ``path``, or with ``array`` and ``sampling_rate``.
        place: of the row.
        sample_rate_hz: what the row says of it.

    Raises:
        AudioError: there is no audio, or it is of another kind.
    """
    value = column[place]
    if not value.is_valid:
        raise AudioError("the row has no audio", code="audio_empty")
    return _sound(value, sample_rate_hz)


def _sound(value: Any, sample_rate_hz: float | None) -> Sound:
    import pyarrow

    kind = value.type
    if pyarrow.types.is_struct(kind):
        names = {field.name for field in kind}
        if {"array", "sampling_rate"} <= names:
            return _sound(value["array"], value["sampling_rate"].as_py() or sample_rate_hz)
        if "bytes" in names:
            path = value["path"].as_py() if "path" in names else None
            return Sound(encoded=value["bytes"].as_py(), path=path)
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        return Sound(path=value.as_py())
    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
        return Sound(encoded=value.as_py())
    if hasattr(value, "values") and value.values is not None:
        return Sound(samples=_numbers(value.values), sample_rate_hz=sample_rate_hz)
    raise AudioError(f"audio of type {kind} is not known", code="audio_bad_array")


def _numbers(values: Any) -> npt.NDArray[Any]:
    """Numbers of an Arrow array; nested lists as two dimensions."""
    import pyarrow

    if values.null_count:
        raise AudioError("a sample is missing", code="audio_not_finite")
    if pyarrow.types.is_floating(values.type) or pyarrow.types.is_integer(values.type):
        # Only floats without gaps, so nothing is copied.
        return np.asarray(values.to_numpy(zero_copy_only=True))
    try:
        return np.array(values.to_pylist(), dtype=np.float32)
    except (TypeError, ValueError):
        raise AudioError("not lists of numbers of one or two dimensions", code="audio_bad_array") from None


def waveform(sound: Sound, seconds: float, *, folder: Path, resampler: str = "soxr") -> Floats:
    """Return float32 (samples,) of exactly ``seconds`` at 16 kHz in [-1, 1]: cut, or padded with zeros.

    Of two dimensions the shorter one counts channels, and their mean is heard.

    Args:
        sound: of one row.
        seconds: length of the result.
        folder: where relative file names begin.
        resampler: soxr, or kaiser_best as the published numbers were made with.

    Raises:
        AudioError: no sample, one that is not a number, or a file that can't be read.
    """
    if sound.samples is not None:
        samples, rate_hz = _start(sound, seconds)
        heard = as_waveform(samples, rate_hz, resampler=resampler)
    else:
        with _file(sound, folder) as path:
            heard = read_span(path, 0.0, seconds, resampler=resampler)
    clip = np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)
    clip[: min(len(heard), len(clip))] = heard[: len(clip)]
    return clip


def as_stored(sound: Sound, seconds: float, *, folder: Path) -> tuple[Floats, int]:
    """Return float32 (samples,) at the sound's own rate, and that rate; one channel, the mean of all.

    A little more than ``seconds``, if there is more: who resamples it can cut it without a trace.

    Raises:
        AudioError: see :func:`waveform`; or the rate is no whole number.
    """
    if sound.samples is not None:
        samples, rate_hz = _start(sound, seconds)
        if rate_hz != round(rate_hz):
            raise AudioError(f"the row's sample_rate {rate_hz} is no whole number", code="audio_bad_array")
        return as_waveform(samples), round(rate_hz)  # taken for 16 kHz, so that nothing is resampled
    with _file(sound, folder) as path:
        rate_hz = probe(path).sample_rate_hz
        return read_span(path, 0.0, seconds + _MARGIN_SECONDS, sample_rate_hz=rate_hz), rate_hz


def _start(sound: Sound, seconds: float) -> tuple[npt.NDArray[Any], float]:
    """The part of the samples that matters, a view, and their rate."""
    if sound.samples is None or sound.sample_rate_hz is None:
        raise AudioError("the row's metadata has no sample_rate", code="audio_bad_array")
    samples = sound.samples
    longest = max(1, round((seconds + _MARGIN_SECONDS) * sound.sample_rate_hz))
    if samples.ndim == 2 and samples.shape[0] <= samples.shape[1]:
        return samples[:, :longest], sound.sample_rate_hz
    return samples[:longest], sound.sample_rate_hz


@contextlib.contextmanager
def _file(sound: Sound, folder: Path) -> Iterator[Path]:
    """The file of a sound; encoded bytes become one, because sound is only opened from files.

    Raises:
        AudioError: within, and without a temporary name in its message.
    """
    if sound.encoded is None:
        if not sound.path:
            raise AudioError("the row has no audio", code="audio_empty")
        yield folder / sound.path
        return
    with tempfile.TemporaryDirectory(prefix="naturelm-") as place:
        file = Path(place) / ("clip" + (Path(sound.path or "").suffix or ".wav"))
        file.write_bytes(sound.encoded)
        try:
            yield file
        except AudioError as error:
            raise AudioError(error.reason, code=error.code) from None
