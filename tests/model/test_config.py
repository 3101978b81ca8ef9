"""Sizes that follow from configurations, and values that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, LlamaConfig, Qwen2Config

from naturelm_audio.model import BeatsConfig, BridgeConfig, NatureLMConfig
from naturelm_audio.model.config import filterbank_frames


@pytest.mark.parametrize(
    ("samples", "tokens"),
    [
        (160_000, 29),
        (80_000, 14),
        (48_000, 8),
        (8_000, 1),
        (7_920, 1),
        (7_919, 0),
        (400, 0),
        (399, 0),
        (0, 0),
    ],
)
def test_audio_tokens_of_the_release(samples: int, tokens: int) -> None:
    assert NatureLMConfig().audio_tokens(samples) == tokens


def test_audio_tokens_count_every_query() -> None:
    three = NatureLMConfig(bridge_config={"num_query_tokens": 3})
    assert three.audio_tokens(160_000) == 3 * 29


def test_M15_windows_are_17_patches() -> None:
    bridge = BridgeConfig()
    assert (bridge.window_patches, bridge.stride_patches) == (17, 17)
    halved = BridgeConfig(second_stride=0.333333 / 2)
    assert (halved.window_patches, halved.stride_patches) == (17, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_patch_size", 8),
        ("conv_bias", True),
        ("activation_fn", "relu"),
        ("layer_norm_first", True),
        ("relative_position_embedding", False),
    ],
)
def test_M10_unsupported_encoders_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}={value!r} is not supported"):
        BeatsConfig(**{name: value})


def test_other_impossible_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="patch_stem='tall': known are"):
        BeatsConfig(patch_stem="tall")
    with pytest.raises(ValueError, match="encoder_embed_dim 10 is no multiple of encoder_attention_heads 3"):
        BeatsConfig(encoder_embed_dim=10, encoder_attention_heads=3)


@pytest.mark.parametrize("lengths", [(), (10.0, 5.0)])
def test_padded_lengths_must_rise(lengths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="padded_lengths_seconds must rise"):
        NatureLMConfig(padded_lengths_seconds=lengths)


@given(samples=st.integers(1, 32_000))
def test_M17_any_clip_is_padded_to_the_first_length_that_holds_it(samples: int) -> None:
    config = NatureLMConfig(padded_lengths_seconds=(0.5, 1.0, 2.0))
    padded = config.padded_samples(samples)
    # 79 samples more fill no hop of the filterbank behind 8,000, 16,000 or 32,000 samples.
    assert padded == min(length for length in (8_079, 16_079, 32_000) if length >= samples) // 1000 * 1000
    assert config.audio_tokens(padded) >= 1
    assert filterbank_frames(min(samples, padded)) == filterbank_frames(samples)


def test_clips_that_fit_no_length_are_refused() -> None:
    config = NatureLMConfig()
    with pytest.raises(ValueError, match="at least one sample"):
        config.padded_samples(0)
    with pytest.raises(ValueError, match=r"10\.0001 s is longer than the 10 s .* split it"):
        config.padded_samples(160_001)
    assert config.max_clip_seconds == 10.0


def test_the_language_model_may_be_another() -> None:
    assert isinstance(NatureLMConfig().text_config, LlamaConfig)
    other = NatureLMConfig(text_config={"model_type": "qwen2", "hidden_size": 64})
    assert isinstance(other.text_config, Qwen2Config)
    assert other.text_config.hidden_size == 64


def test_a_saved_configuration_comes_back_equal(tmp_path: Any) -> None:
    config = toys.config({"rope_theta": 5e5}, lora_rank=4, prompt_template="a {} b", max_answer_tokens=7)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, NatureLMConfig)
    for part in ("audio_config", "bridge_config", "text_config"):
        ours, theirs = getattr(loaded, part), getattr(config, part)
        assert type(ours) is type(theirs)
        assert ours.to_diff_dict() == theirs.to_diff_dict()
    assert loaded.padded_lengths_seconds == toys.LENGTHS_SECONDS
    assert (loaded.lora_rank, loaded.prompt_template, loaded.max_answer_tokens) == (4, "a {} b", 7)
    assert loaded.audio_token_id == config.audio_token_id


def test_the_text_configuration_is_found() -> None:
    config = toys.config()
    assert config.get_text_config(decoder=True) is config.text_config
    assert config.audio_config.hidden_size == 16
