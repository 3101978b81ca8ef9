from __future__ import annotations

import json

import pytest

from naturelm_audio.beans.predicted import PredictionFile
from naturelm_audio.errors import OutputError
from naturelm_audio.predictions import read_predictions

SETTINGS = {"beams": 2}


def opened(path, mode="new", settings=SETTINGS):
    return PredictionFile.open(path, mode=mode, settings=settings)


def row(number, **more):
    return {"prediction": "a", "label": "b", "id": str(number), "dataset_name": "x", **more}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "p.jsonl"


def test_rows_are_there_as_soon_as_they_are_made(path):
    with opened(path) as predicted:
        predicted.append(row(1))
        predicted.append(row(2, prediction="\u2028ä", error="audio_empty: no sound"))
        assert [one.id for one in read_predictions(path)] == ["1", "2"]
        assert read_predictions(path)[1].prediction == "\u2028ä"
    run = json.loads((path.parent / "p.jsonl.run.json").read_text())
    assert (run["status"], run["counts"]) == ("finished", {"x": {"rows": 2, "errors": 1}})


def test_b2_a_killed_run_goes_on_behind_its_last_whole_row(path):
    with opened(path) as predicted:
        predicted.append(row(1))
    with path.open("a") as file:
        file.write('{"prediction": "torn')
    with opened(path, "resume") as predicted:
        assert (predicted.done, predicted.count, predicted.resumed) == ([("x", "1")], 1, True)
        predicted.append(row(2))
    assert [one.id for one in read_predictions(path)] == ["1", "2"]
    assert len(json.loads((path.parent / "p.jsonl.run.json").read_text())["resumed"]) == 1


def test_b2_nothing_is_overwritten_unasked(path):
    with opened(path) as predicted:
        predicted.append(row(1))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already: continue it with --resume"):
        opened(path)
    with pytest.raises(OutputError, match="has rows made with beams 2, now it is 3"):
        opened(path, "resume", {"beams": 3})
    assert path.read_bytes() == before
    with opened(path, "overwrite") as predicted:
        assert predicted.done == []


def test_rows_that_someone_edited(path):
    with opened(path) as predicted:
        predicted.append(row(1))
    path.write_text("[]\n")
    with pytest.raises(OutputError, match="line 1: not a row of predictions"):
        opened(path, "resume")
    path.write_text("")
    with opened(path, "resume"):  # and the file was let go
        pass


def test_two_runs_on_one_file(path):
    pytest.importorskip("fcntl")
    with opened(path), pytest.raises(OutputError, match="another process is writing to it"):
        opened(path, "overwrite")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "stopped")])
def test_how_a_run_ended(path, error, status):
    def run():
        with opened(path) as predicted:
            predicted.append(row(1))
            raise error

    with pytest.raises(error):
        run()
    assert json.loads((path.parent / "p.jsonl.run.json").read_text())["status"] == status


def test_a_run_that_made_nothing_leaves_nothing(path):
    with pytest.raises(RuntimeError), opened(path):
        raise RuntimeError
    assert list(path.parent.iterdir()) == []


def test_places_where_nothing_can_be_written(tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        opened(tmp_path / "none" / "p.jsonl")
