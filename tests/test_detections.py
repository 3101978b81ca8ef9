from __future__ import annotations

import pytest

from naturelm_audio.detections import confused, f1_range_of_ties, label_table
from naturelm_audio.matching import Answered

A, B = frozenset({"a"}), frozenset({"b"})
NOTHING: frozenset[str] = frozenset()


def test_a_table_has_the_classes_alone():
    assert label_table([A, A | {"x"}, NOTHING], ["a", "b"]).tolist() == [
        [True, False],
        [True, False],
        [False, False],
    ]


def test_what_was_confused():
    assert confused([A, A, NOTHING, A | B], [B, NOTHING, B, A | B]) == {
        ("a", "b"): 1,
        ("a", ""): 1,
        ("", "b"): 1,
    }


def test_ties_taken_badly_and_well():
    answers = [Answered("a", "c", 1, (("a", "b"),)), Answered("b", "b")]
    truth = label_table([B, B], ["a", "b"])
    low, high = f1_range_of_ties(truth, [B, B], answers, [A, B], ["a", "b"])
    assert low == pytest.approx((0 + 2 / 3) / 2)
    assert high == 0.5  # class a has no positive
