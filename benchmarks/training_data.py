"""Does the data keep up with the training step? Windows a second of both, on one thread, and their ratio.

    python benchmarks/training_data.py [UPDATES]

Scenes: what `configs/tiny.yml` mixes, masks and asks; the teacher's answer to each is timed apart, as it
stands in for labels and belongs to the work of learning. Rows: clips of files, cropped at random and mixed,
as any recipe with annotation files reads them. Step: forward, backward and update of the bundled model's
sizes on a batch that is there already. Sounds are synthetic; CPU time, so other work on the machine matters
little.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from naturelm_audio.train.build import sounds_of, synthetic_clips
from naturelm_audio.train.collate import Collator
from naturelm_audio.train.data import SAMPLE_RATE_HZ, SceneMaker
from naturelm_audio.train.draws import Draws, Reader
from naturelm_audio.train.heads import Heads
from naturelm_audio.train.initial import initial_model
from naturelm_audio.train.learner import ANSWER, Learner
from naturelm_audio.train.manifest.examples import Example, from_mapping
from naturelm_audio.train.questions import Asker
from naturelm_audio.train.recipe import AugmentOptions, Recipe, read_recipes
from naturelm_audio.train.scene_trainer import loss_weights
from naturelm_audio.train.scenes import SceneCollator, SceneDraws
from naturelm_audio.train.schedule import make_optimiser, parameter_groups
from naturelm_audio.train.teacher import Yamnet
from naturelm_audio.train.tokenizer import train_tokenizer

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tiny.yml"
CLIPS_PER_KIND = 20
TARGET = 10


def rate(windows: int, work: Callable[[], Any], repeats: int) -> float:
    """Windows a second of CPU time, after one call to warm up."""
    work()
    started = time.process_time()
    for _ in range(repeats):
        work()
    return windows * repeats / (time.process_time() - started)


def scene_parts(recipe: Recipe) -> tuple[SceneDraws, SceneCollator, Learner]:
    options = recipe.scenes
    store = synthetic_clips(CLIPS_PER_KIND)
    sounds = sounds_of(store)
    labels = {sound.label: place for place, sound in enumerate(sounds)}
    texts = ["What is this sound?", "dog", "Which of these, if any, are present in the audio recording?"] * 50
    model = initial_model(recipe, lambda: train_tokenizer(texts, 2000))
    config = model.config
    samples = tuple(round(seconds * SAMPLE_RATE_HZ) for seconds in config.padded_lengths_seconds)
    draws = SceneDraws(
        SceneMaker(store), labels, Asker(sounds), None, options,
        lengths=samples, seed=1, batch_size=recipe.optimiser.batch_size, length=10**6,
    )  # fmt: skip
    heads = Heads(
        model.audio_tower.config.hidden_size, model.language_model.config.hidden_size, len(labels),
        teacher=False,
    )  # fmt: skip
    collator = SceneCollator(Collator(config, model.tokenizer, 200), len(labels), options.mask_probability)
    return draws, collator, Learner(model, heads)


def step_of(learner: Learner, recipe: Recipe, batch: dict[str, Any]) -> Callable[[], None]:
    """One update on a batch."""
    groups = parameter_groups(learner, recipe.optimiser, learner.model.language_model)
    optimiser = make_optimiser(groups, recipe.optimiser)
    weights = loss_weights(recipe.scenes)
    learner.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            losses = learner(**batch)
        total = sum(loss / 1000 if name == ANSWER else loss * weights[name] for name, loss in losses.items())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()

    return step


def rows_of_files(folder: Path, seconds: float = 5.0) -> list[Example]:
    """Rows of open detection, which are mixed, on OGG files of 30 s."""
    generator, found = np.random.default_rng(0), []
    for number in range(24):
        samples = 0.1 * generator.standard_normal(30 * SAMPLE_RATE_HZ)
        soundfile.write(folder / f"{number}.ogg", samples, SAMPLE_RATE_HZ)
        found.append(
            from_mapping(
                {
                    "path": f"{number}.ogg",
                    "prompt": "What are the common names for the species in the audio, if any?",
                    "text": f"bird {number % 8}",
                    "task": "common-simple-detection",
                }
            )
        )
    return found


def main(updates: int = 8) -> None:
    torch.set_num_threads(1)
    recipe = read_recipes(CONFIG)[1]
    size = recipe.optimiser.batch_size
    draws, collator, learner = scene_parts(recipe)
    numbers = iter(range(10**6))

    def scenes() -> list[Any]:
        return [draws[next(numbers) % (7 * size)] for _ in range(size)]  # the first seven updates are short

    batch = collator(scenes())
    data = rate(size, lambda: collator(scenes()), updates)
    step = rate(size, step_of(learner, recipe, batch), updates)
    print(f"scenes of 5 s, mixed, masked and asked: {data:8.1f} windows/s")
    with tempfile.TemporaryDirectory() as name:
        rows = rows_of_files(Path(name))
        augment = AugmentOptions(noise_probability=0.0, replace_probability=0.0)
        reader = Reader(name, 5 * SAMPLE_RATE_HZ)
        files = Draws(rows, reader, augment, seed=1, length=10**6)
        read = rate(24, lambda: [files[next(numbers)] for _ in range(24)], updates)
    print(f"rows of OGG files, cropped and mixed:   {read:8.1f} windows/s")
    print(f"training step of {CONFIG.name}:             {step:8.1f} windows/s")
    print(f"ratio: scenes {data / step:.1f}, rows {read / step:.1f} (asked: {TARGET})")
    teacher = Path(recipe.scenes.teacher or "")
    if teacher.is_file():
        hears, waveform = Yamnet(teacher), draws[0].waveform
        print(
            f"the teacher on a scene:                 {rate(1, lambda: hears(waveform), 20):8.1f} windows/s"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
