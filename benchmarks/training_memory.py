"""What the memory options of a recipe bring: peak of one training step on the CPU, a process for each.

    python benchmarks/training_memory.py

A language model of 24 layers at random, with adapters, and a small encoder; 8 rows of one long question, in
bfloat16. `weights` is what the model took when it was made, `step` what the step needs on top at its highest.
Linux only.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "parts.gradient_checkpointing": {"gradient_checkpointing": True},
    "parts.frozen_precision bfloat16": {"frozen_precision": "bfloat16"},
    "both, as in train_stage1.yml": {"gradient_checkpointing": True, "frozen_precision": "bfloat16"},
    "parts.language_model true": {"language_model": True},
}
ROWS, WORDS = 8, 120
ENCODER = {"embed_dim": 64, "encoder_layers": 2, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 128,
           "encoder_attention_heads": 4, "conv_pos": 16, "conv_pos_groups": 4}  # fmt: skip
TEXT = {"hidden_size": 320, "intermediate_size": 864, "num_hidden_layers": 24, "num_attention_heads": 5,
        "num_key_value_heads": 5}  # fmt: skip


def megabytes_held() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(options: dict[str, Any]) -> tuple[float, float]:
    """Return megabytes of the weights and of a step."""
    import numpy as np
    import torch

    from naturelm_audio.train.collate import Collator, model_inputs
    from naturelm_audio.train.draws import Sample
    from naturelm_audio.train.initial import initial_model
    from naturelm_audio.train.recipe import InitOptions, OptimiserOptions, PartsOptions, Recipe
    from naturelm_audio.train.schedule import make_optimiser, parameter_groups
    from naturelm_audio.train.tokenizer import train_tokenizer
    from naturelm_audio.train.trainer import checkpoint_layers
    from naturelm_audio.train.validation import answer_losses

    torch.set_num_threads(1)
    parts = PartsOptions(**options)
    recipe = Recipe(
        optimiser=OptimiserOptions(steps=1),
        init=InitOptions(text=TEXT, encoder=ENCODER, bridge={"hidden_size": 64, "num_attention_heads": 4}),
        parts=parts,
    )
    before = megabytes_held()
    words = " ".join(f"w{number}" for number in range(WORDS))
    model = initial_model(recipe, lambda: train_tokenizer([words, "dog"], 400))
    if parts.gradient_checkpointing:
        checkpoint_layers(model.language_model)
    sample = Sample((np.zeros(160_000, np.float32),), words, "dog", "x", 0)
    batch = Collator(model.config, model.tokenizer, 200)([sample] * ROWS)
    inputs = model_inputs(batch)
    optimiser = make_optimiser(
        parameter_groups(model, recipe.optimiser, model.language_model), recipe.optimiser
    )
    model.train()
    held = megabytes_held()
    with torch.autocast("cpu", torch.bfloat16):
        loss = answer_losses(model(**inputs, use_cache=False).logits, batch["labels"])[0].sum()
    loss.backward()
    optimiser.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kilobytes on Linux
    return held - before, peak - held


def main() -> None:
    context = multiprocessing.get_context("spawn")
    for name, options in CASES.items():
        with context.Pool(1) as pool:
            weights, step = pool.apply(measure, (options,))
        print(f"{name:34} weights {weights:6.0f} MB, step {step:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
