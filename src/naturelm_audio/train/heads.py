"""Throw-away heads that teach the encoder and the bridge: the teacher's features and scores, and the labels.

Symbols: B scenes, T time steps of 160 ms, 8 bands, C encoder width, n teacher frames, A audio vectors, D
their width, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from naturelm_audio.train.teacher import EMBEDDING, SCORES

STEPS_PER_FRAME = 6
"""A frame of the teacher is 0.96 s long, six time steps, and the next one begins three later."""
STEPS_PER_HOP = 3
BANDS = 8
RARE = -5.0
"""First bias of the classes: about one in 150 is heard."""


@dataclass(frozen=True)
class Targets:
    """What the heads should say."""

    labels: Tensor
    """(B, L), 1 where a label is heard."""
    scores: Tensor | None = None
    """(B, n, 521) in 0..1."""
    features: Tensor | None = None
    """(B, n, 1024), compressed by :func:`compress`."""


def compress(embeddings: Tensor) -> Tensor:
    """Return the teacher's sparse features as targets of mean square about 1."""
    return embeddings.sqrt() / 0.17


class Heads(nn.Module):
    """Predictions from the encoder's patches (per 0.48 s) and from the bridge's vectors (per scene).

    Args:
        patch_width: C.
        vector_width: D.
        labels: L.
        teacher: whether there is a teacher to predict.
    """

    def __init__(self, patch_width: int, vector_width: int, labels: int, *, teacher: bool = True) -> None:
        """Build the layers; class biases begin low."""
        super().__init__()
        self.teacher = teacher
        self.from_patches = nn.Linear(BANDS * patch_width, 512)
        self.from_vectors = nn.Sequential(nn.Linear(2 * vector_width, 512), nn.GELU())
        self.patch_label = _classes(512, labels)
        self.vector_label = _classes(512, labels)
        if teacher:
            self.patch_score, self.patch_feature = _classes(512, SCORES), nn.Linear(512, EMBEDDING)
            self.vector_score, self.vector_feature = _classes(512, SCORES), nn.Linear(512, EMBEDDING)

    def label_logits(self, patches: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return what labels (B, L) are heard by the encoder and by the bridge."""
        return self._labels(self._frames(patches)), self.vector_label(self._pooled(vectors))

    def losses(self, patches: Tensor, vectors: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the loss of every head: sums over classes, means over everything else."""
        frames, pooled = self._frames(patches), self._pooled(vectors)
        losses = {
            "patch_label": _class_loss(self._labels(frames), targets.labels),
            "vector_label": _class_loss(self.vector_label(pooled), targets.labels),
        }
        if self.teacher and targets.scores is not None and targets.features is not None:
            count = min(frames.shape[1], targets.scores.shape[1])
            frames, scores, features = (
                frames[:, :count],
                targets.scores[:, :count],
                targets.features[:, :count],
            )
            losses["patch_score"] = _class_loss(self.patch_score(frames), scores)
            losses["vector_score"] = _class_loss(self.vector_score(pooled), scores.mean(1))
            losses["patch_feature"] = functional.mse_loss(self.patch_feature(frames).float(), features)
            losses["vector_feature"] = functional.mse_loss(
                self.vector_feature(pooled).float(), features.mean(1)
            )
        return losses

    def _frames(self, patches: Tensor) -> Tensor:
        """Return the encoder's view of each teacher frame (B, n, 512)."""
        steps = self.from_patches(patches.unflatten(1, (-1, BANDS)).flatten(2))  # (B, T, 512)
        return functional.gelu(steps.unfold(1, min(STEPS_PER_FRAME, steps.shape[1]), STEPS_PER_HOP).mean(3))

    def _labels(self, frames: Tensor) -> Tensor:
        """Return logits (B, L): a label is heard where some frames hear it."""
        logits = self.patch_label(frames)
        return torch.logsumexp(logits.float() * 2, 1) / 2 - float(torch.tensor(logits.shape[1]).log()) / 2

    def _pooled(self, vectors: Tensor) -> Tensor:
        """Return the bridge's view of a scene (B, 512)."""
        return self.from_vectors(torch.cat([vectors.mean(1), vectors.amax(1)], 1))


def _classes(width: int, count: int) -> nn.Linear:
    """Return a layer whose classes are rare at first."""
    layer = nn.Linear(width, count)
    nn.init.constant_(layer.bias, RARE)
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def _class_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy, summed over classes."""
    losses = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return losses.sum(-1).mean()


TEACHER_LOSSES = {"patch_score": 0.25, "vector_score": 0.15, "patch_feature": 3.0, "vector_feature": 1.5}
LABEL_LOSSES = {"patch_label": 0.5, "vector_label": 0.5}
