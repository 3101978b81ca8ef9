"""Options of every command as frozen dataclasses, and the reader of configuration files.

Nothing here loads a model, opens audio or reads an environment variable.
"""

from naturelm_audio.options.generation import GenerateOptions
from naturelm_audio.options.infer import InferOptions
from naturelm_audio.options.names import (
    BUNDLED_MODEL,
    DEFAULT_OUTPUT,
    DTYPES,
    OFFICIAL_MODEL,
    RESAMPLERS,
    OutputMode,
    RunOptions,
)
from naturelm_audio.options.run_config import RunConfig, find_config, parse_yaml, read_config

__all__ = [
    "BUNDLED_MODEL",
    "DEFAULT_OUTPUT",
    "DTYPES",
    "OFFICIAL_MODEL",
    "RESAMPLERS",
    "GenerateOptions",
    "InferOptions",
    "OutputMode",
    "RunConfig",
    "RunOptions",
    "find_config",
    "parse_yaml",
    "read_config",
]
