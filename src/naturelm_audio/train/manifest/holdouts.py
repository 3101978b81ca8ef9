"""Taxa, recordings and clips that training must never hear, and what has to go because of them.

A row is out by family, genus or species, by any synonym, by a common name that any table gives to a held-out
species, by a caption or event that names one, by the id of a recording, or by the sound itself.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from naturelm_audio.audio import stream
from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.manifest.tables import read_text
from naturelm_audio.train.manifest.taxonomy import Taxon, accepted, is_scientific, parse_taxon, synonyms_of

__all__ = ["HoldOuts", "audio_hash", "choose_holdouts", "find_leaks", "read_holdouts", "shipped_holdouts"]

Level = Literal["families", "genera", "species"]
# Held out -> (its wider rank, how many examples that must have): only where much else is left to learn from.
CONDITIONS: dict[str, tuple[str, int]] = {
    "families": ("class_", 250),
    "genera": ("family", 250),
    "species": ("genus", 150),
}


@dataclass(frozen=True, kw_only=True)
class HoldOuts:
    """What is held out; taxa by scientific name, common names without case."""

    families: frozenset[str] = frozenset()
    genera: frozenset[str] = frozenset()
    species: frozenset[str] = frozenset()
    common_names: frozenset[str] = frozenset()
    recording_ids: frozenset[str] = frozenset()
    audio_hashes: frozenset[str] = frozenset()

    def reason(self, taxon: Taxon, common_name: str = "") -> str:
        """Return why a taxon is held out, or nothing."""
        if taxon.family in self.families and taxon.family:
            return f"family {taxon.family}"
        names = synonyms_of(taxon.species) if taxon.species else ()
        if taxon.given.count(" ") >= 2:  # a subspecies that is held out as a species
            genus, _, subspecies = taxon.given.split()[:3]
            names = (*names, accepted(f"{genus} {subspecies}"))
        for genus in (taxon.genus, *(name.split()[0] for name in names)):
            if genus in self.genera:
                return f"genus {genus}"
        for name in names:
            if name in self.species or name in self._accepted_species:
                return f"species {accepted(name)}"
        if common_name and common_name.casefold() in self.common_names:
            return f"common name {common_name}"
        return ""

    def reason_of_text(self, text: str) -> str:
        """Return which held-out name a text speaks of, or nothing."""
        found = self._pattern.search(text) if self._pattern is not None else None
        return f"a text names {found[0]}" if found else ""

    def reason_of(self, recording: Labelled) -> str:
        """Return why a recording is held out, or nothing; its sound is not looked at."""
        if recording.recording_id in self.recording_ids and recording.recording_id:
            return "recording id"
        found = self.reason(recording.taxon, recording.common_name)
        if found:
            return found
        texts = (*recording.texts, *(span.scientific_name for span in recording.events))
        return next(filter(None, (self.reason_of_text(text) for text in texts if text)), "")

    def reason_of_example(self, example: Example) -> str:
        """Return why a row of an annotation file or of the public set is held out, or nothing."""
        if example.recording_id in self.recording_ids and example.recording_id:
            return "recording id"
        known = {name: str(example.metadata.get(name) or "") for name in ("family", "genus", "species")}
        ranks = {"family": known["family"], "genus": known["genus"]}
        taxon = parse_taxon(known["species"] if is_scientific(known["species"]) else "", **ranks)
        texts = (example.text, example.prompt, *example.labels)
        common_name = str(example.metadata.get("common_name") or "")
        return self.reason(taxon, common_name) or next(filter(None, map(self.reason_of_text, texts)), "")

    def with_recordings(self, recordings: Iterable[Labelled], audio_root: Path | None = None) -> HoldOuts:
        """Return the same and these recordings: their ids, and with a root their sounds.

        Raises:
            AudioError: a file of theirs can't be read.
        """
        found = list(recordings)
        # Without an id of its own a recording goes by its path, which says nothing about other sets.
        ids = {one.recording_id for one in found if one.recording_id != one.path}
        hashes = set() if audio_root is None else {audio_hash(audio_root / one.path) for one in found}
        return dataclasses.replace(
            self, recording_ids=self.recording_ids | ids, audio_hashes=self.audio_hashes | hashes
        )

    def with_names_from(self, recordings: Iterable[Labelled]) -> HoldOuts:
        """Return the same with every common name that these recordings give to held-out species."""
        learned = {
            recording.common_name.casefold()
            for recording in recordings
            if recording.common_name and not recording.is_none and self.reason(recording.taxon)
        }
        return dataclasses.replace(self, common_names=self.common_names | learned)

    @cached_property
    def _accepted_species(self) -> frozenset[str]:
        return frozenset(accepted(name) for name in self.species)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        binomials = {other for name in self.species for other in synonyms_of(name)}
        # Names of genera and families count only with their capital: `vini` and `lesbia` are words.
        exact = "|".join(map(re.escape, sorted(self.families | self.genera)))
        folded = [re.sub(r"[\s-]+", " ", name) for name in sorted(self.common_names | binomials)]
        loose = "|".join(re.escape(name).replace(r"\ ", r"[\s-]+") for name in folded)
        parts = [rf"(?:{exact})" if exact else "", rf"(?i:{loose})(?:s|es)?" if loose else ""]
        joined = "|".join(filter(None, parts))
        return re.compile(rf"(?<!\w)(?:{joined})(?!\w)") if joined else None


def shipped_holdouts() -> HoldOuts:
    """Return the 10 families, 50 genera and 200 species of the paper, with common names where known."""
    folder = resources.files("naturelm_audio.train.manifest") / "data"

    def lines(level: str) -> frozenset[str]:
        return frozenset((folder / f"held_out_{level}.txt").read_text(encoding="utf-8").split("\n")) - {""}

    names = csv.DictReader((folder / "common_names.csv").read_text(encoding="utf-8").splitlines())
    return HoldOuts(
        families=lines("families"),
        genera=lines("genera"),
        species=lines("species"),
        common_names=frozenset(row["common_name"].casefold() for row in names),
    )


def read_holdouts(path: str | Path) -> HoldOuts:
    """Return hold-outs of a text file: a taxon, ``recording: id`` or ``audio: hash`` in each line.

    Taxa in -idae are families, two words are species, other single words genera; ``common: name`` is a common
    name. Empty lines and what follows # are passed over.

    Raises:
        ManifestError: it can't be read, or a line is none of these.
    """
    found: dict[str, set[str]] = defaultdict(set)
    prefixes = {"recording": "recording_ids", "audio": "audio_hashes", "common": "common_names"}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.split("#")[0].strip()
        prefix, colon, rest = text.partition(":")
        if colon and prefix in prefixes:
            found[prefixes[prefix]].add(rest.strip().casefold() if prefix == "common" else rest.strip())
        elif re.fullmatch(r"[A-Z][a-z]+ [a-z-]+", text):
            found["species"].add(text)
        elif re.fullmatch(r"[A-Z][a-z]+", text):
            found["families" if text.endswith("idae") else "genera"].add(text)
        elif text:
            raise ManifestError(f"{path}:{number}: {text!r} is no taxon, 'recording: id' or 'audio: hash'")
    return HoldOuts(**{name: frozenset(values) for name, values in found.items()})


def choose_holdouts(
    recordings: Sequence[Labelled],
    *,
    families: int = 10,
    genera: int = 50,
    species: int = 200,
    seed: int = 0,
    least: Mapping[str, int] | None = None,
) -> HoldOuts:
    """Return taxa drawn by the paper's rule: only where the wider rank has enough examples.

    The three sets are disjoint: no species of a held-out genus or family, no genus of a held-out family.
    Fewer than asked for are returned where no more fit.

    Raises:
        OptionsError: ``least`` names another level than families, genera and species.
    """
    for level in least or {}:
        if level not in CONDITIONS:
            raise OptionsError(f"there is no level {level!r}: families, genera, species")
    left = [one.taxon for one in recordings if one.taxon.genus and one.split in ("", "train")]
    chosen: dict[str, frozenset[str]] = {}
    own: dict[str, Callable[[Taxon], str]] = {
        "families": lambda taxon: taxon.family,
        "genera": lambda taxon: taxon.genus,
        "species": lambda taxon: accepted(taxon.species),
    }
    for level, count in (("families", families), ("genera", genera), ("species", species)):
        wider, most = CONDITIONS[level]
        wanted = (least or {}).get(level, most)
        sizes = Counter(getattr(taxon, wider) for taxon in left)
        of = own[level]
        fit = {of(t) for t in left if of(t) and getattr(t, wider) and sizes[getattr(t, wider)] >= wanted}
        drawn = sorted(fit, key=lambda name: (digest(seed, "hold out", level, name), name))[:count]
        chosen[level] = frozenset(drawn)
        left = [taxon for taxon in left if of(taxon) not in chosen[level]]
    return HoldOuts(families=chosen["families"], genera=chosen["genera"], species=chosen["species"])


def audio_hash(path: str | Path) -> str:
    """Return what a recording sounds like as 32 hexadecimal digits: equal for WAV and FLAC of one sound.

    Raises:
        AudioError: it can't be read.
    """
    found = hashlib.sha256()
    for block in stream(path):
        found.update(np.round(block * 32767.0).astype("<i2").tobytes())
    return found.hexdigest()[:32]


@dataclass(frozen=True)
class Leak:
    """Something that training and another set share."""

    by: Literal["taxon", "recording", "audio"]
    value: str
    train: tuple[str, ...] = field(default=())
    held: tuple[str, ...] = field(default=())


def find_leaks(
    train: Sequence[Labelled],
    held: Sequence[Labelled],
    *,
    hashes: Mapping[str, str] | None = None,
    taxa: bool = True,
) -> list[Leak]:
    """Return what two sets share: taxa (with synonyms and common names), recordings, and sounds.

    Args:
        train: what is learned from.
        held: what is kept for measuring.
        hashes: path -> :func:`audio_hash`, for both sets; without it sounds are not compared.
        taxa: whether shared taxa are leaks; they are not where only recordings are held out.
    """
    keys: list[tuple[Literal["taxon", "recording", "audio"], Callable[[Labelled], str]]] = [
        ("recording", lambda one: f"{one.source}/{one.recording_id}" if one.recording_id else ""),
        ("audio", lambda one: (hashes or {}).get(one.path, "")),
    ]
    if taxa:
        names = _species_by_name([*train, *held])
        keys.insert(0, ("taxon", lambda one: _species(one, names)))
    leaks = []
    for by, key in keys:
        ours, theirs = _paths_by(train, key), _paths_by(held, key)
        leaks += [Leak(by, value, ours[value], theirs[value]) for value in sorted(set(ours) & set(theirs))]
    return leaks


def _species_by_name(recordings: Iterable[Labelled]) -> dict[str, str]:
    return {
        one.common_name.casefold(): accepted(one.taxon.species)
        for one in sorted(recordings, key=lambda one: one.key)
        if one.taxon.species and one.common_name
    }


def _species(recording: Labelled, names: Mapping[str, str]) -> str:
    if recording.is_none or recording.kind != "animal":
        return ""
    folded = recording.common_name.casefold()
    return accepted(recording.taxon.species) or names.get(folded, folded)


def _paths_by(recordings: Sequence[Labelled], key: Callable[[Labelled], str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in recordings:
        if value := key(one):
            found[value].append(one.path)
    return {value: tuple(sorted(set(paths))) for value, paths in found.items()}
