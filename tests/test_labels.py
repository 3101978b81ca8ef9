from __future__ import annotations

import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio import labels
from naturelm_audio.errors import LabelError
from naturelm_audio.labels import LabelSet, Match, cut, distances, edit_distances, is_none, normalise

WATKINS = ["Bowhead Whale", "Killer Whale", "Beluga, White Whale", "Fin, Finback Whale", "Minke Whale"]
words = st.text(alphabet="abcé🐸 ,", max_size=12)
long_words = st.text(alphabet="ab", max_size=150)


def table_of_costs(one: str, other: str) -> int:
    """The textbook table, as an oracle."""
    row = list(range(len(other) + 1))
    for number, character in enumerate(one, 1):
        before, row = row, [number]
        for place, against in enumerate(other, 1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (character != against)))
    return row[-1]


@given(st.lists(words, min_size=1, max_size=5), st.lists(words, min_size=1, max_size=5))
def test_both_ways_are_the_edit_distance(texts, names):
    expected = [[table_of_costs(text, name) for name in names] for text in texts]
    assert edit_distances(texts, names).tolist() == expected
    assert distances(texts, names).tolist() == expected


@given(st.lists(long_words, min_size=1, max_size=3), st.lists(long_words, min_size=1, max_size=3))
def test_labels_longer_than_a_machine_word(texts, names):
    expected = [[table_of_costs(text, name) for name in names] for text in texts]
    assert edit_distances(texts, names).tolist() == expected


@pytest.mark.parametrize("length", [63, 64, 65, 127, 128, 129])
def test_at_the_edges_of_words(length):
    name = "ab" * length
    assert edit_distances([name[:length], "", "b" + name[:length]], [name[:length]]).tolist() == [
        [0],
        [length],
        [1],
    ]


@given(st.lists(words, min_size=1, max_size=6, unique=True), st.lists(words, max_size=8))
def test_the_fallback_has_the_same_winners_and_ties(names, texts):
    with pytest.MonkeyPatch.context() as patch:
        expected = LabelSet(names).nearest(texts)
        patch.setattr(labels, "distances", edit_distances)
        assert LabelSet(names).nearest(texts) == expected


def test_without_rapidfuzz_numpy_does_it(monkeypatch):
    imports = builtins.__import__

    def refuse(name, *arguments, **more):
        if name.startswith("rapidfuzz"):
            raise ImportError(name)
        return imports(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert distances(["kitten"], ["sitting"]).tolist() == [[3]]


def test_many_texts_are_matched_in_parts(monkeypatch):
    monkeypatch.setattr(labels, "_CELLS", 10)
    monkeypatch.setattr(labels, "_TEXTS_AT_ONCE", 3)
    texts = [f"Wale {number}" for number in range(40)]
    found = LabelSet(WATKINS).nearest(texts)
    assert list(found) == texts
    assert found["Wale 3"] == LabelSet(WATKINS).nearest(["Wale 3"])["Wale 3"]


def test_the_first_of_equally_near_labels_wins():
    match = LabelSet(WATKINS).nearest(["Beluga Whale"])["Beluga Whale"]
    assert match == Match("Bowhead Whale", 5, ("Bowhead Whale", "Killer Whale"))
    turned = LabelSet(reversed(WATKINS)).nearest(["Beluga Whale"])["Beluga Whale"]
    assert turned.label == "Killer Whale"


@pytest.mark.parametrize(
    ("names", "text", "label", "distance"),
    [
        (["One", "More"], "2", "One", 3),
        (["One", "More"], "", "One", 3),
        (["One", "More"], "More than one", "More", 9),
        (["adult", "juvenile", "nestling"], "", "adult", 5),
        (["Minke Whale", "Fin, Finback Whale"], "Fin Whale", "Minke Whale", 3),
        (["Frasers Dolphin"], "Frasers dolphin", "Frasers Dolphin", 1),
        (["cat", "Cat"], "Cat", "Cat", 0),
    ],
)
def test_nearest_label(names, text, label, distance):
    match = LabelSet(names).nearest([text])[text]
    assert (match.label, match.distance) == (label, distance)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Beluga, White Whale", ["Beluga, White Whale"]),
        ("Minke Whale, Beluga, White Whale, Walrus", ["Minke Whale", "Beluga, White Whale", "Walrus"]),
        ("fin, finback whale", ["fin, finback whale"]),
        ("Beluga,White Whale", ["Beluga", "White Whale"]),
        ("a, b,, c ", ["a", "b", "", "c"]),
        ("", [""]),
    ],
)
def test_known_labels_with_commas_stay_whole(text, pieces):
    assert LabelSet(WATKINS).split(text) == pieces


def test_b7_every_label_of_a_list_is_one_piece():
    names = LabelSet(WATKINS)
    assert names.split(", ".join(WATKINS)) == WATKINS


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=4), words)
def test_a_list_without_commas_splits_at_every_comma(names, text):
    assert LabelSet(dict.fromkeys(names)).split(text) == [piece.strip() for piece in text.split(",")]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" Minke Whale ", "Minke Whale"),
        ("minke WHALE", "Minke Whale"),
        ("Minke Whale<|eot_id|>", "Minke Whale"),
        ("Minke  Whale", None),
        ("", None),
    ],
)
def test_same_label_up_to_blanks_end_and_case(text, label):
    assert LabelSet(WATKINS).same(text) == label


def test_exact_case_goes_before_any_case():
    assert [LabelSet(["CAT", "cat"]).same(text) for text in ("cat", "CAT", "Cat")] == ["cat", "CAT", "CAT"]


def test_composed_and_decomposed_letters_are_the_same():
    assert LabelSet(["Café bird"]).same("Cafe\u0301 bird") == "Café bird"


def test_normalise():
    assert normalise(" a b<|end_of_text|> c<|eot_id|>") == "a b"
    assert cut("a<|eot_id|>b<|end_of_text|>c", ["<|end_of_text|>"]) == "a<|eot_id|>b"
    assert [is_none(text) for text in (" none", "NONE", "None.", "")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "is empty"), (["a", "b", "a"], "'a' twice"), (["a", 3], "3, which is not text")],
)
def test_useless_lists_are_refused(names, message):
    with pytest.raises(LabelError, match=message):
        LabelSet(names)


def test_a_set_knows_its_labels():
    names = LabelSet(WATKINS)
    assert len(names) == 5
    assert "Minke Whale" in names
    assert "minke whale" not in names
    assert distances([], WATKINS).shape == (0, 5)
    assert np.issubdtype(distances(["a"], ["b"]).dtype, np.integer)
