"""Augmentations, each a pure function of (waveform, generator): new samples out, nothing else changed.

Waveforms are float32 (samples,) at 16 kHz. Probabilities and ranges belong to the caller, so each function
does one thing and can be tested on values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Generator = np.random.Generator

SILENCE = 1e-8
"""Mean square below which a waveform counts as silent."""


def mean_square(waveform: Floats) -> float:
    """Return the mean of the squared samples, 0 of an empty waveform."""
    return float(np.dot(waveform, waveform)) / len(waveform) if len(waveform) else 0.0


def gain(waveform: Floats, decibels: float) -> Floats:
    """Return the waveform louder by so many decibels."""
    return waveform * np.float32(10.0 ** (decibels / 20.0))


def crop(waveform: Floats, samples: int, generator: Generator, *, tries: int = 2) -> Floats:
    """Return `samples` samples in a row, the loudest of `tries` random places; a shorter one is unchanged."""
    spare = len(waveform) - samples
    if spare <= 0:
        return waveform
    starts = generator.integers(0, spare + 1, size=tries)
    places = [waveform[start : start + samples] for start in starts]
    return max(places, key=mean_square)


def pad(waveform: Floats, samples: int, generator: Generator, *, shift_probability: float = 0.0) -> Floats:
    """Return exactly `samples` samples: zeros after the sound or, with that probability, around it."""
    spare = samples - len(waveform)
    if spare <= 0:
        return waveform[:samples]
    before = int(generator.integers(0, spare + 1)) if generator.random() < shift_probability else 0
    return np.pad(waveform, (before, spare - before))


def mix(waveform: Floats, other: Floats, snr_decibels: float) -> Floats:
    """Return the sum with `other` (same length) scaled so that the ratio of mean squares is `snr_decibels`.

    Where either is silent, `other` is added as it is.
    """
    ours, theirs = mean_square(waveform), mean_square(other)
    if ours < SILENCE or theirs < SILENCE:
        return waveform + other
    scale = np.float32(np.sqrt(ours / theirs * 10.0 ** (-snr_decibels / 10.0)))
    return waveform + scale * other


def speed(waveform: Floats, factor: float) -> Floats:
    """Return the sound played `factor` times faster (pitch rises too), by linear interpolation."""
    count = int(len(waveform) / factor)
    places = np.arange(count, dtype=np.float32) * np.float32(factor)
    return np.interp(places, np.arange(len(waveform), dtype=np.float32), waveform).astype(np.float32)


def equalise(
    waveform: Floats,
    *,
    low_pass_hz: float | None = None,
    high_pass_hz: float | None = None,
    tilt_decibels: float = 0.0,
) -> Floats:
    """Return the waveform through a smooth zero-phase filter.

    Args:
        waveform: (samples,) at 16 kHz.
        low_pass_hz: frequencies above fall off, 12 dB at 1.19 times this frequency.
        high_pass_hz: frequencies below fall off in the same way.
        tilt_decibels: added at 8 kHz, falling linearly to nothing at 0 Hz.
    """
    frequencies = np.linspace(0.0, 8000.0, len(waveform) // 2 + 1, dtype=np.float32)
    response = 10.0 ** (np.float32(tilt_decibels / 20.0) * frequencies / 8000.0)
    if low_pass_hz:
        response = response / (1.0 + (frequencies / low_pass_hz) ** 8)
    if high_pass_hz:
        response = response / (1.0 + (high_pass_hz / np.maximum(frequencies, 1.0)) ** 8)
    spectrum = np.fft.rfft(waveform)
    return np.fft.irfft(spectrum * response, len(waveform)).astype(np.float32)


def coloured_noise(samples: int, slope: float, generator: Generator) -> Floats:
    """Return noise of mean square 1; its power falls as frequency to the power `slope` (1 pink, 2 brown)."""
    white = generator.standard_normal(samples).astype(np.float32)
    spectrum = np.fft.rfft(white)
    frequencies = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1.0)
    noise = np.fft.irfft(spectrum * frequencies ** np.float32(-slope / 2), samples).astype(np.float32)
    return noise / np.float32(np.sqrt(max(mean_square(noise), SILENCE)))


def mask_spectrogram(
    features: Floats, generator: Generator, *, value: float, bands: int = 16, frames: int = 60, count: int = 2
) -> Floats:
    """Return a copy of (F, 128) features with `count` random runs of bands and of frames set to `value`.

    Args:
        features: log-mel features.
        generator: random numbers.
        value: what a masked cell holds, such as the features of silence.
        bands: most bands in one run.
        frames: most frames in one run.
        count: runs of each sort.
    """
    masked = features.copy()
    for _ in range(count):
        for axis, longest in ((1, bands), (0, frames)):
            run = int(generator.integers(0, longest + 1))
            start = int(generator.integers(0, max(1, features.shape[axis] - run)))
            masked[(slice(None),) * axis + (slice(start, start + run),)] = value
    return masked


def clamp(waveform: Floats) -> Floats:
    """Return the waveform limited to [-1, 1], as audio is everywhere else."""
    return np.clip(waveform, -1.0, 1.0)
