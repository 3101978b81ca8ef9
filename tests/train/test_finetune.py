"""Fine-tuning on own recordings, comparing runs, and the commands for both."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import pytest
import toys
import yaml
from click.testing import CliRunner
from rehearsal import SOUNDS, recipe, rows, write_rows, write_tone

from naturelm_audio.checkpoint import load_model, save_model
from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.train import commands_train, finetune
from naturelm_audio.train.compare import as_markdown, compare_runs
from naturelm_audio.train.finetune import FinetuneOptions, held_out
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.running import train


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "model"
    save_model(toys.model(spread=0.05, lora_rank=2), folder)
    return folder


@pytest.fixture
def table(tmp_path):
    """Five recordings of two sounds and three of a third."""
    found = []
    for label, hertz in SOUNDS.items():
        for number in range(3 if label == "high" else 5):
            path = f"audio/{label}_{number}.wav"
            write_tone(tmp_path / path, hertz + 5 * number, 0.5)
            found.append((path, label))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "common_name"), *found])
    return tmp_path / "labels.csv"


def recordings(*names, **more):
    return [
        Labelled(path=f"{name}{number}.wav", common_name=name, recording_id=f"{name}{number}", **more)
        for name in names
        for number in range(4)
    ]


def test_some_recordings_of_each_class_are_kept_for_judging():
    kept = held_out(recordings("a", "b"), 0.25, 1)
    assert [sum(one.split == "valid" for one in kept if one.common_name == name) for name in "ab"] == [1, 1]
    assert kept == held_out(recordings("a", "b"), 0.25, 1)
    assert sum(one.split == "valid" for one in held_out(recordings("a"), 0.99, 1)) == 3
    assert {one.split for one in held_out(recordings("a")[:1], 0.5, 1)} == {"train"}


def test_a_source_recording_is_never_cut_through():
    pieces = [Labelled(path=f"{n}.wav", common_name="a", recording_id=f"night {n // 3}") for n in range(12)]
    found = {(one.recording_id, one.split) for one in held_out(pieces, 0.3, 1)}
    assert len(found) == 4


def test_splits_of_the_table_are_kept():
    given = [Labelled(path="a", common_name="x", split="test"), Labelled(path="b", common_name="x")]
    assert [one.split for one in held_out(given, 0.2, 1)] == ["valid", "train"]


def test_finetuning_ends_with_a_model_and_an_honest_table(table, toy, tmp_path, caplog):
    output = tmp_path / "mine"
    result = finetune.finetune(
        FinetuneOptions(data=table, model=str(toy), output=output, steps=3, batch_size=4)
    )
    assert load_model(output, device="cpu").tokenizer is not None
    assert result.recordings == {"high": (2, 1), "low": (4, 1), "middle": (4, 1)}
    assert {figure.total for figure in (*result.before, *result.after)} == {3}
    text = result.as_markdown()
    assert "| open question |" in text
    assert "| choice of 3 |" in text
    assert "fewer than 5 recordings of high (3)" in text
    assert "fewer than 5 recordings of high (3)" in caplog.text
    record = json.loads((output / "finetune.json").read_text())
    assert record["recordings"]["low"] == {"learned": 4, "judged": 1}
    lines = (tmp_path / "mine-training" / "rows.jsonl").read_text().splitlines()
    learned = [json.loads(line)["path"] for line in lines]
    _, judged, _ = finetune._recordings(FinetuneOptions(data=table, output=output), tmp_path)
    assert not {one.path for one in judged.recordings} & set(learned)
    again = finetune.finetune(
        FinetuneOptions(data=table, model=str(toy), output=output, steps=3, batch_size=4)
    )
    assert again.after == result.after


def test_recordings_that_cant_be_read_are_all_named_or_left_out(table, toy, tmp_path):
    (tmp_path / "audio" / "low_0.wav").write_bytes(b"nothing")
    with table.open("a") as file:
        file.write("audio/gone.wav,low\naudio/high_0.wav,\n")
    options = FinetuneOptions(data=table, model=str(toy), output=tmp_path / "mine", steps=1, batch_size=2)
    with pytest.raises(ManifestError, match=r"--drop-bad\): 3 faults") as error:
        finetune.finetune(options)
    assert all(name in str(error.value) for name in ("low_0.wav", "gone.wav", "labels.csv:16: the label"))
    assert not (tmp_path / "mine-training").exists()
    result = finetune.finetune(dataclasses.replace(options, drop_bad=True))
    assert result.recordings["low"] == (3, 1)
    assert any("3 rows were left out: " in warning for warning in result.warnings)


def test_finetuning_refuses_what_it_cant_do(table, toy, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="name a new folder"):
        finetune.finetune(FinetuneOptions(data=table, model=str(toy), output=tmp_path / "mine"))
    with pytest.raises(OptionsError, match="valid_share"):
        FinetuneOptions(data=table, output=tmp_path / "x", valid_share=1.0)
    single = tmp_path / "single.csv"
    single.write_text("path,common_name\naudio/low_0.wav,low\n")
    with pytest.raises(OptionsError, match="no class has two recordings"):
        finetune.finetune(FinetuneOptions(data=single, model=str(toy), output=tmp_path / "x"))
    faulty = tmp_path / "faulty.csv"
    faulty.write_text("path,common_name\naudio/low_0.wav,\n")
    with pytest.raises(ManifestError, match=r"faulty\.csv"):
        finetune.finetune(FinetuneOptions(data=faulty, model=str(toy), output=tmp_path / "x"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy):
    folder = tmp_path_factory.mktemp("runs")
    data = write_rows(folder / "rows.jsonl", rows(folder))
    for name, encoder in (("trained", True), ("frozen", False)):
        train(recipe(data, toy, optimiser={"steps": 2}, parts={"encoder": encoder}), folder / name)
    return folder


def test_two_runs_are_compared_by_what_differs(runs):
    found = compare_runs(runs / "trained", runs / "frozen")
    assert found.changed["parts.encoder"] == (True, False)
    assert found.changed.keys() == {"parts.encoder", "trained_parameters"}
    text = as_markdown(found)
    assert "| parts.encoder | true | false |" in text
    assert "| loss |" in text
    assert "(all the same)" in as_markdown(compare_runs(runs / "frozen", runs / "frozen"))
    with pytest.raises(OutputError, match="no training run"):
        compare_runs(runs, runs / "frozen")


def test_runs_in_stages_are_compared_by_their_last_one(runs, tmp_path):
    for number, name in ((2, "trained"), (10, "frozen")):
        shutil.copytree(runs / name, tmp_path / "both" / f"stage{number}")
    record = tmp_path / "both" / "stage10" / "run.json"
    content = json.loads(record.read_text()) | {"test_figures": {"loss": 2.5}}
    record.write_text(json.dumps(content))
    found = compare_runs(tmp_path / "both", runs / "frozen")
    assert found.names[0] == str(tmp_path / "both" / "stage10")
    assert not found.changed
    assert found.figures["test loss"] == (2.5, None)
    assert "| step | 2 | 2 |  |" in as_markdown(found)


# --- commands ---


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)


def test_the_train_command_reads_a_recipe_and_goes_on(runs, toy, tmp_path):
    plan = {
        "init": {"model": str(toy)},
        "data": {"train": [str(runs / "rows.jsonl")], "hold_outs": "none"},
        "augment": {"noise_probability": 0, "replace_probability": 0},
        "parts": {"lora_rank": 2},
        "optimiser": {"steps": 9, "batch_size": 2, "precision": "float32"},
        "validation": {"answers_per_task": 0},
    }
    (tmp_path / "plan.yml").write_text(yaml.safe_dump(plan))
    given = (
        "--cfg-path",
        tmp_path / "plan.yml",
        "--options",
        "optimiser.steps=2",
        "--output-dir",
        tmp_path / "run",
    )
    for _ in range(2):
        result = invoke(commands_train.train, *given)
        assert result.exit_code == 0
        assert f"The model is in {tmp_path / 'run' / 'model'}." in result.output
    joined = invoke(
        commands_train.train, *given[:2], *given[:4], "--output-dir", tmp_path / "both", "--joined"
    )
    assert joined.exit_code == 0
    assert json.loads((tmp_path / "both" / "run.json").read_text())["recipe"]["optimiser"]["steps"] == 4
    with pytest.raises(OptionsError, match="did you mean optimiser"):
        invoke(
            commands_train.train, *given[:2], "--options", "optimizer.steps=1", "--output-dir", tmp_path / "x"
        )


def test_the_other_commands(runs, table, toy, tmp_path):
    compared = invoke(commands_train.train_compare, runs / "trained", runs / "frozen")
    assert "parts.encoder" in compared.output
    taught = invoke(
        commands_train.finetune, "--data", table, "--model", toy, "--output", tmp_path / "o", "--steps", 1,
        "--batch-size", 2,
    )  # fmt: skip
    assert "| open question |" in taught.output
    absent = invoke(commands_train.finetune, "--data", tmp_path / "absent.csv", "--output", tmp_path / "p")
    assert absent.output.startswith("Error: ")
    assert "absent.csv" in absent.output
