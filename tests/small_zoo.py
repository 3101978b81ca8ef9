"""A small collection of recordings that the tests of building benchmarks share."""

from __future__ import annotations

import csv
import dataclasses
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from naturelm_audio.beans_build.planned import Heard
from naturelm_audio.beans_build.sounds import Sound
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.taxonomy import parse_taxon

SPECIES = {
    "Eurasian Wren": "Chordata Aves Passeriformes Troglodytidae Troglodytes troglodytes",
    "European Robin": "Chordata Aves Passeriformes Muscicapidae Erithacus rubecula",
    "Barn Owl": "Chordata Aves Strigiformes Tytonidae Tyto alba",
    "Zebra Finch": "Chordata Aves Passeriformes Estrildidae Taeniopygia guttata",  # held out by the paper
}
COLUMNS = (
    "path", "label", "taxonomic_name", "kind", "recording", "split", "events", "source", "licence",
    "call_type", "life_stage", "individual", "caption", "background",
)  # fmt: skip


def write_tone(path: Path, hertz: float, *, seconds: float = 1.0, sample_rate_hz: int = 16_000) -> None:
    """Write a tone; whole numbers, as formats round real ones in different ways."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    samples = np.round(9000 * np.sin(2 * np.pi * hertz * time_s)).astype(np.int16)
    soundfile.write(path, samples, sample_rate_hz)


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def recording(name: str = "", number: int = 0, **fields: Any) -> Labelled:
    """A row of a table, without a file."""
    given = {
        "path": f"{name or 'x'}-{number}.wav",
        "common_name": name,
        "taxon": parse_taxon(SPECIES.get(name, "")),
        "recording_id": f"{name}-{number}",
        "source": "zoo",
    }
    return Labelled(**{**given, **fields})


def heard(one: Labelled, *, seconds: float = 12.0, peak: float = 0.5, level_db: float = -20.0) -> Heard:
    """A recording with a made-up sound, different for each path."""
    sound = Sound(seconds, array("f", [peak] * int(np.ceil(seconds))), level_db, f"hash of {one.path}")
    return Heard(dataclasses.replace(one, seconds=seconds), sound)
