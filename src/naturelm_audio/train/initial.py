"""The model that a run begins with: a checkpoint, or an encoder and a language model with a new bridge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import GenerationConfig, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast

from naturelm_audio.checkpoint import load_model, prepare_tokenizer
from naturelm_audio.checkpoint.official import BeatsFile, open_checkpoint, read_text_config
from naturelm_audio.checkpoint.sources import locate
from naturelm_audio.checkpoint.tensors import open_weights, prefixed, shown
from naturelm_audio.checkpoint.tokens import eos_token_ids
from naturelm_audio.errors import CheckpointError, OptionsError
from naturelm_audio.model import (
    BeatsConfig,
    BridgeConfig,
    LoraLinear,
    NatureLMConfig,
    NatureLMForConditionalGeneration,
)
from naturelm_audio.model.lora import attach_lora
from naturelm_audio.prompts import AUDIO_TOKEN
from naturelm_audio.train.recipe import InitOptions, PartsOptions, Recipe
from naturelm_audio.train.yaml_options import closest

__all__ = ["choose_trained", "initial_model", "trained_names"]

logger = logging.getLogger(__name__)

_Config = TypeVar("_Config", bound=PretrainedConfig)
HEAD = "language_model.lm_head.weight"


def initial_model(
    recipe: Recipe, make_tokenizer: Callable[[], PreTrainedTokenizerFast] | None = None
) -> NatureLMForConditionalGeneration:
    """Return the model with its first weights and adapters, on the CPU, and what is trained chosen.

    Args:
        recipe: everything the run depends on.
        make_tokenizer: makes the tokenizer of a new language model, of what is asked and answered.

    Raises:
        CheckpointError: weights are missing, incomplete, or of another architecture.
        OptionsError: the recipe names too little, or adapters of another rank than the weights have.
    """
    init, parts = recipe.init, recipe.parts
    torch.manual_seed(recipe.seed)
    if init.model is not None:
        model = load_model(
            init.model,
            llama=init.language_model,
            device="cpu",
            dtype="float32",
            qformer_heads=init.qformer_heads,
        )
        _fit_adapters(model, parts)
    elif init.language_model is not None:
        model = _assembled(init, parts, init.language_model)
    elif init.text and make_tokenizer is not None:
        model = _new(init, parts, make_tokenizer())
    else:
        raise OptionsError(
            "init: name a model, or a language_model (and beats, a BEATs file, beside it), or give all sizes "
            "of a new language model as text"
        )
    audio: Any = model.config.audio_config
    audio.encoder_layerdrop = parts.encoder_layerdrop if parts.encoder else 0.0
    choose_trained(model, parts)
    return model


def choose_trained(model: NatureLMForConditionalGeneration, parts: PartsOptions) -> None:
    """Let exactly the chosen parts learn, and keep a frozen language model as small as the options say."""
    model.requires_grad_(False)
    model.audio_tower.requires_grad_(parts.encoder)
    if model.audio_tower.predictor is not None:
        model.audio_tower.predictor.requires_grad_(False)  # its tags are no part of an answer
    model.bridge.requires_grad_(parts.bridge)
    model.language_model.requires_grad_(parts.language_model)
    if parts.lora_rank:
        for module in model.language_model.modules():
            if isinstance(module, LoraLinear):
                module.lora_A.requires_grad_(True)
                module.lora_B.requires_grad_(True)
    if parts.frozen_precision == "bfloat16":
        for parameter in model.language_model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)


def trained_names(model: nn.Module) -> frozenset[str]:
    """Return the names of what changes in training: parameters that learn, and the buffers beside them."""
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    modules = {name.rpartition(".")[0] for name in learning}
    state = model.state_dict(keep_vars=True)
    buffers = {name for name in state if not isinstance(state[name], nn.Parameter)}
    return frozenset(learning | {name for name in buffers if name.rpartition(".")[0] in modules})


def _fit_adapters(model: NatureLMForConditionalGeneration, parts: PartsOptions) -> None:
    """Add adapters where the recipe wants them and the weights have none."""
    rank = model.config.lora_rank
    if not parts.lora_rank or rank == parts.lora_rank:
        return
    if rank:
        raise OptionsError(
            f"parts.lora_rank is {parts.lora_rank}, but the model has adapters of rank {rank}: write {rank}"
        )
    attach_lora(
        model.language_model, rank=parts.lora_rank, alpha=parts.lora_alpha, dropout=parts.lora_dropout
    )
    model.config.lora_rank, model.config.lora_alpha = parts.lora_rank, parts.lora_alpha
    model.config.lora_dropout = parts.lora_dropout


def _assembled(
    init: InitOptions, parts: PartsOptions, language_model: str
) -> NatureLMForConditionalGeneration:
    """Return a new model around a language model; the bridge and the adapters are random."""
    folder = locate(language_model, weights=not init.text).path
    encoder_config, state = _encoder(init)
    config = NatureLMConfig(
        audio_config=encoder_config,
        bridge_config=_sizes(BridgeConfig, init.bridge, "init.bridge"),
        text_config=_text_config(folder, init.text),
        padded_lengths_seconds=init.clip_lengths_seconds,
        lora_rank=parts.lora_rank,
        lora_alpha=parts.lora_alpha,
        lora_dropout=parts.lora_dropout,
    )
    text: Any = config.text_config
    config.tie_word_embeddings = bool(text.tie_word_embeddings)
    tokenizer = prepare_tokenizer(folder, config)
    if not init.text:
        opened = prefixed(open_weights(folder), "language_model.")
        state |= {
            name: stored.read() for name, stored in opened.items() if not name.endswith("rotary_emb.inv_freq")
        }
    model = _with_weights(config, state, folder, random_text=bool(init.text))
    generation: Any = GenerationConfig
    model.generation_config = generation(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=eos_token_ids(folder, config, tokenizer),
        pad_token_id=tokenizer.eos_token_id,
        do_sample=False,
    )
    model.tokenizer = tokenizer
    return model


def _new(
    init: InitOptions, parts: PartsOptions, tokenizer: PreTrainedTokenizerFast
) -> NatureLMForConditionalGeneration:
    """Return a new model around a new language model with a tokenizer of its own."""
    start, *ends = tokenizer.convert_tokens_to_ids(
        [tokenizer.bos_token, "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    )
    special: dict[str, Any] = {
        "bos_token_id": start, "eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id
    }  # fmt: skip
    encoder_config, state = _encoder(init)
    text = _sizes(LlamaConfig, init.text, "init.text", over={"vocab_size": len(tokenizer), **special})
    config = NatureLMConfig(
        audio_config=encoder_config,
        bridge_config=_sizes(BridgeConfig, init.bridge, "init.bridge"),
        text_config=text,
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        padded_lengths_seconds=init.clip_lengths_seconds,
        lora_rank=parts.lora_rank,
        lora_alpha=parts.lora_alpha,
        lora_dropout=parts.lora_dropout,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    model = _with_weights(config, state, Path(init.beats or "init"), random_text=True)
    generation: Any = GenerationConfig
    model.generation_config = generation(**special)
    model.tokenizer = tokenizer
    return model


def _encoder(init: InitOptions) -> tuple[BeatsConfig, dict[str, torch.Tensor]]:
    """Return the encoder's sizes, and its tensors where a file has them."""
    if init.beats is None:
        return _sizes(BeatsConfig, init.encoder, "init.encoder"), {}
    path = locate(init.beats).path
    opened = open_checkpoint(path)
    if not isinstance(opened, BeatsFile):
        raise CheckpointError(f"{path}: no BEATs encoder alone but a whole model; name it as init.model")
    return opened.config, {name: stored.read() for name, stored in opened.weights.items()}


def _text_config(folder: Path, changes: dict[str, Any]) -> Any:
    config = read_text_config(folder)
    return _sizes(type(config), changes, "init.text", under=config.to_dict())


def _sizes(
    kind: type[_Config],
    given: dict[str, Any],
    section: str,
    *,
    under: Mapping[str, Any] = MappingProxyType({}),
    over: Mapping[str, Any] = MappingProxyType({}),
) -> _Config:
    """Return a part's sizes as they are given.

    Args:
        kind: of the part.
        given: in the recipe.
        section: of the recipe.
        under: what holds where nothing is given.
        over: what holds whatever is given.

    Raises:
        OptionsError: an unknown key, a value of the wrong type, or sizes that don't fit each other.
    """
    usual: Any = kind()
    for name, value in given.items():
        if not hasattr(usual, name):
            raise OptionsError(f"{section}: unknown key {name}{closest(name, usual.to_dict())}")
        known = type(getattr(usual, name))
        allowed = (int, float) if known is float else known
        wrong = isinstance(value, bool) and known is not bool
        if known in (bool, int, float, str) and (wrong or not isinstance(value, allowed)):
            raise OptionsError(f"{section}.{name}: {value!r} is not of the type of {getattr(usual, name)!r}")
    try:
        config = kind(**{**under, **given, **over})
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise OptionsError(f"{section}: {' '.join(str(error).split())}") from None
    width, heads = getattr(config, "hidden_size", 0), getattr(config, "num_attention_heads", 1)
    if width % heads:
        raise OptionsError(f"{section}: hidden_size {width} is no multiple of num_attention_heads {heads}")
    return config


def _with_weights(
    config: NatureLMConfig, state: dict[str, torch.Tensor], folder: Path, *, random_text: bool
) -> NatureLMForConditionalGeneration:
    """Return the model with these tensors; what else it has is random, and nothing but what should be."""
    if not state:
        return NatureLMForConditionalGeneration(config)
    loaded: Any = NatureLMForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
    )
    model: NatureLMForConditionalGeneration = loaded[0]
    given = {name.partition(".")[0] for name in state}
    missing = [
        name
        for name in loaded[1].get("missing_keys", ())
        if name.partition(".")[0] in given and ".lora_" not in name and name != HEAD
    ]
    wrong = [*loaded[1].get("unexpected_keys", ()), *loaded[1].get("mismatched_keys", ())]
    if missing or wrong:
        raise CheckpointError(
            f"{folder}: not a language model of the kind its config.json says: "
            f"missing {shown(sorted(missing)) or 'nothing'}; unexpected {shown(wrong) or 'nothing'}"
        )
    return model.train()
