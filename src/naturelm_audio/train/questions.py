"""Every wording of the tiny model's training, and the rules that make question and answer from what is heard.

One table per task; one wording is the usual one and comes first. Evaluation asks the same wordings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Generator = np.random.Generator

NONE = "None"
WHALE_LABELS = ("right whale", NONE)
"""The two labels of underwater recordings in which one kind of whale was looked for."""

CLASSIFY = "The objective is to classify the sound into one of the following categories: {}"
SOUND_NAME = (
    "What is the common name for the sound in the audio?",
    "What is the common name for the focal species in the audio?",
    "What sound is heard in the audio?",
    "What is this sound?",
)
SPECIES_NAME = (
    "What is the common name for the focal species in the audio?",
    "What is the common name for the sound in the audio?",
    "What animal is heard in the audio?",
    "Which species is this?",
)
SCIENTIFIC_NAME = ("What is the scientific name for the focal species in the audio?",)
TAXONOMIC_NAME = ("What is the taxonomic name of the focal species in the audio?",)
RANKS = {
    "genus": "What is the genus of the focal species in the audio?",
    "family": "What is the family of the focal species in the audio?",
    "order": "What is the order of the focal species in the audio?",
    "class": "What is the class of the focal species in the audio?",
}
CHOOSE = ("Which of these is the focal species in the audio? {}",)
DETECT = ("Which of these, if any, are present in the audio recording? {}",)
DETECT_OPEN = (
    "What are the common names for the species in the audio, if any?",
    "Which animals are heard in the audio, if any?",
)
CAPTION = ("Caption the audio.", "Describe the audio.")
CAPTION_COMMON = ("Caption the audio, using the common name for any animal species.",)
CAPTION_SCIENTIFIC = ("Caption the audio, using the scientific name for any animal species.",)
HOW_MANY = ("Is there one animal or more than one in the audio?",)
KIND = ("Is the sound speech, music, an animal or something else?",)
INSTRUMENT = ("What instrument is heard in the audio?",)

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

_CLAUSES = {
    "cat": "a cat meowing",
    "chirping birds": "birds chirping",
    "unlabelled bird": "a bird calling",
    "cow": "a cow mooing",
    "crow": "a crow cawing",
    "dog": "a dog barking",
    "frog": "a frog croaking",
    "hen": "a hen clucking",
    "insects": "insects buzzing",
    "cricket": "a cricket chirping",
    "pig": "a pig grunting",
    "rooster": "a rooster crowing",
    "sheep": "a sheep bleating",
    "donkey": "a donkey braying",
    "lion": "a lion roaring",
    "bear": "a bear growling",
    "horse": "a horse neighing",
    "elephant": "an elephant trumpeting",
    "chainsaw": "a chainsaw running",
    "clock tick": "a clock ticking",
    "crackling fire": "a fire crackling",
    "crying baby": "a baby crying",
    "laughing baby": "a baby laughing",
    "helicopter": "a helicopter flying",
    "rain": "rain falling",
    "sea waves": "sea waves",
    "sneezing": "a person sneezing",
    "wind": "wind blowing",
    "silence": "silence",
    "background noise": "background noise",
    NONE: "underwater noise",
}


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One kind of sound, as a row of the manifest names it."""

    label: str
    kind: str
    """animal, environment, speech, music, noise or unlabelled."""
    taxonomic_name: str = ""
    """Phylum, class, order, family, genus and species; or the binomial; or nothing."""

    @property
    def is_animal(self) -> bool:
        """Whether an animal is heard, named or not."""
        return self.kind in ("animal", "unlabelled")

    @property
    def named(self) -> bool:
        """Whether the label can be an answer to a question for a name."""
        return self.kind != "unlabelled" and self.label != NONE

    @property
    def ranks(self) -> list[str]:
        """The six words from phylum to species, or nothing."""
        words = self.taxonomic_name.split()
        return words if len(words) == 6 else []

    @property
    def scientific_name(self) -> str:
        """The binomial, or nothing."""
        return " ".join(self.taxonomic_name.split()[-2:])


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


def clause(sound: Sound, *, scientific: bool = False) -> str:
    """Return what a sound is in a caption, such as `a dog barking`."""
    if scientific and sound.is_animal and sound.scientific_name:
        return f"{sound.scientific_name} calling"
    if sound.label in _CLAUSES:
        return _CLAUSES[sound.label]
    if sound.kind == "speech":
        return f"a person saying {sound.label.removeprefix('speech: ')}"
    article = "an" if sound.label[0].lower() in "aeiou" else "a"
    return f"{article} {sound.label} {'playing' if sound.kind == 'music' else 'calling'}"


def caption(sounds: Sequence[Sound], *, scientific: bool = False) -> str:
    """Return one sentence on all sounds, such as `A dog barking and rain falling.`"""
    clauses = [clause(sound, scientific=scientific) for sound in sounds]
    text = " and ".join(part for part in (", ".join(clauses[:-1]), clauses[-1]) if part)
    return f"{text[0].upper()}{text[1:]}."


def answer_list(labels: Sequence[str]) -> str:
    """Return the labels without repetition, comma-separated in alphabetical order, or `None`."""
    return ", ".join(sorted(set(labels), key=str.lower)) or NONE


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
                (1.2, _detect_open),
                (2.5 if first.label in WHALE_LABELS else 0.8, self._detect),
            ]
        if heard.animals and heard.countable:
            tasks.append((2.5 if len(heard.animals) > 1 else 0.8, _how_many))
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
