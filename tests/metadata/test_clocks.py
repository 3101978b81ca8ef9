"""Zones and local times: nothing is guessed, and an instant is the same however it is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OptionsError
from naturelm_audio.metadata.clocks import (
    iso_time,
    localised,
    moved,
    parse_offset,
    parse_time,
    parse_zone,
    seconds_between,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])
LOCAL = st.datetimes(datetime(1975, 1, 2), datetime(2090, 12, 30))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("UTC", 0),
        ("Z", 0),
        ("gmt", 0),
        ("UTC+2", 120),
        ("UTC-5", -300),
        ("UTC+5:30", 330),
        ("UTC-02:30", -150),
        ("UTC+0130", 90),
        ("+02:00", 120),
        ("-0330", -210),
        ("+00:00", 0),
        ("\u221203:00", -180),
    ],
)
def test_fixed_offsets_in_every_spelling_of_recorders(text, minutes):
    assert parse_offset(text) == timezone(timedelta(minutes=minutes))


@pytest.mark.parametrize("text", ["", "UTC+99", "+02:75", "Europe/Berlin", "local", "+2 h"])
def test_what_is_no_offset_is_none(text):
    assert parse_offset(text) is None


def test_iana_names_are_zones():
    assert parse_zone(" Europe/Berlin ") == BERLIN


@pytest.mark.parametrize("text", ["", "Europe", "/etc/passwd", "../UTC", "Nowhere/Atall", "+25:00"])
def test_an_unknown_zone_says_what_a_zone_looks_like(text):
    with pytest.raises(OptionsError, match="there is no such zone"):
        parse_zone(text)


def test_a_misspelt_zone_gets_the_near_one():
    with pytest.raises(OptionsError, match="did you mean 'Europe/Berlin'"):
        parse_zone("europe/berln")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T04:00:00+02:00", datetime(2024, 5, 1, 4, tzinfo=timezone(timedelta(hours=2)))),
        ("2024-05-01T02:00:00Z", datetime(2024, 5, 1, 2, tzinfo=UTC)),
        ("2024-05-01 02:00", datetime(2024, 5, 1, 2)),
        ("2024-05-01 02:00:00.25", datetime(2024, 5, 1, 2, 0, 0, 250_000)),
        ("20240501T020000", datetime(2024, 5, 1, 2)),
        ("2014-04-02 22:59:14-0500", datetime(2014, 4, 2, 22, 59, 14, tzinfo=timezone(timedelta(hours=-5)))),
        ("2024-13-01T02:00:00", None),
        ("2024-05-01T24:00:00", None),
        ("2024-05-01T02:00:00+99:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_with_and_without_a_zone(text, expected):
    assert parse_time(text) == expected


@given(LOCAL)
def test_a_written_time_is_read_back(time):
    assert parse_time(iso_time(time)) == time
    with_zone = time.replace(tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert parse_time(iso_time(with_zone)) == with_zone


def test_fractions_lose_their_trailing_zeros():
    assert iso_time(datetime(2024, 5, 1, 4, 0, 14, 500_000, tzinfo=UTC)) == "2024-05-01T04:00:14.5+00:00"


def test_a_time_that_occurs_twice_in_autumn_is_the_first():
    time, warning = localised(datetime(2024, 10, 27, 2, 30), BERLIN)
    assert iso_time(time) == "2024-10-27T02:30:00+02:00"
    assert "occurs twice" in warning


def test_a_time_that_is_skipped_in_spring_is_moved_forward():
    time, warning = localised(datetime(2024, 3, 31, 2, 30), BERLIN)
    assert iso_time(time) == "2024-03-31T03:30:00+02:00"
    assert "does not exist" in warning


@given(LOCAL, ZONES)
def test_other_local_times_are_taken_as_they_are_and_doubtful_ones_warned_of(local, zone):
    time, warning = localised(local, ZoneInfo(zone))
    same_clock = time.replace(tzinfo=None, fold=0) == local
    assert same_clock or (warning is not None and "does not exist" in warning)
    assert time.astimezone(UTC).astimezone(ZoneInfo(zone)).utcoffset() == time.utcoffset()


@pytest.mark.parametrize(
    ("start", "seconds", "end"),
    [
        ("2024-10-27T01:55:00", 3600, "2024-10-27T02:55:00+02:00"),  # clocks go back at 03:00
        ("2024-10-27T01:55:00", 7200, "2024-10-27T02:55:00+01:00"),
        ("2024-03-31T01:55:00", 3600, "2024-03-31T03:55:00+02:00"),  # clocks go forward at 02:00
        ("2024-12-31T23:59:55", 10.5, "2025-01-01T00:00:05.5+01:00"),
    ],
)
def test_windows_across_midnight_and_changes_of_the_clock(start, seconds, end):
    begin, _ = localised(parse_time(start), BERLIN)
    assert iso_time(moved(begin, seconds)) == end


@given(LOCAL, ZONES, st.floats(0, 10 * 86_400))
def test_moving_is_exact_in_absolute_time(local, zone, seconds):
    begin, _ = localised(local, ZoneInfo(zone))
    end = moved(begin, seconds)
    assert seconds_between(begin, end) == pytest.approx(seconds, abs=1e-6)
    assert end.tzinfo == begin.tzinfo


@given(LOCAL, st.floats(0, 10 * 86_400))
def test_a_clock_without_a_zone_just_runs_on(local, seconds):
    assert moved(local, seconds) - local == timedelta(microseconds=round(seconds * 1e6))


def test_a_wall_clock_and_an_instant_are_compared_as_clocks():
    instant = datetime(2024, 5, 1, 4, tzinfo=timezone(timedelta(hours=2)))
    assert seconds_between(datetime(2024, 5, 1, 4), instant) == 0
