"""Answers don't depend on the batch, the order, the neighbours or memory running out."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naturelm_audio import prompts
from naturelm_audio.errors import PromptError
from naturelm_audio.generate import Generator, OutOfMemoryError, Request
from naturelm_audio.options import GenerateOptions
from naturelm_audio.sequence import answer_loss

QUESTIONS = ["What is it?", "Caption the audio, using the common name for any animal species.", "Why?"]
SECONDS = [10.0, 3.0, 0.6, 7.25]


def options(**changes: Any) -> GenerateOptions:
    return GenerateOptions(**{"max_new_tokens": 8, "num_beams": 1, **changes})


@pytest.fixture(scope="module")
def waveforms() -> list[np.ndarray]:
    noise = np.random.default_rng(0)
    return [noise.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32) for seconds in SECONDS]


@pytest.fixture(scope="module")
def requests_(toy_model: Any, waveforms: list[np.ndarray]) -> list[Request]:
    vectors = Generator(toy_model, options()).encode(waveforms)
    return [
        Request(prompts.build(question), (vector,), f"{place}")
        for place, (question, vector) in enumerate(zip(QUESTIONS * 2, [*vectors, *vectors[:2]], strict=True))
    ]


def test_encoding_alone_and_in_a_batch_is_the_same(toy_model: Any, waveforms: list[np.ndarray]) -> None:
    generator = Generator(toy_model, options(), batch_size=3)
    together = generator.encode(waveforms)
    for waveform, vectors in zip(waveforms, together, strict=True):
        (alone,) = generator.encode([waveform])
        torch.testing.assert_close(alone, vectors, rtol=0, atol=2e-5)
        assert len(vectors) == toy_model.config.audio_tokens(toy_model.config.padded_samples(len(waveform)))


def test_a_millisecond_more_than_a_length_is_heard_as_that_length(
    toy_model: Any, waveforms: list[np.ndarray]
) -> None:
    length = toy_model.config.padded_samples(1)
    waveform = np.resize(waveforms[0], length + 16)
    exact, over = Generator(toy_model, options()).encode([waveform[:length], waveform])
    torch.testing.assert_close(over, exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("beams", [1, 2])
@given(order=st.permutations(range(6)), batch_size=st.integers(1, 6))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_M4_batch_and_order_never_show(
    beams: int, order: list[int], batch_size: int, toy_model: Any, requests_: list[Request]
) -> None:
    alone = Generator(toy_model, options(num_beams=beams), batch_size=1).answer(requests_)
    mixed = Generator(toy_model, options(num_beams=beams), batch_size=batch_size).answer(
        [requests_[place] for place in order]
    )
    for place, answer in zip(order, mixed, strict=True):
        assert answer.token_ids == alone[place].token_ids
        assert answer.mean_log_probability == pytest.approx(alone[place].mean_log_probability, abs=1e-4)


def test_random_answers_have_a_stream_of_their_own(toy_model: Any, requests_: list[Request]) -> None:
    chosen = options(do_sample=True, temperature=1.5, top_p=0.95)
    together = Generator(toy_model, chosen, batch_size=6).answer(requests_)
    alone = [Generator(toy_model, chosen).answer([request])[0] for request in requests_]
    assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]
    other = Generator(toy_model, options(do_sample=True, temperature=1.5, seed=1)).answer(requests_)
    assert [answer.token_ids for answer in other] != [answer.token_ids for answer in together]


def test_sampling_follows_the_probabilities(toy_model: Any, requests_: list[Request]) -> None:
    """First tokens of many draws against the model's own distribution (chi-square on the likeliest ones)."""
    request = requests_[0]
    draws = 600
    chosen = options(do_sample=True, temperature=1.0, max_new_tokens=1)
    generator = Generator(toy_model, chosen, batch_size=200)
    answers = generator.answer([Request(request.prompt, request.audio, str(draw)) for draw in range(draws)])
    rows = generator.embed(request)[None]
    with torch.no_grad():
        expected = toy_model(inputs_embeds=rows).logits[0, -1].softmax(dim=0).numpy() * draws
    counts = np.bincount([answer.token_ids[0] for answer in answers], minlength=len(expected))
    common = expected > 5
    statistic = (((counts - expected) ** 2) / np.maximum(expected, 1e-9))[common].sum()
    assert statistic < common.sum() + 5 * math.sqrt(2 * common.sum())


def test_a_narrow_nucleus_is_greedy(toy_model: Any, requests_: list[Request]) -> None:
    greedy = Generator(toy_model, options()).answer(requests_)
    narrow = Generator(toy_model, options(do_sample=True, top_p=1e-6)).answer(requests_)
    assert [answer.token_ids for answer in narrow] == [answer.token_ids for answer in greedy]


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_M7_log_probabilities_are_those_of_the_model(
    beams: int, toy_model: Any, requests_: list[Request]
) -> None:
    generator = Generator(toy_model, options(num_beams=beams))
    for request, answer in zip(requests_, generator.answer(requests_), strict=True):
        losses = answer_loss(toy_model, [generator.embed(request)], [answer.token_ids])
        assert answer.mean_log_probability == pytest.approx(-float(losses.loss), abs=1e-4)
        assert answer.confidence == pytest.approx(math.exp(answer.mean_log_probability))


def test_M5_every_row_stops_at_its_own_end(
    toy_model: Any, requests_: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = Generator(toy_model, options())
    whole = generator.answer(requests_)
    end = whole[1].token_ids[2]
    monkeypatch.setattr(toy_model.generation_config, "eos_token_id", [end])
    for before, after in zip(whole, generator.answer(requests_), strict=True):
        expected = before.token_ids
        if end in expected:
            expected = expected[: expected.index(end) + 1]
        assert after.token_ids == expected
        assert len(after.log_probabilities) == len(expected)


def test_max_new_tokens(toy_model: Any, requests_: list[Request]) -> None:
    assert all(
        len(answer.token_ids) <= 3
        for answer in Generator(toy_model, options(max_new_tokens=3)).answer(requests_)
    )


def test_running_out_of_memory_halves_the_batch_once(
    toy_model: Any,
    requests_: list[Request],
    waveforms: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = Generator(toy_model, options()).answer(requests_)
    original = toy_model.language_model.generate

    def limited(**arguments: Any) -> Any:
        if len(arguments["inputs_embeds"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(**arguments)

    monkeypatch.setattr(toy_model.language_model, "generate", limited)
    generator = Generator(toy_model, options(), batch_size=5)
    with caplog.at_level(logging.WARNING):
        answers = generator.answer(requests_)
        generator.answer(requests_)
    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in expected]
    assert generator.batch_size == 2
    assert len([record for record in caplog.records if "out of memory" in record.message]) == 1


def test_a_single_row_that_does_not_fit_is_an_error(
    toy_model: Any, requests_: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(**_: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(toy_model.language_model, "generate", never)
    with pytest.raises(OutOfMemoryError, match="single window"):
        Generator(toy_model, options(), batch_size=4).answer(requests_)


def test_other_errors_pass_through(
    toy_model: Any, requests_: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(toy_model.language_model, "generate", broken)
    with pytest.raises(RuntimeError, match="something else"):
        Generator(toy_model, options()).answer(requests_)


def test_M8_placeholders_and_clips_must_agree(toy_model: Any, requests_: list[Request]) -> None:
    vector = requests_[0].audio[0]
    with pytest.raises(PromptError, match="1 <AudioHere> for 2 audio clips"):
        Generator(toy_model, options()).answer([Request(prompts.build("What?"), (vector, vector))])


def test_two_clips_in_one_question(toy_model: Any, requests_: list[Request]) -> None:
    first, second = requests_[0].audio[0], requests_[1].audio[0]
    prompt = prompts.build("<AudioHere> and <AudioHere>: the same?", clips=2)
    generator = Generator(toy_model, options())
    one, other = generator.answer([Request(prompt, (first, second)), Request(prompt, (second, first))])
    assert one.mean_log_probability != pytest.approx(other.mean_log_probability, abs=1e-7)
