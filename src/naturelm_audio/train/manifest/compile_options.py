"""What to make of a table of labelled recordings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.counting import CountingOptions
from naturelm_audio.train.manifest.problems import did_you_mean
from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions
from naturelm_audio.train.manifest.splits import SplitBy
from naturelm_audio.train.manifest.tasks import FAMILIES, TaskOptions

__all__ = ["ALL_FAMILIES", "DEFAULT_FAMILIES", "CompileOptions"]

ALL_FAMILIES = (*FAMILIES, "soundscapes", "counting", "few-shot", "in-context")
# The other two are ours: the paper doesn't describe them.
DEFAULT_FAMILIES = ALL_FAMILIES[:-2]


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What to make of a table.

    Raises:
        OptionsError: an unknown family, or a number out of range.
    """

    seed: int = 0
    families: tuple[str, ...] = DEFAULT_FAMILIES
    tasks: TaskOptions = field(default_factory=TaskOptions)
    soundscapes: SoundscapeOptions = field(default_factory=SoundscapeOptions)
    counting: CountingOptions = field(default_factory=CountingOptions)
    languages: tuple[str, ...] = ("en",)
    """Of common names; each recording gets one of them."""
    audio_root: str | None = None
    """Where the files are; None doesn't look for them."""
    bad_rows: str = "refuse"
    """Or ``drop``: leave faulty rows out and count them."""
    held_out: str = "drop"
    """Or ``refuse``: any row of a held-out taxon is an error; ``test``: they become a test split."""
    valid_share: float = 0.0
    """Of recordings without a split that are kept for validation."""
    split_by: SplitBy = "recording"
    balance: float = 0.0
    """Weight of a row by its taxon of n rows: n to the power of minus this; 1 makes all taxa equal."""
    most_per_taxon: int | None = None
    """More recordings than this of one taxon are left out, chosen by the seed."""
    compare_audio: bool = False
    """Whether recordings that sound the same as held-out or validation ones are left out; reads all audio."""
    workers: int = 1

    def __post_init__(self) -> None:
        """Check every field."""
        for family in self.families:
            if family not in ALL_FAMILIES:
                hint = did_you_mean(family, ALL_FAMILIES) or f"; there are {', '.join(ALL_FAMILIES)}"
                raise OptionsError(f"there is no family of tasks {family!r}{hint}")
        if self.bad_rows not in ("refuse", "drop"):
            raise OptionsError(f"bad_rows must be refuse or drop, not {self.bad_rows!r}")
        if self.held_out not in ("refuse", "drop", "test"):
            raise OptionsError(f"held_out must be refuse, drop or test, not {self.held_out!r}")
        shares = (*dataclasses.astuple(self.tasks)[1:4], self.valid_share)
        if not all(0 <= share <= 1 for share in shares):
            raise OptionsError("probabilities and shares must be from 0 to 1")
        if not 0 <= self.balance <= 1:
            raise OptionsError(f"balance must be from 0 (by frequency) to 1 (equal), not {self.balance}")
        if self.workers < 1 or (self.most_per_taxon is not None and self.most_per_taxon < 1):
            raise OptionsError("workers and most_per_taxon must be 1 or more")
        if not 1 <= self.tasks.most_negatives <= 35 or not self.languages:
            raise OptionsError("most_negatives must be from 1 to 35, and there must be a language")
