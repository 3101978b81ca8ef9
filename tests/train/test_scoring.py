"""Figures during training against cases counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train.scoring import (
    Scored,
    answer_figures,
    event_counts,
    loss_figures,
    read_events,
    set_f1,
)


def scored(row, task, gold="A", answer=None, loss_sum=2.0, tokens=2, correct=1):
    return Scored(
        row=row, task=task, loss_sum=loss_sum, tokens=tokens, correct=correct, gold=gold, answer=answer
    )


def test_losses_are_means_over_tokens():
    figures = loss_figures(
        [scored(0, "a"), scored(1, "a", loss_sum=6.0, tokens=6, correct=6), scored(2, "b")]
    )
    assert figures["loss"] == 1.0
    assert figures["token_accuracy"] == 0.8
    assert figures["a/token_accuracy"] == pytest.approx(7 / 8)
    assert (figures["a/rows"], figures["b/rows"], figures["b/loss"]) == (2.0, 1.0, 1.0)


def test_exact_match_ignores_case_and_blanks():
    figures = answer_figures(
        [scored(0, "x-classification", "Green Frog", " green frog "), scored(1, "x-classification", "A", "B")]
    )
    assert figures == {
        "x-classification/answers": 2.0,
        "x-classification/exact_match": 0.5,
        "x-classification/benchmark_accuracy": 1.0,  # the nearest of the two to B is A
    }


def test_detection_counts_none_and_several_species():
    rows = [
        scored(0, "d-detection", "None", "none"),
        scored(1, "d-detection", "None", "A"),
        scored(2, "d-detection", "A, B", "A, B"),
        scored(3, "d-detection", "A, B", "B, A"),
        scored(4, "d-detection", "A", "A"),
    ]
    figures = answer_figures(rows)
    assert figures["d-detection/none_accuracy"] == 0.5
    assert figures["d-detection/multi_species_accuracy"] == 0.5
    assert figures["d-detection/multi_species_f1"] == 1.0
    assert figures["d-detection/exact_match"] == 0.6
    assert answer_figures(rows[4:])["d-detection/none_accuracy"] == 0.0


def test_answers_are_matched_as_the_benchmark_does():
    rows = [
        scored(0, "d-detection", "Eurasian Wren, Barn Owl", "Barn Owls, eurasian wren"),
        scored(1, "d-detection", "Eurasian Wren", "None"),
        scored(2, "d-detection", "None", "something else altogether"),
        scored(3, "c-classification", "Barn Owl", "Bran Owl"),
        scored(4, "c-classification", "Eurasian Wren", "Barn Owl"),
    ]
    figures = answer_figures(rows)
    # Both names of the first row are found; the wren of the second is missed: F1 of 2/3 and 1.
    assert figures["d-detection/benchmark_f1"] == pytest.approx(5 / 6)
    assert figures["c-classification/benchmark_accuracy"] == 0.5
    assert answer_figures(rows[2:3])["d-detection/benchmark_f1"] == 0.0


def test_T12_events_are_matched_one_to_one_above_a_half():
    assert event_counts("0.50-1.50, 3.00-4.00", "0.60-1.60, 5.00-6.00") == (1, 1, 1)
    assert event_counts("0.00-1.00", "0.50-1.50") == (0, 1, 1)  # IoU of a third
    assert event_counts("0.00-1.00", "0.00-2.00") == (0, 1, 1)  # IoU of exactly a half
    # One answer fits both events, the other one only the first: a greedy choice would find one pair.
    assert event_counts("0.00-1.00, 0.00-0.70", "0.00-1.00, 0.00-1.20") == (2, 0, 0)
    assert event_counts("", "1.00-2.00") == (0, 0, 1)
    figures = answer_figures([scored(0, "fewshot", "0.60-1.60, 5.00-6.00", "0.50-1.50, 3.00-4.00")])
    assert figures["fewshot/event_f1"] == 0.5


def test_events_need_decimals():
    assert read_events("1-2, 1.0-2.0, 3.5 - 4.25") == [(1.0, 2.0), (3.5, 4.25)]


def test_free_text_has_no_exact_match_and_some_captions_no_report():
    figures = answer_figures(
        [scored(0, "caption-rich", "A bird.", "A bird."), scored(1, "caption-none", "x", "x")]
    )
    assert figures == {"caption-rich/answers": 1.0}
    assert "caption-none/loss" not in loss_figures([scored(1, "caption-none")])


def test_set_f1_has_no_order():
    assert set_f1("b, A", "a, B") == 1.0
    assert set_f1("a", "a, b") == pytest.approx(2 / 3)
    assert set_f1("", "a") == 0.0


@given(st.permutations(range(12)), st.integers(1, 5))
def test_figures_depend_on_no_order(order, answers):
    rows = [
        scored(i, f"t{i % 3}-detection", "A, B", "A" * (i % answers), i / 7, i + 1, i // 2) for i in range(12)
    ]
    shuffled = [rows[place] for place in order]
    assert loss_figures(shuffled) == loss_figures(rows)
    assert answer_figures(shuffled) == answer_figures(rows)
