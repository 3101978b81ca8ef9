"""Compiling: the same rows however it is run, and a report of what was left out."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.compile import ALL_FAMILIES, CompileOptions, compile_manifest
from naturelm_audio.train.manifest.holdouts import HoldOuts, shipped_holdouts
from naturelm_audio.train.manifest.labelled import Labelled, LabelledTable, Span, read_labelled
from naturelm_audio.train.manifest.names import read_names
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions

SRC = Path(__file__).resolve().parents[3] / "src"
SMALL = SoundscapeOptions(rare_count=0)


def lines(compiled):
    return [json.dumps(row.to_mapping(), ensure_ascii=False) for row in compiled.rows]


@settings(max_examples=5)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_order_of_the_table_changes_nothing(zoo, shuffler, seed):
    options = CompileOptions(seed=seed, soundscapes=SMALL)
    other = list(zoo)
    shuffler.shuffle(other)
    assert lines(compile_manifest(other, options)) == lines(compile_manifest(zoo, options))


def test_seeds_differ(zoo):
    one, two = (lines(compile_manifest(zoo, CompileOptions(seed=seed))) for seed in (1, 2))
    assert one != two


SCRIPT = """
import json, pickle, sys
from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
if __name__ == "__main__":
    zoo = pickle.load(open(sys.argv[1], "rb"))
    for row in compile_manifest(zoo, CompileOptions(workers=int(sys.argv[2]))).rows:
        sys.stdout.buffer.write(json.dumps(row.to_mapping()).encode() + b"\\n")
"""


def test_workers_and_hash_seeds_change_nothing(zoo, tmp_path):
    import pickle

    (tmp_path / "zoo.pickle").write_bytes(pickle.dumps(zoo))
    (tmp_path / "run.py").write_text(SCRIPT)

    def run(workers, hash_seed):
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(SRC)}
        command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "zoo.pickle"), str(workers)]
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

    expected = run(1, 0)
    assert expected.count(b"\n") > 500
    assert run(1, 4242) == expected
    assert run(2, 7) == expected


def test_the_whole_zoo(zoo):
    compiled = compile_manifest(zoo, CompileOptions(soundscapes=SMALL))
    report = compiled.report
    assert report.tasks.total() == len(compiled.rows)
    assert report.splits.keys() == {"train", "valid"}
    assert report.hours["valid"] > 0
    assert not report.held_out
    assert json.loads(json.dumps(report.as_json()))["rows"] == len(compiled.rows)
    assert "rows about" in report.as_text()
    wanted = {"soundscape", "animal-count", "instrument-count", "which-instruments", "caption", "music-pitch"}
    assert all(any(part in task for task in report.tasks) for part in wanted)


def test_rows_carry_what_they_are_about(zoo):
    row = next(row for row in compile_manifest(zoo).rows if row.paths == ("0/3.wav",))
    assert (row.split, row.source, row.recording_id) == ("valid", "zoo", "rec-0-3")
    assert row.metadata == {
        "data_category": "animal",
        "phylum": "Chordata",
        "class": "Aves",
        "order": "Passeriformes",
        "family": "Troglodytidae",
        "genus": "Troglodytes",
        "species": "Troglodytes troglodytes",
        "common_name": "Eurasian Wren",
    }


def test_validation_species_are_not_in_the_lists_of_training(zoo):
    taxon = dataclasses.replace(zoo[0].taxon, species="Avis secreta")
    only_valid = dataclasses.replace(
        zoo[0], path="x.wav", common_name="Secret Bird", split="valid", taxon=taxon, recording_id="x"
    )
    rows = compile_manifest([*zoo, only_valid]).rows
    assert not [row for row in rows if "Secret Bird" in row.prompt + row.text and row.paths != ("x.wav",)]


def test_mixtures_stay_within_their_split(zoo):
    split = {one.path: one.split or "train" for one in zoo}
    mixed = [row for row in compile_manifest(zoo, CompileOptions(families=("counting",))).rows if row.mix]
    assert mixed
    for row in mixed:
        assert {split[path] for path in row.paths} == {row.split}


# --- bad input ----------------------------------------------------------------------------------------------


def test_faulty_rows_are_all_named_or_dropped_and_counted(zoo):
    table = LabelledTable(tuple(zoo), (Problem("t.csv", 7, "the label is empty"), Problem("t.csv", 9, "x")))
    with pytest.raises(ManifestError, match=r"2 faults[\s\S]*t.csv:7: the label is empty[\s\S]*t.csv:9"):
        compile_manifest(table)
    report = compile_manifest(table, CompileOptions(bad_rows="drop")).report
    assert report.dropped["faulty row"] == 2
    assert "t.csv:7: the label is empty" in report.examples["faulty row"]


def test_missing_files_and_files_that_are_no_audio(tmp_path, audio):
    audio("a.wav", seconds=2.0)
    (tmp_path / "text.wav").write_text("not audio")
    rows = [
        Labelled(path=name, common_name="wren", line=n)
        for n, name in enumerate(("a.wav", "gone.wav", "text.wav"))
    ]
    with pytest.raises(
        ManifestError, match=r"gone.wav: no such file[\s\S]*text.wav: not a readable audio file"
    ):
        compile_manifest(rows, CompileOptions(audio_root=str(tmp_path)))
    compiled = compile_manifest(rows, CompileOptions(audio_root=str(tmp_path), bad_rows="drop"))
    assert {row.paths for row in compiled.rows} == {("a.wav",)}
    assert compiled.report.hours == {"train": round(2 / 3600, 4)}


def test_events_outside_are_never_silently_cut(zoo):
    events = (Span(1, 2), Span(9.5, 10.04), Span(9.6, 10.5), Span(11, 12))
    one = dataclasses.replace(zoo[0], events=events, seconds=10.0)
    report = compile_manifest([one]).report
    assert report.dropped == {
        "an event beyond the end of its recording, cut there": 1,
        "an event after the end of its recording": 1,
    }


def test_the_same_row_twice_is_one(zoo):
    compiled = compile_manifest([*zoo, *zoo])
    assert compiled.report.dropped["the same row again"] == len(zoo)
    assert lines(compiled) == lines(compile_manifest(zoo))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"families": ("nams",)}, "did you mean 'names'"),
        ({"bad_rows": "ignore"}, "bad_rows must be"),
        ({"balance": 2.0}, "balance must be"),
        ({"workers": 0}, "workers"),
        ({"valid_share": 1.5}, "from 0 to 1"),
        ({"languages": ()}, "a language"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(OptionsError, match=match):
        CompileOptions(**options)


# --- splits, balance, languages -----------------------------------------------------------------------------


def test_rows_without_a_split_get_one_by_recording(zoo):
    free = [
        dataclasses.replace(one, split="", recording_id=f"r{place // 2}") for place, one in enumerate(zoo)
    ]
    rows = compile_manifest(free, CompileOptions(valid_share=0.3, families=("names", "kind"))).rows
    splits = defaultdict(set)
    for row in rows:
        splits[row.recording_id].add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "valid"}


def test_a_recording_in_two_splits_is_refused(zoo):
    twice = dataclasses.replace(zoo[0], path="other.wav", split="valid")
    with pytest.raises(ManifestError, match=r"zoo/rec-0-0' is in train and valid"):
        compile_manifest([*zoo, twice])


def test_balance_makes_taxa_weigh_the_same(zoo):
    many = [dataclasses.replace(zoo[0], path=f"m{n}.wav", recording_id=f"m{n}") for n in range(30)]
    options = CompileOptions(families=("names",), balance=1.0)
    rows = [row for row in compile_manifest([*zoo, *many], options).rows if row.split == "train"]
    weights = defaultdict(float)
    for row in rows:
        if row.task == "common-classification":
            weights[row.text] += row.weight
    assert len(weights) == 7
    assert max(weights.values()) == pytest.approx(min(weights.values()), rel=1e-3)
    assert sum(row.weight for row in rows) / len(rows) == pytest.approx(1.0, rel=1e-3)
    assert all(row.weight == 1.0 for row in compile_manifest(zoo).rows)


def test_at_most_so_many_recordings_of_a_taxon(zoo):
    many = [dataclasses.replace(zoo[0], path=f"m{n}.wav", recording_id=f"m{n}") for n in range(30)]
    compiled = compile_manifest([*zoo, *many], CompileOptions(families=("names",), most_per_taxon=2))
    files = {
        row.paths[0] for row in compiled.rows if row.metadata.get("species") == "Troglodytes troglodytes"
    }
    assert len(files) == 3  # two for training, and one for validation
    assert compiled.report.dropped["more recordings of its taxon than wanted"] == 31 + 6


def test_names_in_another_language(zoo, tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(
        "scientific_name;en;de;fr\nTroglodytes troglodytes;Eurasian Wren;Zaunkönig;Troglodyte mignon\n"
        "Erithacus rubecula;European Robin;Rotkehlchen;\n;rain;Regen;pluie\n",
        encoding="cp1252",
    )
    names = read_names(path)
    options = CompileOptions(languages=("de",), families=("names", "detection-open", "captions", "voice"))
    rows = compile_manifest(zoo, options, names=names).rows
    texts = Counter(row.text for row in rows if row.task == "common-classification")
    assert texts == {"Zaunkönig": 4, "Rotkehlchen": 4}
    prompts = {row.prompt for row in rows if row.task == "common-classification"}
    assert prompts == {"What is the common name for the focal species in the audio? Answer in German."}
    multiple = {row.text for row in rows if row.task == "common-multiple-detection"}
    assert multiple == {"Rotkehlchen, Zaunkönig"}
    assert not any("caption" in row.task for row in rows)
    assert {row.text for row in rows if row.task == "sound-classification"} == {"Regen"}
    texts = set()
    for seed in range(5):
        both = CompileOptions(languages=("en", "fr"), families=("names",), seed=seed)
        texts |= {row.text for row in compile_manifest(zoo, both, names=names).rows}
    assert texts >= {"Eurasian Wren", "Troglodyte mignon"}
    with pytest.raises(OptionsError, match="no names in 'it'"):
        compile_manifest(zoo, CompileOptions(languages=("it",)), names=names)


# --- hold-outs ----------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.sets(st.sampled_from(["Troglodytidae", "Strigidae", "Hylidae"]), max_size=2),
       st.sets(st.sampled_from(["Tyto", "Erithacus"]), max_size=1), st.integers(0, 9))  # fmt: skip
def test_nothing_held_out_is_in_any_row(zoo, families, genera, seed):
    holdouts = HoldOuts(families=frozenset(families), genera=frozenset(genera))
    compiled = compile_manifest(zoo, CompileOptions(seed=seed, soundscapes=SMALL), holdouts=holdouts)
    gone = [one for one in zoo if one.taxon.family in families or one.taxon.genus in genera]
    names = {name for one in gone for name in (one.common_name, one.taxon.species, one.taxon.genus)}
    paths = {one.path for one in gone}
    for row in compiled.rows:
        assert not paths & set(row.paths)
        assert not [name for name in names if name in row.prompt or name in row.text]
    # A recording with a held-out species in its background goes too.
    assert compiled.report.held_out.total() >= len(gone)


def test_held_out_rows_can_be_refused(zoo):
    with pytest.raises(ManifestError, match="held out: genus Tyto"):
        compile_manifest(
            zoo, CompileOptions(held_out="refuse"), holdouts=HoldOuts(genera=frozenset({"Tyto"}))
        )


def test_the_same_sound_under_another_name_is_held_out(tmp_path, audio):
    from naturelm_audio.train.manifest.holdouts import audio_hash

    audio("a.wav", hertz=500.0)
    audio("copy.flac", hertz=500.0)
    audio("b.wav", hertz=600.0)
    holdouts = HoldOuts(audio_hashes=frozenset({audio_hash(tmp_path / "a.wav")}))
    rows = [Labelled(path=name, common_name="wren") for name in ("copy.flac", "b.wav")]
    options = CompileOptions(audio_root=str(tmp_path), compare_audio=True)
    compiled = compile_manifest(rows, options, holdouts=holdouts)
    assert compiled.report.held_out == {"the same audio": 1}
    assert {row.paths for row in compiled.rows} == {("b.wav",)}


# --- real recordings ----------------------------------------------------------------------------------------


def test_the_real_manifest(shared_dir):
    table = read_labelled(shared_dir / "recordings" / "manifest.csv")
    assert not table.problems
    sample = random.Random(1).sample([one for one in table.recordings if not one.events], 300)
    chosen = {one.key: one for one in [*sample, *(one for one in table.recordings if one.events)]}
    options = CompileOptions(families=tuple(one for one in ALL_FAMILIES if one != "captions"))
    holdouts = shipped_holdouts()
    compiled = compile_manifest(chosen.values(), options, holdouts=holdouts)
    assert len(compiled.rows) > 2000
    # No species of the list goes unnoticed: zebra finches are of a held-out genus, pigs of a held-out family.
    assert "genus Taeniopygia" in compiled.report.held_out
    for row in compiled.rows:
        assert not holdouts.reason_of_example(row)
    validation = {row.recording_id for row in compiled.rows if row.split == "valid"}
    assert not validation & {row.recording_id for row in compiled.rows if row.split == "train"}


def test_the_same_sound_in_two_splits_is_only_measured(tmp_path, audio):
    for name, hertz in (("a.wav", 500.0), ("copy.flac", 500.0), ("b.wav", 600.0)):
        audio(name, hertz=hertz)
    rows = [
        Labelled(path="a.wav", common_name="wren", split="train"),
        Labelled(path="copy.flac", common_name="wren", split="valid"),
        Labelled(path="b.wav", common_name="wren", split="train"),
    ]
    compiled = compile_manifest(rows, CompileOptions(audio_root=str(tmp_path), compare_audio=True))
    assert compiled.report.dropped == {"the same audio as a recording of another split": 1}
    assert {row.paths[0] for row in compiled.rows} == {"copy.flac", "b.wav"}


def test_free_questions(zoo):
    asked = dataclasses.replace(zoo[0], question="How many notes has the song?", answer="Five")
    (row,) = compile_manifest([asked], CompileOptions(families=("free",))).rows
    assert (row.task, row.prompt, row.text) == ("free-qa", "How many notes has the song?", "Five")


# --- lines of the specification's list of faults ------------------------------------------------------------


def test_T9_the_draws_of_two_recordings_and_two_seeds_differ(zoo):
    birds = [dataclasses.replace(zoo[0], path=f"{n}.wav", recording_id=f"{n}") for n in range(20)]
    prompts = {
        (seed, row.paths[0]): row.prompt
        for seed in range(3)
        for row in compile_manifest(
            [*zoo, *birds], CompileOptions(seed=seed, families=("detection-list",))
        ).rows
        if row.task.startswith("common") and row.paths[0] in {bird.path for bird in birds}
    }
    assert len(prompts) == 60
    assert len(set(prompts.values())) > 50


def test_held_out_taxa_can_become_the_test(zoo):
    options = CompileOptions(families=("names", "candidates", "detection-list"), held_out="test")
    rows = compile_manifest(zoo, options, holdouts=HoldOuts(families=frozenset({"Strigidae"}))).rows
    test = [row for row in rows if row.split == "test"]
    assert {row.metadata["family"] for row in test} == {"Strigidae"}
    assert not [row for row in rows if row.split != "test" and "Barred Owl" in row.prompt + row.text]


def test_a_part_of_a_file_is_asked_about_as_that_part_alone(zoo):
    part = dataclasses.replace(zoo[0], start_seconds=10.0, end_seconds=14.5, seconds=4.5, path="long.wav")
    compiled = compile_manifest([part, *zoo[1:]], CompileOptions(families=ALL_FAMILIES, seed=3))
    about = [row for row in compiled.rows if "long.wav" in row.paths]
    assert about
    assert {(row.files, row.start_seconds, row.end_seconds) for row in about} == {(("long.wav",), 10.0, 14.5)}
