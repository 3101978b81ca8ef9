"""Temperatures, reliability and intervals against the textbook, scikit-learn and worked examples."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.calibration import (
    Calibration,
    all_certain,
    area_under_curve,
    calibration_error,
    fit_temperature,
    read_calibration,
    reliability,
    wilson,
    write_calibration,
)
from naturelm_audio.errors import LabelError, OutputError
from naturelm_audio.score import probabilities

rows_ = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def drawn(temperature: float, rows: int = 4000, labels: int = 6, seed: int = 0):
    """Scores of which, divided by the temperature, the softmax is the truth; and right labels drawn by it."""
    draws = np.random.default_rng(seed)
    scores = draws.normal(0, 3, (rows, labels))
    chances = probabilities(scores, temperature=temperature)
    return list(scores), [int(draws.choice(labels, p=row)) for row in chances]


class TestTemperature:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
    def test_it_finds_the_temperature_that_made_the_labels(self, temperature):
        scores, right = drawn(temperature)
        assert fit_temperature(scores, right) == pytest.approx(temperature, rel=0.1)

    def test_it_is_the_lowest_point_of_the_loss(self):
        scores, right = drawn(2.0, rows=200)
        best = fit_temperature(scores, right)

        def loss(temperature: float) -> float:
            shares = probabilities(np.array(scores), temperature=temperature)
            return -np.log(shares[np.arange(200), right]).sum()

        assert loss(best) <= min(loss(best * 1.001), loss(best / 1.001))

    def test_the_order_of_rows_changes_nothing(self):
        scores, right = drawn(2.0, rows=50)
        order = np.random.default_rng(1).permutation(50)
        again = fit_temperature([scores[row] for row in order], [right[row] for row in order])
        assert again == fit_temperature(scores, right)

    def test_lists_may_differ_between_rows(self):
        scores, right = drawn(2.0, rows=300)
        longer = [np.append(row, -1e9) for row in scores[:100]] + scores[100:]
        assert fit_temperature(longer, right) == pytest.approx(fit_temperature(scores, right), rel=1e-3)

    def test_refuted_labels_count(self):
        """Of two labels, one refuted is the other one right."""
        scores, right = drawn(2.0, rows=500, labels=2)
        turned = fit_temperature(scores, [1 - place for place in right], refuted=[True] * 500)
        assert turned == pytest.approx(fit_temperature(scores, right), rel=1e-3)

    def test_all_right_and_all_wrong_end_at_the_limits(self):
        scores = [np.array([0.0, -1.0])] * 20
        assert all_certain(fit_temperature(scores, [0] * 20))
        assert fit_temperature(scores, [1] * 20) > 50
        assert not all_certain(fit_temperature(scores, [0] * 19 + [1]))

    def test_no_rows_are_refused(self):
        with pytest.raises(ValueError, match="no rows"):
            fit_temperature([], [])


class TestArea:
    @given(rows=rows_)
    def test_it_is_the_share_of_pairs_in_order(self, rows):
        confidence, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        hits, misses = confidence[right], confidence[~right]
        if not len(hits) or not len(misses):
            assert area_under_curve(confidence, right) is None
            return
        pairs = (hits[:, None] > misses) + 0.5 * (hits[:, None] == misses)
        assert area_under_curve(confidence, right) == pytest.approx(pairs.mean())

    def test_against_scikit_learn(self):
        metrics = pytest.importorskip(
            "sklearn.metrics", reason="needs scikit-learn: pip install '.[oracles]'"
        )
        draws = np.random.default_rng(0)
        confidence = draws.random(500).round(2)
        right = draws.random(500) < confidence
        assert area_under_curve(confidence, right) == pytest.approx(metrics.roc_auc_score(right, confidence))


class TestReliability:
    def test_a_worked_example(self):
        confidence = np.array([0.95, 0.95, 0.55, 0.55])
        right = np.array([True, True, True, False])
        assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
        found = reliability(confidence, right)
        assert [(one.low, one.rows, one.accuracy) for one in found.bins] == [(0.5, 2, 0.5), (0.9, 2, 1.0)]
        assert found.accuracy == 0.75

    @given(rows=rows_)
    def test_the_error_is_a_share_and_bins_hold_every_row(self, rows):
        confidence, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        error = calibration_error(confidence, right)
        assert 0 <= error <= 1
        # The total claim and the total of right answers bound it from below.
        assert error >= abs(confidence.mean() - right.mean()) - 1e-9

    def test_scores_that_are_true_have_the_error_of_chance(self):
        draws = np.random.default_rng(0)
        confidence = draws.random(3000)
        found = reliability(confidence, draws.random(3000) < confidence)
        assert found.error == pytest.approx(found.error_by_chance, abs=0.02)

    def test_temperature_mends_sure_scores(self):
        scores, right = drawn(3.0)
        raw, mended = (
            probabilities(np.array(scores), temperature=one) for one in (1.0, fit_temperature(scores, right))
        )
        before = reliability(raw.max(axis=1), raw.argmax(axis=1) == right)
        after = reliability(mended.max(axis=1), mended.argmax(axis=1) == right)
        assert after.error < 0.03 < 0.1 < before.error
        assert before.accuracy == after.accuracy

    def test_intervals_hold_the_figure_and_repeat(self):
        draws = np.random.default_rng(0)
        confidence = draws.random(150)
        right = draws.random(150) < confidence
        found = reliability(confidence, right)
        assert found == reliability(confidence, right)
        assert found.area_interval[0] < found.area < found.area_interval[1]
        assert found.accuracy_interval[0] < found.accuracy < found.accuracy_interval[1]

    def test_all_right_has_no_area(self):
        found = reliability([0.9, 0.8], [True, True])
        assert (found.area, found.area_interval) == (None, None)

    def test_no_rows_are_refused(self):
        with pytest.raises(ValueError, match="no rows"):
            reliability([], [])

    @pytest.mark.parametrize(
        ("hits", "rows", "low", "high"),
        [(132, 152, 0.8055, 0.9132), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1)],
    )
    def test_wilson_against_published_values(self, hits, rows, low, high):
        assert wilson(hits, rows) == pytest.approx((low, high), abs=1e-4)


class TestFile:
    def test_it_is_read_as_written(self, tmp_path):
        written = Calibration(temperature=1.5, rows=20, model="m", weights="abc", question="Wer?", labels=3)
        write_calibration(tmp_path / "c.json", written)
        assert read_calibration(tmp_path / "c.json") == written
        assert json.loads((tmp_path / "c.json").read_text())["kind"] == "calibration"

    def test_unknown_keys_are_left_aside(self, tmp_path):
        (tmp_path / "c.json").write_text('{"temperature": 2, "later": 1}')
        assert read_calibration(tmp_path / "c.json") == Calibration(temperature=2.0, rows=0)

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"temperature": "1"}', '{"temperature": true}', '{"temperature": null}']
    )
    def test_other_files_are_refused(self, tmp_path, content):
        (tmp_path / "c.json").write_text(content)
        with pytest.raises(LabelError, match="is no calibration: make one with naturelm calibrate"):
            read_calibration(tmp_path / "c.json")

    @pytest.mark.parametrize("temperature", ["0", "-1", "1e9", "NaN"])
    def test_impossible_temperatures_are_refused(self, tmp_path, temperature):
        (tmp_path / "c.json").write_text(f'{{"temperature": {temperature}}}')
        with pytest.raises(LabelError, match="out of range"):
            read_calibration(tmp_path / "c.json")

    def test_a_missing_file_and_a_missing_folder(self, tmp_path):
        with pytest.raises(LabelError, match="can't be read"):
            read_calibration(tmp_path / "gone.json")
        with pytest.raises(OutputError):
            write_calibration(tmp_path / "gone" / "c.json", Calibration(temperature=1.0, rows=1))

    def test_other_weights_and_questions_are_told(self, caplog):
        made = Calibration(temperature=1.0, rows=9, model="tiny", weights="abc", question="Wer?")
        made.check("abc", ["Wer?"])
        assert not caplog.records
        made.check("abd", ["Wo?"])
        assert "other weights (tiny)" in caplog.text
        assert "the question 'Wer?'" in caplog.text


def test_a_temperature_is_finite():
    assert math.isfinite(fit_temperature([np.array([-1e6, 0.0])], [0]))
