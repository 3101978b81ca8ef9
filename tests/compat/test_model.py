"""`NatureLM.models.NatureLM` against stored outputs of the official class, with the official signatures."""

from __future__ import annotations

import inspect

import pytest
import torch

from NatureLM.config import GenerateConfig
from NatureLM.models import NatureLM
from NatureLM.models.NatureLM import NatureLM as SameNatureLM
from naturelm_audio.errors import OptionsError, PromptError

ROWS = ["chirp10", "chirp5pad", "frog", "lazuli"]
GREEDY = GenerateConfig(max_new_tokens=24, num_beams=1)


def samples_of(waveforms, rows, prompts=(), texts=(), mask=None):
    places = [ROWS.index(row) for row in rows]
    return {
        "raw_wav": waveforms[places],
        "padding_mask": None if mask is None else mask[places],
        "prompt": list(prompts),
        "text": list(texts),
        "audio_chunk_sizes": [1] * len(places),
    }


def test_both_official_imports_are_one_class():
    assert NatureLM is SameNatureLM
    assert isinstance(NatureLM, type)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("from_pretrained", ["path_or_hub_id", "llama_path", "device", "dtype"]),
        ("encode_audio", ["self", "raw_wav", "audio_padding_mask"]),
        ("forward", ["self", "samples", "verbose"]),
        ("generate", ["self", "samples", "generate_cfg", "prompts"]),
    ],
)
def test_signatures_are_the_official_ones(method, names):
    assert list(inspect.signature(getattr(NatureLM, method)).parameters)[: len(names)] == names


def test_eval_and_to_return_the_model(model):
    assert model.eval().to("cpu") is model
    assert not model.training
    assert model.device.type == "cpu"


def test_a_loss_can_be_had_after_an_answer(model, waveforms, stored):
    # Tables that the encoder keeps must not be born without gradients.
    model.generate(samples_of(waveforms[:, :70_000], ["frog"]), GREEDY, stored["prompts"][:1])
    sample = samples_of(waveforms[:, :70_000], ["frog"], stored["fwd_f32/prompt"][:1], ["Frog"])
    model(sample)["loss"].backward()
    assert any(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad(set_to_none=True)


@torch.no_grad()
def test_encode_audio_gives_vectors_and_a_mask_of_ones(model, waveforms, padding_mask, arrays):
    vectors, attention = model.encode_audio(waveforms, padding_mask)
    assert attention.dtype == torch.int64
    assert attention.shape == vectors.shape[:2]
    assert attention.all()
    expected = torch.from_numpy(arrays["encode_batch_masked_f32"])
    torch.testing.assert_close(vectors, expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("mask", [None, "all False"])
def test_encode_audio_hears_padding_without_a_mask(model, waveforms, arrays, mask):
    mask = mask and torch.zeros_like(waveforms, dtype=torch.bool)
    vectors, _ = model.encode_audio(waveforms.double(), mask)
    expected = torch.from_numpy(arrays["encode_batch_nomask_f32"])
    torch.testing.assert_close(vectors, expected, atol=1e-4, rtol=0)


def test_losses_are_the_official_ones(model, waveforms, padding_mask, stored):
    rows = stored["forward rows"]
    prompts, texts = stored["fwd_f32/prompt"], stored["fwd_f32/text"]
    with torch.no_grad():
        found = model(samples_of(waveforms, rows, prompts, texts, padding_mask))
    assert set(found) == {"loss", "per_example_loss"}
    assert found["loss"].item() == pytest.approx(stored["fwd_f32/loss"], abs=1e-4)
    assert found["per_example_loss"].tolist() == pytest.approx(stored["fwd_f32/per_example"], abs=1e-4)


def test_verbose_adds_counts_of_right_tokens(model, waveforms, padding_mask, stored, arrays):
    rows = stored["forward rows"]
    prompts, texts = stored["fwd_f32/prompt"], stored["fwd_f32/text"]
    with torch.no_grad():
        found = model(samples_of(waveforms, rows, prompts, texts, padding_mask), verbose=True)
    assert found["correct"].item() == arrays["fwd_f32/correct"]
    assert found["total"].item() == arrays["fwd_f32/total"]
    assert found["total_per_sample"].tolist() == arrays["fwd_f32/total_per_sample"].tolist()
    assert found["correct_per_sample"].tolist() == arrays["fwd_f32/correct_per_sample"].tolist()


@pytest.mark.parametrize(
    ("case", "row", "prompt"), [("single0", "chirp10", 0), ("single1", "frog", 1), ("single2", "lazuli", 2)]
)
def test_generate_says_what_the_original_says(model, waveforms, stored, case, row, prompt):
    prompts = [stored["prompts"][prompt]]
    found = model.generate(samples_of(waveforms, [row]), GREEDY, prompts)
    assert found == stored[f"gen/f32/{case}/beams1"]["text"]


def test_generate_in_a_batch_says_what_it_says_alone(model, waveforms, stored):
    found = model.generate(samples_of(waveforms, ["chirp10", "frog", "lazuli"]), GREEDY, stored["prompts"])
    alone = [stored[f"gen/f32/{case}/beams1"]["text"][0] for case in ("single0", "single1", "single2")]
    assert found == alone


def test_generate_takes_settings_in_any_official_form(model, waveforms, stored):
    sample, prompts = samples_of(waveforms, ["chirp10"]), [stored["prompts"][0]]
    as_mapping = {"max_new_tokens": 24, "num_beams": 1, "min_length": 1, "temperature": 0.1}
    assert model.generate(sample, as_mapping, prompts) == model.generate(sample, GREEDY, prompts)


def test_M3_merging_alpha_leaves_no_trace(model, waveforms, stored):
    sample, prompts = samples_of(waveforms, ["chirp10"]), [stored["prompts"][0]]
    half = GenerateConfig(max_new_tokens=24, num_beams=1, merging_alpha=0.5)
    assert model.generate(sample, half, prompts) == stored["gen/f32/merge_alpha0.5"]["text"]
    assert model.generate(sample, GREEDY, prompts) == stored["gen/f32/merge_before_alpha1.0"]["text"]


def test_generate_takes_the_prompts_of_the_samples(model, waveforms, stored):
    sample = samples_of(waveforms, ["chirp10"], prompts=[stored["prompts"][0]])
    assert model.generate(sample, GREEDY) == stored["gen/f32/single0/beams1"]["text"]


def test_M8_placeholders_and_clips_must_agree(model, waveforms, stored):
    with pytest.raises(PromptError, match=r"1 <AudioHere> for 2 audio clips"):
        model.generate(samples_of(waveforms, ["chirp10", "frog"]), GREEDY, [stored["prompts"][0]])


def test_two_clips_in_one_prompt(model, waveforms):
    prompt = "<Audio><AudioHere></Audio><Audio><AudioHere></Audio> Are these alike?"
    assert len(model.generate(samples_of(waveforms, ["chirp10", "frog"]), GREEDY, [prompt])) == 1


def test_P11_an_unknown_option_is_refused_by_name(model, waveforms, stored):
    with pytest.raises(OptionsError, match="num_beems"):
        model.generate(samples_of(waveforms, ["chirp10"]), {"num_beems": 2}, stored["prompts"][:1])


def test_the_language_model_and_its_tokenizer_are_at_hand(model, stored):
    assert model.llama_tokenizer.bos_token_id == stored["bos"]
    assert model.llama_model.get_input_embeddings().weight.shape[0] == stored["llm vocab_size"]
