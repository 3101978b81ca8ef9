"""Which rows of annotation files a run learns from and is judged on: by split, task, domain, taxon."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.annotations import read_annotations
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.holdouts import HoldOuts, read_holdouts, shipped_holdouts
from naturelm_audio.train.recipe import DataOptions
from naturelm_audio.train.stored import StoredAudio, is_stored, shards_hash

__all__ = ["Rows", "domain_of", "file_hash", "hold_outs", "judged_rows", "rows_of", "unwanted"]

_SPEECH = ("speaker", "speech")
_MUSIC = ("pitch", "instrument", "velocity", "timbre", "music", "note-")


@dataclass(frozen=True)
class Rows:
    """Rows of a run, the folder of their audio, and how many were left out for which reason."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    audio_root: Path
    stored: StoredAudio | None = None
    test: tuple[Example, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return counts for the run's record."""
        return {
            "train_rows": len(self.train),
            "valid_rows": len(self.valid),
            "test_rows": len(self.test),
            "train_tasks": dict(sorted(Counter(row.task for row in self.train).items())),
            "left_out": dict(sorted(self.left_out.items())),
        }


def rows_of(options: DataOptions) -> Rows:
    """Return the rows of a recipe's annotation files that its filters keep.

    Raises:
        ManifestError: faulty rows, all named with file and line.
        OptionsError: no files, files in several folders without a common root, or no row is left.
    """
    if not options.train:
        raise OptionsError("data.train: name an annotation file")
    root = _root(options)
    counts: Counter[str] = Counter()
    held_out = hold_outs(options.hold_outs)
    judged = judged_rows(options, (*options.train, *options.valid, *options.test))
    training = _read(options.train, root, judged.stored)
    train = [row for row in training if row.split in ("", "train")]
    train = _allowed(_filtered(train, options, counts), held_out, options, counts)
    if not train:
        raise OptionsError(f"data: no row is left to learn from; left out: {dict(counts) or 'none'}")
    valid, test = (
        rows or tuple(_filtered((row for row in training if row.split == split), options, Counter()))
        for rows, split in ((judged.valid, "valid"), (judged.test, "test"))
    )
    return dataclasses.replace(judged, train=tuple(train), valid=valid, test=test, left_out=dict(counts))


def judged_rows(options: DataOptions, paths: Sequence[str] = ()) -> Rows:
    """Return the rows of ``data.valid`` and ``data.test`` that the recipe's filters keep.

    Rows of the other one's split count where there are no others.

    Args:
        options: of the recipe.
        paths: everything that may be a folder of shards; by default those two.

    Raises:
        ManifestError: faulty rows, all named with file and line.
        OptionsError: files in several folders without a common root.
    """
    root = _root(options)
    shards = [path for path in paths or (*options.valid, *options.test) if is_stored(path)]
    stored = StoredAudio(list(dict.fromkeys(shards))) if shards else None

    def of(listed: Sequence[str], splits: Sequence[str], others: Sequence[str]) -> tuple[Example, ...]:
        rows = _filtered(_read(listed, root, stored), options, Counter())
        wanted = [row for row in rows if row.split in splits]
        return tuple(wanted or (row for row in rows if row.split in others))

    valid = of(options.valid, ("", "valid"), ("test",))
    return Rows((), valid, root, stored, of(options.test, ("", "test"), ("valid",)))


def domain_of(row: Example) -> str:
    """Return ``speech``, ``music``, ``animal`` or ``other``: by the row's own word for it, or by its task."""
    said = str(row.metadata.get("data_category") or row.metadata.get("kind") or "").casefold()
    if said in ("speech", "music", "animal"):
        return said
    if said in ("environment", "noise"):
        return "other"
    if any(word in row.task for word in _SPEECH):
        return "speech"
    if any(word in row.task for word in _MUSIC):
        return "music"
    named = any(row.metadata.get(name) for name in ("species", "genus", "family"))
    return "animal" if named or row.task.startswith(("sci-", "taxonomic-")) else "other"


def hold_outs(name: str) -> HoldOuts | None:
    """Return the taxa that nothing may be learned from: the paper's, those of a file, or none."""
    if name == "none":
        return None
    return shipped_holdouts() if name == "paper" else read_holdouts(name)


def file_hash(path: str | Path) -> str:
    """Return what tells a file's content, or a folder of shards, from any other."""
    if is_stored(path):
        return shards_hash(path)
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _root(options: DataOptions) -> Path:
    if options.audio_root is not None:
        return Path(options.audio_root)
    folders = {Path(path).resolve().parent for path in (*options.train, *options.valid, *options.test)}
    if len(folders) > 1:
        raise OptionsError("data.audio_root: the annotation files are in several folders; name the audio's")
    return folders.pop()


def _read(paths: Sequence[str], root: Path, stored: StoredAudio | None) -> list[Example]:
    found: list[Example] = []
    for path in paths:
        carried = stored.rows.get(path) if stored is not None else None
        found += read_annotations(path, audio_root=root) if carried is None else carried
    return found


def _filtered(rows: Iterable[Example], options: DataOptions, counts: Counter[str]) -> list[Example]:
    kept = []
    for row in rows:
        reason = _unwanted(row, options)
        if reason:
            counts[reason] += 1
        else:
            kept.append(row)
    return kept


def unwanted(row: Example, options: DataOptions, held_out: HoldOuts | None) -> str:
    """Return why a row is not learned from: by a filter, or by a taxon that is held out; or nothing.

    Raises:
        OptionsError: held-out rows are to be refused.
    """
    found = _unwanted(row, options)
    if found or held_out is None:
        return found
    reason = held_out.reason_of_example(row)
    if reason and options.held_out_rows == "refuse":
        name = row.id or ", ".join(row.files)
        raise OptionsError(f"{name}: {reason}; leave it out, or set data.held_out_rows to drop")
    return "held-out taxon" if reason else ""


def _unwanted(row: Example, options: DataOptions) -> str:
    """Return by which filter a row is left out, or nothing."""
    if options.tasks and not _matches(row.task, options.tasks):
        return "not in data.tasks"
    if _matches(row.task, options.exclude_tasks):
        return "in data.exclude_tasks"
    if options.domains and domain_of(row) not in options.domains:
        return "not in data.domains"
    if options.sources and not _matches(row.source, options.sources):
        return "not in data.sources"
    return "in data.exclude_sources" if _matches(row.source, options.exclude_sources) else ""


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _allowed(
    rows: Sequence[Example], held_out: HoldOuts | None, options: DataOptions, counts: Counter[str]
) -> list[Example]:
    """Return the rows that speak of no held-out taxon.

    Raises:
        OptionsError: there are some that do, and they are to be refused.
    """
    if held_out is None:
        return list(rows)
    kept, first = [], ""
    for row in rows:
        reason = held_out.reason_of_example(row)
        if reason:
            counts["held-out taxon"] += 1
            first = first or f"{row.files[0] if row.files else 'a mixture'}: {reason}"
        else:
            kept.append(row)
    if first and options.held_out_rows == "refuse":
        raise OptionsError(
            f"{counts['held-out taxon']} rows are of held-out taxa, the first {first}; leave them out, "
            "or set data.held_out_rows to drop or data.hold_outs to none"
        )
    return kept
