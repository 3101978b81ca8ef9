"""When a run is judged, and when it ends: by updates, by the clock, or because it was asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from naturelm_audio.train.recipe import Recipe

__all__ = ["Clock", "Stopping", "Validating"]


class Clock(TrainerCallback):
    """Counts the minutes of updates, not of validation and saving, and says when they are over.

    Args:
        limit: minutes that a run may last; None for no end.
        agree: gives the same number on every process, of each one's own.
        over: is called when the minutes are over.
    """

    def __init__(
        self, limit: float | None, agree: Callable[[float], float], over: Callable[[], None]
    ) -> None:
        self.limit, self.minutes = limit, 0.0
        self._agree, self._over = agree, over
        self._began: float | None = None

    def begin(self) -> None:
        """Note that an update begins."""
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the update that ends."""
        if self.limit is None or self._began is None:
            return
        self.minutes = self._agree(self.minutes + (time.monotonic() - self._began) / 60)
        if self.minutes >= self.limit and state.global_step < state.max_steps:
            self._over()


class Validating(TrainerCallback):
    """Asks for validation every so many updates, and at the end.

    Args:
        recipe: says how often.
        wanted: whether there is anything to judge by.
        ended: whether the run ends with this update, before its last one.
    """

    def __init__(self, recipe: Recipe, wanted: bool, ended: Callable[[], bool]) -> None:
        self.every, self.wanted, self._ended = recipe.validation.every, wanted, ended

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for it."""
        due = state.global_step % self.every == 0 or state.global_step >= state.max_steps or self._ended()
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
