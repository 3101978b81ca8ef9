"""Which rows a run learns from: splits, tasks, domains, sources and held-out taxa."""

from __future__ import annotations

import pytest
from rehearsal import write_rows, write_tone

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.examples import from_mapping
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.recipe import DataOptions
from naturelm_audio.train.rows import domain_of, file_hash, rows_of


def row(number, task="common-classification", **more):
    return {"path": "a.wav", "prompt": "What?", "text": f"name {number}", "task": task, **more}


@pytest.fixture
def make(tmp_path):
    write_tone(tmp_path / "a.wav", 400, 0.1)

    def write(listed, name="rows.jsonl"):
        return str(write_rows(tmp_path / name, listed))

    return write


def kept(path, **options):
    return [one.text[-1] for one in rows_of(DataOptions(train=(path,), **options)).train]


def test_splits_part_rows(make):
    path = make([row(0), row(1, split="train"), row(2, split="valid"), row(3, split="test")])
    found = rows_of(DataOptions(train=(path,)))
    assert [one.text for one in found.train] == ["name 0", "name 1"]
    assert [one.text for one in found.valid] == ["name 2"]
    other = make([row(7), row(8, split="train")], "valid.jsonl")
    found = rows_of(DataOptions(train=(path,), valid=(other,)))
    assert [one.text for one in found.valid] == ["name 7"]


def test_test_rows_choose_nothing(make):
    path = make([row(0), row(1, split="valid"), row(2, split="test")])
    found = rows_of(DataOptions(train=(path,)))
    assert [[one.text for one in rows] for rows in (found.valid, found.test)] == [["name 1"], ["name 2"]]
    assert found.as_json()["test_rows"] == 1
    other = make([row(6, split="valid"), row(7, split="test"), row(8, split="train")], "judged.jsonl")
    found = rows_of(DataOptions(train=(path,), valid=(other,), test=(other,)))
    assert [[one.text for one in rows] for rows in (found.valid, found.test)] == [["name 6"], ["name 7"]]
    only = make([row(9, split="test")], "only.jsonl")
    assert [one.text for one in rows_of(DataOptions(train=(path,), valid=(only,))).valid] == ["name 9"]


def test_tasks_are_chosen_by_name_and_pattern(make):
    path = make([row(0), row(1, "common-simple-detection"), row(2, "caption-rich")])
    assert kept(path, tasks=("*-detection", "caption-rich")) == ["1", "2"]
    assert kept(path, exclude_tasks=("caption*",)) == ["0", "1"]
    counts = rows_of(DataOptions(train=(path,), tasks=("caption*",))).left_out
    assert counts == {"not in data.tasks": 2}


def test_domains_and_sources(make):
    listed = [
        row(0, "speaker-count-classification"),
        row(1, "music-pitch"),
        row(2, metadata={"species": "Rana temporaria"}),
        row(3, metadata={"data_category": "animal"}, source="iNaturalist"),
        row(4),
    ]
    path = make(listed)
    assert [domain_of(from_mapping(one)) for one in listed] == [
        "speech",
        "music",
        "animal",
        "animal",
        "other",
    ]
    assert kept(path, domains=("animal", "other")) == ["2", "3", "4"]
    assert kept(path, exclude_sources=("iNat*",)) == ["0", "1", "2", "4"]
    assert kept(path, sources=("iNaturalist",)) == ["3"]


def test_a_kind_that_is_said_decides_on_the_domain():
    rain = row(0, "sci-simple-detection", metadata={"data_category": "environment"})
    assert domain_of(from_mapping(rain)) == "other"


@pytest.mark.parametrize(
    "leak",
    [
        {"text": "Taeniopygia guttata"},
        {"text": "A recording of Aplonis magna."},
        {"metadata": {"species": "Aplonis magna"}},
        {"metadata": {"species": "Tyto alba", "family": "Phocoenidae"}},
        {"prompt": "Which of these? Aplonis magna, Tyto alba"},
    ],
)
def test_rows_of_held_out_taxa_are_dropped_and_counted(make, leak):
    path = make([row(0), row(1) | leak])
    found = rows_of(DataOptions(train=(path,)))
    assert [one.text for one in found.train] == ["name 0"]
    assert found.as_json()["left_out"] == {"held-out taxon": 1}
    with pytest.raises(OptionsError, match=r"1 rows are of held-out taxa, the first a\.wav"):
        rows_of(DataOptions(train=(path,), held_out_rows="refuse"))
    assert len(rows_of(DataOptions(train=(path,), hold_outs="none")).train) == 2


def test_hold_outs_of_a_file_of_ones_own(make, tmp_path):
    (tmp_path / "mine.txt").write_text("Rana temporaria\n")
    path = make([row(0), row(1, metadata={"species": "Rana temporaria"})])
    assert kept(path, hold_outs=str(tmp_path / "mine.txt")) == ["0"]


def test_faulty_rows_are_all_named(make):
    path = make([row(0), row(1, path="absent.wav"), row(2, text=""), row(3, tsak="x")])
    with pytest.raises(ManifestError) as caught:
        rows_of(DataOptions(train=(path,)))
    message = str(caught.value)
    assert "rows.jsonl:2: no such file: absent.wav" in message
    assert "rows.jsonl:3: the answer 'text' is empty" in message
    assert "rows.jsonl:4: unknown key 'tsak'; did you mean 'task'?" in message


def test_nothing_to_learn_from_is_said(make, tmp_path):
    path = make([row(0)])
    with pytest.raises(OptionsError, match="name an annotation file"):
        rows_of(DataOptions())
    with pytest.raises(OptionsError, match="no row is left"):
        rows_of(DataOptions(train=(path,), tasks=("x",)))
    (tmp_path / "b").mkdir()
    other = make([row(0)], "b/rows.jsonl")
    with pytest.raises(OptionsError, match="in several folders"):
        rows_of(DataOptions(train=(path, other)))
    assert len(rows_of(DataOptions(train=(path, other), audio_root=str(tmp_path))).train) == 2


def test_a_changed_file_has_another_hash(make, tmp_path):
    first = file_hash(make([row(0)]))
    assert first == file_hash(make([row(0)]))
    assert first != file_hash(make([row(1)]))
