"""Runs on streams of rows: batches by their place, an exact resume, two readers without a common row."""

from __future__ import annotations

import dataclasses
import json
from itertools import islice

import numpy as np
import pytest
import torch
import toys
from rehearsal import recipe, rows, write_rows
from safetensors.torch import load_file

from naturelm_audio.checkpoint import save_model
from naturelm_audio.errors import OptionsError
from naturelm_audio.train.draws import Reader
from naturelm_audio.train.manifest.annotations import read_annotations
from naturelm_audio.train.running import train
from naturelm_audio.train.streamed import Place, StreamedDraws, row_filter, stream_opener
from naturelm_audio.train.trainer import TrainingError

pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder of three shards with 18 rows to learn from and one to judge by."""
    from naturelm_audio.train.manifest.shards import ShardOptions, write_shards

    folder = tmp_path_factory.mktemp("stream")
    annotations = write_rows(folder / "rows.jsonl", rows(folder))
    write_shards(read_annotations(annotations), folder, folder / "shards", ShardOptions(rows_per_shard=6))
    return folder / "shards"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "model"
    save_model(toys.model(lora_rank=2, lora_alpha=4.0, spread=0.05), folder)
    return folder


def plan(shards, toy, **changes):
    data = {"stream": True} | changes.pop("data", {})
    return recipe(shards, toy, data=data, **changes)


def draws(shards, *, rank=0, world=1, chunk_rows=8, **data):
    options = dataclasses.replace(recipe(shards, None).data, stream=True, **data)
    opener = stream_opener(options, seed=3, rank=rank, world=world)
    augment = recipe(shards, None).augment
    return StreamedDraws(
        opener, row_filter(options), Reader(".", 16_000), augment, seed=3, batch_rows=4, chunk_rows=chunk_rows
    )


def words(batches):
    return [(sample.prompt, sample.text, float(np.abs(sample.clips[0]).sum()))
            for batch in batches for sample in batch.samples]  # fmt: skip


def test_a_pass_has_every_row_and_the_next_one_another_order(shards):
    found = list(islice(iter(draws(shards)), 10))
    turns = [[batch for batch in found if batch.place.turn == turn] for turn in (0, 1)]
    assert [len(turn) for turn in turns] == [5, 5]  # 18 rows: chunks of 8, 8 and 2
    numbers = [sorted(sample.row for batch in turn for sample in batch.samples) for turn in turns]
    assert set(numbers[0]) == set(range(18)) == set(numbers[1])
    assert words(turns[0]) != words(turns[1])


@pytest.mark.parametrize("taken", range(1, 8))
def test_X11_a_stream_goes_on_at_the_next_batch(shards, taken):
    whole = list(islice(iter(draws(shards)), 9))
    again = draws(shards)
    again.start = Place(**json.loads(json.dumps(dataclasses.asdict(whole[taken - 1].place))))
    assert words(islice(iter(again), 9 - taken)) == words(whole[taken:])


def test_T9_two_readers_share_the_rows(shards):
    first, second = (
        words(islice(iter(draws(shards, rank=rank, world=2, chunk_rows=4)), 3)) for rank in (0, 1)
    )
    assert not set(first) & set(second)


def test_filters_and_held_out_taxa_leave_rows_out(shards, tmp_path):
    only = draws(shards, tasks=("*-classification",))
    assert {sample.task for batch in islice(iter(only), 4) for sample in batch.samples} == {
        "common-classification"
    }
    (tmp_path / "taxa.txt").write_text("low\n")
    nothing = draws(shards, domains=("music",))
    with pytest.raises(OptionsError, match=r"no row of the stream is left; left out: .*not in data\.domains"):
        next(iter(nothing))


@pytest.fixture(scope="module")
def whole(shards, toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(plan(shards, toy), folder)


@pytest.mark.parametrize("step", [1, 3])
def test_T4_a_run_on_a_stream_taken_up_is_the_unbroken_one(whole, shards, toy, tmp_path, step):
    assert train(plan(shards, toy), tmp_path / "run", stop_after=step) is None
    finished = train(plan(shards, toy), tmp_path / "run")
    one, other = (
        load_file(run / "checkpoint-6" / "model.safetensors") for run in (whole[0], tmp_path / "run")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert finished.figures == whole[1].figures


def test_rows_that_are_left_out_are_in_the_record_however_often_a_run_stopped(shards, toy, tmp_path):
    (tmp_path / "taxa.txt").write_text("common: low\n")
    held = plan(shards, toy, data={"hold_outs": str(tmp_path / "taxa.txt")})
    train(held, tmp_path / "whole")
    for stop in (1, 2, None):
        train(held, tmp_path / "taken", stop_after=stop)
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "taken")]
    assert records[0]["rows"] == records[1]["rows"]
    # Of 18 rows 6 are of it and 6 name it in their question; 24 are learned from, in passes over 6.
    assert records[0]["rows"]["left_out"]["held-out taxon"] in (48, 60)


def test_another_number_of_processes_is_refused(shards, toy, tmp_path):
    train(plan(shards, toy), tmp_path / "run", stop_after=1)
    progress = tmp_path / "run" / "checkpoint-1" / "progress.json"
    content = json.loads(progress.read_text())
    progress.write_text(json.dumps({**content, "stream": content["stream"] * 2}))
    with pytest.raises(OptionsError, match="2 processes read this stream, and now there are 1"):
        train(plan(shards, toy), tmp_path / "run")


def test_unreadable_audio_in_a_stream_is_counted(shards, toy, tmp_path, monkeypatch):
    from naturelm_audio.errors import AudioError

    real = Reader.cropped

    def torn(self, example, generator, largest_scale):
        if example.text == "low":
            raise AudioError("torn", path=example.id)
        return real(self, example, generator, largest_scale)

    monkeypatch.setattr(Reader, "cropped", torn)
    finished = train(plan(shards, toy), tmp_path / "run")
    assert finished.unreadable
    assert all("torn" in reason for reason in finished.unreadable.values())
    strict = plan(shards, toy, data={"max_unreadable_share": 0.001})
    with pytest.raises(TrainingError, match=r"of 1000 rows can't be read"):
        train(strict, tmp_path / "strict")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": ("a", "b")}, "name one folder of shards or one data set"),
        ({"workers": 2}, "set data.workers to 0"),
    ],
)
def test_what_a_stream_cannot_have_is_named(shards, toy, tmp_path, data, message):
    with pytest.raises(OptionsError, match=message):
        train(plan(shards, toy, data=data), tmp_path / "run")
