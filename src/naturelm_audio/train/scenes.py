"""The scenes of a run, by their number, and batches of them as tensors.

Symbols: B scenes, F frames, L labels, n teacher frames, Q questions, S positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from naturelm_audio.model import fbank
from naturelm_audio.train import augment
from naturelm_audio.train.collate import Collator, padded
from naturelm_audio.train.data import SceneMaker
from naturelm_audio.train.heads import compress
from naturelm_audio.train.questions import Asker, Question
from naturelm_audio.train.scene_options import ScenesOptions
from naturelm_audio.train.teacher import Floats, Yamnet
from naturelm_audio.train.teacher import Heard as Taught

__all__ = ["SceneCollator", "SceneDraws", "SceneSample"]

SILENT_FEATURE = -2.3917
"""What the filterbank says of digital silence: masked cells sound like nothing."""
GROUPS = 2
"""Questions of a batch are padded in so many groups of like length."""


@dataclass(frozen=True, eq=False)
class SceneSample:
    """A scene (samples,), the labels heard in it, what is asked about it, and what the teacher hears."""

    waveform: Floats
    labels: tuple[int, ...]
    questions: tuple[Question, ...]
    taught: Taught | None
    seed: tuple[int, ...]
    """Of what is masked."""


class SceneDraws(Dataset[SceneSample | None]):
    """The scenes of a run, by their number; scene n depends on the seed and n alone.

    On every ``long_every``-th update each second scene is left out (None) and the others are long.

    Args:
        maker: mixes scenes.
        labels: column of each label.
        asker: makes questions.
        teacher: hears the scenes; None for none.
        options: of the recipe.
        lengths: samples of short and long scenes.
        seed: of all scenes.
        batch_size: scenes of an update.
        length: how many there are.
    """

    def __init__(
        self,
        maker: SceneMaker,
        labels: dict[str, int],
        asker: Asker,
        teacher: Yamnet | None,
        options: ScenesOptions,
        *,
        lengths: tuple[int, int],
        seed: int,
        batch_size: int,
        length: int,
    ) -> None:
        self.maker, self.labels, self.asker, self.teacher = maker, labels, asker, teacher
        self.options, self.lengths = options, lengths
        self.seed, self.batch_size, self.length = seed, batch_size, length
        self.rows = len(maker.store)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> SceneSample | None:
        """Return a scene, or None for one that is left out."""
        update, row = divmod(number, self.batch_size)
        every = self.options.long_every
        is_long = every > 0 and update % every == every - 1
        if is_long and row % 2:
            return None
        place = row // 2 if is_long else row
        generator = np.random.default_rng((self.seed, update, place))
        scene = self.maker.scene(generator, self.lengths[is_long], self.options.mix)
        asked = self.asker.ask(scene.heard, generator, self.options.questions)
        return SceneSample(
            scene.waveform,
            tuple(self.labels[sound.label] for sound in scene.heard.sounds),
            tuple(asked),
            self.teacher(scene.waveform) if self.teacher else None,
            (self.seed, update, place, 1),  # other numbers than the scene's
        )


class SceneCollator:
    """Makes the batch of a list of scenes.

    Args:
        collator: writes prompts and answers as ids.
        labels: how many there are.
        mask_probability: of scenes with masked bands and frames.
    """

    def __init__(self, collator: Collator, labels: int, mask_probability: float) -> None:
        self.collator, self.labels, self.mask_probability = collator, labels, mask_probability

    def __call__(self, samples: Sequence[SceneSample | None]) -> dict[str, Any]:
        """Return ``features`` (B, F, 128), ``labels`` (B, L), ``scores`` (B, n, 521) and
        ``teacher_features`` (B, n, 1024) if there is a teacher, and ``texts``: groups of questions.

        A group has ``rows`` (Q,), the scene of each question, ``input_ids`` and ``labels`` (Q, S).
        """
        scenes = [sample for sample in samples if sample is not None]
        labels = torch.zeros(len(scenes), self.labels)
        for place, scene in enumerate(scenes):
            labels[place, list(scene.labels)] = 1.0
        batch: dict[str, Any] = {"features": self._features(scenes), "labels": labels}
        taught = [scene.taught for scene in scenes if scene.taught is not None]
        if taught:
            batch["scores"] = torch.from_numpy(np.stack([one.scores for one in taught]))
            features = torch.from_numpy(np.stack([one.embeddings for one in taught]))
            batch["teacher_features"] = compress(features)
        return batch | {"texts": self._texts(scenes)}

    def _features(self, scenes: Sequence[SceneSample]) -> Tensor:
        features = fbank(torch.from_numpy(np.stack([scene.waveform for scene in scenes])))
        for place, scene in enumerate(scenes):
            generator = np.random.default_rng(scene.seed)
            if generator.random() < self.mask_probability:
                masked = augment.mask_spectrogram(features[place].numpy(), generator, value=SILENT_FEATURE)
                features[place] = torch.from_numpy(masked)
        return features

    def _texts(self, scenes: Sequence[SceneSample]) -> list[dict[str, Tensor]]:
        """Return the questions in groups of like length, for less padding."""
        rows = sorted(
            (
                (place, *self.collator.ids(wording, answer, [len(scene.waveform)]))
                for place, scene in enumerate(scenes)
                for wording, answer in scene.questions
            ),
            key=lambda row: len(row[1]) + len(row[2]),
        )
        size = -(-len(rows) // GROUPS) or 1
        groups = []
        for start in range(0, len(rows), size):
            group = rows[start : start + size]
            input_ids, labels, _ = padded([(prompt, answer) for _, prompt, answer in group], 0)
            places = torch.tensor([place for place, _, _ in group])
            groups.append({"rows": places, "input_ids": input_ids, "labels": labels})
        return groups
