"""Synthetic recordings: sounds that look and sound like a kind of animal or weather, each seed another one.

Numpy only and seeded: they may be shipped and trained on by anyone. They are imitations of a *kind* of sound
(a cricket, a croaking frog), of no species, and no claim about real ones.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from naturelm_audio.errors import OptionsError

__all__ = ["KINDS", "mix", "synthesise"]

FloatArray = npt.NDArray[np.float32]
Signal = npt.NDArray[np.float64]
Voice = Callable[[np.random.Generator, float, int], Signal]

_HIGHEST_PART_OF_NYQUIST = 0.95
_PEAK = 0.7


def synthesise(kind: str, seed: int, seconds: float, sample_rate_hz: int) -> FloatArray:
    """Return float32 (samples,) in [-1, 1]: one of ``KINDS``, with a soft background, another for each seed.

    Raises:
        OptionsError: an unknown kind, or a length or rate that isn't above 0.
    """
    generator, voice = _voice(kind, seed, seconds, sample_rate_hz)
    if kind == "silence":
        return voice.astype(np.float32)
    loudness = _PEAK * 10 ** (generator.uniform(-12, 0) / 20)  # near and far
    noise_floor = loudness * 10 ** (generator.uniform(-60, -38) / 20)
    background = noise_floor * _noise(generator, len(voice), sample_rate_hz, tilt_db_per_octave=-3)
    return np.clip(loudness * voice + background, -1, 1).astype(np.float32)


def mix(events: list[tuple[str, float, float]], seed: int, seconds: float, sample_rate_hz: int) -> FloatArray:
    """Return a recording of known content: (kind, start, end) in seconds, over a soft wind.

    Each event fades in and out over 50 ms.
    """
    _, wind = _voice("wind", seed, seconds, sample_rate_hz)
    mixture = 0.02 * wind
    for number, (kind, start_seconds, end_seconds) in enumerate(events):
        _, sound = _voice(kind, seed + number, end_seconds - start_seconds, sample_rate_hz)
        _add(
            mixture,
            0.5 * sound * _fades(len(sound), round(0.05 * sample_rate_hz)),
            start_seconds,
            sample_rate_hz,
        )
    return np.clip(mixture, -1, 1).astype(np.float32)


def _voice(kind: str, seed: int, seconds: float, sample_rate_hz: int) -> tuple[np.random.Generator, Signal]:
    """Return a kind without background, its peak at 1 (silence: as it is), and the generator that made it."""
    if kind not in _VOICES:
        raise OptionsError(f"there is no synthetic kind {kind!r}: choose one of {', '.join(KINDS)}")
    if not (0 < seconds < math.inf and sample_rate_hz > 0):
        raise OptionsError(f"seconds and sample_rate_hz must be above 0, not {seconds} and {sample_rate_hz}")
    generator = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    voice = _VOICES[kind](generator, seconds, sample_rate_hz)
    peak = 1.0 if kind == "silence" else max(float(np.abs(voice).max(initial=0)), 1e-9)
    return generator, voice / peak


# --- kinds: each returns (samples,) of any level ------------------------------------------------------------


def _cricket(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """Chirps of a few pulses each, on one high and nearly pure tone."""
    carrier_hz = generator.uniform(3600, 5600)
    pulses = int(generator.integers(3, 6))
    pulse_seconds, pulse_hop_seconds = generator.uniform(0.012, 0.018), generator.uniform(0.022, 0.032)
    chirp_hop_seconds = pulses * pulse_hop_seconds + generator.uniform(0.12, 0.35)
    canvas = np.zeros(round(seconds * rate_hz))
    start = generator.uniform(0, chirp_hop_seconds)
    while start < seconds:
        loudness = generator.uniform(0.85, 1)
        for pulse in range(pulses):
            glide = np.linspace(1.02, 0.97, max(1, round(pulse_seconds * rate_hz)))
            note = _note(carrier_hz * glide, rate_hz, attack=0.5) * loudness * (0.6 + 0.4 * min(pulse, 2) / 2)
            _add(canvas, note, start + pulse * pulse_hop_seconds, rate_hz)
        start += chirp_hop_seconds * generator.uniform(0.96, 1.04)
    return canvas


def _frog(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """A series of low croaks: quick pulses, each ringing at the resonances of a throat."""
    pulse_rate_hz, croak_seconds = generator.uniform(28, 55), generator.uniform(0.25, 0.6)
    hop_seconds = croak_seconds + generator.uniform(0.3, 0.9)
    low_hz, high_hz = generator.uniform(320, 620), generator.uniform(1100, 1700)
    canvas = np.zeros(round(seconds * rate_hz))
    ring_time = np.arange(round(0.04 * rate_hz)) / rate_hz
    ring = _decaying(low_hz, 130, ring_time) + 0.35 * _decaying(high_hz, 220, ring_time)
    ring *= 1 - np.exp(-900 * ring_time)  # a throat doesn't click
    start = generator.uniform(0, 0.4)
    while start < seconds:
        count = round(croak_seconds * pulse_rate_hz)
        for pulse in range(count):
            place = (pulse + generator.normal(0, 0.03)) / pulse_rate_hz
            swell = math.sin(math.pi * (pulse + 1) / (count + 1)) ** 0.5
            _add(canvas, ring * swell, start + place, rate_hz)
        start += hop_seconds * generator.uniform(0.95, 1.08)
    return canvas


def _bird_song(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """A whistled phrase of gliding notes, sung again and again with pauses."""
    motif = [
        (
            generator.uniform(0.09, 0.32),  # seconds
            generator.uniform(2200, 4800),  # start hertz
            generator.uniform(0.75, 1.35),  # glide
            generator.uniform(0.03, 0.12),  # pause after it
        )
        for _ in range(int(generator.integers(4, 8)))
    ]
    canvas = np.zeros(round(seconds * rate_hz))
    start = generator.uniform(0, 0.8)
    while start < seconds:
        for note_seconds, from_hz, glide, pause_seconds in motif:
            shape = np.linspace(0, 1, round(note_seconds * rate_hz))
            pitch_hz = from_hz * glide**shape * (1 + 0.008 * np.sin(2 * np.pi * 2.5 * shape))
            note = _note(pitch_hz, rate_hz) + 0.08 * _note(2 * pitch_hz, rate_hz)
            _add(canvas, note * generator.uniform(0.7, 1), start, rate_hz)
            start += note_seconds + pause_seconds
        start += generator.uniform(1.0, 2.5)
    return _with_echo(generator, canvas, rate_hz)


def _bird_trill(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """Quick series of one steep note."""
    notes_per_second, high_hz = generator.uniform(11, 24), generator.uniform(4800, 7200)
    fall, note_seconds = generator.uniform(0.5, 0.7), 0.6 / notes_per_second
    canvas = np.zeros(round(seconds * rate_hz))
    start = generator.uniform(0, 0.6)
    while start < seconds:
        count = round(generator.uniform(1.0, 2.2) * notes_per_second)
        for number in range(count):
            shape = np.linspace(0, 1, round(note_seconds * rate_hz))
            swell = 0.4 + 0.6 * math.sin(math.pi * (number + 1) / (count + 1))
            _add(canvas, _note(high_hz * fall**shape, rate_hz) * swell, start, rate_hz)
            start += 1 / notes_per_second
        start += generator.uniform(0.8, 2.0)
    return _with_echo(generator, canvas, rate_hz)


def _rain(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """A steady hiss with single drops on leaves."""
    hiss = _noise(generator, round(seconds * rate_hz), rate_hz, tilt_db_per_octave=generator.uniform(-2, 0.5))
    drops = np.zeros(len(hiss))
    count = generator.poisson(seconds * generator.uniform(15, 90))
    drop_time = np.arange(round(0.012 * rate_hz)) / rate_hz
    for place, hertz, size in zip(
        generator.uniform(0, seconds, count),
        generator.uniform(900, 6000, count),
        generator.gamma(1.5, 0.6, count),
        strict=True,
    ):
        _add(drops, size * _decaying(min(hertz, 0.45 * rate_hz), 500, drop_time), place, rate_hz)
    return hiss + generator.uniform(0.8, 2.0) * drops


def _wind(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """A low rumble that swells in gusts."""
    samples = round(seconds * rate_hz)
    rumble = _noise(generator, samples, rate_hz, tilt_db_per_octave=generator.uniform(-9, -6), low_hz=60)
    knots = generator.uniform(0.15, 1, max(2, round(seconds / generator.uniform(0.7, 1.5)) + 2))
    gusts = np.interp(np.linspace(0, len(knots) - 1, samples), np.arange(len(knots)), knots)
    return rumble * gusts**1.5


def _silence(generator: np.random.Generator, seconds: float, rate_hz: int) -> Signal:
    """What a recorder hears in a quiet room: its own noise, 60 to 80 dB below full scale."""
    level = 10 ** (generator.uniform(-80, -60) / 20)
    return level * _noise(generator, round(seconds * rate_hz), rate_hz, tilt_db_per_octave=-1)


_VOICES: dict[str, Voice] = {
    "bird": _bird_song,
    "bird-trill": _bird_trill,
    "cricket": _cricket,
    "frog": _frog,
    "rain": _rain,
    "silence": _silence,
    "wind": _wind,
}
KINDS = tuple(_VOICES)
"""What :func:`synthesise` can imitate."""


# --- parts of sounds ----------------------------------------------------------------------------------------


def _note(pitch_hz: Signal, rate_hz: int, attack: float = 0.2) -> Signal:
    """Return a tone along a pitch curve (samples,), with soft ends; silent where the rate can't hold it."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    held = pitch_hz < _HIGHEST_PART_OF_NYQUIST * rate_hz / 2
    return np.sin(phase) * held * _fades(len(pitch_hz), max(1, int(attack * len(pitch_hz))))


def _decaying(hertz: float, decay_per_second: float, time_seconds: Signal) -> Signal:
    return np.sin(2 * np.pi * hertz * time_seconds) * np.exp(-decay_per_second * time_seconds)


def _fades(samples: int, edge_samples: int) -> Signal:
    """Return an envelope that rises and falls like a cosine."""
    edge = min(edge_samples, samples // 2)
    envelope = np.ones(samples)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / max(edge, 1))
    envelope[:edge] = rise
    envelope[samples - edge :] = rise[::-1]
    return envelope


def _noise(
    generator: np.random.Generator,
    samples: int,
    rate_hz: int,
    *,
    tilt_db_per_octave: float,
    low_hz: float = 100,
) -> Signal:
    """Return noise of standard deviation 1 whose spectrum is tilted above ``low_hz`` and soft below it."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / rate_hz)
    octaves = np.log2(np.maximum(hertz, low_hz) / low_hz)
    shape = 10 ** (tilt_db_per_octave * octaves / 20) * np.minimum(hertz / low_hz, 1) ** 2
    noise = np.fft.irfft(spectrum * shape, samples)
    return noise / max(float(noise.std()), 1e-12)


def _with_echo(generator: np.random.Generator, signal: Signal, rate_hz: int) -> Signal:
    """Return a signal with a few late, faint copies, as between trees."""
    echoed = signal.copy()
    for _ in range(4):
        delay = round(generator.uniform(0.02, 0.15) * rate_hz)
        if delay < len(signal):
            echoed[delay:] += generator.uniform(0.02, 0.08) * signal[: len(signal) - delay]
    return echoed


def _add(canvas: Signal, sound: Signal, start_seconds: float, rate_hz: int) -> None:
    """Add a sound to a canvas in place; what hangs over an edge is cut."""
    start = round(start_seconds * rate_hz)
    skip = max(0, -start)
    stop = min(len(canvas), start + len(sound))
    if start + skip < stop:
        canvas[start + skip : stop] += sound[skip : stop - start]
