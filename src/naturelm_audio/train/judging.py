"""Asking a model about recordings that it never learned from: how often it names their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from naturelm_audio.audio import SAMPLE_RATE_HZ, read_span
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.train.augment import Floats
from naturelm_audio.train.evaluate import LONGEST_SECONDS, Figure, answers, count
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.manifest.wordings import WORDINGS

__all__ = ["Judged", "by_class", "class_of", "figures", "heard"]

MOST_LISTED = 36


def class_of(recording: Labelled) -> str:
    """Return what a recording is of: its common name, or its scientific one."""
    return recording.common_name or recording.taxon.species or recording.taxon.given


@dataclass(frozen=True)
class Judged:
    """Recordings that a model is judged by, and what is heard of each, (samples,)."""

    recordings: tuple[Labelled, ...]
    waveforms: tuple[Floats, ...]

    @property
    def truths(self) -> list[str]:
        """The class of each."""
        return [class_of(recording) for recording in self.recordings]

    def of(self, classes: Sequence[str]) -> Judged:
        """Return those of some classes."""
        pairs = zip(self.recordings, self.waveforms, strict=True)
        kept = [(one, waveform) for one, waveform in pairs if class_of(one) in classes]
        return Judged(tuple(one for one, _ in kept), tuple(waveform for _, waveform in kept))


def heard(recording: Labelled, root: Path) -> Floats:
    """Return what is heard of a recording when it is asked about: its start."""
    seconds = min(LONGEST_SECONDS, recording.seconds or LONGEST_SECONDS)
    return read_span(
        resolve(root, recording.path),
        recording.start_seconds or 0.0,
        seconds if recording.is_part else LONGEST_SECONDS,
        channel=recording.channel,
    )


def figures(
    model: NatureLMForConditionalGeneration, judged: Judged, classes: Sequence[str]
) -> tuple[Figure, ...]:
    """Return how often the class is named, asked openly and from a list of classes."""
    found = [count("open question", judged.truths, _asked(model, judged, [_open_wording(judged.recordings)]))]
    known = [name for name in classes if "," not in name]  # a comma parts the names of a list
    offered = judged.of(known)
    if len(known) > 1 and offered.recordings:
        wordings = [
            WORDINGS["candidates"][0].format(", ".join(_listed(truth, known))) for truth in offered.truths
        ]
        name = f"choice of {min(len(known), MOST_LISTED)}"
        found.append(count(name, offered.truths, _asked(model, offered, wordings)))
    return tuple(found)


def _listed(truth: str, classes: Sequence[str]) -> list[str]:
    """Return classes to choose from, in their order: all, or the right one and others that are drawn."""
    others = sorted(
        (name for name in classes if name != truth), key=lambda name: digest("finetune list", truth, name)
    )
    kept = {truth, *others[: MOST_LISTED - 1]}
    return [name for name in classes if name in kept]


def by_class(model: NatureLMForConditionalGeneration, judged: Judged) -> tuple[Figure, ...]:
    """Return how often each class is named, asked openly."""
    truths, given = judged.truths, _asked(model, judged, [_open_wording(judged.recordings)])
    return tuple(
        count(
            name,
            [truth for truth in truths if truth == name],
            [answer for truth, answer in zip(truths, given, strict=True) if truth == name],
        )
        for name in sorted(set(truths))
    )


def _open_wording(judged: Sequence[Labelled]) -> str:
    """Return the question whose answer is what the classes are called by."""
    if not any(recording.common_name for recording in judged):
        return WORDINGS["name-scientific"][0]
    animals = sum(recording.kind == "animal" for recording in judged)
    return WORDINGS["name-common" if 2 * animals >= len(judged) else "name-sound"][0]


def _asked(model: NatureLMForConditionalGeneration, judged: Judged, wordings: Sequence[str]) -> list[str]:
    """Return the answers to one wording for all recordings, or to one for each."""
    longest, count = round(model.config.max_clip_seconds * SAMPLE_RATE_HZ), len(judged.waveforms)
    each = wordings if len(wordings) == count else [*wordings] * count
    return answers(model, [one[:longest] for one in judged.waveforms], each)
