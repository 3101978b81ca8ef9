"""Clocks that look wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.metadata.checks import SequenceCheck, clock_warning, sources_disagree

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "recorder", "words"),
    [
        (datetime(1970, 1, 1, 0, 5), None, "not set"),
        (datetime(1980, 1, 1), None, "not set"),
        (datetime(2000, 1, 1, 3), None, "not set"),
        (datetime(2026, 6, 3, tzinfo=UTC), None, "future"),
        (datetime(2044, 1, 1), "AudioMoth", "future"),
        (datetime(2010, 5, 1), "Open Acoustic Devices AudioMoth", "before there was any audiomoth"),
        (
            datetime(2016, 5, 1),
            "Wildlife Acoustics, Inc. Song Meter Mini 2",
            "before there was any song meter mini",
        ),
        (datetime(2005, 5, 1), "song-meter", "before there was any song meter"),
    ],
)
def test_wrong_clocks(time, recorder, words):
    assert words in clock_warning(time, recorder, now=NOW)


@pytest.mark.parametrize(
    ("time", "recorder"),
    [
        (datetime(2026, 6, 1, 12, tzinfo=UTC), None),  # a clock may be a zone ahead
        (datetime(2010, 5, 1), "Song Meter SM2"),
        (datetime(2010, 5, 1), None),
        (datetime(2018, 5, 1), "AudioMoth"),
        (datetime(2000, 1, 2), None),
    ],
)
def test_right_clocks(time, recorder):
    assert clock_warning(time, recorder, now=NOW) is None


@pytest.mark.parametrize(
    ("seconds", "disagree"),
    [
        (0, False),
        (1.5, False),
        (3, True),
        (450, True),
        (898, False),
        (899, False),
        (900, False),
        (3600, False),
        (7203, True),
    ],
)
def test_whole_quarters_of_an_hour_are_zones(seconds, disagree):
    first = datetime(2024, 5, 1, 4)
    assert sources_disagree(first, first + timedelta(seconds=seconds)) == disagree


@given(st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)), st.integers(-48, 56))
def test_one_instant_in_two_zones_does_not_disagree(time, quarters):
    zone = timezone(timedelta(minutes=15 * quarters))
    assert not sources_disagree(time.replace(tzinfo=UTC), time.replace(tzinfo=UTC).astimezone(zone))
    assert not sources_disagree(time, time.replace(tzinfo=zone))


def warnings_of(*recordings: tuple[str, datetime | None]) -> list[bool]:
    check = SequenceCheck()
    return [check.warning(name, start) is not None for name, start in recordings]


def day(number: int) -> datetime:
    return datetime(2024, 5, number)


def test_a_sequence_that_goes_backwards():
    assert warnings_of(("a/REC1.wav", day(1)), ("a/REC2.wav", day(3)), ("a/REC3.wav", day(2))) == [
        False,
        False,
        True,
    ]


def test_other_folders_numbers_out_of_order_and_times_unknown_are_left_alone():
    assert not any(
        warnings_of(
            ("a/REC10.wav", day(10)),
            ("a/REC9.wav", day(9)),
            ("b/REC11.wav", day(1)),
            ("a/other11.wav", day(1)),
            ("a/REC11.wav", None),
        )
    )


def test_times_with_and_without_a_zone_are_not_compared():
    assert not any(warnings_of(("REC1.wav", day(2)), ("REC2.wav", day(1).replace(tzinfo=UTC))))
