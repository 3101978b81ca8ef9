"""A closed list of labels -> the log-likelihood of each as the answer, behind one prompt that all share.

The prompt with its audio goes through the language model once. The labels follow as a tree of tokens: what
they have in common at their start is one branch, and each token sees the prompt and its own branch alone
(a mask of its own for every token), so one pass scores hundreds of labels and no part of the prompt is
computed or copied per label.

The end symbol counts: it is what makes "owl" and "owl monkey" different answers. With it the likelihoods are
those of whole answers, which exclude each other and sum to at most 1; without it a label that begins another
one could never be less likely than it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from naturelm_audio.errors import LabelError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.model.lora import merging_alpha
from naturelm_audio.sequence import target_ids

__all__ = ["LabelScorer", "probabilities"]

# Tokens of the tree in one pass. Each pays for the prompt and for all others of its pass, so that more of
# them save passes and cost attention.
TOKENS_AT_ONCE = 256
LOGITS_AT_ONCE = 2**23  # per row: 32 MiB in float32
SMALLEST_PASS = 32


@dataclass(frozen=True, eq=False)
class _Tree:
    """Some labels as a tree of N tokens with E steps: from the prompt to a token, or from one to the next.

    ``tokens`` and ``depths`` (N,); ``sees`` (N, N): a token sees itself and what is before it on its branch.
    Step e asks for the probability of ``step_tokens[e]`` behind the tree's token ``step_from[e]``, or behind
    the prompt where that is -1. Label l consists of the steps ``paths[starts[l]:starts[l + 1]]``; ``labels``
    are their places in the list.
    """

    tokens: Tensor
    depths: Tensor
    sees: Tensor
    step_from: Tensor
    step_tokens: Tensor
    paths: np.ndarray
    starts: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class _Prompts:
    """Prompts of B requests, padded on the left to P positions, as the language model remembers them.

    ``layers``: keys and values of each layer; ``mask`` (B, P), ``lengths`` (B,), ``logits`` (B, V) of what
    follows the prompt.
    """

    layers: list[tuple[Tensor, Tensor]]
    mask: Tensor
    lengths: Tensor
    logits: Tensor


class LabelScorer:
    """Scores every label of a list as the answer to requests.

    ``label_tokens`` are the tokens of each, the end symbol among them: by them a likelihood becomes the mean
    per token. A label may be there twice; it then has the same score twice. The blank label stands for an
    answer without words.

    Args:
        generator: of the model; its batch size is the number of requests worked on at once.
        labels: as the model would say them.
        tokens_at_once: of the labels in one pass; None chooses.

    Raises:
        LabelError: no labels, or one with a control token of the model.
    """

    def __init__(
        self, generator: Generator, labels: Sequence[str], *, tokens_at_once: int | None = None
    ) -> None:
        if not labels:
            raise LabelError("the list of labels is empty: give at least one")
        self.labels = tuple(labels)
        self._generator = generator
        model = generator.model
        fitting = LOGITS_AT_ONCE // int(model.config.text_config.vocab_size)
        at_once = tokens_at_once or min(max(fitting, SMALLEST_PASS), TOKENS_AT_ONCE)
        special = frozenset(model.tokenizer.all_special_ids)
        end = model.config.end_symbol
        ids = [_label_ids(model.tokenizer, label, end, special) for label in self.labels]
        self.label_tokens = tuple(map(len, ids))
        self._trees = [_tree(ids, places, model.device) for places in _packed(ids, at_once)]

    @property
    def token_count(self) -> int:
        """Tokens that go through the language model for each request, besides its prompt."""
        return sum(len(tree.tokens) for tree in self._trees)

    @torch.inference_mode()
    def log_likelihoods(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """For each request (labels,) float64: log p(label and end symbol | prompt with its audio).

        The same for any batch and any order of requests and labels, up to the rounding of the model's number
        format.

        Raises:
            PromptError: placeholders and clips of a request differ in number.
            OutOfMemoryError: one request alone is too large.
        """
        rows = [self._generator.embed(request) for request in requests]
        # Rows of like length share a batch: less padding to compute. The order never shows in the scores.
        order = sorted(range(len(rows)), key=lambda row: rows[row].shape[0])
        alpha = self._generator.options.merging_alpha
        model = self._generator.model.language_model

        def score() -> list[np.ndarray]:
            with torch.inference_mode(), merging_alpha(model, alpha), _own_masks(model):
                return self._generator.in_batches(
                    order, lambda batch: self._score([rows[row] for row in batch])
                )

        scores = self._generator.exclusively(score)
        placed = dict(zip(order, scores, strict=True))
        return [placed[row] for row in range(len(rows))]

    def _score(self, rows: list[Tensor]) -> list[np.ndarray]:
        """Scores of one batch of prompts, each (S, D)."""
        remembered = self._remember(rows)
        scores = np.empty((len(rows), len(self.labels)))
        for tree in self._trees:
            steps = self._steps(remembered, tree).double().cpu().numpy()
            scores[:, tree.labels] = np.add.reduceat(steps[:, tree.paths], tree.starts, axis=1)
        return list(scores)

    def _remember(self, rows: list[Tensor]) -> _Prompts:
        lengths = torch.tensor([row.shape[0] for row in rows], device=rows[0].device)
        longest = int(lengths.max())
        embeddings = torch.stack(
            [torch.nn.functional.pad(row, (0, 0, longest - row.shape[0], 0)) for row in rows]
        )
        places = torch.arange(longest, device=lengths.device) - (longest - lengths[:, None])
        output = self._generator.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=(places >= 0).long(),
            position_ids=places.clamp_min(0),
            past_key_values=DynamicCache(),
            use_cache=True,
            logits_to_keep=1,
        )
        layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        return _Prompts(layers, places >= 0, lengths, output.logits[:, -1].float())

    def _steps(self, remembered: _Prompts, tree: _Tree) -> Tensor:
        """Log-probabilities (B, E) of the tree's steps."""
        root = remembered.logits
        values = (root - root.logsumexp(dim=1, keepdim=True))[:, tree.step_tokens]
        if len(tree.tokens):
            logits = self._pass(remembered, tree).float()
            chosen = logits[:, tree.step_from, tree.step_tokens]
            inner = chosen - logits.logsumexp(dim=2)[:, tree.step_from]
            values = torch.where(tree.step_from >= 0, inner, values)
        return values

    def _pass(self, remembered: _Prompts, tree: _Tree) -> Tensor:
        """Logits (B, N, V) behind each token of the tree."""
        batch = len(remembered.lengths)
        # A cache of its own for each pass: it grows by the tree's tokens, which no other tree may see.
        cache = DynamicCache()
        for number, (keys, values) in enumerate(remembered.layers):
            cache.update(keys, values, number)
        dtype = remembered.layers[0][0].dtype
        sees = torch.cat(
            (
                remembered.mask[:, None, None, :].expand(-1, -1, len(tree.tokens), -1),
                tree.sees.expand(batch, 1, -1, -1),
            ),
            dim=3,
        )
        hidden = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
        return self._generator.model.language_model(
            input_ids=tree.tokens.expand(batch, -1),
            attention_mask=hidden.masked_fill(~sees, torch.finfo(dtype).min),
            position_ids=remembered.lengths[:, None] + tree.depths,
            past_key_values=cache,
            use_cache=True,
        ).logits


def probabilities(log_likelihoods: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Softmax of (..., labels) over the last axis, sums to 1: how likely each label is if it is one of them.

    Args:
        log_likelihoods: of whole answers.
        temperature: above 1 levels, below 1 sharpens; :mod:`naturelm_audio.calibration` fits it.

    Raises:
        ValueError: the temperature is not a positive finite number.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"a temperature must be positive and finite, not {temperature}")
    scaled = np.asarray(log_likelihoods, dtype=np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _label_ids(tokenizer: Any, label: str, end_symbol: str, special: frozenset[int]) -> tuple[int, ...]:
    """Ids of the label and the end symbol, cut exactly as an answer is in training."""
    ids = tuple(target_ids(tokenizer, label, end_symbol, max_tokens=2**31))
    if special.intersection(ids[:-1]):
        found = tokenizer.convert_ids_to_tokens(next(token for token in ids if token in special))
        raise LabelError(f"the label {label!r} has the model's control token {found}: take it out")
    return ids


def _packed(ids: Sequence[tuple[int, ...]], tokens_at_once: int) -> Iterator[list[int]]:
    """Places of labels that go into one tree of at most so many tokens, or of one longer label.

    Sorted, so that labels with a common start are neighbours and the trees don't depend on the list's order.
    """
    packed: list[int] = []
    tokens = 0
    before: tuple[int, ...] = ()
    for place in sorted(range(len(ids)), key=ids.__getitem__):
        branch = ids[place][:-1]
        new = len(branch) - _common(before, branch)
        if packed and tokens + new > tokens_at_once:
            yield packed
            packed, tokens, new = [], 0, len(branch)
        packed.append(place)
        tokens, before = tokens + new, branch
    yield packed


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common start."""
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


def _tree(ids: Sequence[tuple[int, ...]], places: Sequence[int], device: torch.device) -> _Tree:
    """The tree of the labels at ``places``."""
    nodes: dict[tuple[int, ...], int] = {}  # start of a label -> its last token's place in the tree
    steps: dict[tuple[int, int], int] = {}
    paths: list[int] = []
    starts: list[int] = []
    for place in places:
        starts.append(len(paths))
        node = -1
        for length, token in enumerate(ids[place], start=1):
            paths.append(steps.setdefault((node, token), len(steps)))
            if length < len(ids[place]):
                node = nodes.setdefault(ids[place][:length], len(nodes))
    sees = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for branch, node in nodes.items():
        if len(branch) > 1:
            sees[node] = sees[nodes[branch[:-1]]]
        sees[node, node] = True

    def whole(values: Sequence[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.long, device=device)

    return _Tree(
        tokens=whole([branch[-1] for branch in nodes]),
        depths=whole([len(branch) - 1 for branch in nodes]),
        sees=torch.from_numpy(sees).to(device),
        step_from=whole([node for node, _ in steps]),
        step_tokens=whole([token for _, token in steps]),
        paths=np.array(paths),
        starts=np.array(starts),
        labels=np.array(places),
    )


@contextlib.contextmanager
def _own_masks(language_model: Any) -> Iterator[None]:
    """Attention that takes a mask of our own, which the flash kernels don't."""
    config = language_model.config
    before = config._attn_implementation
    if before in ("eager", "sdpa"):
        yield
        return
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = before
