"""BEATs against a slow implementation in loops, written from the paper's formulas."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.model import BeatsModel, fbank
from naturelm_audio.model.beats import (
    _offset_buckets,
    patch_padding_mask,
    reduce_mask,
    relative_position_bucket,
)

Weights = dict[str, np.ndarray]


def encoder(seed: int = 0, spread: float = 0.3, **changes: Any) -> BeatsModel:
    torch.manual_seed(seed)
    model = BeatsModel(toys.beats_config(**changes))
    toys.shake(model, spread)
    return model.eval()


# --- the slow implementation --------------------------------------------------------------------------------


def slow_encoder(model: BeatsModel, features: np.ndarray, masked: np.ndarray | None = None) -> np.ndarray:
    """(P, C) of one clip's filterbank (F, 128) in float64; ``masked`` (P,)."""
    config = model.config
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    patches = []
    for step in range(len(features) // 16):
        for band in range(8):
            patch = features[16 * step : 16 * step + 16, 16 * band : 16 * band + 16]
            patches.append((weights["patch_embedding.weight"][:, 0] * patch).sum(axis=(1, 2)))
    states = slow_norm(np.array(patches), weights, "layer_norm")
    if "post_extract_proj.weight" in weights:
        states = slow_linear(states, weights, "post_extract_proj")
    if masked is not None:
        states = np.where(masked[:, None], 0.0, states)
    states = slow_norm(states + slow_positions(states, weights, config), weights, "encoder.layer_norm")
    scale = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
    for index in range(config.encoder_layers):
        name = f"encoder.layers.{index}"
        branch = slow_attention(states, weights, f"{name}.self_attn", config, masked)
        states = slow_norm(scale * states + branch, weights, f"{name}.self_attn_layer_norm")
        branch = slow_linear(slow_gelu(slow_linear(states, weights, f"{name}.fc1")), weights, f"{name}.fc2")
        states = slow_norm(scale * states + branch, weights, f"{name}.final_layer_norm")
    return states


def slow_linear(states: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def slow_norm(states: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    centred = states - states.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def slow_gelu(states: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))(states)


def slow_positions(states: np.ndarray, weights: Weights, config: Any) -> np.ndarray:
    """Every group's outputs from its own inputs, at each kernel position scaled to its length g."""
    patches, width = states.shape
    kernel, groups = config.conv_pos, config.conv_pos_groups
    own = width // groups
    gain, direction = weights["encoder.pos_conv.weight_g"], weights["encoder.pos_conv.weight_v"]
    padded = np.vstack([np.zeros((kernel // 2, width)), states, np.zeros((kernel // 2, width))])
    result = np.tile(weights["encoder.pos_conv.bias"], (patches, 1))
    for tap in range(kernel):
        taken = gain[0, 0, tap] * direction[:, :, tap] / np.sqrt((direction[:, :, tap] ** 2).sum())
        for group in range(groups):
            channels = slice(group * own, (group + 1) * own)
            result[:, channels] += padded[tap : tap + patches, channels] @ taken[channels].T
    return slow_gelu(result)


def slow_attention(
    states: np.ndarray, weights: Weights, name: str, config: Any, masked: np.ndarray | None
) -> np.ndarray:
    patches, width = states.shape
    heads = config.encoder_attention_heads
    inner = width // heads
    query, key, value = (slow_linear(states, weights, f"{name}.{part}_proj") for part in "qkv")
    table = weights["encoder.relative_attention_bias.weight"]
    mixed = np.zeros_like(states)
    for head in range(heads):
        own = slice(head * inner, (head + 1) * inner)
        for i in range(patches):
            gate = slow_gate(query[i, own], weights, name, head) if config.gru_rel_pos else 1.0
            scores = np.array(
                [
                    query[i, own] @ key[j, own] / math.sqrt(inner)
                    + gate * table[slow_bucket(j - i, config.num_buckets, config.max_distance), head]
                    for j in range(patches)
                ]
            )
            if masked is not None:
                scores[masked] = -math.inf
            shares = np.exp(scores - scores.max())
            mixed[i, own] = shares @ value[:, own] / shares.sum()
    return slow_linear(mixed, weights, f"{name}.out_proj")


def slow_gate(query: np.ndarray, weights: Weights, name: str, head: int) -> float:
    y = weights[f"{name}.grep_linear.weight"] @ query + weights[f"{name}.grep_linear.bias"]
    first, second = 1 / (1 + math.exp(-y[:4].sum())), 1 / (1 + math.exp(-y[4:].sum()))
    return first * (second * weights[f"{name}.grep_a"][0, head, 0, 0] - 1) + 2


def slow_bucket(offset: int, buckets: int = 320, longest: int = 800) -> int:
    half, exact = buckets // 2, buckets // 4
    distance = abs(offset)
    bucket = half if offset > 0 else 0
    if distance < exact:
        return bucket + distance
    ratio = np.log(np.float32(distance / exact)) / math.log(longest / exact)
    return bucket + min(half - 1, exact + int(ratio * (half - exact)))


# --- comparisons --------------------------------------------------------------------------------------------


@given(offset=st.integers(-3000, 3000))
def test_buckets(offset: int) -> None:
    assert int(relative_position_bucket(torch.tensor([offset]), 320, 800)) == slow_bucket(offset)


def test_buckets_at_the_edges() -> None:
    offsets = torch.tensor([0, 1, -1, 79, -79, 80, -80, 800, -800, 10_000, -10_000])
    expected = [0, 161, 1, 239, 79, 240, 80, 319, 159, 319, 159]
    assert relative_position_bucket(offsets, 320, 800).tolist() == expected


def test_position_bias_is_the_table_by_key_minus_query() -> None:
    layers = encoder().encoder
    bias = layers.position_bias(130)
    assert bias.shape == (2, 130, 130)
    table = layers.relative_attention_bias.weight
    for i, j in [(0, 0), (0, 129), (129, 0), (5, 4), (4, 5), (100, 3)]:
        assert torch.equal(bias[:, i, j], table[slow_bucket(j - i)])


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deep_norm": False},
        {"gru_rel_pos": False},
        {"embed_dim": 16},
        {"conv_pos": 15},
        {"num_buckets": 16, "max_distance": 20},
    ],
    ids=str,
)
def test_equals_the_slow_encoder(changes: dict[str, Any]) -> None:
    model = encoder(**changes)
    assert (model.post_extract_proj is None) == (changes.get("embed_dim") == 16)
    waveform = toys.waveforms(1, 0.6)
    ours = model(waveform)[0].double().numpy()
    theirs = slow_encoder(model, fbank(waveform)[0].double().numpy())
    assert ours.shape == theirs.shape == (24, 16)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@torch.no_grad()
def test_masked_patches_equal_the_slow_encoder() -> None:
    model, waveform = encoder(), toys.waveforms(2, 0.6)
    padding = torch.zeros(2, 9600, dtype=torch.bool)
    padding[0, 5000:] = True
    features = fbank(waveform)
    mask = patch_padding_mask(padding, features.shape[1], model.config)
    assert 0 < mask[0].sum() < mask.shape[1]
    ours = model(waveform, padding).double().numpy()
    for row in range(2):
        theirs = slow_encoder(model, features[row].double().numpy(), mask[row].numpy())
        np.testing.assert_allclose(ours[row], theirs, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours[1], model(waveform[1:])[0].double().numpy(), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_bfloat16_takes_another_way_to_the_same_result(with_mask: bool, gated: bool) -> None:
    model, waveform = encoder(spread=0.1, gru_rel_pos=gated), toys.waveforms(2)
    padding = torch.zeros(2, 16_000, dtype=torch.bool)
    padding[0, 9000:] = with_mask
    exact = model(waveform, padding)
    half = copy.deepcopy(model).to(torch.bfloat16)(waveform, padding)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).pow(2).mean().sqrt() < 0.03 * exact.pow(2).mean().sqrt()
    attention = model.encoder.layers[0].self_attn
    query, key, value = torch.randn(3, 2, 2, 48, 8)
    bias, gate = model.encoder.position_bias(48), torch.rand(2, 2, 48, 1)
    mask = patch_padding_mask(padding, 98, model.config) if with_mask else None
    scores = query @ key.transpose(2, 3) / 8**0.5 + gate * bias
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None], -math.inf)
    products = attention._attend_by_products(query, key, value, gate, bias, mask)
    torch.testing.assert_close(products, scores.softmax(3) @ value, rtol=0, atol=1e-5)


# --- masks --------------------------------------------------------------------------------------------------


def test_ten_seconds_half_padded_mask_the_patches_of_the_release() -> None:
    padding = torch.zeros(1, 160_000, dtype=torch.bool)
    padding[:, 80_000:] = True
    frames = reduce_mask(padding, 998)
    assert frames[0].nonzero().flatten().tolist() == list(range(500, 998))
    patches = patch_padding_mask(padding, 998, toys.beats_config())
    assert patches[0].nonzero().flatten().tolist() == list(range(250, 496))


@given(length=st.integers(1, 200), parts=st.integers(1, 200), seed=st.integers(0, 9))
def test_reduced_masks_are_true_where_a_whole_run_is(length: int, parts: int, seed: int) -> None:
    parts = min(length, parts)
    mask = np.random.default_rng(seed).random((1, length)) < 0.9
    run = length // parts
    expected = [all(mask[0, run * part : run * part + run]) for part in range(parts)]
    assert reduce_mask(torch.from_numpy(mask), parts)[0].tolist() == expected


@torch.no_grad()
def test_a_mask_without_padding_is_no_mask() -> None:
    model, waveform = encoder(), toys.waveforms(2)
    assert torch.equal(model(waveform), model(waveform, torch.zeros(2, 16_000, dtype=torch.bool)))


def test_masks_that_make_no_sense_are_refused() -> None:
    model, waveform = encoder(), toys.waveforms(3)
    padding = torch.zeros(3, 16_000, dtype=torch.bool)
    padding[1] = True
    with pytest.raises(ValueError, match=r"clips \[1\] of the batch are all padding"):
        model(waveform, padding)
    with pytest.raises(ValueError, match=r"padding mask \(3, 99\) for audio \(3, 16000\)"):
        model(waveform, padding[:, :99])


def test_M17_too_short_for_a_time_step_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="15 frames of 10 ms are too few for one time step of 16"):
        encoder()(torch.zeros(1, 400 + 14 * 160))
    assert encoder()(torch.zeros(1, 400 + 15 * 160)).shape == (1, 8, 16)


# --- batches and devices ------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_a_clip_in_a_batch_is_as_alone(stem: str) -> None:
    model, batch = encoder(patch_stem=stem), toys.waveforms(4)
    together = model(batch)
    for row in range(4):
        torch.testing.assert_close(model(batch[row : row + 1])[0], together[row], rtol=0, atol=2e-5)


@torch.no_grad()
def test_float64_audio_gives_the_same_in_the_encoders_dtype() -> None:
    model, waveform = encoder(), toys.waveforms(1)
    assert model(waveform.double()).dtype == torch.float32
    torch.testing.assert_close(model(waveform.double()), model(waveform), rtol=0, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_frames_that_fill_no_step_are_unused(stem: str) -> None:
    model, features = encoder(patch_stem=stem), fbank(toys.waveforms(1))
    assert features.shape[1] == 98
    patches = model.encode_fbank(features)
    assert patches.shape == (1, 8 * 6, 16)
    assert torch.equal(patches, model.encode_fbank(features[:, :96]))


@torch.no_grad()
def test_patches_run_over_frequency_first() -> None:
    for stem in ("linear", "conv"):
        model = encoder(patch_stem=stem)
        quiet = torch.zeros(1, 96, 128)
        loud = quiet.clone()
        loud[:, 16 * 2 + 8, 16 * 5 + 8] = 10.0  # in time step 2, band 5
        change = (model.patch_embedding(loud[:, None]) - model.patch_embedding(quiet[:, None])).flatten(2)
        changed = {divmod(patch, 8) for patch in change.abs().sum(dim=1)[0].nonzero().flatten().tolist()}
        assert (2, 5) in changed
        # The small convolutions overlap, so the neighbours hear it too; the one large does not.
        assert changed <= ({(2, 5)} if stem == "linear" else {(2, 5), (2, 6), (3, 5), (3, 6)})
        assert model.patch_embedding(loud[:, None]).shape == (1, 8, 6, 8)


# --- the tagger ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_class_probabilities_are_means_over_real_patches() -> None:
    model, waveform = encoder(), toys.waveforms(2)
    plain = model.class_probabilities(waveform)
    torch.testing.assert_close(plain, model.predictor(model(waveform)).mean(1).sigmoid())
    padding = torch.zeros(2, 16_000, dtype=torch.bool)
    padding[0, 8000:] = True
    masked = model.class_probabilities(waveform, padding)
    kept = ~patch_padding_mask(padding, 98, model.config)
    logits = model.predictor(model(waveform, padding))
    torch.testing.assert_close(masked[0], logits[0][kept[0]].mean(0).sigmoid())
    torch.testing.assert_close(masked[1], plain[1])


def test_an_encoder_without_tagger_says_so() -> None:
    model = encoder(finetuned_model=False)
    assert not [name for name in model.state_dict() if "predictor" in name]
    with pytest.raises(ValueError, match="no class predictor"):
        model.class_probabilities(toys.waveforms(1))


# --- training -----------------------------------------------------------------------------------------------


def test_M16_a_frozen_encoder_stays_in_evaluation_mode() -> None:
    whole = torch.nn.ModuleDict({"tower": encoder(encoder_layerdrop=0.5, dropout=0.5, patch_stem="conv")})
    tower, waveform = whole["tower"], toys.waveforms(1)
    tower.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    whole.train()
    assert not any(module.training for module in tower.modules())
    passes = [tower(waveform) for _ in range(8)]
    assert all(torch.equal(one, passes[0]) for one in passes)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tower.state_dict().items())
    tower.requires_grad_(True)
    assert whole.train()["tower"].encoder.training


def test_layers_are_dropped_in_training_only() -> None:
    model, features = encoder(encoder_layerdrop=0.5), fbank(toys.waveforms(1))
    assert torch.equal(model.encode_fbank(features), model.encode_fbank(features))
    model.train()
    torch.manual_seed(0)
    seen = {model.encode_fbank(features).sum().item() for _ in range(40)}
    assert len(seen) == 4, "none, the first, the second, both of two layers"
    model.config.encoder_layerdrop = 1.0
    states = model.encode_fbank(features)
    model.eval()
    assert not torch.equal(states, model.encode_fbank(features))


def gradients(decay: float) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    model = encoder(layer_wise_gradient_decay_ratio=decay, encoder_layers=3).train()
    output = model(toys.waveforms(1))
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, output


def test_gradients_decay_from_layer_to_layer() -> None:
    (plain, states), (decayed, same) = gradients(1.0), gradients(0.6)
    assert torch.equal(states, same)
    for name, gradient in plain.items():
        if name == "encoder.relative_attention_bias.weight":
            continue  # used in every layer, so a sum of all three
        layer = int(name.split(".")[2]) if name.startswith("encoder.layers.") else -1
        torch.testing.assert_close(decayed[name], gradient * 0.6 ** (2 - layer), rtol=1e-3, atol=1e-6)
    assert {"patch_embedding.weight", "encoder.layers.2.fc1.weight", "encoder.pos_conv.bias"} <= set(plain)


def test_it_trains_after_inference_of_the_same_length() -> None:
    """What is cached in inference mode must still serve later training."""
    _offset_buckets.cache_clear()
    model, features = encoder(), fbank(toys.waveforms(1, 0.93))
    with torch.inference_mode():
        model.encode_fbank(features)
    model.encode_fbank(features).sum().backward()
    assert model.encoder.relative_attention_bias.weight.grad is not None
