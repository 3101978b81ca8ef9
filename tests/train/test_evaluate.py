"""Figures are counted from real answers, whole and without regard to case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from naturelm_audio.train import evaluate
from naturelm_audio.train.data import Clip, ClipStore, to_int16
from naturelm_audio.train.questions import LABELS_19, Sound


def store() -> ClipStore:
    def clip(label: str, kind: str, source: str) -> Clip:
        return Clip(
            path=label,
            sound=Sound(label=label, kind=kind),
            source=source,
            split="validation",
            recording=label,
        )

    clips = [
        clip("dog", "animal", "esc50-animals"),
        clip("crow", "animal", "esc50-animals"),
        clip("rain", "environment", "esc10"),
        clip("right whale", "animal", "right-whale"),
        clip("None", "noise", "right-whale"),
        clip("flute", "music", "instruments"),
    ]
    rng = np.random.default_rng(0)
    return ClipStore.of(clips, [to_int16(0.1 * rng.standard_normal(16_000)) for _ in clips])


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> object:
    def set_answer(answer: str) -> list[str]:
        asked: list[str] = []

        def answers(model: object, waveforms: list, wordings: list[str], **_: object) -> list[str]:
            asked.extend(wordings)
            return [answer] * len(wordings)

        monkeypatch.setattr(evaluate, "answers", answers)
        return asked

    return set_answer


def test_counting_is_whole_and_ignores_case() -> None:
    figure = evaluate.count("x", ["dog", "cat", "dog"], ["Dog", "cats", "cow"])
    assert (figure.right, figure.total) == (1, 3)
    assert figure.wrong == {"cat -> cats": 1, "dog -> cow": 1}


@pytest.mark.parametrize(
    ("right", "total", "low", "high"), [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (85, 100, 0.767, 0.907)]
)
def test_wilson_intervals(right: int, total: int, low: float, high: float) -> None:
    assert evaluate.Figure("x", right, total).interval == pytest.approx((low, high), abs=1e-3)


def test_every_figure_asks_its_clips(always) -> None:
    asked = always("dog")
    figures = {figure.name: figure for figure in evaluate.Evaluation(store()).figures(None)}
    assert (figures["19 labels from a list"].right, figures["19 labels from a list"].total) == (1, 3)
    assert (figures["11 animal labels from a list"].right, figures["11 animal labels from a list"].total) == (
        1,
        2,
    )
    assert figures["right whale or None"].total == 2
    assert figures["None for no animal (open detection)"].wrong == {"rain -> dog": 1}
    assert any(wording.endswith(", ".join(LABELS_19)) for wording in asked)


def test_none_is_right_where_no_animal_is(always) -> None:
    always("None")
    evaluation = evaluate.Evaluation(store())
    assert evaluation.no_animal(None).share == 1.0
    assert evaluation.right_whale(None).right == 1


def test_mixtures_hold_two_different_animals(always) -> None:
    always("More than one")
    figure = evaluate.Evaluation(store()).how_many(None, pairs=4)
    assert (figure.right, figure.total) == (4, 6)


def test_tables_and_data() -> None:
    figures = [evaluate.count("x", ["a", "b"], ["a", "c"])]
    assert "| x | 1 | 2 | 50.0% | 9.5% to 90.5% |" in evaluate.as_markdown(figures)
    assert evaluate.as_json(figures)[0]["wrong"] == {"b -> c": 1}


def test_confusions_are_a_table() -> None:
    figures = [evaluate.count("x", ["a", "b", "b"], ["a", "c", "c"])]
    assert evaluate.confusions(figures).splitlines()[2:] == ["| x | b | c | 2 |"]


def test_real_answers_come_in_order(toy_model: Any) -> None:
    waveforms = [np.zeros(8000, np.float32), np.ones(170_000, np.float32) * 0.1]
    together = evaluate.answers(toy_model, waveforms, ["What is this?", "Caption the audio."])
    alone = [
        evaluate.answers(toy_model, [w], [q])[0]
        for w, q in zip(waveforms, ["What is this?", "Caption the audio."], strict=True)
    ]
    assert together == alone


def test_intervals_stay_within_all_and_nothing():
    assert evaluate.Figure("a", 0, 1).interval[0] == 0.0
    assert evaluate.Figure("a", 3, 3).interval[1] == 1.0
