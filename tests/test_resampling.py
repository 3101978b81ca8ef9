"""The two resamplers: kaiser_best against resampy as its oracle; blocks, spans and lengths for both."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import resampy
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from resampy.filters import load_filter

from naturelm_audio import audio, resampling
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.options import RESAMPLERS
from naturelm_audio.resampling import KaiserBest, resampled

# Doubles rounded to float32 once; resampy itself rounds at every tap unless it is given doubles.
TOLERANCE = 1e-6


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, frames).astype(np.float32)


def joined(blocks: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *blocks])


def in_blocks(samples: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """The samples in blocks of these sizes, over and over, each in the same buffer that is filled again."""
    buffer = np.empty(max(sizes), np.float32)
    at = turn = 0
    while at < len(samples):
        block = samples[at : at + sizes[turn % len(sizes)]]
        buffer[: len(block)] = block
        yield buffer[: len(block)]
        at, turn = at + len(block), turn + 1


def oracle(samples: np.ndarray, from_hz: int, to_hz: int = 16_000) -> np.ndarray:
    return resampy.resample(samples.astype(np.float64), from_hz, to_hz, filter="kaiser_best")


# --- kaiser_best is resampy's -------------------------------------------------------------------------------


def test_the_filter_is_the_one_that_resampy_stores():
    half, difference = resampling._half_filter()
    stored, steps, rolloff = load_filter("kaiser_best")
    assert (int(steps), float(rolloff)) == (resampling.STEPS_PER_CROSSING, resampling.ROLLOFF)
    np.testing.assert_allclose(half[:-1], stored, atol=1e-15)
    np.testing.assert_array_equal(difference[:-1], np.diff(half[:-1], append=half[-2]))
    assert half[-1] == difference[-1] == 0


@pytest.mark.parametrize(
    "rate_hz", [8_000, 11_025, 22_050, 32_000, 44_100, 44_056, 48_000, 96_000, 192_000, 250_000, 384_000]
)
@pytest.mark.parametrize("kind", ["noise", "ones"])
def test_kaiser_best_gives_the_samples_of_resampy(rate_hz, kind):
    samples = noise(rate_hz // 2 + 7) if kind == "noise" else np.ones(rate_hz // 2 + 7, np.float32)
    theirs = oracle(samples, rate_hz)
    ours = audio.resample(samples, rate_hz, 16_000, resampler="kaiser_best")
    assert ours.dtype == np.float32
    assert len(ours) == len(theirs)
    assert np.abs(ours - theirs).max() < TOLERANCE


@given(
    frames=st.integers(1, 4000),
    from_hz=st.integers(500, 200_000),
    to_hz=st.sampled_from([16_000, 8_000, 22_050]),
)
@example(frames=3000, from_hz=44_101, to_hz=16_000)  # no short period
@example(frames=4000, from_hz=784_000, to_hz=16_000)  # resampy's clock: 48.99999999999999 frames per sample
@example(frames=1, from_hz=15_999, to_hz=16_000)
@settings(max_examples=60)
def test_kaiser_best_of_any_rates_and_the_shortest_sounds(frames, from_hz, to_hz):
    samples = noise(frames, seed=from_hz)
    ours = audio.resample(samples, from_hz, to_hz, resampler="kaiser_best")
    assert len(ours) == frames * to_hz // from_hz
    if len(ours):
        assert np.abs(ours - oracle(samples, from_hz, to_hz)).max() < TOLERANCE


def test_kaiser_best_is_weak_where_the_official_release_heard_little():
    times = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 7_500 * times)).astype(np.float32)
    levels = {}
    for name in RESAMPLERS:
        heard = audio.resample(tone, 48_000, 16_000, resampler=name)[2000:-2000]
        levels[name] = 20 * np.log10(heard.std() / tone.std())
    assert levels["soxr"] == pytest.approx(-0.4, abs=0.2)
    assert levels["kaiser_best"] == pytest.approx(-14.5, abs=0.3)


def test_a_rate_that_falls_too_far_is_refused():
    with pytest.raises(OptionsError, match=r"1/8192 at most: use soxr"):
        KaiserBest(Fraction(8193))
    assert len(audio.resample(noise(20_000), 8192, 1, resampler="kaiser_best")) == 2


# --- both ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESAMPLERS)
@given(
    rate_hz=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 44_101]),
    sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=4),
)
@example(rate_hz=48_000, sizes=[1000, 1])
@example(rate_hz=44_101, sizes=[300])
@settings(max_examples=20)
def test_the_size_of_blocks_never_matters(name, rate_hz, sizes):
    samples = noise(70_000)
    if sum(sizes) / len(sizes) < 300 or rate_hz == 44_101:  # slow
        samples = samples[:8000]
    per_sample = Fraction(rate_hz, 16_000)
    whole = joined(resampled(iter([samples]), per_sample, name))
    parts = joined(resampled(in_blocks(samples, sizes), per_sample, name))
    np.testing.assert_array_equal(parts, whole)
    assert len(whole) == int(len(samples) / per_sample)


@pytest.mark.parametrize("name", RESAMPLERS)
def test_what_came_before_a_fault_is_given_to_the_last_sample(name):
    def blocks() -> Iterator[np.ndarray]:
        yield noise(44_100)
        raise AudioError("broken")

    heard = []
    with pytest.raises(AudioError, match="broken"):
        heard.extend(resampled(blocks(), Fraction(44_100, 16_000), name))
    assert sum(map(len, heard)) == 16_000


@pytest.mark.parametrize("name", RESAMPLERS)
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_nothing_gives_nothing(name, rate_hz):
    assert joined(resampled(iter([]), Fraction(rate_hz, 16_000), name)).shape == (0,)
    assert audio.resample(np.empty(0, np.float32), rate_hz, 16_000, resampler=name).shape == (0,)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000, 384_000, 44_101])
def test_memory_of_kaiser_best_does_not_grow(rate_hz):
    block = noise(20_000)

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        for _ in resampled((block for _ in range(count)), Fraction(rate_hz, 16_000), "kaiser_best"):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(1)  # makes the table
    assert peak_bytes(30) < 1.05 * peak_bytes(15) < 64e6


# --- through files and arrays -------------------------------------------------------------------------------


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate_hz=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 384_000]),
    speed=st.sampled_from([1.0, 0.1, 0.5, 4.0]),
    start=st.floats(0, 0.99),
    length=st.floats(0.001, 1.2),
)
@example(rate_hz=44_100, speed=1.0, start=0.98, length=0.05)
def test_I5_a_span_by_kaiser_best_equals_that_span_of_the_whole(tmp_path, rate_hz, speed, start, length):
    path = tmp_path / f"{rate_hz}.wav"
    if not path.exists():
        soundfile.write(path, noise(60_000, rate_hz) * 0.5, rate_hz, "FLOAT")
    options = {"speed_factor": speed, "resampler": "kaiser_best"}
    whole = audio.read_span(path, **options)
    assert len(whole) == int(60_000 / (Fraction(rate_hz, 16_000) * Fraction(str(speed))))
    seconds = 60_000 / rate_hz
    first = round(start * seconds / speed * 16_000)
    if first >= len(whole):
        return
    span = audio.read_span(path, start * seconds, length * seconds, **options)
    np.testing.assert_allclose(span, whole[first : first + len(span)], atol=2e-5)


def test_files_streams_and_arrays_hear_alike(wav):
    path = wav(seconds=1.3, sample_rate_hz=44_100, subtype="FLOAT")
    samples = soundfile.read(path, dtype="float32")[0]
    truth = np.clip(oracle(samples, 44_100), -1, 1)
    options = {"resampler": "kaiser_best"}
    streamed = np.concatenate(list(audio.stream(path, block_seconds=0.1, **options)))
    for heard in (streamed, audio.read_span(path, **options), audio.as_waveform(samples, 44_100, **options)):
        np.testing.assert_allclose(heard, truth, atol=TOLERANCE)


def test_a_resampler_that_there_is_not(wav):
    path = wav()
    message = "resampler must be one of soxr, kaiser_best, not 'sinc'"
    for call in (
        lambda: audio.stream(path, resampler="sinc"),
        lambda: audio.resample(noise(10), 48_000, 16_000, resampler="sinc"),
        lambda: audio.as_waveform(noise(10), resampler="sinc"),
    ):
        with pytest.raises(OptionsError, match=message):
            call()
