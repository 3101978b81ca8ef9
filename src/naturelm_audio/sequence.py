"""One row of positions for the LLM: BOS, text and audio in turn, and in training the answer behind it.

Symbols: S positions, D width of the LLM, B rows, V vocabulary.
Source: model card and paper, section 4.1; only the answer and its end symbol are learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from naturelm_audio import prompts
from naturelm_audio.errors import PromptError
from naturelm_audio.model.naturelm import NatureLMForConditionalGeneration

__all__ = ["AnswerLoss", "answer_loss", "embed_prompt", "target_ids", "text_ids"]

IGNORED = -100


def text_ids(tokenizer: Any, prompt: str) -> tuple[tuple[int, ...], ...]:
    """Ids of the text around the placeholders: n of them give n + 1 tuples, some perhaps empty.

    Each piece is tokenised on its own, without added special tokens, so that no merge crosses a placeholder.
    """
    return tuple(
        tuple(tokenizer(piece, add_special_tokens=False)["input_ids"]) if piece else ()
        for piece in prompts.pieces(prompt)
    )


def embed_prompt(
    model: NatureLMForConditionalGeneration,
    prompt: str,
    audio: Sequence[Tensor],
    texts: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """The prompt's positions (S, D): BOS once, then text and audio vectors in turn.

    Args:
        model: model with its ``tokenizer``.
        prompt: filled template with one placeholder per clip.
        audio: vectors (tokens, D) of each clip.
        texts: what :func:`text_ids` gave for the prompt, if it's known already.

    Raises:
        PromptError: placeholders and clips differ in number.
    """
    texts = text_ids(model.tokenizer, prompt) if texts is None else texts
    if len(texts) - 1 != len(audio):
        raise PromptError(
            f"the prompt has {len(texts) - 1} {prompts.AUDIO_TOKEN} for {len(audio)} audio clips"
        )
    parts: list[Sequence[int] | Tensor] = [[model.tokenizer.bos_token_id], texts[0]]
    for vectors, text in zip(audio, texts[1:], strict=True):
        parts += [vectors, text]
    return torch.cat([_embed(model, part) for part in parts if len(part)])


def _embed(model: NatureLMForConditionalGeneration, part: Sequence[int] | Tensor) -> Tensor:
    table: Any = model.get_input_embeddings()
    if isinstance(part, Tensor):
        return part.to(table.weight.dtype)
    return table(torch.tensor(list(part), dtype=torch.long, device=table.weight.device))


def target_ids(
    tokenizer: Any, text: str, end_symbol: str, max_tokens: int, *, keep_end: bool = True
) -> list[int]:
    """Ids of the answer and its end symbol, at most ``max_tokens``.

    Args:
        tokenizer: of the model.
        text: the answer.
        end_symbol: what the model is to say last.
        max_tokens: a longer target is cut on the right.
        keep_end: cut the text and keep the end symbol; False cuts both as the official code does.
    """
    ids: list[int] = tokenizer(text + end_symbol, add_special_tokens=False)["input_ids"]
    if len(ids) <= max_tokens:
        return ids
    if not keep_end:
        return ids[:max_tokens]
    end: list[int] = tokenizer(end_symbol, add_special_tokens=False)["input_ids"]
    return (ids[: max(max_tokens - len(end), 0)] + end)[:max_tokens]


@dataclass(frozen=True, eq=False)
class AnswerLoss:
    """Losses of a batch of answers. Counts are of target tokens.

    ``loss`` is the mean over all target tokens of the batch, ``per_example_loss`` (B,) over each row's own;
    ``correct`` and ``total`` (B,) count tokens whose arg max is right, and all; ``logits`` (B, S, V);
    ``labels`` (B, S).
    """

    loss: Tensor
    per_example_loss: Tensor
    correct: Tensor
    total: Tensor
    logits: Tensor
    labels: Tensor


def answer_loss(
    model: NatureLMForConditionalGeneration, rows: Sequence[Tensor], targets: Sequence[Sequence[int]]
) -> AnswerLoss:
    """Cross-entropy of ``targets`` behind the prompts ``rows`` (each (S, D) from :func:`embed_prompt`).

    Rows are padded on the right with zeros; a row's loss doesn't depend on its batch.
    """
    full = [torch.cat((row, _embed(model, target))) for row, target in zip(rows, targets, strict=True)]
    longest = max(len(row) for row in full)
    device = full[0].device
    embeddings = torch.stack([functional.pad(row, (0, 0, 0, longest - len(row))) for row in full])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in full], device=device)
    labels = torch.full((len(full), longest), IGNORED, device=device)
    for row, (prompt, target) in enumerate(zip(rows, targets, strict=True)):
        labels[row, len(prompt) : len(prompt) + len(target)] = torch.tensor(list(target), device=device)
    logits = model(inputs_embeds=embeddings, attention_mask=mask).logits
    return _losses(logits, labels, mask)


def _losses(logits: Tensor, labels: Tensor, mask: Tensor) -> AnswerLoss:
    wanted, said = labels[:, 1:], logits[:, :-1]
    counted = (wanted != IGNORED) & (mask[:, 1:] == 1)
    each = functional.cross_entropy(
        said.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(wanted)
    total = counted.sum(dim=1)
    return AnswerLoss(
        loss=each.sum() / total.sum().clamp_min(1),
        per_example_loss=each.sum(dim=1) / total.clamp_min(1),
        correct=((said.argmax(dim=2) == wanted) & counted).sum(dim=1),
        total=total,
        logits=logits,
        labels=labels,
    )
