"""Batches: scenes, the teacher's targets and tokenised questions as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from naturelm_audio import prompts
from naturelm_audio.train.data import SAMPLE_RATE_HZ, Scene, SceneMaker
from naturelm_audio.train.heads import Targets, compress
from naturelm_audio.train.questions import Asker, Question
from naturelm_audio.train.settings import StageSettings
from naturelm_audio.train.teacher import Yamnet

IGNORED = -100


@dataclass(frozen=True)
class TextBatch:
    """Questions and answers of about one length, padded on the right."""

    rows: Tensor
    """(Q,), the scene each question is about."""
    input_ids: Tensor
    """(Q, S), with one audio slot per audio vector."""
    labels: Tensor
    """(Q, S), the answer and its end token; -100 elsewhere."""


@dataclass(frozen=True)
class Batch:
    """One update's share of one process."""

    waveforms: Tensor
    """(B, N) float32."""
    targets: Targets
    texts: tuple[TextBatch, ...]


class Writer:
    """Turns questions into ids.

    Args:
        tokenizer: the model's tokenizer.
        audio_token_id: the id of an audio slot.
        end_symbol: what ends an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, audio_token_id: int, end_symbol: str) -> None:
        """Prepare a cache of texts."""
        self._audio = audio_token_id
        self._start = int(tokenizer.convert_tokens_to_ids(tokenizer.bos_token))
        self._end_symbol = end_symbol
        self._encode = lru_cache(maxsize=50_000)(
            lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    def ids(self, question: Question, audio_tokens: int) -> tuple[list[int], int]:
        """Return the ids of prompt and answer, and the length of the prompt."""
        wording, answer = question
        before, after = prompts.pieces(prompts.build(wording))
        prompt = [self._start, *self._encode(before), *[self._audio] * audio_tokens, *self._encode(after)]
        return [*prompt, *self._encode(answer + self._end_symbol)], len(prompt)

    def batches(
        self, asked: Sequence[tuple[int, Question]], audio_tokens: int, groups: int = 2
    ) -> tuple[TextBatch, ...]:
        """Return questions with their scenes in groups of like length, for less padding."""
        rows = sorted(
            ((scene, *self.ids(question, audio_tokens)) for scene, question in asked),
            key=lambda row: len(row[1]),
        )
        size = -(-len(rows) // groups) or 1
        return tuple(_pad(rows[start : start + size]) for start in range(0, len(rows), size))


def _pad(rows: Sequence[tuple[int, list[int], int]]) -> TextBatch:
    """Return rows of ids padded on the right."""
    width = max(len(ids) for _, ids, _ in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for place, (_, ids, prompt) in enumerate(rows):
        input_ids[place, : len(ids)] = torch.tensor(ids)
        labels[place, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return TextBatch(torch.tensor([scene for scene, _, _ in rows]), input_ids, labels)


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batch of any step."""

    scenes: SceneMaker
    labels: dict[str, int]
    """Column of each label."""
    teacher: Yamnet | None
    asker: Asker
    writer: Writer
    audio_tokens: dict[int, int]
    """Audio vectors for each number of samples."""

    def make(self, seed: Sequence[int], rows: Sequence[int], seconds: float, stage: StageSettings) -> Batch:
        """Return the scenes `rows` of a step whose random numbers begin with `seed`."""
        samples = round(seconds * SAMPLE_RATE_HZ)
        scenes, asked = [], []
        for place, row in enumerate(rows):
            generator = np.random.default_rng([*seed, row])
            scene = self.scenes.scene(generator, samples, stage.mix)
            scenes.append(scene)
            if stage.questions:
                asked += [
                    (place, question) for question in self.asker.ask(scene.heard, generator, stage.questions)
                ]
        waveforms = torch.from_numpy(np.stack([scene.waveform for scene in scenes]))
        texts = self.writer.batches(asked, self.audio_tokens[samples]) if asked else ()
        return Batch(waveforms, self.targets(scenes), texts)

    def targets(self, scenes: Sequence[Scene]) -> Targets:
        """Return the labels of scenes and what the teacher hears in them."""
        labels = torch.zeros(len(scenes), len(self.labels))
        for place, scene in enumerate(scenes):
            for sound in scene.heard.sounds:
                labels[place, self.labels[sound.label]] = 1.0
        if self.teacher is None:
            return Targets(labels)
        heard = [self.teacher(scene.waveform) for scene in scenes]
        scores = torch.from_numpy(np.stack([one.scores for one in heard]))
        features = torch.from_numpy(np.stack([one.embeddings for one in heard]))
        return Targets(labels, scores, compress(features))
