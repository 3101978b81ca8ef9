from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.components import Benchmark, Component
from naturelm_audio.ranking import First, rank, read_rankings

ANIMALS = Component(
    name="animals", task="classification", labels=("hen", "cat", "owl", "Beluga, White Whale")
)
BIRDS = Component(name="birds", task="detection", labels=("Robin", "Wren"))
ZOO = Benchmark(name="zoo", components={"animals": ANIMALS, "birds": BIRDS})


def test_top_k_and_average_precision_by_hand():
    scores = np.log([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    found = rank(ANIMALS, ["hen", "cat", "Beluga, White Whale"], scores)
    assert found.top == pytest.approx({"top_1": 2 / 3, "top_3": 1.0})
    assert (found.rows, found.labels, found.chance) == (3, 4, 0.25)
    # Each of the three labels with a row has the highest score there: hen 0.7, cat 0.3, whale 0.4.
    assert found.mean_average_precision == 1.0
    assert found.calibration == {}


def test_detection_leaves_rows_without_a_label_out_of_top_k_alone():
    scores = np.log([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])
    found = rank(BIRDS, ["Robin", "None", "Wren", "Wren, Robin"], scores)
    assert (found.rows, found.labels) == (3, 2)
    assert found.top == {"top_1": 1.0}
    # Robin beats None in rows 1, 2 (no: as likely) and 4; Wren in rows 1 and 4, and is missed in row 3.
    assert found.f1_above_none == pytest.approx((1.0 + 0.5) / 2)
    assert found.to_mapping()["F1_above_None"] == found.f1_above_none
    assert found.chance == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    # Robin: rows 1 and 4 lead. Wren: 4 (0.4), 1 (0.3, wrong), then 2 and 3 are tied.
    assert found.mean_average_precision == pytest.approx((1.0 + (0.5 * 1.0 + 0.5 * 2 / 4)) / 2)


def test_the_mean_per_token_does_not_favour_short_names():
    """The example of the specification: by sums Parus major wins, by means Turdus merula."""
    birds = Component(name="x", task="classification", labels=("Turdus merula", "Parus major"))
    scores, lengths = np.array([[-0.90, -0.75]]), (5, 4)
    found = rank(birds, ["Turdus merula"], scores, lengths)
    assert (found.top["top_1"], found.per_token.top["top_1"]) == (0.0, 1.0)
    assert found.to_mapping()["by_mean_per_token"] == {"top_1": 1.0, "mAP": 1.0}
    assert rank(birds, ["Turdus merula"], scores).per_token is None


def test_rows_have_their_likeliest_label_with_its_probability():
    scores = np.log([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    found = rank(ANIMALS, ["hen", "Owl?"], scores)
    assert found.firsts == (First("hen", 0.7), First("Beluga, White Whale", 0.4))
    many = rank(ANIMALS, ["hen", "Owl?"] * 4, np.tile(scores, (4, 1)))
    assert [one.calibrated is None for one in many.firsts] == [False, True] * 4
    assert many.firsts[1].to_mapping() == {"label": "Beluga, White Whale", "probability": 0.4}


def test_rows_whose_label_is_not_in_the_list():
    assert rank(BIRDS, ["None", "Owl"], np.zeros((2, 3))) is None


@given(st.integers(0, 100), st.permutations(range(40)))
def test_b5_any_order_of_rows_gives_the_same(seed, order):
    draw = np.random.default_rng(seed)
    gold = [ANIMALS.labels[one] for one in draw.integers(0, 4, 40)]
    scores = np.round(draw.normal(size=(40, 4)), 3)
    first, second = rank(ANIMALS, gold, scores), rank(ANIMALS, [gold[one] for one in order], scores[order])
    assert first.top == second.top
    assert first.mean_average_precision == pytest.approx(second.mean_average_precision, abs=1e-12)
    assert first.calibration == pytest.approx(second.calibration, rel=1e-4)


def test_a_temperature_mends_what_is_too_sure():
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(2000, 4))
    likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    gold = [ANIMALS.labels[draw.choice(4, p=row)] for row in likely]
    true, sure = rank(ANIMALS, gold, scores).calibration, rank(ANIMALS, gold, 5 * scores).calibration
    assert true["calibration_error"] < 0.05
    assert sure["calibration_error"] > 0.25
    assert sure["calibration_error_fitted"] < 0.05
    assert sure["temperature"] == pytest.approx(5, rel=0.2)


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rankings_of_a_file(tmp_path):
    row = {
        "dataset_name": "birds",
        "prediction": "x",
        "label": "Robin",
        "log_likelihoods": [-1.0, -2.0, -3.0],
    }
    path = written(
        tmp_path / "p.jsonl",
        row,
        {**row, "dataset_name": "what"},
        {"dataset_name": "birds", "prediction": "x", "label": "Wren"},
        {**row, "dataset_name": "animals", "label": "hen", "log_likelihoods": ["high"]},
        {**row, "label_tokens": [2, 2, 1]},
    )
    with path.open("a") as file:
        file.write('{"log_likelihoods": [-1')
    found = read_rankings(path, ZOO)
    assert list(found.components) == ["birds"]
    assert found.components["birds"].to_mapping()["top_1"] == 1.0
    assert found.components["birds"].per_token.top == {"top_1": 1.0}
    assert list(found.firsts) == [f"{path}, line 1", f"{path}, line 5"]
    assert found.notes == (
        f"animals: rankings are not scored: {path}, line 4: log_likelihoods are not a number for each of its "
        "labels",
    )
    assert read_rankings(written(tmp_path / "q.jsonl", {"prediction": "x"}), ZOO).components == {}
    assert read_rankings(tmp_path / "p.csv", ZOO).components == {}


def test_rankings_without_a_known_label_are_said(tmp_path):
    row = {"dataset_name": "birds", "prediction": "x", "label": "None", "log_likelihoods": [-1.0, -2.0, -3.0]}
    found = read_rankings(written(tmp_path / "p.jsonl", row), ZOO)
    assert found.notes == ("birds: rankings are not scored: no row has a label of the list",)
