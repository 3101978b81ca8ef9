"""The accumulation curve against counting all choices."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import row, survey_of, timed

from naturelm_audio.survey.richness import accumulation, expected_labels


@given(
    st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=7).flatmap(
        lambda samples: st.tuples(st.just(samples), st.integers(0, len(samples)))
    )
)
def test_the_formula_equals_the_mean_over_all_choices(drawn):
    samples, count = drawn
    found_in = [sum(label in sample for sample in samples) for label in "abcd"]
    found_in = [found for found in found_in if found]
    choices = [set().union(*choice) for choice in itertools.combinations(samples, count)]
    mean = sum(map(len, choices)) / len(choices)
    assert expected_labels(found_in, len(samples), count) == pytest.approx(mean, abs=1e-9)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_the_curve_rises_to_all_labels(found_in):
    values = [expected_labels(found_in, 500, count) for count in range(0, 501, 50)]
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert values[-1] == pytest.approx(len(found_in))
    assert all(earlier <= later + 1e-9 for earlier, later in itertools.pairwise(values))


def test_days_at_a_site_are_the_samples_where_there_are_enough():
    curve = accumulation(
        survey_of(*(timed(f"2024-05-0{day}T04:00:00Z", f"label {day % 3}") for day in range(1, 8)))
    )
    assert (curve.unit, curve.samples) == ("days at a site", 7)
    assert curve.points[-1] == (7, pytest.approx(3))


def test_recordings_and_then_windows_where_there_are_not():
    recordings = accumulation(survey_of(*(row(f"{number}.wav", output=f"l{number}") for number in range(6))))
    assert (recordings.unit, recordings.samples) == ("recordings", 6)
    windows = accumulation(survey_of(row(start=0), row(start=10, output="None"), row(start=20)))
    assert (windows.unit, windows.samples, windows.estimate) == ("windows", 3, None)


def test_a_label_without_a_time_keeps_days_from_being_samples():
    timed_rows = [timed(f"2024-05-0{day}T04:00:00Z") for day in range(1, 8)]
    assert accumulation(survey_of(*timed_rows, row("site1/x.wav", output="toad"))).unit == "recordings"


def test_silent_days_count_as_samples():
    answers = [timed(f"2024-05-0{day}T04:00:00Z", "frog" if day == 1 else "None") for day in range(1, 7)]
    curve = accumulation(survey_of(*answers))
    assert curve.samples == 6
    assert curve.points[0][1] == pytest.approx(1 / 6)


def test_chao_counts_what_was_found_once_and_twice():
    days = [{"a", "b", "c"}, {"a", "c"}, {"a"}, {"a"}, {"a", "d"}]
    answers = [
        timed(f"2024-05-0{day}T04:00:0{place}Z", label)
        for day, labels in enumerate(days, 1)
        for place, label in enumerate(sorted(labels))
    ]
    assert accumulation(survey_of(*answers)).estimate == pytest.approx(4 + 4 / 5 * 2 * 1 / (2 * 2))


def test_nothing_detected_has_no_curve():
    assert accumulation(survey_of(row(output="None"))) is None


def test_large_surveys_do_not_overflow():
    assert math.isfinite(expected_labels([1, 1_000_000, 3_000_000], 4_000_000, 2_000_000))
