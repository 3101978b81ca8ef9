"""Examples -> Parquet shards that carry their audio, for many machines; they have the public set's columns.

A shard that is there with the same content is not written again, so an interrupted run goes on. Read them
with :func:`naturelm_audio.train.manifest.hub.open_rows`.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import soundfile

from naturelm_audio.audio import SAMPLE_RATE_HZ
from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError
from naturelm_audio.files import clear_errors, write_atomically
from naturelm_audio.records import dump_json
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.mixing import load_clips
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.seeding import digest

__all__ = ["INDEX_NAME", "ShardOptions", "ShardReport", "write_shards"]

INDEX_NAME = "shards.json"
_FINGERPRINT = b"naturelm.fingerprint"
_ROW_GROUP = 64  # rows in memory at a time
_MOST_UNREADABLE = 0.01


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How shards are written.

    Raises:
        OptionsError: a number out of range.
    """

    rows_per_shard: int = 2500
    audio: Literal["flac", "stored"] = "flac"
    """``flac``: the clip alone, mono, 16 kHz, 16 bit. ``stored``: the files as they are, in every row."""
    shuffle_seed: int | None = 0
    """Draws the order of all rows, as shards are read from their start; None keeps it."""
    workers: int = 1

    def __post_init__(self) -> None:
        """Check every field."""
        if self.rows_per_shard < 1 or self.workers < 1:
            raise OptionsError("rows_per_shard and workers must be 1 or more")
        if self.audio not in ("flac", "stored"):
            raise OptionsError(f"audio must be flac or stored, not {self.audio!r}")


@dataclass(frozen=True)
class ShardReport:
    """What was written: files with their rows, those that were there before, and unreadable rows."""

    shards: dict[str, int]
    kept: tuple[str, ...]
    problems: tuple[Problem, ...]


def write_shards(
    examples: Iterable[Example],
    audio_root: str | Path,
    folder: str | Path,
    options: ShardOptions | None = None,
) -> ShardReport:
    """Write ``<split>-00000.parquet`` and so on, and an index; return what was done.

    Raises:
        ManifestError: no examples, or more than 1 % of the rows have audio that can't be read.
        OutputError: the folder can't be written to.
        MissingExtraError: ``datasets`` or ``pyarrow`` is not installed.
    """
    options, folder = options or ShardOptions(), Path(folder)
    jobs = _jobs(examples, Path(audio_root), folder, options)
    if not jobs:
        raise ManifestError("no rows to write into shards")
    with clear_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if options.workers == 1:
        done = [_write(job) for job in jobs]
    else:
        with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(_write, jobs))
    problems = [problem for _, _, found in done for problem in found]
    shards = {job.path.name: rows for job, (rows, _, _) in zip(jobs, done, strict=True)}
    kept = tuple(job.path.name for job, (_, was_there, _) in zip(jobs, done, strict=True) if was_there)
    total = sum(len(job.examples) for job in jobs)
    if len(problems) > _MOST_UNREADABLE * total:
        raise ManifestError(f"{len(problems)} of {total} rows have audio that can't be read", problems)
    index = {"shards": shards, "audio": options.audio, "unreadable": [str(problem) for problem in problems]}
    write_atomically(folder / INDEX_NAME, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    return ShardReport(shards, kept, tuple(problems))


@dataclass(frozen=True)
class _Job:
    path: Path
    audio_root: Path
    examples: tuple[Example, ...]
    audio: Literal["flac", "stored"]

    @property
    def fingerprint(self) -> str:
        rows = [dump_json(example.to_mapping()) for example in self.examples]
        return f"{digest(self.audio, *rows):032x}"


def _jobs(examples: Iterable[Example], audio_root: Path, folder: Path, options: ShardOptions) -> list[_Job]:
    by_split: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_split[example.split or "train"].append(example)
    jobs = []
    for split, rows in sorted(by_split.items()):
        if options.shuffle_seed is not None:
            numbered = sorted(
                range(len(rows)), key=lambda place: digest(options.shuffle_seed, "shards", split, place)
            )
            rows = [rows[place] for place in numbered]
        for number, start in enumerate(range(0, len(rows), options.rows_per_shard)):
            part = tuple(rows[start : start + options.rows_per_shard])
            jobs.append(_Job(folder / f"{split}-{number:05d}.parquet", audio_root, part, options.audio))
    return jobs


def _write(job: _Job) -> tuple[int, bool, list[Problem]]:
    """Write one shard unless it is there; return its rows, whether it was there, and unreadable rows."""
    try:
        import datasets
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("train", "Writing shards") from None
    fingerprint = job.fingerprint.encode()
    found = _known(job.path)
    if found is not None and found[1] == fingerprint:
        return found[0], True, []
    schema = _features(datasets, job.audio).arrow_schema
    problems: list[Problem] = []
    count = 0
    temporary = job.path.with_name(f".{job.path.name}.tmp")
    with clear_errors(job.path):
        try:
            with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
                for group in _groups(_rows(job, problems)):
                    writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
                    count += len(group)
                # A shard that lacks rows is written again next time: the file may have been mended.
                if not problems:
                    writer.add_key_value_metadata({_FINGERPRINT: fingerprint})
            os.replace(temporary, job.path)
        finally:
            temporary.unlink(missing_ok=True)
    return count, False, problems


def _features(datasets: Any, audio: str) -> Any:
    text, real = datasets.Value("string"), datasets.Value("float64")
    return datasets.Features(
        {
            "audio": datasets.Audio(sampling_rate=SAMPLE_RATE_HZ if audio == "flac" else None),
            "more_audio": datasets.List({"bytes": datasets.Value("binary"), "path": text}),
            "file_name": text,
            "instruction": text,
            "output": text,
            "task": text,
            "source_dataset": text,
            "metadata": text,
            "license": text,
            "id": text,
            "start_seconds": real,
            "end_seconds": real,
            "channel": datasets.Value("int32"),
            "split": text,
            "labels": datasets.List(text),
            "recording_id": text,
            "weight": real,
        }
    )


def _rows(job: _Job, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    for example in job.examples:
        try:
            yield _row(example, job)
        except (AudioError, OSError) as error:
            problems.append(Problem(", ".join(example.paths), 0, str(error)))


def _row(example: Example, job: _Job) -> dict[str, Any]:
    """Return a row of the public schema with its audio."""
    stored = job.audio == "stored" and example.mix is None
    if stored:
        files = [(name, resolve(job.audio_root, name).read_bytes()) for name in example.files]
    else:
        names = example.files or (f"{'+'.join(Path(path).stem for path in example.paths)}.wav",)
        clips = zip(names, load_clips(example, job.audio_root), strict=True)
        files = [(str(Path(name).with_suffix(".flac")), _flac(clip)) for name, clip in clips]
    audio = [{"bytes": data, "path": name} for name, data in files]
    return {
        "audio": audio[0],
        "more_audio": audio[1:] or None,
        "file_name": files[0][0],
        "instruction": example.full_prompt,
        "output": example.text,
        "task": example.task,
        "source_dataset": example.source or None,
        "metadata": dump_json(dict(example.metadata)) if example.metadata else None,
        "license": example.license or None,
        "id": example.id or f"{digest(dump_json(example.to_mapping())):032x}",
        "start_seconds": example.start_seconds if stored else None,
        "end_seconds": example.end_seconds if stored else None,
        "channel": example.channel if stored else None,
        "split": example.split or None,
        "labels": list(example.labels) or None,
        "recording_id": example.recording_id or None,
        "weight": example.weight,
    }


def _flac(samples: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) >= _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _known(path: Path) -> tuple[int, bytes] | None:
    """Return rows and fingerprint of a shard that is there and whole."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return file.metadata.num_rows, (file.metadata.metadata or {}).get(_FINGERPRINT, b"")
    except (OSError, pyarrow.ArrowException):
        return None
