"""The running mean of the weights, and the clock of a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from naturelm_audio.train import callbacks
from naturelm_audio.train.averaging import AverageWeights
from naturelm_audio.train.callbacks import Clock


def mean_of(layer, decay=0.9, counts=True):
    return AverageWeights(layer.state_dict, decay, lambda: counts)


def test_the_mean_follows_slowly():
    layer = nn.Linear(2, 2)
    mean = mean_of(layer)
    before = layer.weight.detach().clone()
    nn.init.ones_(layer.weight)
    mean.move(1000)
    torch.testing.assert_close(mean.tensors["weight"], 0.9 * before + 0.1)


def test_at_first_it_follows_closely():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    mean = mean_of(layer, decay=0.999)
    nn.init.ones_(layer.weight)
    mean.on_step_end(None, SimpleNamespace(global_step=1), None)
    assert float(mean.tensors["weight"]) == pytest.approx(0.9)


def test_an_update_that_was_left_out_does_not_count():
    layer = nn.Linear(1, 1)
    mean = mean_of(layer, counts=False)
    nn.init.ones_(layer.weight)
    before = mean.tensors["weight"].clone()
    mean.on_step_end(None, SimpleNamespace(global_step=1), None)
    assert torch.equal(mean.tensors["weight"], before)


def test_statistics_of_norms_are_averaged_and_counters_are_not():
    assert set(mean_of(nn.BatchNorm1d(3)).tensors) == {"weight", "bias", "running_mean", "running_var"}


def test_it_stands_in_the_place_of_the_weights_for_a_while():
    layer = nn.Linear(2, 2)
    mean = mean_of(layer)
    nn.init.ones_(layer.weight)
    with mean.in_place():
        assert torch.equal(layer.weight, mean.tensors["weight"])
        assert not torch.equal(layer.weight, torch.ones(2, 2))
    assert torch.equal(layer.weight, torch.ones(2, 2))
    assert layer.weight.requires_grad


def test_a_mean_is_taken_up_if_it_is_of_these_weights():
    mean = mean_of(nn.Linear(2, 2))
    state = {name: torch.full_like(tensor, 7.0) for name, tensor in mean.tensors.items()}
    mean.load(state)
    assert float(mean.tensors["bias"][0]) == 7.0
    with pytest.raises(ValueError, match="other weights"):
        mean.load({"weight": torch.ones(2, 2)})


def test_the_clock_counts_updates_and_ends_the_run(monkeypatch):
    seconds = iter(range(100))
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    over = []
    clock = Clock(1 / 60, lambda own: own, lambda: over.append(True))
    state = SimpleNamespace(global_step=1, max_steps=3)
    clock.on_step_end(None, state, None)
    assert not over  # no update has begun
    clock.begin()
    clock.on_step_end(None, state, None)
    assert over == [True]
    assert clock.minutes == 1 / 60
    state.global_step = 3
    clock.on_step_end(None, state, None)
    assert over == [True]  # ends by itself


def test_without_a_limit_nothing_is_counted():
    clock = Clock(None, lambda own: own, lambda: None)
    clock.begin()
    clock.on_step_end(None, SimpleNamespace(global_step=1, max_steps=3), None)
    assert clock.minutes == 0.0
