"""One training run from a recipe to a finished model in its folder; begun again, it goes on where it stopped.

The folder holds ``run.json`` (what the run depends on and what it counted), ``log.jsonl`` (losses, figures),
``checkpoint-N`` folders, and at the end ``model``: the best weights, for ``naturelm infer --model``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

from naturelm_audio import __version__, prompts
from naturelm_audio.errors import MissingExtraError, OptionsError, OutputError
from naturelm_audio.files import write_atomically
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.train import checkpoints
from naturelm_audio.train.arguments import training_arguments
from naturelm_audio.train.callbacks import Stopping
from naturelm_audio.train.draws import Draws, Reader, clip_samples
from naturelm_audio.train.initial import initial_model
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import InitOptions, OptimiserOptions, Recipe, RunOptions
from naturelm_audio.train.rows import file_hash, judged_rows, rows_of
from naturelm_audio.train.scene_options import ScenesOptions
from naturelm_audio.train.scene_runs import scene_trainer
from naturelm_audio.train.stream_trainer import StreamTrainer
from naturelm_audio.train.streamed import StreamedDraws, row_filter, stream_opener
from naturelm_audio.train.tokenizer import train_tokenizer
from naturelm_audio.train.trainer import LOG, RunTrainer
from naturelm_audio.train.validation import judge_of
from naturelm_audio.train.yaml_options import differences, flattened

__all__ = ["Finished", "prepare", "train", "train_stages"]

logger = logging.getLogger(__name__)

RECORD = "run.json"
MODEL = "model"
# What may differ when a run goes on: how it is written down and worked on, not what it learns.
FREE_KEYS = ("data.workers", "data.audio_root", "data.max_unreadable_share", "data.test", "name")
FREE_SECTION = "run."
_DEFAULTS = Recipe(optimiser=OptimiserOptions(steps=1), scenes=ScenesOptions(manifest=""))


@dataclass(frozen=True)
class Finished:
    """A finished run: the folders of its model and of its last checkpoint, figures of the best weights on the
    rows that chose them and on those that chose nothing, and what couldn't be read.
    """

    model: Path
    last: Path
    figures: dict[str, float]
    unreadable: dict[int, str]
    bad_updates: int
    tested: dict[str, float] = field(default_factory=dict)


def train(recipe: Recipe, output_dir: str | Path, *, stop_after: int | None = None) -> Finished | None:
    """Train to the end, going on from the newest checkpoint if there is one; None if it stopped before.

    Args:
        recipe: everything the run depends on.
        output_dir: folder of the run.
        stop_after: updates after which to stop with a checkpoint, as a kill there would.

    Raises:
        OptionsError: the recipe is wrong, or not that of the run which is in the folder.
        CheckpointError: first weights are missing or of another architecture.
        ManifestError: faulty rows.
        TrainingError: no finite gradients, or too much audio that can't be read.
        OutputError: the disk is full; the last checkpoint is whole.
    """
    folder = Path(output_dir)
    known = _finished_before(recipe, folder)
    if known is not None:
        return known
    trainer = prepare(recipe, folder)
    if stop_after is not None:
        trainer.add_callback(Stopping(stop_after))
    last = checkpoints.last_checkpoint(folder)
    if last is not None:
        logger.info("going on from %s", last)
        progress = checkpoints.read_progress(last)
        _cut_log(folder, progress["step"], first=trainer.is_world_process_zero())
    if last is not None and (progress["step"] >= recipe.optimiser.steps or progress["ended_early"]):
        trainer.take_up(last)
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    ended = trainer.counts.ended_early or trainer.state.global_step >= recipe.optimiser.steps
    return _finish(trainer, folder) if ended else None


def _finished_before(recipe: Recipe, folder: Path) -> Finished | None:
    """Return what a run that came to its end ended with, without building it again; None if it didn't."""
    last = checkpoints.last_checkpoint(folder)
    if last is None or not (folder / RECORD).is_file() or not (folder / MODEL).is_dir():
        return None
    record = _read_record(folder)
    if "best_step" not in record:
        return None
    _check_same_run(recipe, folder)
    unreadable = {int(row): reason for row, reason in record["unreadable"].items()}
    counted = record["figures"], unreadable, record["bad_updates"], record.get("test_figures", {})
    return Finished(folder / MODEL, last, *counted)


def train_stages(recipes: Sequence[Recipe], output_dir: str | Path) -> Finished | None:
    """Train stages, each from the weights of the one before; several get folders ``stage1`` and so on.

    Raises:
        See :func:`train`.
    """
    folder, ended = Path(output_dir), list[Finished]()
    for place, recipe in enumerate(recipes, start=1):
        stage = folder / f"stage{place}" if len(recipes) > 1 else folder
        if ended or recipe.init.mean_of_stages:
            recipe = dataclasses.replace(recipe, init=_goes_on(recipe, recipes, ended, stage))
        finished = train(recipe, stage)
        if finished is None:
            return None
        ended.append(finished)
    return ended[-1] if ended else None


def _goes_on(
    recipe: Recipe, recipes: Sequence[Recipe], ended: Sequence[Finished], stage: Path
) -> InitOptions:
    """Return where a later stage starts: from the weights of the one before, or from a mean of several."""
    wanted = recipe.init.mean_of_stages
    if wanted and max(wanted) > len(ended):
        raise OptionsError(
            f"init.mean_of_stages: stage {max(wanted)} is not before this one, number {len(ended) + 1}"
        )
    if wanted:
        mean = stage.with_name(f"{stage.name}-init")
        if not mean.is_dir():
            checkpoints.write_mean([ended[place - 1].last for place in wanted], mean)
        return InitOptions(model=str(mean))
    # The mean of the weights is for judging; what goes on learning are the weights themselves.
    before, last = recipes[len(ended) - 1], ended[-1]
    goes_on = before.optimiser.average_decay > 0 and before.run.checkpoint_weights == "all"
    return InitOptions(model=str(last.last if goes_on else last.model))


def prepare(recipe: Recipe, folder: Path) -> RunTrainer:
    """Return the trainer of a run, its folder checked or begun.

    Raises:
        See :func:`train`.
    """
    _require_loggers(recipe.run)
    if recipe.optimiser.average_decay and recipe.run.distributed == "fsdp":
        raise OptionsError("optimiser.average_decay: shared-out weights (run.distributed fsdp) have no mean")
    if recipe.optimiser.warmup_steps >= recipe.optimiser.steps:
        logger.warning(
            "optimiser.warmup_steps %d is not below its steps %d: the full learning rate is never reached",
            recipe.optimiser.warmup_steps,
            recipe.optimiser.steps,
        )
    _check_same_run(recipe, folder)
    build = scene_trainer if recipe.scenes else _stream_trainer if recipe.data.stream else _row_trainer
    trainer, learned_from = build(recipe, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if trainer.is_world_process_zero() and not (folder / RECORD).is_file():
        _write_record(folder, _begun(recipe, trainer.plain, learned_from))
    trainer.accelerator.wait_for_everyone()
    return trainer


def _row_trainer(recipe: Recipe, folder: Path) -> tuple[RunTrainer, dict[str, Any]]:
    """Return the trainer of a run on rows of annotation files, and what goes into its record."""
    rows = rows_of(recipe.data)
    model = initial_model(recipe, lambda: train_tokenizer(_texts(rows.train), recipe.init.vocabulary))
    reader = Reader(rows.audio_root, clip_samples(model.config, recipe.data.clip_seconds), rows.stored)
    draws = Draws(
        rows.train,
        reader,
        recipe.augment,
        seed=recipe.seed,
        length=recipe.optimiser.steps * recipe.optimiser.batch_size,
    )
    trainer = RunTrainer(recipe, model, draws, judge_of(recipe, model, rows.valid, reader), folder)
    trainer.tested = judge_of(recipe, model, rows.test, reader)
    files = [*recipe.data.train, *recipe.data.valid, *recipe.data.test]
    return trainer, {"files": files, "rows": rows.as_json()}


def _stream_trainer(recipe: Recipe, folder: Path) -> tuple[RunTrainer, dict[str, Any]]:
    """Return the trainer of a run on a stream of rows, and what goes into its record."""
    model = initial_model(recipe)
    arguments = training_arguments(recipe, folder)  # knows the processes
    judged = judged_rows(recipe.data) if recipe.data.valid or recipe.data.test else None
    samples = clip_samples(model.config, recipe.data.clip_seconds)
    reader = Reader(judged.audio_root if judged else ".", samples, judged.stored if judged else None)
    rank, world = arguments.process_index, arguments.world_size
    draws = StreamedDraws(
        stream_opener(recipe.data, seed=recipe.seed, rank=rank, world=world),
        row_filter(recipe.data),
        reader,
        recipe.augment,
        seed=digest(recipe.seed, "process", rank),
        batch_rows=arguments.per_device_train_batch_size,
    )
    validation, tested = (
        judge_of(recipe, model, rows, reader)
        for rows in ((judged.valid, judged.test) if judged else ((), ()))
    )
    trainer = StreamTrainer(recipe, model, draws, validation, folder)
    trainer.tested = tested
    files = [*recipe.data.train, *recipe.data.valid, *recipe.data.test]
    return trainer, {"files": [path for path in files if Path(path).exists()], "rows": {}}


def _texts(rows: Sequence[Example]) -> Iterator[str]:
    for row in rows:
        yield prompts.build(row.prompt, clips=row.clips)
        yield row.text


# --- the record ---


def _begun(
    recipe: Recipe, model: NatureLMForConditionalGeneration, learned_from: Mapping[str, Any]
) -> dict[str, Any]:
    learning = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    return {
        "recipe": dataclasses.asdict(recipe),
        "files": {str(path): file_hash(path) for path in learned_from["files"]},
        "rows": learned_from["rows"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(learning),
        "versions": {
            "naturelm_audio": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "accelerate": accelerate.__version__,
            "python": platform.python_version(),
        },
    }


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_atomically(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: not the record of a training run: {error}") from None
    return record


def _check_same_run(recipe: Recipe, folder: Path) -> None:
    """Check that a run which is already in the folder is this one.

    Raises:
        OptionsError: naming what differs.
        OutputError: the folder holds something else.
    """
    if not (folder / RECORD).is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder}: holds something that is no training run; name a new folder")
        return
    record = _read_record(folder)
    now = json.loads(json.dumps(dataclasses.asdict(recipe)))
    known, usual = flattened(record["recipe"]), flattened(_DEFAULTS)
    changed = {
        key: values
        for key, values in differences(record["recipe"], now).items()
        if key not in FREE_KEYS
        and not key.startswith(FREE_SECTION)
        and not (key not in known and values[1] == usual.get(key))  # a key younger than the run
        and not (key == "init.model" and _same_stage(*values, folder))
    }
    if changed:
        listed = "; ".join(f"{key} was {old!r}, now {new!r}" for key, (old, new) in list(changed.items())[:5])
        raise OptionsError(f"{folder}: holds a run of another recipe: {listed}; name another folder")
    for path, known in record["files"].items():
        if file_hash(path) != known:
            raise OptionsError(f"{folder}: {path} has changed since this run began; name another folder")


def _same_stage(old: object, new: object, folder: Path) -> bool:
    """Return whether two paths are of one stage of this run, which was moved or is named in another way."""
    if not isinstance(old, str) or not isinstance(new, str):
        return False
    inside = os.path.relpath(new, folder.parent)
    return not inside.startswith("..") and Path(old).parts[-len(Path(inside).parts) :] == Path(inside).parts


def _require_loggers(options: RunOptions) -> None:
    from importlib.util import find_spec

    for name in options.report_to:
        if find_spec(name) is None:
            raise MissingExtraError("train", f"run.report_to {name}")


def _cut_log(folder: Path, step: int, *, first: bool) -> None:
    """Remove what was logged after the checkpoint: it is about to happen again."""
    path = folder / LOG
    if not first or not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    write_atomically(path, "".join(f"{line}\n" for line in kept))


# --- the end ---


def _finish(trainer: RunTrainer, folder: Path) -> Finished:
    """Write the best weights as a model, and what the run counted."""
    state, counts = trainer.full_state(), trainer.counts
    if trainer.is_world_process_zero():
        temporary = folder / f".{MODEL}.tmp"
        with checkpoints.clear_save_errors(temporary):
            checkpoints.write_finished(
                trainer.plain, trainer.best_state(state), temporary, trainer.recipe.run.model_precision
            )
        checkpoints.publish(temporary, folder / MODEL)
    trainer.accelerator.wait_for_everyone()
    tested, left_out = trainer.test(folder / MODEL), trainer.left_out()
    if trainer.is_world_process_zero():
        judges = [judge for judge in (trainer.validation, trainer.tested) if judge is not None]
        judged = [one.reason for judge in judges for one in judge.unreadable]
        record = _read_record(folder)
        record["rows"] |= {"left_out": left_out} if left_out else {}
        record |= {
            "best_step": trainer.state.best_global_step or trainer.state.global_step,
            "figures": counts.best_figures,
            "test_figures": tested,
            "bad_updates": counts.bad_updates,
            "unreadable": counts.unreadable,
            "unreadable_validation": judged,
        }
        with checkpoints.clear_write_errors(folder / RECORD):
            _write_record(folder, record)
        _tell_unreadable([*counts.unreadable.values(), *judged])
    trainer.accelerator.wait_for_everyone()
    last = checkpoints.checkpoint_folder(folder, trainer.state.global_step)
    return Finished(folder / MODEL, last, counts.best_figures, counts.unreadable, counts.bad_updates, tested)


def _tell_unreadable(reasons: Sequence[str]) -> None:
    if reasons:
        listed = "".join(f"\n  {reason}" for reason in sorted(set(reasons)))
        logger.warning("%d rows were left out because their audio can't be read:%s", len(reasons), listed)
