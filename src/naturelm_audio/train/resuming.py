"""The part of the training loop that writes checkpoints and goes on from them without a difference."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import Trainer, TrainerState

from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.train import checkpoints, sharding
from naturelm_audio.train.averaging import AverageWeights
from naturelm_audio.train.callbacks import Clock
from naturelm_audio.train.recipe import Recipe

__all__ = ["Counts", "ResumableTrainer"]


@dataclass
class Counts:
    """What a run has counted, beside its updates; ``unreadable`` is row -> reason."""

    bad_updates: int = 0
    bad_in_a_row: int = 0
    worse_in_a_row: int = 0
    ended_early: bool = False
    minutes: float = 0.0
    unreadable: dict[int, str] = field(default_factory=dict)
    best_figures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, progress: dict[str, Any]) -> Counts:
        """Return the counts of a checkpoint."""
        counts = cls(**{item.name: progress[item.name] for item in fields(cls)})
        counts.unreadable = {int(row): reason for row, reason in counts.unreadable.items()}
        return counts


class ResumableTrainer(Trainer):
    """A Trainer whose checkpoints appear as a whole and hold plain tensors and JSON alone.

    Subclasses set these before a run begins:

    Attributes:
        recipe: everything the run depends on.
        run_folder: of its checkpoints.
        plain: the model, without wrappers.
        heads: layers that learn beside it and are thrown away; None for none.
        average: running mean of the weights; None for none.
        clock: of the run.
        counts: of the run.
        sharded: whether weights are shared out among processes.
        trained: names of the model's weights that change.
        shapes: of all its weights.
        tied: names of those that are others' memory.
    """

    optimizer: Any
    lr_scheduler: Any
    recipe: Recipe
    run_folder: Path
    plain: NatureLMForConditionalGeneration
    heads: nn.Module | None
    average: AverageWeights | None
    clock: Clock
    counts: Counts
    sharded: bool
    trained: frozenset[str]
    shapes: dict[str, tuple[int, ...]]
    tied: frozenset[str]

    def full_state(self) -> dict[str, Tensor]:
        """Return all weights by name, tied ones once; sharded ones come to the first process, but all have to
        ask.
        """
        state = sharding.full_weights(self.plain) if self.sharded else self.plain.state_dict()
        return {name: tensor for name, tensor in state.items() if name not in self.tied}

    def learning_tensors(self) -> dict[str, Tensor]:
        """Return what changes, by name: of the model, and of the heads with a prefix."""
        state = self.plain.state_dict()
        found = {name: state[name] for name in state if name in self.trained and name not in self.tied}
        heads = self.heads.state_dict() if self.heads is not None else {}
        return found | {f"{checkpoints.HEADS_PREFIX}{name}": tensor for name, tensor in heads.items()}

    def best_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights that are kept in the end: the best or the last ones, or their running mean.

        Args:
            state: the last ones.
        """
        best = self.best_checkpoint()
        if best is not None:
            state = state | checkpoints.read_weights(best, self.shapes, self.tied)
        if self.average is None:
            return state
        mean = checkpoints.read_average(best) if best is not None else self.average.tensors
        return state | {
            name: tensor for name, tensor in mean.items() if not name.startswith(checkpoints.HEADS_PREFIX)
        }

    def best_checkpoint(self) -> Path | None:
        """Return the checkpoint that validation found best; None without validation."""
        step = self.state.best_global_step
        return checkpoints.checkpoint_folder(self.run_folder, step) if step else None

    def take_weights(self, state: dict[str, Tensor]) -> None:
        """Put weights by name in the place of the model's; all processes have to ask."""
        if self.sharded:
            sharding.load_weights(self.plain, state)
        else:
            self.plain.load_state_dict(state, strict=False)

    def take_up(self, checkpoint: Path) -> None:
        """Take up the weights and counts of a finished run's last checkpoint."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self._take_counts(checkpoint)

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
                if self.heads is not None:
                    checkpoints.write_heads(self.heads.state_dict(), temporary)
                if self.average is not None:
                    checkpoints.write_average(self.average.tensors, temporary)
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
        self.counts.minutes = self.clock.minutes
        return {
            "step": self.state.global_step,
            **asdict(self.counts),
            "schedule": self.lr_scheduler.state_dict(),
            "recipe": asdict(self.recipe),
        }

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Take up the weights of a checkpoint."""
        folder = Path(resume_from_checkpoint)
        state = checkpoints.read_weights(folder, self.shapes, self.tied)
        self.take_weights(state)
        if self.heads is not None:
            checkpoints.load_heads(self.heads, folder)
        if self.average is not None:
            self.average.load(checkpoints.read_average(folder))

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

    def _take_counts(self, folder: Path) -> dict[str, Any]:
        progress = checkpoints.read_progress(folder)
        self.counts = Counts.read(progress)
        self.clock.minutes = self.counts.minutes
        return progress

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Do nothing: no random number depends on what was drawn before."""
