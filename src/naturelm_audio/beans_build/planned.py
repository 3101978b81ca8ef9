"""What a benchmark will hold, before any sound is written: components and their rows."""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from naturelm_audio.audio import SAMPLE_RATE_HZ
from naturelm_audio.beans_build.sounds import Sound
from naturelm_audio.records import dump_json
from naturelm_audio.train.manifest.examples import Example, Recipe
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.problems import Problem
from naturelm_audio.train.manifest.seeding import digest

__all__ = ["Built", "Heard", "LeftOut", "PlannedComponent", "heard_of", "list_prompt", "planned_row"]

_EXAMPLES_KEPT = 20


@dataclass(frozen=True)
class Heard:
    """A recording that can be used, with its sound."""

    recording: Labelled
    sound: Sound


@dataclass
class LeftOut:
    """What did not come into the benchmark: reason -> how many, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, what: str) -> None:
        """Count something left out."""
        self.counts[reason] += 1
        if len(self.examples[reason]) < _EXAMPLES_KEPT:
            self.examples[reason].append(what)

    def as_json(self) -> dict[str, Any]:
        """Return the counts with examples, the largest first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {reason: {"count": count, "first": self.examples[reason]} for reason, count in ordered}


@dataclass(frozen=True, kw_only=True)
class PlannedComponent:
    """A component; each row is a question about a clip or a mixture, with its id."""

    name: str
    task: Literal["classification", "detection", "captioning"]
    prompt: str
    labels: tuple[str, ...]
    rows: tuple[Example, ...]
    rule: str
    max_seconds: float
    window_seconds: float | None = None
    shift_seconds: float | None = None
    unknown_label: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return its row in the benchmark's table of components."""
        known = {
            "name": self.name,
            "task": self.task,
            "rows": len(self.rows),
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "max_seconds": self.max_seconds,
            "window_seconds": self.window_seconds,
            "shift_seconds": self.shift_seconds,
            "unknown_label": self.unknown_label,
            "prompt": self.prompt,
            "labels": list(self.labels),
            "rule": self.rule,
            "sources": sorted({row.source for row in self.rows if row.source}),
            "licences": sorted({row.license for row in self.rows if row.license}),
        }
        return {name: value for name, value in known.items() if value is not None}

    @property
    def counts(self) -> Counter[str]:
        """Return how many rows have each label; captions are not counted."""
        if self.task == "captioning":
            return Counter()
        found = Counter(label for row in self.rows for label in row.labels or (row.text,))
        return Counter({label: found[label] for label in self.labels})


@dataclass(frozen=True)
class Built:
    """A whole benchmark; ``problems`` are rows and recordings that could not be used."""

    components: tuple[PlannedComponent, ...]
    problems: tuple[Problem, ...]
    left_out: LeftOut

    @property
    def rows(self) -> int:
        """Return how many rows all components have."""
        return sum(len(one.rows) for one in self.components)


def heard_of(recordings: Sequence[Labelled], sounds: Mapping[str, Sound]) -> list[Heard]:
    """Return recordings whose path has a sound, in a fixed order, with their true length."""
    known = [(one, sounds[one.path]) for one in recordings if one.path in sounds]
    found = [Heard(dataclasses.replace(one, seconds=sound.seconds), sound) for one, sound in known]
    return sorted(found, key=lambda one: (one.recording.path, one.recording.key))


def planned_row(
    component: str,
    task: str,
    prompt: str,
    text: str,
    heard: Heard,
    *,
    labels: Sequence[str] = (),
    span: tuple[float, float] | None = None,
    mix: Recipe | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Example:
    """Return a row; its id follows from component, source and span, so it is the same in every run."""
    one = heard.recording
    start, end = span if span is not None else (0.0, heard.sound.seconds)
    row = Example(
        files=() if mix else (one.path,),
        prompt=prompt,
        text=text,
        task=task,
        start_seconds=None if mix else start,
        end_seconds=None if mix else end,
        channel=None if mix else one.channel,
        labels=tuple(labels),
        source=one.source,
        recording_id=one.recording_id or one.path,
        mix=mix,
        license=one.licence,
        metadata=dict(metadata or {}),
    )
    given = row.to_mapping()
    where = {key: given.get(key) for key in ("path", "mix", "start_seconds", "end_seconds", "channel")}
    identity = uuid.UUID(int=digest(component, one.source, dump_json(where)), version=5)
    return dataclasses.replace(row, id=str(identity))


def list_prompt(prompt: str, labels: Sequence[str]) -> str:
    """Return a question with its list of labels in place of ``{}``."""
    return prompt.replace("{}", ", ".join(labels))
