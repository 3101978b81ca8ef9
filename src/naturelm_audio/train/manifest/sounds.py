"""What is heard in a recording, in words: labels, lists of them, and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NONE", "Sound", "answer_list", "caption", "clause"]

NONE = "None"
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
