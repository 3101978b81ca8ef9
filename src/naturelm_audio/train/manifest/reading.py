"""Any tables of labelled recordings -> one list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.event_rows import recordings_of
from naturelm_audio.train.manifest.events import kind_of, read_event_tables
from naturelm_audio.train.manifest.labelled import LabelledTable, read_folders, read_labelled
from naturelm_audio.train.manifest.problems import ManifestError

__all__ = ["Kind", "read_recordings"]

Kind = Literal["auto", "recordings", "folders", "events"]


def read_recordings(
    tables: Sequence[str | Path], *, kind: Kind = "auto", root: Path, label_column: str | None = None
) -> LabelledTable:
    """Return the recordings of all tables, and the faults of their rows.

    A recording that has events in several tables is one.

    Raises:
        OptionsError: no table is given, or one is not there.
        ManifestError: a table can't be read, lacks a column, or there is no recording in any.
    """
    if not tables:
        raise OptionsError("no table of recordings is given: name one or several")
    paths = [Path(table) for table in tables]
    for path in paths:
        if not path.exists():
            raise OptionsError(f"{path}: there is no such table or folder")
    kinds = [kind_of(path) if kind == "auto" else kind for path in paths]
    found = [
        read_folders(path) if of == "folders" else read_labelled(path)
        for path, of in zip(paths, kinds, strict=True)
        if of != "events"
    ]
    if timed := [path for path, of in zip(paths, kinds, strict=True) if of == "events"]:
        found.append(_with_events(timed, root, label_column))
    merged = LabelledTable(
        tuple(one for table in found for one in table.recordings),
        tuple(problem for table in found for problem in table.problems),
    )
    if not merged.recordings:
        shown = ", ".join(map(str, paths))
        raise ManifestError(f"{shown}: the table is empty: no row names a recording", merged.problems)
    return merged


def _with_events(tables: Sequence[Path], root: Path, label_column: str | None) -> LabelledTable:
    events = read_event_tables(tables, root, label_column=label_column)
    source = tables[0].stem if len(tables) == 1 else ""
    return LabelledTable(tuple(recordings_of(events, source)), tuple(events.problems))
