"""Does the data keep up with the training step? Processor time of a window in both, and their ratio.

    python benchmarks/training_data.py [ROUNDS]

A line for each case, on one thread. Scenes: what `configs/tiny.yml` mixes, masks and asks, in its first stage
(no questions) and in its second. Rows: clips of files, cropped at random and mixed, as any recipe with
annotation files reads them. Step: forward, backward and update of the bundled model's sizes on a batch that
is there already. Data and steps take turns, so that other work on the machine slows down both. The teacher's
answer to a scene is told apart, as it stands in for labels and belongs to the work of learning. Sounds are
synthetic.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor, nn

from naturelm_audio.train.build import sounds_of, synthetic_clips
from naturelm_audio.train.collate import Collator, model_inputs
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
from naturelm_audio.train.synthetic import synthesise
from naturelm_audio.train.teacher import Yamnet
from naturelm_audio.train.tokenizer import train_tokenizer
from naturelm_audio.train.validation import answer_losses

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tiny.yml"
CLIPS_PER_KIND = 20
TARGET = 10


def seconds_of(works: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Processor seconds of one call of each, which take turns, after one to warm up."""
    spent = [0.0] * len(works)
    for turn in range(rounds + 1):
        for place, work in enumerate(works):
            started = time.process_time()
            work()
            spent[place] += time.process_time() - started if turn else 0.0
    return [one / rounds for one in spent]


def tell(case: str, windows: int, data: Callable[[], Any], step: Callable[[], Any], rounds: int) -> None:
    """Print one line about a case."""
    mine, theirs = (1000 * one / windows for one in seconds_of((data, step), rounds))
    print(
        f"{case:28} data {mine:5.2f} ms, step {theirs:6.1f} ms a window: {theirs / mine:5.1f} times as quick "
        f"(asked: {TARGET})",
        flush=True,
    )


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


def update_of(
    module: nn.Module, model: Any, recipe: Recipe, loss: Callable[[], Tensor]
) -> Callable[[], None]:
    """One update of what learns."""
    optimiser = make_optimiser(
        parameter_groups(module, recipe.optimiser, model.language_model), recipe.optimiser
    )
    module.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            total = loss()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()

    return step


def scenes_case(recipe: Recipe, rounds: int) -> SceneDraws:
    draws, collator, learner = scene_parts(recipe)
    size, weights, numbers = recipe.optimiser.batch_size, loss_weights(recipe.scenes), iter(range(10**6))

    def data() -> dict[str, Any]:
        # The first seven updates of eight are short.
        return collator([draws[next(numbers) % (7 * size)] for _ in range(size)])

    batch = data()

    def loss() -> Tensor:
        losses = learner(**batch)
        return sum(one / 1000 if name == ANSWER else one * weights[name] for name, one in losses.items())

    step = update_of(learner, learner.model, recipe, loss)
    tell(f"scenes of 5 s, {recipe.name}", size, data, step, rounds)
    return draws


def rows_case(recipe: Recipe, folder: Path, rounds: int) -> None:
    _, _, learner = scene_parts(recipe)
    model, size, numbers = learner.model, recipe.optimiser.batch_size, iter(range(10**6))
    rows = rows_of_files(folder)
    augment = AugmentOptions(noise_probability=0.0, replace_probability=0.0)
    draws = Draws(rows, Reader(folder, 5 * SAMPLE_RATE_HZ), augment, seed=1, length=10**6)
    collator = Collator(model.config, model.tokenizer, 200)

    def data() -> dict[str, Any]:
        return collator([draws[next(numbers)] for _ in range(size)])

    batch = data()
    inputs = model_inputs(batch)

    def loss() -> Tensor:
        return answer_losses(model(**inputs, use_cache=False).logits, batch["labels"])[0].sum()

    tell("rows of OGG files of 30 s", size, data, update_of(model, model, recipe, loss), rounds)


def rows_of_files(folder: Path) -> list[Example]:
    """Rows of open detection, which are mixed, on OGG files of 30 s."""
    found = []
    for number, kind in enumerate(("bird", "cricket", "frog", "bird-trill") * 6):
        samples = synthesise(kind, seed=number, seconds=30.0, sample_rate_hz=SAMPLE_RATE_HZ)
        soundfile.write(folder / f"{number}.ogg", samples, SAMPLE_RATE_HZ)
        row = {
            "path": f"{number}.ogg",
            "prompt": "What are the common names for the species in the audio, if any?",
            "text": f"{kind} {number % 2}",
            "task": "common-simple-detection",
        }
        found.append(from_mapping(row))
    return found


def main(rounds: int = 4) -> None:
    torch.set_num_threads(1)
    stages = read_recipes(CONFIG)
    for recipe in stages[:2]:
        draws = scenes_case(recipe, rounds)
    with tempfile.TemporaryDirectory() as name:
        rows_case(stages[1], Path(name), rounds)
    teacher = Path(stages[1].scenes.teacher or "")
    if teacher.is_file():
        hears, waveform = Yamnet(teacher), draws[0].waveform
        (seconds,) = seconds_of([lambda: hears(waveform)], 20)
        print(f"{'the teacher on a scene':28} {1000 * seconds:5.1f} ms a window")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
