"""Draws: order, random numbers, which augmentation is called how often, and audio that can't be read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile
from rehearsal import write_tone

from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.train import augmentation
from naturelm_audio.train.draws import Draws, NoisePool, Reader, order_of_pass
from naturelm_audio.train.manifest.examples import Example, MixPart, Recipe
from naturelm_audio.train.recipe import AugmentOptions

OFF = AugmentOptions(noise_probability=0.0, replace_probability=0.0, mixup_probability=0.0)
SAMPLES = 16_000


def row(path="a.wav", task="common-classification", text="A", prompt="What is it?", **more):
    return Example(files=(path,), prompt=prompt, text=text, task=task, **more)


@pytest.fixture
def folder(tmp_path):
    for name, hertz, seconds in (("a", 400, 3.0), ("b", 900, 0.5), ("c", 2000, 3.0), ("noise/n", 60, 0.4)):
        write_tone(tmp_path / f"{name}.wav", hertz, seconds)
    return tmp_path


def draws(folder, rows, options=OFF, *, seed=1, length=100):
    return Draws(rows, Reader(folder, SAMPLES), options, seed=seed, length=length)


def changed(**changes):
    return dataclasses.replace(OFF, **changes)


def test_every_row_comes_once_in_a_pass_in_another_order_each_time():
    weights = np.ones(50)
    first, second = (order_of_pass(3, turn, weights) for turn in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert list(first) != list(second)
    assert list(first) == list(order_of_pass(3, 0, weights))
    assert list(first) != list(order_of_pass(4, 0, weights))


def test_rows_come_as_often_as_they_weigh():
    counts = np.zeros(3)
    for turn in range(300):
        counts += np.bincount(order_of_pass(0, turn, np.array([0.5, 1.0, 1.5])), minlength=3)
    assert counts / 300 == pytest.approx([0.5, 1.0, 1.5], abs=0.1)


def test_T9_a_draw_depends_on_seed_and_number_alone(folder):
    rows = [row(), row("c.wav")]
    one, other = draws(folder, rows), draws(folder, rows)
    backwards = {number: other[number] for number in reversed(range(6))}
    for number in range(6):
        assert one[number].row == backwards[number].row
        assert np.array_equal(one[number].clips[0], backwards[number].clips[0])
    reseeded = draws(folder, rows, seed=2)
    crops = [one[number].clips[0] for number in range(0, 20)]
    assert len({crop.tobytes() for crop in crops}) > 10  # passes crop differently, and tones repeat
    assert not np.array_equal(reseeded[0].clips[0], one[0].clips[0])


def test_clips_have_one_length_and_end_in_exact_zeros(folder):
    long, short = draws(folder, [row()])[0], draws(folder, [row("b.wav")])[0]
    assert long.clips[0].shape == short.clips[0].shape == (SAMPLES,)
    assert not short.clips[0][8000:].any()
    assert short.clips[0][:8000].std() > 0.1


def test_noise_leaves_the_padding_silent(folder):
    noisy = changed(noise_folders=(str(folder / "noise"),), noise_probability=1.0)
    clip = draws(folder, [row("b.wav")], noisy)[0].clips[0]
    plain = draws(folder, [row("b.wav")])[0].clips[0]
    assert not np.array_equal(clip, plain)
    assert not clip[8000:].any()
    assert np.abs(clip).max() <= 1.0


def test_validation_hears_the_start_without_any_change(folder):
    clip = Draws([row()], Reader(folder, SAMPLES), None, seed=1, length=1)[0].clips[0]
    samples, _ = soundfile.read(folder / "a.wav", dtype="float32")
    assert clip == pytest.approx(samples[:SAMPLES], abs=1e-6)


def test_T8_other_sample_rates_channels_and_one_file_in_a_list(tmp_path):
    time_s = np.arange(44_100) / 44_100
    both = np.stack([0.4 * np.sin(2 * np.pi * 440 * time_s), 0 * time_s], axis=1)
    soundfile.write(tmp_path / "stereo.flac", both, 44_100)
    example = Example(files=("stereo.flac",), prompt="?", text="A")
    clip = Draws([example], Reader(tmp_path, SAMPLES), None, seed=1, length=1)[0].clips[0]
    assert np.argmax(np.abs(np.fft.rfft(clip))) == pytest.approx(440, abs=1)
    assert np.abs(clip[1000:15_000]).max() == pytest.approx(0.2, abs=0.01)


def test_a_span_is_all_that_is_heard(folder):
    sample = draws(folder, [row(start_seconds=1.0, end_seconds=1.25)])[0]
    assert not sample.clips[0][4001:].any()
    wide = draws(folder, [row(start_seconds=1.0, end_seconds=2.9)])
    assert {len(np.flatnonzero(wide[number].clips[0])) > 15_000 for number in range(5)} == {True}


def test_mixtures_by_recipe_are_clips(folder):
    recipe = Recipe(
        parts=(MixPart(path="a.wav"), MixPart(path="b.wav", offset_seconds=0.2)), length_seconds=1.5
    )
    example = Example(files=(), mix=recipe, prompt="How many?", text="2", task="animal-count-classification")
    assert draws(folder, [example])[0].clips[0].std() > 0.1


def test_several_clips_stay_several(folder):
    example = Example(
        files=("a.wav", "c.wav"), prompt="<AudioHere> and <AudioHere>: the same?", text="no", task="x"
    )
    assert len(draws(folder, [example])[0].clips) == 2


@pytest.mark.parametrize(
    ("name", "options", "task"),
    [
        ("with_noise", {"noise_probability": 0.4}, "common-classification"),
        ("time_scale", {"time_scale_probability": 0.3}, "common-classification"),
        ("echo", {"echo_probability": 0.3}, "common-classification"),
        ("band_mask", {"band_mask_probability": 0.3}, "common-classification"),
        ("as_noise", {"replace_probability": 0.1}, "common-simple-detection"),
        ("mixup_weight", {"mixup_probability": 0.45}, "common-simple-detection"),
    ],
)
def test_T10_what_is_configured_is_called_as_often_as_it_says(folder, monkeypatch, name, options, task):
    calls = []
    real = getattr(augmentation, name)
    monkeypatch.setattr(augmentation, name, lambda *given: calls.append(1) or real(*given))
    setting = changed(noise_folders=(str(folder / "noise"),), **options)
    made = draws(folder, [row(task=task), row("c.wav", task=task, text="C")], setting, length=300)
    for number in range(300):
        made[number]
    (probability,) = options.values()
    times = 1.5 if name == "mixup_weight" else 1.0  # one partner or two, but there is only one other file
    expected = probability * 300 * (1.0 if name == "mixup_weight" else times)
    assert len(calls) == pytest.approx(expected, rel=0.3)
    calls.clear()
    untouched = draws(folder, [row("c.wav", task="caption-pitch")], changed(), length=20)
    for number in range(20):
        untouched[number]
    assert not calls


def test_T10_flip_reverses_time(folder):
    flipped = draws(folder, [row("b.wav")], changed(flip_probability=1.0))[0].clips[0]
    plain = draws(folder, [row("b.wav")])[0].clips[0]
    assert np.array_equal(flipped[:8000], plain[:8000][::-1])


def test_pitch_tasks_keep_their_speed(folder, monkeypatch):
    monkeypatch.setattr(augmentation, "time_scale", lambda *_: pytest.fail("changed the pitch"))
    draws(folder, [row(task="music-pitch")], changed(time_scale_probability=1.0))[0]


def test_a_recording_that_became_noise_is_answered_none_and_not_mixed(folder, monkeypatch):
    monkeypatch.setattr(augmentation, "mixup_weight", lambda *_: pytest.fail("mixed"))
    options = changed(noise_folders=(str(folder / "noise"),), replace_probability=1.0, mixup_probability=1.0)
    rows = [row(task="common-simple-detection"), row("c.wav", task="common-simple-detection", text="C")]
    for number in range(4):
        sample = draws(folder, rows, options)[number]
        assert sample.text == "None"
        assert sample.clips[0].shape == (SAMPLES,)


def test_a_mixture_has_both_sounds_and_both_names(folder):
    rows = [
        row(task="common-simple-detection", text="A", prompt="Which? A, None"),
        row("c.wav", task="common-simple-detection", text="C", prompt="Which? C, None"),
    ]
    made = draws(folder, rows, changed(mixup_probability=1.0))
    sample = next(made[number] for number in range(10) if made[number].row == 0)
    assert sample.text == "A, C"
    assert set(sample.prompt.partition("? ")[2].split(", ")) == {"A", "C", "None"}
    spectrum = np.abs(np.fft.rfft(sample.clips[0]))
    assert spectrum[400] > 50
    assert spectrum[2000] > 50


def test_T8_a_recording_is_never_mixed_with_itself(folder):
    task = "common-simple-detection"
    made = draws(folder, [row(task=task), row(task=task)], changed(mixup_probability=1.0))
    assert {made[number].text for number in range(10)} == {"A"}


def test_T8_more_partners_than_there_are_is_no_crash(folder):
    task = "common-simple-detection"
    made = draws(folder, [row(task=task), row("b.wav", task=task, text="B")], changed(mixup_probability=1.0))
    assert {made[number].text for number in range(20)} == {"A, B", "B, A"}


def test_a_floor_keeps_the_base_audible(folder):
    task = "common-simple-detection"
    rows = [row(task=task), row("c.wav", task=task, text="C")]
    made = draws(folder, rows, changed(mixup_probability=1.0, mixup_min_db=0.0))
    assert {made[number].text for number in range(10)} <= {"A", "C"}


def test_a_small_noise_folder_counts_three_times_and_any_format_does(folder):
    write_tone(folder / "more" / "m.flac", 70, 0.4)
    pool = NoisePool([str(folder / "noise"), str(folder / "more")])
    assert len(pool.paths) == 6
    with pytest.raises(AudioError):
        NoisePool([str(folder / "absent")])
    with pytest.raises(OptionsError, match="name folders of recordings without animals"):
        draws(folder, [row()], AugmentOptions())


def test_another_noise_file_stands_in_for_one_that_cant_be_read(folder):
    write_tone(folder / "noise" / "m.wav", 70, 0.4)
    (folder / "noise" / "torn.wav").write_bytes(b"nothing")
    noisy = changed(noise_folders=(str(folder / "noise"),), noise_probability=1.0)
    made = draws(folder, [row()], noisy)
    samples = [made[number] for number in range(20)]
    assert {sample.row for sample in samples} == {0}  # the row is not to blame
    failed = {(one.row, one.reason) for sample in samples for one in sample.unreadable}
    assert len(failed) == 1
    ((number, reason),) = failed
    assert number < 0
    assert reason.startswith("noise, ")
    assert "torn.wav" in reason
    for name in ("m.wav", "n.wav"):
        (folder / "noise" / name).write_bytes(b"nothing")
    with pytest.raises(AudioError, match="noise files in turn can't be read"):
        made.noise.draw(SAMPLES, np.random.default_rng(0), [])


def test_another_row_stands_in_for_one_that_cant_be_read(folder):
    (folder / "broken.wav").write_bytes(b"nothing")
    made = draws(folder, [row("broken.wav"), row("c.wav")])
    samples = [made[number] for number in range(4)]
    assert {sample.row for sample in samples} == {1}
    failed = [one for sample in samples for one in sample.unreadable]
    assert {one.row for one in failed} == {0}
    assert "broken.wav" in failed[0].reason
    with pytest.raises(AudioError, match="rows in turn can't be read"):
        draws(folder, [row("broken.wav")])[0]


def test_a_partner_that_cant_be_read_is_left_out(folder):
    (folder / "broken.wav").write_bytes(b"nothing")
    task = "common-simple-detection"
    made = draws(
        folder, [row(task=task), row("broken.wav", task=task, text="B")], changed(mixup_probability=1.0)
    )
    sample = made[0]
    assert sample.text == "A"
    assert {one.row for one in sample.unreadable} == {1}


def test_no_rows_or_no_weight_is_refused(folder):
    with pytest.raises(OptionsError, match="no rows"):
        draws(folder, [])
    with pytest.raises(OptionsError, match="weights of all rows are 0"):
        draws(folder, [row(weight=0.0)])
