"""Validation: the same figures on one process and several, in any batches; rows that can't be read."""

from __future__ import annotations

import pytest
import toys
from rehearsal import rows

from naturelm_audio.train import validation
from naturelm_audio.train.collate import Collator
from naturelm_audio.train.draws import Reader, TrainingError
from naturelm_audio.train.manifest.examples import from_mapping
from naturelm_audio.train.recipe import ValidationOptions
from naturelm_audio.train.validation import Validation, chosen_rows


@pytest.fixture(scope="module")
def model():
    return toys.model(lora_rank=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def examples(folder):
    return [from_mapping(row) for row in rows(folder)][:7]


def make(model, folder, examples, share=0.01, **options):
    settings = ValidationOptions(**({"answers_per_task": 2, "max_new_tokens": 3} | options))
    collator = Collator(model.config, model.tokenizer, 50)
    return Validation(
        examples, Reader(folder, 16_000), collator, settings, seed=1, max_unreadable_share=share
    )


@pytest.mark.parametrize("world", [2, 3, 10])
def test_T5_several_processes_give_the_figures_of_one(model, folder, examples, world, monkeypatch):
    alone = make(model, folder, examples).figures(model)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(validation, "gather_object", lambda rows: shares.append(rows) or rows)
        make(model, folder, examples).figures(model, rank=rank, world=world)
    assert len({len(share) for share in shares}) == 1  # sharded weights need as many calls everywhere
    gathered = [row for share in shares for row in share]
    monkeypatch.setattr(validation, "gather_object", lambda rows: gathered)
    together = make(model, folder, examples).figures(model, rank=0, world=world)
    assert together.keys() == alone.keys()
    assert together == pytest.approx(alone, rel=1e-6)


def test_batches_change_no_figure(model, folder, examples):
    one, many = (make(model, folder, examples).figures(model, batch_size=size) for size in (1, 5))
    assert one == pytest.approx(many, rel=1e-5)


def test_T14_figures_follow_the_weights(folder, examples):
    import torch

    changing = toys.model(lora_rank=2)
    judged = make(changing, folder, examples)
    before = judged.figures(changing)["loss"]
    with torch.no_grad():
        changing.bridge.projection.weight.mul_(3.0)
    after = judged.figures(changing)["loss"]
    assert after == make(changing, folder, examples).figures(changing)["loss"]
    assert after != before


def test_the_mode_of_the_model_comes_back(model, folder, examples):
    model.train()
    make(model, folder, examples).figures(model)
    assert model.training
    model.eval()


def test_rows_are_chosen_by_task_and_always_the_same(examples):
    assert chosen_rows(examples, 2, 1) == chosen_rows(examples, 2, 1)
    assert len(chosen_rows(examples, 2, 1)) == 4
    assert set(chosen_rows(examples, 1, 1)) <= set(chosen_rows(examples, 2, 1))
    assert chosen_rows(examples, 0, 1) == list(range(7))


def test_a_row_that_cant_be_read_doesnt_count(model, folder, examples):
    (folder / "torn.wav").write_bytes(b"nothing")
    torn = from_mapping({"path": "torn.wav", "prompt": "What?", "text": "A", "task": "common-classification"})
    judged = make(model, folder, [*examples, torn], share=0.2, answers_per_task=0)
    expected = make(model, folder, examples, answers_per_task=0).figures(model)
    assert judged.figures(model) == pytest.approx(expected)
    assert [one.row for one in judged.unreadable] == [7]
    with pytest.raises(
        TrainingError, match=r"1 of 8 validation rows can't be read, .*0\.01 allows: .*torn\.wav"
    ):
        make(model, folder, [*examples, torn], answers_per_task=0).figures(model)


def test_all_figures_are_known_before_the_first(model, folder, examples):
    judged = make(model, folder, examples)
    assert judged.names() == list(judged.figures(model))
    assert not any("exact" in name for name in make(model, folder, examples, answers_per_task=0).names())
