"""Rows of annotation files: what is accepted, and that every fault of a row is named at once."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train.manifest.examples import DEFAULT_TASK, Example, MixPart, Recipe, from_mapping

ROW = {"path": "a.wav", "prompt": "What is heard?", "text": "A wren"}


def test_the_least_row():
    example = from_mapping(ROW)
    assert example == Example(files=("a.wav",), prompt="What is heard?", text="A wren", task=DEFAULT_TASK)
    assert example.full_prompt == "<Audio><AudioHere></Audio> What is heard?"


def test_hub_names_and_nulls():
    row = {"files": ["a.wav"], "instruction": "<Audio><AudioHere></Audio> Q?", "output": "None", "task": None,
           "metadata": None, "source_dataset": "Xeno-canto"}  # fmt: skip
    example = from_mapping(row)
    assert (example.prompt, example.text, example.task) == (row["instruction"], "None", "asr")
    assert example.source == "Xeno-canto"
    assert example.metadata == {}
    assert from_mapping({**ROW, "metadata": '{"family": "Hylidae"}'}).metadata == {"family": "Hylidae"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"text": ""}, "'text' is empty"),
        ({"text": " \n"}, "'text' is empty"),
        ({"text": None}, "'text' is empty"),
        ({"text": 3}, "'text' is not a text"),
        ({"prompt": "<Audio><AudioHere></Audio> "}, "prompt is empty"),
        ({"prompt": "<AudioHere><AudioHere> Q"}, "2 placeholders <AudioHere> for 1 clips"),
        ({"path": None}, "exactly one of"),
        ({"path": ""}, "path is empty"),
        ({"files": ["b.wav"]}, "both 'path' and 'files'"),
        ({"pth": "b.wav"}, "unknown key 'pth'; did you mean 'path'"),
        ({"start_second": 1}, "did you mean 'start_seconds'"),
        ({"start_seconds": -1}, "below 0"),
        ({"start_seconds": 2, "end_seconds": 2}, "ends at 2 s, not after its start"),
        ({"end_seconds": math.nan}, "not a finite number"),
        ({"start_seconds": "1"}, "not a finite number"),
        ({"channel": 0}, "whole number from 1"),
        ({"channel": True}, "whole number from 1"),
        ({"labels": "wren"}, "not a list of texts"),
        ({"weight": -1}, "'weight' is below 0"),
        ({"split": "evaluation"}, "is no split"),
        ({"metadata": "x"}, "'metadata' is neither"),
        ({"metadata": [1]}, "'metadata' is neither"),
        ({"output": "other"}, "given twice"),
        ({"mix": {"parts": []}}, "no parts"),
        ({"mix": 3}, "'mix' is not an object"),
    ],
)
def test_faults(change, match):
    with pytest.raises(ValueError, match=match):
        from_mapping({**ROW, **change})


def test_all_faults_of_a_row_at_once():
    with pytest.raises(ValueError, match=r"unknown key.*below 0.*prompt is empty.*'text' is empty"):
        from_mapping({"path": "a", "x": 1, "start_seconds": -1})


def test_several_files_have_one_placeholder_each():
    example = from_mapping({"files": ["a", "b"], "prompt": "Same?", "text": "yes"})
    assert example.clips == 2
    assert example.full_prompt.count("<AudioHere>") == 2
    with pytest.raises(ValueError, match="1 placeholders"):
        from_mapping({"files": ["a", "b"], "prompt": "<AudioHere> Same?", "text": "yes"})


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), min_size=1).filter(str.strip)
TEXTS = NAMES.filter(lambda text: "AudioHere" not in text)
TIMES = st.floats(0, 1e6, allow_nan=False)


@st.composite
def examples(draw):
    files = tuple(draw(st.lists(NAMES, min_size=1, max_size=3)))
    start, length = draw(st.none() | TIMES), draw(st.floats(0.01, 100))
    recipe = Recipe(parts=(MixPart(path="x", gain_db=-3.0), MixPart(path="y", speed=2.0, silence_seed=4)))
    mix = draw(st.none() | st.just(recipe))
    return Example(
        files=() if mix else files,
        prompt=draw(TEXTS),
        text=draw(TEXTS),
        task=draw(TEXTS),
        start_seconds=start,
        end_seconds=draw(st.none() | st.just((start or 0.0) + length)),
        channel=draw(st.none() | st.integers(1, 9)),
        split=draw(st.sampled_from(["", "train", "valid", "test"])),
        labels=tuple(draw(st.lists(TEXTS, max_size=3))),
        recording_id=draw(TEXTS),
        weight=draw(st.floats(0, 9)),
        mix=mix,
        metadata=draw(st.dictionaries(NAMES, st.integers() | TEXTS, max_size=2)),
    )


@given(examples())
def test_a_row_comes_back_as_it_was(example):
    assert from_mapping(json.loads(json.dumps(example.to_mapping()))) == example


def test_a_mixture_is_one_clip_of_many_files():
    parts = (MixPart(path="a.wav"), MixPart(path="b.wav", offset_seconds=2.0))
    example = Example(
        files=(), prompt="How many?", text="2", mix=Recipe(parts=parts, impulse_response="r.wav")
    )
    assert example.clips == 1
    assert example.paths == ("a.wav", "b.wav", "r.wav")
    assert example.to_mapping()["mix"]["parts"] == [
        {"path": "a.wav"},
        {"path": "b.wav", "offset_seconds": 2.0},
    ]
