"""Teach a model new sounds from a table of labelled recordings, and say honestly what it learned.

Some recordings of every class are kept for judging alone and nothing is chosen by them, so the figures before
and after are of recordings that the model never learned from. Questions come from `manifest`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio.audio import probe
from naturelm_audio.checkpoint import load_model
from naturelm_audio.errors import AudioError, OptionsError, OutputError
from naturelm_audio.files import write_atomically
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.options import BUNDLED_MODEL
from naturelm_audio.train.augment import Floats
from naturelm_audio.train.checkpoints import publish
from naturelm_audio.train.evaluate import Figure, as_json, as_markdown
from naturelm_audio.train.judging import Judged, by_class, class_of, figures, heard
from naturelm_audio.train.manifest.annotations import resolve, write_annotations
from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
from naturelm_audio.train.manifest.labelled import (
    Labelled,
    LabelledTable,
    read_folders,
    read_labelled,
    with_split,
)
from naturelm_audio.train.manifest.problems import Problem, refuse_if_any
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import (
    AugmentOptions,
    DataOptions,
    InitOptions,
    OptimiserOptions,
    PartsOptions,
    Recipe,
    RunOptions,
)
from naturelm_audio.train.running import train

__all__ = ["FinetuneOptions", "Result", "finetune", "held_out"]

logger = logging.getLogger(__name__)

FEW_RECORDINGS = 5
SMALL_MODEL_PARAMETERS = 200_000_000
"""Up to this size the whole language model learns; a larger one gets adapters."""
FAMILIES = ("names", "candidates", "detection-list", "detection-open")
MOST_SHOWN = 5
FEWEST_STEPS, MOST_STEPS = 60, 1500


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """What to learn and how; None lets the data and the model decide.

    Raises:
        OptionsError: a number out of range.
    """

    data: Path
    """A table of recordings with their labels, or a folder with a folder for each label."""
    output: Path
    model: str = BUNDLED_MODEL
    audio_root: Path | None = None
    steps: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    valid_share: float = 0.2
    seed: int = 13
    drop_bad: bool = False
    """Leave faulty rows and unreadable recordings out, instead of refusing the table."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.valid_share < 1:
            raise OptionsError(f"valid_share must lie between 0 and 1, not {self.valid_share:g}")
        if self.steps is not None and self.steps < 1:
            raise OptionsError(f"steps must be 1 or more, not {self.steps}")


@dataclass(frozen=True)
class Result:
    """A model that learned, and figures on recordings that it didn't learn from."""

    model: Path
    before: tuple[Figure, ...]
    after: tuple[Figure, ...]
    by_class: tuple[Figure, ...]
    recordings: Mapping[str, tuple[int, int]]
    """Class -> recordings learned from, and kept for judging."""
    warnings: tuple[str, ...]

    def as_markdown(self) -> str:
        """Return what was learned as tables, with counts and intervals."""
        lines = ["| question | before | after | of | 95 % interval after |", "|---|---:|---:|---:|---|"]
        for old, new in zip(self.before, self.after, strict=True):
            low, high = new.interval
            lines.append(
                f"| {new.name} | {old.right} ({old.share:.0%}) | {new.right} ({new.share:.0%}) | {new.total} "
                f"| {low:.0%} to {high:.0%} |"
            )
        lines += ["", "After, the open question by class:", "", as_markdown(self.by_class)]
        lines += [
            "Counted on recordings that were kept out of the training; no setting was chosen by them.",
            "What the model knew of other sounds was not measured, and may have become less.",
        ]
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.warnings)]) + "\n"


def finetune(options: FinetuneOptions) -> Result:
    """Train a model on new recordings into ``output``; begun again, it goes on where it stopped.

    The training itself is kept beside it, in ``<output>-training``.

    Raises:
        ManifestError: faulty rows of the table.
        OptionsError: no class has recordings enough to learn and to judge.
        TrainingError: see :func:`train`.
        OutputError: the output holds something else.
    """
    work = options.output.with_name(f"{options.output.name}-training")
    if options.output.exists() and not work.is_dir():
        raise OutputError(f"{options.output}: exists; name a new folder for the model")
    root = options.audio_root or (options.data if options.data.is_dir() else options.data.parent)
    recordings, judged, problems = _recordings(options, root)
    groups = _counts(recordings)
    warnings = (*_warnings(groups), *_left_out(problems))
    for warning in warnings:
        logger.warning("%s", warning)
    if not judged.recordings:
        raise OptionsError(
            f"{options.data}: no class has two recordings, one to learn from and one to judge by"
        )
    first = load_model(options.model)
    before = figures(first, judged, sorted(groups))
    recipe = _recipe(options, first, recordings, root, work)
    del first
    finished = train(recipe, work / "run")
    if finished is None:
        raise OutputError(f"{work}: the training did not come to its end; give the command again")
    model = load_model(finished.model)
    after = figures(model, judged, sorted(groups))
    result = Result(options.output, before, after, by_class(model, judged), groups, warnings)
    _write(result, finished.model, options)
    return result


def held_out(recordings: Sequence[Labelled], valid_share: float, seed: int) -> list[Labelled]:
    """Return the recordings, some of every class in the split ``valid``, the rest in ``train``.

    A table that has splits keeps them. Else whole source recordings are kept, at least one of each class that
    has two, never the last one.
    """
    if any(recording.split in ("valid", "test") for recording in recordings):
        named = {"": "train", "test": "valid"}
        return [with_split(one, named.get(one.split, one.split)) for one in recordings]
    classes: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        classes[class_of(recording)].add(_source(recording))
    kept: set[str] = set()
    for name, sources in sorted(classes.items()):
        ordered = sorted(sources - kept, key=lambda source: digest(seed, "finetune", name, source))
        wanted = min(len(ordered) - 1, max(1, round(valid_share * len(sources))))
        kept.update(ordered[: max(wanted, 0)])
    return [with_split(one, "valid" if _source(one) in kept else "train") for one in recordings]


def _source(recording: Labelled) -> str:
    return recording.recording_id or recording.path


def _recordings(options: FinetuneOptions, root: Path) -> tuple[list[Labelled], Judged, list[Problem]]:
    """Return the recordings with their splits, what is heard of those to judge by, and what was left out.

    Raises:
        ManifestError: faulty rows or recordings, all named, where they are not to be left out.
    """
    data = options.data
    table: LabelledTable = read_folders(data) if data.is_dir() else read_labelled(data)
    problems, sound = list(table.problems), list[Labelled]()
    for one in table.recordings:
        try:
            probe(resolve(root, one.path))
            sound.append(one)
        except AudioError as error:
            problems.append(_problem(one, error))
    recordings, kept, waveforms = list[Labelled](), list[Labelled](), list[Floats]()
    for one in held_out(sound, options.valid_share, options.seed):
        try:
            if one.split == "valid":
                waveforms.append(heard(one, root))
                kept.append(one)
            recordings.append(one)
        except AudioError as error:  # it opens, but what is in it is torn
            problems.append(_problem(one, error))
    if not options.drop_bad:
        refuse_if_any(problems, f"{data} (or leave them out with --drop-bad)")
    if not recordings:
        raise OptionsError(f"{data}: holds no recording")
    return recordings, Judged(tuple(kept), tuple(waveforms)), problems


def _problem(recording: Labelled, error: AudioError) -> Problem:
    return Problem(recording.table or recording.path, recording.line, str(error))


def _left_out(problems: Sequence[Problem]) -> list[str]:
    if not problems:
        return []
    shown = "; ".join(str(problem) for problem in problems[:MOST_SHOWN])
    more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
    return [f"{len(problems)} rows were left out: {shown}{more}"]


def _counts(recordings: Sequence[Labelled]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for recording in recordings:
        found[class_of(recording)][recording.split == "valid"].add(_source(recording))
    return {name: (len(learned), len(judged)) for name, (learned, judged) in sorted(found.items())}


def _warnings(groups: Mapping[str, tuple[int, int]]) -> list[str]:
    few = [f"{name} ({sum(counts)})" for name, counts in groups.items() if sum(counts) < FEW_RECORDINGS]
    unjudged = [name for name, (_, judged) in groups.items() if not judged]
    found = []
    if few:
        found.append(
            f"fewer than {FEW_RECORDINGS} recordings of {', '.join(few)}: expect little, and trust their "
            "figures less"
        )
    if unjudged:
        found.append(f"no recording left to judge {', '.join(unjudged)} by")
    if commas := [name for name in groups if "," in name]:
        found.append(f"a comma parts the names of a list, so no list has {'; '.join(commas)}: rename them")
    if len(groups) == 1:
        found.append("there is one class only: the model can't learn to tell it from others")
    return found


def _recipe(
    options: FinetuneOptions,
    model: NatureLMForConditionalGeneration,
    recordings: Sequence[Labelled],
    root: Path,
    work: Path,
) -> Recipe:
    """Return the recipe, its rows written to a file."""
    learned = [recording for recording in recordings if recording.split == "train"]
    compiled = compile_manifest(
        learned, CompileOptions(families=FAMILIES, seed=options.seed, audio_root=str(root), bad_rows="drop")
    )
    work.mkdir(parents=True, exist_ok=True)
    rows = work / "rows.jsonl"
    write_annotations(rows, compiled.rows)
    small = sum(parameter.numel() for parameter in model.parameters()) <= SMALL_MODEL_PARAMETERS
    steps = options.steps or _steps(len(compiled.rows), options.batch_size)
    rate = options.learning_rate or (2e-4 if small else 5e-5)
    rank = model.config.lora_rank or (0 if small else 32)
    return Recipe(
        name=f"finetune-{options.output.name}",
        seed=options.seed,
        init=InitOptions(model=options.model),
        data=DataOptions(
            train=(str(rows),),
            audio_root=str(root),
            hold_outs="none",
            clip_seconds=_clip_seconds(model, learned, root),
        ),
        augment=AugmentOptions(noise_probability=0.0, replace_probability=0.0),
        parts=PartsOptions(
            language_model=small,
            lora_rank=rank,
            lora_alpha=model.config.lora_alpha,
            encoder_layerdrop=0.0,
            gradient_checkpointing=not small,
        ),
        optimiser=OptimiserOptions(
            steps=steps,
            batch_size=options.batch_size,
            rows_at_once=min(options.batch_size, 16 if small else 4),
            learning_rate=rate,
            final_learning_rate=rate / 20,
            warmup_steps=max(1, steps // 20),
            precision="float32" if small else "bfloat16",
        ),
        run=RunOptions(save_every=max(1, steps // 10), keep_last=1, log_every=max(1, steps // 50)),
    )


def _steps(rows: int, batch_size: int, passes: int = 12) -> int:
    return min(MOST_STEPS, max(FEWEST_STEPS, math.ceil(passes * rows / batch_size)))


def _clip_seconds(
    model: NatureLMForConditionalGeneration, recordings: Sequence[Labelled], root: Path
) -> float:
    """Return the model's clip length that holds nine recordings in ten."""
    lengths = sorted(
        recording.seconds or probe(resolve(root, recording.path)).duration_seconds or math.inf
        for recording in recordings
    )
    usual = lengths[int(0.9 * (len(lengths) - 1))]
    allowed = model.config.padded_lengths_seconds
    return float(next((seconds for seconds in allowed if usual <= seconds), allowed[-1]))


def _write(result: Result, trained: Path, options: FinetuneOptions) -> None:
    """Put the model into the output folder as a whole, with its figures."""
    temporary = options.output.with_name(f".{options.output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(trained, temporary)
    record: dict[str, Any] = {
        "options": {key: str(value) for key, value in dataclasses.asdict(options).items()},
        "recordings": {name: {"learned": a, "judged": b} for name, (a, b) in result.recordings.items()},
        "before": as_json(result.before),
        "after": as_json(result.after),
        "by_class": as_json(result.by_class),
        "warnings": list(result.warnings),
    }
    write_atomically(temporary / "finetune.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    publish(temporary, options.output)
