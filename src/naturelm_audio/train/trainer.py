"""The training loop: transformers' Trainer with our batches, optimiser, validation and checkpoints.

Every random number of an update depends on the seed, the update and the place of the micro-batch in it alone.
So a resumed run goes on exactly, and the number of processes changes nothing but the order of sums.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState

from naturelm_audio.errors import NatureLMError, OptionsError
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.sequence import IGNORED
from naturelm_audio.train import checkpoints, sharding
from naturelm_audio.train.arguments import training_arguments
from naturelm_audio.train.collate import Collator, model_inputs, take_unreadable
from naturelm_audio.train.draws import Draws, Unreadable
from naturelm_audio.train.initial import trained_names
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import Recipe
from naturelm_audio.train.schedule import discard_gradients, make_optimiser, make_schedule, parameter_groups
from naturelm_audio.train.validation import Validation, answer_losses
from naturelm_audio.train.yaml_options import closest

__all__ = ["LOG", "RunTrainer", "Stopping", "TrainingError", "keep_frozen_parts_still"]

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class TrainingError(NatureLMError):
    """A run that can't go on: no finite gradients, or too much audio that can't be read."""


class RunTrainer(Trainer):
    """One run in one folder.

    Args:
        recipe: everything it depends on.
        model: with its first weights, what is trained chosen; it has its ``tokenizer``.
        draws: samples to learn from, as many as the run makes.
        validation: what to judge it on; None for nothing.
        output_dir: folder of checkpoints and log.
    """

    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        recipe: Recipe,
        model: NatureLMForConditionalGeneration,
        draws: Draws,
        validation: Validation | None,
        output_dir: Path,
    ) -> None:
        self.recipe, self.draws, self.validation = recipe, draws, validation
        self.run_folder = output_dir
        self.trained = trained_names(model)
        state = model.state_dict()
        self.shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        self.tied = checkpoints.tied_names(state)
        self.best_figures: dict[str, float] = {}
        self.bad_updates, self.bad_in_a_row = 0, 0
        self.worse_in_a_row, self.ended_early = 0, False
        self.unreadable: dict[int, str] = {}
        self._micro_batch = 0
        had_cache = getattr(model.config, "use_cache", None)
        collator = Collator(model.config, model.tokenizer, recipe.data.max_answer_tokens)
        super().__init__(
            model=model,
            args=training_arguments(recipe, output_dir),
            data_collator=collator,
            train_dataset=draws,
            callbacks=[_Validating(recipe, validation is not None)],
        )
        self.plain = model
        self.sharded = recipe.run.distributed == "fsdp" and self.args.world_size > 1
        if self.sharded:
            sharding.shard(model, self.args.device)
            # The weights are shared out already: Accelerate is to add its precision but no wrapper.
            self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        if had_cache is None and hasattr(model.config, "use_cache"):
            del model.config.use_cache  # the Trainer's setting, which a saved model should not have
        self.remove_callback(PrinterCallback)
        if recipe.parts.gradient_checkpointing:
            _checkpoint_layers(model.language_model)

    # --- one update ---

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return the micro-batches of an update and the number of answer tokens in all of them."""
        self._micro_batch = 0
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        for batch in batches:
            self._note(take_unreadable(batch))
        tokens = torch.stack([(batch["labels"] != IGNORED).sum() for batch in batches]).sum()
        return batches, self.accelerator.gather(tokens.to(device)).sum()

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Return the loss of a micro-batch after its backward pass, with random numbers of its own."""
        world, rank = self.args.world_size, self.args.process_index
        # Sharded layers are gathered by all processes at once, so all have to drop the same ones.
        together = self.sharded and self.plain.config.audio_config.encoder_layerdrop > 0
        place = self._micro_batch * world + (0 if together else rank)
        torch.manual_seed(digest(self.recipe.seed, "update", self.state.global_step, place) % 2**63)
        self._micro_batch += 1
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the micro-batch's share of the mean cross-entropy over the update's answer tokens."""
        keep_frozen_parts_still(self.plain)
        outputs = model(**model_inputs(inputs), use_cache=False)
        sums, tokens, _ = answer_losses(outputs.logits, inputs["labels"])
        total = tokens.sum() * self.args.world_size if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes, where their sum is wanted.
        loss = sums.sum() * self.args.world_size / total
        return (loss, outputs) if return_outputs else loss

    @property
    def loss_is_scaled_for_ga(self) -> bool:
        """Whether the loss is already divided for the whole update: always."""
        return True

    @loss_is_scaled_for_ga.setter
    def loss_is_scaled_for_ga(self, value: Any) -> None:
        pass

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Return the norm of the gradient before clipping; without a finite one the update is left out."""
        norm = super()._clip_grad_norm(model)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if math.isfinite(float(norm)):
            self.bad_in_a_row = 0
            if self.recipe.optimiser.clip_value is not None:
                nn.utils.clip_grad_value_(model.parameters(), self.recipe.optimiser.clip_value)
            return norm
        discard_gradients(model.parameters())
        self.bad_updates, self.bad_in_a_row = self.bad_updates + 1, self.bad_in_a_row + 1
        logger.warning("update %d left out: its gradient is not finite", self.state.global_step + 1)
        if self.bad_in_a_row >= self.recipe.optimiser.stop_after_bad_updates:
            raise TrainingError(
                f"{self.bad_in_a_row} updates in a row had no finite gradient: lower the learning rate, "
                f"or look at the data of update {self.state.global_step + 1}"
            )
        return norm

    def _note(self, found: list[Unreadable]) -> None:
        """Remember rows that couldn't be read; too many of them end the run."""
        for one in found:
            if one.row not in self.unreadable:
                logger.warning("row %d is left out: %s", one.row, one.reason)
                self.unreadable[one.row] = one.reason
        rows, share = len(self.draws.examples), self.recipe.data.max_unreadable_share
        if len(self.unreadable) > share * rows:
            listed = "; ".join(list(self.unreadable.values())[:5])
            raise TrainingError(
                f"{len(self.unreadable)} of {rows} rows can't be read, more than data.max_unreadable_share "
                f"{share:g} allows: {listed}"
            )

    # --- optimiser ---

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimiser over what is trained."""
        if self.optimizer is None:
            groups = parameter_groups(model or self.model, self.recipe.optimiser.weight_decay)
            self.optimizer = make_optimiser(groups, self.recipe.optimiser)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of the recipe."""
        if self.lr_scheduler is None:
            # Under the wrapper of Accelerate is the optimiser whose groups have the learning rates.
            chosen = optimizer or self.optimizer
            self.lr_scheduler = make_schedule(getattr(chosen, "optimizer", chosen), self.recipe.optimiser)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # --- validation and log ---

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Return all figures of the validation, their names after ``eval_``."""
        if self.validation is None:
            return {}
        figures = self.validation.figures(
            self.model_wrapped,
            self.plain,
            rank=self.args.process_index,
            world=self.args.world_size,
            batch_size=self.recipe.optimiser.rows_at_once,
            answers=not self.sharded,  # the pieces that generating calls have gathered no weights
            autocast=self.accelerator.autocast,
        )
        named = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(dict(named))
        return named

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Return whether these are the best figures so far; a checkpoint of them follows."""
        best = self.recipe.validation.best
        value = metrics.get(f"eval_{best}")
        if value is None:
            names = [name.removeprefix("eval_") for name in metrics]
            raise OptionsError(f"validation.best: there is no figure {best!r}{closest(best, names)}")
        lower = best.rpartition("/")[2] == "loss"
        old = self.state.best_metric
        if old is not None and (value >= old if lower else value <= old):
            self._count_worse()
            return False
        self.worse_in_a_row = 0
        self.state.best_metric, self.state.best_global_step = value, self.state.global_step
        self.best_figures = {name.removeprefix("eval_"): figure for name, figure in metrics.items()}
        self.control.should_save = True
        return True

    def _count_worse(self) -> None:
        """Count a validation that was not the best, and end the run if that is too often in a row."""
        self.worse_in_a_row += 1
        if self.worse_in_a_row == self.recipe.validation.patience:
            logger.info("no better validation in %d: the run ends here", self.worse_in_a_row)
            self.ended_early = self.control.should_training_stop = self.control.should_save = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Append a row to the run's log, and hand it to other loggers."""
        if self.bad_updates:
            logs["bad_updates"] = self.bad_updates
        if self.unreadable:
            logs["unreadable_rows"] = len(self.unreadable)
        logs.pop("total_flos", None)
        logs["passes"] = self.state.global_step * self.recipe.optimiser.batch_size / len(self.draws.examples)
        super().log(logs, start_time)
        self.state.log_history.clear()  # the file has it; a checkpoint of a long run would be mostly this
        if self.is_world_process_zero():
            row = {"step": self.state.global_step, **logs}
            row.pop("epoch", None)
            with (self.run_folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            logger.info("%s", row)

    # --- checkpoints ---

    def full_state(self) -> dict[str, Tensor]:
        """Return all weights by name; sharded ones come to the first process, but all have to ask."""
        if self.sharded:
            return sharding.full_weights(self.plain)
        return self.plain.state_dict()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint beside the others, let it appear as a whole, and remove what is too old."""
        step = self.state.global_step
        temporary = checkpoints.temporary_folder(self.run_folder, step)
        folder = checkpoints.checkpoint_folder(self.run_folder, step)
        weights, memory = self.full_state(), self._optimiser_state()
        if self.is_world_process_zero():
            shutil.rmtree(temporary, ignore_errors=True)
            with checkpoints.clear_save_errors(temporary):
                if self.recipe.run.checkpoint_weights == "all":
                    checkpoints.write_model(self.plain, weights, temporary)
                else:
                    checkpoints.write_trained(weights, self.trained, temporary)
                checkpoints.write_optimiser(memory, temporary)
                self.state.save_to_json(str(temporary / "trainer_state.json"))
                checkpoints.write_progress(self._progress(), temporary)
            checkpoints.publish(temporary, folder)
            checkpoints.prune(self.run_folder, self.recipe.run.keep_last, self.state.best_global_step)
        self.accelerator.wait_for_everyone()

    def _optimiser_state(self) -> dict[str, Any]:
        optimiser = getattr(self.optimizer, "optimizer", self.optimizer)
        if self.sharded:
            return sharding.full_optimiser(self.plain, optimiser)
        state: dict[str, Any] = optimiser.state_dict()
        return state

    def _progress(self) -> dict[str, Any]:
        return {
            "step": self.state.global_step,
            "bad_updates": self.bad_updates,
            "bad_in_a_row": self.bad_in_a_row,
            "unreadable": self.unreadable,
            "best_figures": self.best_figures,
            "worse_in_a_row": self.worse_in_a_row,
            "ended_early": self.ended_early,
            "schedule": self.lr_scheduler.state_dict(),
            "recipe": asdict(self.recipe),
        }

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Take up the weights of a checkpoint."""
        state = checkpoints.read_weights(Path(resume_from_checkpoint), self.shapes, self.tied)
        if self.sharded:
            sharding.load_weights(self.plain, state)
        else:
            self.plain.load_state_dict(state, strict=False)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Take up the optimiser's memory, the schedule and the counts of a checkpoint."""
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        optimiser = getattr(self.optimizer, "optimizer", self.optimizer)
        memory = checkpoints.read_optimiser(folder)
        if self.sharded:
            sharding.load_optimiser(self.plain, optimiser, memory)
        else:
            optimiser.load_state_dict(memory)
        self.lr_scheduler.load_state_dict(self._take_counts(folder)["schedule"])

    def take_up(self, checkpoint: Path) -> None:
        """Take up the weights and counts of a finished run's last checkpoint."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self._take_counts(checkpoint)

    def best_checkpoint(self) -> Path | None:
        """Return the checkpoint that validation found best; None without validation."""
        step = self.state.best_global_step
        return checkpoints.checkpoint_folder(self.run_folder, step) if step else None

    def _take_counts(self, folder: Path) -> dict[str, Any]:
        progress = checkpoints.read_progress(folder)
        self.bad_updates, self.bad_in_a_row = progress["bad_updates"], progress["bad_in_a_row"]
        self.best_figures = progress["best_figures"]
        self.worse_in_a_row, self.ended_early = progress["worse_in_a_row"], progress["ended_early"]
        self.unreadable = {int(row): reason for row, reason in progress["unreadable"].items()}
        return progress

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Do nothing: no random number depends on what was drawn before."""


class _Validating(TrainerCallback):
    """Asks for validation every so many updates, and at the end."""

    def __init__(self, recipe: Recipe, wanted: bool) -> None:
        self.every, self.wanted = recipe.validation.every, wanted

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for it."""
        due = state.global_step % self.every == 0 or state.global_step >= state.max_steps
        control.should_evaluate = self.wanted and due

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what the last update asked for: it is done, and the Trainer looks again here."""
        control.should_evaluate = control.should_save = False


class Stopping(TrainerCallback):
    """Stops a run after so many more updates, with a checkpoint."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count, and stop."""
        self.left -= 1
        if self.left <= 0:
            control.should_training_stop = control.should_save = True


def keep_frozen_parts_still(model: NatureLMForConditionalGeneration) -> None:
    """Put parts that don't learn into evaluation mode: no dropout, no dropped layers, no batch statistics."""
    for part in (model.audio_tower, model.bridge, model.language_model):
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def _checkpoint_layers(language_model: Any) -> None:
    """Compute the layers again in the backward pass instead of keeping what they computed."""
    settings = {"use_reentrant": False}
    if hasattr(language_model, "activation_checkpointing_enable"):
        language_model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:  # transformers before 5.23
        language_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
