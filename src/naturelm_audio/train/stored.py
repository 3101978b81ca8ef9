"""Shards that carry their audio -> rows without it, and the audio of one row when it is heard.

For shards on a local disk, read in any order; the words of all rows are kept in memory, the audio is not.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naturelm_audio.errors import AudioError, MissingExtraError
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.hub import example_from_row
from naturelm_audio.train.manifest.problems import ManifestError, Problem, refuse_if_any

__all__ = ["StoredAudio", "is_stored", "shards_hash"]

_AUDIO = ("audio", "more_audio")


def is_stored(path: str | Path) -> bool:
    """Return whether a path is a folder of shards rather than an annotation file."""
    return Path(path).is_dir()


def shards_hash(folder: str | Path) -> str:
    """Return what tells a folder of shards from another one: names and sizes, not all of their audio."""
    listed = "".join(f"{file.name}\0{file.stat().st_size}\n" for file in _files(folder))
    return hashlib.sha256(listed.encode()).hexdigest()


class StoredAudio:
    """The rows of folders of shards, and their audio.

    Args:
        folders: with Parquet files such as ``naturelm data shard`` writes.

    Raises:
        ManifestError: no shards, faulty rows, or an id twice.
        MissingExtraError: ``datasets`` is not installed.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._tables: list[Any] = []
        self._places: dict[str, tuple[int, int]] = {}
        self.rows: dict[str, list[Example]] = {folder: [] for folder in folders}
        problems: list[Problem] = []
        for folder in folders:
            for file in _files(folder):
                self._open(folder, file, problems)
        refuse_if_any(problems, ", ".join(folders))

    def __contains__(self, example: Example) -> bool:
        """Return whether the audio of a row is here."""
        return not example.encoded and example.id in self._places

    def filled(self, example: Example) -> Example:
        """Return the row with its audio.

        Raises:
            AudioError: the shard can't be read.
        """
        table, place = self._places[example.id]
        try:
            row = self._tables[table][place]
        except (OSError, ValueError) as error:
            raise AudioError(f"its shard can't be read: {error}", path=example.id) from error
        audio = [row["audio"], *(row.get("more_audio") or ())]
        return dataclasses.replace(example, encoded=tuple(one["bytes"] for one in audio))

    def _open(self, folder: str, file: Path, problems: list[Problem]) -> None:
        try:
            from datasets import Audio, load_dataset
        except ImportError:
            raise MissingExtraError("train", "Training from shards") from None
        table = load_dataset("parquet", data_files=[str(file)], split="train").cast_column(
            "audio", Audio(decode=False)
        )
        words = table.remove_columns([name for name in _AUDIO if name in table.column_names])
        kept = [name for name in _AUDIO if name in table.column_names]
        self._tables.append(table.select_columns(kept))
        counts = _clip_counts(table)
        for place, row in enumerate(words):
            identity = str(row.get("id") or f"{file.name}:{place}")
            first = {"path": row.get("file_name") or identity}
            others = [{"path": f"{identity}-{number}"} for number in range(1, counts[place])]
            try:
                example = example_from_row({**row, "id": identity, "audio": first, "more_audio": others})
            except ValueError as error:
                problems.append(Problem(str(file), place + 1, str(error)))
                continue
            if identity in self._places:
                problems.append(Problem(str(file), place + 1, f"id {identity!r} is given twice"))
            self._places[identity] = (len(self._tables) - 1, place)
            self.rows[folder].append(example)


def _clip_counts(table: Any) -> list[int]:
    """Return how many clips each row has, by the lengths of lists alone."""
    import pyarrow.compute

    if "more_audio" not in table.column_names:
        return [1] * len(table)
    lengths = pyarrow.compute.list_value_length(table.data.column("more_audio"))
    return [1 + (length or 0) for length in lengths.to_pylist()]


def _files(folder: str | Path) -> list[Path]:
    found = sorted(Path(folder).rglob("*.parquet"))
    if not found:
        raise ManifestError(f"{folder}: holds no Parquet file")
    return found
