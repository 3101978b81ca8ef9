"""Whatever is missing, surplus or contradictory in an official checkpoint is an error that names it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from naturelm_audio import prompts
from naturelm_audio.checkpoint import load_model
from naturelm_audio.errors import CheckpointError

from .conftest import EMBEDDING, LLM, TABLE, Cutter, same_state

BASE_WEIGHT = LLM + "model.layers.1.mlp.up_proj.weight"
LORA_B = LLM + "model.layers.1.self_attn.v_proj.lora_B.default.weight"


def changed(cut: Cutter, drop: str = "", **changes: Any) -> Any:
    kept = {name: value for name, value in cut.deduplicated.items() if not drop or drop not in name}
    return cut.folder(kept | changes)


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("audio_llama_proj.weight", "1 tensors missing: audio_llama_proj.weight"),
        ("audio_llama_proj", "2 tensors missing: audio_llama_proj.weight, audio_llama_proj.bias"),
        ("ln_audio.bias", "1 tensors missing: ln_audio.bias"),
        ("audio_query_tokens", "audio_query_tokens is missing"),
        (".fc1.", "4 tensors missing: beats.encoder.layers.0.fc1.weight"),
        (LORA_B, f"1 tensors missing: {LORA_B}"),
        (BASE_WEIGHT, f"1 tensors missing: {BASE_WEIGHT}"),
        ("mlp", "6 tensors missing: .* and 1 more"),
        ("q_proj.base_layer", "2 tensors missing: .*q_proj.base_layer.weight"),
        ("lm_head", "1 tensors missing: llama_model.base_model.model.lm_head.weight"),
    ],
)
def test_M12_missing_tensors_are_named(drop: str, message: str, cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=message) as caught:
        load(changed(cut, drop))
    assert str(cut.root / "model") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "extra.weight",
        "beats.encoder.layers.2.fc1.weight",
        "llama_model.foo",
        "audio_Qformer.bert.pooler.weight",
    ],
)
def test_M12_unexpected_tensors_are_named(name: str, cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=f"unexpected: {name}"):
        load(changed(cut, **{name: torch.zeros(2)}))


@pytest.mark.parametrize(
    "name", ["ln_audio.weight", "beats.encoder.pos_conv.0.weight_g", BASE_WEIGHT, LORA_B]
)
def test_M12_wrong_shapes_are_named_with_both_shapes(name: str, cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=rf"of the wrong shape: {name} \[1, 3\] instead of \["):
        load(changed(cut, **{name: torch.zeros(1, 3)}))


def test_embedding_aliases_must_agree(cut: Cutter, load: Any):
    folder = changed(cut, **{EMBEDDING: cut.full[EMBEDDING] + 0.1})
    with pytest.raises(CheckpointError, match=r"llama_embed_tokens.weight .* values differ"):
        load(folder)


def test_bias_table_aliases_must_agree(cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=r"relative_attention_bias.* values differ"):
        load(changed(cut, **{TABLE.format(1): cut.full[TABLE.format(1)] * 2}))


def test_a_frozen_encoders_alias_must_agree_with_its_file(cut: Cutter, load: Any, absent_package: Any):
    folder = cut.folder(cut.frozen | {TABLE.format(1): torch.zeros(320, 4)})
    cut.beats_file(folder / "beats.pt")
    with pytest.raises(CheckpointError, match="values differ"):
        load(folder)


def test_rank_must_be_that_of_the_settings(cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=r"adapters of rank 8, but lora_rank is 16 in .*config.json"):
        load(cut.folder(cut.release, lora_rank=16))
    with pytest.raises(CheckpointError, match=r"adapters of rank 8, but lora is false"):
        load(cut.folder(cut.release, lora=False))


@pytest.mark.parametrize("full", [False, True])
def test_another_base_model_is_recognised(full: bool, cut: Cutter, load: Any):
    base = cut.root / "tiny_llama" / "model.safetensors"
    tensors = load_file(base)
    tensors["model.embed_tokens.weight"][17, 3] *= 1.02
    save_file(tensors, base)
    with pytest.raises(CheckpointError, match=r"not the base model of .*: the common rows"):
        load(cut.folder(cut.deduplicated if full else cut.release))


def test_a_base_model_of_another_vocabulary(cut: Cutter, load: Any):
    base = cut.root / "tiny_llama" / "model.safetensors"
    tensors = load_file(base)
    tensors["model.embed_tokens.weight"] = torch.zeros(300, 64)
    save_file(tensors, base)
    with pytest.raises(CheckpointError, match="300 rows in its embedding table, 407 in the checkpoint's"):
        load(cut.folder(cut.release))


def test_a_base_model_in_bfloat16_is_the_same_one(cut: Cutter, load: Any):
    base = cut.root / "tiny_llama" / "model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(base).items()}, base)
    assert load(cut.folder(cut.release))


def test_a_base_model_without_weights(cut: Cutter, load: Any):
    (cut.root / "tiny_llama" / "model.safetensors").unlink()
    assert load(cut.folder(cut.deduplicated, "full"))  # has them itself
    with pytest.raises(CheckpointError, match="tiny_llama: no weights here"):
        load(cut.folder(cut.release))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_audio_Qformer", False),
        ("window_level_Qformer", False),
        ("max_pooling", True),
        ("prompt_template", "x"),
    ],
)
def test_M10_settings_that_never_worked_are_refused_by_name(setting: str, value: Any, cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=setting):
        load(cut.folder(cut.release, **{setting: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conv_bias", True),
        ("layer_norm_first", True),
        ("activation_fn", "relu"),
        ("relative_position_embedding", False),
    ],
)
def test_encoder_settings_that_are_not_computed_are_refused_by_name(
    key: str, value: Any, cut: Cutter, load: Any
):
    with pytest.raises(CheckpointError, match=key):
        load(cut.folder(cut.release, beats_cfg=cut.settings["beats_cfg"] | {key: value}))


def test_a_missing_patch_size_is_an_error(cut: Cutter, load: Any):
    beats = {name: value for name, value in cut.settings["beats_cfg"].items() if name != "input_patch_size"}
    with pytest.raises(CheckpointError, match="input_patch_size"):
        load(cut.folder(cut.release, beats_cfg=beats))


def test_unknown_settings_are_warned_about(cut: Cutter, load: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        load(cut.folder(cut.release, colour="green", beats_cfg=cut.settings["beats_cfg"] | {"hue": 3}))
    assert "colour" in caplog.text
    assert "hue" in caplog.text


def test_M9_an_empty_template_means_the_models_own(cut: Cutter, load: Any):
    model = load(cut.folder(cut.release, prompt_template=""))
    assert model.config.prompt_template == prompts.TEMPLATE


def test_M9_the_end_symbol_must_be_one_token(cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match="end symbol '</s>'"):
        load(cut.folder(cut.release, end_sym="</s>"))


def test_a_wrong_number_of_heads(cut: Cutter):
    with pytest.raises(CheckpointError, match=r"width 48 can't have 5 heads.*qformer_heads"):
        load_model(cut.folder(cut.release), qformer_heads=5)


def test_empty_paths_mean_none(cut: Cutter, load: Any):
    assert load(cut.folder(cut.deduplicated, beats_path="", audio_llama_proj_model=""))
    with pytest.raises(CheckpointError, match=r"llama_path is missing.*--llama-path"):
        load(cut.folder(cut.deduplicated, llama_path=""))


def test_a_frozen_encoder_without_its_file(cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match=r"holds no audio encoder .*beats_path"):
        load(cut.folder(cut.frozen))
    with pytest.raises(CheckpointError, match=r"gone\.pt: no such file; looked in"):
        load(cut.folder(cut.frozen, beats_path="gone.pt"))


@pytest.mark.parametrize("prefix", ["", "audio_llama_proj."])
def test_a_projection_from_its_own_file(prefix: str, cut: Cutter, load: Any, micro_model: Any):
    weights = {name: value for name, value in cut.deduplicated.items() if "audio_llama_proj" not in name}
    state = {prefix + name: cut.full[f"audio_llama_proj.{name}"] for name in ("weight", "bias")}
    torch.save({"model": state}, cut.root / "proj.pt")
    model = load(cut.folder(weights, audio_llama_proj_model="../proj.pt"))
    assert same_state(model, micro_model)


def test_settings_given_for_a_bare_file(cut: Cutter, load: Any, micro_model: Any):
    torch.save({"model": cut.full}, cut.root / "bare.pth")
    with pytest.raises(CheckpointError, match="settings are not in this file"):
        load(cut.root / "bare.pth")
    settings = cut.settings | {"llama_path": "tiny_llama"}
    assert same_state(load(cut.root / "bare.pth", arguments=settings), micro_model)


def test_settings_beside_the_weights_win_over_given_ones(cut: Cutter, load: Any, micro_model: Any):
    """A configuration file for inference names a model and repeats some arguments, but not all of them."""
    model = load(cut.folder(cut.deduplicated), arguments={"llama_path": "absent/llama", "lora_rank": 32})
    assert same_state(model, micro_model)


def test_beats_alone_is_no_model(cut: Cutter, load: Any):
    with pytest.raises(CheckpointError, match="load_audio_tower"):
        load(cut.beats_file(cut.root / "beats.pt"))
