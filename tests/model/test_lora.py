"""Our adapters against PEFT's."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
import toys
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from naturelm_audio.model import LoraLinear, merge_lora, merging_alpha
from naturelm_audio.model.lora import TARGETS, attach_lora

RANK, ALPHA = 3, 12.0
IDS = torch.arange(14).view(2, 7)


def llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings = toys.text_config(**changes)
    kind = settings.pop("model_type")
    llm = LlamaForCausalLM(LlamaConfig(**settings)) if kind == "llama" else None
    model = llm or Qwen2ForCausalLM(Qwen2Config(**settings))
    toys.shake(model)
    return model.eval()


def adapted(base: nn.Module, *, dropout: float = 0.0) -> nn.Module:
    model = copy.deepcopy(base)
    attach_lora(model, rank=RANK, alpha=ALPHA, dropout=dropout)
    torch.manual_seed(1)
    for layer in adapters(model):
        nn.init.normal_(layer.lora_B.weight, std=0.1)
    return model


def adapters(model: nn.Module) -> list[LoraLinear]:
    return [module for module in model.modules() if isinstance(module, LoraLinear)]


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_equals_peft(kind: str) -> None:
    base = llama(model_type=kind)
    ours = adapted(base)
    settings = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), lora_dropout=0.0)
    theirs = get_peft_model(copy.deepcopy(base), settings).eval()
    state = {
        "base_model.model." + re.sub(r"(lora_[AB])", r"\1.default", name): tensor
        for name, tensor in ours.state_dict().items()
        if "lora_" in name
    }
    assert len(state) == 2 * 4 * 2
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-5)
    assert (logits(ours) - logits(base)).abs().max() > 1e-2


def test_dropout_is_peft_like_and_for_training_alone() -> None:
    layer = LoraLinear(50, 40, bias=False, rank=RANK, alpha=ALPHA, dropout=0.5)
    nn.init.normal_(layer.lora_B.weight)
    x = torch.randn(4, 50)
    assert torch.equal(layer.eval()(x), layer(x))
    layer.train()
    torch.manual_seed(5)
    noisy = layer(x)
    torch.manual_seed(5)
    expected = x @ layer.weight.T + ALPHA / RANK * layer.lora_B(layer.lora_A(nn.functional.dropout(x, 0.5)))
    torch.testing.assert_close(noisy, expected)
    assert layer.bias is None


def test_new_adapters_change_nothing() -> None:
    base = llama()
    model = copy.deepcopy(base)
    attach_lora(model, rank=RANK, alpha=ALPHA, dropout=0.1)
    assert torch.equal(logits(model), logits(base))
    assert len(adapters(model)) == 4 * 2
    bound = (6 / (6 * 16)) ** 0.5  # Kaiming-uniform with a = sqrt 5: 1 / sqrt(inputs)
    for layer in adapters(model):
        assert 0 < layer.lora_A.weight.abs().max() <= bound + 1e-6
        assert not layer.lora_B.weight.any()


def test_attaching_moves_the_weights_and_their_state() -> None:
    base = llama().to(torch.bfloat16)
    base.requires_grad_(False)
    attention = base.model.layers[0].self_attn
    weight = attention.q_proj.weight
    attach_lora(base, rank=RANK, alpha=ALPHA, dropout=0.0)
    assert attention.q_proj.weight is weight
    assert attention.q_proj.lora_A.weight.dtype == torch.bfloat16
    assert not weight.requires_grad
    assert attention.q_proj.lora_A.weight.requires_grad
    names = set(base.state_dict())
    attach_lora(base, rank=RANK, alpha=ALPHA, dropout=0.0)
    assert set(base.state_dict()) == names, "attaching twice attaches once"


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_into_the_weights_gives_the_same(kind: str, dtype: torch.dtype) -> None:
    model = adapted(llama(model_type=kind)).to(dtype)
    for parameter in model.model.layers[0].parameters():
        parameter.requires_grad_(False)
    before = logits(model)
    merge_lora(model)
    assert not adapters(model)
    assert not [name for name in model.state_dict() if "lora" in name]
    tolerance = 1e-5 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(logits(model), before, rtol=0, atol=tolerance)
    q_proj = model.model.layers[0].self_attn.q_proj
    assert (q_proj.weight.dtype, q_proj.weight.requires_grad) == (dtype, False)
    assert (q_proj.bias is not None) == (kind == "qwen2")


def test_M3_merging_alpha_goes_from_the_base_to_the_whole() -> None:
    base = llama()
    model = adapted(base)
    whole = logits(model)
    with merging_alpha(model, 0.0):
        assert torch.equal(logits(model), logits(base))
    with merging_alpha(model, 0.5):
        half = logits(model)
    quarter = copy.deepcopy(model)
    for layer in adapters(quarter):
        layer.scale /= 2
    torch.testing.assert_close(logits(quarter), half, rtol=0, atol=1e-6)
    with merging_alpha(model, 1.0):
        assert torch.equal(logits(model), whole)
    assert torch.equal(logits(model), whole)


def test_M3_merging_alpha_is_restored_after_an_error_and_never_cumulative() -> None:
    model = adapted(llama())
    whole = logits(model)
    with pytest.raises(KeyError), merging_alpha(model, 0.3):
        raise KeyError
    assert torch.equal(logits(model), whole)
    with merging_alpha(model, 0.5):
        half = logits(model)
        with merging_alpha(model, 0.5):
            assert torch.equal(logits(model), half)
        with merging_alpha(model, 1.0):
            assert torch.equal(logits(model), whole)
        assert torch.equal(logits(model), half)
    assert torch.equal(logits(model), whole)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf")])
def test_merging_alpha_outside_0_to_1_is_refused(value: float) -> None:
    model = adapted(llama())
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"), merging_alpha(model, value):
        pass
    assert {layer.merging_alpha for layer in adapters(model)} == {1.0}


def test_merging_alpha_without_adapters_is_refused_unless_it_says_nothing() -> None:
    with pytest.raises(ValueError, match="this one has none"), merging_alpha(llama(), 0.5):
        pass
    with merging_alpha(llama(), 1.0):
        pass
