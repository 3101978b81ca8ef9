"""The whole model: audio spliced into text, loss, generation, saving and loading."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from torch import Tensor
from transformers import AutoModel, AutoModelForMultimodalLM

from naturelm_audio.model import (
    BeatsModel,
    LoraLinear,
    NatureLMForConditionalGeneration,
    merging_alpha,
)

SLOT = toys.config().audio_token_id


@pytest.fixture(scope="module")
def model() -> NatureLMForConditionalGeneration:
    return toys.model(lora_rank=2)


def ids(*parts: str | int) -> list[int]:
    """Ids of text, with that many audio slots for each number."""
    vocabulary = toys.tokenizer()
    row = [vocabulary.bos_token_id]
    for part in parts:
        row += (
            [SLOT] * part if isinstance(part, int) else vocabulary(part, add_special_tokens=False).input_ids
        )
    return row


def left_padded(rows: list[list[int]]) -> dict[str, Tensor]:
    longest = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([[0] * (longest - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
    }


# --- splicing
# -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_audio_vectors_take_the_place_of_the_slots(model: NatureLMForConditionalGeneration) -> None:
    rows = left_padded([ids("a", 2, "bc", 2), ids(2, "d")])["input_ids"]
    features = model.get_audio_features(toys.waveforms(3)).pooler_output
    embeddings = model.embed_prompt(rows, features)
    slots = rows == SLOT
    assert torch.equal(embeddings[slots], features.flatten(0, 1)), "clips in the order of their slots"
    assert torch.equal(embeddings[~slots], model.get_input_embeddings()(rows[~slots]))
    assert features.shape == (3, 2, 16)


@torch.no_grad()
def test_text_alone_is_the_language_model(model: NatureLMForConditionalGeneration) -> None:
    inputs = left_padded([ids("text alone"), ids("more text alone")])
    assert torch.equal(model(**inputs).logits, model.language_model(**inputs).logits)


@pytest.mark.parametrize(
    ("rows", "clips", "message"),
    [
        ([ids("a", 3)], 1, "row 0 has 3 audio slots; one clip needs 2"),
        ([ids(2), ids("a", 1)], 2, "row 1 has 1 audio slots; one clip needs 2"),
        ([ids(2), ids(2)], 1, "4 audio slots but 1 clips of 2 vectors"),
        ([ids(2)], 2, "2 audio slots but 2 clips of 2 vectors"),
        ([ids("a")], 1, "0 audio slots but 1 clips of 2 vectors"),
    ],
)
def test_M8_slots_and_vectors_are_counted(
    rows: list[list[int]], clips: int, message: str, model: NatureLMForConditionalGeneration
) -> None:
    with pytest.raises(ValueError, match=message):
        model(**left_padded(rows), input_values=toys.waveforms(clips))


def test_M8_slots_without_audio_are_an_error(model: NatureLMForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match="2 audio slots in the prompt but no audio"):
        model(**left_padded([ids(2, "a")]))


@torch.no_grad()
def test_parts_have_the_names_that_transformers_looks_for(model: NatureLMForConditionalGeneration) -> None:
    assert isinstance(model.get_encoder(modality="audio"), BeatsModel)
    assert model.get_decoder() is model.language_model.model
    assert model.get_output_embeddings() is model.language_model.lm_head
    features = model.get_audio_features(toys.waveforms(2), return_dict=True)
    assert features.last_hidden_state.shape == (2, 48, 16)
    given = {"audio": features}
    inputs = left_padded([ids(2, "a"), ids("b", 2)])
    ready = model(**inputs, mm_encoder_outputs=given).logits
    assert torch.equal(ready, model(**inputs, input_values=toys.waveforms(2)).logits)


@torch.no_grad()
def test_M15_padding_is_heard_unless_a_mask_says_otherwise(model: NatureLMForConditionalGeneration) -> None:
    waveform = toys.waveforms(2)
    waveform[:, 9000:] = 0
    heard = model.get_audio_features(waveform).pooler_output
    everything = torch.ones(2, 16_000, dtype=torch.int64)
    assert torch.equal(model.get_audio_features(waveform, everything).pooler_output, heard)
    everything[0, 9000:] = 0
    masked = model.get_audio_features(waveform, everything).pooler_output
    assert (masked[0] - heard[0]).abs().max() > 1e-3
    torch.testing.assert_close(masked[1], heard[1])


@torch.no_grad()
def test_audio_in_half_precision_is_heard_with_its_rounding(model: NatureLMForConditionalGeneration) -> None:
    waveform = toys.waveforms(1).to(torch.bfloat16)
    ours = model.get_audio_features(waveform).pooler_output
    assert torch.equal(ours, model.get_audio_features(waveform.float()).pooler_output)


# --- loss
# -----------------------------------------------------------------------------------------------------


def test_gradients_reach_every_part() -> None:
    model = toys.model(lora_rank=2).train()
    rows = torch.tensor([ids("what", 2, "is it?"), ids("what", 2, "is he?")])
    labels = rows.masked_fill(torch.arange(rows.shape[1]) < 8, -100)
    model(input_ids=rows, input_values=toys.waveforms(2), labels=labels).loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"audio_tower.predictor.weight", "audio_tower.predictor.bias"}
    flat = {n for n, p in model.named_parameters() if p.grad is not None and not p.grad.abs().sum() > 1e-9}
    # With one query, the softmax of its attention to itself is 1 whatever query and key say.
    assert all(".attention.attention.query." in name or "key." in name for name in flat), flat


@torch.no_grad()
def test_loss_is_the_mean_over_labels_and_passes_arguments_on(
    model: NatureLMForConditionalGeneration,
) -> None:
    rows = torch.tensor([ids("what", 2, "is it?")])
    labels = torch.full_like(rows, -100)
    labels[:, -3:] = rows[:, -3:]
    output = model(input_ids=rows, input_values=toys.waveforms(1), labels=labels)
    logits = output.logits[0, -4:-1].float()
    expected = torch.nn.functional.cross_entropy(logits, rows[0, -3:])
    torch.testing.assert_close(output.loss, expected)
    halved = model(input_ids=rows, input_values=toys.waveforms(1), labels=labels, num_items_in_batch=6).loss
    torch.testing.assert_close(halved, expected / 2)


# --- generation
# -----------------------------------------------------------------------------------------------


def prompts_with_audio() -> tuple[dict[str, Tensor], Tensor]:
    return left_padded(
        [ids("what is this", 2, "?"), ids(2, "who"), ids("a longer question", 2)]
    ), toys.waveforms(3)


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 2, 3])
def test_generation_from_ids_equals_generation_from_embeddings(
    beams: int, model: NatureLMForConditionalGeneration
) -> None:
    inputs, waveform = prompts_with_audio()
    settings: dict[str, Any] = {"max_new_tokens": 6, "num_beams": beams}
    from_ids = model.generate(**inputs, input_values=waveform, **settings)
    embeddings = model.embed_prompt(inputs["input_ids"], model.get_audio_features(waveform).pooler_output)
    mask = inputs["attention_mask"]
    from_embeddings = model.generate(inputs_embeds=embeddings, attention_mask=mask, **settings)
    assert torch.equal(from_ids[:, inputs["input_ids"].shape[1] :], from_embeddings)
    inner = model.language_model.generate(
        inputs_embeds=embeddings, attention_mask=mask, generation_config=model.generation_config, **settings
    )
    assert torch.equal(inner, from_embeddings)
    assert len({tuple(row) for row in from_embeddings.tolist()}) == 3, "the toy's answers differ by prompt"


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 2])
def test_M4_left_padded_rows_answer_as_alone(beams: int, model: NatureLMForConditionalGeneration) -> None:
    inputs, waveform = prompts_with_audio()
    together = model.generate(**inputs, input_values=waveform, max_new_tokens=6, num_beams=beams)
    start = inputs["input_ids"].shape[1]
    for row in range(3):
        real = inputs["attention_mask"][row].bool()
        alone = model.generate(
            input_ids=inputs["input_ids"][row, real][None],
            input_values=waveform[row : row + 1],
            max_new_tokens=6,
            num_beams=beams,
        )
        new = alone[0, int(real.sum()) :]
        assert torch.equal(together[row, start : start + len(new)], new)


@torch.no_grad()
def test_the_encoder_runs_once_per_call(
    model: NatureLMForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = BeatsModel.forward

    def counted(self: BeatsModel, waveform: Tensor, mask: Tensor | None = None) -> Tensor:
        calls.append(len(waveform))
        return forward(self, waveform, mask)

    monkeypatch.setattr(BeatsModel, "forward", counted)
    inputs, waveform = prompts_with_audio()
    mask = torch.ones_like(waveform)
    model.generate(**inputs, input_values=waveform, input_values_mask=mask, max_new_tokens=6)
    assert calls == [3]


@torch.no_grad()
def test_a_model_that_says_the_audio_token_goes_on() -> None:
    """Where the token has a row in the table, the model may say it; it is then text like any other."""
    model = toys.model({"vocab_size": SLOT + 1})
    model.language_model.lm_head.weight[SLOT] = model.language_model.lm_head.weight.mean(0)
    rows = torch.tensor([ids(2, "a")])
    forced = {"max_new_tokens": 3, "sequence_bias": {(SLOT,): 1e4}}
    output = model.generate(input_ids=rows, input_values=toys.waveforms(1), **forced)
    assert output[0, rows.shape[1] :].tolist() == [SLOT] * 3


@torch.no_grad()
def test_a_repetition_penalty_survives_slots_behind_the_table(
    model: NatureLMForConditionalGeneration,
) -> None:
    inputs, waveform = prompts_with_audio()
    assert model.config.text_config.vocab_size == SLOT
    output = model.generate(**inputs, input_values=waveform, max_new_tokens=3, repetition_penalty=1.3)
    assert output.shape[1] <= inputs["input_ids"].shape[1] + 3


@torch.no_grad()
@pytest.mark.parametrize("kind", ["qwen2", "mistral"])
def test_other_language_models_work(kind: str) -> None:
    model = toys.model({"model_type": kind})
    assert model.language_model.config.model_type == kind
    inputs, waveform = prompts_with_audio()
    assert model.generate(**inputs, input_values=waveform, max_new_tokens=3).shape[0] == 3


# --- saving and loading
# ---------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
def test_saving_and_loading_gives_the_same_model(dtype: torch.dtype, tied: bool, tmp_path: Path) -> None:
    model = toys.model({"tie_word_embeddings": tied}, lora_rank=2, tie_word_embeddings=tied).to(dtype)
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForMultimodalLM.from_pretrained(
        tmp_path, dtype="auto", output_loading_info=True
    )
    assert not any(report.values()), report
    assert isinstance(loaded, NatureLMForConditionalGeneration)
    assert not loaded.training
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype == dtype, name
        assert torch.equal(tensor, theirs[name]), name
    shared = loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert shared == tied
    if dtype != torch.float32:  # `to` casts the rotary frequencies too, loading keeps them exact
        loaded.save_pretrained(tmp_path / "again")
        model = AutoModelForMultimodalLM.from_pretrained(tmp_path / "again", dtype="auto")
    inputs, waveform = prompts_with_audio()
    logits = [one(**inputs, input_values=waveform).logits for one in (model, loaded)]
    assert torch.equal(*logits)
    answers = [one.generate(**inputs, input_values=waveform, max_new_tokens=4) for one in (model, loaded)]
    assert torch.equal(*answers)
    assert loaded.generation_config.eos_token_id == model.generation_config.eos_token_id


@torch.no_grad()
def test_nothing_stays_on_the_meta_device(tmp_path: Path) -> None:
    model = toys.model(lora_rank=2)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    for name, tensor in (*loaded.named_parameters(), *loaded.named_buffers()):
        assert tensor.device.type == "cpu", name
    for ours, theirs in zip(model.modules(), loaded.modules(), strict=True):
        tensors = {name: value for name, value in vars(theirs).items() if isinstance(value, Tensor)}
        assert not tensors, f"{type(theirs).__name__} keeps {list(tensors)} outside its buffers"
        if isinstance(theirs, LoraLinear):
            assert theirs.scale == ours.scale == 16.0
    for (name, ours), (_, theirs) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    with merging_alpha(loaded.language_model, 0.5):
        pass


def test_M12_what_a_file_lacks_is_reported(tmp_path: Path) -> None:
    model = toys.model()
    state = {name: tensor for name, tensor in model.state_dict().items() if "projection" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    _, report = AutoModelForMultimodalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"bridge.projection.weight", "bridge.projection.bias"}


def test_a_loaded_model_in_half_precision_hears_as_well(tmp_path: Path) -> None:
    model = toys.model(spread=0.05)
    model.save_pretrained(tmp_path)
    half = AutoModelForMultimodalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    with torch.no_grad():
        exact = model.get_audio_features(toys.waveforms(2)).pooler_output
        rounded = half.get_audio_features(toys.waveforms(2)).pooler_output
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).pow(2).mean().sqrt() < 0.05 * exact.pow(2).mean().sqrt()


# --- initial weights
# ------------------------------------------------------------------------------------------


def from_nothing(tmp_path: Path) -> NatureLMForConditionalGeneration:
    """A model whose weights are all missing, so that the loader makes them on its own."""
    config = toys.config(lora_rank=2, audio_config=toys.beats_config(encoder_embed_dim=64, encoder_layers=4))
    model = NatureLMForConditionalGeneration(config)
    model.save_pretrained(tmp_path, state_dict={"bridge.projection.bias": model.bridge.projection.bias.data})
    return AutoModelForMultimodalLM.from_pretrained(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("loaded", [False, True], ids=["built", "loaded"])
def test_initial_weights(loaded: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = toys.config(lora_rank=2, audio_config=toys.beats_config(encoder_embed_dim=64, encoder_layers=4))
    model = from_nothing(tmp_path) if loaded else NatureLMForConditionalGeneration(config)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    layer = model.audio_tower.encoder.layers[0]
    gain = (8 * 4) ** -0.25
    assert layer.self_attn.v_proj.weight.std() == pytest.approx(gain * (2 / 128) ** 0.5, rel=0.1)
    assert layer.self_attn.q_proj.weight.std() == pytest.approx((1 / 128) ** 0.5, rel=0.1)
    assert torch.equal(layer.self_attn.grep_a, torch.ones(1, 2, 1, 1))
    kernel = model.audio_tower.encoder.pos_conv
    torch.testing.assert_close(kernel.weight_g, kernel.weight_v.norm(dim=(0, 1), keepdim=True))
    assert not kernel.bias.any()
    assert model.bridge.query_tokens.std() == pytest.approx(0.02, rel=0.6)
    assert torch.equal(model.bridge.ln_audio.weight, torch.ones(64))
    query = model.bridge.qformer.encoder.layer[0].crossattention.attention.key.weight
    assert query.std() == pytest.approx(0.02, rel=0.1)
    adapters = [module for module in model.modules() if isinstance(module, LoraLinear)]
    assert len(adapters) == 8
    assert not any(adapter.lora_B.weight.any() for adapter in adapters)
    assert all(adapter.lora_A.weight.any() for adapter in adapters)


def test_copies_are_independent(model: NatureLMForConditionalGeneration) -> None:
    other = copy.deepcopy(model)
    toys.shake(other, 1.0)
    assert not torch.equal(other.bridge.query_tokens, model.bridge.query_tokens)
