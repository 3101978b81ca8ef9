"""A toy manifest of three kinds of sound, and a recipe of a few updates on scenes of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

COLUMNS = ["path", "label", "taxonomic_name", "kind", "seconds", "original_sample_rate", "recording", "split"]
DOG = "Chordata Mammalia Carnivora Canidae Canis familiaris"
ROWS = [("dog", DOG, "animal", 400.0), ("crow", "", "animal", 1500.0), ("rain", "", "environment", 3000.0)]


@pytest.fixture(scope="session")
def toy_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of tones: three labels, two clips each to train on and one to validate."""
    folder = tmp_path_factory.mktemp("toy")
    rows = []
    for label, taxonomic_name, kind, hertz in ROWS:
        for number in range(3):
            time_s = np.arange(16_000 * (1 + number)) / 16_000
            path = f"{label}_{number}.wav"
            soundfile.write(folder / path, 0.3 * np.sin(2 * np.pi * (hertz + 20 * number) * time_s), 16_000)
            split = "validation" if number == 2 else "train"
            rows.append([path, label, taxonomic_name, kind, 1 + number, 16_000, path, split, "", "toy", ""])
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*COLUMNS, "events", "source", "licence"], *rows])
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def toy_plan(toy_manifest: Path) -> dict[str, Any]:
    """A recipe with two stages of three updates on scenes, a very small model and no teacher."""
    return {
        "init": {
            "vocabulary": 400,
            "clip_lengths_seconds": [0.6, 1.2],
            "encoder": {
                "patch_stem": "conv", "embed_dim": 16, "encoder_layers": 1, "encoder_embed_dim": 16,
                "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2, "conv_pos": 16,
                "conv_pos_groups": 4, "finetuned_model": False,
            },
            "bridge": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "dropout": 0.1},
            "text": {
                "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                "num_key_value_heads": 2, "tie_word_embeddings": True,
            },
        },
        "scenes": {"manifest": str(toy_manifest), "long_every": 2},
        "parts": {"language_model": True, "lora_rank": 0, "encoder_layerdrop": 0.0},
        "optimiser": {
            "steps": 3, "batch_size": 4, "rows_at_once": 4, "learning_rate": 3e-3, "warmup_steps": 1,
            "language_model_learning_rate": 1e-2, "average_decay": 0.9, "precision": "float32",
        },
        "validation": {"best": "last"},
        "run": {"log_every": 1, "save_every": 100},
        "stages": [
            {"name": "distil", "seed": 13, "parts": {"language_model": False}},
            {"name": "answer", "seed": 14, "scenes": {"questions": 2}},
        ],
    }  # fmt: skip


@pytest.fixture(scope="session")
def toy_config(toy_plan: dict[str, Any], toy_manifest: Path) -> Path:
    """That recipe in a file."""
    path = toy_manifest.parent / "toy.yml"
    path.write_text(yaml.safe_dump(toy_plan))
    return path
