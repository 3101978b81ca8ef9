"""Synthetic recordings: deterministic, different by seed, and with the spectrum of what they imitate."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.synthetic import KINDS, mix, synthesise

REPO_ROOT = Path(__file__).resolve().parents[2]
SCRIPT = REPO_ROOT / "examples" / "make_assets.py"


def share_of_energy(samples: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    return float(power[(hertz >= low_hz) & (hertz < high_hz)].sum() / power.sum())


def modulation_peak_hz(samples: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
    """The strongest rhythm of the loudness between two rates."""
    envelope = np.abs(samples.astype(np.float64))
    power = np.abs(np.fft.rfft(envelope - envelope.mean()))
    hertz = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    band = (hertz >= low_hz) & (hertz < high_hz)
    return float(hertz[band][power[band].argmax()])


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_sound_other_seed_another(kind):
    one, again, other = (synthesise(kind, seed, 2.0, 16_000) for seed in (1, 1, 2))
    assert one.dtype == np.float32
    assert one.shape == (32_000,)
    assert np.abs(one).max() <= 1
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("seconds", "rate_hz"), [(0.01, 8_000), (0.3, 8_000), (3.3, 44_100)])
def test_any_length_and_rate(kind, seconds, rate_hz):
    samples = synthesise(kind, 5, seconds, rate_hz)
    assert len(samples) == round(seconds * rate_hz)
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("kind", "low_hz", "high_hz", "least"),
    [
        ("cricket", 3300, 6000, 0.9),
        ("frog", 150, 1900, 0.9),
        ("bird", 1500, 7000, 0.9),
        ("bird-trill", 2200, 7500, 0.9),
        ("rain", 1000, 8000, 0.4),
        ("wind", 0, 500, 0.8),
    ],
)
def test_a_kind_sounds_where_it_should(kind, low_hz, high_hz, least, seed):
    assert share_of_energy(synthesise(kind, seed, 10.0, 32_000), 32_000, low_hz, high_hz) > least


@pytest.mark.parametrize("seed", range(4))
def test_crickets_pulse_and_frogs_croak_at_their_rhythm(seed):
    assert 28 < modulation_peak_hz(synthesise("cricket", seed, 10.0, 32_000), 32_000, 20, 100) < 50
    assert 24 < modulation_peak_hz(synthesise("frog", seed, 10.0, 32_000), 32_000, 20, 80) < 60


def test_silence_is_very_soft_but_not_digital_zero():
    peak = np.abs(synthesise("silence", 3, 5.0, 16_000)).max()
    assert 0 < peak < 0.01


def test_nothing_folds_back_at_a_low_rate():
    # 2.4 kHz is less than the lowest trill: nothing but background may be left.
    assert np.abs(synthesise("bird-trill", 1, 3.0, 2_400)).max() < 0.05


def test_unknown_kinds_and_lengths_are_refused():
    with pytest.raises(OptionsError, match=r"no synthetic kind 'whale'.*cricket"):
        synthesise("whale", 1, 1.0, 16_000)
    with pytest.raises(OptionsError, match="above 0"):
        synthesise("frog", 1, 0.0, 16_000)


def test_a_mixture_is_loud_where_its_events_are():
    mixture = mix([("frog", 1.0, 3.0), ("rain", 6.0, 8.0)], 1, 10.0, 16_000)
    level = np.abs(mixture).reshape(10, -1).mean(axis=1)
    assert min(level[1], level[2], level[6], level[7]) > 2 * max(level[0], level[4], level[9])


def test_the_recordings_in_assets_are_what_the_script_writes(tmp_path):
    written = runpy.run_path(str(SCRIPT))["write_assets"](tmp_path)
    assert sum(path.stat().st_size for path in written) < 3_000_000
    assert {path.suffix for path in written} == {".flac", ".wav"}
    rates = set()
    for path in written:
        fresh, rate_hz = soundfile.read(path, dtype="int16")
        kept, kept_rate_hz = soundfile.read(REPO_ROOT / "assets" / path.name, dtype="int16")
        rates.add(rate_hz)
        assert (rate_hz, len(fresh), fresh.ndim) == (kept_rate_hz, len(kept), 1)
        # One step: the last bit of a Fourier transform may differ between machines.
        assert np.abs(fresh.astype(int) - kept).max() <= 1
    assert rates == {22_050, 32_000, 44_100}
    with open(REPO_ROOT / "assets" / "mixture.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} <= set(KINDS)
    assert all(float(row["start_seconds"]) < float(row["end_seconds"]) <= 60 for row in rows)
