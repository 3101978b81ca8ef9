"""Batches: the prompts and answers are those of inference, and their loss is that of the reference path."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import toys

from naturelm_audio import prompts
from naturelm_audio.errors import PromptError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.sequence import answer_loss, embed_prompt, target_ids
from naturelm_audio.train.collate import Collator, model_inputs, take_unreadable
from naturelm_audio.train.draws import Sample, Unreadable
from naturelm_audio.train.validation import answer_losses

PROMPTS = (
    "What is it?",
    "Which of these?  A, B, None ",
    "<Audio><AudioHere></Audio> and <AudioHere>: the same?",
)


@pytest.fixture(scope="module")
def model():
    return toys.model(lora_rank=2)


def sample(prompt, text, clips=1, row=0, **more):
    waveforms = tuple(toys.waveform(1.0, seed) for seed in range(row, row + clips))
    return Sample(waveforms, prompt, text, "x", row, **more)


def samples():
    return [
        sample(PROMPTS[0], "A", row=1),
        sample(PROMPTS[1], "None", row=2),
        sample(PROMPTS[2], "no", 2, row=3),
    ]


def collator(model, longest=200):
    return Collator(model.config, model.tokenizer, longest)


def test_T5_prompts_and_losses_are_those_of_inference(model):
    batch = collator(model)(samples())
    with torch.no_grad():
        sums, tokens, hits = answer_losses(model(**model_inputs(batch)).logits, batch["labels"])
        generator = Generator(model)
        rows, targets = [], []
        for one in samples():
            vectors = generator.encode(list(one.clips))
            filled = prompts.build(one.prompt, clips=len(one.clips))
            rows.append(embed_prompt(model, filled, [vector.clone() for vector in vectors]))
            targets.append(target_ids(model.tokenizer, one.text, model.config.end_symbol, 200))
        reference = answer_loss(model, rows, targets)
    assert tokens.tolist() == reference.total.tolist()
    assert sums / tokens == pytest.approx(reference.per_example_loss, rel=1e-4)
    assert hits.tolist() == reference.correct.tolist()


def test_only_the_answer_and_its_end_are_learned(model):
    batch = collator(model)(samples())
    for place, one in enumerate(samples()):
        learned = batch["labels"][place][batch["labels"][place] != -100]
        assert model.tokenizer.decode(learned) == one.text + model.config.end_symbol
    assert (batch["input_ids"][batch["labels"] != -100] == batch["labels"][batch["labels"] != -100]).all()


def test_every_clip_has_its_slots(model):
    batch = collator(model)(samples())
    slots = (batch["input_ids"] == model.config.audio_token_id).sum(dim=1)
    assert slots.tolist() == [2, 2, 4]
    assert batch["input_values"].shape == (4, 16_000)


def test_T15_a_long_answer_is_cut_and_keeps_its_end(model):
    batch = collator(model, 5)([sample("What?", "a very long answer")])
    learned = batch["labels"][0][batch["labels"][0] != -100]
    assert len(learned) == 5
    assert model.tokenizer.decode(learned).endswith(model.config.end_symbol)


def test_padding_changes_no_loss(model):
    one = samples()[0]
    with torch.no_grad():
        alone = collator(model)([one])
        beside = collator(model)([one, sample("What?", "a far longer answer than the other one")])
        first, _, _ = answer_losses(model(**model_inputs(alone)).logits, alone["labels"])
        both, _, _ = answer_losses(model(**model_inputs(beside)).logits, beside["labels"])
    assert float(both[0]) == pytest.approx(float(first[0]), rel=1e-5)


def test_placeholders_have_to_fit(model):
    with pytest.raises(PromptError, match="2 <AudioHere> for 1 audio clip"):
        collator(model)([sample(PROMPTS[2], "no")])


def test_rows_that_couldnt_be_read_travel_with_the_batch(model):
    batch = collator(model)([sample("What?", "A", unreadable=(Unreadable(7, "torn"),)), samples()[0]])
    assert take_unreadable(batch) == [Unreadable(7, "torn")]
    assert "unreadable" not in batch
    assert take_unreadable(batch) == []


def test_a_collator_travels_to_workers(model):
    again = pickle.loads(pickle.dumps(collator(model)))
    assert torch.equal(again(samples())["input_ids"], collator(model)(samples())["input_ids"])
    vectors = Generator(model).encode([np.zeros(16_000, np.float32)])
    assert Request("<AudioHere>", tuple(vectors)).audio[0].shape[0] == 2
