import pytest
from small_zoo import SPECIES, heard, recording

from naturelm_audio.beans_build.heldout import exclusion_list, holdouts_of, unseen
from naturelm_audio.beans_build.options import BuildOptions, ComponentOptions
from naturelm_audio.errors import LabelError, OptionsError
from naturelm_audio.train.manifest.holdouts import HoldOuts, read_holdouts, shipped_holdouts
from naturelm_audio.train.manifest.taxonomy import parse_taxon

BIRDS = [recording(name, number) for name in SPECIES for number in range(4)]


def test_the_papers_lists_by_default():
    assert holdouts_of(BuildOptions(), BIRDS) == shipped_holdouts()
    found = unseen([heard(one) for one in BIRDS], ComponentOptions(rule="unseen-genus"), shipped_holdouts())
    assert {one.recording.common_name for one in found} == {"Zebra Finch"}


def test_the_rule_draws_taxa_whose_wider_rank_has_enough():
    genera = [
        recording(
            f"Wren {n}",
            m,
            taxon=parse_taxon(f"Chordata Aves Passeriformes Troglodytidae Troglodytes a{chr(97 + n)}"),
        )
        for n in range(6)
        for m in range(5)
    ]
    options = BuildOptions(
        hold_out="rule",
        hold_out_counts={"families": 0, "genera": 0, "species": 2},
        hold_out_least={"species": 30},
    )
    drawn = holdouts_of(options, genera)
    assert len(drawn.species) == 2
    assert holdouts_of(options, genera[::-1]) == drawn
    with pytest.raises(LabelError, match="no taxon can be held out: a species needs 150"):
        holdouts_of(BuildOptions(hold_out="rule"), genera)


def test_a_file_of_taxa(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Tytonidae\nErithacus rubecula\n")
    holdouts = holdouts_of(BuildOptions(hold_out=str(path)), BIRDS)
    given = [heard(one) for one in BIRDS]
    for rule, name in (("unseen-family", "Barn Owl"), ("unseen-species", "European Robin")):
        found = unseen(given, ComponentOptions(rule=rule), holdouts)
        assert {one.recording.common_name for one in found} == {name}
    with pytest.raises(LabelError, match="no recording is of a held-out genus"):
        unseen(given, ComponentOptions(rule="unseen-genus"), holdouts)
    with pytest.raises(OptionsError, match="'absent' is neither paper, rule, nor a file"):
        holdouts_of(BuildOptions(hold_out="absent"), BIRDS)


def test_the_trainer_reads_the_exclusion_list(tmp_path):
    holdouts = HoldOuts(
        families=frozenset({"Tytonidae"}),
        genera=frozenset({"Vini"}),
        species=frozenset({"Erithacus rubecula"}),
        common_names=frozenset({"european robin"}),
    )
    path = tmp_path / "held_out.txt"
    path.write_text(exclusion_list(holdouts))
    assert read_holdouts(path) == holdouts
