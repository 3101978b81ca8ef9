"""The reader of configuration files.

YAML exists only here: :func:`read_config` turns an official file (``model:`` lists constructor arguments) or
one of ours (``model:`` is a name or a path) into a :class:`RunConfig`, and refuses unknown keys.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.options.checks import mapping, refuse_unknown, typed
from naturelm_audio.options.generation import GenerateOptions
from naturelm_audio.options.names import OFFICIAL_MODEL

__all__ = ["RunConfig", "find_config", "parse_yaml", "read_config"]

logger = logging.getLogger(__name__)

# fmt: off
BEATS_KEYS = frozenset({
    "input_patch_size", "embed_dim", "conv_bias", "encoder_layers", "encoder_embed_dim",
    "encoder_ffn_embed_dim", "encoder_attention_heads", "activation_fn", "layer_wise_gradient_decay_ratio",
    "layer_norm_first", "deep_norm", "dropout", "attention_dropout", "activation_dropout",
    "encoder_layerdrop", "dropout_input", "conv_pos", "conv_pos_groups", "relative_position_embedding",
    "num_buckets", "max_distance", "gru_rel_pos", "finetuned_model", "predictor_dropout", "predictor_class",
})
MODEL_KEYS = frozenset({
    "llama_path", "beats_path", "beats_cfg", "ckpt", "freeze_beats", "freeze_llama", "use_audio_Qformer",
    "max_pooling", "num_audio_query_token", "freeze_audio_QFormer", "window_level_Qformer",
    "second_per_window", "second_stride", "downsample_factor", "audio_llama_proj_model",
    "freeze_audio_llama_proj", "lora", "lora_rank", "lora_alpha", "lora_dropout", "flash_attn",
    "prompt_template", "max_txt_len", "end_sym", "device", "audio_encoding_cache_size",
})
# fmt: on
# The official code has branches for other values of these; none of them works there, none exists here.
ONLY_MODEL_VALUES = {"use_audio_Qformer": True, "window_level_Qformer": True, "max_pooling": False}
TRAINING_SECTIONS = frozenset({"run", "datasets"})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a configuration file says; None where it says nothing."""

    model: str | None = None
    llama_path: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    window_length_seconds: float | None = None
    hop_length_seconds: float | None = None
    channel: int | None = None
    speed_factor: float | None = None
    resampler: str | None = None
    generate: GenerateOptions = field(default_factory=GenerateOptions)
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None


def read_config(path: str | Path) -> RunConfig:
    """Return the settings of a YAML file in the official form or ours.

    ``configs/inference.yml`` and its neighbours are also found inside the package when the working directory
    has no such file, so a command of the README works from any directory.

    Raises:
        OptionsError: the file is missing, is not YAML, or has an unknown key or a value of the wrong type.
    """
    found = find_config(Path(path))
    content = dict(mapping(parse_yaml(found), str(found)))
    known = {item.name for item in dataclasses.fields(RunConfig)} - {"source", "model_arguments"}
    refuse_unknown(content, [*known, *TRAINING_SECTIONS], str(found))
    ignored = sorted(TRAINING_SECTIONS & content.keys())
    if ignored:
        logger.info("%s: sections for training are not used here: %s", found, ", ".join(ignored))
    values: dict[str, Any] = {
        name: typed(RunConfig, name, value, str(found))
        for name, value in content.items()
        if value is not None and name not in {"model", "generate", *TRAINING_SECTIONS}
    }
    values |= _model_section(content.get("model"), found)
    values["generate"] = GenerateOptions.from_config(content.get("generate"), f"{found}: generate")
    if "llama_path" in values:
        values["llama_path"] = _beside(values["llama_path"], found)
    return RunConfig(source=found, **values)


def _model_section(section: Any, source: Path) -> dict[str, Any]:
    """Return ``model`` (and ``llama_path``, ``model_arguments``) of either form of the section."""
    if section is None:
        return {}
    if isinstance(section, str):
        return {"model": _beside(section, source)}
    where = f"{source}: model"
    arguments = dict(mapping(section, where))
    refuse_unknown(arguments, MODEL_KEYS, where)
    beats_where = f"{where}.beats_cfg"
    refuse_unknown(mapping(arguments.get("beats_cfg"), beats_where), BEATS_KEYS, beats_where)
    for name, only in ONLY_MODEL_VALUES.items():
        if arguments.get(name, only) is not only:
            raise OptionsError(f"{where}.{name} must be {str(only).lower()}: the model has no other form")
    checkpoint = _official_checkpoint(arguments.get("ckpt"), source)
    found: dict[str, Any] = {"model": checkpoint, "model_arguments": arguments}
    if arguments.get("llama_path"):
        found["llama_path"] = str(arguments["llama_path"])
    return found


def _official_checkpoint(checkpoint: Any, source: Path) -> str:
    """Return the weights that an official file means: its ``ckpt``, or the published release."""
    named = str(checkpoint or "")
    if named and "://" not in named:
        return _beside(named, source)
    if named:
        logger.info("%s: model.ckpt %s is not reachable from here; using %s", source, named, OFFICIAL_MODEL)
    return OFFICIAL_MODEL


def _beside(name: str, source: Path) -> str:
    """Return ``name`` as a path beside the configuration file if there is one, else as it was written."""
    candidate = source.parent / name
    return str(candidate) if name and candidate.exists() else name


def find_config(path: Path) -> Path:
    """Return the file itself, or the one of the same name that ships in the package."""
    if path.is_file():
        return path
    shipped = Path(str(resources.files("naturelm_audio"))) / "configs" / path.name
    if not path.exists() and path.parent in (Path(), Path("configs")) and shipped.is_file():
        logger.info("%s is not in the working directory; reading the one in the package", path)
        return shipped
    names = ", ".join(sorted(item.name for item in shipped.parent.glob("*.yml")))
    raise OptionsError(f"{path}: no such configuration file (in the package: {names})")


def parse_yaml(path: Path) -> Any:
    """Return the parsed file; a key written twice is an error instead of the last one winning."""
    import yaml

    class UniqueKeyLoader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = [key for key in keys if keys.count(key) > 1]
            if twice:
                problem = f"{twice[0]!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_bytes(), Loader=UniqueKeyLoader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it can't be parsed"
        raise OptionsError(f"{path}{place}: not a valid YAML file: {problem}") from None
    except OSError as error:
        raise OptionsError(f"{path}: can't be read: {error.strerror or error}") from None
