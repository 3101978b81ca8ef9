"""Filterbank, BEATs, bridge: every stored intermediate value in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from naturelm_audio.model import fbank
from naturelm_audio.model.beats import patch_padding_mask, relative_position_bucket

Check = Callable[..., None]


@pytest.fixture(scope="module")
def batch(arrays: Any) -> torch.Tensor:
    return torch.from_numpy(arrays["batch_wav"])


@pytest.fixture(scope="module")
def padding(arrays: Any) -> torch.Tensor:
    return torch.from_numpy(np.unpackbits(arrays["batch_padding_mask"], axis=1).astype(bool))


def test_filterbank(arrays: Any, batch: torch.Tensor, check: Check) -> None:
    check("filterbank, float32 audio", fbank(batch), arrays["fbank_batch_f32"], 0.0)
    from_f64 = fbank(torch.from_numpy(arrays["wav_frog_f64"])[None])
    check("filterbank, float64 audio", from_f64, arrays["fbank_frog_from_f64"], 1e-4)


def test_position_table(arrays: Any, micro: Any, check: Check) -> None:
    buckets = relative_position_bucket(torch.arange(-600, 601), 320, 800)
    check("relative position buckets", buckets, arrays["rel_pos_bucket_-600_600"], 0.0)
    bias = micro.audio_tower.encoder.position_bias(496)[:, [0, 250]]
    check("relative position bias", bias, arrays["rel_pos_bias_row0_row250"], 1e-6)


@torch.no_grad()
def test_intermediate_values(arrays: Any, batch: torch.Tensor, micro: Any, check: Check) -> None:
    tower, seen = micro.audio_tower, {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    modules = {
        "patch_embedding": tower.patch_embedding,
        "beats_layer_norm": tower.layer_norm,
        "post_extract_proj": tower.post_extract_proj,
        "pos_conv": tower.encoder.pos_conv,
        "encoder_layer_norm": tower.encoder.layer_norm,
        "encoder_layer_0_TBC": tower.encoder.layers[0],
        "encoder_layer_1_TBC": tower.encoder.layers[1],
        "ln_audio": micro.bridge.ln_audio,
        "qformer_layer_0": micro.bridge.qformer.encoder.layer[0],
        "qformer_layer_1": micro.bridge.qformer.encoder.layer[1],
        "audio_llama_proj": micro.bridge.projection,
    }
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    micro.get_audio_features(batch[:1])
    for handle in handles:
        handle.remove()
    for name, value in seen.items():
        value = value[0] if isinstance(value, tuple) else value
        if name.endswith("TBC"):
            value = value.transpose(0, 1)
        elif name == "pos_conv":
            value = value.transpose(1, 2)
        elif name == "audio_llama_proj":
            value = value.flatten(0, 1)
        check(name, value, arrays[f"mid_chirp10/{name}"], 1e-4)


@torch.no_grad()
def test_encoder_with_padding_mask(
    arrays: Any, batch: torch.Tensor, padding: torch.Tensor, micro: Any, check: Check
) -> None:
    mask = patch_padding_mask(padding, 998, micro.config.audio_config)
    check("patch padding mask", mask, arrays["beats_batch_masked_outmask"], 0.0)
    check("BEATs output, masked", micro.audio_tower(batch, padding), arrays["beats_batch_masked_f32"], 1e-4)
    probabilities = micro.audio_tower.class_probabilities(batch, padding)
    check("class probabilities, masked", probabilities, arrays["beats_predictor_lprobs_masked_f32"], 1e-4)


@torch.no_grad()
def test_audio_tokens(
    arrays: Any, batch: torch.Tensor, padding: torch.Tensor, micro: Any, check: Check
) -> None:
    def encode(waveform: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return micro.get_audio_features(waveform, None if mask is None else ~mask).pooler_output

    check("audio tokens, alone", encode(batch[:1]), arrays["encode_chirp10_nomask_f32"], 1e-4)
    check("audio tokens, batch", encode(batch), arrays["encode_batch_nomask_f32"], 1e-4)
    nothing = torch.zeros_like(padding)
    check("audio tokens, mask of zeros", encode(batch, nothing), arrays["encode_batch_zeromask_f32"], 1e-4)
    check("audio tokens, masked", encode(batch, padding), arrays["encode_batch_masked_f32"], 1e-4)
    for samples in (80000, 8000, 47011, 24000):
        name = f"encode_chirp_first{samples}_f32"
        check(f"audio tokens of {samples} samples", encode(batch[:1, :samples]), arrays[name], 1e-4)
    doubles = encode(torch.from_numpy(arrays["wav_frog_f64"])[None])
    check("audio tokens, float64 audio", doubles, arrays["encode_frog_from_f64_f32"], 1e-4)


@torch.no_grad()
def test_bfloat16_is_as_near_as_the_official_autocast(
    arrays: Any, batch: torch.Tensor, micro: Any, check: Check
) -> None:
    import copy

    half = copy.deepcopy(micro).to(torch.bfloat16)
    exact = arrays["encode_batch_nomask_f32"]
    ours = half.get_audio_features(batch).pooler_output.float().numpy()
    relative = float(np.sqrt(((ours - exact) ** 2).mean() / (exact**2).mean()))
    check("audio tokens in bfloat16, relative RMS", relative, 0.0, 0.02)
