"""Weights shared out among processes, layer by layer (FSDP2), and brought together for checkpoints.

Done with torch alone, so that it is the same on GPUs and on CPUs, where Accelerate doesn't shard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard

from naturelm_audio.model import NatureLMForConditionalGeneration

__all__ = ["full_optimiser", "full_weights", "gathered", "load_optimiser", "load_weights", "shard"]

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(model: NatureLMForConditionalGeneration, device: torch.device) -> None:
    """Share out a model's weights in place: each layer of encoder and language model, then what is left."""
    model.to(device)
    decoder: Any = model.get_decoder()
    for layer in (*model.audio_tower.encoder.layers, *decoder.layers):
        fully_shard(layer)
    fully_shard(model)


@contextlib.contextmanager
def gathered(model: NatureLMForConditionalGeneration) -> Iterator[None]:
    """Hold whole weights on every process as long as the block lasts; all enter and leave it together.

    Within it parts of the model can be called alone, by each process as often as it likes: nothing is
    gathered any more. It takes the memory of a model that is not shared out.
    """
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return whole weights by name in the first process, nothing in others; all have to ask."""
    state: Any = get_model_state_dict(model, options=_WHOLE)
    return dict(state)


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put whole weights, perhaps not all of them, into a sharded model; every process gives them."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, dict[str, Any](state), options=options)


def full_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimiser's whole memory in the first process; all have to ask."""
    return get_optimizer_state_dict(model, optimiser, options=_WHOLE)


def load_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, memory: dict[str, Any]) -> None:
    """Put an optimiser's whole memory into one over sharded weights."""
    set_optimizer_state_dict(model, optimiser, memory, options=StateDictOptions(full_state_dict=True))
