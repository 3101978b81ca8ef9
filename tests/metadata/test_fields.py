"""What each kind of metadata says, and that nothing broken fails."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone

import field_wavs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.metadata.clocks import iso_time
from naturelm_audio.metadata.fields import (
    config_zone,
    parse_audiomoth,
    parse_bext,
    parse_guano,
    parse_wamd,
    position,
)

PLUS_TWO = timezone(timedelta(hours=2))


def guano(**changes: str | None):
    return parse_guano(field_wavs.guano(**changes)[8:])


def test_guano():
    found = guano()
    assert found.time == datetime(2024, 5, 1, 4, tzinfo=PLUS_TWO)
    assert (found.latitude, found.longitude, found.elevation_m) == (52.52, 13.405, 34.0)
    assert (found.make, found.model, found.serial) == (
        "Wildlife Acoustics, Inc.",
        "Song Meter Mini 2",
        "S4A01",
    )
    assert found.details["WA|Song Meter|Prefix"] == "S4A01"
    assert found.warnings == ()


def test_guano_with_padding_line_feeds_in_fields_and_colons_in_values():
    found = parse_guano(b"GUANO|Version:1.0\r\nNote: a\\nb: c\r\nTimestamp:2024-05-01 02:00:00Z\n\0\0   ")
    assert found.details["Note"] == "a\nb: c"
    assert found.time == datetime(2024, 5, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["2024-05-01T04:00:00", "2024-05-01T04:00:00.000"])
def test_guano_with_a_local_time(stamp):
    assert guano(Timestamp=stamp).time == datetime(2024, 5, 1, 4)


@pytest.mark.parametrize("where", ["0 0", "0.0 0.0", None])
def test_guano_without_a_fix_has_no_position(where):
    found = guano(Loc_Position=where)
    assert (found.latitude, found.longitude, found.warnings) == (None, None, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Loc_Position": "91.0 13.4"}, "not one on earth"),
        ({"Loc_Position": "north south"}, "not one on earth"),
        ({"Timestamp": "soon"}, "not a time"),
    ],
)
def test_broken_guano_fields_are_warned_of(change, words):
    (warning,) = guano(**change).warnings
    assert words in warning


def test_no_guano():
    assert parse_guano(b"\0\0\xff") is None


def test_audiomoth_of_both_wordings():
    first = parse_audiomoth(field_wavs.COMMENT_UTC)
    assert first.time == datetime(2024, 5, 1, 2, tzinfo=UTC)
    assert (first.model, first.serial) == ("AudioMoth", "24F3190361DA539A")
    assert {key: first.details[key] for key in ("gain", "battery", "temperature")} == {
        "gain": "medium",
        "battery": "4.2",
        "temperature": "11.3",
    }
    second = parse_audiomoth(field_wavs.COMMENT_PLUS_TWO)
    assert second.time == datetime(2024, 5, 1, 4, tzinfo=PLUS_TWO)
    assert (second.details["gain"], second.details["battery"]) == ("2", "less than 2.5")
    assert "temperature" not in second.details


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        ("UTC", "+00:00"),
        ("UTC-5", "-05:00"),
        ("UTC+5:30", "+05:30"),
        ("UTC-02:30", "-02:30"),
        ("UTC+0130", "+01:30"),
    ],
)
def test_zones_of_audiomoth(zone, offset):
    found = parse_audiomoth(
        f"Recorded at 21:00:05 01/06/2025 ({zone}) by AudioMoth 24E144085F256D6A at low gain."
    )
    assert iso_time(found.time) == f"2025-06-01T21:00:05{offset}"


@pytest.mark.parametrize("gain", ["low", "low-medium", "medium", "medium-high", "high"])
@pytest.mark.parametrize("wording", ["{} gain", "{} gain setting"])
def test_gains_of_audiomoth(gain, wording):
    text = (
        f"Recorded at 00:00:00 01/01/2024 (UTC) by AudioMoth 24E144085F256D6A at {wording.format(gain)} while"
    )
    assert parse_audiomoth(text).details["gain"] == gain


def test_audiomoth_in_a_deployment_below_zero_with_a_trigger():
    found = parse_audiomoth(
        "Recorded at 21:00:05 01/06/2025 (UTC) by AudioMoth during deployment 0FE081F80FE081F8 at high gain "
        "while battery was greater than 4.9V and temperature was -3.5C. Amplitude threshold was 0.5%."
    )
    assert (found.details["deployment"], found.details["temperature"]) == ("0FE081F80FE081F8", "-3.5")
    assert found.details["battery"] == "greater than 4.9"
    assert found.serial is None
    assert found.details["comment"].endswith("Amplitude threshold was 0.5%.")


@pytest.mark.parametrize(
    "text", ["by AudioMoth", "Recorded at 25:00:00 01/05/2024 (UTC) by AudioMoth", "AudioMoth?"]
)
def test_unknown_wording_of_audiomoth_has_no_time(text):
    assert parse_audiomoth(text).time is None


def test_an_unknown_zone_of_audiomoth_leaves_a_local_time():
    found = parse_audiomoth("Recorded at 02:00:00 01/05/2024 (summer) by AudioMoth 24F3190361DA539A")
    assert found.time == datetime(2024, 5, 1, 2)
    assert "unknown zone" in found.warnings[0]


def test_comments_of_others_are_not_audiomoth():
    assert parse_audiomoth("Recorded at 02:00:00 01/05/2024 in my garden", "me") is None


def wamd(*records: tuple[int, bytes]):
    return parse_wamd(field_wavs.wamd(records)[8:])


@pytest.mark.parametrize(
    ("text", "latitude", "longitude"),
    [
        (b"WGS84,52.52,N,13.405,E", 52.52, 13.405),
        (b"WGS84, 33.9, S, 18.4, W, 12", -33.9, -18.4),
        (b"WGS84,-33.9,18.4,(null)", -33.9, 18.4),
        (b"WGS84,0,N,0,E", None, None),
        (b"", None, None),
    ],
)
def test_wamd(text, latitude, longitude):
    found = wamd(
        (1, b"SM4\0"), (2, b"S4A00001"), (5, b"2024-05-01 04:00:00+02:00"), (6, text), (15, b"\x0a\0")
    )
    assert found.time == datetime(2024, 5, 1, 4, tzinfo=PLUS_TWO)
    assert (found.model, found.serial, found.time_expansion) == ("SM4", "S4A00001", 10)
    assert (found.latitude, found.longitude) == (latitude, longitude)


def test_wamd_with_a_local_time_and_an_unknown_record():
    assert wamd((5, b"2024-05-01 04:00:00.000"), (99, b"\xff" * 9)).time == datetime(2024, 5, 1, 4)


def test_wamd_that_is_cut_off_keeps_what_came_before():
    data = field_wavs.wamd([(1, b"SM4"), (2, b"S4A00001")])[8:]
    assert parse_wamd(data[:-3]).model == "SM4"
    assert parse_wamd(struct.pack("<HI", 5, 0xFFFFFFFF)) is None


def test_bext_has_a_local_time():
    assert parse_bext(field_wavs.bext("2024-05-01", "04:00:00")[8:]).time == datetime(2024, 5, 1, 4)
    assert parse_bext(field_wavs.bext("2024:05:01", "04-00-00")[8:]).time == datetime(2024, 5, 1, 4)
    assert parse_bext(field_wavs.bext("", "")[8:]) is None
    assert parse_bext(b"short") is None


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("Device ID  : 24F3\nTime zone                       : UTC-5\nGain : Medium\n", "UTC-5"),
        ("Time zone : UTC+5:30\r\n", "UTC+5:30"),
        ("Time zone : Mars\n", None),
        ("no such line", None),
    ],
)
def test_zone_of_a_configuration_file(text, zone):
    assert config_zone(text) == zone


@given(st.floats(), st.floats())
def test_positions_are_on_earth_or_none(latitude, longitude):
    found = position(latitude, longitude)
    assert found == (None, None) or (abs(found[0]) <= 90 and abs(found[1]) <= 180 and found != (0, 0))


@given(st.binary(max_size=600))
def test_any_bytes_are_read_without_an_error(data):
    parse_guano(data)
    parse_wamd(data)
    parse_bext(data)


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text):
    parse_audiomoth(f"AudioMoth {text}")
    parse_guano(f"Timestamp: {text}\nLoc Position: {text}\nTE: {text}".encode("utf-8", "replace"))
    config_zone(text)
