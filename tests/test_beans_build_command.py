"""``naturelm beans-build``, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from small_zoo import write_tone

from naturelm_audio.beans_build.options import BuildOptions, Rule
from naturelm_audio.beans_build_command import beans_build
from naturelm_audio.beans_command import beans
from naturelm_audio.errors import OptionsError
from naturelm_audio.train import questions
from naturelm_audio.train.commands import compile_command
from naturelm_audio.train.yaml_options import stages_from_yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "birds.csv"
    lines = ["path,label,individual,licence"]
    for n in range(6):
        write_tone(tmp_path / f"{n}.wav", 200 + 50 * n)
        lines.append(f"{n}.wav,{('wren', 'robin')[n % 2]},bird {n},CC0")
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments):
    return CliRunner().invoke(beans_build, [str(one) for one in arguments], standalone_mode=False)


def test_components_by_their_rules(table, tmp_path):
    result = run(table, "-o", tmp_path / "birds", "--component", "labels", "--component", "counting")
    assert result.exception is None
    assert result.return_value == 0
    assert "6  labels (classification, 2 labels)" in result.stdout
    assert "6  counting (classification, 2 labels)" in result.stdout
    assert "12 rows in 2 components; 0 left out, 0 unusable" in result.stderr
    table_of_components = json.loads((tmp_path / "birds" / "components.json").read_text())
    assert table_of_components["name"] == "birds"


def test_a_bad_recording_is_told_and_the_rest_is_built(table, tmp_path):
    (tmp_path / "3.wav").unlink()
    result = run(table, "-o", tmp_path / "birds", "--component", "labels")
    assert result.return_value == 3
    assert "birds.csv:5: 3.wav: " in result.stderr
    assert "5 rows in 1 component; 0 left out, 1 unusable" in result.stderr


def test_a_settings_file_and_what_changes_it(table, tmp_path):
    settings = tmp_path / "mine.yml"
    settings.write_text(
        f"name: mine\ntables: [{table}]\nseed: 4\ncomponents:\n  - rule: labels\n    max_seconds: 0.5\n"
    )
    result = run("--cfg-path", settings, "-o", tmp_path / "built", "--seed", 5, "--format", "arrow")
    assert result.exception is None
    made = json.loads((tmp_path / "built" / "build.json").read_text())["options"]
    assert (made["name"], made["seed"], made["format"]) == ("mine", 5, "arrow")
    assert made["components"] == [{"rule": "labels", "max_seconds": 0.5}]
    assert (tmp_path / "built" / "state.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--component", "labels"], "--output is missing"),
        (["-o", "out", "--component", "label"], "there is no rule 'label'; did you mean 'labels'"),
        (["-o", "out"], "no component is asked for"),
        (["-o", "out", "--component", "labels", "--workers", "0"], "workers and rows_per_shard"),
    ],
)
def test_wrong_use_is_told_in_one_line(table, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(table, *arguments)
    assert isinstance(result.exception, OptionsError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_settings_here_ask_what_the_tiny_model_learned():
    (options,) = stages_from_yaml(BuildOptions, ROOT / "configs" / "local_benchmark.yml")
    by_name = {one.title: one for one in options.components}
    assert options.splits == ("validation",)
    assert options.training == options.tables
    assert by_name["sounds-19"].labels == by_name["open-sounds"].labels == questions.LABELS_19
    assert by_name["animals-11"].labels == by_name["open-animals"].labels == questions.ANIMALS_11
    assert by_name["sounds-19"].prompt == by_name["animals-11"].prompt == questions.CLASSIFY
    assert by_name["right-whale"].prompt == questions.DETECT[0]
    assert by_name["open-sounds"].prompt == questions.SOUND_NAME[0]
    assert by_name["open-animals"].prompt == questions.SPECIES_NAME[0]


def test_beans_runs_what_is_built(table, tmp_path, toy_model_dir):
    assert run(table, "-o", tmp_path / "birds", "--component", "labels").exception is None
    given = ("--data-path", tmp_path / "birds", "--output-path", tmp_path / "answers.jsonl", "--limit", 2)
    cheap = ("--model", toy_model_dir, "--device", "cpu", "--num-beams", 1, "--max-new-tokens", 2)
    result = CliRunner().invoke(beans, [str(one) for one in (*given, *cheap)], standalone_mode=False)
    assert result.exception is None
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["wren", "robin"]
    report = (tmp_path / "answers_metrics_report.md").read_text()
    assert "on birds" in report.splitlines()[0]


def test_the_page_names_every_rule_and_option():
    page = (ROOT / "docs" / "local-benchmark.md").read_text(encoding="utf-8")
    assert [rule for rule in get_args(Rule) if f"`{rule}`" not in page] == []
    known = {
        option
        for command in (beans_build, beans, compile_command)
        for one in command.params
        for option in one.opts
    }
    named = {
        word
        for part in page.split("`")
        for word in part.split()
        if word.startswith("--") and word[2:3].isalpha()
    }
    assert named <= known
