"""Names of animals: ranks, synonyms, and wrong candidates that are hard because they are relatives."""

from __future__ import annotations

import csv
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

__all__ = ["RANKS", "Candidates", "Taxon", "accepted", "is_scientific", "parse_taxon", "synonyms_of"]

RANKS = ("phylum", "class_", "order", "family", "genus")
_HARD_RANKS = ("family", "order", "phylum")
_UNNAMED = {"sp", "sp.", "spp", "spp.", "cf.", "aff.", "x", "\u00d7", "hybrid"}

Kind = Literal["random", "hard"]


@dataclass(frozen=True, kw_only=True)
class Taxon:
    """What is known of a species; ``species`` is the binomial, and nothing stands for unknown."""

    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""
    species: str = ""
    given: str = ""
    """The scientific name as it was written, with its subspecies."""

    @property
    def taxonomic_name(self) -> str:
        """Phylum, class, order, family and the binomial: six words, or nothing."""
        words = (self.phylum, self.class_, self.order, self.family, self.species)
        return " ".join(words) if all(words) and len(self.species.split()) == 2 else ""


def is_scientific(name: str) -> bool:
    """Return whether a name is written like a scientific one: ``Rana sp.``, a binomial, or six ranks."""
    return re.match(r"([A-Z][a-z]+ ){1,5}[a-z\u00d7]", name.replace("_", " ")) is not None


def parse_taxon(scientific_name: str = "", **ranks: str) -> Taxon:
    """Return the taxon of a scientific name and of ranks that are known beside it.

    The name may be a binomial, one with a subspecies or author, a genus (``Rana sp.``), or the six words from
    phylum to species. Hybrids have no species.
    """
    words = scientific_name.replace("_", " ").split()
    known = {rank: " ".join(ranks.get(rank, "").split()).capitalize() for rank in RANKS}
    if len(words) == 6 and all(word[0].isupper() for word in words[:5]) and words[5][0].islower():
        known |= {rank: known[rank] or word for rank, word in zip(RANKS[:4], words[:4], strict=True)}
        words = words[4:]
    genus = words[0].capitalize() if words else ""
    hybrid = any(word.casefold() in ("x", "\u00d7", "hybrid") for word in words)
    named = len(words) > 1 and re.fullmatch(r"[a-zäëïöüé-]+", words[1].casefold())
    species = f"{genus} {words[1].casefold()}" if named and words[1].casefold() not in _UNNAMED else ""
    known["genus"] = known["genus"] or genus
    return Taxon(**known, species="" if hybrid else species, given=" ".join(words))


@lru_cache(maxsize=1)
def _synonyms() -> dict[str, str]:
    """Return other name -> accepted name, from the table that is shipped."""
    path = resources.files("naturelm_audio.train.manifest") / "data" / "synonyms.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {row["synonym"]: row["accepted"] for row in rows}


def accepted(species: str) -> str:
    """Return the accepted binomial of a species; names without a known synonym are their own."""
    return _synonyms().get(species, species)


@lru_cache(maxsize=100_000)
def synonyms_of(species: str) -> tuple[str, ...]:
    """Return every known binomial of a species, itself included, sorted."""
    name = accepted(species)
    return tuple(sorted({name, species, *(other for other, real in _synonyms().items() if real == name)}))


@dataclass(frozen=True, kw_only=True)
class _Entry:
    name: str
    key: str
    taxon: Taxon


class Candidates:
    """Names of one kind (common, scientific or of sounds), from which wrong candidates are drawn.

    One name stands for each species: the most frequent one. Names with commas can't be in a list and are left
    out.

    Args:
        named: pairs of a name and its taxon, with repetitions.
    """

    def __init__(self, named: Iterable[tuple[str, Taxon]]) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        taxa: dict[str, Taxon] = {}
        for name, taxon in named:
            if name and "," not in name and name.casefold() != "none":
                key = self.key(name, taxon)
                counts[key][name] += 1
                taxa[key] = max((taxa.get(key, taxon), taxon), key=_completeness)
        entries = [
            _Entry(name=min(names, key=lambda name: (-names[name], name)), key=key, taxon=taxa[key])
            for key, names in counts.items()
        ]
        self._entries = sorted(entries, key=lambda entry: (entry.name, entry.key))
        self._by_rank: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
        for entry in self._entries:
            for rank in _HARD_RANKS:
                if value := getattr(entry.taxon, rank):
                    self._by_rank[rank, value].append(entry)

    @staticmethod
    def key(name: str, taxon: Taxon) -> str:
        """Return what two names of one species have in common."""
        return accepted(taxon.species) or name.casefold()

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._entries)

    def negatives(
        self,
        targets: Collection[tuple[str, Taxon]],
        draw: random.Random,
        *,
        count: int,
        random_probability: float = 0.3,
    ) -> tuple[list[str], Kind]:
        """Return up to ``count`` wrong names for the first target, none of any target, and their kind.

        Hard ones share its family, order or phylum, each rank being drawn in a third of the cases; where it
        has too few, the rest comes from the next wider rank.
        """
        first = next(iter(targets))[1]
        kind: Kind = "random" if draw.random() < random_probability else "hard"
        rank = draw.randrange(len(_HARD_RANKS))
        pools: list[Sequence[_Entry]] = [self._entries]
        if kind == "hard":
            relatives = [self._by_rank.get((name, getattr(first, name)), []) for name in _HARD_RANKS[rank:]]
            kind = "hard" if any(len(pool) > 1 for pool in relatives) else "random"
            pools = [*relatives, self._entries]
        taken = {self.key(name, taxon) for name, taxon in targets}
        folded = {name.casefold() for name, _ in targets}
        names: list[str] = []
        for pool in pools:
            # At most those that are taken have to be passed over, so this many are enough.
            for entry in draw.sample(pool, min(count - len(names) + len(taken), len(pool))):
                fresh = entry.key not in taken and entry.name.casefold() not in folded
                if fresh and len(names) < count:
                    taken.add(entry.key)
                    folded.add(entry.name.casefold())
                    names.append(entry.name)
        return names, kind


def _completeness(taxon: Taxon) -> tuple[int, str]:
    return sum(bool(getattr(taxon, rank)) for rank in RANKS), taxon.taxonomic_name
