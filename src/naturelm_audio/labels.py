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
    """Return what :func:`distances` does, with numpy alone."""
    codes, lengths = _code_points(labels)
    table = np.empty((len(texts), len(labels)), dtype=np.int32)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    step = max(_CELLS // max(codes.size, 1), 1)
    for start in range(0, len(order), step):
        some = order[start : start + step]
        table[some] = _distances([texts[number] for number in some], codes, lengths)
    return table


def _distances(
    texts: Sequence[str], codes: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Distances (T, L) of T texts, short ones first, to L labels of at most W characters.

    Row by row of the usual table. An insertion depends on its left neighbour, so a row is a running minimum
    of what it would be without insertions, once the column's own number is taken off.
    """
    text_codes, text_lengths = _code_points(texts)
    columns = np.arange(codes.shape[1] + 1, dtype=np.int32)
    row = np.broadcast_to(columns, (len(texts), len(lengths), len(columns))).copy()  # (T, L, W + 1)
    result = np.empty((len(texts), len(lengths)), dtype=np.int32)
    ends = np.broadcast_to(lengths[None, :, None], (len(texts), len(lengths), 1))
    done = 0
    for number in range(int(text_lengths.max(initial=0)) + 1):
        while done < len(texts) and text_lengths[done] == number:
            result[done] = np.take_along_axis(row[done], ends[done], axis=-1)[:, 0]
            done += 1
        if done == len(texts):
            break
        before = row[done:]
        after = np.empty_like(before)
        after[..., 0] = number + 1
        differs = text_codes[done:, number, None, None] != codes[None]
        np.minimum(before[..., 1:] + 1, before[..., :-1] + differs, out=after[..., 1:])
        after -= columns
        np.minimum.accumulate(after, axis=-1, out=after)
        after += columns
        row[done:] = after
    return result


def _code_points(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Code points (texts, longest), -1 after the end, and lengths (texts)."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    codes = np.full((len(texts), int(lengths.max(initial=0))), -1, dtype=np.int64)
    for number, text in enumerate(texts):
        codes[number, : len(text)] = [ord(character) for character in text]
    return codes, lengths
