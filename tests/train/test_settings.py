"""Settings files are read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.settings import read_settings

REPO_ROOT = Path(__file__).resolve().parents[2]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yml"
    path.write_text(text)
    return path


def test_the_shipped_settings_are_valid() -> None:
    settings = read_settings(REPO_ROOT / "configs" / "tiny.yml")
    assert [stage.name for stage in settings.stages] == ["distil", "answer", "refine"]
    assert settings.stages[1].questions > 0
    assert "pak-birds" in settings.data.exclude_sources
    assert settings.model.audio["patch_stem"] == "conv"


def test_options_change_nested_values() -> None:
    options = [
        "stages.0.steps=7",
        "stages.1.mix.level_range_db=3",
        "data.manifest=a.csv",
        "teacher_path=null",
    ]
    settings = read_settings(REPO_ROOT / "configs" / "tiny.yml", options)
    assert settings.stages[0].steps == 7
    assert settings.stages[1].mix.level_range_db == 3.0
    assert settings.data.manifest == "a.csv"
    assert settings.teacher_path is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [{name: a, setps: 3}]", r"stages\[0\]: unknown key setps; did you mean steps"),
        ("stages: [{name: a}]\nseeds: 3", "unknown key seeds; did you mean seed"),
        ("stages: [{name: a, steps: many}]", r"steps: expected int, not 'many'"),
        ("stages: [{name: a, learning_rate: fast}]", "learning_rate: expected float"),
        ("stages: {name: a}", "stages: expected a list"),
        ("seed: 3", "missing 1 required"),
        ("stages: [3]", "expected keys and values, not 3"),
        ("a: [", "this is not YAML"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        read_settings(written(tmp_path, text))


@pytest.mark.parametrize("option", ["stages.9.steps=1", "seed", "stages.x.steps=1"])
def test_wrong_options_are_named(tmp_path: Path, option: str) -> None:
    with pytest.raises(OptionsError, match="option"):
        read_settings(written(tmp_path, "stages: [{name: a}]"), [option])


def test_yaml_numbers_without_a_point_are_read(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, "stages: [{name: a, learning_rate: 1e-3, minutes: 3}]"))
    assert settings.stages[0].learning_rate == 1e-3
    assert settings.stages[0].minutes == 3.0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"none\.yml: can't read"):
        read_settings(tmp_path / "none.yml")
