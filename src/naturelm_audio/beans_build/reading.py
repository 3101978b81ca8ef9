"""Which recordings a benchmark is made of, and, from tables or annotation files, what was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.annotations import check_annotations
from naturelm_audio.train.manifest.examples import Example, split_name
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.reading import Kind, read_recordings
from naturelm_audio.train.manifest.taxonomy import is_scientific, parse_taxon

__all__ = ["Kind", "audio_root_of", "of_splits", "read_recordings", "read_training"]

_ANNOTATIONS = (".jsonl", ".ndjson", ".json")


def audio_root_of(tables: Sequence[str], given: str | None) -> Path:
    """Return the folder below which the paths of tables are."""
    if given:
        if not Path(given).is_dir():
            raise OptionsError(f"--audio-root {given}: there is no such folder")
        return Path(given)
    first = Path(tables[0]) if tables else Path()
    return first if first.is_dir() else first.parent


def read_training(tables: Sequence[str], root: Path, splits: Sequence[str]) -> list[Labelled]:
    """Return what models are trained on; rows without a split are.

    Raises:
        OptionsError: a table is not there.
        ManifestError: one can't be read.
    """
    plain = [table for table in tables if Path(table).suffix.lower() not in _ANNOTATIONS]
    found = list(read_recordings(plain, root=root).recordings) if plain else []
    for table in tables:
        if table not in plain:
            examples, _ = check_annotations(table, audio_root=root, check_files=False)
            found += [one for example in examples for one in _of_example(example, table)]
    return of_splits(found, (*splits, ""))


def of_splits(recordings: Sequence[Labelled], splits: Sequence[str]) -> list[Labelled]:
    """Return recordings of some splits, by any of a split's names; all if none is named.

    Raises:
        OptionsError: there is no such split.
    """
    try:
        wanted = {split_name(split) for split in splits}
    except ValueError as error:
        raise OptionsError(f"splits: {error}") from None
    return [one for one in recordings if not wanted or one.split in wanted]


def _of_example(example: Example, table: str) -> list[Labelled]:
    """Return a recording for each file of a row of an annotation file."""
    known: dict[str, Any] = {name: str(value or "") for name, value in example.metadata.items()}
    species = known.get("species", "")
    ranks = {"family": known.get("family", ""), "genus": known.get("genus", "")}
    return [
        Labelled(
            path=path,
            common_name=known.get("common_name", ""),
            taxon=parse_taxon(species if is_scientific(species) else "", **ranks),
            kind=known.get("data_category") or "animal",
            caption=example.text,
            recording_id=example.recording_id or path,
            split=example.split,
            source=example.source,
            table=table,
        )
        for path in example.paths
    ]
