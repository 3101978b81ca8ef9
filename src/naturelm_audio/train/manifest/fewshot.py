"""Questions that bring their own examples: times of a sound after one was given, a species after two others.

The official code has names for such tasks (``fewshot``, ``icl``) and no description; this is our reading of
them.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from naturelm_audio.prompts import AUDIO_TAG
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.tasks import Asked, Pools, speaks_of_animals

__all__ = ["Companions", "event_questions", "in_context_questions"]

_WINDOW_SECONDS = 10.0
_MOST_EVENTS = 12
_LEAST_SECONDS = 0.02  # shorter ones vanish when times are rounded to hundredths


def event_questions(
    recording: Labelled, pools: Pools, draw: random.Random
) -> Iterator[tuple[float, float, Asked]]:
    """Yield (start, end, question) of windows with some events of a kind: given the first, find the rest.

    The answer reads ``0.50-1.50, 3.00-4.00``, in seconds of the window.
    """
    by_label: dict[str, list[Span]] = defaultdict(list)
    for span in recording.events:
        by_label[span.label].append(span)
    for label in sorted(by_label):
        at = 0.0
        while recording.seconds and at < recording.seconds:
            end = min(at + _WINDOW_SECONDS, recording.seconds)
            inside = [one for one in by_label[label] if one.start_seconds < end and one.end_seconds > at]
            if _is_clear(inside, at, end):
                first, *rest = (_times(one, at) for one in inside)
                prompt = pools.wording("few-shot", draw).replace("{times}", first)
                yield round(at, 6), round(end, 6), Asked("fewshot-events", prompt, ", ".join(rest))
            at += _WINDOW_SECONDS


def _is_clear(events: Sequence[Span], start: float, end: float) -> bool:
    """Return whether there are some events, none of them cut by the window or too short to be told."""
    cut = any(one.start_seconds < start or one.end_seconds > end for one in events)
    short = any(one.end_seconds - one.start_seconds < _LEAST_SECONDS for one in events)
    return 2 <= len(events) <= _MOST_EVENTS and not cut and not short


def _times(span: Span, start: float) -> str:
    return f"{span.start_seconds - start:.2f}-{span.end_seconds - start:.2f}"


class Companions:
    """Recordings of single animals by split and common name, to be examples for others.

    Args:
        recordings: all of them; those with several species are passed over.
    """

    def __init__(self, recordings: Sequence[Labelled]) -> None:
        self._by_name: dict[str, dict[str, list[str]]] = {}
        for one in sorted(recordings, key=lambda one: one.key):
            if _is_example(one):
                self._by_name.setdefault(one.split, {}).setdefault(one.common_name, []).append(one.path)

    def of_another(self, recording: Labelled, draw: random.Random) -> tuple[str, str]:
        """Return name and path of another species, or nothing."""
        known = self._by_name.get(recording.split, {})
        names = sorted(name for name in known if name != recording.common_name)
        if not names:
            return "", ""
        name = draw.choice(names)
        return name, draw.choice(known[name])

    def of_the_same(self, recording: Labelled, draw: random.Random) -> str:
        """Return the path of another recording of the same species, or nothing."""
        paths = self._by_name.get(recording.split, {}).get(recording.common_name, [])
        others = [path for path in paths if path != recording.path]
        return draw.choice(others) if others else ""


def in_context_questions(
    recording: Labelled, companions: Companions, pools: Pools, draw: random.Random
) -> Iterator[tuple[tuple[str, ...], Asked]]:
    """Yield (files, question): two named clips, and the recording, which is of one of the two species."""
    if not _is_example(recording):
        return
    same = companions.of_the_same(recording, draw)
    name, path = companions.of_another(recording, draw)
    if same and path:
        examples = [(recording.common_name, same), (name, path)]
        draw.shuffle(examples)
        wording = pools.wording("in-context", draw)
        prompt = wording.format(*(one for one, _ in examples)).replace("<clip>", AUDIO_TAG)
        files = (*(path for _, path in examples), recording.path)
        asked = Asked("icl-classification", prompt, recording.common_name, (recording.common_name,))
        yield files, asked


def _is_example(recording: Labelled) -> bool:
    return speaks_of_animals(recording) and bool(recording.common_name) and not recording.background
