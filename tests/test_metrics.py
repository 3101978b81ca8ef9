from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio import metrics
from naturelm_audio.metrics import ClassScore

names = st.sampled_from(["a", "b", "b, c", "c"])
pairs = st.lists(st.tuples(names, names), min_size=1, max_size=30)
tables = st.integers(1, 12).flatmap(
    lambda rows: st.tuples(
        *[st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=rows, max_size=rows)] * 2
    )
)
scored = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=25)
captions = st.lists(st.text(alphabet="ab .", max_size=12), min_size=1, max_size=6)


@pytest.fixture
def sklearn():
    return pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn is only a test oracle: pip install '.[oracles]'"
    )


def test_classification_is_scikit_learns(sklearn):
    @given(pairs)
    def agrees(rows):
        gold, predicted = zip(*rows, strict=True)
        scores = metrics.class_scores(gold, predicted)
        expected = sklearn.precision_recall_fscore_support(
            gold, predicted, average="weighted", zero_division=0
        )
        assert metrics.weighted(scores) == pytest.approx(expected[:3], abs=1e-15)
        assert metrics.accuracy(gold, predicted) == sklearn.accuracy_score(gold, predicted)
        expected = sklearn.precision_recall_fscore_support(gold, predicted, average="macro", zero_division=0)
        assert metrics.macro(scores) == pytest.approx(expected[:3], abs=1e-15)

    agrees()


def test_detection_is_scikit_learns(sklearn):
    @given(tables)
    def agrees(both):
        gold, predicted = (np.array(table) for table in both)
        scores = metrics.detection_scores(gold, predicted, ["a", "b", "c"])
        expected = sklearn.precision_recall_fscore_support(gold, predicted, average="macro", zero_division=0)
        assert metrics.macro(scores) == pytest.approx(expected[:3], abs=1e-15)

    agrees()


@pytest.mark.filterwarnings("ignore:No positive class found")
def test_average_precision_is_scikit_learns(sklearn):
    @given(scored)
    def agrees(rows):
        gold, scores = (np.array(column) for column in zip(*rows, strict=True))
        expected = sklearn.average_precision_score(gold, scores) if gold.any() else 0.0
        assert metrics.average_precision(gold, scores) == pytest.approx(expected, abs=1e-12)

    agrees()


def test_weighted_scores_of_the_worked_example():
    gold, predicted = ["a", "a", "b", "b"], ["a", "a", "b", "c"]
    precision, recall, f1 = metrics.weighted(metrics.class_scores(gold, predicted))
    assert (precision, recall) == (1.0, 0.75)
    assert f1 == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert metrics.accuracy(gold, predicted) == 0.75


def test_no_match_is_wrong_and_no_class():
    scores = metrics.class_scores(["a", "b"], ["a", None])
    assert scores == [ClassScore("a", 1, 1, 1), ClassScore("b", 0, 0, 1)]
    assert metrics.accuracy(["a", "b"], ["a", None]) == 0.5


def test_official_top_1_takes_parts_between_commas():
    gold = ["Beluga, White Whale", "Walrus", "Beluga, White Whale"]
    assert metrics.top_1_accuracy(gold, ["Beluga, White Whale", "Walrus", "White Whale"]) == pytest.approx(
        2 / 3
    )


ROBIN = np.array([1, 1, 0, 0, 0, 0], dtype=bool), np.array([1, 0, 0, 0, 1, 1], dtype=bool)
CARDINAL = np.array([1, 0, 0, 1, 0, 0], dtype=bool), np.array([1, 1, 0, 0, 0, 1], dtype=bool)


def test_detection_of_the_worked_example():
    gold, predicted = (np.stack(both, axis=1) for both in zip(ROBIN, CARDINAL, strict=True))
    scores = metrics.detection_scores(gold, predicted, ["American Robin", "Northern Cardinal"])
    assert metrics.macro(scores) == pytest.approx((1 / 3, 0.5, 0.4))
    assert metrics.official_average_precision(gold, predicted) == pytest.approx(0.725)
    bounds = [metrics.average_precision_bounds(*one) for one in (ROBIN, CARDINAL)]
    assert np.mean(bounds, axis=0) == pytest.approx([1 / 3, 0.75], abs=1e-3)
    assert [metrics.average_precision(*one) for one in (ROBIN, CARDINAL)] == pytest.approx([1 / 3, 1 / 3])


@given(scored, st.randoms(use_true_random=False))
def test_average_precision_of_any_order_is_within_its_bounds(rows, shuffle):
    shuffle.shuffle(rows)
    gold, scores = (np.array(column) for column in zip(*rows, strict=True))
    order = np.argsort(-scores, kind="stable")
    hits = gold[order]
    ranked = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].sum() / max(hits.sum(), 1)
    low, high = metrics.average_precision_bounds(gold, scores)
    assert low - 1e-12 <= ranked <= high + 1e-12


@given(scored, st.randoms(use_true_random=False))
def test_b5_average_precision_does_not_depend_on_order(rows, shuffle):
    before = metrics.average_precision(*(np.array(column) for column in zip(*rows, strict=True)))
    shuffle.shuffle(rows)
    assert metrics.average_precision(*(np.array(column) for column in zip(*rows, strict=True))) == before


@pytest.mark.parametrize(
    ("references", "hypotheses", "expected"),
    [
        (
            ["The call of a robin.", "A dog barks twice."],
            ["The call of a robin", "A dog barks twice."],
            [10 * (4 / 5 + 3 / 4 + 2 / 3 + 1 / 2) / 4, 10],
        ),
        (
            ["The call of a robin.", "A dog barks twice."],
            ["the call of a robin.", "A dog barks twice."],
            [6.7917, 10],
        ),
        (
            ["a robin sings loudly", "a dog barks twice", "a frog calls"],
            ["a robin sings", "a dog barks twice", "a toad calls"],
            [5.7696, 10, 1.25],
        ),
        (["a dog barks"], ["a dog barks"], [0]),
        (["a dog barks", "a cat"], ["", "a cat"], [0, 5]),
    ],
)
def test_cider_of_worked_examples(references, hypotheses, expected):
    assert metrics.cider(references, hypotheses) == pytest.approx(expected, abs=1e-4)


@given(captions, captions, st.randoms(use_true_random=False))
def test_cider_does_not_depend_on_order(references, hypotheses, shuffle):
    rows = list(zip(references, hypotheses, strict=False))
    before = metrics.mean(metrics.cider(*zip(*rows, strict=True)))
    shuffle.shuffle(rows)
    after = metrics.cider(*zip(*rows, strict=True))
    assert metrics.mean(after) == before
    assert all(0 <= value <= 10 + 1e-9 for value in after)


def test_spider_is_the_mean_of_spice_and_a_tenth_of_cider():
    assert metrics.spider(8.3958, 0.5) == pytest.approx(0.66979)


def test_the_mean_is_exact_in_every_order():
    values = [1e16, 1.0, -1e16, 1.0]
    assert metrics.mean(values) == 0.5
    assert metrics.mean([]) == 0.0


def test_bootstrap_of_a_mean_is_the_normal_interval_for_many_rows():
    values = np.random.default_rng(0).random(4000) < 0.7
    low, high = metrics.bootstrap_mean(values, np.random.default_rng(1), 2000)
    share = values.mean()
    half = 1.96 * math.sqrt(share * (1 - share) / len(values))
    assert (low, high) == pytest.approx((share - half, share + half), abs=2e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_bootstrap_of_a_mean_is_seeded_and_has_no_order(values, shuffle):
    before = metrics.bootstrap_mean(values, np.random.default_rng(5), 40)
    shuffle.shuffle(values)
    assert metrics.bootstrap_mean(values, np.random.default_rng(5), 40) == before
    assert min(values) - 1e-12 <= before[0] <= before[1] <= max(values) + 1e-12


@given(tables)
def test_bootstrap_of_macro_f1_has_no_order_and_holds_perfection(both):
    gold, predicted = (np.array(table) for table in both)
    before = metrics.bootstrap_macro_f1(gold, predicted, np.random.default_rng(5), 30)
    assert metrics.bootstrap_macro_f1(gold[::-1], predicted[::-1], np.random.default_rng(5), 30) == before
    gold[:, 0] = True
    assert metrics.bootstrap_macro_f1(gold, gold, np.random.default_rng(5), 30) == (1.0, 1.0)


def test_bootstrap_without_a_positive_tells_nothing():
    nothing = np.zeros((3, 2), dtype=bool)
    assert metrics.bootstrap_macro_f1(nothing, nothing, np.random.default_rng(0), 5) == (0.0, 1.0)


def test_bootstrap_in_parts(monkeypatch):
    monkeypatch.setattr(metrics, "_DRAWS", 7)
    low, high = metrics.bootstrap_mean([0.0, 1.0, 1.0], np.random.default_rng(0), 50)
    assert 0 <= low <= high <= 1
