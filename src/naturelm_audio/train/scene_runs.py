"""A recipe with scenes -> the trainer of its run: clips, tokenizer, model, heads, teacher and questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.train import checkpoints
from naturelm_audio.train.build import scene_tokenizer, sounds_of, training_clips
from naturelm_audio.train.collate import Collator
from naturelm_audio.train.data import SAMPLE_RATE_HZ, ClipStore, SceneMaker
from naturelm_audio.train.draws import Reader, clip_samples
from naturelm_audio.train.heads import Heads
from naturelm_audio.train.initial import initial_model
from naturelm_audio.train.learner import Learner
from naturelm_audio.train.questions import Asker, Sound
from naturelm_audio.train.recipe import Recipe
from naturelm_audio.train.rows import judged_rows
from naturelm_audio.train.scene_options import ScenesOptions
from naturelm_audio.train.scene_trainer import SceneTrainer
from naturelm_audio.train.scene_validation import SceneValidation
from naturelm_audio.train.scenes import SceneCollator, SceneDraws
from naturelm_audio.train.teacher import Yamnet
from naturelm_audio.train.validation import Judge, Judges, Validation, judge_of

__all__ = ["scene_trainer"]


def scene_trainer(recipe: Recipe, folder: Path) -> tuple[SceneTrainer, dict[str, Any]]:
    """Return the trainer of a recipe with scenes, and what goes into the run's record.

    Raises:
        AudioError: too many clips can't be read.
        CheckpointError: first weights don't fit.
        MissingExtraError: the teacher's runtime is not installed.
        NatureLMError: the manifest or the teacher's file is missing or wrong.
        OptionsError: the recipe asks for what scenes can't have.
    """
    options = _checked(recipe)
    share = recipe.data.max_unreadable_share
    store = training_clips(options, max_unreadable_share=share)
    if not len(store):
        raise OptionsError(f"{options.manifest}: no clip of the split train is left to learn from")
    sounds = sounds_of(store)
    labels = {sound.label: place for place, sound in enumerate(sounds)}
    model = initial_model(recipe, lambda: scene_tokenizer(store, recipe.init.vocabulary))
    learner = _learner(recipe, options, model, len(labels))
    collator = Collator(model.config, model.tokenizer, recipe.data.max_answer_tokens)
    judged = training_clips(options, "validation", max_unreadable_share=share)
    validation, tested = _judges(recipe, model)
    curve = SceneValidation(judged, learner, labels, asks=options.questions > 0)
    judges: list[Judge] = [judge for judge in (curve, validation) if judge]
    trainer = SceneTrainer(
        recipe,
        learner,
        _draws(recipe, options, store, sounds, labels, model),
        SceneCollator(collator, len(labels), options.mask_probability),
        Judges(judges) if judges else None,
        folder,
        options=options,
    )
    trainer.tested = tested
    trainer.counts.unreadable |= store.unreadable
    teacher = [options.teacher] if options.teacher else []
    files = [options.manifest, *teacher, *recipe.data.valid, *recipe.data.test]
    counts = {"clips": len(store), "labels": len(labels), "validation_clips": len(judged)}
    return trainer, {"files": files, "rows": counts}


def _judges(
    recipe: Recipe, model: NatureLMForConditionalGeneration
) -> tuple[Validation | None, Validation | None]:
    """Return what the run and the finished model are judged by beside the curve: rows of annotation files."""
    if not (recipe.data.valid or recipe.data.test):
        return None, None
    rows = judged_rows(recipe.data)
    reader = Reader(rows.audio_root, clip_samples(model.config, recipe.data.clip_seconds), rows.stored)
    return judge_of(recipe, model, rows.valid, reader), judge_of(recipe, model, rows.test, reader)


def _checked(recipe: Recipe) -> ScenesOptions:
    options = recipe.scenes
    if options is None:
        raise OptionsError("scenes: name a manifest")
    if recipe.data.train:
        raise OptionsError("data.train and scenes.manifest: learn from rows or from scenes, not from both")
    if recipe.run.distributed == "fsdp":
        raise OptionsError("run.distributed fsdp: scenes are learned from with ddp alone")
    if options.questions and not (recipe.parts.language_model or recipe.parts.lora_rank):
        raise OptionsError("scenes.questions: nothing learns from them; set parts.language_model to true")
    if options.long_every and recipe.optimiser.rows_at_once % 2:
        raise OptionsError("optimiser.rows_at_once must be even, as long scenes take the place of two")
    return options


def _learner(
    recipe: Recipe, options: ScenesOptions, model: NatureLMForConditionalGeneration, labels: int
) -> Learner:
    """Return the model with new heads, or with those that the stage before ended with."""
    heads = Heads(
        model.audio_tower.config.hidden_size,
        model.language_model.config.hidden_size,
        labels,
        teacher=options.teacher is not None,
    )
    if recipe.init.model is not None:
        checkpoints.load_heads(heads, Path(recipe.init.model))
    return Learner(model, heads)


def _draws(
    recipe: Recipe,
    options: ScenesOptions,
    store: ClipStore,
    sounds: list[Sound],
    labels: dict[str, int],
    model: NatureLMForConditionalGeneration,
) -> SceneDraws:
    seconds = model.config.padded_lengths_seconds
    return SceneDraws(
        SceneMaker(store, options.source_weights),
        labels,
        Asker(sounds),
        Yamnet(options.teacher) if options.teacher else None,
        options,
        lengths=(round(seconds[0] * SAMPLE_RATE_HZ), round(seconds[-1] * SAMPLE_RATE_HZ)),
        seed=recipe.seed,
        batch_size=recipe.optimiser.batch_size,
        length=recipe.optimiser.steps * recipe.optimiser.batch_size,
    )
