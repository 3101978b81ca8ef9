"""Recordings of one animal each -> mixtures of one to four different ones: One, or More."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import Heard, LeftOut, PlannedComponent, list_prompt, planned_row
from naturelm_audio.errors import LabelError
from naturelm_audio.train.manifest.counting import Choir
from naturelm_audio.train.manifest.examples import MixPart, Recipe
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.seeding import digest, generator
from naturelm_audio.train.manifest.tasks import speaks_of_animals
from naturelm_audio.train.manifest.wordings import WORDINGS

__all__ = ["counting"]

_LOUDNESS = (0.3, 0.9)
_TRIES = 20


def counting(
    given: Sequence[Heard], options: ComponentOptions, seed: int, left_out: LeftOut
) -> PlannedComponent:
    """Return a component of mixtures, half of them of one animal.

    Every recording is the first of a mixture about equally often. How loud a mixture is tells nothing of how
    many are in it.

    Raises:
        LabelError: fewer than two animals can be told apart.
    """
    callers = {heard.recording.path: heard for heard in _callers(given, options, left_out)}
    voices = {path: heard.recording for path, heard in callers.items()}
    choir = Choir(list(voices.values()))
    ordered = sorted(callers, key=lambda path: (digest(seed, options.title, "order", path), path))
    wanted = options.rows or len(ordered)
    prompt = options.prompt or WORDINGS["count-animals"][0]
    rows = []
    for number in range(wanted):
        # Each recording comes alone and in company before it comes again.
        path = ordered[number // 2 % len(ordered)]
        draw = generator(seed, options.title, "mixture", number)
        count = 1 if number % 2 == 0 else draw.randint(2, options.most_animals)
        chosen = [voices[path], *(choir.others(voices[path], count - 1, draw) if count > 1 else [])]
        mixed = [callers[one.path] for one in chosen]
        recipe = _recipe(mixed, options, draw)
        text = options.answers[len(chosen) > 1]
        about = {"animals": len(chosen), "recordings": [one.path for one in chosen]}
        rows.append(
            planned_row(
                options.title, "classification", list_prompt(prompt, options.answers), text, _together(mixed),
                labels=(text,), mix=recipe, metadata=about,
            )
        )  # fmt: skip
    return PlannedComponent(
        name=options.title,
        task="classification",
        prompt=list_prompt(prompt, options.answers),
        labels=options.answers,
        rows=tuple(rows),
        rule=options.rule,
        max_seconds=options.max_seconds,
    )


def _callers(given: Sequence[Heard], options: ComponentOptions, left_out: LeftOut) -> list[Heard]:
    """Return recordings of one known animal, each with the name of its caller.

    Raises:
        LabelError: they are of fewer than two animals.
    """
    found, who = [], set()
    for heard in given:
        one = heard.recording
        named = _who(one, options.who)
        if not speaks_of_animals(one) or one.background or not named:
            left_out.add(f"{options.title}: who calls is not known", one.path)
            continue
        who.add(named)
        # One split, as the choir mixes within splits.
        caller = dataclasses.replace(one, individual=named if options.who != "species" else "", split="")
        found.append(dataclasses.replace(heard, recording=caller))
    if len(who) < 2:
        raise LabelError(
            f"component {options.title}: mixtures need recordings of two {options.who}s, there are "
            f"{len(who)}: "
            f"fill the table's column, or choose 'who' from individual, species, label"
        )
    return found


def _who(recording: Labelled, who: str) -> str:
    if who == "species":
        return recording.taxon.species
    return recording.individual if who == "individual" else recording.common_name


def _together(heard: Sequence[Heard]) -> Heard:
    """Return the first recording, with the sources and licences of all."""
    sources = sorted({one.recording.source for one in heard} - {""})
    licences = sorted({one.recording.licence or "unknown" for one in heard})
    first = dataclasses.replace(heard[0].recording, source="; ".join(sources), licence="; ".join(licences))
    return dataclasses.replace(heard[0], recording=first)


def _recipe(heard: Sequence[Heard], options: ComponentOptions, draw: random.Random) -> Recipe:
    """Return a mixture: clips at random places, the others at most so much less loud than the first."""
    length, spans, gains_db = options.max_seconds, [], []
    for place, one in enumerate(heard):
        used = min(one.sound.seconds, length)
        spans.append((_audible_start(one, used, draw), used, draw.uniform(0.0, length - used)))
        level = heard[0].sound.level_db - one.sound.level_db
        gains_db.append(level + draw.uniform(options.quietest_db, 0.0) if place else 0.0)
    peaks = [one.sound.peak() * 10.0 ** (gain / 20.0) for one, gain in zip(heard, gains_db, strict=True)]
    shift_db = 20.0 * math.log10(draw.uniform(*_LOUDNESS) / sum(peaks))
    parts = tuple(
        MixPart(
            path=one.recording.path,
            channel=one.recording.channel,
            start_seconds=round(start, 3),
            end_seconds=round(start + used, 3) if used < one.sound.seconds else None,
            offset_seconds=round(offset, 3),
            gain_db=round(gain + shift_db, 2),
        )
        for one, (start, used, offset), gain in zip(heard, spans, gains_db, strict=True)
    )
    return Recipe(parts=parts, length_seconds=length)


def _audible_start(heard: Heard, used: float, draw: random.Random) -> float:
    """Return where a clip starts: somewhere in the recording where something is heard."""
    for _ in range(_TRIES):
        start = draw.uniform(0.0, heard.sound.seconds - used)
        if not heard.sound.is_silent(start, start + used):
            return start
    loudest = max(range(len(heard.sound.peaks)), key=heard.sound.peaks.__getitem__)
    return min(float(loudest), heard.sound.seconds - used)
