"""Rules by which whole recordings become the rows of a component: one answer for each."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from naturelm_audio.beans_build.options import FORMS, ComponentOptions
from naturelm_audio.beans_build.planned import Heard, LeftOut, PlannedComponent, list_prompt, planned_row
from naturelm_audio.errors import LabelError
from naturelm_audio.labels import NONE
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.manifest.tasks import FAMILIES, Asked, Pools
from naturelm_audio.train.manifest.taxonomy import Candidates
from naturelm_audio.train.manifest.wordings import WORDINGS

__all__ = [
    "MOST_LISTED",
    "Answered",
    "captioning",
    "classification",
    "clip_span",
    "detection_prompt",
    "presence",
    "species",
]

MOST_LISTED = 8
"""So many labels, None included, are listed in a question for detection; more are asked for openly."""

# Rule -> family of training tasks and the task in it, so that benchmark and training ask alike.
_ASKED = {
    "genus": ("ranks", "genus-classification"),
    "family": ("ranks", "family-classification"),
    "order": ("ranks", "order-classification"),
    "class": ("ranks", "class-classification"),
    "call-type": ("voice", "call-or-song-classification"),
    "life-stage": ("voice", "life-stage-classification"),
    "sex": ("voice", "sex-classification"),
}
_FORM_TASKS = {
    "common": "common-classification",
    "scientific": "sci-classification",
    "taxonomic": "taxonomic-classification",
}
_FORM_WORDINGS = {
    "common": "name-common",
    "scientific": "name-scientific",
    "taxonomic": "name-taxonomic",
}
_POOLS = Pools(Candidates(()), Candidates(()), Candidates(()))


@dataclass(frozen=True)
class Answered:
    """A recording with its answer, and the question that training would ask."""

    heard: Heard
    text: str
    prompt: str


def classification(
    given: Sequence[Heard], options: ComponentOptions, seed: int, left_out: LeftOut
) -> PlannedComponent:
    """Return a component with one label for each recording.

    Raises:
        LabelError: fewer than two labels are left, or a label that was asked for has too few recordings.
    """
    answered = [one for heard in given if (one := _answer(heard, options)) is not None]
    if options.labels:
        wanted = set(options.labels)
        answered = [one for one in answered if one.text in wanted]
    kept = chosen(answered, options, seed, left_out)
    labels = options.labels or tuple(sorted({one.text for one in kept}, key=_alphabetical))
    prompt = list_prompt(options.prompt or kept[0].prompt, labels)
    return _component(options, options.title, kept, labels, prompt)


def species(
    given: Sequence[Heard], options: ComponentOptions, seed: int, left_out: LeftOut
) -> list[PlannedComponent]:
    """Return one component for each form of names; all have the same clips.

    Raises:
        LabelError: fewer than two species are left.
    """
    complete = []
    for heard in given:
        names = [_form(heard.recording, form) for form in options.forms]
        if all(names):
            complete.append(Answered(heard, names[0], ""))
        elif any(names):
            lacking = ", ".join(form for form, name in zip(options.forms, names, strict=True) if not name)
            left_out.add(f"{options.title}: has no {lacking} name", heard.recording.path)
    kept = chosen(complete, options, seed, left_out)
    found = []
    for form in options.forms:
        named = [Answered(one.heard, _form(one.heard.recording, form), "") for one in kept]
        labels = tuple(sorted({one.text for one in named}, key=_alphabetical))
        prompt = list_prompt(options.prompt or WORDINGS[_FORM_WORDINGS[form]][0], labels)
        found.append(_component(options, f"{options.title}-{FORMS[form]}", named, labels, prompt))
    return found


def presence(
    given: Sequence[Heard], options: ComponentOptions, seed: int, left_out: LeftOut
) -> PlannedComponent:
    """Return a detection component: which of some animals are heard in a whole clip, or None.

    Raises:
        LabelError: no label is left, or one that was asked for has too few recordings.
    """
    answered = []
    for heard in given:
        one = heard.recording
        names = tuple(dict.fromkeys(filter(None, (one.common_name, *one.background))))
        kept = [name for name in names if name in options.labels] if options.labels else list(names)
        if one.is_none:
            answered.append(Answered(heard, NONE, ""))
        elif kept and not any("," in name for name in kept):
            answered.append(Answered(heard, ", ".join(sorted(kept, key=_alphabetical)), ""))
        elif kept:
            left_out.add(f"{options.title}: a name with a comma can't be in a list", one.path)
    rows = chosen(answered, options, seed, left_out, multiple=True)
    there = {name for one in rows for name in one.text.split(", ")} - {NONE}
    names = options.labels or tuple(sorted(there, key=_alphabetical))
    labels = (*names, NONE)
    prompt = detection_prompt(options.prompt, names)
    component = options.title
    return PlannedComponent(
        name=component,
        task="detection",
        prompt=prompt,
        labels=labels,
        rows=tuple(
            planned_row(
                component, "detection", prompt, one.text, one.heard,
                labels=one.text.split(", "), span=clip_span(one.heard, options.max_seconds),
            )
            for one in rows
        ),
        rule=options.rule,
        max_seconds=options.max_seconds,
    )  # fmt: skip


def captioning(given: Sequence[Heard], options: ComponentOptions, left_out: LeftOut) -> PlannedComponent:
    """Return a component with the caption that the table gives for each recording.

    Raises:
        LabelError: no recording has a caption.
    """
    told = [Answered(heard, heard.recording.caption, "") for heard in given if heard.recording.caption]
    rows = _without_twins(_audible(told, options, left_out), options, left_out)
    if not rows:
        raise LabelError(
            f"component {options.title}: no recording has a caption: fill a column 'caption', or leave it out"
        )
    prompt = options.prompt or WORDINGS["caption-common"][0]
    return PlannedComponent(
        name=options.title,
        task="captioning",
        prompt=prompt,
        labels=(),
        rows=tuple(
            planned_row(
                options.title, "captioning", prompt, one.text, one.heard,
                span=clip_span(one.heard, options.max_seconds),
            )
            for one in rows
        ),
        rule=options.rule,
        max_seconds=options.max_seconds,
    )  # fmt: skip


def detection_prompt(given: str | None, names: Sequence[str]) -> str:
    """Return the question for detection: with a list of few labels, else open, as in the paper."""
    if given is not None:
        return list_prompt(given, [*names, NONE])
    if len(names) + 1 <= MOST_LISTED:
        return f"{list_prompt(WORDINGS['detect-list'][0], [*names, NONE])}."
    return WORDINGS["detect-common"][0]


def clip_span(heard: Heard, max_seconds: float) -> tuple[float, float]:
    """Return the part of a recording that is heard: its start."""
    return 0.0, min(heard.sound.seconds, max_seconds)


def chosen(
    answered: Sequence[Answered],
    options: ComponentOptions,
    seed: int,
    left_out: LeftOut,
    *,
    multiple: bool = False,
) -> list[Answered]:
    """Return rows whose clip is heard, without twins, and not too few or too many of each label.

    Raises:
        LabelError: too few labels are left, or a label that was asked for has too few rows.
    """
    rows = _without_twins(_audible(answered, options, left_out), options, left_out)
    counts = Counter(one.text for one in rows)
    _refuse_small(rows, options, multiple)
    small = {text for text in counts if counts[text] < options.least_per_label} - set(options.labels)
    for one in rows:
        if one.text in small and not multiple:
            left_out.add(
                f"{options.title}: its label has fewer than {options.least_per_label} recordings", one.text
            )
    rows = rows if multiple else [one for one in rows if one.text not in small]
    least = 1 if multiple else 2
    found = {one.text for one in rows} - ({NONE} if multiple else set())
    if len(found) < least:
        raise LabelError(_too_few(options, counts, least))
    return _limited(rows, options, seed, left_out)


def _answer(heard: Heard, options: ComponentOptions) -> Answered | None:
    """Return the label of a recording under a rule; None where the table doesn't tell."""
    one = heard.recording
    if options.rule == "labels":
        known = one.common_name and one.kind != "unlabelled" and not one.is_none
        return Answered(heard, one.common_name, WORDINGS["categories"][0]) if known else None
    asked = _asked(one, *_ASKED[options.rule])
    return Answered(heard, asked.text, asked.prompt) if asked is not None else None


def _asked(recording: Labelled, family: str, task: str) -> Asked | None:
    """Return the question and answer that training makes of a recording."""
    every = FAMILIES[family](recording, _POOLS, random.Random(0))
    return next((one for one in every if one.task == task), None)


def _form(recording: Labelled, form: str) -> str:
    asked = _asked(recording, "names", _FORM_TASKS[form])
    return asked.text if asked is not None else ""


def _component(
    options: ComponentOptions, name: str, kept: Sequence[Answered], labels: tuple[str, ...], prompt: str
) -> PlannedComponent:
    rows = [
        planned_row(
            name, "classification", prompt, one.text, one.heard,
            labels=(one.text,), span=clip_span(one.heard, options.max_seconds),
        )
        for one in kept
    ]  # fmt: skip
    return PlannedComponent(
        name=name, task="classification", prompt=prompt, labels=labels, rows=tuple(rows),
        rule=options.rule, max_seconds=options.max_seconds,
    )  # fmt: skip


def _audible(answered: Sequence[Answered], options: ComponentOptions, left_out: LeftOut) -> list[Answered]:
    found = []
    for one in answered:
        if one.heard.sound.is_silent(*clip_span(one.heard, options.max_seconds)):
            reason = f"{options.title}: is silent in its first {options.max_seconds:g} s"
            left_out.add(reason, one.heard.recording.path)
        else:
            found.append(one)
    return found


def _without_twins(
    answered: Sequence[Answered], options: ComponentOptions, left_out: LeftOut
) -> list[Answered]:
    """Return rows of different sounds: the first of those that say the same, none of those that don't."""
    groups: dict[object, list[Answered]] = defaultdict(list)
    for one in answered:
        sound = one.heard.sound.hash or one.heard.recording.path
        groups[sound, one.heard.recording.channel].append(one)
    dropped: set[int] = set()
    for twins in groups.values():
        agree = len({one.text for one in twins}) == 1
        for one in twins[1:] if agree else twins:
            reason = "the same sound again" if agree else "the same sound has two answers"
            left_out.add(f"{options.title}: {reason}", one.heard.recording.path)
            dropped.add(id(one))
    return [one for one in answered if id(one) not in dropped]


def _refuse_small(rows: Sequence[Answered], options: ComponentOptions, multiple: bool) -> None:
    """Do nothing where every label that was asked for has enough rows.

    Raises:
        LabelError: one has too few.
    """
    texts = (one.text.split(", ") if multiple else [one.text] for one in rows)
    counts = Counter(text for some in texts for text in some)
    small = [label for label in options.labels if counts[label] < options.least_per_label]
    if small:
        shown = ", ".join(f"{label!r} has {counts[label]}" for label in small[:5])
        raise LabelError(
            f"component {options.title}: {shown}; at least {options.least_per_label} are needed: take the "
            "label "
            "out of 'labels', lower least_per_label, or add recordings"
        )


def _too_few(options: ComponentOptions, counts: Counter[str], least: int) -> str:
    shown = ", ".join(f"{text!r} {count}" for text, count in counts.most_common(5)) or "no recording with one"
    needed = "two labels" if least == 2 else "a label"
    return (
        f"component {options.title}: rule {options.rule} needs {needed} with {options.least_per_label} "
        "recordings "
        f"or more, but there is {shown}: check the table's columns, 'sources' and 'kinds', or leave it out"
    )


def _limited(
    rows: Sequence[Answered], options: ComponentOptions, seed: int, left_out: LeftOut
) -> list[Answered]:
    """Return rows with at most so many of each label, drawn by the seed."""
    most = options.most_per_label
    groups: dict[str, list[Answered]] = defaultdict(list)
    for one in rows:
        groups[one.text].append(one)
    if options.balance:
        rarest = min(map(len, groups.values()))
        most = rarest if most is None else min(most, rarest)
    if most is None:
        return list(rows)
    key: Callable[[Answered], tuple[int, str]] = lambda one: (  # noqa: E731
        digest(seed, options.title, "draw", one.heard.recording.key),
        one.heard.recording.key,
    )
    kept = {id(one) for group in groups.values() for one in sorted(group, key=key)[:most]}
    for one in rows:
        if id(one) not in kept:
            left_out.add(f"{options.title}: more of its label than wanted", one.heard.recording.path)
    return [one for one in rows if id(one) in kept]


def _alphabetical(text: str) -> tuple[str, str]:
    return text.casefold(), text
