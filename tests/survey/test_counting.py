"""Counts of a survey."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import failed, row, survey_of, timed

from naturelm_audio.survey import counting
from naturelm_audio.survey.counting import OTHER_LABELS, Survey


def hours_of(survey: Survey, label: str = "frog") -> dict[tuple[str, int], int]:
    hours = survey.labels[label].hours
    return {(date.fromordinal(key // 24).isoformat(), key % 24): count for key, count in hours.items()}


def test_labels_hours_sites_and_effort():
    survey = survey_of(
        timed("2024-05-01T04:00:00+02:00", labels=[("frog", 0.5)]),
        timed("2024-05-01T04:30:00+02:00", labels=[("frog", 0.75)]),
        timed("2024-05-02T04:00:00+02:00", labels=[("toad", 0.9)], name="site2/b.wav"),
        timed("2024-05-02T05:00:00+02:00", labels=[("None", 0.9)], name="site2/c.wav"),
    )
    frog = survey.labels["frog"]
    assert hours_of(survey) == {("2024-05-01", 4): 2}
    assert (frog.detections, frog.recordings, frog.sites, frog.mean_score, frog.best_score) == (
        2,
        2,
        {"site1"},
        0.625,
        0.75,
    )
    assert (frog.first_time, frog.last_time) == ("2024-05-01T04:00:00+02:00", "2024-05-01T04:30:00+02:00")
    assert (survey.windows, survey.detections, survey.recordings, survey.seconds) == (4, 3, 4, 40)
    assert {name: site.detections for name, site in survey.sites.items()} == {"site1": 2, "site2": 1}
    assert sum(survey.effort.values()) == 40_000
    assert len(survey.site_days) == 2


def test_a_recording_that_crosses_midnight_is_in_both_days():
    survey = survey_of(
        row(start=0, start_time="2024-04-30T23:59:55+02:00"),
        row(start=10, start_time="2024-05-01T00:00:05+02:00"),
    )
    assert hours_of(survey) == {("2024-04-30", 23): 1, ("2024-05-01", 0): 1}
    assert survey.labels["frog"].recordings == 1


def test_the_hour_that_occurs_twice_has_both():
    survey = survey_of(
        row(start=0, start_time="2024-10-27T02:59:55+02:00"),
        row(start=10, start_time="2024-10-27T02:00:05+01:00"),
    )
    assert hours_of(survey) == {("2024-10-27", 2): 2}
    assert set(survey.offsets) == {"+02:00", "+01:00"}


def test_times_are_brought_to_one_zone_where_they_have_one():
    berlin = ZoneInfo("Europe/Berlin")
    survey = survey_of(timed("2024-05-01T22:30:00+00:00"), timed("2024-05-01T22:30:00"), zone=berlin)
    assert hours_of(survey) == {("2024-05-02", 0): 1, ("2024-05-01", 22): 1}


def test_overlapping_windows_are_listened_to_once():
    survey = survey_of(*(row(start=start) for start in (0, 5, 10, 15)), row("site1/b.wav"))
    assert (survey.windows, survey.seconds) == (5, 35)


def test_time_expansion_makes_listening_shorter():
    assert survey_of(row(time_expansion=10)).seconds == 1


def test_failed_recordings_are_no_silence():
    survey = survey_of(
        failed(), row("site1/a.wav", 0), row("site1/a.wav", 10, output=None, error="out_of_memory: no room")
    )
    assert (survey.recordings, survey.recordings_failed, survey.windows, survey.seconds) == (2, 2, 1, 10)
    assert survey.failed[0] == ("site1/broken.wav", "audio_decode_failed: not readable")


def test_other_questions_are_left_aside():
    survey = survey_of(row(), row(query="Caption it.", output="a frog calls"))
    assert (survey.windows, survey.detections, survey.skipped["other question"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("time", "untimed", "wrong"),
    [(None, 1, 0), ("soon", 1, 0), ("2024-02-31T04:00:00", 1, 0), ("1970-01-01T00:00:10", 0, 1)],
)
def test_windows_without_a_time_or_with_a_wrong_one_are_in_no_map(time, untimed, wrong):
    survey = survey_of(row(start_time=time))
    assert (survey.untimed, survey.wrong_clock, survey.detections) == (untimed, wrong, 1)
    assert not survey.labels["frog"].hours
    assert not survey.effort


def test_a_row_that_says_its_clock_is_wrong_is_believed():
    survey = survey_of(timed("2044-05-01T04:00:00Z", warnings=("clock looks wrong: is in the future",)))
    assert survey.wrong_clock == 1
    assert survey.warnings == {"clock looks wrong": 1}


def test_warnings_are_counted_by_their_kind():
    doubts = [
        ("time zone unknown", f"no label reached 0.5; the best was frog with {score}") for score in (0.1, 0.2)
    ]
    survey = survey_of(*(row(f"{number}.wav", warnings=texts) for number, texts in enumerate(doubts)))
    assert survey.warnings == {"time zone unknown": 2, "no label reached 0.5": 2}


@pytest.mark.parametrize(
    ("name", "site", "expected"),
    [
        ("north/day1/a.wav", None, "north"),
        ("north/a.wav", "pond", "pond"),
        ("a.wav", None, "(no folder)"),
        ("/data/a.wav", None, "(no folder)"),
    ],
)
def test_sites_are_named_by_the_row_or_its_first_folder(name, site, expected):
    assert list(survey_of(row(name, site=site)).sites) == [expected]


def test_labels_are_bounded(monkeypatch):
    monkeypatch.setattr(counting, "MOST_LABELS", 3)
    survey = survey_of(*(row(f"a/{number}.wav", output=f"answer {number}") for number in range(10)))
    assert len(survey.labels) == 4
    assert survey.labels[OTHER_LABELS].detections == 7


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["frog", "toad", "None"]),
            st.datetimes(),
            st.sampled_from(["", "Z", "+02:00", "-11:00"]),
            st.floats(0, 1),
        ),
        max_size=40,
    ),
    st.none() | st.floats(0, 1),
)
def test_every_window_is_counted_once_and_somewhere(windows, least):
    answers = [
        row(
            f"s/{number}.wav",
            output=label,
            confidence=score,
            start_time=f"{time:%Y-%m-%dT%H:%M:%S}".zfill(19) + zone,
        )
        for number, (label, time, zone, score) in enumerate(windows)
    ]
    survey = survey_of(*answers, min_confidence=least)
    assert survey.windows == len(answers)
    assert survey.detections + sum(survey.skipped.values()) == survey.windows
    assert sum(label.detections for label in survey.labels.values()) == survey.detections
    assert sum(survey.offsets.values()) + survey.untimed + survey.wrong_clock == survey.windows
