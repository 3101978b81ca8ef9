"""Recordings of a small zoo that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.taxonomy import parse_taxon

BIRDS = (
    ("Eurasian Wren", "Chordata Aves Passeriformes Troglodytidae Troglodytes troglodytes"),
    ("House Wren", "Chordata Aves Passeriformes Troglodytidae Troglodytes aedon"),
    ("European Robin", "Chordata Aves Passeriformes Muscicapidae Erithacus rubecula"),
    ("Barn Owl", "Chordata Aves Strigiformes Tytonidae Tyto alba"),
    ("Barred Owl", "Chordata Aves Strigiformes Strigidae Strix varia"),
    ("Green Treefrog", "Chordata Amphibia Anura Hylidae Dryophytes cinereus"),
    ("Field Cricket", "Arthropoda Insecta Orthoptera Gryllidae Gryllus campestris"),
)


@pytest.fixture(scope="session")
def zoo() -> list[Labelled]:
    """Four recordings of each species with everything known, and some of other sounds."""
    found = []
    for place, (name, taxonomic_name) in enumerate(BIRDS):
        for number in range(4):
            found.append(
                Labelled(
                    path=f"{place}/{number}.wav",
                    common_name=name,
                    taxon=parse_taxon(taxonomic_name),
                    call_types=(("song",), ("call",), ("flight call", "call"), ("song", "call"))[number],
                    life_stage=("adult", "juvenile", "", "adult")[number],
                    sex=("male", "female", "", "male")[number],
                    notes=f"A {name.lower()} ({' '.join(taxonomic_name.split()[-2:])}) calling from reeds.",
                    caption=f"A {name} calls twice from the reeds while it rains." if number == 0 else "",
                    recorded_at="2019-05-12 06:30",
                    place="Illinois, United States",
                    latitude=41.9,
                    longitude=-87.6,
                    altitude=180.0,
                    background=("European Robin",) if number == 3 and name != "European Robin" else (),
                    seconds=12.0,
                    recording_id=f"rec-{place}-{number}",
                    split="valid" if number == 3 else "train",
                    events=(Span(1.0, 3.0), Span(9.0, 11.0)) if number == 1 else (),
                    source="zoo",
                )
            )
    for number, (name, kind) in enumerate(
        (("rain", "environment"), ("None", "noise"), ("unlabelled bird", "unlabelled"), ("hello", "speech"))
    ):
        found.append(
            Labelled(path=f"{kind}.wav", common_name=name, kind=kind, seconds=5.0, recording_id=f"o-{number}")
        )
    for name in ("flute", "organ", "harp"):
        found.append(
            Labelled(
                path=f"{name}.wav",
                common_name=name,
                kind="music",
                instrument=name,
                pitch_midi=69.0,
                seconds=4.0,
                velocity_midi=100.0,
                qualities=("bright", "reverb"),
                recording_id=name,
            )
        )
    return found


@pytest.fixture
def audio(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a short recording below the temporary folder and returns its path."""

    def write(name: str, seconds: float = 1.0, sample_rate_hz: int = 16_000, hertz: float = 440.0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
        # Whole numbers: formats round real ones in different ways.
        samples = np.round(10_000 * np.sin(2 * np.pi * hertz * time_s)).astype(np.int16)
        soundfile.write(path, samples, sample_rate_hz)
        return path

    return write
