"""Free-text answers of a benchmark -> labels, by the published rule (official) and by a mended one (strict).

| | official | strict |
|---|---|---|
| labels | distinct gold strings of the file | the component's list |
| text | up to the end token | up to any end token, NFC, stripped |
| match | itself, else the nearest | itself, itself but for case, else the nearest |
| empty | the nearest label | no match |
| detection | pieces against whole gold strings | pieces against single labels, which may have commas |

In both, a detected piece further than five edits from every label is None, and of equally near labels the
first in the component's list wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from naturelm_audio.components import Component
from naturelm_audio.labels import END_TOKENS, NONE, LabelSet, Match, cut, is_none, normalise

__all__ = [
    "FARTHEST",
    "Answered",
    "label_parts",
    "official_answers",
    "official_labels",
    "strict_answers",
    "strict_labels",
]

FARTHEST = 5  # edits from a detected piece to its label
OFFICIAL_END = END_TOKENS[:1]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a text stands for: ``label`` is the processed string, None without a match.

    ``distance`` is that of the farthest piece, ``choices`` what each tied piece could have been as well;
    ``text`` is the text that was matched.
    """

    label: str | None
    text: str
    distance: int = 0
    choices: tuple[tuple[str, ...], ...] = ()


def official_labels(component: Component, gold: Sequence[str]) -> LabelSet:
    """Return the gold strings in the component's order, others after them as they appear."""
    there = dict.fromkeys(gold)
    if component.task == "detection":
        there[NONE] = None
    listed = [label for label in component.labels if label in there]
    return LabelSet(dict.fromkeys([*listed, *there]))


def strict_labels(component: Component) -> LabelSet:
    """Return the component's own list; detection has None besides."""
    none = [NONE] if component.task == "detection" and NONE not in component.labels else []
    return LabelSet([*component.labels, *none])


def official_answers(task: str, texts: Sequence[str], labels: LabelSet) -> list[Answered]:
    """Return what each text stands for by the published rule."""
    pieces = {text: _official_pieces(task, text) for text in dict.fromkeys(texts)}
    matches = labels.nearest(piece for some in pieces.values() for piece in some)
    found: dict[str, Answered] = {}
    for text, some in pieces.items():
        matched = [_limited(matches[piece]) if task == "detection" else matches[piece] for piece in some]
        found[text] = _answered(", ".join(match.label or NONE for match in matched), ", ".join(some), matched)
    return [found[text] for text in texts]


def _official_pieces(task: str, text: str) -> list[str]:
    if task == "detection":
        return [cut(piece.strip(), OFFICIAL_END) for piece in text.split(",")]
    return [cut(text, OFFICIAL_END)]


def strict_answers(task: str, texts: Sequence[str], labels: LabelSet) -> list[Answered]:
    """Return what each text stands for by the mended rule; no text, or blanks alone, stand for nothing."""
    normal = {text: normalise(text) for text in dict.fromkeys(texts)}
    pieces = {
        text: (labels.split(words) if task == "detection" else [words]) if words else []
        for text, words in normal.items()
    }
    matches = _strict_matches((piece for some in pieces.values() for piece in some if piece), labels)
    found: dict[str, Answered] = {}
    for text, some in pieces.items():
        matched = [matches[piece] for piece in some if piece]
        if task == "detection":
            matched = [_limited(match) for match in matched]
        kept = [match.label for match in matched if match.label is not None]
        if task == "detection" and kept:
            named = dict.fromkeys(label for label in kept if not is_none(label))
            kept = list(named) or [NONE]
        found[text] = _answered(", ".join(kept) if kept else None, normal[text], matched)
    return [found[text] for text in texts]


def _strict_matches(pieces: Iterable[str], labels: LabelSet) -> dict[str, Match]:
    same = {piece: labels.same(piece) for piece in dict.fromkeys(pieces)}
    near = labels.nearest(piece for piece, label in same.items() if label is None)
    return {
        piece: near[piece] if label is None else Match(label, 0, (label,)) for piece, label in same.items()
    }


def _limited(match: Match) -> Match:
    """The match, or None where it is too far off."""
    too_far = match.distance is not None and match.distance > FARTHEST
    return Match(NONE, match.distance, (NONE,)) if too_far else match


def _answered(label: str | None, text: str, matched: Sequence[Match]) -> Answered:
    distance = max((match.distance or 0 for match in matched), default=0)
    return Answered(label, text, distance, tuple(match.tied for match in matched if len(match.tied) > 1))


def label_parts(label: str | None, labels: LabelSet | None = None) -> frozenset[str]:
    """Return the single labels of a processed or gold string, without None.

    With a list, its labels that have commas stay whole, and others take their form in the list; without one
    every comma separates.
    """
    if label is None:
        return frozenset()
    pieces = [piece.strip() for piece in label.split(",")] if labels is None else labels.split(label)
    if labels is not None:
        pieces = [labels.same(piece) or piece for piece in pieces]
    return frozenset(piece for piece in pieces if piece and not is_none(piece))
