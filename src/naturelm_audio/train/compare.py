"""Two training runs side by side: what differs in their recipes, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OutputError
from naturelm_audio.train.yaml_options import differences

__all__ = ["Comparison", "as_markdown", "compare_runs"]

COUNTS = ("rows", "answers", "step")
RECORD = "run.json"
MAX_VALUE_CHARACTERS = 40


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs, and the figures of each.

    ``changed`` is dotted key -> values; ``figures`` is name -> figures, None where a run has none.
    """

    names: tuple[str, str]
    changed: dict[str, tuple[Any, Any]]
    figures: dict[str, tuple[float | None, float | None]]


def compare_runs(first: str | Path, second: str | Path) -> Comparison:
    """Return the comparison of two runs: figures of their best weights, or the latest of one that goes on.

    Of a run in stages the last one counts that has begun.

    Raises:
        OutputError: a folder holds no run, or the runs were judged on nothing.
    """
    folders = _last_stage(Path(first)), _last_stage(Path(second))
    records = [_record(folder) for folder in folders]
    counted = [_figures(folder, record) for folder, record in zip(folders, records, strict=True)]
    changed = differences(records[0]["recipe"], records[1]["recipe"])
    changed |= differences(_sizes(records[0]), _sizes(records[1]))
    names = sorted(counted[0].keys() | counted[1].keys(), key=lambda name: ("/" in name, name))
    figures = {name: (counted[0].get(name), counted[1].get(name)) for name in names}
    return Comparison((str(folders[0]), str(folders[1])), changed, figures)


def as_markdown(found: Comparison) -> str:
    """Return two tables: settings that differ, and figures with their difference."""
    first, second = found.names
    lines = [f"| setting | {first} | {second} |", "|---|---|---|"]
    for key, (old, new) in found.changed.items():
        lines.append(f"| {key} | {_shown(old)} | {_shown(new)} |")
    if not found.changed:
        lines.append("| (all the same) | | |")
    lines += ["", f"| figure | {first} | {second} | difference |", "|---|---:|---:|---:|"]
    for name, (old, new) in found.figures.items():
        counts = name.rpartition("/")[2] in COUNTS
        shown = [
            ("-" if value is None else f"{value:.0f}" if counts else f"{value:.4f}") for value in (old, new)
        ]
        change = "" if counts or old is None or new is None else f"{new - old:+.4f}"
        lines.append(f"| {name} | {shown[0]} | {shown[1]} | {change} |")
    return "\n".join(lines) + "\n"


def _last_stage(folder: Path) -> Path:
    """Return the folder itself, or of a run in stages that of the last one."""
    if (folder / RECORD).is_file():
        return folder
    stages = [path.parent for path in folder.glob(f"stage*/{RECORD}") if path.parent.name[5:].isdigit()]
    return max(stages, key=lambda stage: int(stage.name[5:]), default=folder)


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise OutputError(f"{folder}: no training run: it has no readable run.json") from None
    if "recipe" not in record:
        raise OutputError(f"{folder}: run.json is not of a training run")
    return record


def _sizes(record: dict[str, Any]) -> dict[str, Any]:
    names = ("parameters", "trained_parameters", "rows")
    return {name: record[name] for name in names if name in record}


def _figures(folder: Path, record: dict[str, Any]) -> dict[str, float]:
    figures: dict[str, float] = record.get("figures") or {}
    tested = {f"test {name}": value for name, value in (record.get("test_figures") or {}).items()}
    if figures or tested:
        return {**figures, **tested, "step": float(record["best_step"])}
    path = folder / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    judged = [row for row in map(json.loads, lines) if any(name.startswith("eval_") for name in row)]
    if not judged:
        raise OutputError(f"{folder}: this run was not judged on anything yet: it needs validation rows")
    found = {
        name.removeprefix("eval_"): value for name, value in judged[-1].items() if name.startswith("eval_")
    }
    return {**found, "step": float(judged[-1]["step"])}


def _shown(value: Any) -> str:
    text = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 3] + "..."
