"""What counts as a detection: one rule for rows with ranked labels, one for free answers.

A row with ``labels`` counts its best label, if that is not "None" and its score is high enough. Any other row
counts its answer as it is, if that is not "None" and its confidence is high enough; answers are grouped by
their exact text, blanks aside. A window counts once. Windows that overlap are windows of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from naturelm_audio.labels import is_none
from naturelm_audio.records import Answer

__all__ = ["BELOW", "NOTHING", "UNSCORED", "Detection", "detected"]

NOTHING, BELOW, UNSCORED = "nothing", "below", "unscored"
"""Why a row is no detection: the answer is None; its score is too low; there is no score to compare."""


@dataclass(frozen=True)
class Detection:
    """One label in one window."""

    label: str
    score: float | None = None
    scientific_name: str | None = None


def detected(answer: Answer, min_confidence: float | None = None) -> Detection | str:
    """Return what a row without an error detects, or why it detects nothing."""
    if answer.labels:
        best = answer.labels[0]
        text, score = best.label, best.score
        found = Detection(" ".join(text.split()), score, best.scientific_name)
    else:
        text, score = answer.output or "", answer.confidence
        found = Detection(" ".join(text.split()), score)
    if not found.label or is_none(found.label):
        return NOTHING
    if min_confidence is not None and score is None:
        return UNSCORED
    if min_confidence is not None and score is not None and score < min_confidence:
        return BELOW
    return found
