"""Several recordings mixed into one -> how many animals, speakers or instruments are heard, and which.

A row holds the recipe, not the mixture: :mod:`~naturelm_audio.train.manifest.mixing` makes the sound when it
is needed. Counting needs to know who is who: individuals where the table names them, else different species.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from naturelm_audio.train.manifest.examples import MixPart, Recipe
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.tasks import Asked, Pools, speaks_of_animals

__all__ = ["CLIP_SECONDS", "Choir", "CountingOptions", "counting_questions"]

CLIP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class CountingOptions:
    """How mixtures are drawn; the numbers for speakers are the paper's."""

    most_animals: int = 4
    most_speakers: int = 4
    most_instruments: int = 3
    quietest_db: float = -12.0
    most_stretch: float = 4.0
    """Speakers are up to this much slower or faster, by a factor that is drawn uniformly."""
    impulse_responses: tuple[str, ...] = ()
    """Rooms, of which each mixture of speakers gets one."""


@dataclass(frozen=True)
class _Voice:
    recording: Labelled
    who: str


class Choir:
    """Recordings of one caller each, by split and by what is counted.

    Args:
        recordings: those that may be mixed; only those with a known length are.
    """

    def __init__(self, recordings: Sequence[Labelled]) -> None:
        self._voices: dict[tuple[str, str], list[_Voice]] = defaultdict(list)
        for recording in sorted(recordings, key=lambda one: one.key):
            what, who = _caller(recording)
            if who:
                self._voices[what, recording.split].append(_Voice(recording, who))

    def others(self, recording: Labelled, count: int, draw: random.Random) -> list[Labelled]:
        """Return up to ``count`` recordings of the same split by other callers, no two by the same."""
        what, who = _caller(recording)
        voices = self._voices[what, recording.split]
        taken, found = {who}, []
        # More callers than these tries meet are rare; a shuffle of all would cost too much for each
        # recording.
        for _ in range(50 * count if voices else 0):
            voice = draw.choice(voices)
            if voice.who not in taken and voice.recording.path != recording.path:
                taken.add(voice.who)
                found.append(voice.recording)
            if len(found) >= count:
                break
        return found


def counting_questions(
    recording: Labelled, choir: Choir, pools: Pools, draw: random.Random, options: CountingOptions
) -> Iterator[tuple[Recipe, Asked]]:
    """Yield a mixture that begins with this recording, with its questions; nothing if callers are unknown."""
    what, who = _caller(recording)
    if not who:
        return
    most = {"animals": options.most_animals, "speakers": options.most_speakers}.get(
        what, options.most_instruments
    )
    # One animal or more is the question, so half of the mixtures are of one.
    one = draw.random() < 0.5 if what == "animals" else draw.random() < 1 / most
    wanted = 1 if one else draw.randint(2, max(2, most))
    chosen = [recording, *choir.others(recording, wanted - 1, draw)]
    if len(chosen) < wanted:
        return
    parts = tuple(_part(one, place, what, draw, options) for place, one in enumerate(chosen))
    rooms = options.impulse_responses if what == "speakers" else ()
    recipe = Recipe(
        parts=parts, length_seconds=CLIP_SECONDS, impulse_response=draw.choice(rooms) if rooms else None
    )
    for asked in _questions(what, chosen, pools, draw):
        yield recipe, asked


def _questions(what: str, chosen: Sequence[Labelled], pools: Pools, draw: random.Random) -> Iterator[Asked]:
    number = str(len(chosen))
    if what == "animals":
        text = "One" if len(chosen) == 1 else "More than one"
        yield Asked("animal-count-classification", pools.wording("count-animals", draw), text, (text,))
    elif what == "speakers":
        yield Asked("speaker-count-classification", pools.wording("count-speakers", draw), number, (number,))
    else:
        wording = pools.wording("count-instruments", draw)
        yield Asked("instrument-count-classification", wording, number, (number,))
        names = sorted(_instrument(one) for one in chosen)
        if len(names) == 1 or not any("," in name for name in names):
            wording = pools.wording("which-instruments", draw)
            yield Asked("which-instruments-classification", wording, ", ".join(names), tuple(names))


def _caller(recording: Labelled) -> tuple[str, str]:
    """Return what is counted and who this is; nothing if the recording can't be counted."""
    if not recording.seconds or recording.background:
        return "", ""
    if speaks_of_animals(recording):
        # `chirping birds` may be one or many: only a species, or an individual, is certain to be somebody
        # else.
        species, individual = recording.taxon.species, recording.individual
        return "animals", f"{species or recording.common_name}/{individual}" if individual else species
    if recording.kind == "speech":
        return "speakers", recording.individual
    return ("instruments", _instrument(recording)) if recording.kind == "music" else ("", "")


def _instrument(recording: Labelled) -> str:
    return recording.instrument or recording.common_name


def _part(
    recording: Labelled, place: int, what: str, draw: random.Random, options: CountingOptions
) -> MixPart:
    """Return a clip of a recording at a random place and level; the first is the loudest."""
    stretch = options.most_stretch
    speed = draw.uniform(1.0 / stretch, stretch) if what == "speakers" else 1.0
    seconds = recording.seconds or 0.0
    used = min(seconds, CLIP_SECONDS * speed)
    start = draw.uniform(0.0, seconds - used)
    offset = draw.uniform(0.0, CLIP_SECONDS - used / speed)
    return MixPart(
        path=recording.path,
        start_seconds=round(start, 3),
        end_seconds=round(start + used, 3) if used < seconds else None,
        channel=recording.channel,
        offset_seconds=round(offset, 3),
        gain_db=round(draw.uniform(options.quietest_db, 0.0), 2) if place else 0.0,
        speed=round(speed, 4),
        silence_seed=draw.randrange(1 << 31) if what == "speakers" else None,
    )
