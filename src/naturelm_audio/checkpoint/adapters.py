"""PEFT adapter folders: LoRA on the language model's attention, put into our side branches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from naturelm_audio.checkpoint.tensors import Stored, Weights, check_complete, open_weights, read_json, shown
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import LoraLinear, NatureLMForConditionalGeneration
from naturelm_audio.model.lora import TARGETS, attach_lora

# PEFT's own prefix, then the path inside what was trained: the whole model or the language model alone.
_NAME = re.compile(r"(?:base_model\.model\.)?(?:language_model\.)?(.+\.lora_[AB])(?:\.default)?\.weight")
# What an adapter must not use, with the value that means "not used".
_UNSUPPORTED: dict[str, Any] = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "lora_bias": False,
    "fan_in_fan_out": False,
}


def read_adapter(model: NatureLMForConditionalGeneration, folder: Path) -> None:
    """Put a PEFT adapter into the model; projections that it doesn't cover get a branch that does nothing.

    Raises:
        CheckpointError: files are missing, or the adapter is of another kind, rank or model.
    """
    rank, alpha, scale = _settings(folder)
    weights = _named(open_weights(folder / "adapter_model.safetensors"), folder)
    config, llm = model.config, model.language_model
    if config.lora_rank not in (0, rank):
        raise CheckpointError(
            f"{folder}: an adapter of rank {rank}, but the model has adapters of {config.lora_rank}"
        )
    expected = _expected(llm, weights, rank)
    check_complete(expected, weights, folder)
    if config.lora_rank == 0:
        attach_lora(llm, rank=rank, alpha=alpha, dropout=config.lora_dropout)
        llm.train(llm.training)  # new modules begin in training mode, where dropout is active
        config.lora_rank = rank
    config.lora_alpha = scale * rank
    _fill(llm, weights, scale)


def _settings(folder: Path) -> tuple[int, float, float]:
    """Return rank, alpha and scale of an adapter folder."""
    path = folder / "adapter_config.json"
    settings = read_json(path)
    if settings.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: only LoRA adapters can be loaded, not {settings.get('peft_type')!r}")
    for name, unused in _UNSUPPORTED.items():
        if settings.get(name, unused) not in (unused, None):
            raise CheckpointError(f"{path}: {name}={settings[name]!r} is not supported, only {unused!r} is")
    rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
    return rank, alpha, alpha / (rank**0.5 if settings.get("use_rslora") else rank)


def _named(weights: Weights, folder: Path) -> dict[str, Stored]:
    """Return the adapter's tensors by their place in the language model, such as ``...q_proj.lora_A``."""
    found, strange = {}, []
    for name, stored in weights.items():
        match = _NAME.fullmatch(name)
        if match is None:
            strange.append(name)
        else:
            found[match[1]] = stored
    if strange or not found:
        raise CheckpointError(f"{folder}: {len(strange)} tensors are not of a LoRA adapter: {shown(strange)}")
    return found


def _projections(llm: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {
        name: module
        for name, module in llm.named_modules()
        if name.rpartition(".")[2] in TARGETS and isinstance(module, torch.nn.Linear)
    }


def _expected(llm: torch.nn.Module, weights: Weights, rank: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of both matrices in every layer, for the kinds of projection that it covers."""
    covered = {name.split(".")[-2] for name in weights}
    expected: dict[str, tuple[int, ...]] = {}
    for name, linear in _projections(llm).items():
        if name.rpartition(".")[2] in covered:
            expected[f"{name}.lora_A"] = (rank, linear.in_features)
            expected[f"{name}.lora_B"] = (linear.out_features, rank)
    return expected


@torch.no_grad()
def _fill(llm: torch.nn.Module, weights: Weights, scale: float) -> None:
    for name, layer in _projections(llm).items():
        if not isinstance(layer, LoraLinear):
            continue
        layer.scale = scale
        for branch in ("lora_A", "lora_B"):
            target = getattr(layer, branch).weight
            stored = weights.get(f"{name}.{branch}")
            if stored is not None:
                target.copy_(stored.read())
            elif branch == "lora_B":
                target.zero_()
