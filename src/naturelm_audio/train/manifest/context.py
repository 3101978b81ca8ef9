"""What is known of a recording besides its sound, as text that never gives the answer away."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from functools import lru_cache

from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.taxonomy import RANKS, Taxon, synonyms_of
from naturelm_audio.train.manifest.wordings import CONTEXT

__all__ = ["context_of", "without_answer"]


def context_of(recording: Labelled, draw: random.Random, *, drop_probability: float = 0.3) -> str | None:
    """Return time, coordinates, altitude, place and notes in a sentence; None if none of them is known.

    Each part is left out with the given probability, so nothing may be left.
    """
    parts = {
        "time": recording.recorded_at,
        "coordinates": _coordinates(recording),
        "altitude": "" if recording.altitude is None else f"{recording.altitude:.0f}",
        "place": without_answer(recording.place, recording.common_name, recording.taxon),
        "notes": without_answer(recording.notes, recording.common_name, recording.taxon),
    }
    if not any(parts.values()):
        return None
    kept = {
        name: CONTEXT[name].format(part)
        for name, part in parts.items()
        # One draw for each part, known or not: what one table knows doesn't change another's draws.
        if draw.random() >= drop_probability and part
    }
    notes = kept.pop("notes", "")
    where = ", ".join(kept.values())
    where = where if not where or "time" in kept else f"Recorded at {where}"
    return " ".join(f"{part.rstrip('.')}." for part in (where, notes) if part)


def without_answer(text: str, common_name: str, taxon: Taxon) -> str:
    """Return a text without the names of a species: common, scientific, synonyms, genus and wider ranks.

    The last word of a common name goes too (``wren``): it is most of the answer.
    """
    pattern = _telling_pattern(common_name, taxon)
    before = None
    while pattern is not None and text != before:  # what is left may join to a name again
        before, text = text, pattern.sub(" ", text)
    text = re.sub(r"\s+([,.;:!?)])", r"\1", text)
    text = re.sub(r"\(\s*\)|\[\s*\]|[\"']\s*[\"']", " ", text)
    text = re.sub(r"([,;:])(?:\s*[,;:.])+", r"\1", text)
    return " ".join(text.split()).strip(" ,;:.-")


@lru_cache(maxsize=4096)
def _telling_pattern(common_name: str, taxon: Taxon) -> re.Pattern[str] | None:
    """Return what finds any telling name, in any case, with blanks or hyphens, also as a plural."""
    names = sorted(_telling(common_name, taxon), key=lambda name: (-len(name), name))
    written = [r"[\s_-]*".join(re.escape(word) for word in re.split(r"[\s_-]+", name)) for name in names]
    joined = "|".join(written)
    return re.compile(rf"(?<!\w)(?:{joined})(?:'s|s'|es|s)?(?!\w)", re.IGNORECASE) if joined else None


def _telling(common_name: str, taxon: Taxon) -> Iterable[str]:
    """Yield what would give the species away."""
    names = {common_name, taxon.given, *(getattr(taxon, rank) for rank in RANKS)}
    if common_name:
        names.add(re.split(r"[\s-]+", common_name)[-1])
    for species in synonyms_of(taxon.species) if taxon.species else ():
        genus, epithet = species.split()[:2]
        names |= {species, genus, epithet, f"{genus[0]}. {epithet}", f"{genus[0]} {epithet}"}
    return {name for name in names if len(name) > 1}


def _coordinates(recording: Labelled) -> str:
    """Return ``41.9 N 87.6 W``, or nothing."""
    if recording.latitude is None or recording.longitude is None:
        return ""
    north = f"{abs(recording.latitude):.1f} {'N' if recording.latitude >= 0 else 'S'}"
    return f"{north} {abs(recording.longitude):.1f} {'E' if recording.longitude >= 0 else 'W'}"
