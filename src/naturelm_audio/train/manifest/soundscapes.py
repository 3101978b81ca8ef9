"""Windows of recordings with time-stamped events -> which species are heard in each, or None."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from naturelm_audio.audio import SAMPLE_RATE_HZ
from naturelm_audio.errors import AudioError
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.sounds import answer_list
from naturelm_audio.train.manifest.tasks import Asked, Pools, detect_list
from naturelm_audio.train.manifest.taxonomy import Taxon
from naturelm_audio.windows import WindowPlan

__all__ = ["OTHER", "SoundscapeOptions", "count_events", "soundscape_questions"]

OTHER = "other"
"""What rare species are called."""


@dataclass(frozen=True, kw_only=True)
class SoundscapeOptions:
    """How recordings with events are cut; a species heard at most so often in all of them is ``other``."""

    window_seconds: float = 10.0
    hop_seconds: float = 5.0
    rare_count: int = 100
    completely_annotated: bool = False
    """Whether a window without events is silent; otherwise it is left out, as silence was not annotated."""


def count_events(recordings: Sequence[Labelled]) -> Counter[str]:
    """Return how often each label occurs among the events."""
    return Counter(
        span.label or recording.common_name or recording.taxon.species
        for recording in recordings
        for span in recording.events
    )


def soundscape_questions(
    recording: Labelled,
    seconds: float,
    counts: Mapping[str, int],
    pools: Pools,
    draw: random.Random,
    options: SoundscapeOptions,
) -> Iterator[tuple[float, float, Asked]]:
    """Yield (start, end, question) of every window in which something was annotated."""
    plan = WindowPlan(options.window_seconds, options.hop_seconds)
    try:
        windows = plan.windows(int(seconds * SAMPLE_RATE_HZ))
    except AudioError:  # too short for any window
        return
    for window in windows:
        start, end = window.start_seconds, window.end_seconds
        heard = [
            span.label or recording.common_name or recording.taxon.species
            for span in recording.events
            if span.start_seconds < end and span.end_seconds > start
        ]
        if heard or options.completely_annotated:
            rare = {label for label in heard if counts[label] <= options.rare_count}
            labels = {*heard} - rare | ({OTHER} if rare else set())
            for asked in _questions(sorted(labels), sorted(rare), pools, draw):
                yield start, end, asked


def _questions(
    labels: Sequence[str], rare: Sequence[str], pools: Pools, draw: random.Random
) -> Iterator[Asked]:
    """Yield the open question and the list, with common and with scientific names."""
    for prefix, pool in (("common", pools.common), ("sci", pools.scientific)):
        named = [_named(label, prefix, pools) for label in labels]
        names = [name for name, _ in named]
        if not all(names) or (len(names) > 1 and any("," in name for name in names)):
            continue
        family = "detect-common" if prefix == "common" else "detect-scientific"
        text = answer_list(names)
        yield Asked(f"{prefix}-soundscape-detection", pools.wording(family, draw), text, tuple(sorted(names)))
        ending, hidden = "soundscape-detection-list", [_named(label, prefix, pools) for label in rare]
        yield from detect_list(named, pool, prefix, pools, draw, ending=ending, hidden=hidden)


def _named(label: str, prefix: str, pools: Pools) -> tuple[str, Taxon]:
    if label == OTHER:
        return OTHER, Taxon()
    taxon = pools.taxon(label)
    return (pools.common_name(label) if prefix == "common" else taxon.species), taxon
