"""Each family of tasks: exact questions and answers, and the rules of the paper."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest

from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.tasks import FAMILIES, TaskOptions, templated_caption
from naturelm_audio.train.manifest.taxonomy import parse_taxon
from naturelm_audio.train.manifest.wordings import WORDINGS

DETECT = "Which of these, if any, are present in the audio recording? "
CHOOSE = "Which of these is the focal species in the audio? "


def ask(zoo, *families, **options):
    return compile_manifest(zoo, CompileOptions(families=families, **options)).rows


def of(rows, path):
    return {row.task: (row.prompt, row.text) for row in rows if row.paths[0] == path}


def test_names_and_ranks(zoo):
    found = of(ask(zoo, "names", "ranks"), "0/0.wav")
    common = ("What is the common name for the focal species in the audio?", "Eurasian Wren")
    assert found["common-classification"] == common
    assert found["sci-classification"][1] == "Troglodytes troglodytes"
    assert found["taxonomic-classification"] == (
        "What is the taxonomic name of the focal species in the audio?",
        "Chordata Aves Passeriformes Troglodytidae Troglodytes troglodytes",
    )
    assert found["genus-classification"] == (
        "What is the genus of the focal species in the audio?", "Troglodytes",
    )  # fmt: skip
    assert found["family-classification"][1] == "Troglodytidae"
    assert found["order-classification"][1] == "Passeriformes"


def test_sounds_that_are_no_animals_are_asked_for_as_sounds(zoo):
    rows = ask(zoo, "names", "kind")
    assert of(rows, "environment.wav") == {
        "sound-classification": ("What is the common name for the sound in the audio?", "rain"),
        "kind-classification": (WORDINGS["kind"][0], "something else"),
    }
    assert set(of(rows, "unlabelled.wav")) == set(of(rows, "noise.wav")) == {"kind-classification"}
    assert of(rows, "speech.wav")["kind-classification"][1] == "speech"


def test_open_detection(zoo):
    rows = ask(zoo, "detection-open")
    question = "What are the common names for the species in the audio, if any?"
    assert of(rows, "0/0.wav")["common-simple-detection"] == (question, "Eurasian Wren")
    assert of(rows, "0/3.wav")["common-multiple-detection"] == (question, "Eurasian Wren, European Robin")
    assert of(rows, "0/3.wav")["sci-multiple-detection"][1] == "Erithacus rubecula, Troglodytes troglodytes"
    for silent in ("environment.wav", "noise.wav", "flute.wav"):
        assert of(rows, silent)["common-simple-detection"] == (question, "None")
    assert not of(rows, "unlabelled.wav")
    assert not of(rows, "speech.wav")


def options_of(row, start):
    assert row.prompt.startswith(start)
    return row.prompt.removeprefix(start).split(", ")


def test_lists_hold_each_name_once_and_none_last(zoo):
    rows = [row for seed in range(20) for row in ask(zoo, "candidates", "detection-list", seed=seed)]
    species = {one.common_name: one.taxon.species for one in zoo}
    for row in rows:
        if row.task.startswith("sound-"):
            continue
        detects = "detection" in row.task
        offered = options_of(row, DETECT if detects else CHOOSE)
        assert len(set(offered)) == len(offered) <= 37
        if detects:
            assert offered.pop() == "None"
        answers = set() if row.text == "None" else set(row.text.split(", "))
        assert answers <= set(offered)
        names = {species.get(name, name) for name in offered}
        assert len(names) == len(offered)  # no synonyms
        if not detects:
            assert len(answers) == 1
        assert row.task.rsplit("-", 1)[1] in ("random", "hard")


def test_half_of_the_lists_lack_what_is_heard(zoo):
    birds = [one for one in zoo if one.kind == "animal"]
    rows = [row for seed in range(60) for row in ask(birds, "detection-list", seed=seed)]
    none = sum(row.text == "None" for row in rows)
    assert abs(none - len(rows) / 2) < 5 * (len(rows) / 4) ** 0.5
    for row in rows:
        if row.text == "None":
            species = row.metadata["species"]
            listed = options_of(row, DETECT)
            assert species not in listed
            names = [one.common_name for one in birds if one.taxon.species == species]
            assert not set(names) & set(listed)


def test_the_number_of_negatives_is_uniform_up_to_35():
    many = [
        Labelled(
            path=f"{n}.wav", common_name=f"Bird {n}", seconds=1.0, taxon=parse_taxon(f"Genus {'a' * (n + 1)}")
        )
        for n in range(60)
    ]
    rows = [row for seed in range(20) for row in ask(many, "candidates", seed=seed)]
    counts = Counter(row.prompt.count(",") for row in rows)
    assert set(counts) == set(range(1, 36))
    expected = len(rows) / 35
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_call_types_stages_and_sexes(zoo):
    rows = ask(zoo, "voice")
    first, third, last = (of(rows, f"0/{number}.wav") for number in (0, 2, 3))
    assert first["call-or-song-classification"] == (
        "What type of vocalization is heard from the focal species in the audio? "
        "Answer with either 'call' or 'song'.",
        "song",
    )
    assert "from the Eurasian Wren in" in first["call-or-song-named-classification"][0]
    assert first["life-stage-classification"] == (
        "What is the life stage of the focal species in the audio?", "adult",
    )  # fmt: skip
    assert first["sex-named-classification"][1] == "male"
    assert third["call-or-song-classification"][1] == "call"
    assert third["call-types-classification"] == (
        "What call types are heard from the focal species in the audio?", "call, flight call",
    )  # fmt: skip
    assert "life-stage-classification" not in third
    assert "call-or-song-classification" not in last  # both are heard


def test_captions(zoo):
    found = of(ask(zoo, "captions"), "0/0.wav")
    text = "A Eurasian Wren calls twice from the reeds while it rains."
    assert found["caption-common"] == (
        "Caption the audio, using the common name for any animal species.", text,
    )  # fmt: skip
    assert found["caption-scientific"][1] == text.replace("Eurasian Wren", "Troglodytes troglodytes")
    assert found["caption-rich"][1] == text
    assert found["caption-templated"][1] == "Eurasian Wren; song; adult; male"
    assert of(ask(zoo, "captions"), "environment.wav") == {
        "caption-plain": ("Caption the audio.", "Rain falling.")
    }
    assert templated_caption(zoo[3]) == "Eurasian Wren; call, song; adult; male; background: European Robin"


def test_music(zoo):
    found = of(ask(zoo, "music"), "flute.wav")
    assert found["music-instrument-classification"] == ("What instrument is heard in the audio?", "flute")
    assert found["music-pitch"][1] == "440.0"
    assert found["music-velocity"][1] == "0.79"
    assert 1 <= found["music-quality-caption"][1].count(".") <= 4
    assert "pitch" in "music-pitch"  # the loader then leaves the speed alone


def test_context_questions(zoo):
    rows = ask(zoo, "context")
    assert {row.task for row in rows} == {
        "common-context-classification", "sci-context-classification", "taxonomic-context-classification",
    }  # fmt: skip
    for row in rows:
        question, _, context = row.prompt.partition("? ")
        assert question.startswith("What is the ")
        assert row.text not in context
        assert "Illinois" in context or "notes" not in context.lower() or "reeds" in context


@pytest.mark.parametrize("name", ["Dolphin, bottlenose", "{}", "{0}", "ñandú", "a\\b"])
def test_names_with_commas_and_braces(zoo, name):
    odd = dataclasses.replace(zoo[0], common_name=name, caption="", background=())
    rows = of(ask([*zoo[4:], odd], *FAMILIES), odd.path)
    assert rows["common-classification"][1] == name
    assert rows["common-simple-detection"][1] == name
    listed = {task for task in rows if task.startswith(("common-classification-", "common-detection-"))}
    assert bool(listed) == ("," not in name)
    assert rows["sci-classification"][1] == "Troglodytes troglodytes"


def test_no_task_is_mistaken_by_the_loader(zoo):
    """Only questions for what is heard, if any, end with `detection`: those may be replaced by noise."""
    for row in ask(zoo, *FAMILIES, "soundscapes", "counting"):
        if row.task.endswith("detection"):
            assert "if any?" in row.prompt
        assert ("caption" in row.task) == (
            row.task.startswith("caption") or row.task == "music-quality-caption"
        )
        assert "fewshot" not in row.task


def test_further_times_of_a_sound(zoo):
    events = (Span(0.5, 1.5), Span(3.0, 4.0), Span(8.25, 9.126), Span(11.0, 12.0), Span(12.5, 13.0, "other"))
    one = dataclasses.replace(zoo[0], events=events, seconds=14.0)
    (row,) = ask([one], "few-shot")
    assert (row.task, row.start_seconds, row.end_seconds) == ("fewshot-events", 0.0, 10.0)
    assert row.prompt.startswith("The sound of interest is heard at 0.50-1.50 s.")
    assert row.text == "3.00-4.00, 8.25-9.13"
    cut = dataclasses.replace(one, events=(Span(1, 2), Span(3, 4), Span(9.5, 10.5)))
    assert not ask([cut], "few-shot")


def test_one_of_two_species_that_were_heard_before(zoo):
    rows = ask(zoo, "in-context")
    name = {one.path: one.common_name for one in zoo}
    split = {one.path: one.split for one in zoo}
    assert rows
    for row in rows:
        *examples, asked = row.files
        assert row.clips == 3 == row.prompt.count("<AudioHere>")
        assert len(set(row.files)) == 3
        assert row.text == name[asked]
        assert row.text in {name[path] for path in examples}
        assert len({name[path] for path in examples}) == 2
        assert all(
            name[path] in part for path, part in zip(examples, row.prompt.split("<Audio>"), strict=False)
        )
        assert {split[path] for path in row.files} == {row.split}


def test_several_wordings_and_the_usual_one_most_often(zoo):
    birds = [one for one in zoo if one.kind == "animal"]
    rows = [
        row
        for seed in range(30)
        for row in ask(birds, "names", seed=seed, tasks=TaskOptions(wordings=3))
        if row.task == "common-classification"
    ]
    counts = Counter(row.prompt for row in rows)
    assert set(counts) == set(WORDINGS["name-common"][:3])
    usual, share = counts[WORDINGS["name-common"][0]], 2 / 3 + 1 / 9
    assert abs(usual - share * len(rows)) < 5 * (len(rows) * share * (1 - share)) ** 0.5


def test_wordings_have_the_blanks_that_are_filled():
    for family, wordings in WORDINGS.items():
        assert len(set(wordings)) == len(wordings) >= 1
        for wording in wordings:
            assert ("{}" in wording) == (family in ("candidates", "categories", "detect-list", "in-context"))
            assert ("{times}" in wording) == (family == "few-shot")
            assert wording.count("<clip>") == (3 if family == "in-context" else 0)
            assert ("{name}" in wording) == family.endswith("-named")


def test_draws_are_independent_of_the_module_state(zoo):
    random.seed(1)
    one = ask(zoo, "candidates")
    random.seed(2)
    assert ask(zoo, "candidates") == one
