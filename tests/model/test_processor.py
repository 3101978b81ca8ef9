"""Clips and prompts to the model's inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForMultimodalLM, AutoProcessor

from naturelm_audio import prompts
from naturelm_audio.checkpoint import save_model
from naturelm_audio.generate import Generator, Request
from naturelm_audio.model import (
    NatureLMConfig,
    NatureLMFeatureExtractor,
    NatureLMForConditionalGeneration,
    NatureLMProcessor,
)
from naturelm_audio.options import GenerateOptions
from naturelm_audio.sequence import text_ids

CONFIG = toys.config()
QUESTIONS = ["What is it?", "Who calls here, and why?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processor") / "model"
    save_model(toys.model(lora_rank=2), path)
    return path


@pytest.fixture(scope="module")
def processor(folder: Path) -> NatureLMProcessor:
    return AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def extractor() -> NatureLMFeatureExtractor:
    return NatureLMFeatureExtractor.from_config(toys.config())


# --- the feature extractor ------------------------------------------------------------------------


@given(samples=st.integers(1, 16_000))
def test_M17_a_clip_is_padded_with_zeros_to_the_models_length(samples: int) -> None:
    config, clip = CONFIG, np.full(samples, 0.5, dtype=np.float32)
    features = NatureLMFeatureExtractor.from_config(config)(clip)
    values = features["input_values"]
    assert values.shape == (1, config.padded_samples(samples))
    assert values.dtype == np.float32
    assert (values[0, :samples] == 0.5).all()  # but for the samples that fill no frame
    assert not values[0, samples:].any()
    assert features["num_audio_tokens"] == [config.audio_tokens(values.shape[1])]


def test_a_batch_takes_the_length_of_its_longest(extractor: NatureLMFeatureExtractor) -> None:
    features = extractor([toys.waveform(0.2), toys.waveform(0.7)], sampling_rate=16_000, return_tensors="pt")
    assert features["input_values"].shape == (2, 16_000)
    assert features["num_audio_tokens"].tolist() == [2, 2]


def test_I9_arrays_lists_and_tensors_are_the_same(extractor: NatureLMFeatureExtractor) -> None:
    waveform = toys.waveform(0.1)
    forms = [waveform, [waveform], waveform.tolist(), [waveform.tolist()], torch.from_numpy(waveform)]
    for form in [*forms, (waveform,), waveform.astype(np.float64)]:
        assert np.array_equal(extractor(form)["input_values"], extractor(waveform)["input_values"])


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((2, 100), np.float32), r"one-dimensional, non-empty waveform, not of shape \(2, 100\)"),
        ([np.zeros((100, 2), np.float32)], r"not of shape \(100, 2\)"),
        (np.zeros(0, np.float32), r"not of shape \(0,\)"),
        ([], r"not of shape \(0,\)"),
        ([np.zeros(5, np.float32), np.zeros(0, np.float32)], r"not of shape \(0,\)"),
        (np.zeros(100, np.int16), "floating point in .* not int16"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.array([0.0, -np.inf]), "not finite"),
        (np.zeros(16_001, np.float32), r"longer than the 1 s that the model hears at once: split it"),
    ],
)
def test_clips_that_make_no_sense_are_refused(
    clip: Any, message: str, extractor: NatureLMFeatureExtractor
) -> None:
    with pytest.raises(ValueError, match=message):
        extractor(clip)


def test_T8_another_sample_rate_is_refused(extractor: NatureLMFeatureExtractor) -> None:
    with pytest.raises(ValueError, match="audio must be at 16000 Hz, not 44100: resample it first"):
        extractor(toys.waveform(), sampling_rate=44_100)


def test_it_tells_what_servers_ask_for(extractor: NatureLMFeatureExtractor) -> None:
    assert (extractor.sampling_rate, extractor.chunk_length) == (16_000, 1.0)


def test_an_extractor_comes_back_equal(extractor: NatureLMFeatureExtractor, tmp_path: Path) -> None:
    extractor.save_pretrained(tmp_path)
    toys.config().save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(loaded, NatureLMFeatureExtractor)
    assert loaded.to_dict() == extractor.to_dict()


# --- the processor --------------------------------------------------------------------------------


def test_a_placeholder_becomes_a_slot_for_every_vector(processor: NatureLMProcessor) -> None:
    text = prompts.build(QUESTIONS[0])
    for seconds, tokens in ((0.4, 1), (0.9, 2)):
        inputs = processor(text=text, audio=toys.waveform(seconds), return_tensors="pt")
        head, tail = text_ids(processor.tokenizer, text)
        bos, slot = processor.tokenizer.bos_token_id, processor.audio_token_id
        assert inputs["input_ids"][0].tolist() == [bos, *head, *[slot] * tokens, *tail]
        assert set(inputs) == {"input_ids", "attention_mask", "input_values"}, "what forward takes"


def test_placeholders_may_stand_at_the_ends_and_together(processor: NatureLMProcessor) -> None:
    """M8: empty pieces of text."""
    clips = [toys.waveform(0.4, seed) for seed in range(3)]
    inputs = processor(text="<AudioHere><AudioHere>a<AudioHere>", audio=clips)
    slot, a = processor.audio_token_id, processor.tokenizer("a", add_special_tokens=False).input_ids
    assert inputs["input_ids"] == [[processor.tokenizer.bos_token_id, slot, slot, *a, slot]]
    assert inputs["input_values"].shape == (3, 8000)


def test_rows_are_padded_on_the_left(processor: NatureLMProcessor) -> None:
    texts = [prompts.build(question) for question in QUESTIONS]
    inputs = processor(text=texts, audio=[toys.waveform(0.4)] * 2, padding=True, return_tensors="pt")
    short = inputs["attention_mask"][0]
    assert short.tolist() == sorted(short.tolist())
    assert 0 < short.sum() < len(short)
    assert inputs["attention_mask"][1].all()


def test_text_alone_works(processor: NatureLMProcessor) -> None:
    inputs = processor(text="hello")
    expected = [
        processor.tokenizer.bos_token_id,
        *processor.tokenizer("hello", add_special_tokens=False).input_ids,
    ]
    assert inputs["input_ids"] == [expected]


def test_audio_alone_works(processor: NatureLMProcessor) -> None:
    assert processor(audio=toys.waveform(0.4))["input_values"].shape == (1, 8000)


@pytest.mark.parametrize(
    ("text", "clips", "message"),
    [
        ("no placeholder", 1, "0 <AudioHere> in the text but 1 audio clips"),
        ("<AudioHere>", 0, "1 <AudioHere> in the text but 0 audio clips"),
        ("<AudioHere><AudioHere>", 1, "2 <AudioHere> in the text but 1 audio clips"),
        (["<AudioHere>", "x"], 2, "1 <AudioHere> in the text but 2 audio clips"),
    ],
)
def test_M8_placeholders_and_clips_are_counted(
    text: Any, clips: int, message: str, processor: NatureLMProcessor
) -> None:
    with pytest.raises(ValueError, match=message):
        processor(text=text, audio=[toys.waveform(0.4)] * clips or None)


def test_a_tokenizer_without_the_placeholder_is_refused(extractor: NatureLMFeatureExtractor) -> None:
    tokenizer = toys.tokenizer()
    tokenizer.get_vocab = dict  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no token <AudioHere>"):
        NatureLMProcessor(extractor, tokenizer)


def test_bos_is_put_in_front_once(processor: NatureLMProcessor, folder: Path) -> None:
    bos = processor.tokenizer.bos_token_id
    again = NatureLMProcessor(processor.feature_extractor, processor.tokenizer)
    for one in (processor, again, AutoProcessor.from_pretrained(folder)):
        assert one(text="x")["input_ids"][0].count(bos) == 1
    assert text_ids(processor.tokenizer, "x") == (tuple(processor.tokenizer("x").input_ids[1:]),)


# --- chat template --------------------------------------------------------------------------------


def chat(question: str, clips: int = 1) -> list[dict[str, Any]]:
    audio = [{"type": "audio", "audio": toys.waveform(0.4, clip)} for clip in range(clips)]
    return [{"role": "user", "content": [*audio, {"type": "text", "text": question}]}]


@given(question=st.text(min_size=1).filter(lambda text: text.strip() and prompts.AUDIO_TOKEN not in text))
def test_M9_the_chat_template_is_the_prompt_character_by_character(
    question: str, processor: NatureLMProcessor
) -> None:
    prompt = processor.apply_chat_template(chat(question), tokenize=False, add_generation_prompt=True)
    assert prompt == prompts.build(question)


@pytest.mark.parametrize("question", ["{{ 1 + 1 }} {% if x %}", "{}", '"quoted" \\n', "  padded\n\n"])
def test_M9_the_chat_template_takes_text_literally(question: str, processor: NatureLMProcessor) -> None:
    for clips in (1, 2):
        messages = chat(question, clips)
        prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert prompt == prompts.build(question, clips=clips)


def test_the_chat_template_loads_audio_too(processor: NatureLMProcessor) -> None:
    inputs = processor.apply_chat_template(
        chat("Who?"), tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    expected = processor(text=prompts.build("Who?"), audio=toys.waveform(0.4), return_tensors="pt")
    assert inputs.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(inputs[name], tensor), name


# --- with the model -------------------------------------------------------------------------------


def test_auto_classes_find_everything(folder: Path, processor: NatureLMProcessor) -> None:
    assert isinstance(AutoConfig.from_pretrained(folder), NatureLMConfig)
    assert isinstance(AutoModelForMultimodalLM.from_pretrained(folder), NatureLMForConditionalGeneration)
    assert isinstance(processor, NatureLMProcessor)
    assert isinstance(processor.feature_extractor, NatureLMFeatureExtractor)
    assert processor.tokenizer.padding_side == "left"


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 2])
def test_generation_from_the_processor_is_what_our_own_generator_says(
    beams: int, folder: Path, processor: NatureLMProcessor
) -> None:
    model = AutoModelForMultimodalLM.from_pretrained(folder)
    model.tokenizer = processor.tokenizer
    texts = [prompts.build(question) for question in QUESTIONS]
    clips = [toys.waveform(0.9, seed) for seed in range(2)]
    inputs = processor(text=texts, audio=clips, padding=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=6, num_beams=beams)
    generator = Generator(model, GenerateOptions(max_new_tokens=6, num_beams=beams))
    requests = [
        Request(text, (vectors,)) for text, vectors in zip(texts, generator.encode(clips), strict=True)
    ]
    for row, answer in zip(
        output[:, inputs["input_ids"].shape[1] :].tolist(), generator.answer(requests), strict=True
    ):
        assert tuple(row[: len(answer.token_ids)]) == answer.token_ids
