"""Counting: who is mixed with whom, and the sound that a recipe makes."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import AudioError
from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
from naturelm_audio.train.manifest.examples import Example, MixPart, Recipe
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.mixing import load_clips, mix, with_silences


def counted(recordings, **options):
    rows = []
    for seed in range(8):
        rows += compile_manifest(
            recordings, CompileOptions(seed=seed, families=("counting",), **options)
        ).rows
    return rows


def test_one_animal_or_more(zoo):
    species = {one.path: one.taxon.species for one in zoo}
    rows = [row for row in counted(zoo) if row.task == "animal-count-classification"]
    for row in rows:
        callers = {species[part.path] for part in row.mix.parts}
        assert len(callers) == len(row.mix.parts) <= 4
        assert row.text == ("One" if len(callers) == 1 else "More than one")
        assert row.prompt == "Is there one animal or more than one in the audio?"
    one = sum(row.text == "One" for row in rows)
    assert one >= len(rows) / 2 - 5 * (len(rows) / 4) ** 0.5


def test_individuals_of_one_species_are_counted(zoo):
    finches = [
        dataclasses.replace(zoo[0], path=f"{n}.wav", recording_id=f"{n}", individual=f"i{n % 3}")
        for n in range(9)
    ]
    rows = counted(finches)
    who = {one.path: one.individual for one in finches}
    assert {len(row.mix.parts) for row in rows} == {1, 2, 3}
    assert all(len({who[path] for path in row.paths}) == len(row.paths) for row in rows)
    # Without names of individuals nobody knows who calls.
    same = [dataclasses.replace(one, individual="") for one in finches]
    assert {row.text for row in counted(same)} == {"One"}


def test_speakers(zoo):
    people = [
        Labelled(path=f"{n}.wav", kind="speech", common_name="x", individual=f"s{n % 5}", seconds=4.0,
                 recording_id=str(n)) for n in range(20)
    ]  # fmt: skip
    rows = counted(people)
    counts = Counter(row.text for row in rows)
    assert set(counts) == {"1", "2", "3", "4"}
    assert all(abs(count - len(rows) / 4) < 5 * (len(rows) * 3 / 16) ** 0.5 for count in counts.values())
    for row in rows:
        assert row.text == str(len(row.mix.parts))
        for part in row.mix.parts:
            assert 0.25 <= part.speed <= 4.0
            assert part.silence_seed is not None
            assert 0 <= part.offset_seconds < 10
    speeds = [part.speed for row in rows for part in row.mix.parts]
    assert np.mean(speeds) == pytest.approx((0.25 + 4.0) / 2, abs=0.35)  # uniform, not in octaves
    unnamed = [dataclasses.replace(one, individual="") for one in people]
    assert not counted(unnamed)


def test_instruments(zoo):
    rows = counted(zoo)
    named = [row for row in rows if row.task == "which-instruments-classification"]
    assert {row.text for row in named} >= {"flute", "flute, harp", "flute, harp, organ"}
    numbers = {row.mix: row.text for row in rows if row.task == "instrument-count-classification"}
    assert all(numbers[row.mix] == str(len(row.text.split(", "))) for row in named)


# --- sound --------------------------------------------------------------------------------------------------


def write(path, samples, rate=16_000):
    soundfile.write(path, samples, rate, subtype="FLOAT")


def test_a_mixture_is_the_sum_of_its_parts_at_their_places(tmp_path):
    one, two = np.full(1600, 0.5, np.float32), np.full(3200, 0.25, np.float32)
    write(tmp_path / "1.wav", one)
    write(tmp_path / "2.wav", two)
    parts = (
        MixPart(path="1.wav", offset_seconds=0.1),
        MixPart(path="2.wav", start_seconds=0.1, end_seconds=0.15, offset_seconds=0.15, gain_db=-20.0),
        MixPart(path="1.wav", offset_seconds=0.95),
    )
    found = mix(Recipe(parts=parts, length_seconds=1.0), tmp_path)
    expected = np.zeros(16_000, np.float32)
    expected[1600:3200] += 0.5
    expected[2400:3200] += 0.025
    expected[15_200:] += 0.5
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_mixtures_are_clamped(tmp_path):
    write(tmp_path / "1.wav", np.full(160, 0.9, np.float32))
    found = mix(Recipe(parts=(MixPart(path="1.wav"),) * 3, length_seconds=0.01), tmp_path)
    assert found.max() == 1.0


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_changes_length_and_pitch(tmp_path, speed):
    time_s = np.arange(16_000) / 16_000
    write(tmp_path / "1.wav", 0.5 * np.sin(2 * np.pi * 500 * time_s))
    found = mix(Recipe(parts=(MixPart(path="1.wav", speed=speed),), length_seconds=1 / speed), tmp_path)
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum.argmax() / (len(found) / 16_000) == pytest.approx(500 * speed, abs=2)


def test_a_room_keeps_the_loudness_and_moves_the_sound(tmp_path):
    samples = np.zeros(1600, np.float32)
    samples[100] = 0.5
    write(tmp_path / "1.wav", samples)
    response = np.zeros(300, np.float32)
    response[[0, 200]] = 1.0, 0.5
    write(tmp_path / "room.wav", response)
    recipe = Recipe(parts=(MixPart(path="1.wav"),), length_seconds=0.1, impulse_response="room.wav")
    found = mix(recipe, tmp_path)
    assert np.flatnonzero(np.abs(found) > 0.01).tolist() == [100, 300]
    assert found[300] == pytest.approx(found[100] / 2, rel=1e-4)
    assert (found**2).sum() == pytest.approx(0.25, rel=1e-4)


@given(st.integers(0, 2**31), st.integers(0, 20_000))
def test_silences_only_add_zeros(seed, length):
    samples = np.random.default_rng(1).uniform(0.1, 1.0, length).astype(np.float32)
    samples *= np.abs(np.sin(np.arange(length) / 900)).astype(np.float32) + 0.01
    found = with_silences(samples, np.random.default_rng(seed))
    np.testing.assert_array_equal(found[found != 0], samples)
    assert len(samples) <= len(found) <= len(samples) + 3 * 16_000


def test_silences_are_put_where_it_is_quiet():
    samples = np.ones(16_000, np.float32)
    samples[8000:8320] = 0.1
    samples[8320:] = np.linspace(1.0, 2.0, 16_000 - 8320)
    samples[:8000] = np.linspace(2.0, 1.0, 8000)
    found = with_silences(samples, np.random.default_rng(3))
    first = int(np.flatnonzero(found == 0)[0])
    assert 8000 <= first <= 8320


def test_clips_of_files_spans_and_bytes(tmp_path, audio):
    path = audio("a.wav", seconds=2.0, sample_rate_hz=8_000)
    whole = Example(files=("a.wav",), prompt="Q?", text="x")
    assert [len(clip) for clip in load_clips(whole, tmp_path)] == [32_000]
    part = dataclasses.replace(whole, files=("a.wav", "a.wav"), start_seconds=0.5, end_seconds=1.0)
    assert [len(clip) for clip in load_clips(part, tmp_path)] == [8_000, 8_000]
    stored = dataclasses.replace(part, files=("x.wav",), encoded=(path.read_bytes(),))
    np.testing.assert_array_equal(load_clips(stored)[0], load_clips(part, tmp_path)[0])
    broken = dataclasses.replace(stored, encoded=(b"no audio",))
    with pytest.raises(AudioError, match=r"^x\.wav: not a readable audio file"):
        load_clips(broken)
    mixed = Example(files=(), prompt="Q?", text="1", mix=Recipe(parts=(MixPart(path="a.wav"),)))
    assert [len(clip) for clip in load_clips(mixed, tmp_path)] == [160_000]
