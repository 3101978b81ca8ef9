"""Held-out taxa: the lists of the paper, every synonym, and the rule by which others are drawn."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.holdouts import (
    HoldOuts,
    audio_hash,
    choose_holdouts,
    find_leaks,
    read_holdouts,
    shipped_holdouts,
)
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.taxonomy import Taxon, parse_taxon


@pytest.fixture(scope="module")
def paper():
    return shipped_holdouts()


def test_the_shipped_lists(paper):
    assert (len(paper.families), len(paper.genera), len(paper.species)) == (10, 50, 200)
    assert not {name.split()[0] for name in paper.species} & paper.genera


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Aplonis magna", "species Aplonis magna"),
        ("Taeniopygia guttata", "genus Taeniopygia"),
        ("Aratinga nenday", "genus Nandayus"),
        ("Cacicus latirostris", "genus Ocyalus"),
        ("Cacomantis leucolophus", "genus Caliechthrus"),
        ("Stizoptera bichenovii", "genus Taeniopygia"),
        ("Physeter catodon", "species Physeter macrocephalus"),
        ("Pica pica mauritanica", "species Pica mauritanica"),
        ("Chordata Mammalia Artiodactyla Suidae Sus scrofa", "family Suidae"),
        ("Aplonis grandis", ""),
        ("Aratinga solstitialis", ""),
        ("Pica pica", ""),
    ],
)
def test_taxa_and_their_synonyms(paper, name, reason):
    assert paper.reason(parse_taxon(name)) == reason


def test_a_genus_that_is_told_beside_another_name(paper):
    assert paper.reason(parse_taxon("Aratinga nenday", genus="Nandayus")) == "genus Nandayus"


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({"common_name": "Sperm Whale"}, True),
        ({"common_name": "sperm whale"}, True),
        ({"caption": "Two sperm whales click in turn."}, True),
        ({"caption": "A whale clicks."}, False),
        ({"notes": "with Taeniopygia guttata nearby"}, True),
        ({"notes": "wild-boar grunting"}, True),
        ({"background": ("Zebra Finch",)}, True),
        ({"events": (Span(0, 1, "zebra finch"),)}, True),
        ({"common_name": "Lesbian Swallow"}, False),  # Lesbia is a genus
        ({"notes": "vini vidi vici"}, False),  # Vini is one with its capital only
        ({"recording_id": "XC1"}, True),
    ],
)
def test_names_in_captions_notes_and_events(paper, change, held):
    holdouts = dataclasses.replace(paper, recording_ids=frozenset({"XC1"}))
    recording = Labelled(**{"path": "a.wav", "common_name": "bird", **change})
    assert bool(holdouts.reason_of(recording)) == held


def test_common_names_are_learned_from_any_table(paper):
    known = Labelled(path="a", common_name="Magnificent Starling", taxon=parse_taxon("Aplonis magna"))
    nameless = Labelled(path="b", common_name="magnificent starling")
    assert not paper.reason_of(nameless)
    assert paper.with_names_from([known]).reason_of(nameless) == "common name magnificent starling"


def test_rows_of_annotation_files(paper):
    row = Example(files=("a",), prompt="Which of these? Wren, Zebra Finch", text="Wren")
    assert "Zebra Finch" in paper.reason_of_example(row)
    assert not paper.reason_of_example(dataclasses.replace(row, prompt="Which of these? Wren, Robin"))
    family = dataclasses.replace(row, prompt="Q?", metadata={"family": "Suidae", "species": None})
    assert paper.reason_of_example(family) == "family Suidae"


def test_files_of_hold_outs(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text(
        "# mine\nHylidae\nTyto\nStrix varia # an owl\nrecording: XC1\naudio: ff\ncommon: Barn Owl\n"
    )
    found = read_holdouts(path)
    assert found.families == {"Hylidae"}
    assert found.genera == {"Tyto"}
    assert found.species == {"Strix varia"}
    assert (found.recording_ids, found.audio_hashes, found.common_names) == ({"XC1"}, {"ff"}, {"barn owl"})
    path.write_text("Hylidae\nsomething else!\n")
    with pytest.raises(ManifestError, match=r"out\.txt:2: 'something else!'"):
        read_holdouts(path)


def archive(sizes):
    """Recordings of families of genera of species with so many examples each."""
    return [
        Labelled(
            path=f"{family}{genus}{species}-{number}",
            taxon=Taxon(
                phylum="P", class_="Aves", order="O", family=f"F{family}", genus=f"G{family}x{genus}",
                species=f"G{family}x{genus} s{species}",
            ),
        )
        for family, genera in enumerate(sizes)
        for genus, counts in enumerate(genera)
        for species, count in enumerate(counts)
        for number in range(count)
    ]  # fmt: skip


SIZES = st.lists(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=4),
                 min_size=1, max_size=6)  # fmt: skip


@given(SIZES, st.integers(0, 99), st.randoms(use_true_random=False))
def test_drawn_hold_outs_are_disjoint_and_meet_their_conditions(sizes, seed, shuffler):
    recordings = archive(sizes)
    least = {"families": 10, "genera": 8, "species": 5}
    chosen = choose_holdouts(recordings, families=1, genera=2, species=3, seed=seed, least=least)
    shuffler.shuffle(recordings)
    again = choose_holdouts(recordings, families=1, genera=2, species=3, seed=seed, least=least)
    assert chosen == again
    taxa = {one.taxon.species: one.taxon for one in recordings}
    left = Counter(one.taxon.family for one in recordings if one.taxon.family not in chosen.families)
    for species in chosen.species:
        assert taxa[species].genus not in chosen.genera
        assert taxa[species].family not in chosen.families
    for genus in chosen.genera:
        family = next(taxon.family for taxon in taxa.values() if taxon.genus == genus)
        assert family not in chosen.families
        assert left[family] >= 8
    assert len(chosen.families) <= 1 >= 0
    assert len(chosen.genera) <= 2
    assert len(chosen.species) <= 3


def test_the_papers_conditions_are_the_default():
    assert choose_holdouts(archive([[[100]], [[100]]])) == HoldOuts()
    chosen = choose_holdouts(archive([[[10, 140]], [[1] * 100]]), families=1, genera=0, species=3, seed=1)
    assert chosen.families == {"F0"} or chosen.families == {"F1"}
    with pytest.raises(OptionsError, match="no level 'order'"):
        choose_holdouts([], least={"order": 1})


def test_leaks_between_sets_by_taxon_recording_and_sound(tmp_path, audio):
    audio("a.wav")
    audio("b.flac")
    audio("c.wav", hertz=900.0)
    wren = parse_taxon("Troglodytes troglodytes")
    train = [
        Labelled(path="a.wav", common_name="Wren", taxon=wren, recording_id="r1"),
        Labelled(path="c.wav", common_name="Double-barred Finch", taxon=parse_taxon("Stizoptera bichenovii")),
    ]
    held = [
        Labelled(path="b.flac", common_name="wren", recording_id="r1"),
        Labelled(path="d.wav", taxon=parse_taxon("Taeniopygia bichenovii"), recording_id="r9"),
    ]
    hashes = {name: audio_hash(tmp_path / name) for name in ("a.wav", "b.flac", "c.wav")}
    leaks = {(leak.by, leak.train, leak.held) for leak in find_leaks(train, held, hashes=hashes)}
    assert leaks == {
        ("taxon", ("a.wav",), ("b.flac",)),
        ("taxon", ("c.wav",), ("d.wav",)),
        ("recording", ("a.wav",), ("b.flac",)),
        ("audio", ("a.wav",), ("b.flac",)),
    }
    assert {leak.by for leak in find_leaks(train, held, taxa=False)} == {"recording"}
