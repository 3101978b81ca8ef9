"""The training loop: transformers' Trainer with our batches, optimiser, validation and checkpoints.

Every random number of an update depends on the seed, the update and the place of the micro-batch in it alone.
So a resumed run goes on exactly, and the number of processes changes nothing but the order of sums.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import PrinterCallback

from naturelm_audio.errors import AudioError
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.sequence import IGNORED
from naturelm_audio.train import checkpoints, sharding
from naturelm_audio.train.arguments import training_arguments
from naturelm_audio.train.averaging import AverageWeights
from naturelm_audio.train.callbacks import Clock, Validating
from naturelm_audio.train.collate import Collator, model_inputs, take_unreadable
from naturelm_audio.train.draws import TrainingError, Unreadable, refuse_too_many
from naturelm_audio.train.initial import trained_names
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import Recipe
from naturelm_audio.train.resuming import Counts, ResumableTrainer
from naturelm_audio.train.schedule import discard_gradients, make_optimiser, make_schedule, parameter_groups
from naturelm_audio.train.validation import Judge, answer_losses, require_figure

__all__ = [
    "LOG",
    "RunTrainer",
    "TrainingError",
    "checkpoint_layers",
    "in_words",
    "keep_frozen_parts_still",
]

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
LAST = "last"
FEWEST_STREAMED = 1000
"""Of a stream, whose length isn't known, the share that can't be read is that of at least so many rows."""


class RowSource(Protocol):
    """Samples to learn from; ``rows`` is how many different rows there are, 0 if that isn't known."""

    rows: int


class RunTrainer(ResumableTrainer):
    """One run in one folder.

    Args:
        recipe: everything it depends on.
        model: with its first weights, what is trained chosen; it has its ``tokenizer``.
        draws: samples to learn from, as many as the run makes.
        validation: what to judge it on; None for nothing.
        output_dir: folder of checkpoints and log.
        collator: makes batches; by default of questions about clips.
        learner: what is called with a batch, the model inside; by default the model.
        heads: layers of the learner that are no part of the model.

    Attributes:
        tested: what the finished model is judged by; None for nothing.
    """

    tested: Judge | None = None

    def __init__(
        self,
        recipe: Recipe,
        model: NatureLMForConditionalGeneration,
        draws: RowSource,
        validation: Judge | None,
        output_dir: Path,
        *,
        collator: Any = None,
        learner: nn.Module | None = None,
        heads: nn.Module | None = None,
    ) -> None:
        if validation is not None and recipe.validation.best != LAST:
            require_figure(recipe.validation.best, validation.names())
        self.recipe, self.draws, self.validation = recipe, draws, validation
        self.run_folder = output_dir
        self.trained = trained_names(model)
        state = model.state_dict()
        self.shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        self.tied = checkpoints.tied_names(state)
        self.counts = Counts()
        self._micro_batch = 0
        self._failed: list[Unreadable] = []
        had_cache = getattr(model.config, "use_cache", None)
        rows: Any = draws
        super().__init__(
            model=learner or model,
            args=training_arguments(recipe, output_dir),
            data_collator=collator or Collator(model.config, model.tokenizer, recipe.data.max_answer_tokens),
            train_dataset=rows,
        )
        self.clock = Clock(recipe.optimiser.minutes, self._mean, self._end)
        self.heads = heads
        self.plain = model
        self.sharded = recipe.run.distributed == "fsdp" and self.args.world_size > 1
        if self.sharded:
            sharding.shard(model, self.args.device)
            # The weights are shared out already: Accelerate is to add its precision but no wrapper.
            self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self._add_callbacks()
        if had_cache is None and hasattr(model.config, "use_cache"):
            del model.config.use_cache  # the Trainer's setting, which a saved model should not have
        if recipe.parts.gradient_checkpointing:
            checkpoint_layers(model.language_model)

    def _add_callbacks(self) -> None:
        self.remove_callback(PrinterCallback)
        decay = self.recipe.optimiser.average_decay
        self.average = (
            AverageWeights(self.learning_tensors, decay, lambda: not self.counts.bad_in_a_row)
            if decay
            else None
        )
        if self.average is not None:
            self.add_callback(self.average)
        self.add_callback(self.clock)
        judged = self.validation is not None
        self.add_callback(Validating(self.recipe, judged, lambda: self.counts.ended_early))

    # --- one update ---

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return the micro-batches of an update and the number of answer tokens in all of them.

        Raises:
            TrainingError: no audio can be read any more.
        """
        self._micro_batch = 0
        self.clock.begin()
        try:
            batches = [next(epoch_iterator) for _ in range(num_batches)]
        except AudioError as error:
            raise TrainingError(str(error)) from error
        for batch in batches:
            self.take(batch)
        tokens = sum(self.answer_tokens(batch) for batch in batches)
        own = torch.tensor([[tokens, len(self._failed)]], device=device)
        total = self.accelerator.gather(own).sum(0)
        if total[1] > 0:  # what all processes couldn't read is counted together
            self._note(self._failed if self.args.world_size == 1 else gather_object(self._failed))
            self._failed = []
        return batches, total[0]

    def take(self, batch: dict[str, Any]) -> None:
        """Take out what is not for the model: the list of rows that couldn't be read."""
        self._failed += take_unreadable(batch)

    def answer_tokens(self, batch: dict[str, Any]) -> int:
        """Return how many tokens of answers a batch has."""
        return int((batch["labels"] != IGNORED).sum())

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
            self.counts.bad_in_a_row = 0
            if self.recipe.optimiser.clip_value is not None:
                nn.utils.clip_grad_value_(model.parameters(), self.recipe.optimiser.clip_value)
            return norm
        discard_gradients(model.parameters())
        self.counts.bad_updates += 1
        self.counts.bad_in_a_row += 1
        logger.warning("update %d left out: its gradient is not finite", self.state.global_step + 1)
        if self.counts.bad_in_a_row >= self.recipe.optimiser.stop_after_bad_updates:
            raise TrainingError(
                f"{self.counts.bad_in_a_row} updates in a row had no finite gradient: lower the learning "
                f"rate, or look at the data of update {self.state.global_step + 1}"
            )
        return norm

    def _note(self, found: list[Unreadable]) -> None:
        """Remember rows that couldn't be read; too many of them end the run."""
        for one in found:
            if one.row not in self.counts.unreadable:
                logger.warning("left out: %s", one.reason)
                self.counts.unreadable[one.row] = one.reason
        seen = self.state.global_step * self.recipe.optimiser.batch_size
        rows = self.draws.rows or max(seen, FEWEST_STREAMED)
        torn = [reason for row, reason in self.counts.unreadable.items() if row >= 0]  # others are noise
        refuse_too_many(torn, rows, self.recipe.data.max_unreadable_share)

    # --- optimiser ---

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimiser over what is trained."""
        if self.optimizer is None:
            groups = parameter_groups(model or self.model, self.recipe.optimiser, self.plain.language_model)
            self.optimizer = make_optimiser(groups, self.recipe.optimiser)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of the recipe."""
        if self.lr_scheduler is None:
            # Under the wrapper of Accelerate is the optimiser whose groups have the learning rates.
            chosen = optimizer or self.optimizer
            inner = getattr(chosen, "optimizer", chosen)
            self.lr_scheduler = make_schedule(inner, self.recipe.optimiser, lambda: self.clock.minutes)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # --- validation and log ---

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Return all figures of the validation, their names after ``eval_``."""
        if self.validation is None:
            return {}
        with self.average.in_place() if self.average else contextlib.nullcontext():
            figures = self._judged_by(self.validation)
        named = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(dict(named))
        return named

    def test(self, model: Path) -> dict[str, float]:
        """Return the figures of a finished model on the rows that chose nothing, the same on every process.

        Args:
            model: its folder; its weights take the place of the last ones.
        """
        if self.tested is None:
            return {}
        self.take_weights(checkpoints.read_weights(model, self.shapes, self.tied))
        return self._judged_by(self.tested)

    def left_out(self) -> dict[str, int]:
        """Return how many rows were left out on the way, for which reason; all processes have to ask."""
        return {}

    def _judged_by(self, judge: Judge) -> dict[str, float]:
        return judge.figures(
            self.plain,
            rank=self.args.process_index,
            world=self.args.world_size,
            batch_size=self.recipe.optimiser.rows_at_once,
            autocast=self.accelerator.autocast,
            gathered=partial(sharding.gathered, self.plain) if self.sharded else contextlib.nullcontext,
        )

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Return whether these are the best figures so far; a checkpoint of them follows."""
        best = self.recipe.validation.best
        if best == LAST:
            self.counts.best_figures = {name.removeprefix("eval_"): one for name, one in metrics.items()}
            return False
        require_figure(best, [name.removeprefix("eval_") for name in metrics])
        value = metrics[f"eval_{best}"]
        lower = best.rpartition("/")[2] == "loss"
        old = self.state.best_metric
        if old is not None and (value >= old if lower else value <= old):
            self._count_worse()
            return False
        self.counts.worse_in_a_row = 0
        self.state.best_metric, self.state.best_global_step = value, self.state.global_step
        self.counts.best_figures = {name.removeprefix("eval_"): figure for name, figure in metrics.items()}
        self.control.should_save = True
        return True

    def _count_worse(self) -> None:
        """Count a validation that was not the best, and end the run if that is too often in a row."""
        self.counts.worse_in_a_row += 1
        if self.counts.worse_in_a_row == self.recipe.validation.patience:
            logger.info("no better validation in %d: the run ends here", self.counts.worse_in_a_row)
            self._end()

    def _end(self) -> None:
        """End the run with this update."""
        self.counts.ended_early = self.control.should_training_stop = self.control.should_save = True

    def _mean(self, number: float) -> float:
        """Return the mean of the processes' numbers."""
        own = torch.tensor([number], dtype=torch.float64, device=self.args.device)
        return float(self.accelerator.gather(own).mean())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Append a row to the run's log, and hand it to other loggers."""
        if self.counts.bad_updates:
            logs["bad_updates"] = self.counts.bad_updates
        if self.counts.unreadable:
            logs["unreadable"] = len(self.counts.unreadable)
        logs.pop("total_flos", None)
        if self.draws.rows:
            logs["passes"] = self.state.global_step * self.recipe.optimiser.batch_size / self.draws.rows
        super().log(logs, start_time)
        self.state.log_history.clear()  # the file has it; a checkpoint of a long run would be mostly this
        if self.is_world_process_zero():
            logs.pop("epoch", None)  # of the whole run, which is one to the Trainer
            row = {"step": self.state.global_step, **logs}
            with (
                checkpoints.clear_write_errors(self.run_folder / LOG),
                (self.run_folder / LOG).open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(row) + "\n")
            logger.info("update %d of %d: %s", row["step"], self.state.max_steps, in_words(logs))


def in_words(figures: Mapping[str, float]) -> str:
    """Return figures in one line, without those of single tasks, which the log has."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if "/" not in name)


def keep_frozen_parts_still(model: NatureLMForConditionalGeneration) -> None:
    """Put parts that don't learn into evaluation mode: no dropout, no dropped layers, no batch statistics."""
    for part in (model.audio_tower, model.bridge, model.language_model):
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def checkpoint_layers(language_model: Any) -> None:
    """Compute the layers again in the backward pass instead of keeping what they computed."""
    settings = {"use_reentrant": False}
    if hasattr(language_model, "activation_checkpointing_enable"):
        language_model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:  # transformers before 5.23
        language_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
