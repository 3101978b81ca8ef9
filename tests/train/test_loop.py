"""The loop learns, stops and goes on without a difference, and saves what inference loads."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from naturelm_audio.checkpoint import load_model
from naturelm_audio.errors import OptionsError
from naturelm_audio.train import loop
from naturelm_audio.train.batches import IGNORED, Writer
from naturelm_audio.train.heads import Heads, Targets, compress
from naturelm_audio.train.settings import StageSettings, read_settings

REPO_ROOT = Path(__file__).resolve().parents[2]


def trainer_in(folder: Path, toy_settings: Path, *options: str) -> loop.Trainer:
    folder.mkdir(exist_ok=True)
    settings = read_settings(toy_settings, options)
    torch.manual_seed(settings.seed)
    return loop.make_trainer(settings, folder)


def test_a_run_learns_and_saves_a_model_that_loads(tmp_path: Path, toy_settings: Path) -> None:
    steps = ["stages.0.steps=12", "stages.1.steps=12", "stages.1.text_learning_rate=1e-2"]
    model = loop.run(toy_settings, tmp_path, steps)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["distil"] * 12 + ["answer"] * 12
    assert rows[11]["patch_label"] < rows[0]["patch_label"]
    assert rows[23]["answer"] < rows[12]["answer"]
    again = load_model(tmp_path / "model", dtype="float32")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-3, rtol=1e-3, check_dtype=False)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_stopped_and_resumed_equals_unbroken(tmp_path: Path, toy_settings: Path, stop: int) -> None:
    whole = trainer_in(tmp_path / "whole", toy_settings)
    whole.train()
    trainer_in(tmp_path / "broken", toy_settings).train(stop_after=stop)
    torch.manual_seed(999)
    resumed = trainer_in(tmp_path / "broken", toy_settings)
    assert resumed.stage * 3 + resumed.step == stop
    resumed.train()
    for mine, other in ((resumed.learner, whole.learner), (resumed.average, whole.average)):
        for name, value in other.state_dict().items():
            assert torch.equal(mine.state_dict()[name], value), name


def test_two_processes_equal_one_without_batch_norm_and_dropout(tmp_path: Path, toy_settings: Path) -> None:
    options = [
        "stages.0.steps=2",
        "stages.1.steps=2",
        "model.audio.patch_stem=linear",
        "model.bridge.dropout=0.0",
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    trainer_in(one, toy_settings, *options).train()
    flags = [flag for option in options for flag in ("--options", option)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "naturelm_audio.train", "run", str(toy_settings), str(two), *flags]
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, env=environment, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    curves = [[json.loads(x) for x in (f / "curve.jsonl").read_text().splitlines()] for f in (one, two)]
    assert len(curves[0]) == len(curves[1]) == 4
    # A process logs the losses of its own share; the gradient is that of all.
    assert curves[1][0]["norm"] == pytest.approx(curves[0][0]["norm"], rel=1e-3)
    weights = [torch.load(f / "checkpoint.pt", weights_only=True)["learner"] for f in (one, two)]
    for name, value in weights[0].items():
        if "language_model" not in name:  # answers are averaged over a process's own tokens
            torch.testing.assert_close(weights[1][name], value, atol=5e-3, rtol=0)


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path, toy_settings: Path) -> None:
    trainer_in(tmp_path / "run", toy_settings).train(stop_after=1)
    with pytest.raises(OptionsError, match="other sizes"):
        trainer_in(tmp_path / "run", toy_settings, "model.audio.encoder_layers=2")


def test_a_kill_while_saving_leaves_the_last_checkpoint(
    tmp_path: Path, toy_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings)
    trainer.train(stop_after=1)

    def full_disk(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        trainer.train(stop_after=1)
    monkeypatch.undo()
    assert trainer_in(tmp_path / "run", toy_settings).step == 1


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path, toy_settings: Path) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings)
    stage = trainer.settings.stages[0]
    trainer._prepare(stage)
    before = {name: value.clone() for name, value in trainer.learner.named_parameters()}
    trainer._weighted = lambda losses, stage: sum(losses.values()) * float("nan")  # type: ignore[method-assign]
    trainer._update(stage)
    assert trainer.step == 1
    for name, value in trainer.learner.named_parameters():
        assert torch.equal(value, before[name]), name


def test_the_schedule_warms_up_and_falls_to_its_floor() -> None:
    stage = StageSettings(name="a", warmup_steps=10, final_factor=0.1)
    assert loop.schedule(4, 0.0, stage) == pytest.approx(0.5)
    assert loop.schedule(100, 0.5, stage) == pytest.approx(0.55)
    assert loop.schedule(100, 1.0, stage) == pytest.approx(0.1)
    factors = [loop.schedule(step, step / 1000, stage) for step in range(10, 1000)]
    assert factors == sorted(factors, reverse=True)


def test_a_stage_ends_by_the_clock_too(tmp_path: Path, toy_settings: Path) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings, "stages.0.minutes=1e-9", "stages.1.minutes=1e-9")
    trainer.train()
    rows = (tmp_path / "run" / "curve.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 1]


def test_biases_norms_and_the_query_do_not_decay(tmp_path: Path, toy_settings: Path) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings)
    stage = trainer.settings.stages[1]
    names = {id(parameter): name for name, parameter in trainer.learner.named_parameters()}
    for group in loop.make_optimizer(trainer.learner, stage).param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            spared = parameter.ndim < 2 or "query_tokens" in name
            assert group["weight_decay"] == (0.0 if spared else stage.weight_decay), name


def test_the_language_model_rests_in_the_first_stage(tmp_path: Path, toy_settings: Path) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings)
    before = {
        name: value.clone() for name, value in trainer.learner.model.language_model.state_dict().items()
    }
    trainer.train(stop_after=3)
    for name, value in trainer.learner.model.language_model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_average_follows_slowly() -> None:
    average, current = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.9 * average.weight.detach() + 0.1 * current.weight.detach()
    loop.update_average(average, current, 0.9)
    torch.testing.assert_close(average.weight.detach(), expected)


def test_only_the_answer_and_its_end_are_learned(tmp_path: Path, toy_settings: Path) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings)
    tokenizer = trainer.learner.model.tokenizer
    batch = trainer.batches.make((1, 1, 0), range(4), 5.0, trainer.settings.stages[1])
    slot = trainer.learner.model.config.audio_token_id
    for text in batch.texts:
        assert ((text.input_ids == slot).sum(1) == 14).all()
        for ids, labels in zip(text.input_ids, text.labels, strict=True):
            answer = tokenizer.decode(labels[labels != IGNORED])
            assert answer.endswith("<|end_of_text|>")
            assert tokenizer.decode(ids).split("assistant<|end_header_id|>\n\n")[1].startswith(answer)


def test_the_same_prompt_as_at_inference(tmp_path: Path, toy_settings: Path) -> None:
    from naturelm_audio import prompts
    from naturelm_audio.generate import Generator, Request

    trainer = trainer_in(tmp_path / "run", toy_settings)
    model = trainer.average.model
    ids, prompt = Writer(model.tokenizer, model.config.audio_token_id, "<|end_of_text|>").ids(
        ("A dog?", "Yes"), 14
    )
    vectors = torch.randn(1, 14, model.language_model.config.hidden_size)
    ours = model.embed_prompt(torch.tensor([ids[:prompt]]), vectors)[0]
    theirs = Generator(model)._embed(Request(prompts.build("A dog?"), (vectors[0],), ""))
    torch.testing.assert_close(ours, theirs)


def test_the_answer_loss_is_that_of_the_model(tmp_path: Path, toy_settings: Path) -> None:
    trainer = trainer_in(tmp_path / "run", toy_settings)
    model = trainer.average.model
    batch = trainer.batches.make((1, 1, 0), range(2), 5.0, trainer.settings.stages[1])
    vectors = model.get_audio_features(batch.waveforms).pooler_output
    total = count = 0.0
    for text in batch.texts:
        for row, ids, labels in zip(text.rows, text.input_ids, text.labels, strict=True):
            length = int((labels != IGNORED).nonzero().max()) + 1
            embeddings = model.embed_prompt(ids[None, :length], vectors[row][None])
            loss = model(inputs_embeds=embeddings, labels=labels[None, :length]).loss
            answered = int((labels != IGNORED).sum())
            total, count = total + float(loss) * answered, count + answered
    assert float(trainer.average._answers(vectors, batch.texts)) == pytest.approx(total / count, rel=1e-4)


def test_heads_learn_from_teacher_and_labels() -> None:
    torch.manual_seed(0)
    heads = Heads(16, 8, 5)
    targets = Targets(torch.eye(5)[:2], torch.rand(2, 9, 521), compress(torch.rand(2, 9, 1024)))
    patches, vectors = torch.randn(2, 248, 16), torch.randn(2, 14, 8)
    losses = heads.losses(patches, vectors, targets)
    assert set(losses) == {*loop.TEACHER_LOSSES, *loop.LABEL_LOSSES}
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in heads.parameters())


def test_heads_hear_teacher_frames_of_10_s_too() -> None:
    heads = Heads(16, 8, 5)
    assert heads._frames(torch.randn(1, 496, 16)).shape == (1, 19, 512)
    assert heads._frames(torch.randn(1, 248, 16)).shape == (1, 9, 512)
