from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from benchmark_rows import COMPONENTS, row, write_parquet, zoo_rows
from prediction_server import PATIENT_SECONDS, nobody, serving, success

from naturelm_audio.beans.dataset import DatasetError
from naturelm_audio.beans.http_calls import Caller, ServerError
from naturelm_audio.beans.models import Outcome
from naturelm_audio.beans.options import BeansOptions
from naturelm_audio.beans.remote import RemoteModel
from naturelm_audio.beans.run import run_beans
from naturelm_audio.errors import AudioError, OptionsError, OutputError
from naturelm_audio.runs import RunStoppedError

pytest.importorskip("pyarrow", reason="needs the [eval] extra")


class Parrot:
    """Answers with what it was given: the label of the row, in batches of three."""

    rows_at_once = 3

    def __init__(self, stop_at=None, error=KeyboardInterrupt):
        self.answered = []
        self.stop_at, self.error = stop_at, error

    def about(self):
        return {"name": "parrot"}

    def prepare(self, item):
        if item.row.id == "zoo-open-5":
            raise AudioError("it is silent", code="audio_empty")
        return item.sound.samples

    def answer(self, items):
        if self.stop_at is not None and len(self.answered) >= self.stop_at:
            raise self.error
        self.answered.extend(item.row.id for item, _ in items)
        return [Outcome(prediction=item.row.label, extras={"confidence": 0.5}) for item, _ in items]


def options(zoo, **changes):
    return BeansOptions(**{"data": str(zoo), "output_path": zoo.parent / "p.jsonl"} | changes)


def run(zoo, model=None, **changes):
    return run_beans(options(zoo, **changes), lambda *given: model or Parrot())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_has_a_prediction_in_the_order_of_the_data(zoo):
    summary = run(zoo)
    found = lines(zoo.parent / "p.jsonl")
    assert [one["id"] for one in found] == [one["id"] for one in zoo_rows()]
    assert found[0] == {
        "prediction": "Hen",
        "label": "Hen",
        "id": "zoo-cmn-0",
        "dataset_name": "zoo-cmn",
        "file_name": "0.wav",
        "confidence": 0.5,
    }
    assert found[5] == {
        "prediction": "",
        "label": "None",
        "id": "zoo-open-5",
        "dataset_name": "zoo-open",
        "file_name": "5.wav",
        "error": "audio_empty: it is silent",
    }
    assert (summary.rows, summary.errors, summary.benchmark.name) == (10, 1, "zoo")


def test_b3_the_run_file_says_what_made_the_predictions(zoo):
    summary = run(zoo)
    run_file = json.loads((zoo.parent / "p.jsonl.run.json").read_text())
    assert run_file["settings"]["model"] == {"name": "parrot"}
    assert run_file["settings"]["data"]["rows"] == {"zoo-cap": 3, "zoo-cmn": 4, "zoo-open": 3}
    assert run_file["settings"]["resampler"] == "kaiser_best"
    assert run_file["questions"]["zoo-cmn"]["clip_seconds"] == 3
    assert run_file["counts"]["zoo-open"] == {"rows": 3, "errors": 1}
    assert run_file["versions"]["torch"]
    assert summary.report["rows at once"] == 3


@pytest.mark.parametrize("cut", [0, 3, 8])
@pytest.mark.parametrize("torn", [b"", b'{"prediction": "H'])
def test_b2_stopped_anywhere_and_resumed_is_the_same_file(zoo, cut, torn):
    run(zoo)
    whole = (zoo.parent / "p.jsonl").read_bytes()
    first = Parrot(stop_at=cut)
    with pytest.raises(RunStoppedError) as stopped:
        run(zoo, first, output_path=zoo.parent / "q.jsonl")
    output = zoo.parent / "q.jsonl"
    assert stopped.value.interrupted
    if not output.exists():
        assert str(stopped.value) == "no row was made yet"
    else:
        assert "the same command with --resume goes on" in str(stopped.value)
        with output.open("ab") as file:
            file.write(torn)
    second = Parrot()
    summary = run(zoo, second, output_path=output, resume=True)
    assert summary.report.get("times resumed") == (1 if cut else None)
    assert output.read_bytes() == whole
    assert len(first.answered) + len(second.answered) == 9  # each once, but for the silent one


KILLED = """
import os, signal, sys
from pathlib import Path
from naturelm_audio.beans.models import Outcome
from naturelm_audio.beans.options import BeansOptions
from naturelm_audio.beans.run import run_beans

class Killed:
    rows_at_once, calls = 2, 0
    def about(self): return {"name": "parrot"}
    def prepare(self, item): return None
    def answer(self, items):
        self.calls += 1
        if self.calls == 4: os.kill(os.getpid(), signal.SIGKILL)
        return [Outcome(prediction=item.row.label) for item, _ in items]

run_beans(BeansOptions(data=sys.argv[1], output_path=Path(sys.argv[2])), lambda *given: Killed())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system with SIGKILL")
def test_b2_a_process_that_is_killed_leaves_whole_rows(zoo):
    output = zoo.parent / "p.jsonl"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(zoo), str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(lines(output)) == 6
    summary = run(zoo, resume=True)
    assert [one["id"] for one in lines(output)] == [one["id"] for one in zoo_rows()]
    assert summary.rows == 10


def test_a_finished_run_that_is_resumed_loads_no_model(zoo):
    run(zoo)
    summary = run_beans(options(zoo, resume=True), lambda *given: pytest.fail("loads a model"))
    assert summary.rows == 10


def test_other_data_under_the_same_name_is_noticed(zoo):
    with pytest.raises(RunStoppedError):
        run(zoo, Parrot(stop_at=3))
    shutil.rmtree(zoo)
    changed = zoo_rows()
    changed[1]["id"] = "other"
    write_parquet(zoo, changed)
    with pytest.raises(DatasetError, match="row 2 on file is zoo-cmn-1 of zoo-cmn, but the data has other"):
        run(zoo, resume=True)
    assert len(lines(zoo.parent / "p.jsonl")) == 3


def test_another_model_or_setting_does_not_share_the_file(zoo):
    with pytest.raises(RunStoppedError):
        run(zoo, Parrot(stop_at=3))
    other = Parrot()
    other.about = lambda: {"name": "crow"}
    with pytest.raises(OutputError, match=r'model\.name "parrot", now it is "crow"'):
        run(zoo, other, resume=True)
    with pytest.raises(OutputError, match="limit null, now it is 2"):
        run(zoo, resume=True, limit=2)
    with pytest.raises(OutputError, match="exists already"):
        run(zoo)


def test_components_and_limits(zoo):
    run(zoo, components=("zoo-cap", "zoo-open"), limit=2)
    assert [one["id"] for one in lines(zoo.parent / "p.jsonl")] == [
        "zoo-open-4",
        "zoo-open-5",
        "zoo-cap-7",
        "zoo-cap-8",
    ]


def test_components_that_are_unknown_or_not_in_the_data(zoo):
    with pytest.raises(OptionsError, match="'zoo-cm' is unknown: did you mean 'zoo-cmn'"):
        run(zoo, components=("zoo-cm",))
    shutil.rmtree(zoo)
    write_parquet(zoo, zoo_rows()[:4])
    with pytest.raises(DatasetError, match="zoo: has no row of zoo-cap; its components are zoo-cmn"):
        run(zoo, components=("zoo-cap", "zoo-cmn"))
    assert not (zoo.parent / "p.jsonl").exists()


def test_data_of_an_unknown_benchmark(zoo):
    (zoo / "components.json").unlink()
    with pytest.raises(
        DatasetError, match=r"has no row of BEANS-Zero; its components are zoo-cap, .*--benchmark"
    ):
        run(zoo)
    table = zoo.parent / "mine.json"
    table.write_text(json.dumps(COMPONENTS["components"][:1]))
    summary = run(zoo, benchmark=table)
    assert (summary.rows, summary.unknown) == (4, {"zoo-open": 3, "zoo-cap": 3})


def test_faulty_rows_become_rows_with_an_error(zoo, capsys):
    shutil.rmtree(zoo)
    write_parquet(zoo, [row("zoo-cmn", 0, "Hen", audio=None), *zoo_rows()[1:4]])
    summary = run(zoo)
    assert summary.errors == 1
    assert lines(zoo.parent / "p.jsonl")[0]["error"] == "audio_empty: the row has no audio"
    assert "zoo-cmn zoo-cmn-0: audio_empty: the row has no audio" in capsys.readouterr().err


def test_a_question_for_two_clips_is_a_row_with_an_error(zoo):
    shutil.rmtree(zoo)
    two = "<Audio><AudioHere></Audio> and <Audio><AudioHere></Audio>: the same?"
    write_parquet(zoo, [row("zoo-cmn", 0, "Hen", instruction=two), *zoo_rows()[1:3]])
    assert run(zoo).errors == 1
    first, second, _ = lines(zoo.parent / "p.jsonl")
    assert first["error"].startswith("prompt_error: the question has 2 <AudioHere> for 1 audio clip")
    assert second["prediction"] == "Cat"


def test_a_replaced_question_is_on_record(zoo):
    shutil.rmtree(zoo)
    write_parquet(zoo, zoo_rows()[4:7])
    table = zoo / "components.json"
    content = json.loads(table.read_text())
    content["components"][1]["labels"] = [*"abcdefgh", "Hen", "Cat"]
    table.write_text(json.dumps(content))
    summary = run(zoo)
    replaced = summary.report["questions replaced by the published rule"]
    assert replaced == {"zoo-open": "What are the common names for the species in the audio, if any?"}


def remote(options, rows, components):
    caller = Caller(timeout_seconds=PATIENT_SECONDS, tries=2, sleep=lambda seconds: None)
    return RemoteModel(options.predict_url, options.generate, folder=rows.folder, caller=caller)


def test_a_server_that_fails_midway_leaves_what_was_answered(zoo):
    answers = {f"{one['dataset_name']}/{one['id']}": one["output"] for one in zoo_rows()}

    def answer(requests):
        return [success(one, answers[one["sample_id"].partition("/")[2]]) for one in requests]

    with serving(answer) as server:
        given = options(zoo, predict_url=server.address)
        server.script = [
            lambda body: (200, {"schema_version": "predictions_v1", "responses": answer(body["requests"])})
        ]
        server.script += [lambda body: (500, {"detail": "broken"})] * 2
        with pytest.raises(
            RunStoppedError, match=r"status 500 \(broken\); 2 rows on file .* --resume goes on"
        ):
            run_beans(given, remote)
        summary = run_beans(replace(given, resume=True), remote)
    assert summary.rows == 10
    found = lines(zoo.parent / "p.jsonl")
    assert [one["prediction"] for one in found] == [one["output"] for one in zoo_rows()]


def test_a_server_that_is_not_there_leaves_nothing(zoo):
    message = "/health: no answer after 2 tries: can't be reached"
    with nobody() as address, pytest.raises(ServerError, match=message):
        run_beans(options(zoo, predict_url=address), remote)
    assert not (zoo.parent / "p.jsonl").exists()


def test_memory_is_that_of_a_few_rows(zoo):
    """Clips are prepared a few batches ahead and no further, however slow the model is."""
    prepared, most = [], []

    class Slow(Parrot):
        def prepare(self, item):
            prepared.append(item.row.id)
            return item.sound.samples

        def answer(self, items):
            most.append(len(prepared) - len(self.answered))
            return super().answer(items)

    shutil.rmtree(zoo)
    write_parquet(zoo, [row("zoo-cmn", n, "Hen", audio=[0.1, 0.2]) for n in range(100)])
    run(zoo, Slow())
    assert len(most) == 34
    assert max(most) <= 5 * Parrot.rows_at_once
