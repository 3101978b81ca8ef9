"""Augmentations on values; the exclusions of tasks and paths; labels of mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train import augmentation
from naturelm_audio.train.augment import mean_square
from naturelm_audio.train.manifest.examples import Example, MixPart, Recipe


def generator(seed=0):
    return np.random.default_rng(seed)


def tone(samples=16_000, hertz=440.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)).astype(np.float32)


def row(task, path="a.wav", text="A", **more):
    return Example(files=(path,), prompt="What?", text=text, task=task, **more)


# --- which rows ---


@pytest.mark.parametrize(
    ("task", "path", "expected"),
    [
        ("taxonomic-classification", "birds/a.wav", True),
        ("common-simple-detection", "birds/a.wav", True),
        ("caption-rich", "birds/a.wav", False),
        ("wavcaps-qa", "birds/a.wav", False),
        ("icl-detection", "birds/a.wav", False),
        ("animal-instructions", "birds/a.wav", False),
        ("taxonomic-classification", "data/A/a.wav", False),
        ("taxonomic-classification", "data\\A\\a.wav", False),
        ("taxonomic-classification", "data/AB/a.wav", True),
    ],
)
def test_noise_goes_to_the_right_rows(task, path, expected):
    assert augmentation.gets_noise(row(task, path)) is expected


def test_only_open_detection_becomes_noise():
    assert augmentation.may_become_noise(row("common-simple-detection"))
    assert not augmentation.may_become_noise(row("common-detection-random"))
    several = Example(
        files=("a.wav", "b.wav"), prompt="<AudioHere> <AudioHere> which?", text="A", task="x-detection"
    )
    replaced = augmentation.as_noise(several)
    assert (replaced.clips, replaced.text, replaced.full_prompt.count("<AudioHere>")) == (1, "None", 1)


@pytest.mark.parametrize(
    ("task", "base", "kinds"),
    [
        ("sci-simple-detection", True, ("sci",)),
        ("common-multiple-detection", True, ("common",)),
        ("sci-detection-random", True, ()),
        ("common-detection-random", True, ()),
        ("common-detection-hard", False, ()),
        ("common-classification", False, ()),
        ("simple-detection", True, ()),
    ],
)
def test_mixup_takes_the_right_bases_and_partners(task, base, kinds):
    assert augmentation.is_mixup_base(row(task)) is base
    assert augmentation.partner_kinds(row(task)) == kinds
    assert augmentation.partner_kinds(row(task, text="None")) == ()
    mixture = Example(files=(), mix=Recipe(parts=(MixPart(path="a.wav"),)), prompt="?", text="A", task=task)
    assert augmentation.partner_kinds(mixture) == ()


def test_mixup_kinds_follow_the_names():
    assert augmentation.mixup_kind("sci-detection-random") == "sci"
    assert augmentation.mixup_kind("common-simple-detection") == "common"
    assert augmentation.mixup_kind("simple-detection") == "common"


# --- samples ---


@given(st.integers(0, 500), st.integers(1, 3000), st.integers(1, 3000))
def test_noise_is_cropped_or_repeated_to_the_length(seed, available, samples):
    noise = np.arange(1, available + 1, dtype=np.float32)
    fitted = augmentation.fitted_noise(noise, samples, generator(seed))
    assert len(fitted) == samples
    assert set(np.diff(fitted)) <= {1.0, 1.0 - available}


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0])
def test_noise_is_added_at_its_ratio(snr_db):
    noise = generator().standard_normal(16_000).astype(np.float32)
    added = augmentation.with_noise(tone(), noise, snr_db) - tone()
    assert 10 * np.log10(mean_square(tone()) / mean_square(added)) == pytest.approx(snr_db, abs=1e-3)


def test_silence_is_no_trouble_for_noise():
    silence, noise = np.zeros(100, np.float32), np.ones(100, np.float32)
    assert np.array_equal(augmentation.with_noise(silence, noise, 10.0), silence)
    assert np.isfinite(augmentation.with_noise(noise, silence, 10.0)).all()


def test_mixup_weights_are_a_clipped_uniform():
    draw = generator()
    weights = np.array([augmentation.mixup_weight(draw) for _ in range(20_000)])
    assert (weights.min(), weights.max()) == (0.1, 0.8)
    assert np.mean(weights == 0.1) == pytest.approx(0.1, abs=0.01)
    assert np.mean(weights == 0.8) == pytest.approx(0.2, abs=0.01)
    assert weights.mean() == pytest.approx(0.485, abs=0.01)


def test_time_scale_keeps_the_length_and_moves_the_pitch():
    factors = []
    for seed in range(40):
        scaled = augmentation.time_scale(tone(32_000), 1.1, generator(seed))
        assert len(scaled) == 32_000
        assert scaled.dtype == np.float32
        middle = scaled[8000:24_000]
        factors.append(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) / 440)
    assert min(factors) >= 0.9
    assert max(factors) <= 1.11
    assert max(factors) - min(factors) > 0.1


def test_T10_time_scale_pads_at_a_random_place():
    starts = set()
    for seed in range(30):
        scaled = augmentation.time_scale(np.ones(1000, np.float32), 1.5, generator(seed))
        if 0.0 in scaled:
            starts.add(int(np.argmax(scaled > 0)))
    assert len(starts) > 3


def test_echo_adds_delayed_copies_and_is_quiet():
    click = np.zeros(16_000, np.float32)
    click[0] = 1.0
    heard = augmentation.echo(click, generator(3))
    assert heard[0] == 1.0
    assert not heard[1:140].any()
    echoes = np.flatnonzero(heard[1:]) + 1
    assert len(echoes) > 3
    assert np.abs(heard[1:]).max() < 0.1 * 0.3 * 3
    assert np.abs(heard[echoes[0]]) > np.abs(heard[echoes[-1]])


def test_band_mask_removes_one_band_and_little_else():
    noise = generator(1).standard_normal(32_000).astype(np.float32)
    removed = []
    for seed in range(20):
        left = augmentation.band_mask(noise, generator(seed))
        assert left.shape == noise.shape
        removed.append(1 - mean_square(left) / mean_square(noise))
    assert max(removed) < 0.35
    assert max(removed) > 0.02


# --- words ---

LIST = "Which of these, if any, are present in the audio recording? {}"


def merged(listed, target, *others, seed=0):
    prompt, text = augmentation.merge_labels(LIST.format(listed), target, others, generator(seed))
    return prompt.partition("? ")[2], text


def test_the_example_of_the_recipe():
    listed, text = merged("A, None", "A", "B, A")
    assert text == "A, B"
    assert sorted(listed.split(", ")[:-1]) == ["A", "B"]
    assert listed.endswith(", None")


def test_T13_a_second_partner_is_in_the_list_too():
    for seed in range(20):
        listed, text = merged("A, X, None", "A", "B", "C", seed=seed)
        assert text == "A, B, C"
        assert set(listed.split(", ")) == {"A", "B", "C", "X", "None"}
        assert listed.endswith("None")


def test_names_are_compared_whole():
    listed, text = merged("Long-billed Wren, None", "Wren", "Owl")
    assert (listed, text) == ("Long-billed Wren, None", "Wren, Owl")


def test_none_joined_with_a_name_gives_the_name():
    listed, text = merged("X, None", "None", "B")
    assert text == "B"
    assert set(listed.split(", ")) == {"X", "B", "None"}
    assert merged("X, None.", "None", "None")[1] == "None"


def test_a_full_stop_is_no_other_option():
    listed, text = merged("A, None.", "A", "B")
    assert text == "A, B"
    assert listed.endswith(", None.")
    assert listed.count("None") == 1


def test_open_questions_keep_their_words():
    prompt = "What are the common names for the species in the audio, if any?"
    assert augmentation.merge_labels(prompt, "A", ["B"], generator()) == (prompt, "A, B")
    two = "Is it? Which? A, None"
    assert augmentation.merge_labels(two, "A", ["B"], generator()) == (two, "A, B")


@given(
    st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=4, unique=True),
    st.lists(
        st.lists(st.sampled_from("ABCDEFG"), min_size=1, max_size=3, unique=True), min_size=1, max_size=2
    ),
    st.integers(0, 1000),
)
def test_every_name_of_the_answer_is_an_option_once(listed, others, seed):
    target = listed[0]
    options, text = merged(", ".join([*listed, "None"]), target, *map(", ".join, others), seed=seed)
    found, names = options.split(", "), text.split(", ")
    assert len(found) == len(set(found))
    assert set(names) <= set(found)
    assert set(listed) <= set(found)
    assert len(names) == len(set(names))
