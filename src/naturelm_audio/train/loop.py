"""The training loop: stages of updates with a schedule, weight averaging, checkpoints that resume exactly.

One process or several (`torchrun`): each takes its share of a step's scenes and the gradients are averaged.
Random numbers depend on (seed, stage, step, row) alone, so only weights, optimiser and step have to be saved.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from naturelm_audio.checkpoint import save_model
from naturelm_audio.errors import OptionsError
from naturelm_audio.model import NatureLMForConditionalGeneration, fbank
from naturelm_audio.train import augment
from naturelm_audio.train.batches import IGNORED, Batch, BatchMaker, TextBatch, Writer
from naturelm_audio.train.build import END_SYMBOL, build_model, build_tokenizer, sounds_of, training_clips
from naturelm_audio.train.data import SceneMaker
from naturelm_audio.train.evaluate import curve_figures
from naturelm_audio.train.heads import LABEL_LOSSES, TEACHER_LOSSES, Heads
from naturelm_audio.train.questions import Asker
from naturelm_audio.train.settings import StageSettings, TrainSettings, read_settings
from naturelm_audio.train.teacher import Yamnet

logger = logging.getLogger(__name__)

SILENT_FEATURE = -2.3917
"""What the filterbank says of digital silence: masked cells sound like nothing."""
SHORT_SECONDS, LONG_SECONDS = 5.0, 10.0


class Learner(nn.Module):
    """The model and its throw-away heads: a batch in, losses out."""

    def __init__(self, model: NatureLMForConditionalGeneration, heads: Heads) -> None:
        """Keep both."""
        super().__init__()
        self.model = model
        self.heads = heads

    def hear(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return patches (B, P, C) and audio vectors (B, A, D) of log-mel features (B, F, 128)."""
        patches = self.model.audio_tower.encode_fbank(features)
        return patches, self.model.bridge(patches)

    def forward(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return every loss of a batch, without weights."""
        patches, vectors = self.hear(features)
        losses = self.heads.losses(patches, vectors, batch.targets)
        if batch.texts:
            losses["answer"] = self._answers(vectors, batch.texts)
        return losses

    def _answers(self, vectors: Tensor, texts: Sequence[TextBatch]) -> Tensor:
        """Return the mean cross-entropy of the answers' tokens."""
        decoder, head = self.model.get_decoder(), self.model.get_output_embeddings()
        total, count = vectors.new_zeros((), dtype=torch.float32), 0
        for text in texts:
            embeddings = self.model.embed_prompt(text.input_ids, vectors[text.rows])
            # Padding stands behind the answers, where the causal mask hides it.
            states = decoder(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, :-1]
            targets = text.labels[:, 1:]
            answered = targets != IGNORED
            logits = head(states[answered]).float()
            total = total + functional.cross_entropy(logits, targets[answered], reduction="sum")
            count += int(answered.sum())
        return total / max(count, 1)


class Trainer:
    """One run in one folder.

    Args:
        settings: everything the run depends on.
        output_dir: checkpoint, curve, tokenizer and the finished model.
        batches: makes the batches.
        learner: model and heads with their first weights.
        evaluate: figures of the averaged model, for the curve.
    """

    def __init__(
        self,
        settings: TrainSettings,
        output_dir: Path,
        batches: BatchMaker,
        learner: Learner,
        evaluate: Callable[[Learner], dict[str, float]] | None = None,
    ) -> None:
        """Take up the checkpoint of the folder, if there is one."""
        self.settings = settings
        self.output_dir = output_dir
        self.batches = batches
        self.learner = learner
        self.average = copy.deepcopy(learner).eval().requires_grad_(False)
        self.evaluate = evaluate
        self.rank, self.world = _rank(), _world()
        self.stage, self.step, self.minutes = 0, 0, 0.0
        self.optimizer: torch.optim.AdamW | None = None
        self._saved, self._sums = time.monotonic(), dict[str, float]()
        self._resume()

    def train(self, *, stop_after: int | None = None) -> None:
        """Run all stages that are left, or only so many updates; ends with a checkpoint."""
        done = 0
        while self.stage < len(self.settings.stages):
            stage = self.settings.stages[self.stage]
            self._prepare(stage)
            while self._progress(stage) < 1.0:
                if stop_after is not None and done == stop_after:
                    self.save()
                    return
                self._update(stage)
                done += 1
            self.stage, self.step, self.minutes, self.optimizer = self.stage + 1, 0, 0.0, None
            self.save()

    def _prepare(self, stage: StageSettings) -> None:
        """Choose what is trained in a stage, and its optimiser unless it was resumed."""
        self.learner.train()
        self.learner.model.language_model.requires_grad_(stage.questions > 0)
        self._sums = {}
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.learner, stage)

    def _progress(self, stage: StageSettings) -> float:
        """Return how much of a stage is done, 0 to 1, by steps or by the clock."""
        by_clock = self.minutes / stage.minutes if stage.minutes else 0.0
        return max(self.step / stage.steps, by_clock)

    def _update(self, stage: StageSettings) -> None:
        """Make one update."""
        began = time.monotonic()
        optimizer = self.optimizer
        if optimizer is None:
            raise RuntimeError("no optimiser: a stage has to be prepared first")
        batch, features = self._inputs(stage)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            losses = self.learner(features, batch)
        loss = self._weighted(losses, stage)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        _share_gradients(parameters, self.world)
        norm = float(nn.utils.clip_grad_norm_(parameters, stage.clip_norm))
        if math.isfinite(norm):
            factor = schedule(self.step, self._progress(stage), stage)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
            update_average(
                self.average, self.learner, min(stage.ema_decay, (1 + self.step) / (10 + self.step))
            )
        else:
            logger.warning(
                "stage %s, step %d: the gradient is not finite; the update is left out", stage.name, self.step
            )
        self.step += 1
        self.minutes = _agreed(self.minutes + (time.monotonic() - began) / 60, self.world)
        self._after(stage, {**losses, "loss": loss, "norm": torch.tensor(norm)})

    def _inputs(self, stage: StageSettings) -> tuple[Batch, Tensor]:
        """Return this process's share of a step's scenes, and their masked log-mel features."""
        long = stage.long_every > 0 and self.step % stage.long_every == stage.long_every - 1
        scenes = max(stage.batch_size // (2 if long else 1), self.world)
        rows = range(self.rank, scenes, self.world)
        seed = (self.settings.seed, self.stage, self.step)
        torch.manual_seed(hash((*seed, self.rank)) % 2**31)
        batch = self.batches.make(seed, rows, LONG_SECONDS if long else SHORT_SECONDS, stage)
        features = fbank(batch.waveforms)
        for place, row in enumerate(rows):
            generator = np.random.default_rng([*seed, row, 1])  # other numbers than the scene's
            if generator.random() < stage.mask_probability:
                masked = augment.mask_spectrogram(features[place].numpy(), generator, value=SILENT_FEATURE)
                features[place] = torch.from_numpy(masked)
        return batch, features

    def _weighted(self, losses: dict[str, Tensor], stage: StageSettings) -> Tensor:
        """Return the sum of the losses with their weights."""
        weights = {name: weight * stage.teacher_weight for name, weight in TEACHER_LOSSES.items()}
        weights |= {name: weight * stage.label_weight for name, weight in LABEL_LOSSES.items()}
        return torch.stack([loss * weights.get(name, 1.0) for name, loss in losses.items()]).sum()

    def _after(self, stage: StageSettings, values: dict[str, Tensor]) -> None:
        """Write the curve, evaluate and save when it is time; the first process alone."""
        if self.rank:
            return
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        if self.step % self.settings.log_every == 0:
            means = {name: round(total / self.settings.log_every, 4) for name, total in self._sums.items()}
            self._sums = {}
            self.log({"stage": stage.name, "step": self.step, "minutes": round(self.minutes, 2), **means})
        if self.evaluate and self.step % self.settings.evaluate_every == 0:
            self.log({"stage": stage.name, "step": self.step, "figures": self.evaluate(self.average)})
        if time.monotonic() - self._saved > 60 * self.settings.save_minutes:
            self.save()

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the curve."""
        with (self.output_dir / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Write the checkpoint in place of the last one; a kill at any moment leaves one of the two."""
        self._saved = time.monotonic()
        if self.rank:
            return
        state = {
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "place": [self.stage, self.step, self.minutes],
            "learner": self.learner.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else None,
        }
        temporary = self.output_dir / "checkpoint.pt.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.output_dir / "checkpoint.pt")

    def _resume(self) -> None:
        """Go on from the checkpoint of the output folder, if there is one of the same architecture."""
        path = self.output_dir / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        if json.loads(state["settings"])["model"] != json.loads(json.dumps(asdict(self.settings)))["model"]:
            raise OptionsError(
                f"{path}: this run is of a model of other sizes; choose another output folder."
            )
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
        self.stage, self.step, self.minutes = state["place"]
        if state["optimizer"] is not None:
            stage = self.settings.stages[self.stage]
            self.learner.model.language_model.requires_grad_(stage.questions > 0)
            self.optimizer = make_optimizer(self.learner, stage)
            self.optimizer.load_state_dict(state["optimizer"])


def schedule(step: int, progress: float, stage: StageSettings) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine down to the final factor."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return min(1.0, (step + 1) / max(stage.warmup_steps, 1)) * (
        stage.final_factor + (1 - stage.final_factor) * cosine
    )


def make_optimizer(learner: Learner, stage: StageSettings) -> torch.optim.AdamW:
    """Return AdamW for what is trained; biases, norms and the query do not decay."""
    text = {id(parameter) for parameter in learner.model.language_model.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and "query_tokens" not in name
            groups.setdefault((id(parameter) in text, decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": stage.text_learning_rate if is_text else stage.learning_rate,
                "weight_decay": stage.weight_decay if decays else 0.0,
            }
            for (is_text, decays), parameters in groups.items()
        ],
        lr=stage.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the averaged weights, and the statistics of the batch norms, towards the current ones."""
    ours = [value for value in average.state_dict().values() if value.is_floating_point()]
    theirs = [value for value in current.state_dict().values() if value.is_floating_point()]
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)


def _share_gradients(parameters: Sequence[Tensor], world: int) -> None:
    """Replace gradients by their mean over the processes."""
    if world == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
        parameter.grad = part.view_as(parameter)


def _agreed(minutes: float, world: int) -> float:
    """Return the mean of the processes' clocks, so that all end a stage together."""
    if world == 1:
        return minutes
    clock = torch.tensor(minutes, dtype=torch.float64)
    dist.all_reduce(clock)
    return float(clock) / world


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def run(
    config_path: str | Path, output_dir: str | Path, options: Sequence[str] = ()
) -> NatureLMForConditionalGeneration:
    """Train from a settings file into a folder, or go on where it stopped, and return the averaged model.

    Args:
        config_path: a YAML file such as `configs/tiny.yml`.
        output_dir: gets `checkpoint.pt`, `curve.jsonl`, `tokenizer/` and, at the end, `model/`.
        options: changes such as `stages.0.steps=10`.
    """
    settings = read_settings(config_path, options)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with _processes():
        torch.manual_seed(settings.seed)
        trainer = make_trainer(settings, folder)
        trainer.train()
        model = trainer.average.model
        if _rank() == 0:
            save_small(model, folder / "model")
    return model


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Join the processes of `torchrun`, if it started this one, and part from them together."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    yield
    # Without this the first to finish pulls the connections from under the others, which can end in an abort.
    dist.barrier()
    dist.destroy_process_group()


def make_trainer(settings: TrainSettings, folder: Path) -> Trainer:
    """Return a trainer on the recordings of the settings."""
    store = training_clips(settings.data)
    scenes = SceneMaker(store, settings.data.source_weights)
    tokenizer = _tokenizer(settings, folder, lambda: build_tokenizer(store, settings.model.vocabulary))
    model = build_model(settings.model, tokenizer)
    sounds = sounds_of(store)
    labels = {sound.label: place for place, sound in enumerate(sounds)}
    teacher = Yamnet(settings.teacher_path) if settings.teacher_path else None
    config = model.config
    heads = Heads(
        model.audio_tower.config.hidden_size,
        model.language_model.config.hidden_size,
        len(labels),
        teacher=teacher is not None,
    )
    batches = BatchMaker(
        scenes=scenes,
        labels=labels,
        teacher=teacher,
        asker=Asker(sounds),
        writer=Writer(tokenizer, config.audio_token_id, END_SYMBOL),
        audio_tokens={samples: config.audio_tokens(samples) for samples in (80_000, 160_000)},
    )
    evaluate = curve_figures(settings.data, labels) if _rank() == 0 else None
    return Trainer(settings, folder, batches, Learner(model, heads), evaluate)


def _tokenizer(
    settings: TrainSettings, folder: Path, build: Callable[[], PreTrainedTokenizerFast]
) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the run: the saved one, or a new one, which is the same in every process."""
    path = folder / "tokenizer"
    if path.is_dir():
        return AutoTokenizer.from_pretrained(str(path))
    tokenizer = build()
    if _rank() == 0:
        # Written whole or not at all: another process may look for it at this moment.
        tokenizer.save_pretrained(f"{path}.tmp")
        os.replace(f"{path}.tmp", path)
    return tokenizer


def save_small(model: NatureLMForConditionalGeneration, folder: Path) -> None:
    """Write a model in half precision, as it is shipped."""
    small = copy.deepcopy(model).to(torch.float16)
    small.tokenizer = model.tokenizer
    save_model(small, folder)
