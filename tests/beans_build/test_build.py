"""Whole benchmarks: every rule from one table, bad input, planted leaks, the same from every run."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from naturelm_audio.beans.dataset import open_rows
from naturelm_audio.beans.selection import Selection, question
from naturelm_audio.beans.sounds import waveform
from naturelm_audio.beans_build.build import build_benchmark
from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import Built
from naturelm_audio.components import benchmark_of
from naturelm_audio.errors import LabelError, OptionsError
from naturelm_audio.predictions import Prediction
from naturelm_audio.scoring import ScoreOptions, score
from naturelm_audio.train.manifest.mixing import load_clips
from naturelm_audio.train.manifest.problems import ManifestError

RULES = [
    "labels", "species", "genus", "family", "order", "life-stage", "call-type", "presence", "captioning",
    ComponentOptions(rule="unseen-genus", forms=("common", "taxonomic")),
    ComponentOptions(rule="detection", rare_count=1, window_seconds=0.5, shift_seconds=0.5),
    ComponentOptions(rule="counting", max_seconds=2.0),
]  # fmt: skip


@pytest.fixture
def two_finches(zoo):
    """A table in which two species are of a genus that the paper holds out."""

    def change(row):
        if row["label"] == "Barn Owl":
            row["label"] = "Timor Zebra Finch"
            row["taxonomic_name"] = "Chordata Aves Passeriformes Estrildidae Taeniopygia castanotis"

    return zoo(change)


def test_every_rule_makes_a_component_that_the_scorer_knows(two_finches, options, tmp_path):
    rules = [one for one in RULES if one not in ("family", "order")]
    built = build_benchmark(options(two_finches, *rules))
    names = [one.name for one in built.components]
    assert names == [
        "labels", "species-cmn", "species-sci", "species-tax", "genus", "life-stage", "call-type", "presence",
        "captioning", "unseen-genus-cmn", "unseen-genus-tax", "detection", "counting",
    ]  # fmt: skip
    benchmark = benchmark_of(tmp_path / "built")
    assert list(benchmark.components) == names
    perfect = [
        Prediction(
            prediction=row.text, label=row.text, dataset_name=one.name, id=row.id, where=f"row {number}"
        )
        for one in built.components
        for number, row in enumerate(one.rows)
    ]
    scores = score(perfect, ScoreOptions(mode="strict", spice=False, resamples=10), benchmark)
    for one in scores.components:
        if one.task != "captioning":
            assert one.metrics[one.headline] == 1.0, one.name
            assert one.rows == one.expected


def test_the_same_tables_give_the_same_files_on_any_number_of_workers(two_finches, options, tmp_path):
    for name, workers in (("one", 1), ("again", 1), ("two", 2)):
        build_benchmark(
            options(
                two_finches, *RULES[:1], *RULES[-3:], workers=workers, name="b", output=str(tmp_path / name)
            )
        )
    names = sorted(
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()
    )
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_seed_draws_other_mixtures(zoo, options, tmp_path):
    first, second = (
        build_benchmark(options(zoo(), RULES[-1], seed=seed, output=str(tmp_path / str(seed))))
        for seed in (0, 1)
    )
    assert first.components[0].rows != second.components[0].rows


def test_bad_recordings_are_listed_and_left_out(zoo, options, tmp_path):
    table = zoo()
    (tmp_path / "0-0.wav").unlink()
    (tmp_path / "0-1.wav").write_bytes(b"not audio")
    soundfile.write(tmp_path / "0-2.wav", np.zeros(16_000), 16_000)
    soundfile.write(tmp_path / "1-0.wav", np.zeros(0), 16_000)
    built = build_benchmark(options(table, "labels"))
    assert len(built.problems) == 4
    told = "\n".join(map(str, built.problems))
    assert "table.csv:2: 0-0.wav: " in told
    assert "table.csv:4: 0-2.wav: is silent throughout" in told
    assert built.rows == 12
    card = (tmp_path / "built" / "README.md").read_text()
    assert "- 4: can't be used" in card
    listed = json.loads((tmp_path / "built" / "build.json").read_text())["problems"]
    assert listed == {"count": 4, "first": told.split("\n")}


def test_faulty_rows_of_a_table_are_listed_too(zoo, options):
    table = zoo(lambda row: row.update(events="soon") if row["path"] == "0-0.wav" else None)
    (problem,) = build_benchmark(options(table, "labels")).problems
    assert "events: 'soon' is not like" in str(problem)


def test_no_recording_at_all_is_an_error(zoo, options, tmp_path):
    table = zoo()
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    with pytest.raises(ManifestError, match=r"no recording can be used .*see --audio-root"):
        build_benchmark(options(table, "labels"))
    assert not (tmp_path / "built").exists()


def test_what_is_asked_for_must_be_there(zoo, options):
    table = zoo()
    with pytest.raises(OptionsError, match="no component is asked for"):
        build_benchmark(options(table))
    with pytest.raises(ManifestError, match=r"none of 16 rows is taken .*there are train, valid"):
        build_benchmark(options(table, "labels", splits=("test",)))
    elsewhere = ComponentOptions(rule="labels", sources=("museum",))
    with pytest.raises(ManifestError, match=r"'sources' \(there are zoo\)"):
        build_benchmark(options(table, elsewhere))
    large = ComponentOptions(rule="labels", least_per_label=5)
    with pytest.raises(LabelError, match="needs two labels with 5 recordings or more, but there is"):
        build_benchmark(options(table, large))


def test_a_recording_in_two_splits_is_an_error(zoo, options):
    table = zoo(lambda row: row.update(recording="one and the same"))
    with pytest.raises(ManifestError, match="recordings are in two splits"):
        build_benchmark(options(table, "labels"))


def test_sources_kinds_and_labels_choose_recordings(zoo, options):
    table = zoo(lambda row: row.update(source="museum") if row["path"].endswith("-0.wav") else None)
    museum = ComponentOptions(rule="labels", sources=("museum",))
    rest = ComponentOptions(rule="species", sources=("zoo",), without_labels=("Barn Owl",), forms=("common",))
    first, second = build_benchmark(options(table, museum, rest)).components
    assert (len(first.rows), len(second.rows)) == (4, 9)
    assert "Barn Owl" not in second.labels


# --- leaks -------------------------------------------------------------------------------------------------


def leaked(built: Built) -> dict[str, int]:
    return {reason: count for reason, count in built.left_out.counts.items() if reason.startswith("training")}


def test_without_leaks_nothing_is_left_out(zoo, options):
    table = zoo()
    built = build_benchmark(options(table, "labels", splits=("validation",), training=(str(table),)))
    assert leaked(built) == {}
    assert built.rows == 12


def test_planted_leaks_are_found(zoo, options, tmp_path):
    table = zoo()
    training = tmp_path / "training"
    training.mkdir()
    soundfile.write(training / "copy.flac", *soundfile.read(tmp_path / "0-1.wav", dtype="int16"))
    shutil.copy(tmp_path / "0-0.wav", training / "other.wav")
    (training / "rows.csv").write_text(
        "path,label,recording,source\ncopy.flac,tit,elsewhere,zoo\nother.wav,tit,rec-1-1,zoo\n"
    )
    chosen = {"splits": ("validation",), "training": (str(training / "rows.csv"),)}
    built = build_benchmark(options(table, "labels", **chosen))
    assert built.left_out.examples == {
        "training: sounds the same as a training recording": ["0-1.wav"],
        "training: is in training too": ["1-1.wav"],
    }
    assert built.rows == 10
    card = (tmp_path / "built" / "README.md").read_text()
    assert "Found again among 2 training rows: 1 by their id, 1 by their sound." in card
    by_id = build_benchmark(options(table, "labels", compare_audio=False, overwrite=True, **chosen))
    assert by_id.rows == 11
    with pytest.raises(ManifestError, match="2 recordings are in training too"):
        build_benchmark(options(table, "labels", on_leak="refuse", overwrite=True, **chosen))


def test_an_unseen_taxon_that_was_trained_on_is_left_out(two_finches, options, tmp_path):
    unseen = ComponentOptions(rule="unseen-genus", forms=("common",))
    training = tmp_path / "rows.csv"
    training.write_text("path,label,scientific_name\nx.wav,Cuckoo,Cuculus canorus\n")
    fields = {"training": (str(training),), "compare_audio": False}
    assert build_benchmark(options(two_finches, unseen, **fields)).rows == 8
    training.write_text("path,label,scientific_name\nx.wav,finch,Taeniopygia guttata\n")
    with pytest.raises(LabelError, match="unseen-genus needs two labels"):
        build_benchmark(options(two_finches, unseen, overwrite=True, **fields))
    with pytest.raises(ManifestError, match="training has what is held out"):
        build_benchmark(options(two_finches, unseen, overwrite=True, on_leak="refuse", **fields))


# --- what the benchmark's own reader makes of it -----------------------------------------------------------


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_the_benchmarks_reader_reads_what_is_built(two_finches, options, tmp_path, form):
    rules = ("labels", *RULES[-3:], "captioning")
    built = build_benchmark(options(two_finches, *rules, format=form, rows_per_shard=9))
    planned = [(one, row) for one in built.components for row in one.rows]
    benchmark = benchmark_of(tmp_path / "built")
    rows = list(open_rows(tmp_path / "built").rows(Selection(benchmark)))
    assert len(rows) == len(planned)
    for row, (component, expected) in zip(rows, planned, strict=True):
        assert row.fault is None
        assert (row.dataset_name, row.id, row.label) == (component.name, expected.id, expected.text)
        heard = waveform(row.sound, 2.0, folder=tmp_path)
        (clip,) = load_clips(expected, tmp_path)
        np.testing.assert_array_equal(heard[: len(clip)], clip[: len(heard)])
        assert question(row, benchmark.find(row.dataset_name)).endswith(expected.prompt)
