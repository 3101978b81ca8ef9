"""Labels by hour of day and by day, week, month or year."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from survey_rows import row, survey_of, timed

from naturelm_audio.survey.grids import MOST_COLUMNS, PERIODS, by_day, by_hour


def test_hours_of_all_days_are_added():
    survey = survey_of(
        timed("2024-05-01T04:00:00+02:00"),
        timed("2024-05-02T04:59:59+02:00"),
        timed("2024-05-02T23:00:00", "None"),
    )
    grid = by_hour(survey, survey.ordered_labels)
    assert grid.labels == ("frog",)
    assert grid.counts[0] == tuple(2 if hour == 4 else 0 for hour in range(24))
    assert [hour for hour, effort in enumerate(grid.effort_hours) if effort] == [4, 23]
    assert grid.effort_hours[4] == pytest.approx(20 / 3600)
    assert grid.most == 2


@pytest.mark.parametrize(
    ("days", "unit", "columns"),
    [
        (1, "day", 1),
        (MOST_COLUMNS, "day", MOST_COLUMNS),
        (MOST_COLUMNS + 1, "week", 9),
        (800, "month", 27),
        (4000, "year", 12),
    ],
)
def test_long_surveys_have_longer_periods(days, unit, columns):
    first = datetime(2024, 3, 4)
    last = first + timedelta(days=days - 1)
    survey = survey_of(timed(first.isoformat()), timed(last.isoformat()))
    grid = by_day(survey, survey.ordered_labels)
    assert (grid.unit, len(grid.columns)) == (unit, columns)
    assert (grid.counts[0][0], grid.counts[0][-1]) == ((2, 2) if columns == 1 else (1, 1))


def test_columns_have_titles_and_groups():
    survey = survey_of(timed("2024-04-30T04:00:00"), timed("2024-05-01T04:00:00"))
    columns = by_day(survey, survey.ordered_labels).columns
    assert [(one.title, one.full, one.group) for one in columns] == [
        ("30", "2024-04-30", "Apr 2024"),
        ("1", "2024-05-01", "May 2024"),
    ]


def test_without_times_there_is_no_grid():
    survey = survey_of(row())
    assert by_day(survey, survey.ordered_labels).columns == ()


@given(st.dates(datetime(1990, 1, 1).date(), datetime(2090, 1, 1).date()), st.integers(0, 3000))
def test_every_day_is_in_exactly_one_period(first, days):
    start, end = first.toordinal(), first.toordinal() + days
    for period in PERIODS:
        keys = period.keys(start, end)
        assert keys == sorted(set(keys))
        assert {period.start(day) for day in range(start, end + 1)} == set(keys)
