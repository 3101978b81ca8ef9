"""`naturelm metadata` as a user calls it."""

from __future__ import annotations

import csv

import field_wavs
import pytest

from naturelm_audio.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["metadata", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path):
    for day in (1, 2):
        field_wavs.write_wav(tmp_path / "pond" / f"SM_2024050{day}_233000.wav")
    return tmp_path / "pond"


def test_a_table_on_standard_output_and_doubts_in_the_log(folder, capsys, caplog):
    assert run(str(folder)) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["start_time"] for row in rows] == ["2024-05-01T23:30:00", "2024-05-02T23:30:00"]
    assert "SM_20240501_233000.wav: time zone unknown: give --time-zone" in caplog.text
    assert "2 recordings: time zone unknown" in caplog.text


def test_all_options(folder, tmp_path, capsys):
    known, table = tmp_path / "known.csv", tmp_path / "table.csv"
    known.write_text("audio_path,start_time\nSM_20240501_233000.wav,2024-05-01 23:45\n")
    options = ["--time-zone", "Europe/Berlin", "--recorder", "song-meter", "--metadata", str(known)]
    assert run(str(folder), "--output-path", str(table), *options) == 0
    assert capsys.readouterr() == ("", "")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["start_time"], row["time_source"]) for row in rows] == [
        ("2024-05-01T23:45:00+02:00", "user"),
        ("2024-05-02T23:30:00+02:00", "filename"),
    ]
    assert run(str(folder), "--output-path", str(table)) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(str(folder), "--output-path", str(table), "--overwrite") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--time-zone", "Mars"], "there is no such zone"),
        (["--recorder", "moth"], "'moth' is not one of"),
        (["--metadata", "none.csv"], "can't be read"),
    ],
)
def test_wrong_use(folder, capsys, options, words):
    assert run(str(folder), *options) == 2
    assert words in capsys.readouterr().err


def test_no_recordings(tmp_path, capsys):
    assert run(str(tmp_path)) == 2
    assert "no recording found" in capsys.readouterr().err
