from __future__ import annotations

import json

import pytest

from naturelm_audio.components import Benchmark, Component
from naturelm_audio.predictions import Prediction
from naturelm_audio.ranking import First, Ranking, Rankings
from naturelm_audio.scored import MODES, ScoreOptions
from naturelm_audio.scoring import score
from naturelm_audio.scoring_report import details, markdown, metrics_of, provenance, row_lines

ZOO = Benchmark(
    name="zoo",
    components={
        "animals": Component(
            name="animals",
            task="classification",
            labels=("hen", "cat"),
            rows=4,
            published={"NatureLM-audio": 0.5, "Perch": 0.25, "chance": 0.5},
        ),
        "birds": Component(name="birds", task="detection", labels=("Robin", "Wren | Jenny")),
        "stories": Component(name="stories", task="captioning", published={"NatureLM-audio": 0.532}),
        "rest": Component(name="rest", task="captioning"),
    },
    aliases={"beasts": "animals"},
    published_source="a paper",
)
ROWS = [
    Prediction("beasts", "cat", "cat", "1"),
    Prediction("birds", "Robin, Wren | Jenny", "Robin", "2"),
    Prediction("animals", "ox", "hen", "3"),
    Prediction("birds", "", "Wren | Jenny", "4"),
    Prediction("stories", "a b c", "a b", "5"),
]


@pytest.fixture(scope="module")
def outcomes():
    return {mode: score(ROWS, ScoreOptions(mode=mode, resamples=9, spice=False), ZOO) for mode in MODES}


@pytest.fixture(scope="module")
def made_by(outcomes):
    return provenance("p.jsonl", "abc", len(ROWS), outcomes["strict"])


def test_official_metrics_have_the_official_names_alone(outcomes):
    found = metrics_of(outcomes["official"])
    assert set(found["animals"]) == {"Accuracy", "Precision", "Recall", "F1 Score", "Top-1 Accuracy"}
    assert set(found["birds"]) == {"mAP", "F1", "Recall", "Precision"}
    assert found["animals"]["Accuracy"] == 1.0


def test_strict_metrics_say_how_they_came_about(outcomes):
    found = metrics_of(outcomes["strict"])["animals"]
    assert (found["n"], found["n_expected"], found["status"], found["interval_of"]) == (
        2,
        4,
        "ok",
        "Accuracy",
    )
    assert found["Accuracy"] == 0.5
    assert found["rows_alone"]["Accuracy"] == 1.0
    assert found["tied_answers"] == 1


def test_b3_details_have_everything_and_what_made_it(outcomes, made_by):
    found = json.loads(json.dumps(details(outcomes, Rankings(), made_by), allow_nan=False))
    assert found["provenance"]["predictions_sha256"] == "abc"
    assert found["provenance"]["packages"]["numpy"]
    animals = found["strict"]["components"]["animals"]
    assert animals["classes"][0] == {
        "label": "cat",
        "support": 1,
        "predicted": 1,
        "true_positives": 1,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
    }
    birds = found["strict"]["components"]["birds"]
    assert birds["confusion"] == [
        {"label": "", "answer": "Wren | Jenny", "rows": 1},
        {"label": "Wren | Jenny", "answer": "", "rows": 1},
    ]
    assert found["strict"]["components_without_rows"] == ["rest"]


def test_rows_keep_their_order_and_say_what_they_became(outcomes):
    lines = [json.loads(line) for line in row_lines(ROWS, outcomes)]
    assert [line["id"] for line in lines] == ["1", "2", "3", "4", "5"]
    assert lines[0]["dataset_name"] == "animals"
    assert lines[2]["strict"] == {"label": "hen", "distance": 3, "tied_with": [["cat"]]}
    assert (lines[3]["official"]["label"], lines[3]["strict"]["label"]) == ("None", None)


def test_rows_with_a_ranking_have_its_first_label():
    rows = [Prediction("animals", "cat", "cat", str(n), f"p, line {n}") for n in (1, 2)]
    scores = {"strict": score(rows, ScoreOptions(resamples=9), ZOO)}
    rankings = Rankings(firsts={"p, line 2": First("hen", 0.75, 0.5)})
    plain, ranked = (json.loads(line) for line in row_lines(rows, scores, rankings))
    assert "ranking" not in plain
    assert ranked["ranking"] == {"label": "hen", "probability": 0.75, "calibrated": 0.5}


def test_the_report_has_both_modes_beside_the_published_scores(outcomes, made_by):
    text = markdown(outcomes, Rankings(), made_by)
    assert text.startswith("# Scores of p.jsonl on zoo\n")
    row = next(line for line in text.splitlines() if line.startswith("| animals | 2 |"))
    assert "| 2 | 4 | Accuracy | 1.0000 |" in row
    assert row.endswith("| 0.5000 | 0.250 (Perch) |")
    assert "rows without an answer (strict) count as wrong: animals 2 of 4\n" in text
    assert "rows without an answer (official) are left out: a partial result: animals 2 of 4\n" in text
    assert "components without a row: rest" in text
    assert "stories: SPIDEr was not asked for" in text
    assert "Published scores: a paper" in text


def test_a_partial_result_is_said_once_for_both_modes(made_by):
    scores = {
        mode: score(ROWS, ScoreOptions(mode=mode, resamples=9, spice=False, partial=True), ZOO)
        for mode in MODES
    }
    text = markdown(scores, Rankings(), made_by)
    assert "(official and strict) are left out: a partial result: animals 2 of 4\n" in text
    assert text.count("animals 2 of 4") == 1


def test_only_tied_answers_have_a_range(outcomes, made_by):
    lines = markdown(outcomes, Rankings(), made_by).splitlines()
    assert "| animals | strict | 0.5000 | 1.0000 | 0 | 1 | 0 | 0.5000 to 1.0000 |" in lines
    assert next(line for line in lines if line.startswith("| birds | strict | - ")).endswith("| 0 | - |")


def test_cider_is_not_put_beside_published_spider(outcomes, made_by):
    row = next(
        line for line in markdown(outcomes, Rankings(), made_by).splitlines() if line.startswith("| stories")
    )
    assert "CIDEr" in row
    assert row.endswith("| - | - |")


def test_every_row_of_a_table_has_as_many_cells_as_its_header(outcomes, made_by):
    tables = [
        block for block in markdown(outcomes, Rankings(), made_by).split("\n\n") if block.startswith("|")
    ]
    assert len(tables) == 3
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_what_is_not_scored_is_listed(made_by):
    rows = [
        *ROWS,
        Prediction("fish", "cod", "cod", "6", "p, line 6"),
        Prediction("birds", "", "", "7", "p, 7", "e"),
    ]
    scores = {mode: score(rows, ScoreOptions(mode=mode, resamples=9, spice=False), ZOO) for mode in MODES}
    text = markdown(scores, Rankings(notes=("birds: rankings are not scored: x",)), made_by)
    section = text.partition("## Not scored, or not in full")[2].partition("## ")[0]
    assert "unknown component 'fish' (p, line 6): 1 of 7 rows are not scored" in section
    assert "birds: 1 of 3 rows have no answer, the first p, 7: e" in section
    assert "birds: rankings are not scored: x" in section
    assert metrics_of(scores["strict"])["fish"] == {
        "n": 1,
        "status": "not scored",
        "reason": "zoo has no such component",
    }
    assert "fish" not in metrics_of(scores["official"])
    found = details(scores, Rankings(), made_by)
    assert found["official"]["unknown_components"] == {"fish": 1}
    *_, error = (json.loads(line) for line in row_lines(rows, scores))
    assert (error["error"], "strict" in error) == ("e", False)


def test_rankings_have_a_table_of_their_own_and_the_plot_its_place(outcomes, made_by):
    ranking = Ranking(
        name="animals",
        rows=2,
        labels=2,
        top={"top_1": 0.5},
        mean_average_precision=0.75,
        chance=0.5,
        f1_above_none=0.125,
        per_token=Ranking(
            name="animals", rows=2, labels=2, top={"top_1": 0.25}, mean_average_precision=0.3, chance=0.5
        ),
    )
    text = markdown(outcomes, Rankings({"animals": ranking}), made_by, plot="p.png")
    assert "| animals | 2 | 2 | whole answer | 0.5000 | 0.5000 | 0.7500 | 0.1250 | - | - | - |" in text
    assert "| animals | 2 | 2 | mean per token | 0.2500 | 0.5000 | 0.3000 | - | - | - | - |" in text
    assert "![Scores of every component](p.png)" in text
    assert (
        metrics_of(outcomes["strict"], Rankings({"animals": ranking}))["animals"]["ranking"]["top_1"] == 0.5
    )
