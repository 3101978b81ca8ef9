"""Rows with when, where and with what they were recorded."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import field_wavs
import pytest

from naturelm_audio.errors import OptionsError
from naturelm_audio.metadata import FieldNotes
from naturelm_audio.recordings import Recording
from naturelm_audio.records import Answer

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def recording(tmp_path, name: str, *parts: bytes) -> Recording:
    return Recording(field_wavs.write_wav(tmp_path / name, *parts), name)


def row(name: str, start: float | None = 0.0, **values) -> Answer:
    end = None if start is None else start + 10
    values = {"output": "frog"} | values
    return Answer(audio_path=name, start_seconds=start, end_seconds=end, query="?", **values)


def test_rows_get_their_own_times(tmp_path):
    notes = FieldNotes(now=NOW, time_zone="Europe/Berlin")
    night = recording(tmp_path, "S_20241027_015950.wav")
    times = [notes.described(row(night.name, start), night).start_time for start in (0.0, 10.0, 3610.0)]
    assert times == ["2024-10-27T01:59:50+02:00", "2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"]


def test_what_a_row_has_already_stays(tmp_path):
    one = recording(tmp_path, "one.wav", field_wavs.guano())
    described = FieldNotes(now=NOW).described(row(one.name, sample_rate=16_000, warnings=("clipped",)), one)
    assert (described.sample_rate, described.warnings, described.latitude) == (16_000, ("clipped",), 52.52)


def test_a_row_with_an_error_has_a_place_and_no_time(tmp_path):
    one = recording(tmp_path, "one.wav", field_wavs.guano())
    described = FieldNotes(now=NOW).described(row(one.name, None, output=None, error="x: broken"), one)
    assert (described.start_time, described.latitude) == (None, 52.52)


def test_rows_and_log_tell_of_doubts_once_for_each_kind(tmp_path, caplog):
    notes = FieldNotes(now=NOW)
    for number in range(3):
        one = recording(tmp_path, f"S_2024050{number + 1}_040000.wav")
        assert notes.described(row(one.name), one).warnings == ("time zone unknown",)
        notes.described(row(one.name, 10.0), one)
    notes.close()
    assert [record.getMessage() for record in caplog.records] == [
        "S_20240501_040000.wav: time zone unknown: give --time-zone",
        "3 recordings: time zone unknown",
    ]


def test_more_recordings_with_a_doubt_are_named_on_request(tmp_path, caplog):
    notes = FieldNotes(now=NOW, named=2)
    for day in (1, 2, 3):
        one = recording(tmp_path, f"S_1970010{day}_040000.wav")
        notes.of(one)
    notes.close()
    said = [record.getMessage() for record in caplog.records]
    assert ["time zone unknown" in one for one in said] == [True, False, False, True, False]
    assert [one.partition(":")[0] for one in said] == [
        "S_19700101_040000.wav", "S_19700101_040000.wav", "S_19700102_040000.wav",
        "3 recordings", "3 recordings",
    ]  # fmt: skip


def test_a_row_that_is_completed_again_has_each_doubt_once(tmp_path):
    one = recording(tmp_path, "S_19700101_040000.wav")
    first = FieldNotes(now=NOW).described(row(one.name), one)
    assert len(first.warnings) == 2
    notes = FieldNotes(now=NOW, time_zone="UTC")
    assert notes.described(first, one).warnings[0] == "time zone unknown", "its own time stays"
    again = notes.described(dataclasses.replace(first, start_time=None, end_time=None), one)
    assert again.start_time == "1970-01-01T04:00:00+00:00"
    assert [warning.partition(":")[0] for warning in again.warnings].count("clock looks wrong") >= 1
    assert "time zone unknown" not in again.warnings
    assert len(notes.described(again, one).warnings) == len(again.warnings)


def test_a_clock_that_goes_backwards_is_in_the_rows(tmp_path):
    notes = FieldNotes(now=NOW)
    first = recording(tmp_path, "REC1.wav", field_wavs.guano())
    second = recording(tmp_path, "REC2.wav", field_wavs.guano(Timestamp="2024-04-30T04:00:00+02:00"))
    assert notes.described(row(first.name), first).warnings is None
    assert "before the recording in front of it" in notes.described(row(second.name), second).warnings[0]


def test_the_table_is_checked_before_any_work(tmp_path, caplog):
    table = tmp_path / "table.csv"
    table.write_text("audio_path,start_time,site\nsite1,,pond\ngone.wav,,\n")
    one = recording(tmp_path, "site1/one.wav")
    notes = FieldNotes(now=NOW, table=table)
    notes.check([one])
    assert "fit no recording (1): gone.wav" in caplog.text
    assert notes.described(row(one.name), one).site == "pond"
    table.write_text("audio_path,start_time\nsite1,2024-05-01T04:00:00Z\n")
    with pytest.raises(OptionsError, match="is a folder"):
        FieldNotes(now=NOW, table=table).check([one])


def test_settings_tell_tables_apart_by_content(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("audio_path\n")
    first = FieldNotes(table=table).settings
    table.write_text("audio_path\na.wav\n")
    assert FieldNotes(table=table).settings != first
    assert FieldNotes(time_zone="UTC").settings == {"recorder": "auto", "time_zone": "UTC", "metadata": None}
    assert FieldNotes().settings is None
