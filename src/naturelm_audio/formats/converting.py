"""Rows -> files of several formats in one pass, with a file of what made them; nothing half-written stays."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import naturelm_audio
from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.files import write_atomically
from naturelm_audio.formats.about import PlannedRun, Run
from naturelm_audio.formats.audacity import AudacityWriter
from naturelm_audio.formats.birdnet import BirdNetWriter
from naturelm_audio.formats.camtrap import CamtrapWriter
from naturelm_audio.formats.choices import FormatOptions
from naturelm_audio.formats.darwin_core import DarwinCoreWriter
from naturelm_audio.formats.kaleidoscope import KaleidoscopeWriter
from naturelm_audio.formats.official import OfficialWriter
from naturelm_audio.formats.parquet import ParquetWriter
from naturelm_audio.formats.raven import RavenWriter
from naturelm_audio.formats.rows import CsvWriter, JsonLinesWriter
from naturelm_audio.formats.source import BadLine, ResultFile
from naturelm_audio.formats.writing import Export, Writer, make_folder
from naturelm_audio.records import Answer

__all__ = ["FORMATS", "Conversion", "convert", "lacking", "open_writers", "planned_paths"]

FORMATS: dict[str, type[Writer]] = {
    writer.name: writer
    for writer in (
        JsonLinesWriter,
        CsvWriter,
        ParquetWriter,
        RavenWriter,
        AudacityWriter,
        BirdNetWriter,
        KaleidoscopeWriter,
        CamtrapWriter,
        DarwinCoreWriter,
        OfficialWriter,
    )
}
"""Every format by its name."""
SHOWN_LINES = 10
PARAMS_SUFFIX = ".params.json"
"""Of the file that says what made the others: most formats have no room for it."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion made.

    Args:
        paths: the files, those of each recording included.
        rows: name of a format -> its rows.
        impossible: name of a format that was asked for and can't be made -> what it lacks.
        bad_lines: lines that are no rows, as far as they are kept.
        bad_count: how many there are.
        notes: what was left out and why, for the user.
    """

    paths: tuple[Path, ...]
    rows: dict[str, int]
    impossible: dict[str, tuple[str, ...]]
    bad_lines: tuple[BadLine, ...]
    bad_count: int
    notes: tuple[str, ...]

    @property
    def messages(self) -> Iterator[str]:
        """What the user should know, a line each."""
        for bad in self.bad_lines[:SHOWN_LINES]:
            yield f"line {bad.line}: not a row of results, left out: {bad.reason}"
        if self.bad_count > SHOWN_LINES:
            yield f"{self.bad_count:,} lines in all are no rows and were left out"
        yield from self.notes
        for name, lacks in self.impossible.items():
            yield f"{name} was not made: it needs {'; '.join(lacks)}"

    @property
    def is_whole(self) -> bool:
        """Whether every line and every format was converted."""
        return not self.bad_count and not self.impossible


def convert(
    source: str | Path,
    formats: Sequence[str],
    folder: str | Path,
    options: FormatOptions | None = None,
    *,
    overwrite: bool = False,
    single: Path | None = None,
    audio_root: Path | None = None,
    written_root: str | None = None,
    complete: Callable[[Run], Callable[[Answer], Answer]] | None = None,
) -> Conversion:
    """Write the rows of a JSON Lines file in other formats and return what was made.

    The same rows and options give the same files, so it can be repeated at any time.

    Args:
        source: the rows; run file and journal beside them are read if they are there.
        formats: names in FORMATS.
        folder: of the files; made if it is not there.
        options: of all formats.
        overwrite: replace files of before.
        single: the one file of a combined format, in place of a name in the folder.
        audio_root: where the recordings are now, if not where they were.
        written_root: the folder to write in front of their names instead.
        complete: makes, for a run, the function that completes rows, such as with times and places.

    Raises:
        OutputError: the source can't be read, a file exists, or none of the formats can be made.
        OptionsError: there is no such format.
        MissingExtraError: a format needs a package that is not installed.
    """
    with ResultFile(Path(source)) as rows:
        run = Run(rows, audio_root, written_root)
        run.complete = None if complete is None else complete(run)
        export = Export(run, Path(folder), options or FormatOptions(), single)
        writers = open_writers(formats, export)
        impossible = {writer.name: tuple(lacks) for writer in writers if (lacks := writer.missing())}
        writers = [writer for writer in writers if writer.name not in impossible]
        if not writers:
            raise OutputError(
                "; ".join(f"{name} needs {', '.join(lacks)}" for name, lacks in impossible.items())
            )
        if not export.names:
            raise OutputError(f"{source}: has no rows: give the JSON Lines of `naturelm infer`")
        paths = _checked_paths(writers, export, overwrite)
        _write(export, writers)
        conversion = Conversion(
            paths=tuple(path for path in paths if path.exists()),
            rows={writer.name: writer.rows for writer in writers},
            impossible=impossible,
            bad_lines=tuple(rows.bad_lines),
            bad_count=rows.bad_count,
            notes=tuple(_notes(run, writers)),
        )
        if single is None:
            _write_params(export, conversion)
    return conversion


def lacking(impossible: Mapping[str, Sequence[str]]) -> str:
    """Return what formats lack, as one line."""
    return "; ".join(f"{name} needs {'; '.join(lacks)}" for name, lacks in impossible.items())


def planned_paths(
    formats: Sequence[str],
    names: Sequence[str],
    queries: Sequence[str],
    folder: Path,
    options: FormatOptions,
    single: Path | None = None,
) -> list[tuple[Writer, Path]]:
    """Return every file that a conversion of a run to come may write, with its writer.

    Combined tables of Raven are not among them: they are named after rates that nobody knows yet.

    Raises:
        MissingExtraError: a format needs a package that is not installed.
    """
    if not formats:
        return []
    run = PlannedRun(sorted(names), list(queries))
    writers = open_writers(formats, Export(run, folder, options, single))
    return [(writer, path) for writer in writers for path in writer.paths()]


def open_writers(names: Sequence[str], export: Export) -> list[Writer]:
    """Return a writer for each format.

    Raises:
        OptionsError: there is no such format, or not one at all.
        MissingExtraError: it needs a package that is not installed.
    """
    if not names:
        raise OptionsError(f"name a format: {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise OptionsError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    return [FORMATS[name](export) for name in dict.fromkeys(names)]


def _checked_paths(writers: Sequence[Writer], export: Export, overwrite: bool) -> list[Path]:
    """Return all files to come, none of which may be there, be the source, or have two owners."""
    owners: dict[Path, str] = {}
    source = export.run.rows.path
    beside = {
        source.with_name(f"{source.name}{suffix}").resolve() for suffix in ("", ".run.json", ".state.jsonl")
    }
    for writer in writers:
        for path in writer.paths():
            if path in owners:
                raise OutputError(
                    f"{path}: is the name of a file of {owners[path]} and one of {writer.name}: convert them "
                    "into two folders"
                )
            owners[path] = writer.name
            if not path.exists():
                continue
            if path.resolve() in beside:
                raise OutputError(f"{path}: holds the rows themselves: choose another --output-path")
            if not overwrite:
                raise OutputError(
                    f"{path}: exists already: replace it with --overwrite, or choose another --output-path"
                )
            writer.check(path)
    return list(owners)


def _write(export: Export, writers: Sequence[Writer]) -> None:
    with contextlib.ExitStack() as files:
        for writer in writers:
            files.enter_context(writer)
        for name in export.names:
            recording = export.run.recording(name)
            for writer in writers:
                writer.begin(recording)
            for answer in export.run.answers(name):
                for writer in writers:
                    writer.add(answer)
            for writer in writers:
                writer.end(recording)


def _notes(run: Run, writers: Sequence[Writer]) -> Iterator[str]:
    if run.unfinished:
        yield f"the run is not finished: {run.unfinished:,} recordings are not in these rows"
    for writer in writers:
        for reason, count in sorted(writer.left_out.items()):
            yield f"{writer.name}: left out: {reason} ({count:,})"
        for doubt, count in sorted(writer.doubts.items()):
            yield f"{writer.name}: {doubt} ({count:,})"


def _write_params(export: Export, conversion: Conversion) -> None:
    """Write beside the files what made them; equal conversions write equal ones."""
    usual, chosen = vars(FormatOptions()), dict(vars(export.options))
    chosen["species"] = chosen["species"] and sorted(chosen["species"])
    options = {
        name: value for name, value in chosen.items() if value != usual[name] and name != "dataset"
    }  # the dataset is told in its own package
    path = export.folder / f"{export.run.rows.path.stem}{PARAMS_SUFFIX}"
    made = {name: {"rows": rows, "options": options} for name, rows in conversion.rows.items()}
    content = {
        "made_by": f"naturelm-audio {naturelm_audio.__version__}",
        "rows_from": export.run.rows.path.name,
        "formats": _formats_of_before(path, export) | made,
        "recordings": len(export.names),
        "not_finished": export.run.unfinished,
        "bad_lines": conversion.bad_count,
        "notes": list(conversion.notes),
        "run": export.run.provenance,
    }
    make_folder(path)
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _formats_of_before(path: Path, export: Export) -> dict[str, Any]:
    """Return the other formats that were made of the same run in the same folder."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        same = content["run"].get("run_id") == export.run.provenance.get("run_id")
        return dict(content["formats"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or not one of ours
        return {}
