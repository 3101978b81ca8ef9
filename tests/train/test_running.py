"""Whole runs on toy data: from annotation file to a model that answers, stopped and taken up again."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from rehearsal import recipe, rows, write_rows
from safetensors.torch import load_file

from naturelm_audio.checkpoint import load_model, save_model
from naturelm_audio.errors import CheckpointError, OptionsError, OutputError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.train import checkpoints, running
from naturelm_audio.train.running import train, train_stages
from naturelm_audio.train.trainer import TrainingError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_rows(folder / "rows.jsonl", rows(folder))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "model"
    save_model(toys.model(lora_rank=2, lora_alpha=4.0, spread=0.05), folder)
    return folder


@pytest.fixture(scope="module")
def whole(data, toy, tmp_path_factory):
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    finished = train(recipe(data, toy), folder / "run")
    return folder / "run", finished


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_run_ends_with_a_model_that_answers(whole):
    folder, finished = whole
    model = load_model(finished.model, device="cpu")
    generator = Generator(model)
    vectors = generator.encode([np.zeros(16_000, np.float32)])
    assert generator.answer([Request("<AudioHere>?", tuple(vectors))])[0].token_ids
    assert finished.figures["loss"] > 0
    assert "common-simple-detection/none_accuracy" in finished.figures
    steps = [row["step"] for row in log(folder) if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_run_records_what_it_depends_on(whole):
    record = json.loads((whole[0] / "run.json").read_text())
    assert record["recipe"]["optimiser"]["steps"] == 6
    assert record["rows"]["train_tasks"] == {"common-classification": 9, "common-simple-detection": 9}
    assert 0 < record["trained_parameters"] < record["parameters"]
    assert record["figures"]["loss"] == pytest.approx(whole[1].figures["loss"])


def test_only_what_should_learn_changes(whole, toy):
    before, after = weights(toy), weights(checkpoints.last_checkpoint(whole[0]))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {name.partition(".")[0] for name in changed}
    assert parts == {"audio_tower", "bridge", "language_model"}
    assert all("lora_" in name for name in changed if name.startswith("language_model"))
    assert not any("predictor" in name for name in changed)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_T4_a_run_taken_up_gives_the_same_weights_bit_for_bit(whole, data, toy, tmp_path, step):
    assert train(recipe(data, toy), tmp_path / "run", stop_after=step) is None
    finished = train(recipe(data, toy), tmp_path / "run")
    expected, found = weights(whole[0] / "checkpoint-6"), weights(tmp_path / "run" / "checkpoint-6")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert finished.figures == whole[1].figures
    losses = [
        [row["loss"] for row in log(folder) if "loss" in row] for folder in (whole[0], tmp_path / "run")
    ]
    assert losses[0] == losses[1]
    old = torch.load(whole[0] / "checkpoint-6" / "optimizer.pt", weights_only=True)
    new = torch.load(tmp_path / "run" / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert all(
        torch.equal(old["state"][key]["exp_avg"], new["state"][key]["exp_avg"]) for key in old["state"]
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from rehearsal import recipe
from naturelm_audio.train.draws import Draws
from naturelm_audio.train.running import train

real, heard = Draws.sample, []

def sample(self, *given):
    heard.append(given)
    if len(heard) > 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *given)

Draws.sample = sample
train(recipe(Path(sys.argv[1]), Path(sys.argv[2])), sys.argv[3])
"""


@pytest.mark.timeout(900)
def test_X11_a_kill_without_warning_is_taken_up_from_the_last_checkpoint(whole, data, toy, tmp_path):
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(str(root / part) for part in ("src", "tests"))
    command = [sys.executable, "-c", KILLED, *map(str, (data, toy, tmp_path / "run"))]
    # As many threads as here: sums have another order with others.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    assert checkpoints.last_checkpoint(tmp_path / "run").name == "checkpoint-3"
    train(recipe(data, toy), tmp_path / "run")
    expected, found = weights(whole[0] / "checkpoint-6"), weights(tmp_path / "run" / "checkpoint-6")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_T4_checkpoints_hold_tensors_and_json_alone(whole):
    for folder in (whole[0] / "checkpoint-6", whole[0] / "model"):
        assert load_model(folder, device="cpu") is not None
    suffixes = {path.suffix for path in (whole[0] / "checkpoint-6").iterdir()}
    assert suffixes == {".json", ".safetensors", ".pt", ".jinja"}


def test_a_finished_run_begun_again_gives_its_result(whole, data, toy):
    again = train(recipe(data, toy), whole[0])
    assert again.figures == whole[1].figures


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 6}, "seed was 5, now 6"),
        ({"optimiser": {"learning_rate": 2e-2}}, "optimiser.learning_rate"),
        ({"augment": {"mixup_probability": 0.1}}, "augment.mixup_probability was 0.5, now 0.1"),
    ],
)
def test_T4_another_recipe_is_refused_by_the_name_of_its_key(whole, data, toy, changes, key):
    with pytest.raises(OptionsError, match=key):
        train(recipe(data, toy, **changes), whole[0])


def test_what_changes_no_weight_may_change(whole, data, toy):
    train(recipe(data, toy, run={"log_every": 2, "keep_last": 5}), whole[0])


def test_keys_that_are_younger_than_a_run_dont_keep_it_from_going_on(data, toy, tmp_path):
    train(recipe(data, toy), tmp_path / "run", stop_after=1)
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    del record["recipe"]["augment"]["flip_probability"]
    path.write_text(json.dumps(record))
    train(recipe(data, toy), tmp_path / "run", stop_after=1)
    with pytest.raises(OptionsError, match=r"augment\.flip_probability was None, now 0\.5"):
        train(recipe(data, toy, augment={"flip_probability": 0.5}), tmp_path / "run")


def test_changed_data_is_refused(data, toy, tmp_path):
    folder = tmp_path / "data"
    listed = rows(folder)
    own = write_rows(folder / "rows.jsonl", listed)
    train(recipe(own, toy, optimiser={"steps": 2}), tmp_path / "run", stop_after=1)
    write_rows(own, listed[:-2])
    with pytest.raises(OptionsError, match="has changed since this run began"):
        train(recipe(own, toy, optimiser={"steps": 2}), tmp_path / "run")


def test_a_folder_with_something_else_is_left_alone(data, toy, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="no training run"):
        train(recipe(data, toy), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_last_checkpoints_and_the_best_are_kept(data, toy, tmp_path, monkeypatch):
    from naturelm_audio.train.validation import Validation

    losses = iter([1.0, 5.0, 4.0, 3.0])
    monkeypatch.setattr(Validation, "figures", lambda self, *_, **__: {"loss": next(losses)})
    train(recipe(data, toy, optimiser={"steps": 8}, validation={"every": 2}), tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert kept == ["checkpoint-2", "checkpoint-6", "checkpoint-8"]
    best, finished = weights(tmp_path / "run" / "checkpoint-2"), weights(tmp_path / "run" / "model")
    assert all(torch.equal(best[name], finished[name]) for name in best)


def test_T12_a_run_without_progress_ends_early_and_stays_ended(data, toy, tmp_path, monkeypatch):
    from naturelm_audio.train.validation import Validation

    losses = iter([2.0, 1.0, 3.0, 1.0, 0.5])
    monkeypatch.setattr(Validation, "figures", lambda self, *_, **__: {"loss": next(losses)})
    plan = recipe(data, toy, optimiser={"steps": 9}, validation={"every": 1, "patience": 2})
    for _ in range(2):
        assert train(plan, tmp_path / "run").figures == {"loss": 1.0}
        assert checkpoints.last_checkpoint(tmp_path / "run").name == "checkpoint-4"
    best, finished = weights(tmp_path / "run" / "checkpoint-2"), weights(tmp_path / "run" / "model")
    assert all(torch.equal(best[name], finished[name]) for name in best)


def test_T6_an_unknown_figure_for_the_best_is_named_before_anything_is_done(data, toy, tmp_path):
    with pytest.raises(OptionsError, match=r"no figure 'token_acuracy'; did you mean token_accuracy\?"):
        train(recipe(data, toy, validation={"best": "token_acuracy"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_T6_the_best_weights_are_tested_on_rows_that_chose_nothing(data, toy, tmp_path, monkeypatch):
    from naturelm_audio.train.validation import Validation

    folder = tmp_path / "data"
    listed = rows(folder)
    tested = [{**row, "split": "test", "text": "other"} for row in listed if row["split"] == "valid"]
    own = write_rows(folder / "rows.jsonl", [*listed, *tested])
    real, losses = Validation.figures, iter([1.0, 5.0, 4.0])
    monkeypatch.setattr(  # so that the weights in the middle are the best
        Validation, "figures",
        lambda self, model, **given: real(self, model, **given)
        | ({} if self.examples[0].text == "other" else {"loss": next(losses)}),
    )  # fmt: skip
    plan = recipe(own, toy, validation={"every": 2})
    finished = train(plan, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["best_step"], record["rows"]["test_rows"]) == (2, 6)
    assert record["test_figures"] == finished.tested == train(plan, tmp_path / "run").tested
    assert finished.figures["loss"] == 1.0
    trainer = running.prepare(plan, tmp_path / "run")
    for name in ("checkpoint-2", "checkpoint-6"):
        trainer.take_weights(weights(tmp_path / "run" / name))
        figures = real(trainer.tested, trainer.plain, batch_size=2)
        assert (figures == pytest.approx(finished.tested)) == (name == "checkpoint-2")
    plain = recipe(own, toy, data={"test": (str(own),)}, validation={"every": 2})
    assert train(plain, tmp_path / "run").tested == finished.tested  # what is tested changes no weight


def test_a_full_disk_leaves_the_checkpoint_before(data, toy, tmp_path, monkeypatch):
    real = checkpoints.write_optimiser

    def full(state, folder):
        if "checkpoint-4" in folder.name:
            (folder / "optimizer.pt").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(state, folder)

    monkeypatch.setattr(checkpoints, "write_optimiser", full)
    with pytest.raises(OutputError, match="the disk is full; the one before is unchanged"):
        train(recipe(data, toy), tmp_path / "run")
    assert checkpoints.last_checkpoint(tmp_path / "run").name == "checkpoint-3"
    assert not list((tmp_path / "run").glob(".checkpoint*"))
    monkeypatch.setattr(checkpoints, "write_optimiser", real)
    assert train(recipe(data, toy), tmp_path / "run") is not None


def test_a_disk_too_full_for_the_log_stops_the_run_with_a_line(data, toy, tmp_path):
    train(recipe(data, toy), tmp_path / "run", stop_after=2)
    (tmp_path / "run" / "log.jsonl").unlink()
    (tmp_path / "run" / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(
        checkpoints.NotSavedError, match=r"log\.jsonl: can't be written: the disk is full; the same"
    ):
        train(recipe(data, toy), tmp_path / "run")
    assert checkpoints.last_checkpoint(tmp_path / "run").name == "checkpoint-2"


def test_a_disk_full_of_weights_leaves_the_checkpoint_before_too(data, toy, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from naturelm_audio.model import NatureLMForConditionalGeneration

    real, saved = NatureLMForConditionalGeneration.save_pretrained, []

    def full(self, folder, **given):
        saved.append(folder)
        if len(saved) == 2:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        real(self, folder, **given)

    monkeypatch.setattr(NatureLMForConditionalGeneration, "save_pretrained", full)
    with pytest.raises(checkpoints.NotSavedError, match="the disk is full; the one before is unchanged"):
        train(recipe(data, toy), tmp_path / "run")
    assert checkpoints.last_checkpoint(tmp_path / "run").name == "checkpoint-2"
    assert not list((tmp_path / "run").glob(".*"))


def test_a_checkpoint_of_another_architecture_is_refused(whole, data, toy, tmp_path):
    other = toys.model(lora_rank=3, lora_alpha=4.0)
    state = other.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    with pytest.raises(CheckpointError, match=r"another architecture: unexpected .*lora_A"):
        checkpoints.read_weights(whole[0] / "checkpoint-6", shapes, frozenset())


def test_checkpoints_of_trained_weights_alone_resume_exactly(whole, data, toy, tmp_path):
    small = recipe(data, toy, run={"checkpoint_weights": "trained"})
    train(small, tmp_path / "run", stop_after=3)
    folder = tmp_path / "run" / "checkpoint-3"
    assert (folder / "trained.safetensors").is_file()
    assert not (folder / "model.safetensors").exists()
    train(small, tmp_path / "run")
    expected, found = weights(whole[0] / "model"), weights(tmp_path / "run" / "model")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_unreadable_audio_is_skipped_counted_and_listed(data, toy, tmp_path, caplog):
    folder = tmp_path / "data"
    listed = rows(folder)
    (folder / listed[0]["path"]).write_bytes(b"not audio at all")
    own = write_rows(folder / "rows.jsonl", listed)
    patient = recipe(own, toy, data={"max_unreadable_share": 0.2})
    finished = train(patient, tmp_path / "run")
    assert set(finished.unreadable) <= {0, 1}
    assert finished.unreadable
    assert "rows were left out because their audio can't be read" in caplog.text
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["unreadable"].keys() == {str(row) for row in finished.unreadable}


def test_more_than_one_percent_unreadable_is_an_error(data, toy, tmp_path):
    folder = tmp_path / "data"
    listed = rows(folder)
    for row in listed[:2]:
        (folder / row["path"]).write_bytes(b"not audio at all")
    own = write_rows(folder / "rows.jsonl", listed)
    with pytest.raises(TrainingError, match=r"can't be read, more than data\.max_unreadable_share 0\.01"):
        train(recipe(own, toy), tmp_path / "run")


def test_noise_that_cant_be_read_is_told_and_ends_nothing(data, toy, tmp_path, caplog):
    from rehearsal import write_tone

    write_tone(tmp_path / "noise" / "hum.wav", 50.0, 1.0)
    (tmp_path / "noise" / "torn.wav").write_bytes(b"nothing")
    noise = {"noise_folders": (str(tmp_path / "noise"),), "noise_probability": 1.0}
    finished = train(recipe(data, toy, augment=noise, optimiser={"steps": 2}), tmp_path / "run")
    (reason,) = finished.unreadable.values()
    assert "torn.wav" in reason
    assert "torn.wav" in caplog.text


def test_audio_that_cant_be_read_any_more_ends_the_run(data, toy, tmp_path, monkeypatch):
    from naturelm_audio.errors import AudioError
    from naturelm_audio.train.draws import Reader

    def gone(*_):
        raise AudioError("no such file", path="a.wav")

    train(recipe(data, toy), tmp_path / "run", stop_after=1)
    monkeypatch.setattr(Reader, "cropped", gone)
    with pytest.raises(TrainingError, match="20 rows in turn can't be read"):
        train(recipe(data, toy), tmp_path / "run")


def test_stages_follow_each_other(data, toy, tmp_path):
    first = recipe(data, toy, optimiser={"steps": 2}, validation={"every": 2})
    second = dataclasses.replace(first, init=dataclasses.replace(first.init, model="unknown"), seed=9)
    finished = train_stages([first, second], tmp_path / "run")
    assert finished.model == tmp_path / "run" / "stage2" / "model"
    record = json.loads((tmp_path / "run" / "stage2" / "run.json").read_text())
    assert Path(record["recipe"]["init"]["model"]) == tmp_path / "run" / "stage1" / "model"


@pytest.mark.parametrize("workers", [2])
def test_T9_worker_processes_change_nothing(whole, data, toy, tmp_path, workers):
    train(
        recipe(data, toy, data={"workers": workers}, optimiser={"steps": 6}), tmp_path / "run", stop_after=2
    )
    expected = weights(whole[0] / "checkpoint-4")
    assert expected.keys() == weights(tmp_path / "run" / "checkpoint-2").keys()
    rows_of_log = [row["loss"] for row in log(tmp_path / "run") if "loss" in row]
    assert rows_of_log == [row["loss"] for row in log(whole[0]) if "loss" in row][:2]


def test_shards_with_their_audio_train_like_the_files_they_were_made_of(whole, data, toy, tmp_path):
    pytest.importorskip("datasets")
    from naturelm_audio.train.manifest.annotations import read_annotations
    from naturelm_audio.train.manifest.shards import ShardOptions, write_shards

    examples = read_annotations(data)
    several = dataclasses.replace(
        examples[0],
        files=(examples[0].files[0], examples[2].files[0]),
        prompt="The same?",
        task="x-qa",
        id="two",
    )
    write_shards([*examples, several], data.parent, tmp_path / "shards", ShardOptions(rows_per_shard=10))
    plan = recipe(
        tmp_path / "shards", toy, validation={"answers_per_task": 0}, augment={"mixup_probability": 0.0}
    )
    (tmp_path / "rows").mkdir()
    finished = train(plan, tmp_path / "run")
    assert finished.figures["common-classification/loss"] > 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["rows"]["train_tasks"] == {
        "common-classification": 9, "common-simple-detection": 9, "x-qa": 1
    }  # fmt: skip
    assert train(plan, tmp_path / "run").figures == finished.figures


def test_a_folder_without_shards_is_refused(toy, tmp_path):
    from naturelm_audio.train.manifest.problems import ManifestError

    with pytest.raises(ManifestError, match="holds no Parquet file"):
        train(recipe(tmp_path, toy), tmp_path / "run")
