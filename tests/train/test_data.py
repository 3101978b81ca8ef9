"""Manifest, clips in memory, sampling and scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from naturelm_audio.errors import AudioError
from naturelm_audio.train.build import SYNTHETIC, sounds_of, synthetic_clips, training_clips
from naturelm_audio.train.data import (
    Clip,
    ClipStore,
    SceneMaker,
    read_manifest,
    sampling_weights,
    to_int16,
)
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.questions import Sound
from naturelm_audio.train.scene_options import MixOptions, ScenesOptions

PLAIN = MixOptions(
    clips=(1.0,), low_pass_probability=0, equalise_probability=0, noise_probability=0, speed_probability=0
)


def clip(label: str, source: str = "toy", kind: str = "animal") -> Clip:
    sound = Sound(label=label, kind=kind)
    return Clip(path=label, sound=sound, source=source, split="train", recording=label)


def store_of(*labels: str, samples: int = 8000) -> ClipStore:
    rng = np.random.default_rng(0)
    return ClipStore.of(
        [clip(x) for x in labels], [to_int16(0.3 * rng.standard_normal(samples)) for _ in labels]
    )


def test_manifest_rows_become_clips(toy_manifest: Path) -> None:
    clips = read_manifest(toy_manifest)
    assert len(clips) == 9
    assert clips[0].sound.scientific_name == "Canis familiaris"
    assert [c.split for c in clips[:3]] == ["train", "train", "validation"]


def test_a_manifest_without_labels_is_refused_by_column(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,kind,lable\na.wav,animal,dog\n")
    with pytest.raises(ManifestError, match=r"lacks the column label, split; did you mean 'lable'\?"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match=r"none\.csv"):
        read_manifest(tmp_path / "none.csv")


def test_faulty_rows_are_named_all_at_once(tmp_path: Path) -> None:
    rows = ["a.wav,dog,animal,train,16000", "a.wav,,animal,train,", ",dog,animal,train,",
            'a.wav,"dog, big",animal,train,', "a.wav,dog,beast,train,", "a.wav,dog,animal,,",
            "a.wav,dog,animal,tarin,", "a.wav,dog,animal,train,fast"]  # fmt: skip
    path = tmp_path / "m.csv"
    path.write_text("\n".join(["path,label,kind,split,original_sample_rate", *rows]) + "\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    reasons = {problem.line: problem.reason for problem in caught.value.problems}
    assert set(reasons) == set(range(3, 10))
    for line, words in enumerate(("label is empty", "path is empty", "comma", "no kind", "split", "tarin",
                                  "not a number"), start=3):  # fmt: skip
        assert words in reasons[line], reasons[line]
    path.write_text("\n".join(["path,label,kind,split,original_sample_rate", *rows[:1]]) + "\n")
    assert read_manifest(path)[0].recording == "a.wav"


def test_clips_are_read_by_split_and_source(toy_manifest: Path) -> None:
    train = training_clips(ScenesOptions(manifest=str(toy_manifest)))
    assert len(train) == 6
    assert len(training_clips(ScenesOptions(manifest=str(toy_manifest), exclude_sources=("toy",)))) == 0
    validation = training_clips(ScenesOptions(manifest=str(toy_manifest)), "validation")
    assert [len(validation.waveform(index)) for index in range(3)] == [48_000] * 3
    assert np.abs(validation.waveform(0)).max() == pytest.approx(0.3, abs=1e-3)


def test_clips_with_wrong_labels_are_left_out(toy_manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    every = training_clips(ScenesOptions(manifest=str(toy_manifest)))
    wrong = every.clips[0].path
    without = training_clips(ScenesOptions(manifest=str(toy_manifest), exclude_paths=(wrong,)))
    assert [clip.path for clip in without.clips] == [clip.path for clip in every.clips[1:]]
    assert not caplog.records
    training_clips(ScenesOptions(manifest=str(toy_manifest), exclude_paths=(wrong, "no.wav")))
    assert "1 not in" in caplog.text
    assert "no.wav" in caplog.text


def test_T8_unreadable_clips_are_left_out_and_told(toy_manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"not audio")
    clips = read_manifest(toy_manifest)[:2]
    bad = dataclasses.replace(clips[0], path=str(tmp_path / "noise.wav"))
    store = ClipStore.read([bad, clips[1]], toy_manifest.parent, max_unreadable_share=0.5)
    assert [one.path for one in store.clips] == [clips[1].path]
    assert list(store.unreadable) == [0]
    assert (store + store).unreadable == store.unreadable
    with pytest.raises(AudioError, match=r"1 of 2 recordings can't be read: .*noise\.wav"):
        ClipStore.read([bad, clips[1]], toy_manifest.parent, max_unreadable_share=0.49)


def test_stores_add_up() -> None:
    first, second = store_of("a", "b"), store_of("c", samples=100)
    both = first + second
    assert [c.sound.label for c in both.clips] == ["a", "b", "c"]
    np.testing.assert_array_equal(both.waveform(1), first.waveform(1))
    np.testing.assert_array_equal(both.waveform(2), second.waveform(0))


def test_labels_weigh_the_root_of_their_number() -> None:
    clips = [clip("a")] * 9 + [clip("b")] + [clip("c", "other")]
    weights = np.diff(sampling_weights(clips, {"other": 2.0}), prepend=0.0)
    np.testing.assert_allclose([weights[:9].sum(), weights[9], weights[10]], np.array([3, 1, 2]) / 6)


def test_a_plain_scene_is_one_clip_with_zeros() -> None:
    store = store_of("a")
    scene = SceneMaker(store).scene(np.random.default_rng(1), 16_000, PLAIN)
    assert scene.waveform.shape == (16_000,)
    assert scene.heard.focal
    found = scene.waveform[np.abs(scene.waveform) > 0]
    ratio = found.std() / store.waveform(0).std()
    assert 10 ** (-12 / 20) < ratio < 10 ** (6 / 20)


def test_mixtures_name_each_label_once_and_know_the_focal_one() -> None:
    maker = SceneMaker(store_of("a", "a", "b", "c"))
    options = MixOptions(clips=(0.0, 0.0, 1.0))
    scenes = [maker.scene(np.random.default_rng(seed), 8000, options) for seed in range(40)]
    for scene in scenes:
        labels = [sound.label for sound in scene.heard.sounds]
        assert len(set(labels)) == len(labels)
        assert np.abs(scene.waveform).max() <= 1.0
    assert {len(scene.heard.sounds) for scene in scenes} == {1, 2, 3}
    assert {scene.heard.focal for scene in scenes} == {True, False}


def test_animals_about_as_loud_as_each_other_can_be_counted() -> None:
    maker = SceneMaker(store_of("a", "b"))
    near, far = (
        [
            maker.scene(np.random.default_rng(seed), 8000, MixOptions(clips=(0.0, 1.0), level_range_db=most))
            for seed in range(40)
        ]
        for most in (8.0, 60.0)
    )
    assert all(scene.heard.countable for scene in near)
    assert {scene.heard.countable for scene in far} == {True, False}


def test_pairs_are_two_animals_of_sources_with_one_each() -> None:
    clips = [clip(label, source=source) for label in "abc" for source in ("esc50-animals", "elsewhere")]
    store = ClipStore.of(clips, [np.ones(8000, np.int16)] * len(clips))
    options = MixOptions(clips=(1.0,), pair_probability=1.0)
    heard = [SceneMaker(store).scene(np.random.default_rng(seed), 8000, options).heard for seed in range(30)]
    assert {len(one.sounds) for one in heard} == {1, 2}  # one, where the same label came twice
    assert SceneMaker(store_of("a")).scene(np.random.default_rng(0), 8000, options).heard.sounds


def test_nothing_is_not_heard_beside_something() -> None:
    silent, loud = clip("silence", kind="environment"), clip("a")
    store = ClipStore.of([silent, loud], [np.zeros(8000, np.int16), np.ones(8000, np.int16)])
    options = MixOptions(clips=(0.0, 1.0))
    for seed in range(20):
        heard = SceneMaker(store).scene(np.random.default_rng(seed), 8000, options).heard
        assert [sound.label for sound in heard.sounds] in (["a"], ["silence"])


def test_scenes_repeat_by_seed_and_differ_otherwise() -> None:
    maker = SceneMaker(store_of("a", "b", "c"))
    first, again, other = (maker.scene(np.random.default_rng([7, x]), 8000, MixOptions()) for x in (0, 0, 1))
    np.testing.assert_array_equal(first.waveform, again.waveform)
    assert not np.array_equal(first.waveform, other.waveform)


def test_synthetic_kinds_have_their_labels() -> None:
    store = synthetic_clips(1, seconds=0.5)
    assert [c.sound for c in store.clips] == list(SYNTHETIC.values())
    assert [len(store.waveform(place)) for place in range(len(store))] == [8000] * len(SYNTHETIC)


def test_every_label_has_its_best_description() -> None:
    named = Sound(label="a", kind="animal", taxonomic_name="Canis familiaris")
    other = Clip(path="a2", sound=named, source="toy", split="train", recording="a2")
    store = ClipStore.of([clip("a"), other], [np.zeros(1, np.int16)] * 2)
    assert named in sounds_of(store)
    labels = [sound.label for sound in sounds_of(store)]
    assert labels == sorted({"a", *(sound.label for sound in SYNTHETIC.values())})
