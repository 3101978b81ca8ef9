"""Rows of positions, targets and losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from naturelm_audio import prompts
from naturelm_audio.errors import PromptError
from naturelm_audio.sequence import IGNORED, answer_loss, embed_prompt, target_ids, text_ids

TOKENIZER = toys.tokenizer()
BOS, END = TOKENIZER.bos_token_id, TOKENIZER.convert_tokens_to_ids(toys.END)
WORDS = st.text(max_size=12).filter(lambda text: "<" not in text and "|" not in text)
ANSWERS = ["Green Treefrog", "a", "", "two birds and a cricket"]


@pytest.fixture(scope="module")
def model() -> Any:
    return toys.model(lora_rank=2)


def vectors(clips: int, tokens: int = 2, seed: int = 0) -> list[Tensor]:
    return list(torch.randn(clips, tokens, 16, generator=torch.Generator().manual_seed(seed)))


def plain(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


# --- prompts ---------------------------------------------------------------------------------------


@given(texts=st.lists(WORDS, min_size=1, max_size=5))
def test_M8_every_piece_is_tokenised_on_its_own(texts: list[str]) -> None:
    found = text_ids(TOKENIZER, prompts.AUDIO_TOKEN.join(texts))
    assert [list(piece) for piece in found] == [plain(text) for text in texts]
    assert BOS not in [token for piece in found for token in piece]


def test_special_tokens_in_the_template_are_recognised() -> None:
    head, tail = text_ids(TOKENIZER, prompts.build("?"))
    assert head[0] == TOKENIZER.convert_tokens_to_ids("<|start_header_id|>")
    assert tail.count(TOKENIZER.eos_token_id) == 1


@torch.no_grad()
@given(texts=st.lists(WORDS, min_size=1, max_size=4))
def test_M8_rows_are_bos_then_text_and_audio_in_turn(model: Any, texts: list[str]) -> None:
    clips = vectors(len(texts) - 1)
    row = embed_prompt(model, prompts.AUDIO_TOKEN.join(texts), clips)
    table = model.get_input_embeddings().weight
    expected = [table[[BOS]], table[plain(texts[0])]]
    for clip, text in zip(clips, texts[1:], strict=True):
        expected += [clip, table[plain(text)]]
    assert torch.equal(row, torch.cat(expected))


@torch.no_grad()
def test_ids_that_are_known_are_not_made_again(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, clips = prompts.build("Who?"), vectors(1)
    row = embed_prompt(model, prompt, clips)
    assert torch.equal(embed_prompt(model, "", clips, text_ids(TOKENIZER, prompt)), row)


@pytest.mark.parametrize(("placeholders", "clips"), [(0, 1), (1, 0), (2, 1), (1, 2)])
def test_M8_placeholders_and_clips_are_counted(model: Any, placeholders: int, clips: int) -> None:
    with pytest.raises(PromptError, match=f"{placeholders} <AudioHere> for {clips} audio clips"):
        embed_prompt(model, "a" + prompts.AUDIO_TOKEN * placeholders, vectors(clips))


@torch.no_grad()
def test_M6_vectors_are_cast_to_the_language_models_dtype() -> None:
    half = toys.model().to(torch.bfloat16)
    assert embed_prompt(half, prompts.build("Who?"), vectors(1)).dtype == torch.bfloat16


# --- targets ---------------------------------------------------------------------------------------


@given(text=WORDS, most=st.integers(1, 20))
def test_M14_a_target_keeps_its_end_symbol(text: str, most: int) -> None:
    whole = [*plain(text), END]
    ids = target_ids(TOKENIZER, text, toys.END, most)
    assert len(ids) == min(most, len(whole))
    assert ids[-1] == END
    assert ids[:-1] == whole[: len(ids) - 1]


@given(text=WORDS, most=st.integers(1, 20))
def test_M14_or_lacks_it_when_asked_as_the_official_code(text: str, most: int) -> None:
    whole = [*plain(text), END]
    assert target_ids(TOKENIZER, text, toys.END, most, keep_end=False) == whole[:most]


def test_an_end_symbol_of_several_tokens_is_kept_whole() -> None:
    ids = target_ids(TOKENIZER, "a long answer", "</s>", 6)
    assert TOKENIZER.decode(ids) == "a </s>"
    for most in (4, 3, 1):
        assert target_ids(TOKENIZER, "a long answer", "</s>", most) == plain("</s>")[:most], (
            "never more than most"
        )


# --- losses ----------------------------------------------------------------------------------------


def batch(model: Any, answers: list[str] = ANSWERS) -> tuple[list[Tensor], list[list[int]]]:
    rows = [
        embed_prompt(model, prompts.build("Who" + "?" * (7 * place % 5)), vectors(1, seed=place))
        for place in range(len(answers))
    ]
    return rows, [target_ids(TOKENIZER, answer, toys.END, 160) for answer in answers]


@torch.no_grad()
def test_only_answers_and_their_ends_are_labels(model: Any) -> None:
    rows, targets = batch(model)
    result = answer_loss(model, rows, targets)
    longest = max(len(row) + len(target) for row, target in zip(rows, targets, strict=True))
    assert result.labels.shape == (4, longest)
    assert result.logits.shape[:2] == (4, longest)
    for labels, row, target in zip(result.labels.tolist(), rows, targets, strict=True):
        padding = longest - len(row) - len(target)
        assert labels == [IGNORED] * len(row) + target + [IGNORED] * padding, "padded on the right"
    assert result.total.tolist() == [len(target) for target in targets]


@torch.no_grad()
def test_losses_are_means_over_each_rows_and_all_tokens(model: Any) -> None:
    rows, targets = batch(model)
    result = answer_loss(model, rows, targets)
    table = model.get_input_embeddings().weight
    sums, right = [], []
    for row, target in zip(rows, targets, strict=True):
        whole = torch.cat((row, table[target]))[None]
        logits = model.language_model(inputs_embeds=whole).logits[0, len(row) - 1 : -1]
        sums.append(functional.cross_entropy(logits, torch.tensor(target), reduction="sum"))
        right.append(int((logits.argmax(1) == torch.tensor(target)).sum()))
    counts = torch.tensor([len(target) for target in targets])
    torch.testing.assert_close(result.per_example_loss, torch.stack(sums) / counts, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.loss, sum(sums) / counts.sum(), rtol=1e-5, atol=1e-5)
    assert result.correct.tolist() == right


@torch.no_grad()
@settings(max_examples=30)
@given(places=st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_a_rows_loss_does_not_depend_on_its_batch(model: Any, places: list[int]) -> None:
    rows, targets = batch(model)
    together = answer_loss(model, [rows[place] for place in places], [targets[place] for place in places])
    for row, place in enumerate(places):
        alone = answer_loss(model, [rows[place]], [targets[place]])
        torch.testing.assert_close(together.per_example_loss[row], alone.loss, rtol=0, atol=1e-5)
        assert together.correct[row] == alone.correct[0]


@torch.no_grad()
def test_a_row_without_a_target_costs_nothing(model: Any) -> None:
    rows, targets = batch(model, ["a", "b"])
    result = answer_loss(model, rows, [targets[0], []])
    assert result.per_example_loss[1] == 0
    assert result.total.tolist() == [2, 0]
    torch.testing.assert_close(result.loss, result.per_example_loss[0])
    assert answer_loss(model, rows[:1], [[]]).loss == 0


def test_gradients_reach_the_audio(model: Any) -> None:
    clip = vectors(1)[0].requires_grad_()
    row = embed_prompt(model, prompts.build("Who?"), [clip])
    answer_loss(model, [row], [[1, 2, END]]).loss.backward()
    assert clip.grad is not None
    assert (clip.grad.abs().sum(1) > 0).all()
    model.zero_grad()


@torch.no_grad()
def test_the_loss_equals_that_of_forward_with_labels(model: Any) -> None:
    rows, targets = batch(model, ["Green Treefrog"])
    result = answer_loss(model, rows, targets)
    whole = torch.cat((rows[0], model.get_input_embeddings().weight[targets[0]]))[None]
    torch.testing.assert_close(model(inputs_embeds=whole, labels=result.labels).loss, result.loss)
