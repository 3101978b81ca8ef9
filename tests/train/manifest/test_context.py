"""Context never gives the answer away, and each part is dropped as often as said."""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train.manifest.context import context_of, without_answer
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.taxonomy import parse_taxon

WREN = Labelled(
    path="a.wav",
    common_name="Eurasian Wren",
    taxon=parse_taxon("Chordata Aves Passeriformes Troglodytidae Troglodytes troglodytes"),
    notes="Eurasian wren (T. troglodytes), calling from reeds; a wren's alarm.",
    recorded_at="2019-05-12 06:30",
    place="Wren's Wood, Illinois",
    latitude=41.88,
    longitude=-87.62,
    altitude=180.4,
)


def test_everything_that_is_known():
    assert context_of(WREN, random.Random(1), drop_probability=0.0) == (
        "Recorded 2019-05-12 06:30, 41.9 N 87.6 W, 180 m, Wood, Illinois. Notes: calling from reeds; a alarm."
    )


def test_nothing_known_and_everything_dropped():
    assert context_of(Labelled(path="a"), random.Random(1)) is None
    assert context_of(WREN, random.Random(1), drop_probability=1.0) == ""
    south = dataclasses.replace(
        WREN, recorded_at="", notes="", place="", altitude=None, latitude=-1.0, longitude=2.0
    )
    assert context_of(south, random.Random(1), drop_probability=0.0) == "Recorded at 1.0 S 2.0 E."


def test_each_part_is_dropped_with_its_probability():
    draw, kept = random.Random(3), Counter()
    marks = {
        "time": "2019",
        "coordinates": "41.9",
        "altitude": "180 m",
        "place": "Illinois",
        "notes": "reeds",
    }
    for _ in range(2000):
        text = context_of(WREN, draw)
        kept.update(name for name, mark in marks.items() if mark in text)
    for name in marks:
        assert abs(kept[name] - 1400) < 5 * (2000 * 0.3 * 0.7) ** 0.5


NAMES = st.sampled_from(
    [
        ("Eurasian Wren", "Chordata Aves Passeriformes Troglodytidae Troglodytes troglodytes"),
        ("Black-hooded Parakeet", "Chordata Aves Psittaciformes Psittacidae Nandayus nenday"),
        ("Green Treefrog", "Chordata Amphibia Anura Hylidae Dryophytes cinereus"),
    ]
)


@given(NAMES, st.data())
def test_no_name_of_the_species_is_left(names, data):
    common_name, scientific = names
    taxon = parse_taxon(scientific)
    telling = [common_name, taxon.species, taxon.genus, taxon.family, taxon.order, common_name.split()[-1]]
    telling += [common_name.upper(), f"{common_name}s", f"{common_name}'s", common_name.replace(" ", "-"),
                taxon.species.lower(), taxon.species.replace(" ", "_"), "Aratinga nenday"]  # fmt: skip
    words = st.sampled_from([*telling, "calling", "from", "reeds,", "(pair)", "at", "dawn.", "ñandú"])
    text = without_answer(" ".join(data.draw(st.lists(words, max_size=8))), common_name, taxon)
    for name in (common_name, taxon.species, taxon.genus, taxon.family):
        assert not re.search(rf"(?<!\w){re.escape(name)}", text, re.IGNORECASE)
    if taxon.genus == "Nandayus":
        assert "Aratinga" not in text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("calling from reeds", "calling from reeds"),
        ("Wrenching noise, children", "Wrenching noise, children"),  # parts of words are no names
        ("Eurasian  Wren", ""),
        ("the (Eurasian Wren) sings", "the sings"),
    ],
)
def test_what_is_left(text, kept):
    assert without_answer(text, WREN.common_name, WREN.taxon) == kept
