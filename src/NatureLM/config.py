"""Configuration files behind the official classes; the environment is not read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.options import OFFICIAL_MODEL, GenerateOptions, RunConfig, read_config

__all__ = ["Config", "GenerateConfig", "ModelConfig", "as_options"]


@dataclass
class GenerateConfig:
    """How answers are generated; may be changed after loading, as official code does."""

    max_new_tokens: int = 300
    num_beams: int = 2
    do_sample: bool = False
    min_length: int = 1
    temperature: float | None = None
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    merging_alpha: float = 1.0


def as_options(generate_cfg: Any) -> GenerateOptions:
    """Our options of a ``GenerateConfig``, a mapping, any object with its fields, or None.

    Raises:
        OptionsError: an option that is unknown or out of range.
    """
    if isinstance(generate_cfg, GenerateOptions):
        return generate_cfg
    values = generate_cfg if isinstance(generate_cfg, Mapping) else vars(generate_cfg or GenerateConfig())
    # 1 is the official files' way to say that there is no shortest answer.
    return GenerateOptions.from_config({k: v for k, v in values.items() if (k, v) != ("min_length", 1)})


class ModelConfig(SimpleNamespace):
    """The official constructor arguments that a file lists under ``model``, and ``path``, what is loaded."""

    @classmethod
    def from_yaml(cls, yaml_file: str | Path) -> ModelConfig:
        """The ``model`` section of a configuration file.

        Raises:
            OptionsError: a file that is missing or has unknown keys.
        """
        return cls.from_run(read_config(yaml_file))

    @classmethod
    def from_run(cls, run: RunConfig) -> ModelConfig:
        """The same of a file that is read already."""
        known = {
            "path": run.model or OFFICIAL_MODEL,
            "llama_path": run.llama_path,
            "device": run.device or "auto",
        }
        return cls(**{**run.model_arguments, **known})


@dataclass
class Config:
    """A configuration file: ``model`` and ``generate``; training sections are not read here."""

    model: ModelConfig
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    run: None = None
    datasets: None = None

    @classmethod
    def from_sources(cls, yaml_file: str | Path, cli_args: list[str] | None = None) -> Config:
        """The configuration of a YAML file, official or ours.

        Args:
            yaml_file: the file.
            cli_args: official overrides such as ``generate.num_beams=4``; only those of ``generate``.

        Raises:
            OptionsError: a file that is missing, an unknown key, or an override of another section.
        """
        run = read_config(yaml_file)
        options = dataclasses.asdict(run.generate)
        names = [item.name for item in dataclasses.fields(GenerateConfig) if item.name in options]
        generate = GenerateConfig(**{name: options[name] for name in names})
        for argument in cli_args or []:
            name, _, value = argument.removeprefix("generate.").partition("=")
            if not argument.startswith("generate.") or name not in names:
                raise OptionsError(f"{argument!r} can't be set here: write it into {yaml_file}")
            setattr(generate, name, type(getattr(GenerateConfig(), name))(float(value)))
        return cls(model=ModelConfig.from_run(run), generate=generate)
