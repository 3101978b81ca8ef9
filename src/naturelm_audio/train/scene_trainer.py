"""The training loop of scenes: every head's loss and the answers' in one sum, each written to the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from naturelm_audio.sequence import IGNORED
from naturelm_audio.train.heads import LABEL_LOSSES, TEACHER_LOSSES
from naturelm_audio.train.learner import ANSWER, Learner
from naturelm_audio.train.recipe import Recipe
from naturelm_audio.train.scene_options import ScenesOptions
from naturelm_audio.train.scenes import SceneCollator, SceneDraws
from naturelm_audio.train.trainer import RunTrainer, keep_frozen_parts_still
from naturelm_audio.train.validation import Judge

__all__ = ["SceneTrainer", "loss_weights"]


def loss_weights(options: ScenesOptions) -> dict[str, float]:
    """Return the weight of every loss but the answers'."""
    taught = {name: weight * options.teacher_weight for name, weight in TEACHER_LOSSES.items()}
    return taught | {name: weight * options.label_weight for name, weight in LABEL_LOSSES.items()}


class SceneTrainer(RunTrainer):
    """One run on scenes.

    Args:
        recipe: everything it depends on.
        learner: model and heads with their first weights.
        draws: the scenes.
        collator: makes their batches.
        validation: what to judge by; None for nothing.
        output_dir: folder of checkpoints and log.
        options: the recipe's, of scenes.
    """

    def __init__(
        self,
        recipe: Recipe,
        learner: Learner,
        draws: SceneDraws,
        collator: SceneCollator,
        validation: Judge | None,
        output_dir: Path,
        *,
        options: ScenesOptions,
    ) -> None:
        self.weights = loss_weights(options)
        self._sums: dict[str, Tensor] = {}
        self._logged = 0
        super().__init__(
            recipe,
            learner.model,
            draws,
            validation,
            output_dir,
            collator=collator,
            learner=learner,
            heads=learner.heads,
        )

    def answer_tokens(self, batch: dict[str, Any]) -> int:
        """Return how many tokens of answers a batch has."""
        return sum(int((text["labels"] != IGNORED).sum()) for text in batch["texts"])

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the micro-batch's share of the weighted sum of all losses."""
        keep_frozen_parts_still(self.plain)
        losses = model(**inputs)
        parts = self.current_gradient_accumulation_steps
        tokens = max(int(num_items_in_batch or 0), 1)
        shares = {
            # Gradients are averaged over processes, where the sum over all answers' tokens is wanted.
            name: loss * self.args.world_size / tokens if name == ANSWER else loss / parts
            for name, loss in losses.items()
        }
        for name, share in shares.items():
            self._sums[name] = self._sums.get(name, 0.0) + share.detach().float()
        loss = torch.stack([share * self.weights.get(name, 1.0) for name, share in shares.items()]).sum()
        return (loss, losses) if return_outputs else loss

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Take up what a checkpoint has, and count updates from there."""
        super()._load_optimizer_and_scheduler(checkpoint)
        self._logged = self.state.global_step

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Append a row to the run's log, the mean of each loss since the last one beside their sum."""
        if "loss" in logs and self._sums:
            updates = max(self.state.global_step - self._logged, 1)
            names = sorted(self._sums)
            means = self.accelerator.gather(torch.stack([self._sums[name] for name in names])[None]).mean(0)
            logs |= {f"loss_{name}": float(mean) / updates for name, mean in zip(names, means, strict=True)}
            self._sums, self._logged = {}, self.state.global_step
        super().log(logs, start_time)
