"""The page on training data names every key, column, family and option."""

from __future__ import annotations

from pathlib import Path

import pytest

from naturelm_audio.train.commands import data
from naturelm_audio.train.manifest.columns import COLUMNS
from naturelm_audio.train.manifest.compile import ALL_FAMILIES
from naturelm_audio.train.manifest.examples import KNOWN_KEYS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "training-data.md").read_text(encoding="utf-8")
# Told with another name of theirs.
OTHERWISE = {"class_": "class", "call_types": "call_type", "epithet": "scientific_name"}


@pytest.mark.parametrize("name", sorted({*KNOWN_KEYS, *ALL_FAMILIES, *COLUMNS}))
def test_T1_everything_in_a_manifest_is_documented(name):
    assert f"`{OTHERWISE.get(name, name)}`" in PAGE


def test_the_options_it_names_exist():
    known = {option for command in data.commands.values() for one in command.params for option in one.opts}
    named = {
        word for part in PAGE.split("`") for word in part.split() if word.startswith("--") and word != "-->"
    }
    assert named <= known
