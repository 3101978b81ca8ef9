"""How well a model answers on recordings it never learned from: the figures of the tiny model.

Every figure is counted from real greedy answers to the wordings of `questions.py`, compared whole, without
regard to case.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from naturelm_audio import prompts
from naturelm_audio.generate import Generator, Request
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.options import GenerateOptions
from naturelm_audio.train import augment, questions
from naturelm_audio.train.build import training_clips
from naturelm_audio.train.data import SAMPLE_RATE_HZ, ClipStore, Floats
from naturelm_audio.train.scene_options import ScenesOptions

LISTED_SOURCES = ("esc50-animals", "esc10")
LONGEST_SECONDS = 10.0
NOT_ANIMALS = ("rain", "wind", "silence", "background noise", "sea waves")
"""What holds no animal in the question for all species."""


@dataclass(frozen=True)
class Figure:
    """One figure: right answers out of all, and what was answered instead."""

    name: str
    right: int
    total: int
    wrong: dict[str, int] = field(default_factory=dict)
    """`truth -> answer` and how often."""

    @property
    def share(self) -> float:
        """Return the share of right answers, 0..1."""
        return self.right / max(self.total, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval of the share."""
        n, z = max(self.total, 1), 1.96
        centre = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(self.share * (1 - self.share) / n + z * z / (4 * n * n))
        return max(centre - half, 0.0), min(centre + half, 1.0)


def answers(
    model: NatureLMForConditionalGeneration,
    waveforms: Sequence[Floats],
    wordings: Sequence[str],
    *,
    batch_size: int = 16,
) -> list[str]:
    """Return the greedy answer to each wording about the waveform at its place; at most 10 s are heard."""
    options = GenerateOptions(max_new_tokens=48, num_beams=1)
    generator = Generator(model, options, batch_size=batch_size)
    longest = round(LONGEST_SECONDS * SAMPLE_RATE_HZ)
    heard = generator.encode([waveform[:longest] for waveform in waveforms])
    requests = [
        Request(prompts.build(wording), (vectors,), str(place))
        for place, (wording, vectors) in enumerate(zip(wordings, heard, strict=True))
    ]
    return [generated.text.strip() for generated in generator.answer(requests)]


def count(name: str, truths: Sequence[str], given: Sequence[str]) -> Figure:
    """Return how many answers are the truth."""
    pairs = list(zip(truths, given, strict=True))
    wrong = Counter(f"{truth} -> {answer}" for truth, answer in pairs if truth.lower() != answer.lower())
    return Figure(name, len(pairs) - wrong.total(), len(pairs), dict(wrong.most_common()))


class Evaluation:
    """The figures of a model on the validation split of a manifest.

    Args:
        store: clips of the split.
    """

    def __init__(self, store: ClipStore) -> None:
        """Keep the clips."""
        self.store = store

    def figures(self, model: NatureLMForConditionalGeneration) -> list[Figure]:
        """Return all figures that there are clips for."""
        found = [
            self.listed(model, "19 labels from a list", questions.LABELS_19),
            self.listed(model, "11 animal labels from a list", questions.ANIMALS_11),
            self.asked(model, "open, sound in the audio", questions.SOUND_NAME[0]),
            self.asked(
                model, "open, focal species (animals)", questions.SPECIES_NAME[0], questions.ANIMALS_11
            ),
            self.right_whale(model),
            self.no_animal(model),
            self.animals_found(model),
            self.how_many(model),
            self.kinds(model),
        ]
        return [figure for figure in found if figure.total]

    def listed(self, model: NatureLMForConditionalGeneration, name: str, labels: Sequence[str]) -> Figure:
        """Return how often the right one of listed categories is chosen."""
        return self.asked(model, name, questions.CLASSIFY.format(", ".join(labels)), labels)

    def asked(
        self,
        model: NatureLMForConditionalGeneration,
        name: str,
        wording: str,
        labels: Sequence[str] = questions.LABELS_19,
        sources: Sequence[str] = LISTED_SOURCES,
    ) -> Figure:
        """Return how often one wording is answered with the clip's label."""
        places = self.places(sources, labels)
        return count(name, self.labels(places), self._answers(model, places, [wording] * len(places)))

    def right_whale(self, model: NatureLMForConditionalGeneration, limit: int = 300) -> Figure:
        """Return how often a right whale is found, or found absent."""
        places = self.places(("right-whale",))[:limit]
        wording = questions.DETECT[0].format("right whale, None")
        return count(
            "right whale or None", self.labels(places), self._answers(model, places, [wording] * len(places))
        )

    def no_animal(self, model: NatureLMForConditionalGeneration) -> Figure:
        """Return how often no animal is named where there is none."""
        places = [p for p in self.places() if self.store.clips[p].sound.label in NOT_ANIMALS]
        given = self._answers(model, places, [questions.DETECT_OPEN[0]] * len(places))
        truths = self.labels(places)
        wrong = Counter(f"{t} -> {g}" for t, g in zip(truths, given, strict=True) if g != questions.NONE)
        return Figure(
            "None for no animal (open detection)", len(given) - wrong.total(), len(given), dict(wrong)
        )

    def animals_found(self, model: NatureLMForConditionalGeneration) -> Figure:
        """Return how often a single animal is named by the question for all species."""
        return self.asked(
            model, "single animal (open detection)", questions.DETECT_OPEN[0], questions.ANIMALS_11
        )

    def how_many(self, model: NatureLMForConditionalGeneration, pairs: int = 88) -> Figure:
        """Return how often one animal is told from two in mixtures of animal clips."""
        places = self.places(("esc50-animals",))
        generator = np.random.default_rng(0)
        waveforms = [self.store.waveform(place) for place in places]
        truths = ["One"] * len(places)
        for _ in range(pairs if len(places) > 1 else 0):
            a, b = (int(x) for x in generator.choice(len(places), 2, replace=False))
            if self.labels([places[a]]) != self.labels([places[b]]):
                waveforms.append(_mixture(waveforms[a], waveforms[b], float(generator.uniform(0, 6))))
                truths.append("More than one")
        return count(
            "one animal or more", truths, answers(model, waveforms, [questions.HOW_MANY[0]] * len(truths))
        )

    def kinds(self, model: NatureLMForConditionalGeneration, per_kind: int = 40) -> Figure:
        """Return how often speech, music, animals and other sounds are told apart."""
        names = {"animal": "animal", "speech": "speech", "music": "music", "environment": "something else"}
        places = [
            place
            for kind in names
            for place in [p for p in self.places() if self.store.clips[p].sound.kind == kind][:per_kind]
        ]
        truths = [names[self.store.clips[place].sound.kind] for place in places]
        return count("kind of sound", truths, self._answers(model, places, [questions.KIND[0]] * len(places)))

    def places(self, sources: Sequence[str] | None = None, labels: Sequence[str] | None = None) -> list[int]:
        """Return the clips of some sources and labels."""
        return [
            place
            for place, clip in enumerate(self.store.clips)
            if (sources is None or clip.source in sources) and (labels is None or clip.sound.label in labels)
        ]

    def labels(self, places: Sequence[int]) -> list[str]:
        """Return the labels of some clips."""
        return [self.store.clips[place].sound.label for place in places]

    def _answers(
        self, model: NatureLMForConditionalGeneration, places: Sequence[int], wordings: Sequence[str]
    ) -> list[str]:
        return answers(model, [self.store.waveform(place) for place in places], wordings)


def _mixture(first: Floats, second: Floats, snr_decibels: float) -> Floats:
    """Return two clips mixed over the length of the longer one."""
    samples = max(len(first), len(second))
    padded = [np.pad(one, (0, samples - len(one))) for one in (first, second)]
    return augment.clamp(augment.mix(padded[0], padded[1], snr_decibels))


def evaluate(model: NatureLMForConditionalGeneration, manifest: str | Path) -> list[Figure]:
    """Return the figures of a model on the validation split of a manifest."""
    store = training_clips(ScenesOptions(manifest=str(manifest)), "validation")
    return Evaluation(store).figures(model.eval())


def as_markdown(figures: Sequence[Figure]) -> str:
    """Return a table of figures."""
    rows = ["| question | right | of | share | 95 % interval |", "|---|---:|---:|---:|---|"]
    for one in figures:
        low, high = one.interval
        rows.append(f"| {one.name} | {one.right} | {one.total} | {one.share:.1%} | {low:.1%} to {high:.1%} |")
    return "\n".join(rows) + "\n"


def confusions(figures: Sequence[Figure], most: int = 12) -> str:
    """Return a table of what was answered in place of the truth, of each figure the most frequent ones."""
    rows = ["| question | heard | answered | times |", "|---|---|---|---:|"]
    for one in figures:
        for pair, times in list(one.wrong.items())[:most]:
            truth, _, answer = pair.partition(" -> ")
            rows.append(f"| {one.name} | {truth} | {answer} | {times} |")
    return "\n".join(rows) + "\n"


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return figures as plain data, the wrong answers included."""
    return [
        {"name": f.name, "right": f.right, "of": f.total, "share": round(f.share, 4), "wrong": f.wrong}
        for f in figures
    ]
