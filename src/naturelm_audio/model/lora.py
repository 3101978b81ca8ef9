"""Low-rank adapters at inference: a side branch of a linear layer, with a scale that one call may change.

y = W x + scale * B(A(x)), scale = alpha / rank. Source: Hu et al., "LoRA" (2022). Training attaches adapters
through PEFT; this module only runs them, and can fold them into the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


class LoraLinear(nn.Linear):
    """A linear layer with a low-rank side branch; its weight keeps its name, so that base weights load."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, rank: int, alpha: float, dropout: float
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.lora_A = nn.Linear(inputs, rank, bias=False)
        self.lora_B = nn.Linear(rank, outputs, bias=False)
        self.scale = alpha / rank
        self.merging_alpha = 1.0
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        output = functional.linear(input, self.weight, self.bias)
        if self.merging_alpha == 0.0:
            return output
        branch = self.lora_B(self.lora_A(functional.dropout(input, self.dropout, self.training)))
        return torch.add(output, branch, alpha=self.merging_alpha * self.scale)


def attach_lora(llm: nn.Module, *, rank: int, alpha: float, dropout: float) -> None:
    """Replace the attention projections of ``llm`` by :class:`LoraLinear`; weights move, adapters start.

    A is Kaiming-uniform, B is zero, so nothing changes until weights are loaded or trained.
    """
    for parent in list(llm.modules()):
        for name in TARGETS:
            linear = getattr(parent, name, None)
            if isinstance(linear, nn.Linear) and not isinstance(linear, LoraLinear):
                with torch.device("meta"):
                    layer = LoraLinear(
                        linear.in_features,
                        linear.out_features,
                        bias=linear.bias is not None,
                        rank=rank,
                        alpha=alpha,
                        dropout=dropout,
                    )
                layer.weight, layer.bias = linear.weight, linear.bias
                for branch in (layer.lora_A, layer.lora_B):
                    branch.to_empty(device=linear.weight.device).to(linear.weight.dtype)
                if linear.weight.device.type != "meta":
                    nn.init.kaiming_uniform_(layer.lora_A.weight, a=5**0.5)
                    nn.init.zeros_(layer.lora_B.weight)
                layer.train(linear.training)
                setattr(parent, name, layer)


@contextmanager
def merging_alpha(llm: nn.Module, value: float) -> Iterator[None]:
    """Within this context the adapters count ``value`` times: 0 is the base LLM, 1 the fine-tuned one.

    Relative to the checkpoint's own scale, never cumulative, and restored on leaving, also after an error.

    Raises:
        ValueError: outside [0, 1], or not 1 on a model without adapters.
    """
    layers = [module for module in llm.modules() if isinstance(module, LoraLinear)]
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"merging_alpha must lie in [0, 1], not {value:g}")
    if not layers and value != 1.0:
        raise ValueError("merging_alpha needs a model with LoRA adapters; this one has none")
    previous = [layer.merging_alpha for layer in layers]
    for layer in layers:
        layer.merging_alpha = value
    try:
        yield
    finally:
        for layer, old in zip(layers, previous, strict=True):
            layer.merging_alpha = old


def merge_lora(llm: nn.Module) -> None:
    """Fold every adapter into its weight and remove the branch: fastest, but merging_alpha is then fixed."""
    for parent in list(llm.modules()):
        for name in TARGETS:
            layer = getattr(parent, name, None)
            if isinstance(layer, LoraLinear):
                with torch.device("meta"):
                    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
                with torch.no_grad():
                    update = layer.lora_B.weight.float() @ layer.lora_A.weight.float()
                    merged = layer.weight.float() + layer.scale * update
                merged = merged.to(layer.weight.dtype)
                linear.weight = nn.Parameter(merged, requires_grad=layer.weight.requires_grad)
                linear.bias = layer.bias
                setattr(parent, name, linear)
