"""What came of a table: rows of each task and taxon, hours, and what was left out and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.labelled import Labelled

__all__ = ["CompileReport", "taxon_of"]

_EXAMPLES_KEPT = 20


@dataclass
class CompileReport:
    """Counts, filled while a table is compiled."""

    tasks: Counter[str] = field(default_factory=Counter)
    taxa: Counter[str] = field(default_factory=Counter)
    """Rows of each species, or of each label where that is unknown."""
    splits: Counter[str] = field(default_factory=Counter)
    hours: dict[str, float] = field(default_factory=dict)
    """Of different recordings in each split, as far as their lengths are known."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> recordings left out."""
    held_out: Counter[str] = field(default_factory=Counter)
    """Reason, such as ``genus Taeniopygia`` -> recordings left out."""
    held_out_taxa: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Reason -> names of what was left out."""
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Reason -> the first that were left out."""

    def drop(self, reason: str, what: str) -> None:
        """Count something left out."""
        self.dropped[reason] += 1
        self._remember(reason, what)

    def hold_out(self, reason: str, recording: Labelled) -> None:
        """Count a recording that is held out."""
        self.held_out[reason] += 1
        name = recording.taxon.species or recording.common_name
        self.held_out_taxa[reason][name] += 1
        self._remember(reason, recording.path)

    def count_rows(self, rows: Sequence[Example], seconds: Mapping[str, float]) -> None:
        """Count the rows, and the hours of the recordings that they are about."""
        heard: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            self.tasks[row.task] += 1
            self.splits[row.split or "none"] += 1
            self.taxa[taxon_of(row) or "unknown"] += 1
            heard[row.split or "none"].update(row.paths)
        for split, paths in sorted(heard.items()):
            self.hours[split] = round(sum(seconds.get(path, 0.0) for path in sorted(paths)) / 3600, 4)

    def count_silent(self, recordings: Sequence[Labelled], rows: Sequence[Example]) -> None:
        """Count recordings about which nothing could be asked."""
        asked = {path for row in rows for path in row.paths}
        for one in recordings:
            if one.path not in asked:
                self.drop("nothing to ask about it", one.path)

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values, the largest first."""
        return {
            "rows": self.tasks.total(),
            "tasks": _by_size(self.tasks),
            "splits": _by_size(self.splits),
            "hours": self.hours,
            "taxa": _by_size(self.taxa),
            "dropped": _by_size(self.dropped),
            "held_out": _by_size(self.held_out),
            "held_out_taxa": {
                reason: _by_size(found) for reason, found in sorted(self.held_out_taxa.items())
            },
            "examples": {reason: list(found) for reason, found in sorted(self.examples.items())},
        }

    def as_text(self) -> str:
        """Return the report for people."""
        hours = ", ".join(f"{split} {value:.2f} h" for split, value in self.hours.items())
        lines = [f"{self.tasks.total():,} rows about {len(self.taxa):,} taxa or labels; {hours}", ""]
        lines += [f"{count:10,}  {task}" for task, count in _by_size(self.tasks).items()]
        for title, counts in (("left out", self.dropped), ("held out", self.held_out)):
            if counts:
                lines += ["", f"{title}: {counts.total():,} recordings"]
                for reason, count in _by_size(counts).items():
                    names = ", ".join(sorted(self.held_out_taxa.get(reason, ()))[:5])
                    lines.append(f"{count:10,}  {reason}{f' ({names})' if names else ''}")
        return "\n".join(lines)

    def _remember(self, reason: str, what: str) -> None:
        if len(self.examples[reason]) < _EXAMPLES_KEPT:
            self.examples[reason].append(what)


def taxon_of(row: Example) -> str:
    """Return the species that a row is about, or what stands for it: a common name, a kind of sound."""
    names = (row.metadata.get(name) for name in ("species", "common_name", "data_category"))
    return next((str(name) for name in names if name), "")


def _by_size(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
