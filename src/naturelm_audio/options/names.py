"""What options of several commands have in common: names, choices, and fields with their checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from naturelm_audio.errors import OptionsError
from naturelm_audio.options.checks import one_of, whole

BUNDLED_MODEL = "naturelm-tiny"
OFFICIAL_MODEL = "EarthSpeciesProject/NatureLM-audio"
DTYPES = ("auto", "float32", "bfloat16", "float16")
RESAMPLERS = ("soxr", "kaiser_best")  # the first is the default, the second what the official release used
DEFAULT_OUTPUT = Path("inference_output.jsonl")
OutputMode = Literal["new", "resume", "overwrite"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Fields of every command that runs a model into an output which can be resumed.

    Raises:
        OptionsError: naming the flag that is wrong.
    """

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    resampler: str = RESAMPLERS[0]
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Check these fields; subclasses call this too."""
        if self.batch_size is not None:
            whole(self.batch_size, "--batch-size", at_least=1)
        one_of(self.dtype, "--dtype", DTYPES)
        one_of(self.resampler, "--resampler", RESAMPLERS)
        if self.resume and self.overwrite:
            raise OptionsError("--resume and --overwrite exclude each other: choose one")

    @property
    def output_mode(self) -> OutputMode:
        """What to do with an output that exists."""
        return "resume" if self.resume else "overwrite" if self.overwrite else "new"
