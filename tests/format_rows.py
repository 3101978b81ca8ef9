"""The two results that every format is documented with, and what tests of formats share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from naturelm_audio.formats import Conversion, FormatOptions, convert
from naturelm_audio.records import Answer, Label

QUERY = "What is the common name for the focal species in the audio?"
NAME = "site1/S4A01_20240501_040000.wav"
RUN_ID = "20240613T101500Z-3f2a"
DATASET = {
    "contributors": [{"title": "A. Recordist"}],
    "project": {"title": "Wrens of site 1", "samplingDesign": "opportunistic"},
}


def row(
    start: float | None = 0.0, end: float | None = 10.0, output: str | None = "wren", **changes: Any
) -> Answer:
    """A row of the documented recording, without time and place."""
    values: dict[str, Any] = {
        "audio_path": NAME,
        "query": QUERY,
        "sample_rate": 48_000,
        "model": "naturelm-audio",
        "model_revision": "1a2b3c",
        "run_id": RUN_ID,
    }
    return Answer(start_seconds=start, end_seconds=end, output=output, **values | changes)


def labelled(start: float, end: float, name: str, scientific: str, score: float, **changes: Any) -> Answer:
    """A row with one label."""
    label = Label(label=name, score=score, scientific_name=scientific)
    kind = {"confidence": score, "confidence_kind": "token_probability"}
    return row(start, end, name, labels=(label,), **kind | changes)


def failed(name: str = "site1/broken.wav") -> Answer:
    """The row of a recording that can't be read."""
    error = "audio_decode_failed: not a readable audio file"
    return Answer(
        audio_path=name, start_seconds=None, end_seconds=None, query=QUERY, output=None, error=error
    )


def documented(**changes: Any) -> list[Answer]:
    """The documented rows, with the clock of the recorder."""
    known = {"time_source": "guano", "site": "site1", "duration_seconds": 14.5} | changes
    first = {"start_time": "2024-05-01T04:00:00+02:00", "end_time": "2024-05-01T04:00:10+02:00"}
    second = {"start_time": "2024-05-01T04:00:10+02:00", "end_time": "2024-05-01T04:00:14.5+02:00"}
    return [
        labelled(0.0, 10.0, "Eurasian Wren", "Troglodytes troglodytes", 0.83, **first | known),
        labelled(10.0, 14.5, "European Robin", "Erithacus rubecula", 0.41, **second | known),
    ]


def write_rows(path: Path, rows: Iterable[Answer]) -> Path:
    """Write rows as a run does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{one.to_json()}\n" for one in rows), encoding="utf-8")
    return path


def made(
    folder: Path,
    rows: Iterable[Answer],
    formats: str | Sequence[str],
    options: FormatOptions | None = None,
    **more: Any,
) -> Conversion:
    """Convert rows into `folder/out`."""
    names = [formats] if isinstance(formats, str) else formats
    source = write_rows(folder / "results.jsonl", rows)
    return convert(source, names, folder / "out", options, **{"written_root": "D:\\survey"} | more)


def text_of(folder: Path, name: str) -> str:
    """The text of a file that was made, with its line ends as they are."""
    return (folder / "out" / name).read_bytes().decode("utf-8")
