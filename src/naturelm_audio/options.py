"""Options of every command as frozen dataclasses, and the reader of configuration files.

YAML exists only at the edge: :func:`read_config` turns an official file (``model:`` lists constructor
arguments) or one of ours (``model:`` is a name or a path) into a :class:`RunConfig`, and refuses unknown
keys. Nothing here loads a model, opens audio or reads an environment variable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from naturelm_audio.errors import OptionsError
from naturelm_audio.format_names import check_output, format_of_suffix, single_output

__all__ = [
    "BUNDLED_MODEL",
    "DEFAULT_OUTPUT",
    "DTYPES",
    "OFFICIAL_MODEL",
    "RESAMPLERS",
    "GenerateOptions",
    "InferOptions",
    "RunConfig",
    "find_config",
    "parse_yaml",
    "read_config",
]

logger = logging.getLogger(__name__)

BUNDLED_MODEL = "naturelm-tiny"
OFFICIAL_MODEL = "EarthSpeciesProject/NatureLM-audio"
DTYPES = ("auto", "float32", "bfloat16", "float16")
RESAMPLERS = ("soxr", "kaiser_best")  # the first is the default, the second what the official release used
DEFAULT_OUTPUT = Path("inference_output.jsonl")

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
KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}
TRAINING_SECTIONS = frozenset({"run", "datasets"})


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """How an answer is generated; an option that would have no effect is refused by name.

    Raises:
        OptionsError: a value is out of range, or has no effect beside the others.
    """

    max_new_tokens: int = field(default=300, metadata={"help": "longest answer, in tokens"})
    num_beams: int = field(default=2, metadata={"help": "beams searched; 1 is greedy"})
    do_sample: bool = field(default=False, metadata={"help": "draw tokens at random"})
    temperature: float | None = field(default=None, metadata={"help": "sampling temperature"})
    top_p: float | None = field(default=None, metadata={"help": "share of probability sampled from"})
    repetition_penalty: float = field(default=1.0, metadata={"help": "above 1 avoids words already said"})
    length_penalty: float = field(default=1.0, metadata={"help": "above 1 prefers longer beams"})
    merging_alpha: float = field(default=1.0, metadata={"help": "0 is the base model, 1 the tuned one"})
    seed: int = field(default=0, metadata={"help": "of the random draws; equal seeds give equal answers"})

    def __post_init__(self) -> None:
        """Check every field."""
        _whole(self.max_new_tokens, "max_new_tokens", at_least=1)
        _whole(self.num_beams, "num_beams", at_least=1)
        if not isinstance(self.do_sample, bool):
            raise OptionsError(f"do_sample must be true or false, found {self.do_sample!r}")
        if self.temperature is not None:
            _real(self.temperature, "temperature", above=0.0)
        if self.top_p is not None:
            _real(self.top_p, "top_p", above=0.0, at_most=1.0)
        _real(self.repetition_penalty, "repetition_penalty", above=0.0)
        _real(self.length_penalty, "length_penalty")
        _real(self.merging_alpha, "merging_alpha", at_least=0.0, at_most=1.0)
        _whole(self.seed, "seed", at_least=0)
        for name, reason in inert_options(dataclasses.asdict(self)).items():
            raise OptionsError(f"{name} has no effect {reason}: leave it out")

    @classmethod
    def from_config(cls, section: Mapping[str, Any] | None, where: str = "generate") -> GenerateOptions:
        """Return the options of a ``generate:`` section; null and an empty section are the defaults.

        Official files set options that have no effect. They are dropped, and one log line names them.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        values = dict(_mapping(section, where))
        _refuse_unknown(values, [*known, "min_length"], where)
        values = {name: value for name, value in values.items() if value is not None}
        inert = inert_options(values)
        if inert:
            listed = "; ".join(f"{name} ({reason})" for name, reason in sorted(inert.items()))
            logger.warning("%s: options without effect are ignored: %s", where, listed)
        typed = {name: _typed(cls, name, value, where) for name, value in values.items() if name not in inert}
        try:
            return cls(**typed)
        except OptionsError as error:
            raise OptionsError(f"{where}.{error}") from None


def inert_options(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the options among ``values`` that would change nothing, each with the reason."""
    found: dict[str, str] = {}
    if values.get("min_length") is not None:
        found["min_length"] = "because it would count the prompt"
    if not values.get("do_sample", False):
        for name in ("temperature", "top_p", "seed"):
            if values.get(name) not in (None, 0):
                found[name] = "without do_sample"
    if values.get("num_beams", 2) == 1 and values.get("length_penalty", 1.0) != 1.0:
        found["length_penalty"] = "with num_beams 1"
    return found


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """Everything ``naturelm infer`` was asked to do, checked before any work is done.

    Raises:
        OptionsError: naming the flag that is wrong.
    """

    audio_paths: tuple[str, ...]
    queries: tuple[str, ...]
    output_path: Path = DEFAULT_OUTPUT
    model: str | None = None
    llama_path: str | None = None
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    window_length_seconds: float = 10.0
    hop_length_seconds: float | None = None
    allow_gaps: bool = False
    channel: int | None = None
    speed_factor: float = 1.0
    resampler: str = RESAMPLERS[0]
    formats: tuple[str, ...] | None = None
    dataset: Path | None = None
    nominal_end: bool = False
    resume: bool = False
    overwrite: bool = False
    generate: GenerateOptions = field(default_factory=GenerateOptions)

    def __post_init__(self) -> None:
        """Check every field."""
        _check_inputs(self.audio_paths, self.queries)
        _check_windows(self.window_length_seconds, self.hop_seconds, self.allow_gaps)
        _real(self.speed_factor, "--speed-factor", above=0.0)
        if self.batch_size is not None:
            _whole(self.batch_size, "--batch-size", at_least=1)
        if self.channel is not None:
            _whole(self.channel, "--channel", at_least=1)
        choices = {"--dtype": (self.dtype, DTYPES), "--resampler": (self.resampler, RESAMPLERS)}
        for flag, (value, known) in choices.items():
            if value not in known:
                raise OptionsError(f"{flag} must be one of {', '.join(known)}, found {value!r}")
        if self.resume and self.overwrite:
            raise OptionsError("--resume and --overwrite exclude each other: choose one")
        check_output(self.output_path, self.output_formats, self.nominal_end, self.dataset)

    @property
    def hop_seconds(self) -> float:
        """The hop in seconds; the window's length if none was given."""
        return self.window_length_seconds if self.hop_length_seconds is None else self.hop_length_seconds

    @property
    def output_formats(self) -> tuple[str, ...]:
        """The formats asked for, else the one that the output's suffix says."""
        return self.formats or (format_of_suffix(self.output_path),)

    @property
    def rows_path(self) -> Path:
        """The file of rows: the output itself, or one beside it from which a single other form is made."""
        single = single_output(self.output_path, self.output_formats)
        return self.output_path if single is None else single.with_name(f"{single.stem}.rows.jsonl")

    @property
    def output_mode(self) -> Literal["new", "resume", "overwrite"]:
        """What to do with an output that exists."""
        return "resume" if self.resume else "overwrite" if self.overwrite else "new"

    def settings(self) -> dict[str, Any]:
        """Return what decides the rows, as JSON values: two runs with equal settings can share a file.

        Paths of the model are not in it (its own name and hash are compared), and neither are the batch size
        and the device, which change the speed and not the answers.
        """
        return {
            "queries": list(self.queries),
            "window_length_seconds": float(self.window_length_seconds),
            "hop_length_seconds": float(self.hop_seconds),
            "channel": self.channel,
            "speed_factor": float(self.speed_factor),
            "resampler": self.resampler,
            "generate": dataclasses.asdict(self.generate),
        }


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
    content = dict(_mapping(parse_yaml(found), str(found)))
    known = {item.name for item in dataclasses.fields(RunConfig)} - {"source", "model_arguments"}
    _refuse_unknown(content, [*known, *TRAINING_SECTIONS], str(found))
    ignored = sorted(TRAINING_SECTIONS & content.keys())
    if ignored:
        logger.info("%s: sections for training are not used here: %s", found, ", ".join(ignored))
    values: dict[str, Any] = {
        name: _typed(RunConfig, name, value, str(found))
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
    arguments = dict(_mapping(section, where))
    _refuse_unknown(arguments, MODEL_KEYS, where)
    beats_where = f"{where}.beats_cfg"
    _refuse_unknown(_mapping(arguments.get("beats_cfg"), beats_where), BEATS_KEYS, beats_where)
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


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise OptionsError(f"{where}: expected keys and values, found {type(value).__name__} {value!r}")
    return {str(key): item for key, item in value.items()}


def _refuse_unknown(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    names = sorted(known)
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(names)}"
            raise OptionsError(f"{where}: unknown key {name!r}; {hint}")


def _typed(owner: type, name: str, value: Any, where: str) -> Any:
    """Return a YAML value as the type of the dataclass field ``name``."""
    declared = {item.name: str(item.type) for item in dataclasses.fields(owner)}
    kind = declared[name].removesuffix(" | None")
    if kind == "float" and isinstance(value, str):  # YAML 1.1 reads 1e-1 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if name == "batch_size" and value == "auto":
        return None
    accepted, words = KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind != "bool"):
        raise OptionsError(f"{where}: {name} must be {words}, found {value!r}")
    return float(value) if kind == "float" else value


def _whole(value: Any, name: str, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise OptionsError(f"{name} must be a whole number of at least {at_least}, found {value!r}")


def _real(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = number and (above is None or value > above) and (at_least is None or value >= at_least)
    if not fits or (at_most is not None and value > at_most):
        limits = {"above": above, "of at least": at_least, "of at most": at_most}
        wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)
        raise OptionsError(f"{name} must be a finite number {wanted}".rstrip() + f", found {value!r}")


def _check_inputs(audio_paths: tuple[str, ...], queries: tuple[str, ...]) -> None:
    if not audio_paths:
        raise OptionsError("--audio-path is missing: name a file, a folder or a pattern")
    if not queries:
        raise OptionsError("--query is missing: ask at least one question")
    for query in queries:
        if not query.strip():
            raise OptionsError("--query is empty: ask a question")
        if queries.count(query) > 1:
            raise OptionsError(f"--query is given twice: {query!r}")


def _check_windows(window_seconds: float, hop_seconds: float, allow_gaps: bool) -> None:
    _real(window_seconds, "--window-length-seconds", above=0.0)
    _real(hop_seconds, "--hop-length-seconds", above=0.0)
    if hop_seconds > window_seconds and not allow_gaps:
        raise OptionsError(
            f"--hop-length-seconds {hop_seconds:g} is longer than the window of {window_seconds:g} s, so the "
            "sound between windows would not be heard: make it shorter, or ask for this with --allow-gaps"
        )
