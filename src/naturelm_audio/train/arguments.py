"""A recipe as the arguments of transformers' Trainer, for as many processes as the launcher started."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.recipe import Recipe

__all__ = ["training_arguments"]


def training_arguments(recipe: Recipe, output_dir: Path) -> TrainingArguments:
    """Return the recipe as the Trainer's arguments; the number of processes is the launcher's.

    Raises:
        OptionsError: the batch can't be shared out among the processes.
    """
    options, run = recipe.optimiser, recipe.run
    on_cpu = not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        max_steps=options.steps,
        per_device_train_batch_size=1,
        max_grad_norm=options.clip_norm or math.inf,
        bf16=options.precision == "bfloat16",
        tf32=None,
        logging_steps=run.log_every,
        logging_first_step=True,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=run.save_every,
        report_to=list(run.report_to) or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=recipe.seed,
        use_cpu=on_cpu,
        ddp_timeout=round(60 * run.timeout_minutes),
        ddp_find_unused_parameters=_may_be_unused(recipe),
        dataloader_num_workers=recipe.data.workers,
        dataloader_pin_memory=not on_cpu,
        train_sampling_strategy="sequential",  # the draws have an order of their own
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process takes one GPU; torchrun starts one for each
    world = max(arguments.world_size, 1)
    if options.batch_size % world:
        raise OptionsError(
            f"optimiser.batch_size {options.batch_size} can't be shared out among {world} processes"
        )
    share = options.batch_size // world
    rows = next(rows for rows in range(min(options.rows_at_once, share), 0, -1) if share % rows == 0)
    arguments.per_device_train_batch_size = rows
    arguments.gradient_accumulation_steps = share // rows
    return arguments


def _may_be_unused(recipe: Recipe) -> bool:
    """Return whether a micro-batch may leave what learns without a gradient; looking for such costs time.

    That are layers dropped at random, and the language model where no question fits a scene.
    """
    drops = recipe.parts.encoder and recipe.parts.encoder_layerdrop > 0
    return drops or (recipe.scenes is not None and recipe.scenes.questions > 0)
