from __future__ import annotations

import json

import pytest

from naturelm_audio.errors import OutputError
from naturelm_audio.files import LineFile
from naturelm_audio.run_files import ResumableFile, RunFile, check_place


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


class Lines(ResumableFile):
    """Rows that are numbers."""

    def __init__(self, output):
        super().__init__(output)
        self.numbers = []

    def _take_up(self):
        self.numbers = [int(line) for line in self.output.read_text().split()]

    def _came_to_nothing(self):
        return not self.numbers

    def _ended(self):
        return {"counts": len(self.numbers)}

    def append(self, number):
        self._rows.append(str(number))
        self.numbers.append(number)


def opened(path, mode="new"):
    return Lines.open(path, mode=mode, settings={"a": 1})


def stored(path):
    return json.loads((path.parent / f"{path.name}.run.json").read_text())


def test_rows_are_taken_up_where_they_end(tmp_path):
    path = tmp_path / "rows"
    with opened(path) as lines:
        assert stored(path)["status"] == "running"
        lines.append(1)
    assert (stored(path)["status"], stored(path)["counts"]) == ("finished", 1)
    with path.open("a") as file:
        file.write("torn")
    lines = opened(path, "resume")
    assert (lines.numbers, lines.resumed) == ([1], True)
    with pytest.raises(KeyboardInterrupt), lines:
        raise KeyboardInterrupt
    assert (stored(path)["status"], len(stored(path)["resumed"])) == ("interrupted", 1)
    assert path.read_text() == "1\n"


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), opened(tmp_path / "rows"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_rows_that_can_not_be_taken_up_are_let_go(tmp_path):
    path = tmp_path / "rows"
    with opened(path) as lines:
        lines.append(1)
    path.write_text("one\n")
    with pytest.raises(ValueError, match="one"):
        opened(path, "resume")
    with opened(path, "overwrite") as lines:  # not locked any more
        assert lines.numbers == []
