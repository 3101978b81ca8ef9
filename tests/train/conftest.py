"""A toy manifest of three kinds of sound, and the settings of a run of a few steps on it."""

from __future__ import annotations

import csv
from pathlib import Path

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
def toy_settings(toy_manifest: Path) -> Path:
    """A settings file: two stages of three steps with a very small model and no teacher."""
    stage = {"steps": 3, "batch_size": 2, "long_every": 2, "warmup_steps": 1}
    settings = {
        "data": {"manifest": str(toy_manifest)},
        "precision": "float32",
        "log_every": 1,
        "evaluate_every": 1000,
        "model": {
            "vocabulary": 400,
            "audio": {
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
        "stages": [
            {"name": "distil", **stage},
            {"name": "answer", "questions": 2, **stage},
        ],
    }  # fmt: skip
    path = toy_manifest.parent / "toy.yml"
    path.write_text(yaml.safe_dump(settings))
    return path
