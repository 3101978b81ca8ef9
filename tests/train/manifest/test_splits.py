"""Splits go by recording, site or day, and never through one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.seeding import digest, generator
from naturelm_audio.train.manifest.splits import assign_splits, check_splits, group_of

GROUPS = st.lists(st.text(max_size=8), min_size=3, max_size=50)


@given(GROUPS, st.integers(0, 99), st.randoms())
def test_every_group_has_one_split_whatever_the_order(groups, seed, shuffler):
    splits = assign_splits(groups, valid_share=0.2, test_share=0.1, seed=seed)
    other = list(groups)
    shuffler.shuffle(other)
    assert assign_splits(other, valid_share=0.2, test_share=0.1, seed=seed) == splits
    assert set(splits) == set(groups)
    found = list(splits.values())
    count = len(splits)
    assert found.count("train") >= 1
    if count >= 3:
        assert found.count("valid") == max(1, round(0.2 * count))
        assert found.count("test") == max(1, round(0.1 * count))


def test_one_group_is_for_training():
    assert assign_splits(["a"], valid_share=0.5) == {"a": "train"}
    assert set(assign_splits("abc", valid_share=0.0).values()) == {"train"}
    with pytest.raises(OptionsError, match="nothing to train on"):
        assign_splits("abc", valid_share=0.7, test_share=0.3)


def test_groups():
    path = "site1/S4A01_20240501_040000.wav"
    assert group_of(path, "r1", "recording") == "r1"
    assert group_of(path, "", "recording") == path
    assert group_of(path.replace("/", "\\"), "r1", "site") == "site1"
    assert group_of(path, "r1", "day") == "2024-05-01"
    with pytest.raises(OptionsError, match="no date"):
        group_of("a/123456789012.wav", "", "day")


def test_a_recording_in_two_splits_is_named():
    check_splits([("a", "train"), ("a", ""), ("b", "valid")], "t")
    with pytest.raises(ManifestError, match="'a' is in train and valid"):
        check_splits([("a", "train"), ("a", "valid")], "t")


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_different_keys_are_different_seeds(one, two):
    assert (digest(*one) == digest(*two)) == (one == two)


def test_a_generator_is_the_same_for_ever():
    # A change here changes every compiled data set.
    assert generator(0, "recording", "names").randrange(10**6) == 465719
    assert generator(1, "a").random() == generator(1, "a").random()
