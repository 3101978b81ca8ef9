"""Free text -> labels of a list: split at commas, normalise, nearest label by edit distance, stable ties.

Knows nothing of benchmarks or files. Distances are plain Levenshtein distances over code points, and of
equally near labels the first of the list wins, so the winner depends on nothing but the text and the list.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from naturelm_audio.errors import LabelError

__all__ = ["END_TOKENS", "NONE", "LabelSet", "Match", "distances", "edit_distances", "is_none", "normalise"]

NONE = "None"
END_TOKENS = ("<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "</s>")
_CELLS = 2_000_000  # of a table of distances that is held at once
_TEXTS_AT_ONCE = 64  # so that a column stays in the processor's cache
_ONE, _TOP = np.uint64(1), np.uint64(63)


def is_none(text: str) -> bool:
    """Whether the text is the answer "None", in any case and with blanks around it."""
    return text.strip().lower() == NONE.lower()


def normalise(text: str) -> str:
    """Return the text up to its first end token, in Unicode NFC, without blanks around it."""
    return unicodedata.normalize("NFC", cut(text, END_TOKENS)).strip()


def cut(text: str, end_tokens: Sequence[str]) -> str:
    """Return the text up to the first of the tokens."""
    for token in end_tokens:
        text = text.split(token, 1)[0]
    return text


@dataclass(frozen=True, slots=True)
class Match:
    """The label that a text stands for.

    ``distance`` is 0 for the label itself, and ``tied`` has all labels that are equally near, the winner
    first. Without a match ``label`` is None; ``distance`` then tells how far the nearest was, if one was
    looked for.
    """

    label: str | None
    distance: int | None
    tied: tuple[str, ...] = ()


class LabelSet:
    """A list of distinct labels, and the texts that it has matched so far.

    Raises:
        LabelError: the list is empty, or a label is blank or there twice.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels = tuple(labels)
        self._check()
        self._index = {label: number for number, label in enumerate(self.labels)}
        self._matches: dict[str, Match] = {}
        self._normal: dict[str, str] = {}
        self._folded: dict[str, str] = {}
        for label in self.labels:
            self._normal.setdefault(normalise(label), label)
            self._folded.setdefault(normalise(label).casefold(), label)
        self._longest_run = max(label.count(",") for label in self.labels) + 1

    def _check(self) -> None:
        if not self.labels:
            raise LabelError("the list of labels is empty: give at least one")
        seen: set[str] = set()
        for label in self.labels:
            if not isinstance(label, str):
                raise LabelError(f"the list of labels has {label!r}, which is not text: put it in quotes")
            if label in seen:
                raise LabelError(f"the list of labels has {label!r} twice: keep one")
            seen.add(label)

    def __contains__(self, label: object) -> bool:
        return label in self._index

    def __len__(self) -> int:
        return len(self.labels)

    def same(self, text: str) -> str | None:
        """Return the label that is this text up to normalisation, then up to case; None if none is."""
        text = normalise(text)
        return self._normal.get(text) or self._folded.get(text.casefold())

    def nearest(self, texts: Iterable[str]) -> dict[str, Match]:
        """Return text -> the nearest label, as it is, without normalisation or a limit."""
        wanted = list(dict.fromkeys(texts))
        missing = [text for text in wanted if text not in self._matches and text not in self._index]
        step = max(_CELLS // len(self.labels), 1)
        for start in range(0, len(missing), step):
            some = missing[start : start + step]
            table = distances(some, self.labels)
            winners, least = table.argmin(axis=1), table.min(axis=1)
            counts = (table == least[:, None]).sum(axis=1)
            for row, text in enumerate(some):
                tied: tuple[str, ...] = (self.labels[winners[row]],)
                if counts[row] > 1:
                    tied = tuple(self.labels[column] for column in np.flatnonzero(table[row] == least[row]))
                self._matches[text] = Match(tied[0], int(least[row]), tied)
        return {
            text: Match(text, 0, (text,)) if text in self._index else self._matches[text] for text in wanted
        }

    def split(self, text: str) -> list[str]:
        """Return the stripped pieces between commas; labels of the list that have commas stay whole."""
        pieces = text.split(",")
        if self._longest_run == 1:
            return [piece.strip() for piece in pieces]
        found, start = [], 0
        while start < len(pieces):
            for end in range(min(start + self._longest_run, len(pieces)), start, -1):
                joined = ",".join(pieces[start:end])
                if end == start + 1 or self.same(joined) is not None:
                    found.append(joined.strip())
                    start = end
                    break
        return found


def distances(texts: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return the edit distance of every text to every label, (texts, labels)."""
    try:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist
    except ImportError:
        return edit_distances(texts, labels)
    table: Any = cdist(texts, labels, scorer=Levenshtein.distance, dtype=np.int32, workers=1)
    return np.asarray(table, dtype=np.int32)


def edit_distances(texts: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return what :func:`distances` does, with numpy alone.

    Bit-parallel: a column of the usual table is held as the signs of its steps, 64 characters of a label per
    word, for all labels and some texts at once. Source: Hyyrö (2003), after Myers (1999).
    """
    codes, masks, last = _bit_masks(labels)
    lengths = np.array([len(label) for label in labels], dtype=np.int32)
    table = np.empty((len(texts), len(labels)), dtype=np.int32)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        some = order[start : start + _TEXTS_AT_ONCE]
        table[some] = _distances([texts[number] for number in some], lengths, codes, masks, last)
    return table


Words = npt.NDArray[np.uint64]


def _bit_masks(labels: Sequence[str]) -> tuple[dict[str, int], Words, Words]:
    """What the distances need to know of L labels of at most 64 W characters.

    Character -> its row in the masks; masks (W, characters + 1, L) of where each label has it, the last row
    for characters that no label has; and (W, L) with the bit of each label's last character.
    """
    codes = {character: row for row, character in enumerate(sorted(set("".join(labels))))}
    words = max((len(label) + 63) // 64 for label in labels)
    masks = np.zeros((max(words, 1), len(codes) + 1, len(labels)), dtype=np.uint64)
    last = np.zeros((len(masks), len(labels)), dtype=np.uint64)
    for column, label in enumerate(labels):
        for place, character in enumerate(label):
            masks[place // 64, codes[character], column] |= np.uint64(1 << (place % 64))
        if label:
            last[(len(label) - 1) // 64, column] = np.uint64(1 << ((len(label) - 1) % 64))
    return codes, masks, last


def _distances(
    texts: Sequence[str], lengths: npt.NDArray[np.int32], codes: dict[str, int], masks: Words, last: Words
) -> npt.NDArray[np.int32]:
    """Distances (T, L) of T texts, short ones first."""
    shape = (len(texts), len(lengths))
    up = np.full((len(masks), *shape), ~np.uint64(0))  # where a step down the column adds one
    down = np.zeros_like(up)  # where it takes one off
    result = np.broadcast_to(lengths, shape).copy()
    text_lengths = np.array([len(text) for text in texts])
    rows = np.full((len(texts), int(text_lengths.max(initial=0))), len(codes))
    for number, text in enumerate(texts):
        rows[number, : len(text)] = [codes.get(character, len(codes)) for character in text]
    for place in range(rows.shape[1]):
        first = int(np.searchsorted(text_lengths, place, side="right"))  # shorter texts are done
        plus, minus = np.ones_like(up[0, first:]), np.zeros_like(up[0, first:])
        for word in range(len(masks)):
            equal = masks[word][rows[first:, place]]
            higher, lower = _advance(up[word, first:], down[word, first:], equal, plus, minus)
            result[first:] += (higher & last[word]) != 0
            result[first:] -= (lower & last[word]) != 0
            plus, minus = higher >> _TOP, lower >> _TOP
    result[:, lengths == 0] = text_lengths[:, None]
    return result


def _advance(up: Words, down: Words, equal: Words, plus: Words, minus: Words) -> tuple[Words, Words]:
    """Move one word of a column to the text's next character, in place.

    ``plus`` and ``minus`` are the steps along the text that come in from the word above; what comes back has
    such steps for every bit of this one.
    """
    vertical = equal | down
    equal = equal | minus
    horizontal = (((equal & up) + up) ^ up) | equal
    higher, lower = down | ~(horizontal | up), up & horizontal
    shifted, sunk = (higher << _ONE) | plus, (lower << _ONE) | minus
    up[...] = sunk | ~(vertical | shifted)
    down[...] = shifted & vertical
    return higher, lower
