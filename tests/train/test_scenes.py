"""Scenes by their number, batches of them, and what a learner makes of a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from naturelm_audio import prompts
from naturelm_audio.generate import Generator, Request
from naturelm_audio.sequence import IGNORED
from naturelm_audio.train import scene_runs
from naturelm_audio.train.heads import LABEL_LOSSES, TEACHER_LOSSES, Heads, Targets, compress
from naturelm_audio.train.learner import ANSWER
from naturelm_audio.train.recipe import read_recipes
from naturelm_audio.train.scene_trainer import loss_weights
from naturelm_audio.train.scenes import SILENT_FEATURE
from naturelm_audio.train.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def trainer(toy_config, tmp_path_factory):
    """A trainer of the second stage with a tokenizer of few texts, which is quick."""
    recipe = read_recipes(toy_config, ["optimiser.steps=4"])[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_runs, "scene_tokenizer", lambda *_: train_tokenizer(["dog", "crow?"] * 9, 300))
        return scene_runs.scene_trainer(recipe, tmp_path_factory.mktemp("run"))[0]


def batch(trainer, numbers):
    return trainer.data_collator([trainer.draws[number] for number in numbers])


def test_T9_a_scene_depends_on_its_number_alone(trainer):
    one, again, other = (trainer.draws[number] for number in (1, 1, 2))
    np.testing.assert_array_equal(one.waveform, again.waveform)
    assert (one.labels, one.questions) == (again.labels, again.questions)
    assert not np.array_equal(one.waveform, other.waveform)
    assert len({sample.seed for sample in (one, other, trainer.draws[8])}) == 3


def test_T9_worker_processes_hear_the_same(trainer):
    loader = DataLoader(trainer.draws, batch_size=4, num_workers=2, collate_fn=trainer.data_collator)
    for place, found in enumerate(loader):
        expected = batch(trainer, range(4 * place, 4 * place + 4))
        assert torch.equal(found["features"], expected["features"])
        if place == 1:
            break


def test_every_second_update_has_half_as_many_longer_scenes(trainer):
    short, long = batch(trainer, range(4)), batch(trainer, range(4, 8))
    assert short["features"].shape[0] == 4
    assert long["features"].shape[0] == 2
    assert long["features"].shape[1] > 1.9 * short["features"].shape[1]
    assert [trainer.draws[number] is None for number in range(4, 8)] == [False, True, False, True]


def test_a_share_of_long_scenes_is_as_large_on_every_process(trainer):
    for share in (range(4, 6), range(6, 8)):
        assert batch(trainer, share)["features"].shape[0] == 1


def test_masked_scenes_sound_like_nothing_there(trainer):
    trainer.data_collator.mask_probability = 1.0
    masked = batch(trainer, range(4))["features"]
    trainer.data_collator.mask_probability = 0.0
    plain = batch(trainer, range(4))["features"]
    changed = masked != plain
    assert changed.any()
    assert torch.allclose(masked[changed], torch.tensor(SILENT_FEATURE))


def test_only_the_answer_and_its_end_are_learned(trainer):
    config, tokenizer = trainer.plain.config, trainer.plain.tokenizer
    found = batch(trainer, range(4))
    asked = [question for number in range(4) for question in trainer.draws[number].questions]
    assert sum(len(text["rows"]) for text in found["texts"]) == len(asked)
    for text in found["texts"]:
        slots = (text["input_ids"] == config.audio_token_id).sum(1)
        assert set(slots.tolist()) == {config.audio_tokens(9600)}
        for ids, labels in zip(text["input_ids"], text["labels"], strict=True):
            answer = tokenizer.decode(labels[labels != IGNORED])
            assert answer.endswith(config.end_symbol)
            assert tokenizer.decode(ids).split("assistant<|end_header_id|>\n\n")[1].startswith(answer)


def test_the_same_prompt_as_at_inference(trainer):
    model = trainer.plain.eval()
    ids, _ = trainer.data_collator.collator.ids("A dog?", "Yes", [9600])
    vectors = torch.randn(1, model.config.audio_tokens(9600), model.config.text_config.hidden_size)
    ours = model.embed_prompt(torch.tensor([ids]), vectors)[0]
    theirs = Generator(model).embed(Request(prompts.build("A dog?"), (vectors[0],)))
    torch.testing.assert_close(ours, theirs)


def test_the_answer_loss_is_that_of_the_model(trainer):
    learner, model = trainer.model.eval(), trainer.plain
    found = batch(trainer, range(4))
    with torch.no_grad():
        vectors = learner.hear(found["features"])[1]
        total = 0.0
        for text in found["texts"]:
            for row, ids, labels in zip(text["rows"], text["input_ids"], text["labels"], strict=True):
                length = int((labels != IGNORED).nonzero().max()) + 1
                embeddings = model.embed_prompt(ids[None, :length], vectors[row][None])
                loss = model(inputs_embeds=embeddings, labels=labels[None, :length]).loss
                total += float(loss) * int((labels != IGNORED).sum())
        losses = learner(**found)
    assert float(losses[ANSWER]) == pytest.approx(total, rel=1e-4)
    assert set(losses) == {ANSWER, *LABEL_LOSSES}


def test_tokens_of_answers_are_counted_over_groups(trainer):
    found = batch(trainer, range(4))
    counted = sum(int((text["labels"] != IGNORED).sum()) for text in found["texts"])
    assert trainer.answer_tokens(found) == counted > 0
    assert trainer.answer_tokens({"texts": []}) == 0


def test_losses_are_weighted_as_the_recipe_says(toy_config):
    options = read_recipes(toy_config, ["scenes.teacher_weight=2", "scenes.label_weight=0.5"])[0].scenes
    weights = loss_weights(options)
    assert all(weights[name] == 2 * weight for name, weight in TEACHER_LOSSES.items())
    assert all(weights[name] == 0.5 * weight for name, weight in LABEL_LOSSES.items())


def test_heads_learn_from_teacher_and_labels():
    torch.manual_seed(0)
    heads = Heads(16, 8, 5)
    targets = Targets(torch.eye(5)[:2], torch.rand(2, 9, 521), compress(torch.rand(2, 9, 1024)))
    losses = heads.losses(torch.randn(2, 248, 16), torch.randn(2, 14, 8), targets)
    assert set(losses) == {*TEACHER_LOSSES, *LABEL_LOSSES}
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in heads.parameters())


def test_heads_hear_teacher_frames_of_10_s_too():
    heads = Heads(16, 8, 5)
    assert heads._frames(torch.randn(1, 496, 16)).shape == (1, 19, 512)
    assert heads._frames(torch.randn(1, 248, 16)).shape == (1, 9, 512)
