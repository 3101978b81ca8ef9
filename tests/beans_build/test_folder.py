import csv
import json
from pathlib import Path

import pytest

from naturelm_audio.beans_build.build import build_benchmark
from naturelm_audio.beans_build.folder import BUILD_FILE, EXCLUSIONS_FILE, ROWS_FILE, require_free
from naturelm_audio.beans_build.options import BuildOptions, ComponentOptions
from naturelm_audio.components import COMPONENTS_FILE
from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.train.manifest.holdouts import read_holdouts


def test_an_output_is_needed():
    with pytest.raises(OptionsError, match="--output is missing"):
        require_free(BuildOptions())


def test_only_a_benchmark_of_ours_is_replaced(tmp_path, zoo, options):
    folder = tmp_path / "built"
    require_free(BuildOptions(output=str(folder)))
    folder.mkdir()
    require_free(BuildOptions(output=str(folder)))
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="is there and holds no benchmark of ours"):
        build_benchmark(options(zoo(), "labels", overwrite=True))
    (folder / "thesis.tex").unlink()
    build_benchmark(options(zoo(), "labels"))
    with pytest.raises(OutputError, match=r"holds a benchmark already.*--overwrite"):
        build_benchmark(options(zoo(), "labels"))
    build_benchmark(options(zoo(), "call-type", overwrite=True))
    assert "call-type" in (folder / COMPONENTS_FILE).read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["built"]


def test_a_build_that_fails_leaves_nothing(tmp_path, zoo, options, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OutputError("disk full")

    monkeypatch.setattr("naturelm_audio.beans_build.folder.write_rows", fail)
    with pytest.raises(OutputError, match="disk full"):
        build_benchmark(options(zoo(), "labels"))
    assert not (tmp_path / "built").exists()
    assert not list(tmp_path.glob(".built*"))


def test_the_build_file_says_how_it_was_made(tmp_path, zoo, options):
    table = zoo()
    build_benchmark(options(table, "labels", seed=7, workers=1, splits=("validation",)))
    made = json.loads((tmp_path / "built" / BUILD_FILE).read_text())
    assert made["options"] == {
        "tables": [str(table)],
        "splits": ["validation"],
        "components": [{"rule": "labels"}],
        "seed": 7,
    }
    assert len(made["tables"][str(table)]) == 64
    assert made["components"]["labels"] == {
        "rows": 12,
        "labels": dict.fromkeys(sorted(made["components"]["labels"]["labels"]), 3),
    }
    assert made["training"]["checked"] is False
    assert made["problems"] == {"count": 0, "first": []}


def test_rows_are_listed_without_their_audio(tmp_path, zoo, options):
    built = build_benchmark(options(zoo(), "labels"))
    with open(tmp_path / "built" / ROWS_FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [row.id for one in built.components for row in one.rows]
    assert Path(rows[0]["file_name"]).suffix == ".wav"


def test_the_exclusion_list_lies_beside_unseen_taxa(tmp_path, zoo, options):
    held_out = tmp_path / "mine.txt"
    held_out.write_text("Tytonidae\nEstrildidae\n")
    unseen = ComponentOptions(rule="unseen-family", forms=("common",))
    build_benchmark(options(zoo(), unseen, hold_out=str(held_out)))
    found = read_holdouts(tmp_path / "built" / EXCLUSIONS_FILE)
    assert found.families == {"Tytonidae", "Estrildidae"}
    assert found.common_names == {"barn owl", "zebra finch"}
    build_benchmark(options(zoo(), "labels", overwrite=True))
    assert not (tmp_path / "built" / EXCLUSIONS_FILE).exists()
