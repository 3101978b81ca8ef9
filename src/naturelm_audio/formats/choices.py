"""What a conversion can be told, the same for every format that has room for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from naturelm_audio.errors import OptionsError

__all__ = ["FormatOptions"]


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """How rows become files of other formats.

    Args:
        per_file: one file for each recording (True), one for all (False), or what suits the format (None).
        merge: equal answers of windows that touch or overlap become one annotation.
        keep_none: the answer "None" is an annotation too.
        min_confidence: leave out what has a lower score; what has no score stays.
        top_k: best labels taken of a ranking; all labels of an answer that names several are always taken.
        split_answers: an answer without labels is cut at its commas.
        species: names to keep, as ``annotations.compared`` gives them; None keeps all.
        long: CSV with one row per label.
        byte_order_mark: CSV begins with one, for spreadsheets that guess encodings.
        spreadsheet_safe: CSV text that begins like a formula gets an apostrophe.
        frequency_lines: Audacity labels with their band.
        nominal_window_seconds: the official form's ends are start + this, as the official program has them.
        scores_as_probabilities: write scores where a format says probability, without calibration.
        media_url: put in front of names where a format links to recordings.
        dataset: what Camtrap DP must say of the project, see the documentation.

    Raises:
        OptionsError: a value is out of range.
    """

    per_file: bool | None = None
    merge: bool = False
    keep_none: bool = False
    min_confidence: float | None = None
    top_k: int = 1
    split_answers: bool = False
    species: frozenset[str] | None = None
    long: bool = False
    byte_order_mark: bool = False
    spreadsheet_safe: bool = False
    frequency_lines: bool = False
    nominal_window_seconds: float | None = None
    scores_as_probabilities: bool = False
    media_url: str = ""
    dataset: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be wrong."""
        if self.min_confidence is not None and not 0.0 <= self.min_confidence <= 1.0:
            raise OptionsError(f"--min-confidence must be from 0 to 1, found {self.min_confidence:g}")
        if self.top_k < 1:
            raise OptionsError(f"--top-k must be at least 1, found {self.top_k}")
        if self.species is not None and not self.species:
            raise OptionsError("the list of species is empty: name at least one, or leave it out")
