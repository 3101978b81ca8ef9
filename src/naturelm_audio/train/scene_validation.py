"""The few figures of the curve of a run on scenes: shares of the 19 labels that are named right.

By the label heads on encoder and bridge, and by answers to the question with the list.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from naturelm_audio.model import NatureLMForConditionalGeneration, fbank
from naturelm_audio.train import questions
from naturelm_audio.train.data import ClipStore, Floats
from naturelm_audio.train.draws import Unreadable
from naturelm_audio.train.evaluate import LISTED_SOURCES, Evaluation, answers
from naturelm_audio.train.learner import Learner

__all__ = ["SceneValidation"]


class SceneValidation:
    """Clips to judge by.

    Args:
        store: clips of the validation split.
        learner: what learns.
        labels: column of each label.
        asks: whether the run's scenes have questions, so that answers are worth asking for.
    """

    def __init__(self, store: ClipStore, learner: Learner, labels: dict[str, int], *, asks: bool) -> None:
        self.evaluation, self.learner, self.asks = Evaluation(store), learner, asks
        self.places = self.evaluation.places(LISTED_SOURCES, questions.LABELS_19)
        self.columns = [labels[label] for label in questions.LABELS_19 if label in labels]
        self.unreadable = [Unreadable(row, reason) for row, reason in store.unreadable.items()]

    def names(self) -> list[str]:
        """Return the names of all figures."""
        return ["encoder", "bridge", *(["listed"] if self.asks else [])]

    def __bool__(self) -> bool:
        return bool(self.places) and len(self.columns) == len(questions.LABELS_19)

    def figures(
        self,
        model: NatureLMForConditionalGeneration,
        *,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 16,
        autocast: Any = contextlib.nullcontext,
        **_: Any,
    ) -> dict[str, float]:
        """Return figures by name, the same on every process; each takes its share of the clips."""
        was_training = self.learner.training
        self.learner.eval()
        places = self.places[rank::world]
        try:
            with torch.no_grad(), autocast():
                right = self._by_heads(places, batch_size)
            if self.asks:
                right["listed"] = self._by_answers(model, places, batch_size)
        finally:
            self.learner.train(was_training)
        shares = [right] if world == 1 else gather_object([right])
        return {name: sum(share[name] for share in shares) / len(self.places) for name in right}

    def _by_heads(self, places: Sequence[int], batch_size: int) -> dict[str, int]:
        store, listed = self.evaluation.store, questions.LABELS_19
        samples = self.learner.model.config.padded_samples(1)
        device = next(self.learner.parameters()).device
        right = {"encoder": 0, "bridge": 0}
        for start in range(0, len(places), batch_size):
            batch = places[start : start + batch_size]
            truths = torch.tensor([listed.index(label) for label in self.evaluation.labels(batch)])
            clips = _stacked([store.waveform(place) for place in batch], samples)
            heard = self.learner.hear(fbank(clips).to(device))
            for name, logits in zip(right, self.learner.heads.label_logits(*heard), strict=True):
                right[name] += int((logits[:, self.columns].argmax(1).cpu() == truths).sum())
        return right

    def _by_answers(
        self, model: NatureLMForConditionalGeneration, places: Sequence[int], batch_size: int
    ) -> int:
        wording = questions.CLASSIFY.format(", ".join(questions.LABELS_19))
        waveforms = [self.evaluation.store.waveform(place) for place in places]
        given = answers(model, waveforms, [wording] * len(places), batch_size=batch_size)
        truths = self.evaluation.labels(places)
        return sum(said.lower() == truth.lower() for said, truth in zip(given, truths, strict=True))


def _stacked(waveforms: Sequence[Floats], samples: int) -> Tensor:
    """Return waveforms (B, samples), cut or padded with zeros at the end."""
    return torch.from_numpy(
        np.stack([np.pad(one[:samples], (0, max(0, samples - len(one)))) for one in waveforms])
    )
