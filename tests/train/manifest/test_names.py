"""Name tables: looked up by any known name of a species, or by the English one."""

from __future__ import annotations

import pytest

from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.names import read_names
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions
from naturelm_audio.train.manifest.taxonomy import parse_taxon


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text(
        "Scientific name\tEnglish\tfamily\tde\tja\n"
        "Nandayus nenday\tNanday Parakeet\tPsittacidae\tNandaysittich\tNaN\n"
        "Tyto alba\tBarn Owl\tTytonidae\tSchleiereule\tメンフクロウ\n",
        encoding="utf-8",
    )
    return read_names(path)


def test_languages_are_the_other_columns(names):
    assert set(names.names) == {"de", "ja"}
    owl = Labelled(path="a", common_name="Owl", taxon=parse_taxon("Tyto alba"))
    assert names.localised(owl, "ja").common_name == "メンフクロウ"
    assert names.localised(owl, "en") == owl


def test_synonyms_and_english_names_find_it(names):
    one = Labelled(
        path="a", taxon=parse_taxon("Aratinga nenday"), background=("barn owl", "Tyto alba", "Wren")
    )
    found = names.localised(one, "de")
    assert found.common_name == "Nandaysittich"
    assert found.background == ("Schleiereule", "Schleiereule", "")
    assert names.localised(one, "ja").common_name == ""


def test_no_answer_is_in_the_wrong_language(names):
    recordings = [
        Labelled(
            path="a", common_name="Barn Owl", taxon=parse_taxon("Tyto alba"), background=("Nanday Parakeet",)
        ),
        Labelled(path="b", common_name="Barn Owl", taxon=parse_taxon("Tyto alba"), background=("Wren",)),
        Labelled(path="c", common_name="Wren", taxon=parse_taxon("Troglodytes troglodytes")),
        Labelled(path="d", seconds=9.0, events=(Span(0, 1, "Barn Owl"), Span(2, 3, "Nanday Parakeet"))),
        Labelled(path="e", seconds=9.0, events=(Span(0, 1, "Barn Owl"), Span(2, 3, "Wren"))),
    ]
    options = CompileOptions(languages=("de",), soundscapes=SoundscapeOptions(rare_count=0))
    rows = [
        row
        for row in compile_manifest(recordings, options, names=names).rows
        if row.task.startswith("common")
    ]
    answers = {name for row in rows for name in row.text.split(", ")}
    assert answers - {"None"} == {"Schleiereule", "Nandaysittich"}
    assert not any(name in row.prompt for row in rows for name in ("Wren", "Owl", "Parakeet"))
    assert {row.paths[0] for row in rows if "multiple" in row.task} == {"a"}
    assert {row.paths[0] for row in rows if "soundscape" in row.task} == {"d"}
    lists = [row for row in rows if row.task.endswith(("-random", "-hard", "-list"))]
    assert lists
    for row in rows:
        if row in lists:  # the wish would be taken for a part of the last name
            wish, _, question = row.prompt.partition(". ")
            assert wish == "Answer in German"
            listed = question.partition("? ")[2].split(", ")
            assert set(listed) <= {"Schleiereule", "Nandaysittich", "None"}
        else:
            assert row.prompt.endswith(" Answer in German.")


def test_a_table_without_a_key(tmp_path):
    (tmp_path / "t.csv").write_text("family,de\na,b\n")
    with pytest.raises(ManifestError, match="no column 'scientific_name' or 'en'"):
        read_names(tmp_path / "t.csv")
