"""The table of recordings."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import field_wavs

from naturelm_audio.metadata import FieldNotes, read_known_table
from naturelm_audio.metadata.listing import listing
from naturelm_audio.recordings import find_recordings

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def test_the_table_of_two_recorders(tmp_path):
    field_wavs.write_wav(
        tmp_path / "site1" / "S4A01_20240501_040000.wav", field_wavs.guano(Length="14.5"), frames=696_000
    )
    field_wavs.write_wav(
        tmp_path / "site2" / "20240501_020000.WAV", field_wavs.comment(field_wavs.COMMENT_UTC)
    )
    lines = list(listing(find_recordings(tmp_path), FieldNotes(now=NOW)))
    assert lines == [
        "audio_path,start_time,time_source,latitude,longitude,make,model,serial,sample_rate,time_expansion,"
        "duration_seconds",
        "site1/S4A01_20240501_040000.wav,2024-05-01T04:00:00+02:00,guano,52.52000,13.40500,"
        '"Wildlife Acoustics, Inc.",Song Meter Mini 2,S4A01,48000,1,14.5',
        "site2/20240501_020000.WAV,2024-05-01T02:00:00+00:00,audiomoth,,,Open Acoustic Devices,AudioMoth,"
        "24F3190361DA539A,48000,1,0.01",
    ]


def test_the_table_can_be_given_back(tmp_path):
    field_wavs.write_wav(tmp_path / 'a, "b".wav', field_wavs.guano())
    table = tmp_path / "table.csv"
    table.write_text("\n".join(listing(find_recordings(tmp_path), FieldNotes(now=NOW))))
    row = read_known_table(table).row('a, "b".wav')
    assert (row.start, row.latitude) == (datetime(2024, 5, 1, 2, tzinfo=UTC), 52.52)


def test_other_sound_is_asked_of_the_decoder(tmp_path, wav):
    wav("beep.ogg", seconds=1.0, format="OGG", subtype="VORBIS")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    rows = list(csv.DictReader(listing(find_recordings(tmp_path), FieldNotes(now=NOW))))
    assert (rows[0]["sample_rate"], rows[0]["duration_seconds"]) == ("44100", "1.0")
    assert (rows[1]["audio_path"], rows[1]["start_time"], rows[1]["sample_rate"]) == ("broken.wav", "", "")
