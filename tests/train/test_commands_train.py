"""``naturelm train``: recipes by commands, and what the exit status says."""

from __future__ import annotations

import json
import re

import pytest
import toys
import yaml
from click.testing import CliRunner
from rehearsal import rows, write_rows

from naturelm_audio import cli
from naturelm_audio.checkpoint import save_model
from naturelm_audio.train import checkpoints
from naturelm_audio.train.trainer import TrainingError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A recipe of two updates on the smallest model."""
    folder = tmp_path_factory.mktemp("command")
    annotations = write_rows(folder / "rows.jsonl", rows(folder))
    save_model(toys.model(lora_rank=2, lora_alpha=4.0), folder / "toy")
    plan = {
        "init": {"model": str(folder / "toy")},
        "data": {"train": str(annotations), "hold_outs": "none"},
        "augment": {"noise_probability": 0.0, "replace_probability": 0.0, "mixup_probability": 0.0},
        "parts": {"lora_rank": 2, "encoder_layerdrop": 0.0},
        "optimiser": {"steps": 2, "batch_size": 2, "warmup_steps": 1, "precision": "float32"},
        "validation": {"every": 2, "rows_per_task": 1, "answers_per_task": 0},
    }
    (folder / "plan.yml").write_text(yaml.safe_dump(plan))
    return folder / "plan.yml"


def status(*arguments):
    """Exit status of the command line, as `main` leaves it."""
    return cli._run(cli.naturelm, "naturelm", [str(one) for one in arguments])


def test_a_run_by_command(config, tmp_path, capsys):
    assert status("train", "--cfg-path", config, "--output-dir", tmp_path / "run") == 0
    shown = capsys.readouterr()
    assert f"The model is in {tmp_path / 'run' / 'model'}." in shown.out
    assert "| task | loss | token_accuracy | rows |" in shown.out
    assert "| common-classification | " in shown.out
    assert re.search(r"update 2 of 2: eval_loss \d+\.\d+, eval_token_accuracy \d", shown.err)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("optimser.steps=3", "unknown key optimser; did you mean optimiser?"),
        ("optimiser.step=3", "unknown key optimiser.step; did you mean steps?"),
        ("data.train=[no/such.jsonl]", "no/such.jsonl"),
    ],
)
def test_wrong_use_is_status_2(config, tmp_path, capsys, option, said):
    given = ("train", "--cfg-path", config, "--output-dir", tmp_path / "run", "--options", option)
    assert status(*given) == 2
    assert said in capsys.readouterr().err


def test_faulty_rows_have_a_line_each(config, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"path": "a.wav", "prompt": "Q?", "text": ""}\n{"prompt": "Q?", "text": "x"}\n')
    given = ("train", "--cfg-path", config, "--output-dir", tmp_path / "run")
    assert status(*given, "--options", f"data.train=[{rows}]") == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Error: ")
    assert [line.strip().split(": ")[0] for line in said[1:3]] == [f"{rows}:1", f"{rows}:2"]


@pytest.mark.parametrize("error", [TrainingError, checkpoints.NotSavedError])
def test_a_run_that_stops_midway_is_status_1(config, tmp_path, capsys, monkeypatch, error):
    def stops(*_, **__):
        raise error("it stopped")

    monkeypatch.setattr("naturelm_audio.train.running.train", stops)
    assert status("train", "--cfg-path", config, "--output-dir", tmp_path / "run") == 1
    assert "Error: it stopped" in capsys.readouterr().err


def test_help_is_there():
    shown = CliRunner().invoke(cli.naturelm, ["train", "--help"]).output
    assert "torchrun" in shown
    assert "Exit status 1" in shown.replace("\n", " ").replace("  ", " ")


def test_figures_of_a_model_by_command(toy_manifest, toy_model_dir, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    given = ("train-evaluate", toy_model_dir, "--manifest", toy_manifest, "--json", figures)
    assert status(*given) == 0
    shown = capsys.readouterr().out
    assert "| question | right | of | share | 95 % interval |" in shown
    assert "| question | heard | answered | times |" in shown
    assert {one["name"] for one in json.loads(figures.read_text())} >= {"kind of sound"}
    assert status("train-evaluate", toy_model_dir, "--manifest", tmp_path / "none.csv") == 2
    assert "none.csv" in capsys.readouterr().err
