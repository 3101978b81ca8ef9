from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_zoo import SPECIES, heard, recording

from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import LeftOut
from naturelm_audio.beans_build.rules import captioning, classification, detection_prompt, presence, species
from naturelm_audio.components import beans_zero
from naturelm_audio.errors import LabelError


def birds(count=3, **fields):
    return [heard(recording(name, number, **fields)) for name in SPECIES for number in range(count)]


def built(rule, given, **fields):
    left_out = LeftOut()
    return classification(given, ComponentOptions(rule=rule, **fields), 0, left_out), left_out


def test_labels_are_asked_for_from_a_list():
    component, _ = built("labels", birds())
    assert component.labels == ("Barn Owl", "Eurasian Wren", "European Robin", "Zebra Finch")
    assert component.prompt == (
        "The objective is to classify the sound into one of the following categories: "
        "Barn Owl, Eurasian Wren, European Robin, Zebra Finch"
    )
    assert component.counts == dict.fromkeys(component.labels, 3)
    row = component.rows[0]
    assert (row.task, row.text) == ("classification", row.labels[0])
    assert (row.start_seconds, row.end_seconds) == (0.0, 10.0)


def test_labels_come_in_the_given_order_and_others_are_left():
    component, _ = built("labels", birds(), labels=("Zebra Finch", "Barn Owl"), prompt="Which? {}")
    assert component.labels == ("Zebra Finch", "Barn Owl")
    assert component.prompt == "Which? Zebra Finch, Barn Owl"
    assert {row.text for row in component.rows} == {"Zebra Finch", "Barn Owl"}


def test_braces_in_a_label_mean_nothing():
    given = [heard(recording(name, number)) for name in ("a {} b", "c") for number in range(2)]
    assert built("labels", given)[0].prompt.endswith("categories: a {} b, c")


def test_what_has_no_label_is_not_asked_about():
    others = [recording("None", kind="noise"), recording("bird", kind="unlabelled"), recording("")]
    component, _ = built("labels", [*birds(), *map(heard, others)])
    assert set(component.labels) == set(SPECIES)


def test_forms_have_the_same_clips_and_the_benchmarks_questions():
    components = species(birds(), ComponentOptions(rule="species", name="b"), 0, LeftOut())
    assert [one.name for one in components] == ["b-cmn", "b-sci", "b-tax"]
    for one, official in zip(components, ("cmn", "sci", "tax"), strict=True):
        assert one.prompt == beans_zero().find(f"unseen-species-{official}").prompt
        assert [row.paths for row in one.rows] == [row.paths for row in components[0].rows]
    texts = [one.rows[0].text for one in components]
    assert texts == ["Eurasian Wren", "Troglodytes troglodytes", SPECIES["Eurasian Wren"]]
    assert len({row.id for one in components for row in one.rows}) == 3 * len(components[0].rows)


def test_a_recording_that_lacks_a_form_is_listed():
    left_out = LeftOut()
    extra = heard(recording("Mystery Bird"))
    components = species([*birds(), extra], ComponentOptions(rule="species"), 0, left_out)
    assert left_out.examples["species: has no scientific, taxonomic name"] == ["Mystery Bird-0.wav"]
    assert all("Mystery" not in label for one in components for label in one.labels)


@pytest.mark.parametrize(
    ("rule", "official", "fields"),
    [
        ("call-type", "call-type", {"call_types": (("song",), ("flight call",), ("song", "call"))}),
        ("life-stage", "lifestage", {"life_stage": ("adult", "juvenile", "nestling")}),
    ],
)
def test_call_type_and_life_stage_are_asked_as_in_the_benchmark(rule, official, fields):
    ((name, values),) = fields.items()
    given = [heard(recording("Barn Owl", place, **{name: value})) for place, value in enumerate(values * 2)]
    component, _ = built(rule, given)
    assert component.prompt == beans_zero().find(official).prompt
    assert set(component.labels) <= set(beans_zero().find(official).labels)
    assert set(component.counts.values()) == {2}


def test_balance_gives_each_label_as_many_rows():
    given = [heard(recording("Barn Owl", n, life_stage="adult" if n else "juvenile")) for n in range(9)]
    component, left_out = built("life-stage", given, balance=True)
    assert component.counts == {"adult": 1, "juvenile": 1}
    assert left_out.counts == {"life-stage: more of its label than wanted": 7}


@given(
    counts=st.lists(st.integers(1, 8), min_size=2, max_size=5),
    least=st.integers(1, 5),
    most=st.none() | st.integers(1, 6),
    balance=st.booleans(),
    seed=st.integers(0, 3),
)
def test_every_recording_is_a_row_or_left_out(counts, least, most, balance, seed):
    given = [heard(recording(f"label {n}", m)) for n, count in enumerate(counts) for m in range(count)]
    options = ComponentOptions(rule="labels", least_per_label=least, most_per_label=most, balance=balance)
    left_out = LeftOut()
    large = [count for count in counts if count >= least]
    if len(large) < 2:
        with pytest.raises(LabelError, match="component labels: rule labels needs two labels"):
            classification(given, options, seed, left_out)
        return
    component = classification(given, options, seed, left_out)
    assert len(component.rows) + left_out.counts.total() == len(given)
    limit = min(most or 99, min(large) if balance else 99)
    assert sorted(component.counts.values()) == sorted(min(count, limit) for count in large)
    again = classification(given[::-1], options, seed, LeftOut())
    assert {row.id for row in again.rows} == {row.id for row in component.rows}


def test_a_listed_label_with_too_few_recordings_is_an_error():
    with pytest.raises(LabelError, match=r"'Barn Owl' has 3, 'Cuckoo' has 0; at least 4 are needed"):
        built("labels", birds(), labels=("Barn Owl", "Cuckoo"), least_per_label=4)


def test_a_table_without_the_column_is_an_error():
    with pytest.raises(
        LabelError,
        match=r"rule sex needs two labels .* there is no recording with one: check",
    ):
        built("sex", birds())


def test_the_same_sound_comes_once_and_a_contradiction_not_at_all():
    first, again = heard(recording("Barn Owl", 7)), heard(recording("Barn Owl", 8))
    other = heard(recording("European Robin", 9))
    twins = [first, type(again)(again.recording, first.sound)]
    component, left_out = built("labels", [*birds(), *twins])
    assert left_out.counts == {"labels: the same sound again": 1}
    assert component.counts["Barn Owl"] == 4
    component, left_out = built("labels", [*birds(), *twins, type(other)(other.recording, first.sound)])
    assert left_out.counts == {"labels: the same sound has two answers": 3}


def test_a_clip_whose_start_is_silent_is_left_out():
    late = heard(recording("Barn Owl", 9), seconds=20.0)
    late.sound.peaks[:10] = late.sound.peaks[:0].__class__("f", [0.0] * 10)
    _, left_out = built("labels", [*birds(), late])
    assert left_out.examples == {"labels: is silent in its first 10 s": ["Barn Owl-9.wav"]}


def test_presence_names_all_of_the_list_that_is_heard():
    given = [
        heard(recording("Barn Owl", 0, background=("European Robin", "rain"))),
        heard(recording("European Robin", 1)),
        heard(recording("None", 2, kind="noise")),
        heard(recording("Zebra Finch", 3)),
    ]
    options = ComponentOptions(rule="presence", labels=("European Robin", "Barn Owl"))
    component = presence(given, options, 0, LeftOut())
    assert component.task == "detection"
    assert component.labels == ("European Robin", "Barn Owl", "None")
    texts = {row.recording_id: row.text for row in component.rows}
    assert texts == {
        "Barn Owl-0": "Barn Owl, European Robin",
        "European Robin-1": "European Robin",
        "None-2": "None",
    }
    assert component.prompt.endswith("audio recording? European Robin, Barn Owl, None.")
    assert component.counts == {"European Robin": 2, "Barn Owl": 1, "None": 1}


def test_a_comma_in_a_name_keeps_it_out_of_lists():
    left_out = LeftOut()
    given = [heard(recording("Beluga, White Whale")), heard(recording("Barn Owl"))]
    component = presence(given, ComponentOptions(rule="presence"), 0, left_out)
    assert component.labels == ("Barn Owl", "None")
    assert left_out.counts == {"presence: a name with a comma can't be in a list": 1}


def test_only_silence_is_no_detection():
    with pytest.raises(LabelError, match="rule presence needs a label"):
        presence([heard(recording("None", kind="noise"))], ComponentOptions(rule="presence"), 0, LeftOut())


def test_few_labels_are_listed_and_many_asked_for_openly():
    names = [f"bird {n}" for n in range(8)]
    assert detection_prompt(None, names[:7]).endswith("bird 6, None.")
    assert detection_prompt(None, names) == beans_zero().find("enabirds").prompt
    assert detection_prompt("Any of {}?", names[:1]) == "Any of bird 0, None?"
    hiceas = beans_zero().find("hiceas")
    assert detection_prompt(None, ["Minke whale"]) == hiceas.prompt


def test_captions_are_taken_as_they_are():
    given = [heard(recording("Barn Owl", n, caption=f"Owl {n}, twice." if n else "")) for n in range(3)]
    component = captioning(given, ComponentOptions(rule="captioning"), LeftOut())
    assert component.prompt == beans_zero().find("captioning").prompt
    assert [row.text for row in component.rows] == ["Owl 1, twice.", "Owl 2, twice."]
    assert component.labels == ()
    assert component.counts == Counter()
    with pytest.raises(LabelError, match="no recording has a caption"):
        captioning(given[:1], ComponentOptions(rule="captioning"), LeftOut())
