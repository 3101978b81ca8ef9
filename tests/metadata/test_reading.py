"""All sources of one recording, in order of trust."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import field_wavs
import numpy as np
import pytest
import soundfile

from naturelm_audio.errors import OptionsError
from naturelm_audio.metadata import KnownRow, read_metadata
from naturelm_audio.metadata.clocks import iso_time, parse_time

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GUANO = field_wavs.guano()
COMMENT = field_wavs.comment(field_wavs.COMMENT_UTC)
WAMD = field_wavs.wamd([(1, b"SM4"), (5, b"2024-05-01 04:00:05+02:00")])
WAMD_LOCAL = field_wavs.wamd([(5, b"2024-05-01 04:00:05")])
BEXT = field_wavs.bext("2024-05-01", "04:00:03")


def read(path: Path, **options):
    return read_metadata(path, now=NOW, **options)


def start_of(path: Path, **options) -> tuple[str | None, str | None]:
    found = read(path, **options)
    return found.time_source, iso_time(found.start) if found.start else None


LOCAL_GUANO = field_wavs.guano(Timestamp="2024-05-01T04:00:02")


@pytest.mark.parametrize(
    ("name", "parts", "zone", "known", "expected"),
    [
        (
            "S_20240501_040009.wav",
            [GUANO, COMMENT, WAMD],
            None,
            "2024-05-01T05:00:00Z",
            ("user", "05:00:00+00:00"),
        ),
        ("S_20240501_040009.wav", [GUANO, COMMENT, WAMD], None, None, ("guano", "04:00:00+02:00")),
        ("S_20240501_040009.wav", [LOCAL_GUANO, COMMENT, WAMD], None, None, ("audiomoth", "02:00:00+00:00")),
        ("S_20240501_040009.wav", [LOCAL_GUANO, WAMD], None, None, ("wamd", "04:00:05+02:00")),
        ("20240501T040009+0200.wav", [LOCAL_GUANO, BEXT], None, None, ("filename", "04:00:09+02:00")),
        ("S_20240501_040009.wav", [LOCAL_GUANO], "UTC+1", None, ("filename", "04:00:09+01:00")),
        ("S_20240501_040009.wav", [WAMD_LOCAL], "UTC+1", None, ("wamd", "04:00:05+01:00")),
        ("sound.wav", [LOCAL_GUANO], "UTC+1", None, ("guano", "04:00:02+01:00")),
        ("sound.wav", [BEXT], "UTC+1", None, ("bext", "04:00:03+01:00")),
        ("S_20240501_040009.wav", [LOCAL_GUANO], None, None, ("filename", "04:00:09")),
        ("sound.wav", [LOCAL_GUANO, BEXT], None, None, ("guano", "04:00:02")),
    ],
)
def test_the_order_of_trust(tmp_path, name, parts, zone, known, expected):
    path = field_wavs.write_wav(tmp_path / name, *parts)
    row = KnownRow(start=parse_time(known)) if known else None
    source, start = start_of(path, time_zone=zone, known=row)
    assert (source, start.removeprefix("2024-05-01T")) == expected


def test_no_source_no_time(tmp_path):
    found = read(field_wavs.write_wav(tmp_path / "frog.wav"))
    assert (found.start, found.time_source, found.warnings) == (None, None, ())
    assert found.row_values(0.0, 10.0) == {"sample_rate": 48_000, "duration_seconds": 0.01}


def test_a_zone_is_never_guessed(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    found = read(field_wavs.write_wav(tmp_path / "S_20240501_040000.wav"))
    assert found.row_values(10.0, 14.5)["end_time"] == "2024-05-01T04:00:14.5"
    assert found.warnings == ("time zone unknown",)


def test_what_guano_says_comes_with_the_rows(tmp_path):
    found = read(field_wavs.write_wav(tmp_path / "S4A01_20240501_040000.wav", GUANO))
    assert found.row_values(10.0, 14.5) == {
        "start_time": "2024-05-01T04:00:10+02:00",
        "end_time": "2024-05-01T04:00:14.5+02:00",
        "time_source": "guano",
        "latitude": 52.52,
        "longitude": 13.405,
        "recorder": "Song Meter Mini 2 S4A01",
        "sample_rate": 48_000,
        "duration_seconds": 0.01,
    }
    assert found.details["Original Filename"] == "S4A01_20240501_040000.wav"


def test_sources_that_disagree_are_warned_of(tmp_path):
    late = read(field_wavs.write_wav(tmp_path / "S_20240501_041312.wav", GUANO))
    assert late.time_source == "guano"
    assert "disagree" in late.warnings[0]
    other_zone = read(field_wavs.write_wav(tmp_path / "S_20240501_023001.wav", GUANO))
    assert other_zone.warnings == ()


def test_a_part_of_a_split_recording_has_its_own_time_where_there_is_one(tmp_path):
    part = read(field_wavs.write_wav(tmp_path / "S_20240501_035700_003.wav", GUANO))
    assert (part.time_source, part.warnings) == ("guano", ())
    assert (
        "part of a split recording"
        in read(field_wavs.write_wav(tmp_path / "S_20240501_035700_004.wav")).warnings[1]
    )


def test_a_user_who_mends_a_wrong_clock_is_not_warned(tmp_path):
    path = field_wavs.write_wav(tmp_path / "S_19700101_000512.wav")
    assert "not set" in read(path).warnings[1]
    assert read(path, known=KnownRow(start=datetime(2024, 5, 1, 4, 0, 7, tzinfo=UTC))).warnings == ()


@pytest.mark.parametrize(
    ("name", "recorder", "source"),
    [
        ("S_20240501_040009.wav", "guano", "guano"),
        ("S_20240501_040009.wav", "audiomoth", "guano"),
        ("S_20240501_040009.wav", "song-meter", "guano"),
        ("S_20240501_040009.wav", "filename", "filename"),
        ("S_20240501_040009.wav", "none", None),
        ("sound.wav", "filename", None),
    ],
)
def test_a_forced_recorder_believes_its_own_sources(tmp_path, name, recorder, source):
    path = field_wavs.write_wav(tmp_path / name, GUANO, COMMENT, WAMD)
    assert read(path, recorder=recorder).time_source == source


def test_forced_recorders_tell_audiomoth_from_song_meter(tmp_path):
    path = field_wavs.write_wav(tmp_path / "sound.wav", COMMENT, WAMD)
    assert read(path, recorder="audiomoth").time_source == "audiomoth"
    assert read(path, recorder="song-meter").time_source == "wamd"


def test_an_unknown_recorder_and_zone_are_refused(tmp_path):
    with pytest.raises(OptionsError, match="--recorder must be one of auto, audiomoth"):
        read(tmp_path / "a.wav", recorder="moth")
    with pytest.raises(OptionsError, match="no such zone"):
        read(tmp_path / "a.wav", time_zone="Mars/Olympus")


def test_time_expansion_is_undone_in_absolute_time_only(tmp_path):
    slow = field_wavs.guano(TE="10", Samplerate="480000", Length="0.001")
    found = read(field_wavs.write_wav(tmp_path / "bat.wav", slow))
    assert found.time_expansion == 10
    assert found.row_values(10.0, 20.0)["end_time"] == "2024-05-01T04:00:02+02:00"
    assert found.warnings == ()


def test_the_header_is_believed_where_guano_has_another_rate(tmp_path):
    odd = field_wavs.guano(TE="10", Samplerate="48000", Length="0.01")
    found = read(field_wavs.write_wav(tmp_path / "bat.wav", odd))
    assert "the header is believed" in found.warnings[0]


def test_a_clip_cut_from_a_recording_still_has_its_metadata(tmp_path):
    found = read(field_wavs.write_wav(tmp_path / "clip.wav", field_wavs.guano(Length="900")))
    assert "cut from" in found.warnings[0]


def test_names_of_audiomoth_take_the_zone_of_its_card(tmp_path):
    (tmp_path / "CONFIG.TXT").write_text("Time zone                       : UTC+2\n")
    path = field_wavs.write_wav(tmp_path / "20240501" / "20240501_040000.WAV")
    assert start_of(path) == ("filename", "2024-05-01T04:00:00+02:00")
    assert start_of(path, time_zone="UTC-3") == ("filename", "2024-05-01T04:00:00-03:00")


def test_batlogger_counts_recordings_and_has_the_time_beside_them(tmp_path):
    path = field_wavs.write_wav(tmp_path / "60160435.wav")
    path.with_suffix(".xml").write_text("<BatRecord><DateTime>01.05.2024 22:10:09</DateTime></BatRecord>")
    assert start_of(path, time_zone="+02:00") == ("batlogger", "2024-05-01T22:10:09+02:00")


@pytest.mark.parametrize(("name", "known"), [("sound.flac", (48_000, 1.0)), ("sound.ogg", (None, None))])
def test_recordings_with_a_sentence_in_their_tags(tmp_path, name, known):
    path = tmp_path / name
    with soundfile.SoundFile(path, "w", 48_000, 1) as file:
        file.comment = field_wavs.COMMENT_PLUS_TWO
        file.write(np.zeros(48_000, np.float32))
    found = read(path)
    assert (found.time_source, iso_time(found.start)) == ("audiomoth", "2024-05-01T04:00:00+02:00")
    assert (found.sample_rate_hz, found.duration_seconds) == known


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEguan\xff\xff\xff\xff", b"fLaC\0\0", b"ID3\4\0\0"]
)
def test_broken_files_have_what_their_name_says(tmp_path, content):
    path = tmp_path / "S_20240501_040000.wav"
    path.write_bytes(content)
    assert start_of(path) == ("filename", "2024-05-01T04:00:00")


def test_files_that_are_none_have_what_their_name_says(tmp_path):
    folder = tmp_path / "S_20240501_040000.wav"
    folder.mkdir()
    assert start_of(folder) == start_of(tmp_path / "no" / folder.name) == ("filename", "2024-05-01T04:00:00")


def test_the_row_of_the_user_wins_for_place_and_name(tmp_path):
    path = field_wavs.write_wav(tmp_path / "sound.wav", GUANO)
    row = KnownRow(latitude=-1.5, longitude=30.0, site="pond", recorder="blue box")
    found = read(path, known=row)
    assert (found.latitude, found.longitude, found.site, found.recorder) == (-1.5, 30.0, "pond", "blue box")
    assert found.time_source == "guano"
