"""What is wrong with rows of a user's file: gathered, then told all at once with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from naturelm_audio.errors import NatureLMError

__all__ = ["ManifestError", "Problem", "did_you_mean", "refuse_if_any"]

_MOST_SHOWN = 100


@dataclass(frozen=True)
class Problem:
    """One fault of one row; ``line`` counts from 1, and 0 is the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class ManifestError(NatureLMError):
    """A table or annotation file with faulty rows.

    Args:
        summary: one line on what to do.
        problems: every fault; the message shows the first hundred.
    """

    def __init__(self, summary: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        lines = [summary, *(f"  {problem}" for problem in self.problems[:_MOST_SHOWN])]
        if len(self.problems) > _MOST_SHOWN:
            lines.append(f"  and {len(self.problems) - _MOST_SHOWN} more")
        super().__init__("\n".join(lines))


def refuse_if_any(problems: Sequence[Problem], what: str) -> None:
    """Do nothing where there are no problems.

    Raises:
        ManifestError: there are some.
    """
    if problems:
        rows = "1 fault" if len(problems) == 1 else f"{len(problems)} faults"
        raise ManifestError(f"{what}: {rows}; mend or remove these rows:", problems)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'path'?``, or nothing."""
    by_folded = {one.casefold(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.7)
    return f"; did you mean {by_folded[close[0]]!r}?" if close else ""
