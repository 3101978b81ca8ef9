"""Official names and settings <-> ours: one table of tensor names for both directions, and the configuration.

Source: the state dict, ``config.json`` and YAML settings of the official release 1.0.2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from naturelm_audio import prompts
from naturelm_audio.checkpoint.tensors import Stored, Weights, equal, read_json, shown
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import BeatsConfig, BridgeConfig, NatureLMConfig

logger = logging.getLogger(__name__)

OFFICIAL_LENGTHS_SECONDS = (10.0,)
QFORMER_HEADS = 12  # in no official file; those of BERT-base, which the official code takes its settings from


@dataclass(frozen=True)
class Rule:
    """Official names that begin so begin with ``ours`` here; ``inner`` are parts that differ further on."""

    official: str
    ours: str
    inner: tuple[tuple[str, str], ...] = ()


_BERT = (
    (".attention.self.", ".attention.attention."),
    (".crossattention.self.", ".crossattention.attention."),
)
_PEFT = ((".base_layer.", "."), (".lora_A.default.", ".lora_A."), (".lora_B.default.", ".lora_B."))
_BIAS_TABLE = "self_attn.relative_attention_bias.weight"

# The first rule that matches counts, in both directions.
RULES = (
    Rule("beats.encoder.pos_conv.0.", "audio_tower.encoder.pos_conv."),
    Rule(f"beats.encoder.layers.0.{_BIAS_TABLE}", "audio_tower.encoder.relative_attention_bias.weight"),
    Rule("beats.", "audio_tower."),
    Rule("ln_audio.", "bridge.ln_audio."),
    Rule("audio_query_tokens", "bridge.query_tokens"),
    Rule("audio_Qformer.bert.embeddings.LayerNorm.", "bridge.qformer.layernorm."),
    Rule("audio_Qformer.bert.", "bridge.qformer.", _BERT),
    Rule("audio_llama_proj.", "bridge.projection."),
    Rule("llama_embed_tokens.", "language_model.model.embed_tokens."),
    Rule("llama_model.base_model.model.", "language_model.", _PEFT),
    Rule("llama_model.", "language_model."),  # with `lora: false`
)
EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"
IGNORED = frozenset({"audio_Qformer.bert.embeddings.position_ids"})
_QUERIES = "bridge.query_tokens"
_FEED_FORWARD = "bridge.qformer.encoder.layer.0.intermediate_query.dense.weight"
AUDIO_PARTS = ("audio_tower.", "bridge.")
PREDICTOR = "audio_tower.predictor."


def to_ours(official: str) -> str | None:
    """Return our name of an official tensor, or None if there is none."""
    head, dot, rest = official.removeprefix("beats.encoder.layers.").partition(".")
    if official.startswith("beats.encoder.layers.") and dot and rest == _BIAS_TABLE and head.isdigit():
        return "audio_tower.encoder.relative_attention_bias.weight"  # one table under a name per layer
    for rule in RULES:
        if official.startswith(rule.official):
            tail = official.removeprefix(rule.official)
            for theirs, mine in rule.inner:
                tail = tail.replace(theirs, mine)
            return rule.ours + tail
    return None


def to_official(ours: str, *, lora: bool = True) -> str:
    """Return the official name of one of our tensors: the first by alphabet where it has several.

    Args:
        ours: a name in our state dict.
        lora: whether the model has adapters, which change the names of all of the LLM's tensors.

    Raises:
        KeyError: the official model has no such tensor.
    """
    for rule in RULES:
        if not ours.startswith(rule.ours) or (rule.official == "llama_model.base_model.model." and not lora):
            continue
        tail = ours.removeprefix(rule.ours)
        for theirs, mine in rule.inner:
            if mine != ".":
                tail = tail.replace(mine, theirs)
        adapted = rule.inner is _PEFT and ".self_attn." in tail and tail.endswith("_proj.weight")
        return rule.official + (tail.replace("_proj.weight", "_proj.base_layer.weight") if adapted else tail)
    raise KeyError(ours)


def translate(weights: Weights, *, tied: bool = False) -> dict[str, Stored]:
    """Return official tensors under our names; aliases of one tensor must agree.

    Args:
        weights: tensors by their official names.
        tied: whether the LLM's head is its embedding, so that ``lm_head.weight`` is an alias too.

    Raises:
        CheckpointError: a name that the official model doesn't have, or aliases with different values.
    """
    found: dict[str, Stored] = {}
    unexpected = []
    for name, stored in weights.items():
        ours = to_ours(name)
        if name in IGNORED:
            continue
        if ours is None:
            unexpected.append(stored)
            continue
        ours = EMBEDDING if tied and ours == HEAD else ours
        if ours in found:
            check_alias(found[ours], stored)
        found.setdefault(ours, stored)
    if unexpected:
        names = shown(stored.name for stored in unexpected)
        raise CheckpointError(f"{unexpected[0].path}: {len(unexpected)} tensors unexpected: {names}")
    return found


def check_alias(first: Stored, second: Stored) -> None:
    """Check that two names of one tensor hold the same values.

    Raises:
        CheckpointError: they don't.
    """
    if not equal(first.read(), second.read()):
        raise CheckpointError(
            f"{second.path}: {second.name} and {first.name} are one tensor in this model, but their values "
            "differ: the file was put together from different checkpoints"
        )


# --- settings ---

ARGUMENT_DEFAULTS: dict[str, Any] = {
    "llama_path": None,
    "beats_cfg": None,
    "beats_path": None,
    "freeze_beats": True,
    "use_audio_Qformer": True,
    "max_pooling": False,
    "num_audio_query_token": 1,
    "freeze_audio_QFormer": False,
    "window_level_Qformer": True,
    "second_per_window": 0.333333,
    "second_stride": 0.333333,
    "downsample_factor": 4,
    "audio_llama_proj_model": None,
    "freeze_audio_llama_proj": False,
    "lora": True,
    "lora_rank": 8,
    "lora_alpha": 32,
    "lora_dropout": 0.1,
    "flash_attn": "eager",
    "prompt_template": "",
    "max_txt_len": 128,
    "end_sym": "</s>",
    "device": "cuda",
    "audio_encoding_cache_size": 100,
}
_PATHS = ("llama_path", "beats_path", "audio_llama_proj_model")
_ONLY = {"use_audio_Qformer": True, "window_level_Qformer": True, "max_pooling": False}
_KNOWN_TOO = {"ckpt", "freeze_llama"}  # keys of the YAML form alone

_BEATS_DEFAULTS: dict[str, Any] = {
    "embed_dim": 512,
    "conv_bias": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "num_buckets": 320,
    "predictor_class": 527,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
}
# The same key has one default in config.json and in a BEATs file, and another in YAML settings.
_BEATS_DEFAULTS_JSON: dict[str, Any] = {
    "deep_norm": False,
    "relative_position_embedding": False,
    "gru_rel_pos": False,
    "max_distance": 1280,
    "finetuned_model": False,
    "layer_wise_gradient_decay_ratio": 1.0,
    "encoder_layerdrop": 0.0,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "predictor_dropout": 0.1,
}
_BEATS_DEFAULTS_YAML: dict[str, Any] = {
    "deep_norm": True,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "max_distance": 800,
    "finetuned_model": True,
    "layer_wise_gradient_decay_ratio": 0.6,
    "encoder_layerdrop": 0.05,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "predictor_dropout": 0.0,
}


@dataclass(frozen=True)
class Arguments:
    """The official constructor's arguments, complete, and the file they came from."""

    values: Mapping[str, Any]
    path: Path
    yaml: bool = False

    def __getitem__(self, name: str) -> Any:
        """Return one argument."""
        return self.values[name]

    @property
    def lora_rank(self) -> int:
        """Rank of the adapters, 0 without."""
        return int(self["lora_rank"]) if self["lora"] else 0


def read_arguments(given: Mapping[str, Any], path: Path, *, yaml: bool = False) -> Arguments:
    """Return checked arguments with the official defaults filled in; unknown keys are warned about.

    Args:
        given: the arguments as they were written.
        path: where they come from, for messages and relative paths.
        yaml: whether it is a YAML file, whose ``beats_cfg`` has other defaults.

    Raises:
        CheckpointError: a required argument is missing, or one has a value that the model doesn't support.
    """
    unknown = sorted(given.keys() - ARGUMENT_DEFAULTS.keys() - _KNOWN_TOO)
    if unknown:
        logger.warning("%s: unknown settings are ignored: %s", path, ", ".join(unknown))
    values = {name: given.get(name, default) for name, default in ARGUMENT_DEFAULTS.items()}
    for name in _PATHS:
        values[name] = values[name] or None
    for name, only in _ONLY.items():
        if values[name] is not only:
            problem = f"{name}={values[name]!r} is not supported, only {only!r} is"
            raise CheckpointError(f"{path}: {problem}: the official model works in no other form")
    if not isinstance(values["beats_cfg"], Mapping):
        raise CheckpointError(f"{path}: beats_cfg is missing; the sizes of the audio encoder are needed")
    return Arguments(values, path, yaml)


def beats_config(
    given: Mapping[str, Any], path: Path, *, yaml: bool = False, predictor: bool = True
) -> BeatsConfig:
    """Return the encoder's configuration from an official ``beats_cfg`` or a BEATs file's "cfg".

    Raises:
        CheckpointError: a value that this encoder doesn't compute, or no ``input_patch_size``.
    """
    if "input_patch_size" not in given:
        raise CheckpointError(f"{path}: beats_cfg has no input_patch_size")
    defaults = _BEATS_DEFAULTS | (_BEATS_DEFAULTS_YAML if yaml else _BEATS_DEFAULTS_JSON)
    unknown = sorted(given.keys() - defaults.keys() - {"input_patch_size"})
    if unknown:
        logger.warning("%s: unknown keys of beats_cfg are ignored: %s", path, ", ".join(unknown))
    values = defaults | {name: given[name] for name in given if name not in unknown}
    try:
        config = BeatsConfig(**values)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    config.finetuned_model = config.finetuned_model and predictor
    return config


def bridge_config(arguments: Arguments, found: Weights, heads: int) -> BridgeConfig:
    """Return the Q-Former's configuration; its widths are in the shapes of its tensors alone.

    Raises:
        CheckpointError: the tensors that tell are missing, or the width is no multiple of ``heads``.
    """
    for name in (_QUERIES, _FEED_FORWARD):
        if name not in found or not found[name].shape:
            raise CheckpointError(f"{arguments.path}: tensor {to_official(name)} is missing")
    width = found[_QUERIES].shape[-1]
    if heads < 1 or width % heads:
        raise CheckpointError(
            f"{found[_QUERIES].path}: a Q-Former of width {width} can't have {heads} heads; pass the "
            "right number as qformer_heads= (no file says it)"
        )
    return BridgeConfig(
        hidden_size=width,
        intermediate_size=found[_FEED_FORWARD].shape[0],
        num_attention_heads=heads,
        num_query_tokens=int(arguments["num_audio_query_token"]),
        second_per_window=float(arguments["second_per_window"]),
        second_stride=float(arguments["second_stride"]),
    )


def audio_configs(arguments: Arguments, found: Weights, heads: int) -> tuple[BeatsConfig, BridgeConfig]:
    """Return the configurations of encoder and bridge; without tensors of the tagger the encoder has none."""
    predictor = any(name.startswith(PREDICTOR) for name in found)
    encoder = beats_config(arguments["beats_cfg"], arguments.path, yaml=arguments.yaml, predictor=predictor)
    return encoder, bridge_config(arguments, found, heads)


def model_config(arguments: Arguments, text: PreTrainedConfig, found: Weights, heads: int) -> NatureLMConfig:
    """Return our configuration of an official model whose tensors are ``found`` (under our names)."""
    encoder, bridge = audio_configs(arguments, found, heads)
    template = arguments["prompt_template"] or prompts.TEMPLATE
    if "{}" not in template:
        raise CheckpointError(f"{arguments.path}: prompt_template has no {{}} for the question")
    return NatureLMConfig(
        audio_config=encoder,
        bridge_config=bridge,
        text_config=text,
        padded_lengths_seconds=OFFICIAL_LENGTHS_SECONDS,
        lora_rank=arguments.lora_rank,
        lora_alpha=float(arguments["lora_alpha"]),
        lora_dropout=float(arguments["lora_dropout"]),
        max_answer_tokens=int(arguments["max_txt_len"]),
        end_symbol=str(arguments["end_sym"]),
        prompt_template=template,
    )


def is_ours(path: Path) -> bool:
    """Return whether a file or folder is in our own layout."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    return config.is_file() and read_json(config).get("model_type") == NatureLMConfig.model_type


def own_config(folder: Path) -> NatureLMConfig:
    """Return the configuration of a folder in our own layout.

    Raises:
        CheckpointError: it is damaged, or has a value that the model doesn't support.
    """
    try:
        config: NatureLMConfig = NatureLMConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None
    return config


def official_arguments(config: NatureLMConfig, llama_path: str) -> dict[str, Any]:
    """Return the official constructor's arguments for one of our models."""
    parts: Any = config
    audio, bridge = parts.audio_config, parts.bridge_config
    return ARGUMENT_DEFAULTS | {
        "llama_path": llama_path,
        "beats_cfg": {
            name: getattr(audio, name)
            for name in sorted(_BEATS_DEFAULTS | _BEATS_DEFAULTS_JSON | {"input_patch_size": 16})
        },
        "num_audio_query_token": bridge.num_query_tokens,
        "second_per_window": bridge.second_per_window,
        "second_stride": bridge.second_stride,
        "lora": config.lora_rank > 0,
        "lora_rank": config.lora_rank or 8,
        "lora_alpha": _whole(config.lora_alpha),
        "lora_dropout": config.lora_dropout,
        "prompt_template": config.prompt_template or prompts.TEMPLATE,
        "max_txt_len": config.max_answer_tokens,
        "end_sym": config.end_symbol,
    }


def _whole(number: float) -> float:
    """Return a whole number as the official file writes it."""
    return int(number) if number == int(number) else number
