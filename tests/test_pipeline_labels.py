"""Rankings of labels per window: best first, sums, thresholds, and the same in any batch and order."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naturelm_audio import prompts
from naturelm_audio.errors import LabelError, PromptError
from naturelm_audio.label_lists import LabelList
from naturelm_audio.options import GenerateOptions
from naturelm_audio.pipeline import Clip, Pipeline
from naturelm_audio.records import Answer, Label

LABELS = (
    "crow",
    "wren",
    "a, b",
    "gull",
    "tern",
)  # as long as "None", so that none of them wins by its length
GREEDY = GenerateOptions(max_new_tokens=4, num_beams=1)


def listed(*texts: str, **changes: Any) -> LabelList:
    return LabelList(labels=tuple(Label(label=text) for text in texts or LABELS), **changes)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    noise = np.random.default_rng(3)
    return [
        Clip(noise.normal(0, 0.1, round(16_000 * seconds)), name=f"clip{number}")
        for number, seconds in enumerate([2.0, 12.0, 5.0])
    ]


@pytest.fixture
def pipeline(toy_model: Any) -> Pipeline:
    return Pipeline(toy_model, GREEDY, batch_size=4)


def scores(rows: list[Answer]) -> list[dict[str, float | None]]:
    return [{label.label: label.score for label in row.labels or ()} for row in rows]


def test_the_answer_is_the_best_label(pipeline: Pipeline, clips: list[Clip]) -> None:
    rows = list(pipeline.ask(clips, labels=listed(top_k=9)))
    assert [(row.audio_path, row.start_seconds) for row in rows] == [
        ("clip0", 0.0),
        ("clip1", 0.0),
        ("clip1", 10.0),
        ("clip2", 0.0),
    ]
    for row in rows:
        assert row.labels is not None
        values = [label.score for label in row.labels]
        assert values == sorted(values, reverse=True)
        assert {label.label for label in row.labels} == {*LABELS, "None"}
        assert sum(values) == pytest.approx(1, abs=4e-4)
        assert (row.output, row.confidence) == (row.labels[0].label, row.labels[0].score)
        assert row.confidence_kind == "label_softmax"
        assert Answer.from_json(row.to_json()) == row


def test_the_question_suits_the_list_unless_one_is_asked(pipeline: Pipeline, clips: list[Clip]) -> None:
    (row,) = pipeline.ask(clips[0], labels=["wren", "robin"])
    assert row.query == prompts.CATEGORIES.format("robin, wren")
    (row,) = pipeline.ask(clips[0], "Who?", labels=["wren", "robin"])
    assert row.query == "Who?"


@given(
    order=st.permutations(range(len(LABELS))),
    batch_size=st.integers(1, 5),
    rows=st.permutations(range(3)),
)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batch_and_order_never_show(
    order: list[int], batch_size: int, rows: list[int], toy_model: Any, clips: list[Clip]
) -> None:
    usual = list(Pipeline(toy_model, GREEDY).ask(clips, labels=listed(top_k=9)))
    spans = [(row.audio_path, row.start_seconds) for row in usual]
    expected = dict(zip(spans, scores(usual), strict=True))
    mixed = list(
        Pipeline(toy_model, GREEDY, batch_size=batch_size).ask(
            [clips[row] for row in rows], labels=listed(*(LABELS[place] for place in order), top_k=9)
        )
    )
    for row, found in zip(mixed, scores(mixed), strict=True):
        assert found == pytest.approx(expected[row.audio_path, row.start_seconds], abs=2e-4)


def test_several_questions_are_ranked_each(pipeline: Pipeline, clips: list[Clip]) -> None:
    rows = list(pipeline.ask(clips[:1], ["Who?", "What is it?"], labels=listed(top_k=9)))
    assert [row.query for row in rows] == ["Who?", "What is it?"]
    assert scores(rows)[0] != scores(rows)[1]


def test_only_the_best_are_kept(pipeline: Pipeline, clips: list[Clip]) -> None:
    every, two = (list(pipeline.ask(clips, labels=listed(top_k=top))) for top in (9, 2))
    for whole, best in zip(every, two, strict=True):
        assert whole.labels is not None
        assert best.labels == whole.labels[:2]


def test_a_threshold_leaves_out_and_says_so(pipeline: Pipeline, clips: list[Clip]) -> None:
    every = list(pipeline.ask(clips, labels=listed(top_k=9)))
    limit = sorted(label.score or 0.0 for row in every for label in row.labels or ())[-4]
    some = list(pipeline.ask(clips, labels=listed(top_k=9, min_confidence=limit)))
    for whole, best in zip(every, some, strict=True):
        kept = [label for label in whole.labels or () if (label.score or 0) > limit + 1e-4]
        assert len(kept) <= len(best.labels or ()) <= len(kept) + 1
    none = list(pipeline.ask(clips, labels=listed(min_confidence=1.0)))
    for whole, row in zip(every, none, strict=True):
        assert (row.output, row.labels, row.confidence) == ("None", None, None)
        assert row.warnings == (
            f"no label reached 1; the best was {whole.output} with {whole.confidence:.4f}",
        )


def test_a_temperature_changes_scores_and_not_the_order(pipeline: Pipeline, clips: list[Clip]) -> None:
    plain, level = (
        list(pipeline.ask(clips, labels=listed(top_k=9, temperature=temperature)))
        for temperature in (None, 4.0)
    )
    for row, other in zip(plain, level, strict=True):
        assert [label.label for label in row.labels or ()] == [label.label for label in other.labels or ()]
        assert (other.confidence or 0) < (row.confidence or 0)
        assert other.confidence_kind == "calibrated"


def test_other_names_of_labels_are_kept(pipeline: Pipeline, clips: list[Clip]) -> None:
    label = Label(label="Eurasian Wren", scientific_name="Troglodytes troglodytes", code="winwre4")
    (row,) = pipeline.ask(clips[0], labels=LabelList(labels=(label,), top_k=2))
    found = next(one for one in row.labels or () if one.label == label.label)
    assert (found.scientific_name, found.code) == (label.scientific_name, label.code)


def test_a_bad_recording_is_a_row_with_an_error(
    pipeline: Pipeline, clips: list[Clip], tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    rows = list(pipeline.ask([tmp_path / "bad.wav", clips[0]], labels=listed()))
    assert (rows[0].output, rows[0].labels) == (None, None)
    assert "audio_decode_failed" in (rows[0].error or "")
    assert rows[1].labels


def test_ten_thousand_labels_work_and_say_that_they_are_slow(
    pipeline: Pipeline, clips: list[Clip], caplog: pytest.LogCaptureFixture
) -> None:
    labels = [f"{number:04x}" for number in range(10_000)]
    with caplog.at_level(logging.WARNING):
        (row,) = pipeline.ask(clips[0], labels=labels)
    assert len(row.labels or ()) == 5
    assert "10001 labels are" in caplog.text
    assert "slow" in caplog.text


def test_what_can_not_be_ranked_is_refused(pipeline: Pipeline, clips: list[Clip]) -> None:
    with pytest.raises(LabelError, match="is empty"):
        list(pipeline.ask(clips, labels=[]))
    with pytest.raises(LabelError, match="control token"):
        list(pipeline.ask(clips, labels=["owl", "<|eot_id|>"]))
    with pytest.raises(PromptError, match="no question"):
        list(pipeline.ask(clips))
