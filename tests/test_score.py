"""Scores of labels equal those of each label alone, in any batch, order and packing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naturelm_audio import prompts
from naturelm_audio.errors import LabelError, PromptError
from naturelm_audio.generate import Generator, OutOfMemoryError, Request
from naturelm_audio.options import GenerateOptions
from naturelm_audio.score import LabelScorer, _packed, probabilities
from naturelm_audio.sequence import answer_loss, target_ids

LABELS = ["owl", "owl monkey", "crow", "o", "Great tit, male", "Мухоловка", "ow", "None", "crow\tblack"]
QUESTIONS = ["What is it?", "Caption the audio, using the common name for any animal species.", "Why?"]
SECONDS = [10.0, 3.0, 0.6, 7.25]
ANY_FIXTURE = [HealthCheck.function_scoped_fixture]


def greedy(model: Any, *, batch_size: int = 8, **changes: Any) -> Generator:
    return Generator(model, GenerateOptions(num_beams=1, **changes), batch_size=batch_size)


@pytest.fixture(scope="module")
def requests_(toy_model: Any) -> list[Request]:
    noise = np.random.default_rng(0)
    clips = [noise.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32) for seconds in SECONDS]
    vectors = greedy(toy_model).encode(clips)
    return [
        Request(prompts.build(question), (vector,))
        for question, vector in zip(QUESTIONS * 2, [*vectors, *vectors[:2]], strict=True)
    ]


@torch.no_grad()
def alone(model: Any, request: Request, label: str) -> float:
    """The log-likelihood of one label, as training computes its loss."""
    ids = target_ids(model.tokenizer, label, model.config.end_symbol, 1000)
    return -float(answer_loss(model, [greedy(model).embed(request)], [ids]).loss) * len(ids)


@pytest.fixture(scope="module")
def expected(toy_model: Any, requests_: list[Request]) -> np.ndarray:
    return np.array([[alone(toy_model, request, label) for label in LABELS] for request in requests_])


def test_scores_are_those_of_each_label_alone(
    toy_model: Any, requests_: list[Request], expected: np.ndarray
) -> None:
    scores = LabelScorer(greedy(toy_model), LABELS).log_likelihoods(requests_)
    assert scores[0].dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@given(
    labels=st.permutations(range(len(LABELS))),
    rows=st.permutations(range(6)),
    batch_size=st.integers(1, 6),
    tokens_at_once=st.integers(1, 60),
)
@settings(max_examples=15, deadline=None, suppress_health_check=ANY_FIXTURE)
def test_batch_packing_and_order_never_show(
    labels: list[int],
    rows: list[int],
    batch_size: int,
    tokens_at_once: int,
    toy_model: Any,
    requests_: list[Request],
    expected: np.ndarray,
) -> None:
    generator = greedy(toy_model, batch_size=batch_size)
    scorer = LabelScorer(generator, [LABELS[place] for place in labels], tokens_at_once=tokens_at_once)
    scores = scorer.log_likelihoods([requests_[row] for row in rows])
    np.testing.assert_allclose(scores, expected[rows][:, labels], rtol=0, atol=1e-5)


@given(labels=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=ANY_FIXTURE)
def test_any_text_can_be_a_label(labels: list[str], toy_model: Any, requests_: list[Request]) -> None:
    (scores,) = LabelScorer(greedy(toy_model), labels, tokens_at_once=9).log_likelihoods(requests_[:1])
    whole = [alone(toy_model, requests_[0], label) for label in labels]
    np.testing.assert_allclose(scores, whole, rtol=1e-6, atol=1e-5)  # the loss is a mean in float32


@given(
    ids=st.lists(st.lists(st.integers(0, 2), max_size=6).map(lambda ids: (*ids, 9)), min_size=1),
    tokens_at_once=st.integers(1, 12),
)
def test_packing_takes_every_label_once_and_keeps_the_limit(
    ids: list[tuple[int, ...]], tokens_at_once: int
) -> None:
    packs = list(_packed(ids, tokens_at_once))
    assert sorted(place for pack in packs for place in pack) == list(range(len(ids)))
    for pack in packs:
        starts = {ids[place][:length] for place in pack for length in range(1, len(ids[place]))}
        assert len(starts) <= tokens_at_once or len({ids[place] for place in pack}) == 1


def test_a_label_twice_has_one_score(toy_model: Any, requests_: list[Request]) -> None:
    scores = LabelScorer(greedy(toy_model), ["owl", "crow", "owl"]).log_likelihoods(requests_[:2])
    for row in scores:
        assert row[0] == row[2] != row[1]


def test_answers_exclude_each_other(toy_model: Any, requests_: list[Request]) -> None:
    """Whole answers of one byte sum to at most 1 together with the longer ones that begin with them."""
    letters = [chr(code) for code in range(33, 127)]
    scorer = LabelScorer(greedy(toy_model), ["", *letters, *(f"{letter}!" for letter in letters)])
    for row in scorer.log_likelihoods(requests_[:2]):
        assert 0 < np.exp(row).sum() <= 1 + 1e-6


def test_merging_alpha_is_heeded(toy_model: Any, requests_: list[Request]) -> None:
    tuned, base = (
        LabelScorer(greedy(toy_model, merging_alpha=alpha), LABELS).log_likelihoods(requests_[:1])[0]
        for alpha in (1.0, 0.0)
    )
    assert np.abs(tuned - base).max() > 1e-3


@pytest.mark.parametrize("attention", ["eager", "flash_attention_2"])
def test_any_attention_is_served(
    attention: str,
    toy_model: Any,
    requests_: list[Request],
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = toy_model.language_model.config
    monkeypatch.setattr(config, "_attn_implementation_internal", attention)
    scores = LabelScorer(greedy(toy_model), LABELS).log_likelihoods(requests_)
    assert config._attn_implementation == attention
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_no_requests_have_no_scores(toy_model: Any) -> None:
    assert LabelScorer(greedy(toy_model), LABELS).log_likelihoods([]) == []


def test_an_empty_list_is_refused(toy_model: Any) -> None:
    with pytest.raises(LabelError, match="at least one"):
        LabelScorer(greedy(toy_model), [])


def test_control_tokens_in_labels_are_refused(toy_model: Any) -> None:
    with pytest.raises(LabelError, match=r"'crow<\|eot_id\|>' has the model's control token"):
        LabelScorer(greedy(toy_model), ["owl", "crow<|eot_id|>"])


def test_M8_placeholders_and_clips_must_agree(toy_model: Any, requests_: list[Request]) -> None:
    vector = requests_[0].audio[0]
    with pytest.raises(PromptError, match="1 <AudioHere> for 2 audio clips"):
        LabelScorer(greedy(toy_model), LABELS).log_likelihoods(
            [Request(prompts.build("What?"), (vector, vector))]
        )


def test_running_out_of_memory_halves_the_batch(
    toy_model: Any, requests_: list[Request], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = greedy(toy_model, batch_size=6)
    scorer = LabelScorer(generator, LABELS)
    original = scorer._steps

    def limited(remembered: Any, tree: Any) -> Any:
        if len(remembered.lengths) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(remembered, tree)

    limit = 2
    monkeypatch.setattr(scorer, "_steps", limited)
    np.testing.assert_allclose(scorer.log_likelihoods(requests_), expected, rtol=0, atol=1e-5)
    assert generator.batch_size == 1
    limit = 0
    with pytest.raises(OutOfMemoryError):
        scorer.log_likelihoods(requests_)


@given(
    scores=st.lists(st.floats(-1e3, 0), min_size=1, max_size=40),
    temperature=st.floats(0.05, 20),
)
def test_probabilities_sum_to_one_and_keep_the_order(scores: list[float], temperature: float) -> None:
    values = np.array(scores)
    shares = probabilities(values, temperature=temperature)
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    assert (shares >= 0).all()
    assert shares[values.argmax()] == shares.max()
    order = np.argsort(values)
    assert (np.diff(shares[order]) >= 0).all()


def test_probabilities_of_a_table_are_those_of_its_rows() -> None:
    table = np.random.default_rng(0).normal(size=(3, 5))
    rows = [probabilities(row, temperature=2.0) for row in table]
    np.testing.assert_allclose(probabilities(table, temperature=2.0), rows)


def test_a_temperature_levels_or_sharpens() -> None:
    values = np.array([0.0, -1.0])
    sharp, plain, level = (probabilities(values, temperature=one)[0] for one in (0.5, 1.0, 100.0))
    assert sharp > plain > level > 0.5
    assert plain == pytest.approx(1 / (1 + np.exp(-1)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        probabilities(np.zeros(2), temperature=temperature)
