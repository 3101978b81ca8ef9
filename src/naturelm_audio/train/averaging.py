"""A running mean of the weights while they learn: it is judged and kept in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

__all__ = ["AverageWeights"]


class AverageWeights(TrainerCallback):
    """The mean, moved after every update; at first it follows the weights closely.

    Args:
        current: gives the tensors of what learns by name, statistics of norms included; their memory stays.
        decay: share of the old mean that an update leaves.
        counts: whether the last update changed anything.
    """

    def __init__(
        self, current: Callable[[], Mapping[str, Tensor]], decay: float, counts: Callable[[], bool]
    ) -> None:
        self._current, self.decay, self._counts = current, decay, counts
        self.tensors = {
            name: tensor.detach().clone() for name, tensor in current().items() if tensor.is_floating_point()
        }

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the mean towards the weights."""
        if self._counts():
            self.move(state.global_step - 1)

    @torch.no_grad()
    def move(self, step: int) -> None:
        """Move the mean after the update that followed ``step`` others."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self._current()
        theirs = [current[name].detach() for name in self.tensors]
        torch._foreach_lerp_(list(self.tensors.values()), theirs, 1.0 - decay)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a mean that was saved.

        Raises:
            ValueError: it is of other weights.
        """
        if state.keys() != self.tensors.keys():
            raise ValueError("the running mean in the checkpoint is of other weights")
        for name, tensor in state.items():
            self.tensors[name].copy_(tensor)

    @contextlib.contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """Put the mean in the place of the weights as long as the block lasts."""
        current = self._current()
        kept = {name: current[name].detach().clone() for name in self.tensors}
        for name, tensor in self.tensors.items():
            current[name].copy_(tensor)
        try:
            yield
        finally:
            for name, tensor in kept.items():
                current[name].copy_(tensor)
