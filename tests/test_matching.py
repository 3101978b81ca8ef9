from __future__ import annotations

import pytest

from naturelm_audio.components import Component
from naturelm_audio.labels import LabelSet
from naturelm_audio.matching import (
    label_parts,
    official_answers,
    official_labels,
    strict_answers,
    strict_labels,
)

BIRDS = Component(name="birds", task="detection", labels=("American Robin", "Northern Cardinal"))
WHALES = Component(name="whales", task="classification", labels=("Killer Whale", "Beluga, White Whale"))


def official(task, labels, text):
    return official_answers(task, [text], LabelSet(labels))[0]


def strict(component, text):
    return strict_answers(component.task, [text], strict_labels(component))[0]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("American Robn, Northern Cardinal", "American Robin, Northern Cardinal"),
        ("Ovenbird", "None"),
        ("American Robin<|end_of_text|>", "American Robin"),
        ("American Robin, American Robin,", "American Robin, American Robin, None"),
        ("none", "None"),
        ("", "None"),
    ],
)
def test_official_detection(text, label):
    assert official("detection", ["American Robin", "Northern Cardinal", "None"], text).label == label


def test_official_detection_matches_pieces_to_joined_labels():
    labels = ["A bird", "A bird, B bird", "None"]
    assert official("detection", labels, "A bird, B bird").label == "A bird, A bird"


@pytest.mark.parametrize(
    ("text", "label", "distance"),
    [
        ("<|end_of_text|>", "cat", 3),
        ("hen<|end_of_text|> cat", "hen", 0),
        ("hen<|eot_id|>", "hen", 10),
        ("Hen", "hen", 1),
    ],
)
def test_official_classification_always_finds_a_label(text, label, distance):
    answer = official("classification", ["cat", "hen", "dog"], text)
    assert (answer.label, answer.distance) == (label, distance)


def test_official_labels_are_those_of_the_file_in_the_components_order():
    gold = ["Orca", "Beluga, White Whale", "Killer Whale", "Orca", "Aal"]
    assert official_labels(WHALES, gold).labels == ("Killer Whale", "Beluga, White Whale", "Orca", "Aal")
    assert official_labels(BIRDS, ["American Robin"]).labels == ("American Robin", "None")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Beluga, White Whale", "Beluga, White Whale"),
        (" beluga, white whale<|eot_id|>", "Beluga, White Whale"),
        ("Killer", "Killer Whale"),
        ("", None),
        (" <|end_of_text|>Killer Whale", None),
    ],
)
def test_strict_classification(text, label):
    assert strict(WHALES, text).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("northern cardinal, American Robn", "Northern Cardinal, American Robin"),
        ("American Robin, None, American Robin", "American Robin"),
        ("Ovenbird", "None"),
        ("None, none", "None"),
        (", ,", None),
        ("", None),
    ],
)
def test_strict_detection(text, label):
    assert strict(BIRDS, text).label == label


def test_strict_detection_keeps_labels_with_commas():
    component = Component(name="w", task="detection", labels=WHALES.labels)
    assert strict(component, "Killer Whale, Beluga, White Whale").label == "Killer Whale, Beluga, White Whale"
    assert strict_labels(component).labels == (*WHALES.labels, "None")


def test_b4_ties_are_known_and_the_first_label_wins():
    component = Component(name="c", task="classification", labels=("hen", "cat", "ox"))
    answer = strict(component, "het")
    assert (answer.label, answer.distance, answer.choices) == ("hen", 1, ())
    answer = strict(component, "hat")
    assert (answer.label, answer.choices) == ("cat", ())
    answer = strict(component, "han")
    assert answer.label == "hen"
    answer = strict(component, "ddd")
    assert (answer.label, answer.choices) == ("hen", (("hen", "cat", "ox"),))


def test_pieces_that_are_too_far_are_no_tie():
    answer = strict(BIRDS, "some other answer")
    assert (answer.label, answer.choices) == ("None", ())
    assert answer.distance > 5


def test_parts_of_a_label():
    assert label_parts("American Robin, none,") == {"American Robin"}
    assert label_parts("Beluga, White Whale") == {"Beluga", "White Whale"}
    assert label_parts("killer whale, Beluga, White Whale", LabelSet(WHALES.labels)) == set(WHALES.labels)
    assert label_parts(None) == frozenset()
