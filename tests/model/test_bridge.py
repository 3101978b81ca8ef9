"""The bridge against a slow Q-Former in loops, and its window arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.model import Bridge, NatureLMConfig

Weights = dict[str, np.ndarray]


def bridge(seed: int = 0, attention: str = "sdpa", **changes: Any) -> Bridge:
    torch.manual_seed(seed)
    model = Bridge(toys.bridge_config(**changes), patch_width=16, llm_width=10, attention=attention)
    toys.shake(model)
    return model.eval()


def slow_bridge(model: Bridge, patches: np.ndarray) -> np.ndarray:
    """(W * n, D) of one clip's patches (P, C) in float64."""
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    size, stride = model.config.window_patches, model.config.stride_patches
    patches = slow_norm(patches, weights, "ln_audio", 1e-5)
    vectors = []
    for start in range(0, len(patches) - size + 1, stride):
        states = slow_norm(weights["query_tokens"][0], weights, "qformer.layernorm", 1e-12)
        window = patches[start : start + size]
        for index in range(model.config.num_hidden_layers):
            states = slow_layer(states, window, weights, index, model.config.num_attention_heads)
        vectors.append(slow_linear(states, weights, "projection"))
    return np.concatenate(vectors)


def slow_layer(
    states: np.ndarray, window: np.ndarray, weights: Weights, index: int, heads: int
) -> np.ndarray:
    name = f"qformer.encoder.layer.{index}"
    for part in ("attention", "crossattention"):
        source = states if part == "attention" else window
        mixed = slow_attention(states, source, weights, f"{name}.{part}.attention", heads)
        branch = slow_linear(mixed, weights, f"{name}.{part}.output.dense")
        states = slow_norm(states + branch, weights, f"{name}.{part}.output.LayerNorm", 1e-12)
    inner = slow_linear(states, weights, f"{name}.intermediate_query.dense")
    inner = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))(inner)
    branch = slow_linear(inner, weights, f"{name}.output_query.dense")
    return slow_norm(states + branch, weights, f"{name}.output_query.LayerNorm", 1e-12)


def slow_attention(
    states: np.ndarray, source: np.ndarray, weights: Weights, name: str, heads: int
) -> np.ndarray:
    query = slow_linear(states, weights, f"{name}.query")
    key, value = (slow_linear(source, weights, f"{name}.{part}") for part in ("key", "value"))
    width = query.shape[1] // heads
    mixed = np.zeros_like(query)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for row in range(len(query)):
            scores = np.exp([query[row, own] @ one / math.sqrt(width) for one in key[:, own]])
            mixed[row, own] = scores @ value[:, own] / scores.sum()
    return mixed


def slow_linear(states: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def slow_norm(states: np.ndarray, weights: Weights, name: str, epsilon: float) -> np.ndarray:
    centred = states - states.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("changes", [{}, {"num_query_tokens": 3}, {"second_stride": 0.1}], ids=str)
def test_equals_the_slow_bridge(changes: dict[str, Any], attention: str) -> None:
    model = bridge(attention=attention, **changes)
    patches = torch.randn(2, 60, 16)
    ours = model(patches).double().numpy()
    for row in range(2):
        theirs = slow_bridge(model, patches[row].double().numpy())
        np.testing.assert_allclose(ours[row], theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_M15_windows_are_runs_of_17_flat_patches() -> None:
    model, patches = bridge(), torch.randn(1, 55, 16)
    vectors = model(patches)
    assert vectors.shape == (1, 3, 10), "55 = 3 * 17 + 4: the last four fill no window"
    for window in range(3):
        alone = model(patches[:, 17 * window : 17 * window + 17])
        torch.testing.assert_close(alone[0, 0], vectors[0, window], rtol=0, atol=1e-6)
    patches[:, 51:] += 1
    assert torch.equal(model(patches), vectors)


@torch.no_grad()
def test_queries_of_one_window_stay_together() -> None:
    model = bridge(num_query_tokens=3)
    patches = torch.randn(1, 34, 16)
    outputs, vectors = model.query_outputs(patches), model(patches)
    assert outputs.shape == (1, 2, 3, 12)
    torch.testing.assert_close(vectors[0, 3:], model.projection(outputs[0, 1]), rtol=0, atol=1e-6)


@torch.no_grad()
def test_M17_too_few_patches_are_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"16 patches are too few for one window of 17: .* 7920 samples"):
        bridge()(torch.randn(1, 16, 16))
    assert bridge()(torch.randn(1, 17, 16)).shape == (1, 1, 10)


@given(
    samples=st.integers(7_920, 400_000),
    queries=st.integers(1, 3),
    window=st.sampled_from([0.333333, 0.2]),
    stride=st.sampled_from([0.333333, 0.1, 1.0]),
)
def test_lengths_agree_with_the_configuration(
    samples: int, queries: int, window: float, stride: float
) -> None:
    settings = {"num_query_tokens": queries, "second_per_window": window, "second_stride": stride}
    config = NatureLMConfig(bridge_config=settings)
    frames = 1 + (samples - 400) // 160
    patches = torch.zeros(1, frames // 16 * 8, 1)
    windows = bridge(**settings)._windows(patches)
    assert windows.shape[2] == config.bridge_config.window_patches
    assert windows.shape[1] * queries == config.audio_tokens(samples)


@torch.no_grad()
def test_a_clip_in_a_batch_is_as_alone() -> None:
    model, patches = bridge(), torch.randn(4, 40, 16)
    together = model(patches)
    for row in range(4):
        torch.testing.assert_close(model(patches[row : row + 1])[0], together[row], rtol=0, atol=1e-6)


def test_dropout_is_for_training_alone() -> None:
    model, patches = bridge(dropout=0.5), torch.randn(1, 17, 16)
    assert torch.equal(model(patches), model(patches))
    model.train()
    assert not torch.equal(model(patches), model(patches))
    with torch.random.fork_rng():
        silent = bridge(dropout=0.0).train()
        assert torch.equal(silent(patches), silent(patches))
