"""Each augmentation does what its name says, on values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train import augment


def tone(hertz: float, samples: int = 16_000, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)).astype(np.float32)


def power_at(waveform: np.ndarray, hertz: float) -> float:
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    return float(spectrum[round(hertz * len(waveform) / 16_000)])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_gain_of_6_db_doubles() -> None:
    np.testing.assert_allclose(augment.gain(tone(440), 20 * np.log10(2)), 2 * tone(440), rtol=1e-6)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 9))
def test_crop_then_pad_has_the_asked_length(length: int, samples: int, seed: int) -> None:
    waveform = np.arange(1, length + 1, dtype=np.float32)
    generator = rng(seed)
    fitted = augment.pad(
        augment.crop(waveform, samples, generator), samples, generator, shift_probability=0.5
    )
    assert len(fitted) == samples
    kept = fitted[fitted > 0]
    assert len(kept) == min(length, samples)
    assert (np.diff(kept) == 1).all()  # samples in a row


def test_crop_takes_the_loudest_place() -> None:
    waveform = np.concatenate([np.zeros(1000), np.ones(1000)]).astype(np.float32)
    assert augment.crop(waveform, 500, rng(), tries=64).mean() == pytest.approx(1.0)


def test_padding_stands_at_the_end_unless_shifted() -> None:
    sound = np.ones(100, np.float32)
    np.testing.assert_array_equal(augment.pad(sound, 300, rng())[100:], 0.0)
    starts = {int(augment.pad(sound, 300, rng(seed), shift_probability=1.0).argmax()) for seed in range(20)}
    assert len(starts) > 5


@given(st.floats(-20, 20), st.floats(0.001, 1.0))
def test_mix_has_the_asked_ratio(snr: float, level: float) -> None:
    ours, theirs = tone(500), tone(3000, level=level)
    added = augment.mix(ours, theirs, snr) - ours
    ratio = 10 * np.log10(augment.mean_square(ours) / augment.mean_square(added))
    assert ratio == pytest.approx(snr, abs=0.05)


def test_mix_with_silence_changes_nothing() -> None:
    np.testing.assert_array_equal(augment.mix(tone(500), np.zeros(16_000, np.float32), 0.0), tone(500))
    np.testing.assert_array_equal(augment.mix(np.zeros(16_000, np.float32), tone(500), 0.0), tone(500))


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_changes_length_and_pitch(factor: float) -> None:
    faster = augment.speed(tone(1000), factor)
    assert len(faster) == int(16_000 / factor)
    spectrum = np.abs(np.fft.rfft(faster))
    assert spectrum.argmax() * 16_000 / len(faster) == pytest.approx(1000 * factor, abs=2)


def test_low_pass_keeps_low_and_removes_high() -> None:
    low, high = tone(500), tone(6000)
    filtered = augment.equalise(low + high, low_pass_hz=2000)
    assert power_at(filtered, 500) == pytest.approx(power_at(low, 500), rel=0.01)
    assert power_at(filtered, 6000) < 1e-6 * power_at(high, 6000)


def test_high_pass_is_the_mirror_image() -> None:
    filtered = augment.equalise(tone(500) + tone(6000), high_pass_hz=2000)
    assert power_at(filtered, 500) < 1e-6 * power_at(filtered, 6000)


def test_tilt_is_linear_in_frequency() -> None:
    tilted = augment.equalise(tone(4000), tilt_decibels=12)
    assert 10 * np.log10(power_at(tilted, 4000) / power_at(tone(4000), 4000)) == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize(("slope", "decibels_per_octave"), [(0.0, 0.0), (1.0, -3.0), (2.0, -6.0)])
def test_noise_has_its_colour(slope: float, decibels_per_octave: float) -> None:
    noise = augment.coloured_noise(160_000, slope, rng())
    assert augment.mean_square(noise) == pytest.approx(1.0, rel=1e-3)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[1000:2000].mean(), power[2000:4000].mean()
    assert 10 * np.log10(high / low) == pytest.approx(decibels_per_octave, abs=0.5)


def test_masks_are_runs_of_the_value() -> None:
    features = np.ones((498, 128), np.float32)
    masked = augment.mask_spectrogram(features, rng(3), value=-2.0, bands=16, frames=60)
    assert (features == 1).all()  # a copy
    assert set(np.unique(masked)) == {-2.0, 1.0}
    whole_bands, whole_frames = (masked == -2).all(axis=0), (masked == -2).all(axis=1)
    assert 0 < whole_bands.sum() <= 32
    assert 0 < whole_frames.sum() <= 120
    outside = masked[~whole_frames][:, ~whole_bands]
    assert (outside == 1).all()


def test_the_same_generator_gives_the_same_sound() -> None:
    for function in (
        lambda g: augment.crop(tone(300), 4000, g),
        lambda g: augment.pad(tone(300, 100), 4000, g, shift_probability=1.0),
        lambda g: augment.coloured_noise(1000, 1.0, g),
        lambda g: augment.mask_spectrogram(np.ones((100, 128), np.float32), g, value=0.0),
    ):
        np.testing.assert_array_equal(function(rng(5)), function(rng(5)))


def test_clamp_limits() -> None:
    np.testing.assert_array_equal(
        augment.clamp(np.float32([-3, -0.5, 0.5, 3])), np.float32([-1, -0.5, 0.5, 1])
    )
