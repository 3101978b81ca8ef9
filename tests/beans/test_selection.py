from __future__ import annotations

import pytest
from benchmark_rows import COMPONENTS
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.beans.dataset import DatasetError, Row
from naturelm_audio.beans.selection import OPEN_QUESTION, Selection, clip_seconds, expected_rows, question
from naturelm_audio.components import Benchmark, Component, beans_zero
from naturelm_audio.prompts import without_audio

ZOO = Benchmark(
    name="zoo",
    components={
        item["name"]: Component(name=item["name"], task=item["task"], labels=tuple(item.get("labels", ())))
        for item in COMPONENTS["components"]
    },
    aliases={"common": "zoo-cmn"},
)


def test_b6_clip_lengths_of_every_component():
    seconds = {item.name: clip_seconds(item) for item in beans_zero()}
    assert {name: value for name, value in seconds.items() if value != 10} == {
        "esc50": 5,
        "watkins": 3,
        "humbugdb": 3,
    }
    assert clip_seconds(Component(name="x", task="captioning")) == 10


def asked(name, instruction):
    component = beans_zero().components[name]
    return without_audio(question(Row(name, "1", instruction, ""), component))


@pytest.mark.parametrize("name", ["enabirds", "rfcx", "dcase"])
def test_detection_among_many_labels_is_asked_openly(name):
    listed = (
        "<Audio><AudioHere></Audio> Which of these, if any, are present in the audio recording? A, B, None."
    )
    assert asked(name, listed) == OPEN_QUESTION == beans_zero().components[name].prompt


@pytest.mark.parametrize("name", ["hiceas", "gibbons", "esc50", "cbi", "captioning"])
def test_all_others_are_asked_what_the_row_says(name):
    assert asked(name, "<Audio><AudioHere></Audio>  What, if any? ") == "What, if any?"


def test_a_components_own_open_question_is_kept():
    labels = tuple("abcdefghi")
    mine = Component(name="x", task="detection", labels=labels, prompt="Which frogs?")
    frogs = "<Audio><AudioHere></Audio> Which frogs?"
    assert question(Row("x", "1", frogs, ""), mine) == frogs
    assert question(Row("x", "1", "Which of a, b, c?", ""), mine) == OPEN_QUESTION
    few = Component(name="x", task="detection", labels=labels[:7])
    assert question(Row("x", "1", "Which of a, b, c?", ""), few) == "Which of a, b, c?"


names = st.sampled_from(["zoo-cmn", "zoo-open", "zoo-cap", "common", "other"])


@given(
    st.lists(names, max_size=30),
    st.sampled_from([(), ("zoo-cmn",), ("zoo-open", "zoo-cap")]),
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(0, 30),
)
def test_a_resumed_run_asks_exactly_the_rows_that_are_left(rows, components, limit, cut):
    data = [(name, str(number)) for number, name in enumerate(rows)]

    def taken(done):
        selection = Selection(ZOO, components, limit=limit, done=done)
        found = [(ZOO.find(name).name, got) for name, identity in data if (got := selection(name, identity))]
        return found, selection

    whole, selection = taken([])
    rest, _ = taken(whole[:cut])
    assert whole[:cut] + rest == whole
    counts = {name: rows.count(name) for name in rows}
    assert len(whole) == expected_rows(ZOO, counts, components, limit)
    assert selection.unknown.total() == rows.count("other")


def test_rows_without_an_id_are_called_by_their_place():
    selection = Selection(ZOO)
    assert [selection("zoo-cmn", None), selection("zoo-cap", None), selection("zoo-cmn", None)] == [
        "zoo-cmn-1",
        "zoo-cap-1",
        "zoo-cmn-2",
    ]


def test_other_data_than_that_of_the_rows_on_file_is_noticed():
    selection = Selection(ZOO, done=[("zoo-cmn", "a"), ("zoo-cmn", "b")])
    assert selection("zoo-cmn", "a") is None
    with pytest.raises(
        DatasetError, match="row 2 on file is b of zoo-cmn, but the data has c of zoo-cap there"
    ):
        selection("zoo-cap", "c")


def test_a_run_with_a_limit_knows_when_it_is_complete():
    selection = Selection(ZOO, ("zoo-cmn", "zoo-cap"), limit=1)
    assert [(selection(name, "x"), selection.complete) for name in ("zoo-cmn", "zoo-cmn", "zoo-cap")] == [
        ("x", False),
        (None, False),
        ("x", True),
    ]
    assert not Selection(ZOO).complete
    whole = Benchmark(name="z", components={"a": Component(name="a", task="captioning", rows=2)})
    selection = Selection(whole, limit=5)
    assert [selection("a", "x") and selection.complete for _ in range(2)] == [False, True]


def test_a_placeholder_stays_where_the_row_has_it():
    component = beans_zero().components["cbi"]
    middle = " In <Audio><AudioHere></Audio> there is what? "
    assert question(Row("cbi", "1", middle, ""), component) == middle.strip()
