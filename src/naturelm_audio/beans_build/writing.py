"""Planned rows -> files with their audio, in the columns of BEANS-Zero; a few rows in memory at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from naturelm_audio.audio import SAMPLE_RATE_HZ
from naturelm_audio.beans_build.planned import PlannedComponent
from naturelm_audio.beans_build.sounds import with_workers
from naturelm_audio.errors import MissingExtraError
from naturelm_audio.files import clear_errors, write_atomically
from naturelm_audio.records import dump_json
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.mixing import load_clips
from naturelm_audio.train.manifest.seeding import digest

__all__ = ["COLUMNS", "ROWS_IN_MEMORY", "write_rows"]

COLUMNS = (
    "source_dataset", "audio", "id", "created_at", "metadata", "file_name", "instruction", "instruction_text",
    "output", "task", "dataset_name", "license",
)  # fmt: skip
ROWS_IN_MEMORY = 32  # of 10 s: 20 MB
_SPLIT = "test"


@dataclass(frozen=True)
class _Shard:
    path: Path
    audio_root: Path
    rows: tuple[tuple[str, Example], ...]
    created_at: str
    format: Literal["parquet", "arrow"]
    schema: Any


def write_rows(
    components: Sequence[PlannedComponent],
    audio_root: Path,
    folder: Path,
    *,
    created_at: str,
    format: Literal["parquet", "arrow"] = "parquet",
    rows_per_shard: int = 500,
    workers: int = 1,
) -> list[Path]:
    """Write all rows into a folder, and return its files; they don't depend on the number of workers.

    Raises:
        AudioError: a recording can't be read any more.
        OutputError: the folder can't be written to.
        MissingExtraError: ``datasets`` is not installed.
    """
    features = _features()
    rows = [(component.name, row) for component in components for row in component.rows]
    starts = range(0, len(rows), rows_per_shard)
    place = folder / "data" if format == "parquet" else folder
    prefix = f"{_SPLIT}" if format == "parquet" else "data"
    with clear_errors(folder):
        place.mkdir(parents=True, exist_ok=True)
    shards = [
        _Shard(
            place / f"{prefix}-{number:05d}-of-{len(starts):05d}.{format}",
            audio_root,
            tuple(rows[start : start + rows_per_shard]),
            created_at,
            format,
            features.arrow_schema,
        )
        for number, start in enumerate(starts)
    ]
    for _ in with_workers(_write, shards, workers, "files written"):
        pass
    if format == "arrow":
        _write_state(folder, [shard.path for shard in shards], rows, features)
    return [shard.path for shard in shards]


def _features() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("eval", "Building a benchmark") from None
    text = datasets.Value("string")
    every = dict.fromkeys(COLUMNS, text)
    return datasets.Features(every | {"audio": datasets.List(datasets.Value("float32"))})


def _write(shard: _Shard) -> int:
    """Write one file as a whole; return how many rows it has."""
    import pyarrow
    import pyarrow.parquet

    temporary = shard.path.with_name(f".{shard.path.name}.tmp")
    with clear_errors(shard.path):
        try:
            if shard.format == "parquet":
                # Sound hardly gets smaller, so it is kept as it is and read as it is.
                writer: Any = pyarrow.parquet.ParquetWriter(
                    temporary, shard.schema, compression="none", use_dictionary=False, write_statistics=False
                )
            else:
                writer = pyarrow.ipc.new_stream(str(temporary), shard.schema)
            with writer:
                for batch in _batches(shard, pyarrow):
                    writer.write_batch(batch)
            os.replace(temporary, shard.path)
        finally:
            temporary.unlink(missing_ok=True)
    return len(shard.rows)


def _batches(shard: _Shard, pyarrow: Any) -> Iterator[Any]:
    for start in range(0, len(shard.rows), ROWS_IN_MEMORY):
        part = shard.rows[start : start + ROWS_IN_MEMORY]
        clips = [load_clips(example, shard.audio_root)[0] for _, example in part]
        ends = np.cumsum([0, *map(len, clips)], dtype=np.int32)
        audio = pyarrow.ListArray.from_arrays(ends, pyarrow.array(np.concatenate(clips)))
        texts = [
            _texts(name, example, len(clip), shard.created_at)
            for (name, example), clip in zip(part, clips, strict=True)
        ]
        columns = [
            audio.cast(shard.schema.field("audio").type)
            if column == "audio"
            else pyarrow.array([text[column] for text in texts], pyarrow.string())
            for column in COLUMNS
        ]
        yield pyarrow.RecordBatch.from_arrays(columns, schema=shard.schema)


def _texts(component: str, row: Example, samples: int, created_at: str) -> dict[str, str]:
    """Return every column but the audio."""
    known: dict[str, Any] = {
        "duration": round(samples / SAMPLE_RATE_HZ, 6),
        "sample_rate": SAMPLE_RATE_HZ,
        "recording": row.recording_id,
    }
    if row.mix is None:
        known |= {"start_seconds": row.start_seconds, "end_seconds": row.end_seconds}
    return {
        "source_dataset": row.source,
        "id": row.id,
        "created_at": created_at,
        "metadata": dump_json(known | dict(row.metadata)),
        "file_name": "+".join(row.paths),
        "instruction": row.full_prompt,
        "instruction_text": row.prompt,
        "output": row.text,
        "task": row.task,
        "dataset_name": component,
        "license": row.license or "unknown",
    }


def _write_state(
    folder: Path, files: Sequence[Path], rows: Sequence[tuple[str, Example]], features: Any
) -> None:
    """Write what makes a folder of Arrow files one that ``datasets.load_from_disk`` reads."""
    import datasets

    state: dict[str, Any] = {
        "_data_files": [{"filename": path.name} for path in files],
        "_fingerprint": f"{digest(*(row.id for _, row in rows)):032x}"[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": _SPLIT,
    }
    write_atomically(folder / "state.json", json.dumps(state, indent=2) + "\n")
    info = datasets.DatasetInfo(features=features)
    with clear_errors(folder):
        info.write_to_directory(str(folder))
