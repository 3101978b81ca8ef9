"""Which windows a person is asked about: the best, the least certain or any, of each label."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OptionsError
from naturelm_audio.records import Answer, Label
from naturelm_audio.review.choosing import choose, only_query


def free(output, confidence, start=0.0, path="a.wav", **more):
    return Answer(
        audio_path=path, start_seconds=start, end_seconds=start + 10, query="What?", output=output,
        confidence=confidence, confidence_kind="token_probability", **more,
    )  # fmt: skip


def ranked(scores, start=0.0, kind="label_softmax"):
    labels = tuple(Label(label=name, score=score) for name, score in scores.items())
    return Answer(
        audio_path="a.wav", start_seconds=start, end_seconds=start + 10, query="What?",
        output=labels[0].label, confidence=labels[0].score, confidence_kind=kind, labels=labels,
    )  # fmt: skip


def chosen(answers, **more):
    return [(one.label, one.start_seconds, one.score) for one in choose(answers, **more)]


def test_free_answers_stand_for_themselves_best_first():
    rows = [free("frog", 0.2, 0), free("wren", 0.4, 10), free("frog", 0.9, 20), free("frog", None, 30)]
    assert chosen(rows) == [
        ("frog", 20.0, 0.9), ("frog", 0.0, 0.2), ("frog", 30.0, None), ("wren", 10.0, 0.4),
    ]  # fmt: skip
    assert chosen(rows, per_label=1) == [("frog", 20.0, 0.9), ("wren", 10.0, 0.4)]
    assert chosen(rows, select="uncertain", per_label=2)[:2] == [("frog", 0.0, 0.2), ("frog", 20.0, 0.9)]


def test_a_ranking_stands_for_its_best_label_and_is_uncertain_where_the_second_is_near():
    rows = [
        ranked({"frog": 0.5, "wren": 0.1}),
        ranked({"frog": 0.6, "wren": 0.39}, 10),
        ranked({"wren": 0.9, "frog": 0.05}, 20),
    ]
    assert chosen(rows) == [("frog", 10.0, 0.6), ("frog", 0.0, 0.5), ("wren", 20.0, 0.9)]
    assert chosen(rows, select="uncertain", per_label=1) == [("frog", 10.0, 0.6), ("wren", 20.0, 0.9)]


def test_several_sounds_at_once_are_several_questions():
    rows = [ranked({"frog": 0.8, "wren": 0.7}, kind="token_probability")]
    assert chosen(rows) == [("frog", 0.0, 0.8), ("wren", 0.0, 0.7)]


def test_only_some_labels_or_scores():
    rows = [free("Frog", 0.2), free("wren", 0.4, 10), free("Frog", 0.9, 20), free("Frog", None, 30)]
    assert chosen(rows, labels=["frog "]) == [("Frog", 20.0, 0.9), ("Frog", 0.0, 0.2), ("Frog", 30.0, None)]
    assert chosen(rows, least_score=0.5) == [("Frog", 20.0, 0.9), ("Frog", 30.0, None)]
    assert chosen(rows, labels=["owl"]) == []


def test_failed_rows_are_passed_over_and_what_is_known_is_kept():
    failed = Answer(
        audio_path="b", start_seconds=None, end_seconds=None, query="What?", output=None, error="x: y"
    )
    slow = free(" a\nfrog ", 0.5, channel=2, speed_factor=0.1)
    mixed = free("wren", 0.5, channel="mix")
    (one, other) = choose([failed, slow, mixed])
    assert (one.label, one.channel, one.speed_factor) == ("a frog", 2, 0.1)
    assert (other.label, other.channel, other.speed_factor) == ("wren", None, 1.0)


@given(
    scores=st.lists(st.none() | st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=30),
    per_label=st.integers(1, 10),
    select=st.sampled_from(["top", "uncertain", "random"]),
    seed=st.integers(0, 5),
)
def test_the_order_of_rows_changes_nothing(scores, per_label, select, seed):
    rows = [free(f"label {n % 3}", score, 10.0 * n) for n, score in enumerate(scores)]
    first = choose(rows, per_label=per_label, select=select, seed=seed)
    random.Random(seed).shuffle(rows)
    assert choose(rows, per_label=per_label, select=select, seed=seed) == first
    for label in {one.label for one in first}:
        count = sum(row.output == label for row in rows)
        assert sum(one.label == label for one in first) == min(per_label, count)


def test_any_windows_differ_by_seed():
    rows = [free("frog", 0.5, 10.0 * n) for n in range(100)]
    draws = [{one.start_seconds for one in choose(rows, select="random", seed=seed)} for seed in range(3)]
    assert draws[0] != draws[1] != draws[2]


def test_wrong_use_is_named():
    with pytest.raises(OptionsError, match="--select must be one of top, uncertain, random, not 'best'"):
        choose([], select="best")
    with pytest.raises(OptionsError, match="--per-label must be 1 or more, not 0"):
        choose([], per_label=0)


def test_one_question_is_reviewed():
    assert only_query(["a"], None) == "a"
    assert only_query(["a", "b"], "b") == "b"
    assert only_query([], None) is None
    with pytest.raises(OptionsError, match="answer 2 questions; choose one, --query 'a' or 'b'"):
        only_query(["a", "b"], None)
    with pytest.raises(OptionsError, match="--query 'c' was not asked; these were: 'a' or 'b'"):
        only_query(["a", "b"], "c")
