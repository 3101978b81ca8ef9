"""`naturelm report` as a user calls it."""

from __future__ import annotations

import pytest
from survey_rows import timed, write

from naturelm_audio.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["report", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def results(tmp_path):
    return write(
        tmp_path / "night.jsonl", [timed("2024-05-01T04:00:00+02:00"), timed("2024-05-01T05:00:00+02:00")]
    )


def test_a_report_beside_the_results(results, capsys):
    assert run(str(results)) == 0
    folder = results.with_name("night_report")
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{folder / 'index.html'}: 2 detections of 1 label in 0.0 h of 2 recordings (0 failed)" in err


def test_all_options(results, tmp_path):
    folder = tmp_path / "deep" / "report"
    options = [
        "--min-confidence",
        "0",
        "--query",
        "which species?",
        "--time-zone",
        "UTC+9",
        "--title",
        "Pond",
    ]
    assert run(str(results), "--output-path", str(folder), *options) == 0
    assert "<h1>Pond</h1>" in (folder / "index.html").read_text(encoding="utf-8")
    assert run(str(results), "--output-path", str(folder), "--overwrite") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--min-confidence", "2"], "--min-confidence must be from 0 to 1"),
        (["--time-zone", "Mars"], "there is no such zone"),
        (["--query", "What?"], "no such question"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(results, capsys, options, words):
    assert run(str(results), *options) == 2
    assert words in capsys.readouterr().err
    assert not results.with_name("night_report").exists()


def test_results_that_are_not_there(tmp_path, capsys):
    assert run(str(tmp_path / "none.jsonl")) == 2
    assert "can't be read" in capsys.readouterr().err
