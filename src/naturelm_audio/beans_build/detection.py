"""Long recordings with annotated events -> windows, each with the labels that are heard in it, or None."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from naturelm_audio.audio import SAMPLE_RATE_HZ
from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import Heard, LeftOut, PlannedComponent, planned_row
from naturelm_audio.beans_build.rules import detection_prompt
from naturelm_audio.errors import AudioError, LabelError
from naturelm_audio.labels import NONE
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.soundscapes import count_events
from naturelm_audio.windows import WindowPlan

__all__ = ["detection"]


def detection(given: Sequence[Heard], options: ComponentOptions, left_out: LeftOut) -> PlannedComponent:
    """Return a component of windows; labels come in the order in which they are listed.

    Raises:
        LabelError: no event has a label, every label is rare, or one that was asked for doesn't occur.
    """
    annotated = [heard for heard in given if heard.recording.events or options.completely_annotated]
    annotated = _without_twins(annotated, options, left_out)
    for heard in given:
        if not (heard.recording.events or options.completely_annotated):
            left_out.add(f"{options.title}: nothing is annotated in it", heard.recording.path)
    names = _names(annotated, options)
    order = {name: place for place, name in enumerate(names)}
    prompt = detection_prompt(options.prompt, names)
    rows = []
    for heard in annotated:
        for start, end in _windows(heard, options, left_out):
            found = {
                _renamed(label, order, options) for label in _heard_in(heard.recording, start, end, options)
            }
            labels = sorted(found & order.keys(), key=order.__getitem__)
            if not labels and not options.completely_annotated:
                left_out.add(
                    f"{options.title}: a window without an event", f"{heard.recording.path} {start:g} s"
                )
                continue
            text = ", ".join(labels) or NONE
            rows.append(
                planned_row(
                    options.title,
                    "detection",
                    prompt,
                    text,
                    heard,
                    labels=labels or [NONE],
                    span=(start, end),
                )
            )
    return PlannedComponent(
        name=options.title,
        task="detection",
        prompt=prompt,
        labels=(*names, NONE),
        rows=tuple(rows),
        rule=options.rule,
        max_seconds=options.window_seconds,
        window_seconds=options.window_seconds,
        shift_seconds=options.shift_seconds,
        unknown_label=options.unknown_label if options.unknown_label in names else None,
    )


def _without_twins(given: Sequence[Heard], options: ComponentOptions, left_out: LeftOut) -> list[Heard]:
    """Return the first recording of each sound."""
    found: dict[object, Heard] = {}
    for heard in given:
        one = heard.recording
        if found.setdefault((heard.sound.hash or one.path, one.channel), heard) is not heard:
            left_out.add(f"{options.title}: the same sound again", one.path)
    return list(found.values())


def _names(annotated: Sequence[Heard], options: ComponentOptions) -> tuple[str, ...]:
    """Return the labels in their order; rare ones are one label, the last.

    Raises:
        LabelError: there is none, all are rare, one that was asked for doesn't occur, or one has a comma.
    """
    counts = count_events([heard.recording for heard in annotated])
    counts.pop(NONE, None)
    counts.pop("", None)
    if not counts:
        raise LabelError(f"component {options.title}: no recording has an event with a label")
    with_comma = [label for label in counts if "," in label]
    if with_comma:
        raise LabelError(
            f"component {options.title}: {with_comma[0]!r} has a comma, which separates labels: rename it"
        )
    if options.labels:
        absent = [label for label in options.labels if not counts[label]]
        if absent:
            raise LabelError(f"component {options.title}: {absent[0]!r} occurs in no event: take it out")
        return options.labels
    frequent = sorted(
        (label for label, count in counts.items() if count >= options.rare_count),
        key=lambda label: (label.casefold(), label),
    )
    if not frequent:
        raise LabelError(_all_rare(counts, options))
    rare = len(frequent) < len(counts)
    return (*frequent, *([options.unknown_label] if rare and options.unknown_label not in frequent else []))


def _all_rare(counts: Counter[str], options: ComponentOptions) -> str:
    label, most = counts.most_common(1)[0]
    return (
        f"component {options.title}: no label has {options.rare_count} events, the most frequent, "
        f"{label!r}, has "
        f"{most}: lower rare_count in a settings file"
    )


def _renamed(label: str, order: dict[str, int], options: ComponentOptions) -> str:
    return label if label in order else options.unknown_label


def _windows(heard: Heard, options: ComponentOptions, left_out: LeftOut) -> list[tuple[float, float]]:
    """Return start and end of every window of a recording."""
    plan = WindowPlan(
        options.window_seconds, options.shift_seconds, model_max_seconds=max(10.0, options.window_seconds)
    )
    try:
        windows = plan.windows(round(heard.sound.seconds * SAMPLE_RATE_HZ))
    except AudioError:
        left_out.add(f"{options.title}: is shorter than any window", heard.recording.path)
        return []
    return [(window.start_seconds, window.end_seconds) for window in windows]


def _heard_in(recording: Labelled, start: float, end: float, options: ComponentOptions) -> set[str]:
    """Return the labels of events of which enough lies in a window."""
    return {
        span.label or recording.common_name or recording.taxon.species
        for span in recording.events
        if _enough(span, start, end, options.least_share)
    } - {NONE}


def _enough(span: Span, start: float, end: float, least_share: float) -> bool:
    shared = min(span.end_seconds, end) - max(span.start_seconds, start)
    return shared > 0 and shared >= least_share * (span.end_seconds - span.start_seconds) - 1e-9
