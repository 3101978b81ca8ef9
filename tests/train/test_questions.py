"""Questions and answers fit what is heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train import questions
from naturelm_audio.train.questions import Asker, Heard, Sound

DOG = Sound(label="dog", kind="animal", taxonomic_name="Chordata Mammalia Carnivora Canidae Canis familiaris")
CAT = Sound(label="cat", kind="animal", taxonomic_name="Chordata Mammalia Carnivora Felidae Felis catus")
CROW = Sound(label="crow", kind="animal")
OWL = Sound(label="Annobon Scops Owl", kind="animal", taxonomic_name="Otus feae")
RAIN = Sound(label="rain", kind="environment")
FLUTE = Sound(label="flute", kind="music")
SEVEN = Sound(label="speech: seven", kind="speech")
NO_WHALE = Sound(label="None", kind="noise")
WHALE = Sound(label="right whale", kind="animal")
BIRD = Sound(label="unlabelled bird", kind="unlabelled")
SOUNDS = [DOG, CAT, CROW, OWL, RAIN, FLUTE, SEVEN, NO_WHALE, WHALE, BIRD]
ASKER = Asker(SOUNDS)


def asked(heard: Heard, seed: int = 0, count: int = 99) -> dict[str, str]:
    return dict(ASKER.ask(heard, np.random.default_rng(seed), count))


def many(heard: Heard) -> list[tuple[str, str]]:
    return [pair for seed in range(60) for pair in asked(heard, seed).items()]


def test_a_dog_is_named_in_every_way() -> None:
    answers = {answer for _, answer in many(Heard((DOG,), focal=True))}
    expected = {
        "dog",
        "Canis familiaris",
        DOG.taxonomic_name,
        "Canis",
        "Canidae",
        "Carnivora",
        "One",
        "animal",
    }
    assert expected <= answers
    assert "A dog barking." in answers
    assert "Canis familiaris calling." in answers


@given(st.sampled_from(SOUNDS), st.integers(0, 500))
def test_a_category_that_is_asked_for_is_in_its_list(sound: Sound, seed: int) -> None:
    for wording, answer in asked(Heard((sound,), focal=True), seed).items():
        if wording.startswith(("The objective", "Which of these is")):
            options = wording.split(": " if wording.startswith("The") else "? ", 1)[1].rstrip(".").split(", ")
            assert answer in options
            assert len(set(options)) == len(options)


@given(st.sampled_from([(DOG,), (DOG, CROW), (RAIN,), (NO_WHALE,), (WHALE,)]), st.integers(0, 500))
def test_detection_lists_end_with_none_and_hold_the_answer(sounds: tuple[Sound, ...], seed: int) -> None:
    for wording, answer in asked(Heard(sounds, focal=True), seed).items():
        if wording.startswith("Which of these, if any"):
            options = wording.rstrip(".").split("? ")[1].split(", ")
            assert options[-1] == "None"
            assert set(answer.split(", ")) <= set(options)
            heard = [sound.label for sound in sounds if sound.is_animal and sound.label in options]
            assert sorted(heard) == sorted(answer.split(", ") if answer != "None" else [])


def test_half_of_the_detection_lists_have_no_right_option() -> None:
    answers = [
        answer for wording, answer in many(Heard((DOG,), focal=True)) if "if any, are present" in wording
    ]
    assert 0.3 < np.mean([answer == "None" for answer in answers]) < 0.7


@pytest.mark.parametrize("sound", [RAIN, FLUTE, SEVEN, NO_WHALE])
def test_no_animal_is_none_in_open_detection(sound: Sound) -> None:
    found = [
        answer
        for wording, answer in many(Heard((sound,), focal=True))
        if "species in the audio, if any" in wording
    ]
    assert set(found) == {"None"}


def test_two_animals_are_listed_by_the_alphabet_and_counted() -> None:
    pairs = many(Heard((DOG, CROW), focal=False))
    assert {a for w, a in pairs if w.startswith("What are the common names")} == {"crow, dog"}
    assert {a for w, a in pairs if w.startswith("Is there one animal")} == {"More than one"}
    assert not [w for w, _ in pairs if "focal species" in w]  # neither stands out


def test_an_unknown_bird_is_described_but_never_named() -> None:
    pairs = many(Heard((BIRD,), focal=True))
    assert {answer for _, answer in pairs} == {"A bird calling.", "One", "animal"}


def test_wordings_lose_their_last_mark_now_and_then() -> None:
    wordings = {wording for wording, _ in many(Heard((DOG,), focal=True))}
    assert {"Caption the audio.", "Caption the audio"} <= wordings


@pytest.mark.parametrize(
    ("sounds", "sentence"),
    [
        ((DOG,), "A dog barking."),
        ((DOG, RAIN), "A dog barking and rain falling."),
        ((OWL,), "An Annobon Scops Owl calling."),
        ((FLUTE, SEVEN, RAIN), "A flute playing, a person saying seven and rain falling."),
    ],
)
def test_captions_are_sentences(sounds: tuple[Sound, ...], sentence: str) -> None:
    assert questions.caption(sounds) == sentence


def test_the_binomial_is_enough_for_a_scientific_name() -> None:
    assert OWL.scientific_name == "Otus feae"
    assert OWL.ranks == []
    answers = dict(many(Heard((OWL,), focal=True)))
    assert answers[questions.SCIENTIFIC_NAME[0]] == "Otus feae"
    assert questions.TAXONOMIC_NAME[0] not in answers


def test_the_same_seed_asks_the_same() -> None:
    assert asked(Heard((DOG,), focal=True), 4) == asked(Heard((DOG,), focal=True), 4)
    assert len(asked(Heard((DOG,), focal=True), 4, 3)) == 3


def test_the_list_does_not_give_away_whether_a_whale_is_heard() -> None:
    def bare_lists(sound: Sound) -> list[str]:
        pairs = many(Heard((sound,), focal=True))
        return [answer for wording, answer in pairs if wording.rstrip(".").endswith("? right whale, None")]

    present, absent = bare_lists(WHALE), bare_lists(NO_WHALE)
    assert set(present) == {"right whale"}
    assert set(absent) == {"None"}
    assert 0.6 < len(present) / len(absent) < 1.7


def test_animals_far_apart_in_level_are_not_counted() -> None:
    pairs = many(Heard((DOG, CROW), focal=True, countable=False))
    assert not [wording for wording, _ in pairs if wording.startswith(questions.HOW_MANY[0][:-1])]
    assert ("More than one") in {answer for _, answer in many(Heard((DOG, CROW), focal=True))}
