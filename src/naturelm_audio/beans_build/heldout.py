"""Which species, genera and families training never hears, and what of them a benchmark measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from naturelm_audio.beans_build.options import LEVELS, BuildOptions, ComponentOptions
from naturelm_audio.beans_build.planned import Heard
from naturelm_audio.errors import LabelError, OptionsError
from naturelm_audio.train.manifest.holdouts import (
    HoldOuts,
    choose_holdouts,
    read_holdouts,
    shipped_holdouts,
)
from naturelm_audio.train.manifest.labelled import Labelled

__all__ = ["exclusion_list", "holdouts_of", "unseen"]


def holdouts_of(options: BuildOptions, recordings: Sequence[Labelled]) -> HoldOuts:
    """Return what is held out: the paper's lists, taxa drawn by its rule, or those of a file.

    Raises:
        OptionsError: there is no such file.
        ManifestError: the file can't be read.
    """
    given = options.hold_out
    if given == "paper":
        return shipped_holdouts()
    if given != "rule":
        if not Path(given).is_file():
            raise OptionsError(f"hold_out: {given!r} is neither paper, rule, nor a file of taxa")
        return read_holdouts(given)
    drawn = choose_holdouts(
        recordings, seed=options.seed, least=options.hold_out_least, **options.hold_out_counts
    )
    if not (drawn.families or drawn.genera or drawn.species):
        raise LabelError(
            "hold_out: rule: no taxon can be held out: a species needs 150 recordings of its genus, a "
            "genus or "
            "family 250 of its family or class: give more recordings, with all ranks, or a file of taxa"
        )
    return drawn


def unseen(given: Sequence[Heard], options: ComponentOptions, holdouts: HoldOuts) -> list[Heard]:
    """Return recordings of taxa that are held out at a rule's level.

    Raises:
        LabelError: there is none.
    """
    level = LEVELS[options.rule]
    found = [heard for heard in given if holdouts.reason(heard.recording.taxon).startswith(f"{level} ")]
    if not found:
        raise LabelError(
            f"component {options.title}: no recording is of a held-out {level}: the column of scientific "
            "names "
            "must tell it with all ranks; see hold_out"
        )
    return found


def exclusion_list(holdouts: HoldOuts) -> str:
    """Return the file of taxa and names that ``naturelm data compile --hold-out`` keeps out of training."""
    lines = ["# Keep these out of training: naturelm data compile --hold-out THIS-FILE"]
    lines += [*sorted(holdouts.families), *sorted(holdouts.genera), *sorted(holdouts.species)]
    lines += [f"common: {name}" for name in sorted(holdouts.common_names)]
    return "\n".join(lines) + "\n"
