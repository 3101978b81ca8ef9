"""What a training run is made of: frozen options, their checks, and the file they are read from.

Defaults are those of the paper, or ours where it says nothing. Nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.scene_options import ScenesOptions
from naturelm_audio.train.yaml_options import stages_from_yaml

__all__ = [
    "AugmentOptions",
    "DataOptions",
    "InitOptions",
    "OptimiserOptions",
    "PartsOptions",
    "Recipe",
    "RunOptions",
    "ValidationOptions",
    "join_recipes",
    "read_recipes",
]


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Where the first weights come from: a whole model, or an encoder and a language model."""

    model: str | None = None
    """One of ours or an official checkpoint: a bundled name, a path or a hub id."""
    language_model: str | None = None
    """Folder or hub id of a Llama-type model; beside ``model``, the base of an official checkpoint."""
    beats: str | None = None
    """A BEATs ``.pt`` file; without it the encoder starts at random."""
    encoder: dict[str, Any] = field(default_factory=dict)
    """Sizes of an encoder that starts at random, as in ``beats_cfg``."""
    bridge: dict[str, Any] = field(default_factory=dict)
    """Sizes of a new Q-Former."""
    text: dict[str, Any] = field(default_factory=dict)
    """Changed sizes of the language model, which then starts at random: for trying a recipe out. Without a
    ``language_model``, all sizes of a new one."""
    vocabulary: int = 2000
    """Most tokens of a new language model's own tokenizer, which is made of what the run asks and answers."""
    clip_lengths_seconds: tuple[float, ...] = (10.0,)
    """Lengths that clips are padded to, of a new model."""
    qformer_heads: int = 12
    """Of an official checkpoint, which doesn't say it."""
    mean_of_stages: tuple[int, ...] = ()
    """Earlier stages of the same file, counted from 1, with whose mean weights this one starts; one that is
    named twice counts twice."""

    def __post_init__(self) -> None:
        """Check what excludes what."""
        for place in self.mean_of_stages:
            _whole("mean_of_stages", place, 1)
        if self.model and (self.beats or self.encoder or self.bridge or self.text):
            raise OptionsError("init.model is a whole model: leave out beats, encoder, bridge and text")
        if self.beats and self.encoder:
            raise OptionsError("init.beats has its own sizes: leave out encoder")
        _whole("vocabulary", self.vocabulary, 300)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which rows are learned from, and what is made of their audio."""

    train: tuple[str, ...] = ()
    """Annotation files, or folders of shards; rows of the split ``train`` or of none count."""
    stream: bool = False
    """Read the one folder of shards, or data set on the hub, that ``train`` names as a stream."""
    valid: tuple[str, ...] = ()
    """Annotation files to validate on; without any, the rows of the split ``valid`` in ``train``."""
    test: tuple[str, ...] = ()
    """Annotation files that the finished model is judged by, once, and that choose nothing; without any, the
    rows of the split ``test`` in ``train``."""
    audio_root: str | None = None
    tasks: tuple[str, ...] = ()
    """Names or patterns of tasks that are kept, such as ``*-detection``; empty keeps all."""
    exclude_tasks: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    """Of ``animal``, ``speech``, ``music`` and ``other``; empty keeps all."""
    sources: tuple[str, ...] = ()
    exclude_sources: tuple[str, ...] = ()
    hold_outs: str = "paper"
    """``paper``: its held-out taxa; ``none``; or a file with one taxon per line."""
    held_out_rows: Literal["drop", "refuse"] = "drop"
    clip_seconds: float | None = None
    """Longest clip that is heard; none is the model's own."""
    max_answer_tokens: int = 200
    max_unreadable_share: float = 0.01
    """A run ends with an error when more of its rows than this have audio that can't be read."""
    workers: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in self.domains:
            if name not in DOMAINS:
                raise OptionsError(f"domains: there is no {name!r}; known are {', '.join(DOMAINS)}")
        _positive("clip_seconds", self.clip_seconds)
        _whole("max_answer_tokens", self.max_answer_tokens, 2)
        _whole("workers", self.workers, 0)
        _share("max_unreadable_share", self.max_unreadable_share)


DOMAINS = ("animal", "speech", "music", "other")


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Probabilities and ranges of augmentation; the last four are off in the paper's recipe."""

    noise_folders: tuple[str, ...] = ()
    noise_probability: float = 0.4
    noise_snr_db: tuple[float, float] = (-10.0, 20.0)
    replace_probability: float = 0.1
    mixup_probability: float = 0.45
    mixup_min_db: float | None = None
    """Lowest level that mixing may leave a recording; none allows any."""
    time_scale_probability: float = 0.0
    time_scale_max: float = 1.1
    echo_probability: float = 0.0
    band_mask_probability: float = 0.0
    flip_probability: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        for item in dataclasses.fields(self):
            if item.name.endswith("_probability"):
                _share(item.name, getattr(self, item.name))
        if self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise OptionsError(f"noise_snr_db must rise, not {list(self.noise_snr_db)}")
        if not self.time_scale_max >= 1.0:
            raise OptionsError(f"time_scale_max must be 1 or more, not {self.time_scale_max:g}")


@dataclass(frozen=True, kw_only=True)
class PartsOptions:
    """Which parts of the model learn; a part that doesn't stays in evaluation mode."""

    encoder: bool = True
    bridge: bool = True
    language_model: bool = False
    """All of the language model; else only its adapters."""
    lora_rank: int = 32
    """0 for no adapters."""
    lora_alpha: float = 32.0
    lora_dropout: float = 0.1
    encoder_layerdrop: float = 0.05
    gradient_checkpointing: bool = False
    """Compute the language model's layers twice and keep less in memory."""
    frozen_precision: Literal["float32", "bfloat16"] = "float32"
    """How a language model that isn't trained is kept in memory."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _whole("lora_rank", self.lora_rank, 0)
        _positive("lora_alpha", self.lora_alpha)
        _share("lora_dropout", self.lora_dropout)
        _share("encoder_layerdrop", self.encoder_layerdrop)
        if not (self.encoder or self.bridge or self.language_model or self.lora_rank):
            raise OptionsError("all parts are frozen: set one of encoder, bridge, language_model, lora_rank")


@dataclass(frozen=True, kw_only=True)
class OptimiserOptions:
    """AdamW, its schedule and how an update is made."""

    steps: int
    minutes: float | None = None
    """The run ends after so many minutes even if steps are left; the cosine then follows the clock. Such a
    run can't be repeated exactly."""
    batch_size: int = 128
    """Rows in one update, over all processes."""
    rows_at_once: int = 8
    """Rows in one process's memory at a time; the rest is accumulated."""
    learning_rate: float = 9e-5
    language_model_learning_rate: float | None = None
    """Of the language model, if another one; it falls in the same proportion."""
    final_learning_rate: float = 2e-5
    warmup_steps: int = 5000
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    clip_norm: float | None = 2.0
    clip_value: float | None = None
    name: Literal["adamw", "adamw_8bit"] = "adamw"
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    stop_after_bad_updates: int = 10
    """Updates in a row without a finite gradient, after which the run ends."""
    average_decay: float = 0.0
    """Of the running mean of the weights, which then is what is judged and kept as the model; 0 for none."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("steps", "batch_size", "rows_at_once", "stop_after_bad_updates"):
            _whole(name, getattr(self, name), 1)
        _whole("warmup_steps", self.warmup_steps, 0)
        for name in ("learning_rate", "language_model_learning_rate", "clip_norm", "clip_value", "minutes"):
            _positive(name, getattr(self, name))
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise OptionsError("final_learning_rate must lie from 0 to learning_rate")
        if not all(0 <= beta < 1 for beta in self.betas) or not self.weight_decay >= 0:
            raise OptionsError("betas must be from 0 to below 1, weight_decay 0 or more")
        if not 0 <= self.average_decay < 1:
            raise OptionsError(f"average_decay must be from 0 to below 1, not {self.average_decay:g}")

    def done(self, step: int, minutes: float = 0.0) -> float:
        """Return how much of the run is done after so many updates and minutes, 0..1."""
        by_clock = minutes / self.minutes if self.minutes else 0.0
        return min(max(step / self.steps, by_clock), 1.0)

    def learning_rate_at(self, step: int, minutes: float = 0.0) -> float:
        """Return the learning rate of the update after ``step`` others: a line up, then a cosine down.

        The cosine is counted from step 0, so it has no start of its own after the warm-up.
        """
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        done = self.done(step, minutes)
        spread = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + spread * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """When and on what a run is judged."""

    every: int = 10_000
    """Updates between validations; a checkpoint follows where it was the best."""
    rows_per_task: int = 200
    """Most rows of a task for the loss, the same ones every time; 0 takes all."""
    answers_per_task: int = 50
    """Most rows of a task whose answers are generated, greedily; 0 for none."""
    max_new_tokens: int = 60
    best: str = "loss"
    """What the best checkpoint is best at: ``loss``, ``token_accuracy``, or ``TASK/METRIC``; ``last`` keeps
    the weights at the end."""
    patience: int = 0
    """The run ends after so many validations in a row that were not the best; 0 never ends it early."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("every", "max_new_tokens"):
            _whole(name, getattr(self, name), 1)
        for name in ("rows_per_task", "answers_per_task", "patience"):
            _whole(name, getattr(self, name), 0)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is written down; nothing here changes the weights."""

    save_every: int = 1000
    keep_last: int = 2
    checkpoint_weights: Literal["all", "trained"] = "all"
    """``trained`` leaves out what is frozen, so that a checkpoint needs the first weights beside it."""
    model_precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the model that a run ends with."""
    log_every: int = 5
    report_to: tuple[str, ...] = ()
    """``tensorboard``, ``wandb`` or any other logger of transformers."""
    distributed: Literal["ddp", "fsdp"] = "ddp"
    timeout_minutes: float = 30.0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("save_every", "keep_last", "log_every"):
            _whole(name, getattr(self, name), 1)
        _positive("timeout_minutes", self.timeout_minutes)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run depends on."""

    optimiser: OptimiserOptions
    name: str = ""
    seed: int = 13
    init: InitOptions = field(default_factory=InitOptions)
    data: DataOptions = field(default_factory=DataOptions)
    scenes: ScenesOptions | None = None
    """Learn from scenes that are mixed on the way, not from the rows of ``data``."""
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    parts: PartsOptions = field(default_factory=PartsOptions)
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    run: RunOptions = field(default_factory=RunOptions)


def read_recipes(path: str | Path, changes: Sequence[str] = ()) -> list[Recipe]:
    """Return the recipes of a YAML file: one, or its ``stages``, each with what they all have in common.

    Args:
        path: the file.
        changes: options such as ``optimiser.steps=10``, for every stage, or ``stages.0.optimiser.steps=10``.

    Raises:
        OptionsError: with the file and the whole name of the key that is wrong.
    """
    return stages_from_yaml(Recipe, path, changes)


def join_recipes(stages: Sequence[Recipe]) -> Recipe:
    """Return one run in place of several stages: all their rows from the first one's weights, as many steps.

    Raises:
        OptionsError: no stage at all.
    """
    if not stages:
        raise OptionsError("no recipe to join")
    last = stages[-1]

    def together(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for stage in stages for path in getattr(stage.data, name)))

    data = dataclasses.replace(
        last.data, train=together("train"), valid=together("valid"), test=together("test")
    )
    optimiser = dataclasses.replace(last.optimiser, steps=sum(stage.optimiser.steps for stage in stages))
    name = "+".join(stage.name for stage in stages)
    return dataclasses.replace(last, name=name, init=stages[0].init, data=data, optimiser=optimiser)


def _whole(name: str, value: int, at_least: int) -> None:
    if value < at_least:
        raise OptionsError(f"{name} must be {at_least} or more, not {value}")


def _positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise OptionsError(f"{name} must be above 0, not {value:g}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise OptionsError(f"{name} must be from 0 to 1, not {value:g}")
