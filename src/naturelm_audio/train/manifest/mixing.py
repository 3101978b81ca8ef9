"""From an example to sound: the clips of its files as the model hears them, and mixtures by their recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from naturelm_audio.audio import SAMPLE_RATE_HZ, read_span, resample
from naturelm_audio.errors import AudioError
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.examples import Example, MixPart, Recipe

__all__ = ["load_clips", "mix", "with_silences"]

Floats = NDArray[np.float32]

_FRAME_SAMPLES = SAMPLE_RATE_HZ // 50
_LONGEST_SILENCE_SECONDS = 1.0


def load_clips(example: Example, audio_root: str | Path = ".") -> list[Floats]:
    """Return one float32 (samples,) at 16 kHz for each placeholder of the question.

    Raises:
        AudioError: a file can't be read, or the span lies outside it.
    """
    root = Path(audio_root)
    if example.mix is not None:
        return [mix(example.mix, root)]
    start = example.start_seconds or 0.0
    length = None if example.end_seconds is None else example.end_seconds - start

    def read(path: Path) -> Floats:
        return read_span(path, start, length, channel=example.channel)

    if example.encoded:
        named = zip(example.files, example.encoded, strict=True)
        return [_read_bytes(name, data, read) for name, data in named]
    return [read(resolve(root, name)) for name in example.files]


def mix(recipe: Recipe, audio_root: str | Path = ".") -> Floats:
    """Return the mixture of a recipe, float32 (samples,) at 16 kHz in [-1, 1].

    Raises:
        AudioError: a file can't be read.
    """
    total = round(recipe.length_seconds * SAMPLE_RATE_HZ)
    mixture = np.zeros(total, np.float32)
    for part in recipe.parts:
        clip = _clip(part, Path(audio_root))
        start = round(part.offset_seconds * SAMPLE_RATE_HZ)
        clip = clip[: max(0, total - start)]
        mixture[start : start + len(clip)] += clip
    if recipe.impulse_response:
        response = read_span(resolve(Path(audio_root), recipe.impulse_response))
        mixture = _in_room(mixture, response)
    return np.clip(mixture, -1.0, 1.0, out=mixture)


def with_silences(samples: Floats, draw: np.random.Generator) -> Floats:
    """Return speech with one to three silences of up to a second, put in at local minima of its loudness."""
    frames = len(samples) // _FRAME_SAMPLES
    if frames < 3:
        return samples
    cut = samples[: frames * _FRAME_SAMPLES].reshape(frames, _FRAME_SAMPLES)
    rms = np.sqrt(np.mean(cut.astype(np.float64) ** 2, axis=1))
    minima = np.flatnonzero((rms[1:-1] <= rms[:-2]) & (rms[1:-1] <= rms[2:])) + 1
    if not minima.size:
        return samples
    count = min(int(draw.integers(1, 4)), minima.size)
    places = np.sort(draw.choice(minima, count, replace=False)) * _FRAME_SAMPLES + _FRAME_SAMPLES // 2
    pieces: list[Floats] = []
    for piece in np.split(samples, places):
        longest = round(_LONGEST_SILENCE_SECONDS * SAMPLE_RATE_HZ)
        pieces += [piece, np.zeros(int(draw.integers(0, longest + 1)), np.float32)]
    return np.concatenate(pieces[:-1])


def _clip(part: MixPart, root: Path) -> Floats:
    length = None if part.end_seconds is None else part.end_seconds - part.start_seconds
    samples = read_span(resolve(root, part.path), part.start_seconds, length, channel=part.channel)
    if part.speed != 1.0:
        samples = resample(samples, SAMPLE_RATE_HZ * part.speed, SAMPLE_RATE_HZ)
    if part.silence_seed is not None:
        samples = with_silences(samples, np.random.default_rng(part.silence_seed))
    return samples * np.float32(10.0 ** (part.gain_db / 20.0))


def _in_room(samples: Floats, response: Floats) -> Floats:
    """Return the samples convolved with an impulse response, cut to their length, as loud as before."""
    size = len(samples) + len(response) - 1
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[: len(samples)]
    before, after = float(np.sum(samples.astype(np.float64) ** 2)), float(np.sum(wet**2))
    return (wet * np.sqrt(before / after) if after > 0 else wet).astype(np.float32)


def _read_bytes(name: str, data: bytes, read: Callable[[Path], Floats]) -> Floats:
    """Read audio that is in memory: the one module that opens audio opens files."""
    with tempfile.TemporaryDirectory(prefix="naturelm-") as folder:
        path = Path(folder) / ("clip" + (Path(name).suffix or ".wav"))
        path.write_bytes(data)
        try:
            return read(path)
        except AudioError as error:
            raise AudioError(error.reason, path=name, code=error.code) from None
