"""What answers the questions of a benchmark: the one loaded model, or a server (see ``remote``).

A model prepares items in threads, one by one, and answers them in batches. Knows nothing of datasets' files
or of predictions' files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from naturelm_audio import prompts
from naturelm_audio.beans.dataset import Row
from naturelm_audio.beans.selection import clip_seconds
from naturelm_audio.beans.sounds import Sound, waveform
from naturelm_audio.components import Component
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.matching import strict_labels
from naturelm_audio.score import LabelScorer

__all__ = ["Item", "LocalModel", "Model", "Outcome"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Item:
    """A row with its component and what it is asked."""

    row: Row
    component: Component
    question: str

    @property
    def seconds(self) -> float:
        """The length of the clip."""
        return clip_seconds(self.component)

    @property
    def sound(self) -> Sound:
        """The row's audio.

        Raises:
            AudioError: it has none.
        """
        if self.row.sound is None:
            raise AudioError(self.row.fault or "the row has no audio", code="row_incomplete")
        return self.row.sound


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an item: a prediction, or an error (``code: message``).

    ``log_likelihoods`` are those of the component's labels, in their order, ``label_tokens`` how many tokens
    each of them is.
    """

    prediction: str | None = None
    error: str | None = None
    log_likelihoods: npt.NDArray[np.float64] | None = None
    label_tokens: tuple[int, ...] | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """Answers items."""

    rows_at_once: int

    def about(self) -> dict[str, Any]:
        """Return JSON values that name the model; runs with other ones don't share a file."""

    def prepare(self, item: Item) -> Any:
        """Return the item's audio as :meth:`answer` takes it; called in threads."""

    def answer(self, items: Sequence[tuple[Item, Any]]) -> list[Outcome]:
        """Return what became of each item, in their order."""


class LocalModel:
    """The loaded model.

    Args:
        generator: of the model.
        folder: where relative file names of rows begin.
        resampler: soxr, or kaiser_best as the published numbers were made with.
        rank_labels: whether to score every label of an item's component as well.
    """

    def __init__(
        self, generator: Generator, *, folder: Path, resampler: str, rank_labels: bool = False
    ) -> None:
        self._generator = generator
        self._folder = folder
        self._resampler = resampler
        self._rank_labels = rank_labels
        self._scorers: dict[str, LabelScorer] = {}
        self.rows_at_once = generator.batch_size

    def about(self) -> dict[str, Any]:
        """Return the model's name, revision, hash of its weights and number format."""
        model, provenance = self._generator.model, self._generator.model.provenance
        return {
            "name": provenance.model_name,
            "revision": provenance.model_revision,
            "weights": provenance.weights_fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
        }

    def check(self, component: Component) -> None:
        """Refuse clips that the model can't hear at once.

        Raises:
            OptionsError: naming the component.
        """
        longest = self._generator.model.config.max_clip_seconds
        if clip_seconds(component) > longest:
            raise OptionsError(
                f"{component.name} has clips of {clip_seconds(component):g} s; this model hears {longest:g} "
                "s at once: lower max_seconds in the benchmark's components"
            )

    def prepare(self, item: Item) -> Floats:
        """Return the clip, cut or padded to the component's length.

        Raises:
            AudioError: the row's audio can't be used.
        """
        return waveform(item.sound, item.seconds, folder=self._folder, resampler=self._resampler)

    def answer(self, items: Sequence[tuple[Item, Floats]]) -> list[Outcome]:
        """Return what became of each item, in their order.

        Raises:
            OutOfMemoryError: one item alone is too large.
        """
        vectors = self._encode([clip for _, clip in items])
        requests = [self._request(item, vector) for (item, _), vector in zip(items, vectors, strict=True)]
        generated = self._generator.answer(requests)
        ranked = self._ranked([item for item, _ in items], requests)
        return [
            Outcome(
                prediction=one.text,
                extras={"confidence": round(one.confidence, 4)},
                **ranked.get(place, {}),
            )
            for place, one in enumerate(generated)
        ]

    def _request(self, item: Item, vector: Tensor) -> Request:
        template = self._generator.model.config.prompt_template
        prompt = prompts.build(item.question, template=template)
        return Request(prompt, (vector,), f"{item.component.name}\0{item.row.id}\0{prompt}")

    @torch.inference_mode()
    def _encode(self, clips: Sequence[Floats]) -> list[Tensor]:
        """Vectors of clips of exactly these lengths, which needn't be those that the model was trained on."""
        model = self._generator.model
        vectors: dict[int, Tensor] = {}
        for length in sorted({len(clip) for clip in clips}):
            places = [place for place, clip in enumerate(clips) if len(clip) == length]

            def encode(batch: Sequence[int]) -> list[Tensor]:
                values = torch.from_numpy(np.stack([clips[place] for place in batch])).to(model.device)
                return list(model.get_audio_features(values).pooler_output)

            vectors.update(zip(places, self._generator.in_batches(places, encode), strict=True))
        return [vectors[place] for place in range(len(clips))]

    def _ranked(self, items: Sequence[Item], requests: Sequence[Request]) -> dict[int, dict[str, Any]]:
        """Log-likelihoods of all labels, by the item's place; components without a list have none."""
        found: dict[int, dict[str, Any]] = {}
        if not self._rank_labels:
            return found
        by_component: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            if item.component.labels:
                by_component.setdefault(item.component.name, []).append(place)
        for name, places in by_component.items():
            if name not in self._scorers:
                labels = strict_labels(items[places[0]].component).labels
                self._scorers[name] = LabelScorer(self._generator, labels)
            scorer = self._scorers[name]
            scores = scorer.log_likelihoods([requests[place] for place in places])
            for place, row in zip(places, scores, strict=True):
                found[place] = {"log_likelihoods": row, "label_tokens": scorer.label_tokens}
        return found
