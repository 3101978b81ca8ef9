"""The model with its throw-away heads: a batch of scenes in, losses out.

Symbols: B scenes, P patches, C encoder width, A audio vectors, D their width, F frames, Q questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.sequence import IGNORED
from naturelm_audio.train.heads import Heads, Targets

__all__ = ["ANSWER", "Learner"]

ANSWER = "answer"


class Learner(nn.Module):
    """What learns from scenes.

    Args:
        model: the model.
        heads: predict labels, and what the teacher hears.
    """

    def __init__(self, model: NatureLMForConditionalGeneration, heads: Heads) -> None:
        """Keep both."""
        super().__init__()
        self.model = model
        # For questions of less than 100 tokens on a CPU: a step of training is 7 % quicker than with "sdpa".
        model.language_model.set_attn_implementation("eager")
        self.heads = heads

    def hear(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches (B, P, C) and audio vectors (B, A, D) of log-mel features (B, F, 128)."""
        patches = self.model.audio_tower.encode_fbank(features)
        return patches, self.model.bridge(patches)

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        scores: Tensor | None = None,
        teacher_features: Tensor | None = None,
        texts: Sequence[Mapping[str, Tensor]] = (),
    ) -> dict[str, Tensor]:
        """Return every head's loss, a mean over scenes, and the answers' cross-entropy, a sum over tokens."""
        patches, vectors = self.hear(features)
        losses = self.heads.losses(patches, vectors, Targets(labels, scores, teacher_features))
        if texts:
            losses[ANSWER] = torch.stack([self._answers(vectors, text) for text in texts]).sum()
        return losses

    def _answers(self, vectors: Tensor, text: Mapping[str, Tensor]) -> Tensor:
        embeddings = self.model.embed_prompt(text["input_ids"], vectors[text["rows"]])
        # Padding stands behind the answers, where the causal mask hides it.
        decoder, head = self.model.get_decoder(), self.model.get_output_embeddings()
        states = decoder(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, :-1]
        targets = text["labels"][:, 1:]
        answered = targets != IGNORED
        logits = head(states[answered]).float()
        return functional.cross_entropy(logits, targets[answered], reduction="sum")
