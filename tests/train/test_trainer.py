"""Updates: groups, accumulation, clipping, gradients that are no numbers, frozen parts, memory options."""

from __future__ import annotations

import json

import pytest
import torch
import toys
from rehearsal import recipe, rows, write_rows
from torch import nn

from naturelm_audio.checkpoint import load_model, save_model
from naturelm_audio.errors import OptionsError
from naturelm_audio.model import LoraLinear
from naturelm_audio.train import arguments
from naturelm_audio.train.initial import choose_trained
from naturelm_audio.train.recipe import OptimiserOptions, PartsOptions
from naturelm_audio.train.running import prepare, train
from naturelm_audio.train.schedule import make_optimiser, make_schedule, parameter_groups
from naturelm_audio.train.trainer import RunTrainer, TrainingError, keep_frozen_parts_still

STILL = {"encoder_layerdrop": 0.0, "lora_dropout": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_rows(folder / "rows.jsonl", [row for row in rows(folder) if row["split"] == "train"])


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "model"
    bridge = toys.bridge_config(dropout=0.0)
    save_model(
        toys.model(lora_rank=2, lora_alpha=4.0, lora_dropout=0.0, spread=0.05, bridge_config=bridge), folder
    )
    return folder


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_T7_decay_goes_by_the_kind_of_module():
    model = toys.model(lora_rank=2)
    choose_trained(model, PartsOptions(lora_rank=2, language_model=True))
    decayed, others = (
        group["params"] for group in parameter_groups(model, OptimiserOptions(steps=1), model.language_model)
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    spared = {names[id(parameter)] for parameter in others}
    assert "bridge.query_tokens" in spared
    assert "language_model.model.layers.0.input_layernorm.weight" in spared
    assert "audio_tower.encoder.layers.0.fc1.bias" in spared
    assert {name for name in spared if not name.endswith("bias") and "norm" not in name.lower()} == {
        "bridge.query_tokens",
        "bridge.ln_audio.weight",
    }
    kept = {names[id(parameter)] for parameter in decayed}
    assert "language_model.model.layers.0.self_attn.q_proj.lora_A.weight" in kept
    assert not any(name.endswith("bias") for name in kept)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(decayed) + len(others) == len(learning)
    assert not any("predictor" in name for name in spared | kept)


def test_frozen_parameters_are_in_no_group():
    model = toys.model(lora_rank=2)
    choose_trained(model, PartsOptions(lora_rank=2, encoder=False, bridge=False))
    found = [
        parameter
        for group in parameter_groups(model, OptimiserOptions(steps=1), model.language_model)
        for parameter in group["params"]
    ]
    adapters = [
        p for m in model.modules() if isinstance(m, LoraLinear) for p in (m.lora_A.weight, m.lora_B.weight)
    ]
    assert {id(parameter) for parameter in found} == {id(parameter) for parameter in adapters}


def test_T7_the_schedule_gives_the_formula_over_a_whole_run():
    options = OptimiserOptions(steps=40, warmup_steps=8, learning_rate=1e-2, final_learning_rate=1e-3)
    optimiser = make_optimiser([{"params": [nn.Parameter(torch.ones(2, 2))], "weight_decay": 0.0}], options)
    schedule = make_schedule(optimiser, options)
    for step in range(40):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(options.learning_rate_at(step), rel=1e-12)
        optimiser.step()
        schedule.step()


def test_T7_the_learning_rate_of_a_run_goes_on_over_passes(data, toy, tmp_path):
    plan = recipe(data, toy, optimiser={"steps": 8, "batch_size": 9, "rows_at_once": 3})
    train(plan, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "loss" in line]
    assert rates == pytest.approx([plan.optimiser.learning_rate_at(step) for step in range(8)])
    assert lines[-1]["passes"] == 4.0


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_T3_accumulated_updates_equal_whole_ones(data, toy, tmp_path, at_once):
    changes = {"parts": STILL, "augment": {"mixup_probability": 0.0}}
    whole = {"steps": 3, "batch_size": 8, "rows_at_once": 8}
    train(recipe(data, toy, optimiser=whole, **changes), tmp_path / "whole")
    train(recipe(data, toy, optimiser=whole | {"rows_at_once": at_once}, **changes), tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_T3_accumulation_weighs_tokens_not_micro_batches(data, toy, tmp_path):
    trainer = prepare(recipe(data, toy, parts=STILL, optimiser={"rows_at_once": 1}), tmp_path / "run")
    batches, tokens = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 4, torch.device("cpu"))
    lengths = [int((batch["labels"] != -100).sum()) for batch in batches]
    assert int(tokens) == sum(lengths)
    assert len(set(lengths)) > 1
    trainer.model.eval().requires_grad_(False)
    parts = [
        float(trainer.compute_loss(trainer.model, batch, num_items_in_batch=tokens)) for batch in batches
    ]
    means = [float(trainer.compute_loss(trainer.model, batch)) for batch in batches]
    assert sum(parts) == pytest.approx(
        sum(m * n for m, n in zip(means, lengths, strict=True)) / sum(lengths), rel=1e-5
    )


@pytest.mark.parametrize("clips", [(None, None), (1.0, None), (None, 1e-3), (1.0, 1e-3)])
def test_T2_every_combination_of_clipping_runs(data, toy, tmp_path, clips):
    norm, value = clips
    trainer = prepare(
        recipe(data, toy, optimiser={"steps": 1, "clip_norm": norm, "clip_value": value}), tmp_path / "run"
    )
    seen = []
    real = trainer._clip_grad_norm

    def looked_at(model):
        found = real(model)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        seen.append(
            (
                float(torch.cat([g.flatten() for g in gradients]).norm()),
                max(float(g.abs().max()) for g in gradients),
            )
        )
        return found

    trainer._clip_grad_norm = looked_at
    trainer.train()
    assert norm is None or seen[0][0] <= norm * 1.001
    assert value is None or seen[0][1] <= value * 1.001


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_train_without_a_scaler(data, toy, tmp_path, precision):
    trainer = prepare(recipe(data, toy, optimiser={"steps": 2, "precision": precision}), tmp_path / "run")
    trainer.train()
    assert trainer.accelerator.scaler is None
    assert all(parameter.dtype == torch.float32 for parameter in trainer.plain.parameters())


def spoil(monkeypatch, updates):
    """Make the loss of these updates no number."""
    real = RunTrainer.compute_loss

    def spoilt(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = real(self, model, inputs, return_outputs, num_items_in_batch)
        return loss * float("nan") if self.state.global_step in updates else loss

    monkeypatch.setattr(RunTrainer, "compute_loss", spoilt)


def test_T3_an_update_without_a_finite_gradient_is_left_out_and_counted(data, toy, tmp_path, monkeypatch):
    spoil(monkeypatch, {1, 3})
    finished = train(recipe(data, toy, parts=STILL), tmp_path / "run")
    assert finished.bad_updates == 2
    model = load_model(finished.model, device="cpu")
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    memory = torch.load(tmp_path / "run" / "checkpoint-6" / "optimizer.pt", weights_only=True)["state"]
    assert all(torch.isfinite(one["exp_avg"]).all() for one in memory.values())
    assert {int(one["step"]) for one in memory.values()} == {4}


def test_T3_too_many_such_updates_in_a_row_end_the_run(data, toy, tmp_path, monkeypatch):
    spoil(monkeypatch, range(100))
    with pytest.raises(TrainingError, match="3 updates in a row had no finite gradient"):
        train(recipe(data, toy, optimiser={"stop_after_bad_updates": 3}), tmp_path / "run")


def test_T15_frozen_parts_stay_in_evaluation_mode(data, toy, tmp_path):
    plan = recipe(data, toy, parts={"encoder": False, "encoder_layerdrop": 0.9})
    trainer = prepare(plan, tmp_path / "run")
    trainer.model.train()
    keep_frozen_parts_still(trainer.plain)
    assert not any(module.training for module in trainer.plain.audio_tower.modules())
    assert trainer.plain.bridge.training
    assert trainer.plain.config.audio_config.encoder_layerdrop == 0.0
    trainer.train()
    before, after = load_model(toy, device="cpu"), trainer.plain
    pairs = zip(before.audio_tower.parameters(), after.audio_tower.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_gradient_checkpointing_gives_the_same_losses(data, toy, tmp_path):
    plan = recipe(data, toy, optimiser={"steps": 2}, parts=STILL)
    train(plan, tmp_path / "plain")
    train(
        recipe(data, toy, optimiser={"steps": 2}, parts=STILL | {"gradient_checkpointing": True}),
        tmp_path / "less",
    )
    assert losses(tmp_path / "less") == pytest.approx(losses(tmp_path / "plain"), rel=1e-6)


def test_the_whole_language_model_can_learn(data, tmp_path):
    save_model(toys.model({"tie_word_embeddings": True}, tie_word_embeddings=True), tmp_path / "tied")
    plan = recipe(data, tmp_path / "tied", parts={"language_model": True, "lora_rank": 0})
    assert train(plan, tmp_path / "run", stop_after=2) is None
    finished = train(plan, tmp_path / "run")
    train(plan, tmp_path / "whole")
    one, other = (
        load_model(finished.model, device="cpu"),
        load_model(tmp_path / "whole" / "model", device="cpu"),
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    first = load_model(tmp_path / "tied", device="cpu")
    assert not torch.equal(one.get_input_embeddings().weight, first.get_input_embeddings().weight)


def test_T9_updates_and_micro_batches_have_random_numbers_of_their_own(data, toy, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed))
    trainer = prepare(recipe(data, toy, optimiser={"steps": 3, "rows_at_once": 2}), tmp_path / "run")
    seeds.clear()
    trainer.train()
    updates = [seed for seed in seeds if seed > 1000]
    assert len(set(updates)) == len(updates) == 6


def test_T11_batches_are_shared_out_among_processes(data, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(arguments.TrainingArguments, "world_size", property(lambda self: 3))
    with pytest.raises(OptionsError, match="can't be shared out among 3 processes"):
        arguments.training_arguments(recipe(data, toy), tmp_path)
    shared = arguments.training_arguments(
        recipe(data, toy, optimiser={"batch_size": 30, "rows_at_once": 4}), tmp_path
    )
    assert (shared.per_device_train_batch_size, shared.gradient_accumulation_steps) == (2, 5)
    assert 60 <= shared.ddp_timeout <= 3600


def test_loggers_are_asked_for_by_name(data, toy, tmp_path):
    from naturelm_audio.errors import MissingExtraError

    with pytest.raises(MissingExtraError, match="no_such_logger"):
        train(recipe(data, toy, run={"report_to": ("no_such_logger",)}), tmp_path / "run")
    pytest.importorskip("tensorboard")
    train(recipe(data, toy, optimiser={"steps": 1}, run={"report_to": ("tensorboard",)}), tmp_path / "logged")
    assert list((tmp_path / "logged").rglob("events.out.tfevents*"))


def test_the_trainers_own_settings_stay_out_of_saved_models(data, toy, tmp_path):
    finished = train(recipe(data, toy, optimiser={"steps": 1}), tmp_path / "run")
    own, first = (json.loads((folder / "config.json").read_text()) for folder in (finished.model, toy))
    for config in (own, first):
        for part in (config, *(config[f"{name}_config"] for name in ("audio", "bridge", "text"))):
            part.pop("dtype", None)
    assert (
        own["audio_config"].pop("encoder_layerdrop") == 0.2
    )  # as in official settings; used in training alone
    first["audio_config"].pop("encoder_layerdrop")
    assert own == first
