"""Answers as JSON Lines rows: order of keys, exact text, round trip, one line for every reader."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.records import Answer, Label, dump_json

QUERY = "What is the common name for the focal species in the audio?"
WREN = Answer(
    audio_path="site1/S4A01_20240501_040000.wav",
    start_seconds=0.0,
    end_seconds=10.0,
    query=QUERY,
    output="Eurasian Wren",
    confidence=0.83,
    confidence_kind="token_probability",
    labels=(Label(label="Eurasian Wren", score=0.83, scientific_name="Troglodytes troglodytes"),),
    start_time="2024-05-01T04:00:00+02:00",
    end_time="2024-05-01T04:00:10+02:00",
    time_source="guano",
    model="naturelm-audio",
    run_id="20240613T101500Z-3f2a",
)
WREN_ROW = (
    '{"audio_path":"site1/S4A01_20240501_040000.wav","start_seconds":0.0,"end_seconds":10.0,'
    f'"query":"{QUERY}","output":"Eurasian Wren","confidence":0.83,"confidence_kind":"token_probability",'
    '"labels":[{"label":"Eurasian Wren","score":0.83,"scientific_name":"Troglodytes troglodytes"}],'
    '"start_time":"2024-05-01T04:00:00+02:00","end_time":"2024-05-01T04:00:10+02:00","time_source":"guano",'
    '"model":"naturelm-audio","run_id":"20240613T101500Z-3f2a"}'
)
BROKEN_ROW = (
    '{"audio_path":"site1/broken.wav","start_seconds":null,"end_seconds":null,'
    f'"query":"{QUERY}","output":null,"error":"audio_decode_failed: not a readable audio file"}}'
)


def answer(output: str | None = "Green Treefrog", **changes: object) -> Answer:
    values: dict[str, object] = {
        "audio_path": "a.wav",
        "start_seconds": 0,
        "end_seconds": 10,
        "query": "What?",
    }
    return Answer(**{**values, "output": output, **changes})  # type: ignore[arg-type]


def test_a_row_is_written_as_documented():
    assert WREN.to_json() == WREN_ROW
    assert Answer.from_json(WREN_ROW) == WREN


def test_an_error_row_is_written_as_documented():
    row = Answer(
        audio_path="site1/broken.wav",
        start_seconds=None,
        end_seconds=None,
        query=QUERY,
        output=None,
        error="audio_decode_failed: not a readable audio file",
    )
    assert row.failed
    assert row.to_json() == BROKEN_ROW
    assert Answer.from_json(BROKEN_ROW) == row


def test_every_optional_key_has_its_place():
    names = [field.name for field in dataclasses.fields(Answer)]
    expected = (
        "audio_path start_seconds end_seconds query output confidence confidence_kind labels start_time "
        "end_time time_source site latitude longitude recorder channel sample_rate duration_seconds "
        "low_freq_hz high_freq_hz speed_factor time_expansion model model_revision version run_id "
        "warnings error"
    )
    assert names == expected.split()


def test_times_and_scores_have_one_written_form():
    row = answer(start_seconds=1 / 3, end_seconds=-0.0, confidence=0.123456789, confidence_kind="calibrated")
    assert row.start_seconds == 0.333333
    assert math.copysign(1, row.end_seconds or 0.0) == 1
    assert row.confidence == 0.1235
    assert '"start_seconds":0.333333,"end_seconds":0.0' in row.to_json()


def test_whole_seconds_are_written_as_numbers_with_a_point():
    assert '"start_seconds":0.0,"end_seconds":10.0' in answer().to_json()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_never_written(value: float):
    row = answer(
        confidence=value, confidence_kind="token_probability", latitude=value, duration_seconds=value
    )
    written = json.loads(row.to_json())
    assert not {"confidence", "confidence_kind", "latitude", "duration_seconds"} & written.keys()
    with pytest.raises(ValueError, match="start_seconds"):
        answer(start_seconds=value)
    with pytest.raises(ValueError, match="Out of range"):
        dump_json({"x": value})


def test_a_factor_of_one_is_left_out():
    assert "speed_factor" not in answer(speed_factor=1.0, time_expansion=1).to_json()
    assert '"speed_factor":0.1' in answer(speed_factor=0.1).to_json()


def test_a_row_has_an_output_or_an_error():
    with pytest.raises(ValueError, match="either"):
        answer(output=None)
    with pytest.raises(ValueError, match="either"):
        answer(error="internal: no")
    assert answer(output="").output == ""


@pytest.mark.parametrize(
    "trap", ["\u2028", "\u2029", "\x85", "\x7f", "\ufeff", "\udc80", "\n", "\r", "\t", "\x00"]
)
def test_a_row_is_one_line_of_utf8_for_every_reader(trap: str):
    line = answer(output=f"one{trap}two", audio_path=f"a{trap}.wav").to_json()
    assert len(line.splitlines()) == 1
    assert line.encode("utf-8").decode("utf-8") == line
    assert trap not in line
    assert Answer.from_json(line).output == f"one{trap}two"


def test_text_stays_readable():
    assert '"output":"Zaunkönig 🐦"' in answer(output="Zaunkönig 🐦").to_json()


def test_unknown_keys_are_ignored_and_null_is_absent():
    row = json.loads(answer().to_json()) | {"confidence": None, "error": None, "from_the_future": {"a": 1}}
    assert Answer.from_json(json.dumps(row)) == answer()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "Expecting value"),
        ("[1]", "object"),
        ('{"audio_path":"a.wav"}', "end_seconds, output, query, start_seconds"),
        ('{"audio_path":1,"start_seconds":0,"end_seconds":1,"query":"q","output":"o"}', "audio_path is 1"),
        ('{"audio_path":"a","start_seconds":"x","end_seconds":1,"query":"q","output":"o"}', "wrong type"),
        (
            '{"audio_path":"a","start_seconds":0,"end_seconds":1,"query":"q","output":"o","labels":[3]}',
            "label",
        ),
    ],
)
def test_a_line_that_is_no_row_is_refused(line: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        Answer.from_json(line)


# Two adjacent lone surrogates are one character after JSON, so text is drawn without them.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.floats(0, 1e7, allow_nan=False)
labels = st.builds(Label, label=texts, score=st.none() | st.floats(0, 1), scientific_name=st.none() | texts)
answers = st.builds(
    Answer,
    audio_path=texts,
    start_seconds=st.none() | numbers,
    end_seconds=st.none() | numbers,
    query=texts,
    output=texts,
    confidence=st.none() | st.floats(0, 1),
    confidence_kind=st.none() | st.sampled_from(["token_probability", "label_softmax"]),
    labels=st.none() | st.lists(labels, max_size=3).map(tuple),
    channel=st.none() | st.integers(1, 8) | st.just("mix"),
    speed_factor=st.none() | st.floats(0.01, 10),
    warnings=st.none() | st.lists(texts, max_size=3).map(tuple),
    run_id=st.none() | texts,
)


@given(answers)
def test_a_row_read_back_equals_the_one_written(row: Answer):
    line = row.to_json()
    assert len(line.splitlines()) == 1
    assert Answer.from_json(line) == row
    assert Answer.from_json(line).to_json() == line
