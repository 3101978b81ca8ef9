"""Toy recordings, their annotation file, and recipes of a few updates on the smallest model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from naturelm_audio.train.recipe import (
    AugmentOptions,
    DataOptions,
    InitOptions,
    OptimiserOptions,
    PartsOptions,
    Recipe,
    RunOptions,
    ValidationOptions,
)

SOUNDS = {"low": 400.0, "middle": 1200.0, "high": 3000.0}
NAME_PROMPT = "What is the common name for the focal species in the audio?"
LIST_PROMPT = "Which of these, if any, are present in the audio recording? low, middle, high, None"


def write_tone(path: Path, hertz: float, seconds: float, sample_rate_hz: int = 16_000) -> None:
    time_s = np.arange(round(sample_rate_hz * seconds)) / sample_rate_hz
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time_s), sample_rate_hz)


def rows(folder: Path, per_label: int = 4) -> list[dict[str, Any]]:
    """Rows of three tones, at two sample rates, some longer than a clip; one recording in four validates."""
    found = []
    for label, hertz in SOUNDS.items():
        for number in range(per_label):
            name = f"audio/{label}_{number}.wav"
            write_tone(
                folder / name, hertz + 10 * number, 0.6 + 0.4 * number, 16_000 if number % 2 else 22_050
            )
            split = "valid" if number == per_label - 1 else "train"
            common = {"path": name, "split": split, "recording_id": name}
            found.append({**common, "prompt": NAME_PROMPT, "text": label, "task": "common-classification"})
            found.append({**common, "prompt": LIST_PROMPT, "text": label, "task": "common-simple-detection"})
    return found


def write_rows(path: Path, listed: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in listed), encoding="utf-8")
    return path


def recipe(annotations: Path, model: Path | str | None, **changes: Any) -> Recipe:
    """Six updates of four rows; ``changes`` are sections, as options or as dictionaries of changes."""
    plain = Recipe(
        seed=5,
        init=InitOptions(model=str(model) if model else None),
        data=DataOptions(train=(str(annotations),), hold_outs="none"),
        augment=AugmentOptions(noise_probability=0.0, replace_probability=0.0, mixup_probability=0.5),
        parts=PartsOptions(lora_rank=2, lora_alpha=4.0, encoder_layerdrop=0.2),
        optimiser=OptimiserOptions(
            steps=6,
            batch_size=4,
            rows_at_once=2,
            learning_rate=1e-2,
            final_learning_rate=1e-3,
            warmup_steps=2,
            precision="float32",
        ),
        validation=ValidationOptions(every=3, answers_per_task=1, max_new_tokens=3),
        run=RunOptions(save_every=2, log_every=1),
    )
    merged = {
        name: dataclasses.replace(getattr(plain, name), **change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return dataclasses.replace(plain, **merged)
