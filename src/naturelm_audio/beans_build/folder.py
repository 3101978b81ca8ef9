"""The folder of a built benchmark: rows, components, data card, how it was made; it appears as a whole."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from naturelm_audio import __version__
from naturelm_audio.beans_build.card import data_card
from naturelm_audio.beans_build.heldout import exclusion_list
from naturelm_audio.beans_build.leaks import LeakReport
from naturelm_audio.beans_build.options import BuildOptions
from naturelm_audio.beans_build.planned import Built
from naturelm_audio.beans_build.writing import write_rows
from naturelm_audio.components import COMPONENTS_FILE, SCHEMA_VERSION, read_benchmark
from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.files import clear_errors, replacing, write_atomically
from naturelm_audio.train.manifest.holdouts import HoldOuts

__all__ = ["BUILD_FILE", "EXCLUSIONS_FILE", "ROWS_FILE", "require_free", "write_folder"]

BUILD_FILE = "build.json"
EXCLUSIONS_FILE = "held_out.txt"
ROWS_FILE = "rows.csv"
_NO_MATTER = {"workers", "output", "overwrite"}  # the rows don't depend on it
_MOST_PROBLEMS = 1000


def require_free(options: BuildOptions) -> None:
    """Do nothing where the output can be written.

    Raises:
        OptionsError: no folder is named.
        OutputError: it holds something, and not a benchmark that may be replaced.
    """
    if not options.output:
        raise OptionsError("--output is missing: name the folder of the benchmark")
    folder = Path(options.output)
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not folder.exists():
        return
    if not (folder / BUILD_FILE).is_file():
        raise OutputError(f"{folder}: is there and holds no benchmark of ours: choose another folder")
    if not options.overwrite:
        raise OutputError(f"{folder}: holds a benchmark already: choose another folder, or pass --overwrite")


def write_folder(
    built: Built, options: BuildOptions, leaks: LeakReport, holdouts: HoldOuts | None, audio_root: Path
) -> None:
    """Write everything beside the output's place, then put it there.

    Raises:
        AudioError: a recording can't be read any more.
        OutputError: it can't be written.
        MissingExtraError: ``datasets`` is not installed.
    """
    folder = Path(options.output)
    partial = folder.with_name(f".{folder.name}.partial")
    with clear_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        write_rows(
            built.components,
            audio_root,
            partial,
            created_at=_created_at(options),
            format=options.format,
            rows_per_shard=options.rows_per_shard,
            workers=options.workers,
        )
        _write_texts(built, options, leaks, holdouts, partial)
        _put(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_texts(
    built: Built, options: BuildOptions, leaks: LeakReport, holdouts: HoldOuts | None, folder: Path
) -> None:
    table = {
        "schema_version": SCHEMA_VERSION,
        "name": options.name,
        "components": [one.as_json() for one in built.components],
    }
    write_atomically(folder / COMPONENTS_FILE, _pretty(table))
    read_benchmark(folder / COMPONENTS_FILE)  # what we write must be what is read
    write_atomically(folder / "README.md", data_card(options, built, leaks))
    write_atomically(folder / BUILD_FILE, _pretty(_made(built, options, leaks)))
    if holdouts is not None:
        write_atomically(folder / EXCLUSIONS_FILE, exclusion_list(holdouts))
    with replacing(folder / ROWS_FILE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["id", "dataset_name", "output", "source_dataset", "file_name", "start_seconds", "end_seconds"]
        )
        for one in built.components:
            for row in one.rows:
                place = (row.source, "+".join(row.paths), row.start_seconds, row.end_seconds)
                writer.writerow([row.id, one.name, row.text, *place])


def _made(built: Built, options: BuildOptions, leaks: LeakReport) -> dict[str, Any]:
    """Return how a benchmark was made; nothing in it depends on the machine or the hour."""
    given = {name: value for name, value in _chosen(options).items() if name not in _NO_MATTER}
    problems = [str(problem) for problem in built.problems]
    return {
        "made_by": f"naturelm-audio {__version__}",
        "options": given,
        "tables": {table: _sha256(Path(table)) for table in (*options.tables, *options.training)},
        "components": {
            one.name: {"rows": len(one.rows), "labels": dict(sorted(one.counts.items()))}
            for one in built.components
        },
        "training": leaks.as_json(),
        "left_out": built.left_out.as_json(),
        "problems": {"count": len(problems), "first": problems[:_MOST_PROBLEMS]},
    }


def _chosen(options: Any) -> dict[str, Any]:
    """Return the fields of options that aren't their defaults."""
    found = {}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        if value != default:
            nested = isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0])
            found[one.name] = [_chosen(part) for part in value] if nested else value
    return found


def _sha256(table: Path) -> str | None:
    if not table.is_file():
        return None
    with open(table, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _created_at(options: BuildOptions) -> str:
    """Return when the newest table was written, so that the same tables give the same rows."""
    newest = max(Path(table).stat().st_mtime for table in options.tables)
    return datetime.datetime.fromtimestamp(int(newest), datetime.UTC).isoformat()


def _put(partial: Path, folder: Path) -> None:
    """Move a finished folder to its place; what was there goes once it is in it."""
    old = folder.with_name(f".{folder.name}.old")
    with clear_errors(folder):
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
