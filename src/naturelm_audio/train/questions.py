"""The rules that make question and answer from what is heard in a scene, and how often each is asked.

Wordings are those of compiled questions; evaluation asks the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from naturelm_audio.train.manifest.sounds import NONE, Sound, answer_list, caption
from naturelm_audio.train.manifest.wordings import WORDINGS

__all__ = ["ANIMALS_11", "LABELS_19", "NONE", "Asker", "Heard", "Question", "Sound"]

Generator = np.random.Generator

WHALE_LABELS = ("right whale", NONE)
"""The two labels of underwater recordings in which one kind of whale was looked for."""

# Wordings are those of the one table; how often each is used is told where questions are made.
CLASSIFY = WORDINGS["categories"][0]
_SOUND, _SPECIES = WORDINGS["name-sound"], WORDINGS["name-common"]
SOUND_NAME = (_SOUND[0], _SPECIES[0], *_SOUND[1:])
SPECIES_NAME = (_SPECIES[0], _SOUND[0], *_SPECIES[3:])
SCIENTIFIC_NAME = WORDINGS["name-scientific"]
TAXONOMIC_NAME = WORDINGS["name-taxonomic"]
RANKS = {rank: WORDINGS[f"rank-{rank}"][0] for rank in ("genus", "family", "order", "class")}
CHOOSE = WORDINGS["candidates"]
DETECT = WORDINGS["detect-list"]
DETECT_OPEN = (WORDINGS["detect-common"][0], WORDINGS["detect-common"][2])
CAPTION = WORDINGS["caption-plain"]
CAPTION_COMMON = WORDINGS["caption-common"]
CAPTION_SCIENTIFIC = WORDINGS["caption-scientific"]
HOW_MANY = WORDINGS["count-animals"]
KIND = WORDINGS["kind"]
INSTRUMENT = WORDINGS["music-instrument"]

ANIMALS_11 = (
    "cat",
    "chirping birds",
    "cow",
    "crow",
    "dog",
    "frog",
    "hen",
    "insects",
    "pig",
    "rooster",
    "sheep",
)
LABELS_19 = (
    *ANIMALS_11,
    "chainsaw",
    "clock tick",
    "crackling fire",
    "crying baby",
    "helicopter",
    "rain",
    "sea waves",
    "sneezing",
)
"""The labels of the sources `esc50-animals` and `esc10`."""


@dataclass(frozen=True)
class Heard:
    """What a scene holds: the sounds from the loudest on, and whether the first clearly stands out."""

    sounds: tuple[Sound, ...]
    focal: bool
    countable: bool = True
    """Whether no animal is so much quieter than the loudest that its presence is a matter of opinion."""

    @property
    def animals(self) -> list[Sound]:
        """The sounds made by animals."""
        return [sound for sound in self.sounds if sound.is_animal]


Question = tuple[str, str]
"""Wording and answer."""


class Asker:
    """Makes questions about scenes; it knows all sounds, to find wrong candidates.

    Args:
        sounds: every kind of sound of the training material.
    """

    def __init__(self, sounds: Sequence[Sound]) -> None:
        """Sort the sounds into pools of candidates."""
        named = sorted(
            {sound.label: sound for sound in sounds if sound.named}.values(), key=lambda s: s.label
        )
        self._general = [s.label for s in named if s.label[0].islower() and s.kind != "speech"]
        self._animals = [s.label for s in named if s.kind == "animal"]
        self._by_class = {
            s.label: [t.label for t in named if t.ranks[:2] == s.ranks[:2] and t is not s]
            for s in named
            if s.ranks
        }

    def ask(self, heard: Heard, generator: Generator, count: int) -> list[Question]:
        """Return `count` different questions on a scene, with their answers; fewer if no more fit."""
        tasks = self._tasks(heard)
        if not tasks:
            return []
        weights = np.array([weight for weight, _ in tasks])
        places = generator.choice(
            len(tasks), min(count, len(tasks)), replace=False, p=weights / weights.sum()
        )
        return [_vary(tasks[place][1](heard, generator), generator) for place in places]

    def _tasks(self, heard: Heard) -> list[tuple[float, Callable[[Heard, Generator], Question]]]:
        """Return the questions that fit a scene, with their weights."""
        first = heard.sounds[0]
        tasks: list[tuple[float, Callable[[Heard, Generator], Question]]] = [(1.0, _caption)]
        if not any(sound.kind == "unlabelled" for sound in heard.sounds):
            tasks += [
                (1.2 if heard.animals else 2.6, _detect_open),
                (2.5 if first.label in WHALE_LABELS else 0.8, self._detect),
            ]
        if heard.animals and heard.countable:
            tasks.append((2.5 if len(heard.animals) > 1 else 1.5, _how_many))
        if heard.focal:
            tasks.append((0.3, _kind))
            if first.named:
                tasks += [(3.0, _name), (3.5 if first.label in self._general else 1.0, self._classify)]
                tasks += [(1.0, self._choose)] if first.kind == "animal" else []
                tasks += [(0.5, _instrument)] if first.kind == "music" else []
            if first.named and first.scientific_name:
                tasks.append((0.7, _scientific))
            if first.named and first.ranks:
                tasks += [(0.7, _taxonomic), (0.5, _rank)]
        return tasks

    def _classify(self, heard: Heard, generator: Generator) -> Question:
        """Ask for one of a list of categories."""
        label = heard.sounds[0].label
        fixed = [group for group in (LABELS_19, ANIMALS_11) if label in group]
        draw = generator.random()
        if fixed and draw < 0.6:
            options = list(fixed[0] if draw < 0.45 else fixed[-1])
        else:
            options = _sample(self._general, int(generator.integers(1, 20)), generator, without={label})
            options.append(label)
        order = generator.random()
        if order < 0.75:
            options = [str(option) for option in generator.permutation(options)]
        elif order < 0.9:
            options = sorted(options)
        return CLASSIFY.format(", ".join(options)), label

    def _candidates(self, label: str, generator: Generator, heard: Heard) -> list[str]:
        """Return wrong names for a label: of its class or of any animal."""
        pool = self._by_class.get(label, [])
        if generator.random() < 0.5 or len(pool) < 2:
            pool = self._general if label in self._general and generator.random() < 0.7 else self._animals
        count = int(min(generator.geometric(0.25), 12))
        return _sample(pool, count, generator, without={sound.label for sound in heard.sounds})

    def _choose(self, heard: Heard, generator: Generator) -> Question:
        """Ask for one of several species."""
        label = heard.sounds[0].label
        options = [*self._candidates(label, generator, heard), label]
        listed = ", ".join(str(option) for option in generator.permutation(options))
        return CHOOSE[0].format(listed), label

    def _detect(self, heard: Heard, generator: Generator) -> Question:
        """Ask which of a list are heard; in half of the questions none is.

        Recordings with and without the whale are asked for it equally often: the list must not give away
        the answer.
        """
        animals = [sound.label for sound in heard.animals]
        whales = heard.sounds[0].label in WHALE_LABELS
        if heard.sounds[0].label == NONE:
            options, answer = ["right whale"], NONE
        elif not animals or generator.random() < (0.1 if whales else 0.5):
            options, answer = [], NONE
        else:
            options, answer = list(animals), ""
        if not options or generator.random() < (0.3 if whales else 0.85):
            options += self._candidates(animals[0] if animals else "", generator, heard)
        options = [str(option) for option in generator.permutation(options)]
        answer = answer or ", ".join(option for option in options if option in animals)
        return DETECT[0].format(", ".join([*options, NONE])) + (
            "." if generator.random() < 0.4 else ""
        ), answer


def _sample(pool: Sequence[str], count: int, generator: Generator, *, without: set[str]) -> list[str]:
    """Return up to `count` different members of a pool."""
    allowed = [label for label in pool if label not in without]
    places = generator.choice(len(allowed), min(count, len(allowed)), replace=False)
    return [allowed[place] for place in places]


def _pick(wordings: Sequence[str], generator: Generator) -> str:
    """Return the usual wording in two of three cases."""
    return wordings[0] if generator.random() < 0.65 else wordings[int(generator.integers(len(wordings)))]


def _vary(question: Question, generator: Generator) -> Question:
    """Return the question, sometimes without its last mark, so that this doesn't matter."""
    wording, answer = question
    if wording[-1] in ".?" and generator.random() < 0.2:
        wording = wording[:-1]
    elif wording[-1] not in ".?" and generator.random() < 0.2:
        wording += "."
    return wording, answer


def _name(heard: Heard, generator: Generator) -> Question:
    wordings = SPECIES_NAME if heard.sounds[0].kind == "animal" else SOUND_NAME
    usual = wordings[0] if generator.random() < 0.5 else wordings[1]
    wording = usual if generator.random() < 0.8 else wordings[int(generator.integers(2, 4))]
    return wording, heard.sounds[0].label


def _scientific(heard: Heard, generator: Generator) -> Question:
    return SCIENTIFIC_NAME[0], heard.sounds[0].scientific_name


def _taxonomic(heard: Heard, generator: Generator) -> Question:
    return TAXONOMIC_NAME[0], heard.sounds[0].taxonomic_name


def _rank(heard: Heard, generator: Generator) -> Question:
    rank = list(RANKS)[int(generator.integers(len(RANKS)))]
    return RANKS[rank], heard.sounds[0].ranks[{"class": 1, "order": 2, "family": 3, "genus": 4}[rank]]


def _detect_open(heard: Heard, generator: Generator) -> Question:
    return _pick(DETECT_OPEN, generator), answer_list([sound.label for sound in heard.animals])


def _caption(heard: Heard, generator: Generator) -> Question:
    draw = generator.random()
    if draw < 0.2:
        return CAPTION_SCIENTIFIC[0], caption(heard.sounds, scientific=True)
    return (CAPTION_COMMON[0] if draw < 0.5 else _pick(CAPTION, generator)), caption(heard.sounds)


def _how_many(heard: Heard, generator: Generator) -> Question:
    return HOW_MANY[0], "One" if len(heard.animals) == 1 else "More than one"


def _kind(heard: Heard, generator: Generator) -> Question:
    kind = heard.sounds[0].kind
    names = {"animal": "animal", "unlabelled": "animal", "speech": "speech", "music": "music"}
    return KIND[0], names.get(kind, "something else")


def _instrument(heard: Heard, generator: Generator) -> Question:
    return INSTRUMENT[0], heard.sounds[0].label
