"""Everything that ``naturelm infer`` can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.format_names import check_effect, check_output, format_of_suffix, single_output
from naturelm_audio.options.checks import real, whole
from naturelm_audio.options.generation import GenerateOptions
from naturelm_audio.options.names import DEFAULT_OUTPUT, RunOptions

__all__ = ["InferOptions"]


@dataclass(frozen=True, kw_only=True)
class InferOptions(RunOptions):
    """Everything ``naturelm infer`` was asked to do, checked before any work is done.

    Raises:
        OptionsError: naming the flag that is wrong.
    """

    audio_paths: tuple[str, ...]
    queries: tuple[str, ...] = ()
    labels_path: Path | None = None
    no_none: bool = False
    top_k: int | None = None
    min_confidence: float | None = None
    calibration: Path | None = None
    output_path: Path = DEFAULT_OUTPUT
    llama_path: str | None = None
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    window_length_seconds: float = 10.0
    hop_length_seconds: float | None = None
    allow_gaps: bool = False
    channel: int | None = None
    speed_factor: float = 1.0
    formats: tuple[str, ...] | None = None
    per_file: bool = False
    combined: bool = False
    merge: bool = False
    dataset: Path | None = None
    recorder: str = "auto"
    time_zone: str | None = None
    metadata: Path | None = None
    nominal_end: bool = False
    generate: GenerateOptions = field(default_factory=GenerateOptions)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        _check_inputs(self.audio_paths, self.queries, self.labels_path)
        self._check_ranking()
        _check_windows(self.window_length_seconds, self.hop_seconds, self.allow_gaps)
        real(self.speed_factor, "--speed-factor", above=0.0)
        if self.channel is not None:
            whole(self.channel, "--channel", at_least=1)
        check_output(self.output_path, self.output_formats, self.nominal_end, self.dataset)
        self._check_form()

    def _check_ranking(self) -> None:
        given = {
            "--no-none": self.no_none or None,
            "--top-k": self.top_k,
            "--min-confidence": self.min_confidence,
            "--calibration": self.calibration,
        }
        for flag, value in given.items():
            if value is not None and self.labels_path is None:
                raise OptionsError(f"{flag} needs --labels: only a ranking of labels has use for it")
        if self.top_k is not None:
            whole(self.top_k, "--top-k", at_least=1)
        if self.min_confidence is not None:
            real(self.min_confidence, "--min-confidence", at_least=0.0, at_most=1.0)

    def _check_form(self) -> None:
        given = {"per_file": self.per_file, "combined": self.combined, "merge": self.merge}
        check_effect(given, [name for name in self.output_formats if name != "jsonl"])
        if self.per_file and single_output(self.output_path, self.output_formats) is not None:
            raise OptionsError(
                f"--per-file: {self.output_path} is one file: name it "
                f"{self.output_path.with_suffix('.jsonl').name}, and those of recordings come into a folder"
            )

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


def _check_inputs(audio_paths: tuple[str, ...], queries: tuple[str, ...], labels_path: Path | None) -> None:
    if not audio_paths:
        raise OptionsError("--audio-path is missing: name a file, a folder or a pattern")
    if not queries and labels_path is None:
        raise OptionsError("--query is missing: ask at least one question, or rank a list with --labels")
    for query in queries:
        if not query.strip():
            raise OptionsError("--query is empty: ask a question")
        if queries.count(query) > 1:
            raise OptionsError(f"--query is given twice: {query!r}")


def _check_windows(window_seconds: float, hop_seconds: float, allow_gaps: bool) -> None:
    real(window_seconds, "--window-length-seconds", above=0.0)
    real(hop_seconds, "--hop-length-seconds", above=0.0)
    if hop_seconds > window_seconds and not allow_gaps:
        raise OptionsError(
            f"--hop-length-seconds {hop_seconds:g} is longer than the window of {window_seconds:g} s, so the "
            "sound between windows would not be heard: make it shorter, or ask for this with --allow-gaps"
        )
