"""Rows of the public training set, of its kind on this disk, or of our shards -> examples, one at a time.

Audio stays encoded until a clip is needed. The stream has a state: a run that stops goes on with the next
row.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio.errors import MissingExtraError, OptionsError
from naturelm_audio.train.manifest.examples import Example, from_mapping
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.manifest.tables import read_text

__all__ = ["HUB_DATASET", "RowStream", "Selection", "example_from_row", "open_rows", "select_rows"]

HUB_DATASET = "EarthSpeciesProject/NatureLM-audio-training"
_OUR_KEYS = ("start_seconds", "end_seconds", "channel", "split", "labels", "recording_id", "weight")
_TAXA = ("phylum", "class", "order", "family", "genus", "species", "species_scientific", "common_name")
_MOST_PROBLEMS_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows to take; nothing given takes all.

    Tasks and sources are patterns such as ``*-detection*``; taxa are names of any rank, without case.
    """

    tasks: tuple[str, ...] = ()
    without_tasks: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    taxa: tuple[str, ...] = ()
    ids: frozenset[str] | None = None

    def accepts(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row of the set, or of its side file, is wanted; the audio is not looked at."""
        if self.ids is not None and str(row.get("id")) not in self.ids:
            return False
        # The side file needn't have all columns; what it doesn't say is decided by the row itself.
        task, source = row.get("task"), row.get("source_dataset", row.get("source"))
        if ("task" in row and self.tasks and not _matches(task, self.tasks)) or _matches(
            task, self.without_tasks
        ):
            return False
        if self.sources and source is not None and not _matches(source, self.sources):
            return False
        return not self.taxa or self._has_taxon(row)

    def _has_taxon(self, row: Mapping[str, Any]) -> bool:
        metadata = row.get("metadata")
        if isinstance(metadata, str):
            try:
                metadata = json.loads(metadata)
            except ValueError:
                metadata = None
        known = {**(metadata if isinstance(metadata, Mapping) else {}), **row}
        names = {str(known[rank]).casefold() for rank in _TAXA if known.get(rank)}
        return any(taxon.casefold() in names for taxon in self.taxa)


class RowStream:
    """Examples of a stream of rows; faulty rows are counted and passed over.

    Args:
        rows: a dataset of the ``datasets`` library, or anything that yields rows.
        selection: which of them to take.
        name: stands for the rows in messages.
    """

    def __init__(self, rows: Any, selection: Selection | None = None, name: str = "rows") -> None:
        self.rows = rows
        self.selection = selection or Selection()
        self.dropped: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self._name = name

    def __iter__(self) -> Iterator[Example]:
        """Yield the rows that are wanted and sound."""
        for number, row in enumerate(self.rows, start=1):
            if not self.selection.accepts(row):
                self.dropped["not selected"] += 1
                continue
            try:
                yield example_from_row(row)
            except ValueError as error:
                self.dropped["faulty"] += 1
                if len(self.problems) < _MOST_PROBLEMS_KEPT:
                    self.problems.append(Problem(self._name, number, str(error)))

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is: after the row that was yielded last."""
        return dict(self.rows.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where a stream of the same rows was."""
        self.rows.load_state_dict(dict(state))


def example_from_row(row: Mapping[str, Any]) -> Example:
    """Return a row of the public schema as an example; null tasks and metadata are accepted.

    Raises:
        ValueError: with every fault of the row.
    """
    audio = [one for one in (row.get("audio"), *(row.get("more_audio") or ())) if one]
    encoded = tuple(one["bytes"] for one in audio if one.get("bytes"))
    named = [str(one.get("path") or "") for one in audio]
    if named and row.get("file_name"):
        named[0] = str(row["file_name"])
    values: dict[str, Any] = {key: row[key] for key in _OUR_KEYS if row.get(key) is not None}
    values |= {
        "files": [name or f"{row.get('id') or 'clip'}-{place}" for place, name in enumerate(named)],
        "prompt": row.get("instruction", row.get("prompt")),
        "text": row.get("output", row.get("text")),
        "task": row.get("task"),
        "source": row.get("source_dataset", row.get("source")),
        "metadata": row.get("metadata"),
        "license": row.get("license"),
        "id": None if row.get("id") is None else str(row["id"]),
    }
    example = from_mapping(values)
    if encoded and len(encoded) != len(example.files):
        raise ValueError("some of its clips have no audio")
    return dataclasses.replace(example, encoded=encoded)


def select_rows(side_file: str | Path, selection: Selection) -> tuple[Selection, frozenset[int]]:
    """Return the ids of rows wanted by the side file ``annotations.jsonl``, and the shards that hold them.

    Raises:
        ManifestError: it can't be read, or a line is no object with an ``id``.
    """
    ids, shards = set(), set()
    for line, text in enumerate(read_text(side_file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            identity = str(row["id"])
        except (ValueError, KeyError, TypeError):
            raise ManifestError(f"{side_file}:{line}: no JSON object with an 'id'") from None
        if selection.accepts(row):
            ids.add(identity)
            if digits := re.search(r"\d+", str(row.get("shard_id", ""))):
                shards.add(int(digits[0]))
    return dataclasses.replace(selection, ids=frozenset(ids), taxa=()), frozenset(shards)


def open_rows(
    source: str | Path,
    *,
    split: str = "train",
    selection: Selection | None = None,
    shards: Iterable[int] = (),
    rank: int = 0,
    world_size: int = 1,
    shuffle_seed: int | None = None,
) -> RowStream:
    """Return a stream of a folder or file of Parquet or Arrow, or of a data set on the hub.

    Args:
        source: a path, or the name of a data set on the hub.
        split: of local files, those whose name starts with it, if any does.
        selection: which rows to take.
        shards: numbers of the files to read, see :func:`select_rows`; none are all.
        rank: of this process.
        world_size: how many processes share the rows; no row goes to two of them.
        shuffle_seed: draws the order of the shards: give each epoch another one. Rows within a shard stay in
            order, so that the state is exact.

    Raises:
        ManifestError: no such data.
        OptionsError: ``rank`` is not below ``world_size``.
        MissingExtraError: ``datasets`` is not installed.
    """
    if not 0 <= rank < world_size:
        raise OptionsError(f"rank {rank} is not from 0 to below world_size {world_size}")
    try:
        from datasets import Audio, load_dataset
        from datasets.distributed import split_dataset_by_node
    except ImportError:
        raise MissingExtraError("train", "Streaming of training rows") from None
    local, numbers = Path(source), frozenset(shards)
    if not local.exists() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)):
        raise ManifestError(f"{source}: no such folder or file, and no name on the hub like owner/name")
    if local.exists():
        files = _local_files(local, split, numbers)
        if shuffle_seed is not None:
            files.sort(key=lambda file: digest(shuffle_seed, "shards", file.name))
        kind = "parquet" if files[0].suffix == ".parquet" else "arrow"
        rows = load_dataset(kind, data_files=[str(file) for file in files], split="train", streaming=True)
    elif numbers:
        rows = load_dataset(
            str(source), data_files=_hub_files(str(source), numbers), split="train", streaming=True
        )
    else:
        rows = load_dataset(str(source), split=split, streaming=True)
    rows = rows.cast_column("audio", Audio(decode=False))
    if shuffle_seed is not None and not local.exists():
        rows = rows.shuffle(seed=shuffle_seed, buffer_size=1)
    if world_size > 1:
        rows = split_dataset_by_node(rows, rank=rank, world_size=world_size)
    return RowStream(rows, selection, str(source))


def _local_files(source: Path, split: str, shards: frozenset[int]) -> list[Path]:
    if source.is_file():
        return [source]
    found: list[Path] = []
    for suffix in (".parquet", ".arrow"):
        found = found or sorted(source.rglob(f"*{suffix}"))
    of_split = [file for file in found if re.match(rf"{re.escape(split)}\W", file.name)]
    named = [file for file in found if re.match(r"(train|valid|validation|test)\W", file.name)]
    chosen = of_split if named else found
    chosen = [file for file in chosen if not shards or _shard_number(file.name) in shards]
    if not chosen:
        raise ManifestError(f"{source}: no Parquet or Arrow file of the split {split!r} below it")
    return chosen


def _hub_files(source: str, shards: frozenset[int]) -> list[str]:
    from huggingface_hub import HfApi

    names = HfApi().list_repo_files(source, repo_type="dataset")
    chosen = [name for name in names if name.endswith(".parquet") and _shard_number(name) in shards]
    if not chosen:
        raise ManifestError(f"{source}: none of its files has a number that the side file names")
    return sorted(chosen)


def _shard_number(name: str) -> int | None:
    found = re.search(r"(\d+)(?:-of-\d+)?\.(?:parquet|arrow)$", name)
    return int(found[1]) if found else None


def _matches(value: object, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(str(value or "").casefold(), pattern.casefold()) for pattern in patterns)
