"""A tiny benchmark in the schema of BEANS-Zero, for tests: ten rows of three components."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

COMPONENTS: dict[str, Any] = {
    "schema_version": 1,
    "name": "zoo",
    "components": [
        {"name": "zoo-cmn", "task": "classification", "labels": ["Hen", "Cat"], "rows": 4, "max_seconds": 3},
        {"name": "zoo-open", "task": "detection", "labels": ["Hen", "Cat"], "rows": 3, "max_seconds": 3},
        {"name": "zoo-cap", "task": "captioning", "rows": 3, "max_seconds": 3},
    ],
}
QUESTION = "What is the common name for the focal species in the audio?"


def samples(number: int, seconds: float = 1.0, rate_hz: int = 16_000) -> np.ndarray:
    """(samples,) float64, different for every number."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(number).standard_normal(time_s.size)
    return 0.3 * np.sin(2 * np.pi * 300 * (number + 1) * time_s) + 0.05 * noise


def row(name: str, number: int, label: str, *, rate_hz: int = 16_000, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "source_dataset": "zoo",
        "audio": samples(number, rate_hz=rate_hz),
        "id": f"{name}-{number}",
        "created_at": "2026-01-01",
        "metadata": json.dumps({"sample_rate": rate_hz, "duration": 1.0}),
        "file_name": f"{number}.wav",
        "instruction": f"<Audio><AudioHere></Audio> {QUESTION}",
        "instruction_text": QUESTION,
        "output": label,
        "task": "classification",
        "dataset_name": name,
        "license": "CC0",
    }
    return values | changes


def zoo_rows() -> list[dict[str, Any]]:
    return [
        *(row("zoo-cmn", n, label) for n, label in enumerate(["Hen", "Cat", "Cat", "Hen"])),
        *(row("zoo-open", 4 + n, label) for n, label in enumerate(["Hen", "None", "Hen, Cat"])),
        *(row("zoo-cap", 7 + n, f"A {animal} calls.") for n, animal in enumerate(["hen", "cat", "frog"])),
    ]


def table_of(rows: list[dict[str, Any]], audio_type: Any = None) -> Any:
    """An Arrow table; audio as lists of doubles unless another type is given."""
    import pyarrow

    arrays = {
        name: pyarrow.array([one.get(name) for one in rows])
        for name in {name: None for one in rows for name in one}
        if name != "audio"
    }
    kind = audio_type or pyarrow.list_(pyarrow.float64())
    return pyarrow.table({"audio": pyarrow.array([one["audio"] for one in rows], kind), **arrays})


def write_parquet(
    folder: Path, rows: list[dict[str, Any]], *, group: int = 4, audio_type: Any = None
) -> Path:
    """A folder with the rows in one Parquet file, and the components."""
    from pyarrow import parquet

    folder.mkdir(exist_ok=True)
    (folder / "components.json").write_text(json.dumps(COMPONENTS))
    parquet.write_table(table_of(rows, audio_type), folder / "shard-00000.parquet", row_group_size=group)
    return folder
