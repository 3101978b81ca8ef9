"""File names of recorders: the whole name must fit, and what is no time stays none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.metadata.names import read_name

PLUS_TWO = timezone(timedelta(hours=2))
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stem", "time", "recorder", "prefix"),
    [
        ("20240501_020000", datetime(2024, 5, 1, 2), None, None),
        ("24F3190361DA539A_20240501_020000", datetime(2024, 5, 1, 2), "audiomoth", "24F3190361DA539A"),
        ("5E90A610", datetime(2020, 4, 10, 17, tzinfo=UTC), "audiomoth", None),
        ("S4A01_20240501_040000", datetime(2024, 5, 1, 4), "song-meter", "S4A01"),
        ("SM301_0+1_20240501_040000", datetime(2024, 5, 1, 4), "song-meter", "SM301"),
        ("SM301__0__20240501_040000", datetime(2024, 5, 1, 4), "song-meter", "SM301"),
        ("SM301__1__20240501_040000", datetime(2024, 5, 1, 4), "song-meter", "SM301"),
        ("ARIZ-1_20240501$040000", datetime(2024, 5, 1, 4), "song-meter", "ARIZ-1"),
        ("MY_SITE_7_20240501_040000", datetime(2024, 5, 1, 4), "song-meter", "MY_SITE_7"),
        ("M1_20240501_040000_250000", datetime(2024, 5, 1, 4, 0, 0, 250_000), "song-meter", "M1"),
        ("20240501T040000+0200_REC", datetime(2024, 5, 1, 4, tzinfo=PLUS_TWO), None, None),
        ("20240501T020000Z", datetime(2024, 5, 1, 2, tzinfo=UTC), None, None),
        ("SITE_20240501T040000+0200", datetime(2024, 5, 1, 4, tzinfo=PLUS_TWO), None, "SITE"),
        ("20240501T040000-12_REC", datetime(2024, 5, 1, 4), None, None),
        ("5146.240501020000", datetime(2024, 5, 1, 2), "soundtrap", "5146"),
        ("2024-05-01_04-00-00", datetime(2024, 5, 1, 4), None, None),
        ("REC 2024-05-01 04.00.00 (2)", datetime(2024, 5, 1, 4), None, "REC"),
        ("REC20240501040000", datetime(2024, 5, 1, 4), None, "REC"),
    ],
)
def test_patterns_of_recorders(stem, time, recorder, prefix):
    found = read_name(stem, now=NOW)
    assert (found.time, found.recorder, found.prefix) == (time, recorder, prefix)
    assert found.warning is None


@pytest.mark.parametrize(
    "stem",
    [
        "10160435",  # BATLOGGER counts recordings; as hex seconds it would be 1978
        "20240501",  # a date alone; as hex seconds 1987
        "FFFFFFFF",  # hex seconds of the year 2106
        "20241301_020000",
        "20240230_020000",
        "S4A01_20240501_250000",
        "S4A01_20240501_040060",
        "YELLAMRO20160506SM3",
        "484366__spacejoe__bird-3",
        "1234567820240501040000",
        "5146.241301020000",
        "frog",
        "",
    ],
)
def test_other_numbers_are_no_times(stem):
    assert read_name(stem, now=NOW) is None


def test_eight_hex_digits_are_a_time_where_the_user_says_so():
    assert read_name("10160435", recorder="audiomoth", now=NOW).time.year == 1978


def test_a_triggered_recording_is_warned_of():
    assert "triggered" in read_name("20240501_020000T").warning


@pytest.mark.parametrize(
    ("stem", "warned"), [("S_20240501_040000_000", False), ("S_20240501_040000_012", True)]
)
def test_a_part_of_a_split_recording_has_the_start_of_the_whole(stem, warned):
    found = read_name(stem)
    assert found.time == datetime(2024, 5, 1, 4)
    assert (found.warning is not None) == warned


def test_a_forced_recorder_leaves_other_patterns_aside():
    assert read_name("5146.240501020000", recorder="song-meter") is None
    assert read_name("S4A01_20240501_040000", recorder="song-meter").recorder == "song-meter"


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2098, 1, 1)),
    st.from_regex(r"[A-Z][A-Z0-9_]{0,10}", fullmatch=True),
)
def test_a_song_meter_name_is_read_back(time, prefix):
    found = read_name(f"{prefix}_{time:%Y%m%d}_{time:%H%M%S}")
    assert found.time == time.replace(microsecond=0)


@given(st.text(max_size=40))
def test_any_name_is_read_without_an_error(stem):
    read_name(stem)
