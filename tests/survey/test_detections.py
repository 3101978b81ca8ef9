"""What counts as a detection."""

from __future__ import annotations

import pytest
from survey_rows import row

from naturelm_audio.survey.detections import BELOW, NOTHING, UNSCORED, Detection, detected


def test_the_best_label_of_a_ranking_counts():
    found = detected(row(output="what the model said", labels=[("frog", 0.6), ("toad", 0.3)]))
    assert found == Detection("frog", 0.6)


def test_a_free_answer_counts_as_it_is_blanks_aside():
    assert detected(row(output=" green \n frog ", confidence=0.5)) == Detection("green frog", 0.5)
    assert detected(row(output="Frog, Toad")) == Detection("Frog, Toad", None)


@pytest.mark.parametrize("output", ["None", " none ", "NONE", "", " "])
def test_none_is_no_detection(output):
    assert detected(row(output=output)) == NOTHING
    assert detected(row(output="frog", labels=[(output, 0.9), ("frog", 0.1)])) == NOTHING


@pytest.mark.parametrize(
    ("least", "expected"), [(None, Detection("frog", 0.5)), (0.5, Detection("frog", 0.5)), (0.51, BELOW)]
)
def test_the_least_score(least, expected):
    assert detected(row(labels=[("frog", 0.5)]), least) == expected
    assert detected(row(output="frog", confidence=0.5), least) == expected


def test_an_answer_without_a_score_can_not_be_compared():
    assert detected(row(output="frog")) == Detection("frog", None)
    assert detected(row(output="frog"), 0.1) == UNSCORED
