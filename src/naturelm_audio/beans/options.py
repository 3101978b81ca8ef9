"""Everything ``beans`` was asked to do, checked before any work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from naturelm_audio.errors import OptionsError
from naturelm_audio.options import GenerateOptions, RunOptions
from naturelm_audio.options.checks import one_of, real, whole

__all__ = ["BeansOptions"]

DEFAULT_OUTPUT = Path("beans_predictions.jsonl")
SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class BeansOptions(RunOptions):
    """Options of a run.

    ``components`` are names, none are all; ``limit`` is rows of each. ``workers`` prepare clips, or are calls
    of a server that wait at the same time. ``mode`` is that of the metrics file. Where ``predict_url`` is
    given, a server answers.

    Raises:
        OptionsError: naming the flag that is wrong.
    """

    data: str
    output_path: Path = DEFAULT_OUTPUT
    llama_path: str | None = None
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 2
    components: tuple[str, ...] = ()
    limit: int | None = None
    benchmark: Path | None = None
    mode: Literal["official", "strict"] = "strict"
    spice: bool = True
    # The published numbers were made with it, and a benchmark is for comparing.
    resampler: str = "kaiser_best"
    rank_labels: bool = False
    predict_url: str | None = None
    timeout_seconds: float = 120.0
    generate: GenerateOptions = field(default_factory=GenerateOptions)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        whole(self.workers, "--num-workers", at_least=1)
        if self.limit is not None:
            whole(self.limit, "--limit", at_least=1)
        one_of(self.mode, "--mode", ("official", "strict"))
        real(self.timeout_seconds, "--timeout-seconds", above=0.0)
        self._check_output()
        self._check_server()

    def _check_output(self) -> None:
        if self.output_path.suffix.lower() != SUFFIX:
            raise OptionsError(
                f"--output-path {self.output_path}: name a file that ends in {SUFFIX}, for the predictions; "
                "metrics, report and plot are named after it"
            )

    def _check_server(self) -> None:
        if self.predict_url is None:
            return
        if self.rank_labels:
            raise OptionsError("--rank-labels needs the model itself: leave out --predict-url")
        if self.model is not None or self.generate.do_sample:
            name = "--model" if self.model is not None else "sampling"
            raise OptionsError(f"{name} has no effect beside --predict-url: leave it out")

    def settings(self) -> dict[str, Any]:
        """Return what decides the rows, as JSON values: two runs with equal settings can share a file.

        Where data and model lie is not in it: ids of rows and the model's own name and hash are compared.
        Neither are batch size and device, which change the speed and not the answers.
        """
        return {
            "components": sorted(self.components),
            "limit": self.limit,
            "resampler": None if self.predict_url else self.resampler,
            "rank_labels": self.rank_labels,
            "generate": dataclasses.asdict(self.generate),
        }
