"""Counts of a survey as grids: labels by hour of day, and labels by day, week, month or year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from naturelm_audio.survey.counting import HOURS_A_DAY, LabelCounts, Survey

__all__ = ["Column", "Grid", "by_day", "by_hour"]

MOST_COLUMNS = 62
HOURS_PER_MILLISECOND = 1 / 3_600_000


@dataclass(frozen=True)
class Column:
    """A column's short title, its full one, and the group above it."""

    title: str
    full: str
    group: str = ""


@dataclass(frozen=True)
class Grid:
    """Detections (labels, columns), and the hours that were listened to in each column."""

    unit: str
    columns: tuple[Column, ...]
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    effort_hours: tuple[float, ...]

    @property
    def most(self) -> int:
        """The highest count."""
        return max((count for row in self.counts for count in row), default=0)


def by_hour(survey: Survey, labels: Sequence[LabelCounts]) -> Grid:
    """Return the grid over the 24 hours of the day."""
    columns = [Column(f"{hour:02d}", f"{hour:02d}:00 to {hour + 1:02d}:00") for hour in range(HOURS_A_DAY)]
    return _grid(
        "hour of day", survey, labels, columns, list(range(HOURS_A_DAY)), lambda hour: hour % HOURS_A_DAY
    )


def by_day(survey: Survey, labels: Sequence[LabelCounts]) -> Grid:
    """Return the grid over all days of the survey, or over longer periods where those would be too many."""
    days = [hour // HOURS_A_DAY for hour in survey.effort]
    if not days:
        return Grid("day", (), (), (), ())
    first, last = min(days), max(days)
    fitting = (one for one in PERIODS[:-1] if len(one.keys(first, last)) <= MOST_COLUMNS)
    period = next(fitting, PERIODS[-1])
    keys = period.keys(first, last)
    columns = [period.column(date.fromordinal(key)) for key in keys]
    return _grid(period.unit, survey, labels, columns, keys, lambda hour: period.start(hour // HOURS_A_DAY))


def _grid(
    unit: str,
    survey: Survey,
    labels: Sequence[LabelCounts],
    columns: Sequence[Column],
    keys: Sequence[int],
    key_of: Callable[[int], int],
) -> Grid:
    places = {key: place for place, key in enumerate(keys)}

    def summed(hours: Counter[int]) -> list[int]:
        row = [0] * len(keys)
        for hour, count in hours.items():
            row[places[key_of(hour)]] += count
        return row

    effort = summed(survey.effort)
    return Grid(
        unit,
        tuple(columns),
        tuple(label.label for label in labels),
        tuple(tuple(summed(label.hours)) for label in labels),
        tuple(milliseconds * HOURS_PER_MILLISECOND for milliseconds in effort),
    )


def _day_column(day: date) -> Column:
    return Column(f"{day.day}", day.isoformat(), f"{day:%b %Y}")


def _week_column(day: date) -> Column:
    return Column(f"{day.day}", f"week of {day.isoformat()}", f"{day:%b %Y}")


def _month_column(day: date) -> Column:
    return Column(f"{day:%b}", f"{day:%Y-%m}", f"{day.year}")


def _year_column(day: date) -> Column:
    return Column(f"{day.year}", f"{day.year}")


def _month(day: int) -> int:
    return date.fromordinal(day).replace(day=1).toordinal()


def _next_month(key: int) -> int:
    return _month(key + 31)


def _year(day: int) -> int:
    return date(date.fromordinal(day).year, 1, 1).toordinal()


def _next_year(key: int) -> int:
    return _year(key + 366)


@dataclass(frozen=True)
class Period:
    """A way to cut days: the first day of the period that a day is in, and of the next one."""

    unit: str
    start: Callable[[int], int]
    following: Callable[[int], int]
    column: Callable[[date], Column]

    def keys(self, first: int, last: int) -> list[int]:
        """Return the first day of each period from one day to another."""
        keys = [self.start(first)]
        while keys[-1] < self.start(last):
            keys.append(self.following(keys[-1]))
        return keys


PERIODS = (
    Period("day", lambda day: day, lambda key: key + 1, _day_column),
    Period("week", lambda day: day - date.fromordinal(day).weekday(), lambda key: key + 7, _week_column),
    Period("month", _month, _next_month, _month_column),
    Period("year", _year, _next_year, _year_column),
)
