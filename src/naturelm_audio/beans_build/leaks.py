"""What a benchmark shares with training: the same recording, the same sound, or a taxon that is held out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturelm_audio.beans_build.planned import LeftOut
from naturelm_audio.beans_build.sounds import Sound
from naturelm_audio.errors import AudioError
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.holdouts import HoldOuts, Leak, find_leaks
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.problems import ManifestError, Problem

__all__ = ["LeakReport", "check_leaks", "is_trained", "refuse_trained_taxa", "without_leaks"]


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """What was compared and found; ``checked`` is False where no training table was given."""

    checked: bool = False
    compared_audio: bool = False
    training_rows: int = 0
    unreadable: int = 0
    """Training recordings whose sound could not be compared."""
    leaks: tuple[Leak, ...] = ()
    """Shared recordings and sounds."""
    shared_taxa: tuple[str, ...] = ()
    """Taxa that training has too: no fault, but no test of unseen taxa either."""
    held_out: Mapping[str, int] = field(default_factory=dict)
    """Reason, such as ``genus Vini`` -> training rows of what is held out."""

    @property
    def paths(self) -> dict[str, str]:
        """Return path in the benchmark -> why it must go."""
        named = {"recording": "is in training too", "audio": "sounds the same as a training recording"}
        return {path: named[leak.by] for leak in reversed(self.leaks) for path in leak.held}

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        return {
            "checked": self.checked,
            "compared_audio": self.compared_audio,
            "training_rows": self.training_rows,
            "unreadable_training_recordings": self.unreadable,
            "shared_recordings": sum(leak.by == "recording" for leak in self.leaks),
            "shared_sounds": sum(leak.by == "audio" for leak in self.leaks),
            "shared_taxa": list(self.shared_taxa),
            "held_out_in_training": dict(self.held_out),
        }


def check_leaks(
    training: Sequence[Labelled],
    training_sounds: Mapping[Path, Sound | AudioError],
    training_root: Path,
    held: Sequence[Labelled],
    held_sounds: Mapping[str, Sound],
    holdouts: HoldOuts | None,
) -> LeakReport:
    """Return what training shares with recordings kept for measuring.

    Args:
        training: what is learned from.
        training_sounds: of its files; empty if sounds aren't compared.
        training_root: where its files are.
        held: recordings of the benchmark.
        held_sounds: their path -> sound.
        holdouts: taxa that training must not have, if the benchmark is of such.
    """
    # Two tables may call different files alike, so each file is known by its whole path here.
    ours = [dataclasses.replace(one, path=f"training\0{one.path}") for one in training]
    hashes = {path: sound.hash for path, sound in held_sounds.items() if sound.hash}
    unreadable = 0
    for one in {one.path: one for one in training}.values():
        sound = training_sounds.get(resolve(training_root, one.path))
        if isinstance(sound, Sound):
            hashes[f"training\0{one.path}"] = sound.hash
        else:
            unreadable += bool(training_sounds)
    found = find_leaks(ours, held, hashes=hashes)
    reasons: Counter[str] = Counter()
    if holdouts is not None:
        strict = holdouts.with_names_from(held)
        reasons.update(filter(None, map(strict.reason_of, training)))
    return LeakReport(
        checked=True,
        compared_audio=bool(training_sounds),
        training_rows=len(training),
        unreadable=unreadable,
        leaks=tuple(leak for leak in found if leak.by != "taxon"),
        shared_taxa=tuple(leak.value for leak in found if leak.by == "taxon"),
        held_out=dict(sorted(reasons.items())),
    )


def without_leaks(
    held: Sequence[Labelled], report: LeakReport, on_leak: str, left_out: LeftOut
) -> list[Labelled]:
    """Return recordings without those that training has.

    Raises:
        ManifestError: there are some and ``on_leak`` is refuse.
    """
    paths = report.paths
    leaked = [one for one in held if one.path in paths]
    if leaked and on_leak == "refuse":
        problems = [
            Problem(one.table or one.path, one.line, f"{one.path} {paths[one.path]}") for one in leaked
        ]
        raise ManifestError(
            f"{len(leaked)} recordings are in training too: take them out there or here, or pass "
            "--on-leak drop:",
            problems,
        )
    for one in leaked:
        left_out.add(f"training: {paths[one.path]}", one.path)
    return [one for one in held if one.path not in paths]


def refuse_trained_taxa(report: LeakReport, on_leak: str) -> None:
    """Do nothing where training has none of what is held out, or where that is to be dropped.

    Raises:
        ManifestError: it has some.
    """
    if report.held_out and on_leak == "refuse":
        problems = [
            Problem("training", 0, f"{reason}: {count} rows") for reason, count in report.held_out.items()
        ]
        raise ManifestError(
            "training has what is held out: train with naturelm data compile --hold-out, or pass "
            "--on-leak drop:",
            problems,
        )


def is_trained(recording: Labelled, report: LeakReport, holdouts: HoldOuts) -> bool:
    """Return whether training has the held-out taxon of a recording, by rank or by a text that names it."""
    reason = holdouts.reason(recording.taxon)
    names = {recording.common_name.casefold(), recording.taxon.species.casefold()} - {""}
    told = {one.rpartition("names ")[2].casefold() for one in report.held_out if "names " in one}
    told |= {one.removeprefix("common name ").casefold() for one in report.held_out}
    return reason in report.held_out or bool(names & told)
