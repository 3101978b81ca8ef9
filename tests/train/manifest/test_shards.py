"""Shards with their audio: written, streamed back, resumed in the middle, shared between processes."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
import soundfile

from naturelm_audio.errors import MissingExtraError, OptionsError
from naturelm_audio.train.manifest.examples import Example, MixPart, Recipe
from naturelm_audio.train.manifest.hub import Selection, example_from_row, open_rows, select_rows
from naturelm_audio.train.manifest.mixing import load_clips
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.shards import INDEX_NAME, ShardOptions, write_shards

pytest.importorskip("datasets")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


@pytest.fixture
def examples(tmp_path, audio):
    audio("a.wav", seconds=2.0, sample_rate_hz=44_100)
    audio("b.flac", seconds=1.0, hertz=700.0)
    found = [
        Example(
            files=(("a.wav", "b.flac")[n % 2],),
            prompt=f"Question {n}?",
            text=f"Wren, {n}",
            task="x-detection",
            split="valid" if n % 5 == 4 else "train",
            labels=("Wren",),
            source="zoo",
            recording_id=f"r{n}",
            metadata={"family": ("Hylidae", "Tytonidae")[n % 2]},
        )
        for n in range(20)
    ]
    found[0] = dataclasses.replace(found[0], start_seconds=0.5, end_seconds=1.0, weight=2.0)
    found[1] = dataclasses.replace(found[1], files=("b.flac", "a.wav"))
    found[2] = dataclasses.replace(found[2], files=(), mix=Recipe(parts=(MixPart(path="a.wav"),)))
    return found


def by_prompt(stream):
    return {row.prompt.rsplit("> ", 1)[1]: row for row in stream}


def test_shards_hold_the_clips(tmp_path, examples):
    report = write_shards(examples, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=5))
    assert report.shards == {f"train-0000{n}.parquet": rows for n, rows in enumerate((5, 5, 5, 1))} | {
        "valid-00000.parquet": 4
    }
    assert json.loads((tmp_path / "out" / INDEX_NAME).read_text())["shards"] == report.shards
    rows = by_prompt(open_rows(tmp_path / "out"))
    assert set(rows) == {example.prompt for example in examples if example.split == "train"}
    for example in examples:
        if example.split == "train":
            row = rows[example.prompt]
            assert row.prompt == example.full_prompt
            same = ("text", "task", "split", "labels", "source", "recording_id", "weight", "metadata")
            assert all(getattr(row, name) == getattr(example, name) for name in same)
            for stored, clip in zip(load_clips(row), load_clips(example, tmp_path), strict=True):
                np.testing.assert_allclose(stored, clip, atol=1.0 / 32768)
    assert len(list(open_rows(tmp_path / "out", split="valid"))) == 4


def test_files_as_they_are(tmp_path, examples):
    write_shards(examples, tmp_path, tmp_path / "out", ShardOptions(audio="stored"))
    rows = by_prompt(open_rows(tmp_path / "out"))
    first = rows["Question 0?"]
    assert first.encoded == ((tmp_path / "a.wav").read_bytes(),)
    assert (first.files, first.start_seconds, first.end_seconds) == (("a.wav",), 0.5, 1.0)
    np.testing.assert_array_equal(load_clips(first)[0], load_clips(examples[0], tmp_path)[0])
    assert len(rows["Question 1?"].encoded) == 2


def test_the_columns_of_the_public_set(tmp_path, examples):
    write_shards(examples, tmp_path, tmp_path / "out")
    columns = parquet.read_schema(tmp_path / "out" / "train-00000.parquet").names
    public = [
        "audio",
        "file_name",
        "instruction",
        "output",
        "task",
        "source_dataset",
        "metadata",
        "license",
        "id",
    ]
    assert set(public) <= set(columns)
    row = parquet.read_table(tmp_path / "out" / "train-00000.parquet").to_pylist()[0]
    samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
    assert rate == 16_000
    assert samples.ndim == 1
    assert row["instruction"].startswith("<Audio><AudioHere></Audio> ")


def test_an_interrupted_run_goes_on(tmp_path, examples):
    options, out = ShardOptions(rows_per_shard=5), tmp_path / "out"
    first = write_shards(examples, tmp_path, out, options)
    content = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    (out / "train-00001.parquet").unlink()
    (out / "train-00002.parquet").write_bytes(content["train-00002.parquet"][:1000])
    second = write_shards(examples, tmp_path, out, options)
    assert set(first.shards) - set(second.kept) == {"train-00001.parquet", "train-00002.parquet"}
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == content
    changed = [dataclasses.replace(examples[4], text="other"), *examples[:4], *examples[5:]]
    assert write_shards(changed, tmp_path, out, options).kept != tuple(first.shards)


def test_unreadable_audio_is_counted_and_more_than_one_in_a_hundred_is_an_error(tmp_path, examples):
    many = [dataclasses.replace(examples[3], prompt=f"Q{n}?") for n in range(150)]
    many[7] = dataclasses.replace(many[7], files=("gone.wav",))
    report = write_shards(
        many, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=100, shuffle_seed=None)
    )
    assert report.shards == {"train-00000.parquet": 99, "train-00001.parquet": 50}
    assert "gone.wav" in str(report.problems[0])
    # The shard that lacks a row is tried again.
    assert write_shards(
        many, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=100, shuffle_seed=None)
    ).kept == ("train-00001.parquet",)
    many[8] = dataclasses.replace(many[8], files=("gone.wav",))
    with pytest.raises(ManifestError, match="2 of 150 rows"):
        write_shards(many, tmp_path, tmp_path / "out2")
    with pytest.raises(ManifestError, match="no rows"):
        write_shards([], tmp_path, tmp_path / "out3")


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("stop", [1, 6, 13])
def test_a_stream_goes_on_where_it_stopped(tmp_path, examples, seed, stop):
    write_shards(examples, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=4))
    whole = [row.prompt for row in open_rows(tmp_path / "out", shuffle_seed=seed)]
    stream = open_rows(tmp_path / "out", shuffle_seed=seed)
    rows = iter(stream)
    before = [next(rows).prompt for _ in range(stop)]
    state = json.loads(json.dumps(stream.state_dict()))
    resumed = open_rows(tmp_path / "out", shuffle_seed=seed)
    resumed.load_state_dict(state)
    assert before + [row.prompt for row in resumed] == whole


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_the_rows(tmp_path, examples, processes):
    write_shards(examples, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=4))
    parts = [
        [row.prompt for row in open_rows(tmp_path / "out", rank=rank, world_size=processes)]
        for rank in range(processes)
    ]
    together = [prompt for part in parts for prompt in part]
    assert len(together) == len(set(together)) == 16
    with pytest.raises(OptionsError, match="rank 2"):
        open_rows(tmp_path / "out", rank=2, world_size=2)


def test_epochs_have_different_orders(tmp_path, examples):
    write_shards(examples, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=2))
    orders = {
        tuple(row.prompt for row in open_rows(tmp_path / "out", shuffle_seed=seed)) for seed in range(4)
    }
    assert len(orders) == 4
    assert len({frozenset(order) for order in orders}) == 1


def test_rows_are_selected_without_their_audio(tmp_path, examples):
    write_shards(examples, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=4))
    stream = open_rows(tmp_path / "out", selection=Selection(tasks=("*-detection",), taxa=("hylidae",)))
    assert all(row.metadata["family"] == "Hylidae" for row in stream)
    assert stream.dropped["not selected"] == 8
    assert not list(open_rows(tmp_path / "out", selection=Selection(without_tasks=("x-*",))))
    assert not list(open_rows(tmp_path / "out", selection=Selection(sources=("WavCaps",))))


def test_the_side_file_names_rows_and_shards(tmp_path, examples):
    numbered = [dataclasses.replace(example, id=f"id{n}", split="") for n, example in enumerate(examples)]
    write_shards(numbered, tmp_path, tmp_path / "out", ShardOptions(rows_per_shard=5, shuffle_seed=None))
    side = tmp_path / "annotations.jsonl"
    lines = [
        {"id": f"id{n}", "shard_id": n // 5, "family": row.metadata["family"]}
        for n, row in enumerate(numbered)
    ]
    side.write_text("\n".join(map(json.dumps, lines[5:15])))
    selection, shards = select_rows(side, Selection(taxa=("Tytonidae",)))
    assert shards == {1, 2}
    stream = open_rows(tmp_path / "out", selection=selection, shards=shards)
    assert [row.id for row in stream] == [f"id{n}" for n in range(5, 15) if n % 2]
    assert stream.dropped["not selected"] == 5
    side.write_text("{}")
    with pytest.raises(ManifestError, match=r"annotations.jsonl:1"):
        select_rows(side, Selection())


def public_row(**change):
    row = {
        "audio": {"bytes": b"x", "path": "a.flac"},
        "file_name": "a.flac",
        "instruction": "<Audio><AudioHere></Audio> What is the taxonomic name?",
        "output": "Chordata Aves",
        "task": None,
        "metadata": None,
        "source_dataset": "Xeno-canto",
        "license": "unknown",
        "id": 7,
        "extra": 1,
    }
    return {**row, **change}


def test_rows_of_the_public_set():
    example = example_from_row(public_row())
    assert (example.task, example.metadata, example.id) == ("asr", {}, "7")
    assert (example.files, example.encoded) == (("a.flac",), (b"x",))
    assert example_from_row(public_row(metadata='{"genus": "Rana"}')).metadata == {"genus": "Rana"}
    with pytest.raises(ValueError, match="'text' is empty"):
        example_from_row(public_row(output=None))
    with pytest.raises(ValueError, match="exactly one of"):
        example_from_row(public_row(audio=None))


def test_faulty_rows_of_a_stream_are_counted():
    from naturelm_audio.train.manifest.hub import RowStream

    stream = RowStream([public_row(), public_row(output=""), public_row()], name="set")
    assert len(list(stream)) == 2
    assert stream.dropped == {"faulty": 1}
    assert str(stream.problems[0]).startswith("set:2: ")


def test_arrow_files(tmp_path):
    import datasets

    rows = [public_row(id=str(n)) for n in range(3)]
    features = datasets.Features(
        {name: datasets.Value("string") for name in rows[0] if name not in ("audio", "extra")}
        | {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
        | {"extra": datasets.Value("int64")}
    )
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "set")
    assert [row.id for row in open_rows(tmp_path / "set")] == ["0", "1", "2"]


def test_what_can_not_be_opened(tmp_path, monkeypatch):
    with pytest.raises(ManifestError, match="no such folder"):
        open_rows(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="no Parquet or Arrow file"):
        open_rows(tmp_path / "empty")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="train"):
        open_rows(tmp_path / "empty")
    with pytest.raises(OptionsError, match="flac or stored"):
        ShardOptions(audio="mp3")
