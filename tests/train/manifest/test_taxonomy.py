"""Scientific names, synonyms, and wrong candidates: never a synonym, never twice, hard in 70 % of draws."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train.manifest.taxonomy import (
    Candidates,
    Taxon,
    accepted,
    is_scientific,
    parse_taxon,
    synonyms_of,
)

SIX = "Chordata Aves Passeriformes Sturnidae Aplonis magna"


def test_six_words():
    taxon = parse_taxon(SIX)
    assert (taxon.class_, taxon.family, taxon.genus, taxon.species) == (
        "Aves", "Sturnidae", "Aplonis", "Aplonis magna",
    )  # fmt: skip
    assert taxon.taxonomic_name == SIX


def test_ranks_beside_a_binomial():
    ranks = {"phylum": "Chordata", "class_": "aves", "order": "PASSERIFORMES", "family": "Sturnidae"}
    assert parse_taxon("Aplonis magna", **ranks).taxonomic_name == SIX
    assert parse_taxon("Aplonis magna", phylum="Chordata").taxonomic_name == ""


@pytest.mark.parametrize(
    "name", ["Rana sp.", "Rana cf. arvalis", "Anas acuta x penelope", "Anas \u00d7 penelope", ""]
)
def test_names_that_are_no_species(name):
    assert parse_taxon(name).species == ""


def test_what_looks_scientific():
    assert all(map(is_scientific, ("Turdus merula", "Turdus_merula", "Rana sp.", SIX)))
    assert not any(map(is_scientific, ("Eurasian Wren", "wren", "Wren", "", "sea waves")))


def test_known_synonyms():
    assert accepted("Aratinga nenday") == "Nandayus nenday"
    assert synonyms_of("Nandayus nenday") == ("Aratinga nenday", "Nandayus nenday")
    assert synonyms_of("Turdus merula") == ("Turdus merula",)
    assert accepted("Stizoptera bichenovii").startswith("Taeniopygia")


def make_pool(sizes):
    """Species of so many families, orders and phyla each."""
    named = []
    for phylum, orders in enumerate(sizes):
        for order, families in enumerate(orders):
            for family, count in enumerate(families):
                for species in range(count):
                    key = f"{'abcdefgh'[phylum]}{'abcdefgh'[order]}{'abcdefgh'[family]}"
                    taxon = Taxon(
                        phylum=f"P{phylum}", class_="C", order=f"O{phylum}{order}",
                        family=f"F{phylum}{order}{family}", genus="G", species=f"{key} {'x' * (species + 1)}",
                    )  # fmt: skip
                    named.append((f"name {key} {species}", taxon))
    return named


SIZES = st.lists(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=3),
                 min_size=1, max_size=3)  # fmt: skip


@given(SIZES, st.integers(1, 35), st.integers(0, 2**32), st.data())
def test_negatives_are_different_names_of_other_species(sizes, count, seed, data):
    named = make_pool(sizes)
    targets = data.draw(st.lists(st.sampled_from(named), min_size=1, max_size=3, unique=True))
    extra = [(f"another name of {name}", taxon) for name, taxon in targets]
    pool = Candidates([*named, *extra, *named])
    negatives, _ = pool.negatives(targets, random.Random(seed), count=count)
    species = {name: taxon.species for name, taxon in [*named, *extra]}
    heard = {taxon.species for _, taxon in targets}
    assert len({name.casefold() for name in negatives}) == len(negatives)
    assert not {species[name] for name in negatives} & heard
    assert len(negatives) == min(count, len(named) - len(heard))


@given(st.integers(0, 2**32))
def test_hard_negatives_come_from_the_nearest_relatives_first(seed):
    named = make_pool([[[4, 4], [4]], [[4]]])
    target = named[0]
    negatives, kind = Candidates(named).negatives(
        [target], random.Random(seed), count=3, random_probability=0.0
    )
    assert kind == "hard"
    taxa = dict(named)
    # Family, order or phylum was drawn; each has three others at least, so none is of another phylum.
    assert {taxa[name].phylum for name in negatives} == {"P0"}
    everything, _ = Candidates(named).negatives(
        [target], random.Random(seed), count=35, random_probability=0.0
    )
    assert len(everything) == 15


def test_a_third_of_hard_draws_is_of_the_family_and_three_in_ten_are_random():
    named = make_pool([[[40, 40], [40]], [[40]]])
    taxa, target = dict(named), named[0]
    pool, draw, kinds, widest = Candidates(named), random.Random(5), Counter(), Counter()
    for _ in range(3000):
        negatives, kind = pool.negatives([target], draw, count=30)
        kinds[kind] += 1
        if kind == "hard":
            ranks = ("family", "order", "phylum")
            same = [all(getattr(taxa[n], r) == getattr(target[1], r) for n in negatives) for r in ranks]
            widest[ranks[same.index(True)]] += 1
    # Five standard deviations of a binomial.
    assert abs(kinds["random"] - 900) < 5 * (3000 * 0.3 * 0.7) ** 0.5
    hard = kinds["hard"]
    for rank in ("family", "order", "phylum"):
        assert abs(widest[rank] - hard / 3) < 5 * (hard * 2 / 9) ** 0.5


def test_names_with_commas_and_none_are_in_no_list():
    pool = Candidates([("Dolphin, bottlenose", Taxon()), ("None", Taxon()), ("", Taxon()), ("Wren", Taxon())])
    assert pool.negatives([("Robin", Taxon())], random.Random(1), count=5) == (["Wren"], "random")


def test_names_that_differ_in_case_are_one_name():
    pool = Candidates([("Wren", Taxon()), ("wren", Taxon()), ("Robin", Taxon())])
    assert len(pool) == 2
    assert pool.negatives([("WREN", Taxon())], random.Random(1), count=5)[0] == ["Robin"]


@given(st.permutations(make_pool([[[2, 2], [2]]])))
def test_the_order_of_rows_changes_nothing(named):
    expected = Candidates(make_pool([[[2, 2], [2]]])).negatives([named[0]], random.Random(1), count=4)
    assert Candidates(named).negatives([named[0]], random.Random(1), count=4) == expected
