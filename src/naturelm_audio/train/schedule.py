"""What an update is made with: groups of parameters, the optimiser, its learning rates, and clipping."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from naturelm_audio.errors import MissingExtraError
from naturelm_audio.model import Bridge
from naturelm_audio.train.recipe import OptimiserOptions

__all__ = ["discard_gradients", "make_optimiser", "make_schedule", "parameter_groups"]

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)


def parameter_groups(
    model: nn.Module, options: OptimiserOptions, language_model: nn.Module
) -> list[dict[str, Any]]:
    """Return the parameters that learn, by their decay and learning rate.

    Biases, norms and queries don't decay. What a parameter is tells the module that holds it, not its name:
    LLMs have norms of classes of their own.
    """
    text = {id(parameter) for parameter in language_model.parameters()}
    rates = options.learning_rate, options.language_model_learning_rate or options.learning_rate
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for rate in rates:
        groups.setdefault((rate, options.weight_decay), [])
        groups.setdefault((rate, 0.0), [])
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            decay = 0.0 if _never_decays(module, name) else options.weight_decay
            groups[rates[id(parameter) in text], decay].append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _never_decays(module: nn.Module, name: str) -> bool:
    is_norm = isinstance(module, _NORMS) or type(module).__name__.endswith(("RMSNorm", "LayerNorm"))
    return is_norm or name == "bias" or (isinstance(module, Bridge) and name == "query_tokens")


def make_optimiser(groups: list[dict[str, Any]], options: OptimiserOptions) -> Optimizer:
    """Return AdamW over groups of parameters.

    Raises:
        MissingExtraError: the 8-bit one is asked for and not installed.
    """
    groups = [group for group in groups if group["params"]]
    if options.name == "adamw":
        # Weights that are shared out among processes can't be updated in one call.
        whole = [not hasattr(one, "full_tensor") for group in groups for one in group["params"]]
        return AdamW(groups, lr=options.learning_rate, betas=options.betas, fused=all(whole))
    try:
        quantised = importlib.import_module("bitsandbytes.optim")
    except ImportError:
        raise MissingExtraError("train", "optimiser.name adamw_8bit (and bitsandbytes)") from None
    optimiser: Optimizer = quantised.PagedAdamW8bit(groups, lr=options.learning_rate, betas=options.betas)
    return optimiser


def make_schedule(
    optimiser: Optimizer, options: OptimiserOptions, minutes: Callable[[], float] = float
) -> LambdaLR:
    """Return the schedule of the recipe, counted in updates of the whole run.

    Args:
        optimiser: its groups have the highest learning rates.
        options: of the recipe.
        minutes: how long the run has lasted, for runs that end by the clock.
    """

    def factor(step: int) -> float:
        return options.learning_rate_at(step, minutes()) / options.learning_rate

    return LambdaLR(optimiser, factor)


@torch.no_grad()
def discard_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Leave an update out: without gradients the optimiser changes neither weights nor its memory."""
    for parameter in parameters:
        parameter.grad = None
