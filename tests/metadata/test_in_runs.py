"""`naturelm infer` on recordings of the field: rows with true times, and wrong use found before any work."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import field_wavs
import pytest

from naturelm_audio.cli import main

Infer = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def infer(tmp_path: Path, toy_model_dir: Path) -> Infer:
    """Run the command on ``survey``; return its exit status and its rows."""

    def run(*words: str, output: str = "out.jsonl") -> tuple[int, list[dict[str, Any]]]:
        path = tmp_path / output
        fixed = [
            "--query",
            "Which?",
            "--model",
            str(toy_model_dir),
            "--device",
            "cpu",
            "--max-new-tokens",
            "1",
        ]
        windows = ["--window-length-seconds", "1", "--num-beams", "1", "--output-path", str(path)]
        with pytest.raises(SystemExit) as ended:
            main(["infer", "--audio-path", str(tmp_path / "survey"), *fixed, *windows, *words])
        lines = path.read_text().splitlines() if path.exists() and path.suffix == ".jsonl" else []
        return int(ended.value.code or 0), [json.loads(line) for line in lines]

    return run


def record(folder: Path, name: str, *parts: bytes, seconds: float = 2.0) -> None:
    field_wavs.write_wav(folder / "survey" / name, *parts, rate_hz=8000, frames=int(8000 * seconds))


def times(rows: list[dict[str, Any]]) -> list[str]:
    return [row["start_time"].partition("T")[2] for row in rows]


def test_a_recording_crosses_midnight(infer: Infer, tmp_path: Path) -> None:
    record(
        tmp_path,
        "pond/a.wav",
        field_wavs.guano(Timestamp="2024-04-30T23:59:59+02:00", Length="2", Samplerate="8000"),
    )
    status, rows = infer()
    assert status == 0
    assert [(row["start_time"], row["end_time"]) for row in rows] == [
        ("2024-04-30T23:59:59+02:00", "2024-05-01T00:00:00+02:00"),
        ("2024-05-01T00:00:00+02:00", "2024-05-01T00:00:01+02:00"),
    ]
    assert {
        key: rows[0][key] for key in ("time_source", "latitude", "longitude", "recorder", "sample_rate")
    } == {
        "time_source": "guano",
        "latitude": 52.52,
        "longitude": 13.405,
        "recorder": "Song Meter Mini 2 S4A01",
        "sample_rate": 8000,
    }
    assert "warnings" not in rows[0]


def test_recordings_across_both_changes_of_the_clock(infer: Infer, tmp_path: Path) -> None:
    record(tmp_path, "SM_20240331_015959.wav")
    record(tmp_path, "SM_20241027_025959.wav")
    _, rows = infer("--time-zone", "Europe/Berlin")
    assert times(rows) == ["01:59:59+01:00", "03:00:00+02:00", "02:59:59+02:00", "02:00:00+01:00"]
    _, rows = infer("--time-zone", "+01:00", output="fixed.jsonl")
    assert times(rows) == ["01:59:59+01:00", "02:00:00+01:00", "02:59:59+01:00", "03:00:00+01:00"]


def test_a_wrong_clock_and_an_unknown_zone_are_in_the_rows(infer: Infer, tmp_path: Path) -> None:
    record(tmp_path, "SM_19700101_000010.wav")
    _, rows = infer()
    assert rows[0]["start_time"] == "1970-01-01T00:00:10"
    assert rows[0]["warnings"][0] == "time zone unknown"
    assert rows[0]["warnings"][1].startswith("clock looks wrong: 1970")


def test_a_forced_recorder_and_a_table(infer: Infer, tmp_path: Path) -> None:
    record(tmp_path, "pond/SM_20240501_040000.wav", field_wavs.guano(Length="2", Samplerate="8000"))
    known = tmp_path / "known.csv"
    known.write_text("audio_path,site,latitude,longitude\npond,Pond,1.5,2.5\n")
    _, rows = infer("--recorder", "filename", "--time-zone", "UTC", "--metadata", str(known))
    assert (rows[0]["time_source"], rows[0]["start_time"]) == ("filename", "2024-05-01T04:00:00+00:00")
    assert (rows[0]["site"], rows[0]["latitude"]) == ("Pond", 1.5)


def test_a_recording_that_fails_says_where_it_was(infer: Infer, tmp_path: Path) -> None:
    record(tmp_path, "a.wav", field_wavs.guano(), seconds=0.1)
    status, rows = infer()
    assert status == 3
    assert rows[0]["latitude"] == 52.52
    assert "start_time" not in rows[0]


def test_times_come_into_other_formats(infer: Infer, tmp_path: Path) -> None:
    record(tmp_path, "SM_20240501_040000.wav")
    infer("--time-zone", "+02:00", "--format", "csv", output="out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        assert [row["start_time"] for row in csv.DictReader(file)] == [
            "2024-05-01T04:00:00+02:00",
            "2024-05-01T04:00:01+02:00",
        ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--time-zone", "Europe/Berln"], "did you mean 'Europe/Berlin'"),
        (["--recorder", "moth"], "'moth' is not one of"),
        (["--metadata", "none.csv"], "none.csv: can't be read"),
    ],
)
def test_wrong_use_leaves_nothing(
    infer: Infer, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    record(tmp_path, "a.wav")
    assert infer(*words) == (2, [])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_run_goes_on_with_the_same_zone_only(
    infer: Infer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "SM_20240501_040000.wav")
    infer("--time-zone", "UTC")
    assert infer("--time-zone", "UTC", "--resume")[0] == 0
    assert infer("--time-zone", "UTC+2", "--resume")[0] == 2
    assert "time_zone" in capsys.readouterr().err
