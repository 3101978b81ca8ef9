from __future__ import annotations

import json

import pytest

from naturelm_audio.errors import OutputError
from naturelm_audio.files import LineFile
from naturelm_audio.run_files import RunFile, check_place


def rows_of(path, text=""):
    path.write_text(text)
    return LineFile(path)


def test_a_new_run_says_what_made_it(tmp_path):
    output = tmp_path / "rows.jsonl"
    run = RunFile(output)
    assert run.stored(rows_of(output), "new") is None
    run.begin({"beams": 2}, {"command": ["x"]})
    run.confirm("model", {"name": "m"})
    run.note(status="running")
    content = json.loads((tmp_path / "rows.jsonl.run.json").read_text())
    assert content["settings"] == {"beams": 2, "model": {"name": "m"}}
    assert (content["command"], content["status"], content["run_id"]) == (["x"], "running", run.run_id)


def test_going_on_compares_settings(tmp_path):
    output = tmp_path / "rows.jsonl"
    first = RunFile(output)
    first.begin({"beams": 2, "model": {"name": "m"}}, {})
    first.note(status="running")
    again = RunFile(output)
    stored = again.stored(rows_of(output, "{}\n"), "resume")
    with pytest.raises(OutputError, match="has rows made with beams 2, now it is 1: use the same"):
        again.go_on(stored, {"beams": 1})
    again.go_on(stored, {"beams": 2})
    assert again.run_id == first.run_id
    with pytest.raises(OutputError, match=r"model\.name"):
        again.confirm("model", {"name": "other"})


def test_what_can_not_go_on(tmp_path):
    output = tmp_path / "rows.jsonl"
    rows = rows_of(output, "{}\n")
    with pytest.raises(OutputError, match="exists already"):
        RunFile(output).stored(rows, "new")
    with pytest.raises(OutputError, match="can't be resumed without"):
        RunFile(output).stored(rows, "resume")
    (tmp_path / "rows.jsonl.run.json").write_text("[]")
    with pytest.raises(OutputError, match="is not a run file"):
        RunFile(output).stored(rows, "resume")
    assert RunFile(output).stored(rows, "overwrite") is None


def test_a_run_that_died_while_starting_begins_again(tmp_path):
    output = tmp_path / "rows.jsonl"
    RunFile(output).begin({}, {})
    assert RunFile(output).stored(rows_of(output), "resume") is None


def test_places(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        check_place(tmp_path)
    with pytest.raises(OutputError, match="there is no folder"):
        check_place(tmp_path / "none" / "rows.jsonl")
