"""`naturelm clips` as a user gives it."""

from __future__ import annotations

import csv

import pytest
from click.testing import CliRunner

from naturelm_audio.cli import naturelm
from naturelm_audio.records import Answer


def run(*arguments):
    return CliRunner().invoke(naturelm, [str(one) for one in arguments], standalone_mode=False)


@pytest.fixture
def results(tmp_path, wav):
    """Four answers about one recording beside the results."""
    wav("a.wav", seconds=8)
    lines = [
        Answer(
            audio_path="a.wav", start_seconds=2.0 * n, end_seconds=2.0 * n + 2, query="What?",
            output=("frog", "wren")[n % 2], confidence=(0.9, 0.8, 0.2, 0.6)[n],
            confidence_kind="token_probability",
        ).to_json()
        for n in range(4)
    ]  # fmt: skip
    (tmp_path / "answers.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "answers.jsonl"


def test_recordings_beside_the_results_are_found(results, tmp_path):
    done = run("clips", results, "--output-path", tmp_path / "review")
    assert done.return_value == 0, done.output
    assert done.stderr.endswith(
        f"4 clips to review: open {tmp_path / 'review' / 'index.html'} in a browser\n"
    )
    assert done.stdout == ""


def test_options_reach_the_run(results, tmp_path):
    given = ["--per-label", 1, "--select", "uncertain", "--label", "frog", "--format", "wav", "--keep-level"]
    done = run("clips", results, "--output-path", tmp_path / "review", *given, "--audio-root", tmp_path)
    assert done.return_value == 0, done.output
    (row,) = csv.DictReader((tmp_path / "review" / "clips.csv").read_text().splitlines())
    assert (row["audio"], row["score"], row["start_seconds"]) == ("clips/0001_frog.wav", "0.2", "4.0")
    again = run("clips", results, "--output-path", tmp_path / "review", "--least-score", 0.7, "--overwrite")
    assert "2 clips to review" in again.stderr


def test_a_window_that_can_not_be_cut_gives_status_3(results, tmp_path):
    lines = results.read_text() + results.read_text().splitlines()[0].replace("a.wav", "b.wav") + "\n"
    results.write_text(lines)
    done = run("clips", results, "--output-path", tmp_path / "review")
    assert done.return_value == 3
    assert done.stderr.endswith("; 1 window could not be cut\n")


def test_mistakes_are_named(results, tmp_path):
    run("clips", results, "--output-path", tmp_path / "review")
    assert "with --overwrite" in str(run("clips", results, "--output-path", tmp_path / "review").exception)
    missing = run("clips", tmp_path / "none.jsonl", "--output-path", tmp_path / "other")
    assert "can't be read" in str(missing.exception)
