"""Prompts, losses and generated ids against the official release in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from naturelm_audio import prompts
from naturelm_audio.generate import Generated, Generator, Request
from naturelm_audio.options import GenerateOptions
from naturelm_audio.sequence import answer_loss, embed_prompt, target_ids, text_ids

Check = Callable[..., None]
ROWS = {"chirp10": 0, "chirp5pad": 1, "frog": 2, "lazuli": 3}
SINGLES = {
    "single0": ("chirp10", 0),
    "single1": ("frog", 1),
    "single2": ("lazuli", 2),
    "single_frog_P0": ("frog", 0),
}


@pytest.fixture(scope="module")
def vectors(arrays: Any, micro: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(micro.get_audio_features(torch.from_numpy(arrays["batch_wav"])).pooler_output)


def request(facts: dict[str, Any], vectors: list[torch.Tensor], row: str, prompt: int) -> Request:
    return Request(facts["prompts"][prompt], (vectors[ROWS[row]],))


def options(**changes: Any) -> GenerateOptions:
    return GenerateOptions(**{"max_new_tokens": 24, "num_beams": 1, **changes})


def test_prompt_ids(facts: dict[str, Any], micro: Any) -> None:
    for prompt, ids in zip(facts["prompts"], facts["prompt_part_ids"], strict=True):
        assert [list(piece) for piece in text_ids(micro.tokenizer, prompt)] == ids


def test_prompts_are_the_official_ones(facts: dict[str, Any]) -> None:
    for prompt in facts["prompts"]:
        query = prompt.split("user<|end_header_id|>\n\n")[1].split("<|eot_id|>")[0]
        assert prompts.build(query) == prompt
        assert prompts.build(query.removeprefix("<Audio><AudioHere></Audio> ")) == prompt


@pytest.mark.parametrize(
    ("case", "rows"),
    [
        ("fwd_f32", ["frog", "chirp5pad"]),
        ("fwd_f32_single0", ["frog"]),
        ("fwd_f32_single1", ["chirp5pad"]),
        ("fwd_f32_maxtxt6", ["frog", "chirp5pad"]),
    ],
)
@torch.no_grad()
def test_losses(
    case: str, rows: list[str], arrays: Any, facts: dict[str, Any], micro: Any, check: Check
) -> None:
    padding = torch.from_numpy(np.unpackbits(arrays["batch_padding_mask"], axis=1).astype(bool))
    places = [ROWS[row] for row in rows]
    waveforms = torch.from_numpy(arrays["batch_wav"])[places]
    audio = micro.get_audio_features(waveforms, ~padding[places]).pooler_output
    filled = [prompts.TEMPLATE.replace("{}", prompt) for prompt in facts[f"{case}/prompt"]]
    embedded = [embed_prompt(micro, prompt, [clip]) for prompt, clip in zip(filled, audio, strict=True)]
    longest = 6 if "maxtxt6" in case else 160
    targets = [
        target_ids(micro.tokenizer, text, "<|end_of_text|>", longest, keep_end=False)
        for text in facts[f"{case}/text"]
    ]
    ours = answer_loss(micro, embedded, targets)
    check(f"{case}: labels", ours.labels, arrays[f"{case}/labels"], 0.0)
    real = arrays[f"{case}/attention_mask"].astype(bool)
    check(f"{case}: logits", ours.logits[torch.from_numpy(real)], arrays[f"{case}/logits"][real], 1e-3)
    check(f"{case}: loss", ours.loss, arrays[f"{case}/loss"], 1e-4)
    check(f"{case}: loss per example", ours.per_example_loss, arrays[f"{case}/per_example_loss"], 1e-4)
    check(f"{case}: right tokens", ours.correct, arrays[f"{case}/correct_per_sample"], 0.0)
    check(f"{case}: target tokens", ours.total, arrays[f"{case}/total_per_sample"], 0.0)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("case", SINGLES)
def test_single_answers(
    case: str,
    beams: int,
    arrays: Any,
    facts: dict[str, Any],
    micro: Any,
    vectors: list[torch.Tensor],
    check: Check,
) -> None:
    generator = Generator(micro, options(num_beams=beams))
    (answer,) = generator.answer([request(facts, vectors, *SINGLES[case])])
    stored = f"gen/f32/{case}/beams{beams}"
    check(f"{case}, {beams} beams: ids", list(answer.token_ids), arrays[f"{stored}/ids"][0], 0.0)
    if beams == 1:
        scores = torch.from_numpy(arrays[f"{stored}/scores"][0]).log_softmax(dim=1)
        expected = scores.gather(1, torch.from_numpy(arrays[f"{stored}/ids"][0])[:, None])[:, 0]
        check(f"{case}, greedy: log-probabilities", list(answer.log_probabilities), expected, 1e-3)
    else:
        check(
            f"{case}, beams: score",
            answer.mean_log_probability,
            arrays[f"{stored}/sequences_scores"][0],
            1e-4,
        )


def test_penalties(
    arrays: Any, facts: dict[str, Any], micro: Any, vectors: list[torch.Tensor], check: Check
) -> None:
    generator = Generator(micro, options(num_beams=2, repetition_penalty=1.2, length_penalty=0.5))
    (answer,) = generator.answer([request(facts, vectors, "chirp10", 0)])
    stored = "gen/f32/single0/beams2_rep1.2_len0.5"
    check("penalties: ids", list(answer.token_ids), arrays[f"{stored}/ids"][0], 0.0)
    score = sum(answer.log_probabilities) / len(answer.token_ids) ** 0.5
    check("penalties: score", score, arrays[f"{stored}/sequences_scores"][0], 1e-4)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_M4_a_batch_answers_like_its_rows_alone(
    batch_size: int,
    beams: int,
    arrays: Any,
    facts: dict[str, Any],
    micro: Any,
    vectors: list[torch.Tensor],
    check: Check,
) -> None:
    names = ["single2", "single1", "single0", "single_frog_P0"]
    generator = Generator(micro, options(num_beams=beams), batch_size=batch_size)
    answers = generator.answer([request(facts, vectors, *SINGLES[name]) for name in names])
    for name, answer in zip(names, answers, strict=True):
        expected = arrays[f"gen/f32/{name}/beams{beams}/ids"][0]
        check(f"batches of {batch_size}, {beams} beams, {name}: ids", list(answer.token_ids), expected, 0.0)


def test_M3_merging_alpha_leaves_no_trace(
    arrays: Any, facts: dict[str, Any], micro: Any, vectors: list[torch.Tensor], check: Check
) -> None:
    generator = Generator(micro, options())

    def ids(alpha: float) -> list[int]:
        answers: list[Generated] = generator.answer(
            [request(facts, vectors, "chirp10", 0)], options(merging_alpha=alpha)
        )
        return list(answers[0].token_ids)

    whole, half = arrays["gen/f32/merge_before_alpha1.0/ids"][0], arrays["gen/f32/merge_alpha0.5/ids"][0]
    check("merging_alpha 1.0: ids", ids(1.0), whole, 0.0)
    check("merging_alpha 0.5: ids", ids(0.5), half, 0.0)
    check("merging_alpha 1.0 after 0.5: ids", ids(1.0), whole, 0.0)
