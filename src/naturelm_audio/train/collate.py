"""Samples -> the tensors of a batch: prompts as at inference with slots for audio, answers behind them.

Symbols: B rows, S positions, A clips, N samples of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from naturelm_audio import prompts
from naturelm_audio.model import NatureLMConfig
from naturelm_audio.sequence import IGNORED, target_ids, text_ids
from naturelm_audio.train.draws import Sample, Unreadable

__all__ = ["Collator", "model_inputs", "padded", "take_unreadable"]

UNREADABLE = "unreadable"


class Collator:
    """Makes the batch of a list of samples.

    Args:
        config: of the model.
        tokenizer: of the model.
        max_answer_tokens: a longer answer is cut, its end symbol kept.
    """

    def __init__(self, config: NatureLMConfig, tokenizer: Any, max_answer_tokens: int) -> None:
        self.config, self.tokenizer, self.max_answer_tokens = config, tokenizer, max_answer_tokens
        self._texts = lru_cache(maxsize=4096)(lambda prompt: text_ids(tokenizer, prompt))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs; it keeps a memory of its own."""
        return {
            "config": self.config,
            "tokenizer": self.tokenizer,
            "max_answer_tokens": self.max_answer_tokens,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`__getstate__` gave."""
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return ``input_ids``, ``attention_mask`` and ``labels`` (B, S), ``input_values`` (A, N), and a list
        of rows that couldn't be read.
        """
        rows = [
            self.ids(sample.prompt, sample.text, [len(clip) for clip in sample.clips]) for sample in samples
        ]
        input_ids, labels, mask = padded(rows, int(self.tokenizer.eos_token_id))
        clips = np.stack([clip for sample in samples for clip in sample.clips])
        return {
            "input_ids": input_ids,
            "attention_mask": mask,
            "labels": labels,
            "input_values": torch.from_numpy(clips),
            UNREADABLE: [(one.row, one.reason) for sample in samples for one in sample.unreadable],
        }

    def ids(self, prompt: str, text: str, clip_samples: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the ids of a prompt, slots for clips of these lengths included, and of its answer."""
        template = self.config.prompt_template
        texts = self._texts(prompts.build(prompt, clips=len(clip_samples), template=template))
        ids = [int(self.tokenizer.bos_token_id), *texts[0]]
        for samples, piece in zip(clip_samples, texts[1:], strict=True):
            ids += [self.config.audio_token_id] * self.config.audio_tokens(samples) + list(piece)
        return ids, target_ids(self.tokenizer, text, self.config.end_symbol, self.max_answer_tokens)


def padded(rows: Sequence[tuple[list[int], list[int]]], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, labels (-100 outside the answers) and attention mask (B, S) of prompts and answers.

    Rows are padded on the right, where the causal mask hides it.
    """
    shape = (len(rows), max(len(prompt) + len(target) for prompt, target in rows))
    input_ids, labels = torch.full(shape, pad_id), torch.full(shape, IGNORED)
    mask = torch.zeros(shape, dtype=torch.long)
    for place, (prompt, target) in enumerate(rows):
        ids = torch.tensor(prompt + target)
        input_ids[place, : len(ids)] = ids
        mask[place, : len(ids)] = 1
        labels[place, len(prompt) : len(ids)] = ids[len(prompt) :]
    return input_ids, labels, mask


def model_inputs(batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return what the model's ``forward`` takes to give scores for the answers' tokens and few others."""
    labels = batch["labels"]
    answered = (labels != IGNORED).long()
    first = int(answered.argmax(dim=1).min())
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "input_values")}
    # A token is said by the scores at the position before it.
    return inputs | {"logits_to_keep": labels.shape[1] - first + 1}


def take_unreadable(batch: dict[str, Any]) -> list[Unreadable]:
    """Take the list of rows that couldn't be read out of a batch, and return it."""
    return [Unreadable(int(row), str(reason)) for row, reason in batch.pop(UNREADABLE, ())]
