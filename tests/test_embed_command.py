"""`naturelm embed` and `naturelm search` as a user gives them, on the bundled model."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from naturelm_audio.cli import naturelm
from naturelm_audio.embed_command import _clock
from naturelm_audio.embeddings.table import EmbeddingTable


def run(*arguments):
    return CliRunner().invoke(naturelm, [str(one) for one in arguments], standalone_mode=False)


@pytest.fixture
def sounds(tmp_path, wav):
    wav("sounds/a.wav", seconds=12)
    wav("sounds/b, c.wav", seconds=3)
    return tmp_path / "sounds"


@pytest.fixture
def table(tmp_path, sounds, toy_model_dir):
    given = ["--audio-path", sounds, "--output-path", tmp_path / "table", "--model", toy_model_dir]
    done = run("embed", *given, "--device", "cpu")
    assert done.return_value == 0, done.output
    assert "3 vectors of 16 numbers in" in done.stderr
    return tmp_path / "table"


def test_the_bundled_model_is_used_without_a_language_model(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_config", None)
    done = run("embed", "--audio-path", sounds, "--output-path", tmp_path / "t", "--level", "tokens")
    assert done.return_value == 0, done.output
    assert np.load(tmp_path / "t" / "part-00000.npy").shape == (3, EmbeddingTable.open(tmp_path / "t").width)


def test_a_bad_recording_gives_status_3_and_is_named(sounds, tmp_path, toy_model_dir):
    (sounds / "broken.wav").write_bytes(b"no sound")
    given = ["embed", "--audio-path", sounds, "--output-path", tmp_path / "t", "--model", toy_model_dir]
    done = run(*given)
    assert done.return_value == 3
    assert "broken.wav: audio_decode_failed: not a readable audio file" in done.stderr
    assert "1 recording failed, see `error` in t/_embeddings.jsonl" in done.stderr
    assert run(*given, "--resume").return_value == 3
    again = run(*given)
    assert "exists already: continue it with --resume" in str(again.exception)


def test_a_search_prints_times_and_scores_and_writes_them(table, sounds, tmp_path):
    hits = tmp_path / "hits.csv"
    given = ["--query-path", sounds / "a.wav", "--end-seconds", 10, "--output-path", hits, "--device", "cpu"]
    done = run("search", table, *given)
    assert done.return_value == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rank", "score", "from", "to", "recording"]
    assert lines[1].split() == ["1", "1.0000", "0:00:00.00", "0:00:10.00", "a.wav"]
    assert len(lines) == 4
    rows = list(csv.DictReader(hits.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["rank", "audio_path", "start_seconds", "end_seconds", "score"]
    assert {row["audio_path"] for row in rows} == {"a.wav", "b, c.wav"}
    assert float(rows[0]["score"]) == pytest.approx(1.0, abs=1e-5)
    again = run("search", table, *given, "--top-k", 1)
    assert "hits.csv: exists already: replace it with --overwrite" in str(again.exception)
    assert len(hits.read_text(encoding="utf-8").splitlines()) == 4
    less = run("search", table, *given, "--exclude-query", "--top-k", 1, "--overwrite")
    assert len(hits.read_text(encoding="utf-8").splitlines()) == 2
    assert len(less.stdout.splitlines()) == 2
    assert "0:00:00.00    0:00:10.00  a.wav" not in less.stdout


def test_what_a_search_finds_can_be_reviewed(table, sounds, tmp_path):
    given = ["--query-path", sounds / "b, c.wav", "--device", "cpu", "--clips-path", tmp_path / "review"]
    done = run("search", table, *given)
    assert done.return_value == 0, done.output
    assert "3 clips to review" in done.stderr
    page = (tmp_path / "review" / "index.html").read_text(encoding="utf-8")
    clips = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["clips"]
    assert {clip["label"] for clip in clips} == {"b, c"}
    assert clips[0]["score"] == 1.0
    assert "exists already: replace it with --overwrite" in str(run("search", table, *given).exception)
    moved = sounds.rename(tmp_path / "moved")
    given = ["--query-path", moved / "b, c.wav", "--device", "cpu", "--clips-path", tmp_path / "again"]
    assert "say where the recordings are" in str(run("search", table, *given).exception)
    found = run("search", table, *given, "--audio-root", moved, "--label", "wren", "--exclude-query")
    assert found.return_value == 0, found.output
    assert "2 clips to review" in found.stderr


def test_a_table_that_is_not_finished_is_searched_with_a_word(table, sounds):
    run_file = table / "_embeddings.jsonl.run.json"
    run_file.write_text(run_file.read_text().replace('"finished"', '"running"'))
    done = run("search", table, "--query-path", sounds / "b, c.wav", "--device", "cpu")
    assert done.return_value == 0
    assert "is not finished; searching the 3 vectors so far" in done.stderr


def test_tables_and_places_that_can_not_be(table, sounds, tmp_path):
    query = ["--query-path", sounds / "b, c.wav", "--device", "cpu"]
    assert "is no table of embeddings" in str(run("search", sounds, *query).exception)
    other = run("search", table, *query, "--model", "naturelm-tiny")
    assert "and naturelm-tiny gives other vectors" in str(other.exception)
    place = run("search", table, *query, "--output-path", tmp_path / "no" / "hits.csv")
    assert "there is no such folder; make it first" in str(place.exception)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00.00"), (59.999, "0:01:00.00"), (86_399.5, "23:59:59.50"), (1e6, "277:46:40.00")],
)
def test_times_are_shown_as_a_clock(seconds, shown):
    assert _clock(seconds) == shown


def test_the_command_loads_nothing_heavy_for_its_help():
    import subprocess

    code = (
        "import sys; import naturelm_audio.embed_command, naturelm_audio.clips_command; print(*sys.modules)"
    )
    path = ":".join(one for one in sys.path if one)
    shown = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "soundfile", "transformers"} & set(shown.stdout.split())
