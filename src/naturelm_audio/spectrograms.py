"""Pictures of what the model hears: log-mel columns of any stretch of a recording, and PNG images of them.

The columns are the model's own filterbank. A column of up to a few hundredths of a second is heard whole;
longer ones are drawn from short probes spread evenly over them, so that hours are drawn in about a second and
nothing longer than one tile is ever in memory. A call between two probes can be missing in a view of hours;
it is there as soon as one zooms in.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from naturelm_audio import audio
from naturelm_audio.decoders import FloatArray, Source, open_audio
from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError
from naturelm_audio.model.config import FRAME_HOP_SAMPLES, FRAME_LENGTH_SAMPLES, MEL_BANDS
from naturelm_audio.model.fbank import LOWEST_HZ, fbank

__all__ = ["HIGHEST_HZ", "TILE_COLUMNS", "Spectrogram", "mel_position", "png"]

TILE_COLUMNS = 256
COLUMN_SECONDS = FRAME_HOP_SAMPLES / audio.SAMPLE_RATE_HZ
"""Of the finest tiles; each level above is twice as long."""
HIGHEST_HZ = audio.SAMPLE_RATE_HZ / 2
PROBES = 3  # in a column that is not heard whole
COSTLY_PROBES = 2  # where each place has to be searched for, as in an MP3
WHOLE_UP_TO_SECONDS = 0.16  # so that a tile decodes 41 s at most
EDGE_SAMPLES = 48  # on both sides of a probe, where the resampler has nothing to look at
RANGE_PROBES = 200
BLOCK_FRAMES = 1 << 18
DARKEST_SHARE, BRIGHTEST_SHARE = 0.25, 0.998
LEAST_RANGE = 0.35  # about 4.6 nepers: silence is not blown up to noise
# "magma" at nine even steps: as bright to every kind of colour vision, and in print.
COLOURS = (
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
    (254, 194, 135), (252, 253, 191),
)  # fmt: skip

Range = tuple[float, float]


class Spectrogram:
    """Columns of one recording, which stays open until :meth:`close`. Several threads may ask.

    Args:
        path: of the recording.
        channel: 1-based; None is the mean of all.
        speed_factor: 0.1 draws what the model hears ten times slower; times stay those of the file.

    Raises:
        AudioError: the file can't be opened as audio.
    """

    def __init__(self, path: str | Path, *, channel: int | None = None, speed_factor: float = 1.0) -> None:
        if not 0 < speed_factor < math.inf:
            raise OptionsError(f"speed_factor must be above 0, not {speed_factor}")
        self.path = Path(path)
        self.channel = channel
        self.speed_factor = speed_factor
        self._lock = threading.Lock()
        self._range_lock = threading.Lock()
        self._source: Source | None = open_audio(self.path)
        self.rate_hz = self._source.info.sample_rate_hz
        # Model samples per frame of the file.
        self._ratio = Fraction(audio.SAMPLE_RATE_HZ) / (
            Fraction(speed_factor).limit_denominator(1_000_000) * self.rate_hz
        )
        self._range: Range | None = None
        self._probes = PROBES if self._source.info.exact else COSTLY_PROBES

    def tile(self, level: int, index: int) -> FloatArray:
        """Return 256 columns (256, 128) of tile ``index``; NaN behind the end. See :meth:`columns`."""
        column_seconds = COLUMN_SECONDS * 2**level
        return self.columns(index * TILE_COLUMNS * column_seconds, column_seconds, TILE_COLUMNS)

    def columns(self, start_seconds: float, column_seconds: float, count: int) -> FloatArray:
        """Return log-mel columns (count, 128) float32 from a time of the file on; NaN behind the end.

        Raises:
            AudioError: the file was closed, or is broken there.
        """
        in_model_seconds = column_seconds / self.speed_factor
        with self._lock:
            if in_model_seconds <= WHOLE_UP_TO_SECONDS:
                return self._heard_whole(start_seconds, column_seconds, count)
            return self._probed(start_seconds, column_seconds, count)

    def value_range(self, duration_seconds: float) -> Range:
        """Return what is darkest and brightest in pictures of this recording, from probes all over it."""
        with self._range_lock:  # several tiles ask for it at first, and one look is enough
            if self._range is None:
                columns = self.columns(0.0, duration_seconds / RANGE_PROBES, RANGE_PROBES)
                known = columns[~np.isnan(columns)]
                if not known.size:
                    return (0.0, 1.0)
                darkest, brightest = np.quantile(known, (DARKEST_SHARE, BRIGHTEST_SHARE))
                self._range = float(darkest), max(float(brightest), float(darkest) + LEAST_RANGE)
            return self._range

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            if self._source is not None:
                self._source.close()
                self._source = None

    def _heard_whole(self, start_seconds: float, column_seconds: float, count: int) -> FloatArray:
        """Every frame of the filterbank, the loudest of each column."""
        half = FRAME_LENGTH_SAMPLES / audio.SAMPLE_RATE_HZ / 2 * self.speed_factor
        wanted = int((count * column_seconds + 2 * half) * self.rate_hz)
        frames = self._frames(max(0, int((start_seconds - half) * self.rate_hz)), wanted)
        samples = self._model_samples(frames)
        result = np.full((count, MEL_BANDS), np.nan, np.float32)
        if len(samples) < FRAME_LENGTH_SAMPLES:
            return result
        energies = fbank(torch.from_numpy(samples)[None])[0].numpy()
        hop = column_seconds / self.speed_factor / COLUMN_SECONDS
        starts = np.minimum((np.arange(count) * hop).astype(int), len(energies))
        for column, (first, end) in enumerate(zip(starts, [*starts[1:], round(count * hop)], strict=True)):
            if first < len(energies):
                result[column] = energies[first : max(end, first + 1)].max(axis=0)
        return result

    def _probed(self, start_seconds: float, column_seconds: float, count: int) -> FloatArray:
        """Short probes of each column, the loudest of them in each band."""
        probes = self._probes
        probe_frames = math.ceil((FRAME_LENGTH_SAMPLES + 2 * EDGE_SAMPLES) / self._ratio)
        frames = np.zeros((count * probes, probe_frames), np.float32)
        heard = np.zeros(count * probes, bool)
        for number in range(count * probes):
            at_seconds = start_seconds + (number + 0.5) * column_seconds / probes
            probe = self._frames(int(at_seconds * self.rate_hz), probe_frames)
            if len(probe) < probe_frames:
                break
            frames[number], heard[number] = probe, True
        if not heard.any():
            return np.full((count, MEL_BANDS), np.nan, np.float32)
        # One run of the resampler for all; where two probes meet is not looked at.
        samples = self._model_samples(frames.reshape(-1))
        firsts = (np.arange(len(frames)) * float(probe_frames * self._ratio)).astype(int) + EDGE_SAMPLES
        heard_samples = samples[firsts[:, None] + np.arange(FRAME_LENGTH_SAMPLES)]
        energies = fbank(torch.from_numpy(heard_samples))[:, 0].numpy()
        energies[~heard] = -np.inf
        loudest = energies.reshape(count, probes, MEL_BANDS).max(axis=1)
        return np.where(np.isinf(loudest), np.nan, loudest).astype(np.float32)

    def _frames(self, first: int, count: int) -> FloatArray:
        """Frames (n,) of the file, mixed to mono; fewer at its end."""
        if self._source is None:
            raise AudioError("the recording was closed", path=self.path.name, code="audio_not_found")
        known = self._source.info.frames
        if known is not None and self._source.info.exact and first >= known:
            return np.zeros(0, np.float32)
        pieces: list[FloatArray] = []
        missing = count
        for block in _blocks(self._source, first, count):
            piece = block[:missing]
            pieces.append(_mono(piece, self.channel))
            missing -= len(piece)
            if missing <= 0:
                break
        if missing > 0 and not self._source.info.exact:  # the end of an MP3 may have led on to another part
            self._source.close()
            self._source = open_audio(self.path)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _model_samples(self, frames: FloatArray) -> FloatArray:
        if not len(frames):
            return frames
        return audio.resample(frames, self.rate_hz * self.speed_factor, audio.SAMPLE_RATE_HZ)


def _mono(frames: FloatArray, channel: int | None) -> FloatArray:
    """Return (n, channels) as (n,) of finite numbers."""
    chosen = frames.mean(axis=1) if channel is None else frames[:, min(channel, frames.shape[1]) - 1]
    return np.where(np.isfinite(chosen), chosen, 0).astype(np.float32)


def _blocks(source: Source, first: int, count: int) -> Iterator[FloatArray]:
    """Blocks from a frame on; a broken file ends there, as a picture has nothing to say about it."""
    try:
        # From the second frame at least: a source that is asked for the first one reads on from where it is.
        yield from source.blocks(max(first, 1), min(max(count, 1), BLOCK_FRAMES))
    except AudioError:
        return


def mel_position(frequency_hz: float) -> float:
    """Return where a frequency lies in a picture, from 0 at the bottom to 1 at the top."""

    def mel(hertz: float) -> float:
        return math.log(1 + hertz / 700)

    return (mel(frequency_hz) - mel(LOWEST_HZ)) / (mel(HIGHEST_HZ) - mel(LOWEST_HZ))


def png(columns: FloatArray, value_range: Range) -> bytes:
    """Return a PNG of columns (count, 128), low frequencies at the bottom; NaN is transparent.

    Raises:
        MissingExtraError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:  # never in the web app, whose pages need it as well
        raise MissingExtraError("review", "Drawing spectrograms") from error
    darkest, brightest = value_range
    absent = np.isnan(columns)
    shades = np.clip((np.where(absent, darkest, columns) - darkest) / (brightest - darkest), 0, 1)
    indices = (1 + np.rint(shades * 254)).astype(np.uint8)
    indices[absent] = 0
    image = Image.fromarray(np.ascontiguousarray(indices.T[::-1]))
    image.putpalette(_palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0, compress_level=3)
    return file.getvalue()


def _palette() -> npt.NDArray[np.uint8]:
    """(256, 3): index 0 for what isn't there, then dark to bright."""
    steps = np.linspace(0, len(COLOURS) - 1, 255)
    table = np.array(COLOURS, float)
    shades = np.stack(
        [np.interp(steps, np.arange(len(COLOURS)), table[:, band]) for band in range(3)], axis=1
    )
    return np.vstack([np.zeros((1, 3)), shades]).round().astype(np.uint8)
