from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio import scoring
from naturelm_audio.components import Benchmark, Component, beans_zero
from naturelm_audio.errors import OptionsError
from naturelm_audio.predictions import Prediction, PredictionsError, check_rows
from naturelm_audio.scored import METRICS
from naturelm_audio.scoring import ScoreOptions, score
from naturelm_audio.spice import SpiceError

ZOO = Benchmark(
    name="zoo",
    components={
        "animals": Component(
            name="animals", task="classification", labels=("hen", "cat", "Beluga, White Whale")
        ),
        "birds": Component(name="birds", task="detection", labels=("American Robin", "Northern Cardinal")),
        "stories": Component(name="stories", task="captioning"),
    },
)
OFFICIAL = ScoreOptions(mode="official", resamples=20, spice=False)
STRICT = ScoreOptions(resamples=20, spice=False)
PARTIAL = ScoreOptions(resamples=20, spice=False, partial=True)


def rows(name, *pairs):
    return [
        Prediction(name, text, label, f"{name}-{n}", f"f, line {n}") for n, (text, label) in enumerate(pairs)
    ]


ROBINS = rows(
    "birds",
    ("American Robn, Northern Cardinal", "American Robin, Northern Cardinal"),
    ("Northern Cardinal", "American Robin"),
    ("None", "None"),
    ("Ovenbird", "Northern Cardinal"),
    ("American Robin", "None"),
    ("American Robin, Northern Cardinal", "None"),
)


@pytest.mark.parametrize("component", list(beans_zero()), ids=lambda item: item.name)
def test_b7_perfect_predictions_score_exactly_one(component):
    labels = [*component.labels, *map(", ".join, pairwise(component.labels))]
    if component.task == "detection":
        labels = [label for label in labels if "None" not in label] + ["None"]
    else:
        labels = list(component.labels)
    if component.task == "captioning":
        labels = ["a robin sings at dawn", "the frog calls near water", "two owls hoot at night"]
    found = score(rows(component.name, *((label, label) for label in labels)), PARTIAL)[component.name]
    if component.task == "captioning":
        assert found.metrics["CIDEr"] == pytest.approx(10)
    else:
        assert set(found.metrics.values()) == {1.0}
        assert found.interval == (1.0, 1.0)


def test_official_top_1_of_perfect_whales_is_below_one():
    component = beans_zero().components["watkins"]
    found = score(rows("watkins", *((label, label) for label in component.labels)), OFFICIAL)["watkins"]
    assert found.metrics["Accuracy"] == 1.0
    assert found.metrics["Top-1 Accuracy"] == pytest.approx(28 / 31)


def test_the_worked_example_of_detection():
    official, strict = score(ROBINS, OFFICIAL, ZOO)["birds"], score(ROBINS, STRICT, ZOO)["birds"]
    for found in (official, strict):
        assert found.metrics["F1"] == pytest.approx(0.4)
        assert found.metrics["Precision"] == pytest.approx(1 / 3)
        assert found.metrics["Recall"] == 0.5
        assert found.extras["map_range_of_row_orders"] == pytest.approx([1 / 3, 0.75], abs=1e-3)
    assert official.metrics["mAP"] == pytest.approx(0.725)
    assert strict.metrics["mAP"] == pytest.approx(1 / 3)
    assert {one.label: one.support for one in strict.classes} == {"American Robin": 2, "Northern Cardinal": 2}


answers = st.sampled_from(
    ["hen", "hn", "cat", "Beluga", "Beluga, White Whale", "", "xx", "HEN", "cat<|end_of_text|> hen"]
)
golds = st.sampled_from(["hen", "cat", "Beluga, White Whale"])
found_birds = st.sampled_from(
    ["American Robin", "Northern Cardinal, American Robin", "None", "", "Robin", "x, y"]
)
gold_birds = st.sampled_from(
    ["American Robin", "Northern Cardinal", "American Robin, Northern Cardinal", "None"]
)
tales = st.text(alphabet="ab .", max_size=9)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(answers, golds), min_size=1, max_size=8),
    st.lists(st.tuples(found_birds, gold_birds), min_size=1, max_size=8),
    st.lists(st.tuples(tales, tales), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_b5_strict_scores_do_not_depend_on_the_order_of_rows(animals, birds, stories, shuffle):
    everything = rows("animals", *animals) + rows("birds", *birds) + rows("stories", *stories)
    before = score(everything, STRICT, ZOO)
    shuffle.shuffle(everything)
    after = score(everything, STRICT, ZOO)
    for one, other in zip(before.components, after.components, strict=True):
        assert (one.metrics, one.interval, one.extras) == (other.metrics, other.interval, other.extras)
        assert (one.classes, one.confusion) == (other.classes, other.confusion)


def test_b4_an_empty_answer_is_no_match_and_counted():
    some = rows("animals", ("", "hen"), ("  ", "cat"), ("cat", "cat"))
    strict, official = score(some, STRICT, ZOO)["animals"], score(some, OFFICIAL, ZOO)["animals"]
    assert strict.metrics["Accuracy"] == pytest.approx(1 / 3)
    assert [answer.label for answer in strict.answers] == [None, None, "cat"]
    assert strict.extras["empty_answers"] == 2
    assert [answer.label for answer in official.answers] == ["hen", "hen", "cat"]


def test_b4_ties_are_reported_with_their_range():
    some = rows("animals", ("dog", "cat"), ("hen", "hen"))
    found = score(some, STRICT, ZOO)["animals"]
    assert found.metrics["Accuracy"] == 0.5
    assert found.extras["tied_answers"] == 1
    assert found.extras["accuracy_range_of_ties"] == [0.5, 1.0]


SCRIPT = """
from naturelm_audio.predictions import check_rows
from naturelm_audio.scoring import ScoreOptions, score
rows = [{"dataset_name": "esc50", "prediction": p, "label": g} for p, g in
        [("animal", "cat"), ("", "hen"), ("cat", "cat"), ("engine", "hand_saw"), ("bird", "pig")]]
for mode in ("official", "strict"):
    found = score(check_rows(rows), ScoreOptions(mode=mode, resamples=30, partial=True))["esc50"]
    print(found.metrics, found.extras, found.interval, found.answers, list(found.confusion.items()))
"""


def test_b4_five_hash_seeds_give_the_same():
    results = set()
    for seed in ("0", "1", "2", "3", "99"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SCRIPT]
        results.add(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )
    assert len(results) == 1


def test_far_answers_are_snapped_with_the_capped_accuracy_beside():
    some = rows("animals", ("hen", "hen"), ("this is a loud hen", "hen"), ("catt", "cat"))
    found = score(some, STRICT, ZOO)["animals"]
    assert found.metrics["Accuracy"] == 1.0
    assert found.extras["exact_match"] == pytest.approx(1 / 3)
    assert found.extras["accuracy_within_5_edits"] == pytest.approx(2 / 3)


def test_strict_knows_the_whole_list_official_only_the_file():
    some = rows("animals", ("cat", "hen"), ("hen", "hen"))
    assert score(some, STRICT, ZOO)["animals"].metrics["Accuracy"] == 0.5
    assert score(some, OFFICIAL, ZOO)["animals"].metrics["Accuracy"] == 1.0


def test_missing_rows_count_as_wrong_unless_a_partial_run_is_asked_for():
    some = rows("zf-indiv", ("One", "One"), ("More", "More"))
    found, partial = score(some, STRICT)["zf-indiv"], score(some, PARTIAL)["zf-indiv"]
    assert found.metrics["Accuracy"] == pytest.approx(2 / 1160)
    assert found.rows_alone["Accuracy"] == 1.0
    assert found.missing == 1158
    assert found.notes == ("the 1,158 missing rows count as wrong",)
    assert partial.metrics["Accuracy"] == 1.0
    assert score(some, OFFICIAL)["zf-indiv"].metrics["Accuracy"] == 1.0


def test_b8_a_detection_set_with_only_none_is_reported_as_failed():
    for options in (OFFICIAL, STRICT):
        scores = score(rows("birds", ("None", "None"), ("American Robin", "None")), options, ZOO)
        assert scores.failed == (scores["birds"],)
        assert scores["birds"].metrics["F1"] is None
        assert "every label is None" in (scores["birds"].reason or "")


def test_b5_captions_without_java_keep_cider_and_say_what_is_missing(monkeypatch):
    def missing(references, hypotheses):
        raise SpiceError("SPICE needs Java")

    monkeypatch.setattr(scoring, "spice_scores", missing)
    some = rows("stories", ("a robin sings", "a robin sings loudly"), ("", "a frog"))
    found = score(some, ScoreOptions(resamples=5), ZOO)["stories"]
    assert (found.status, found.metrics["SPIDEr"], found.headline) == ("failed", None, "CIDEr")
    assert found.metrics["CIDEr"] > 0
    assert found.reason == "no SPIDEr, CIDEr alone: SPICE needs Java"
    assert found.extras["empty_answers"] == 1
    assert score(some, STRICT, ZOO)["stories"].status == "ok"


def test_spider_with_java(monkeypatch):
    monkeypatch.setattr(scoring, "spice_scores", lambda references, hypotheses: [0.5] * len(references))
    some = rows("stories", ("The call of a robin", "The call of a robin."), ("A dog barks twice.",) * 2)
    found = score(some, ScoreOptions(resamples=5), ZOO)["stories"]
    assert found.metrics["SPIDEr"] == pytest.approx(0.670, abs=5e-4)
    assert found.headline == "SPIDEr"
    assert not score(some, ScoreOptions(resamples=5), ZOO).failed


def test_end_tokens_of_captions_are_cut_in_strict_mode_alone():
    some = rows("stories", ("a robin sings<|end_of_text|>", "a robin sings"), ("a frog", "a frog"))
    strict, official = (
        score(some, options, ZOO)["stories"].metrics["CIDEr"] for options in (STRICT, OFFICIAL)
    )
    assert strict > official


@pytest.mark.parametrize(
    ("name", "text", "label", "message"),
    [
        (
            "animals",
            "cat",
            "dog",
            "line 0: label 'dog' is not one of the 3 labels of animals; the nearest is",
        ),
        ("animals", "cat", " ", "line 0: the label is empty"),
        ("birds", "None", "American Robin, Owl", "line 0: label 'Owl' is not one of the 3 labels of birds"),
    ],
)
def test_a_label_outside_the_list_fails_its_component_alone(name, text, label, message):
    others = rows("stories", ("a robin sings", "a robin sings"))
    scores = score(rows(name, (text, label)) + others, STRICT, ZOO)
    assert [item.name for item in scores.failed] == [name]
    assert message in (scores[name].reason or "")
    assert "\n" not in (scores[name].reason or "")
    assert scores[name].metrics == dict.fromkeys(METRICS[scores[name].task])
    assert scores["stories"].status == "ok"
    assert not scores.in_full


@pytest.mark.parametrize("options", [OFFICIAL, STRICT], ids=["official", "strict"])
def test_unknown_components_are_left_aside_and_listed(options):
    scores = score(rows("animal", ("x", "y")) + rows("animals", ("cat", "cat")), options, ZOO)
    assert [item.name for item in scores.components] == ["animals"]
    (note,) = scores.notes
    assert note.startswith("unknown component 'animal' (f, line 0): 1 of 2 rows are not scored; did you mean")
    assert scores.unscored == {"animal": 1}
    assert scores.absent == ("birds", "stories")
    assert not scores.in_full
    with pytest.raises(
        PredictionsError, match="line 0: dataset_name 'animal' is unknown: did you mean 'anima"
    ):
        score(rows("animal", ("x", "y")), options, ZOO)


def test_ids_that_are_there_twice_fail_their_component_in_strict_mode():
    twice = [*rows("animals", ("cat", "cat")), Prediction("animals", "cat", "cat", "animals-0", "f, line 7")]
    strict = score(twice + rows("birds", ("American Robin",) * 2), STRICT, ZOO)
    assert strict["animals"].reason == (
        "f, line 7: id 'animals-0' of animals is there already, see line 0: keep one of the two"
    )
    assert strict["birds"].metrics["F1"] == 1.0
    scores = score(twice, OFFICIAL, ZOO)
    assert scores.notes == ("animals: 1 rows have an id that was there before",)
    assert scores["animals"].rows == 2
    same_id = check_rows(
        [
            {"dataset_name": n, "prediction": "None", "label": g, "id": 1}
            for n, g in (("animals", "cat"), ("birds", "None"))
        ]
    )
    assert len(score(same_id, STRICT, ZOO).components) == 2


def test_rows_with_an_error_count_as_wrong_and_are_named():
    some = [
        *rows("animals", ("cat", "cat"), ("hen", "hen")),
        Prediction("animals", "", "cat", "e", "f, 9", "bad"),
    ]
    strict, partial, official = (score(some, options, ZOO) for options in (STRICT, PARTIAL, OFFICIAL))
    assert strict["animals"].metrics["Accuracy"] == pytest.approx(2 / 3)
    assert (strict["animals"].rows, strict["animals"].errors, strict["animals"].missing) == (2, 1, 1)
    assert strict.notes == ("animals: 1 of 3 rows have no answer, the first f, 9: bad",)
    assert partial["animals"].metrics["Accuracy"] == official["animals"].metrics["Accuracy"] == 1.0
    assert not strict.in_full
    (failed,) = score(some[2:], STRICT, ZOO).failed
    assert failed.reason == "none of its 1 rows has an answer"


def test_other_names_are_written_as_the_data_has_them():
    (found,) = score(rows("zf-indv", ("One", "One")), PARTIAL).components
    assert found.name == "zf-indiv"


def test_more_rows_than_there_are():
    scores = score(rows("zf-indiv", *[("One", "One")] * 1161), STRICT)
    assert scores.notes == ("zf-indiv: 1,161 rows where the benchmark has 1,160",)
    assert scores["zf-indiv"].metrics["Accuracy"] == 1.0


def test_nothing_to_score_and_bad_options():
    with pytest.raises(PredictionsError, match="no predictions"):
        score([], STRICT)
    with pytest.raises(OptionsError, match="official or strict"):
        ScoreOptions(mode="lenient")
    with pytest.raises(OptionsError, match="at least 1"):
        ScoreOptions(resamples=0)


def test_intervals_are_seeded():
    some = rows("animals", *[("cat", random.Random(n).choice(["cat", "hen"])) for n in range(50)])
    first = score(some, ScoreOptions(seed=1, resamples=200), ZOO)["animals"]
    assert first.interval == score(some, ScoreOptions(seed=1, resamples=200), ZOO)["animals"].interval
    low, high = first.interval
    assert low < first.metrics["Accuracy"] < high
