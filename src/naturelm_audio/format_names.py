"""The names of output formats, for options and help; what they are is in :mod:`~naturelm_audio.formats`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from naturelm_audio.errors import OptionsError

__all__ = [
    "OUTPUT_FORMATS",
    "check_effect",
    "check_output",
    "format_of_suffix",
    "single_output",
    "split_formats",
]

# fmt: off
OUTPUT_FORMATS = (
    "jsonl", "csv", "parquet", "raven", "audacity", "birdnet", "kaleidoscope", "camtrap-dp", "darwin-core",
    "official",
)
# fmt: on
ANNOTATIONS = ("raven", "audacity", "birdnet", "kaleidoscope", "camtrap-dp", "darwin-core")
EITHER_WAY = ("jsonl", "csv", "parquet", "raven", "birdnet", "kaleidoscope", "darwin-core")
# What an option changes; given without one of these formats it would do nothing.
NEEDS = {
    "per_file": EITHER_WAY,
    "combined": EITHER_WAY,
    "merge": ANNOTATIONS,
    "keep_none": ANNOTATIONS,
    "top_k": ANNOTATIONS,
    "split_answers": ANNOTATIONS,
    "long": ("csv",),
    "byte_order_mark": ("csv",),
    "frequency_lines": ("audacity",),
    "nominal_end": ("official",),
    "scores_as_probabilities": ("camtrap-dp",),
    "dataset": ("camtrap-dp",),
    "media_url": ("camtrap-dp", "darwin-core"),
}
SUFFIXES = {".csv": "csv", ".parquet": "parquet"}
"""Suffixes that say which format a single output has."""


def format_of_suffix(path: Path) -> str:
    """Return the format that a file's name asks for: JSON Lines unless it is one of a table."""
    return SUFFIXES.get(path.suffix.lower(), "jsonl")


def single_output(path: Path, formats: Sequence[str]) -> Path | None:
    """Return the output where it is the one file of one format; else None, and it holds JSON Lines.

    Raises:
        OptionsError: JSON Lines in a file named like a table.
    """
    named = SUFFIXES.get(path.suffix.lower())
    if tuple(formats) in (("official",), (named,)):
        return path
    if named is not None:
        raise OptionsError(
            f"--output-path {path}: holds JSON Lines, and the others come into a folder beside it: name it "
            f"{path.with_suffix('.jsonl').name}"
        )
    return None


def check_output(path: Path, formats: Sequence[str], nominal_end: bool, dataset: Path | None) -> None:
    """Check what formats have to do with each other and with the options for one of them.

    Raises:
        OptionsError: no such format, an option without effect, or JSON Lines in a file named like a table.
    """
    split_formats(formats)
    single_output(path, formats)
    if nominal_end and "official" not in formats:
        raise OptionsError("--nominal-end needs --format official: all others have the true end")
    if dataset is not None and "camtrap-dp" not in formats:
        raise OptionsError("--dataset needs --format camtrap-dp: no other has a place for it")
    if "camtrap-dp" in formats and dataset is None:
        raise OptionsError("--format camtrap-dp needs --dataset: a file that describes the project")


def check_effect(given: Mapping[str, object], formats: Sequence[str]) -> None:
    """Check options of formats, by name, for what would change nothing and what contradicts each other.

    Raises:
        OptionsError: naming the option.
    """
    if given.get("per_file") and given.get("combined"):
        raise OptionsError("--per-file and --combined exclude each other: choose one")
    for option, those in NEEDS.items():
        if given.get(option) not in (None, False) and not set(those) & set(formats):
            flag = option.replace("_", "-")
            of = ", ".join(formats) or "jsonl"
            raise OptionsError(f"--{flag} has no effect on {of}: it is for {', '.join(those)}")


def split_formats(values: Iterable[str]) -> tuple[str, ...]:
    """Return the names in one or more lists like "csv,raven", each once, in the order given.

    Raises:
        OptionsError: there is no format of a name; it says which is near.
    """
    names = dict.fromkeys(name.strip().lower() for value in values for name in value.split(","))
    for name in names:
        if name not in OUTPUT_FORMATS:
            near = difflib.get_close_matches(name, OUTPUT_FORMATS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OUTPUT_FORMATS)}"
            raise OptionsError(f"--format: there is no format {name!r}; {hint}")
    return tuple(names)
