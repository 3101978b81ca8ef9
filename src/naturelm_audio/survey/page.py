"""Counts of a survey -> one HTML page that needs nothing else: no script, font or picture from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from naturelm_audio.survey.counting import OTHER_LABELS, LabelCounts, SiteCounts, Survey
from naturelm_audio.survey.detections import BELOW, NOTHING, UNSCORED
from naturelm_audio.survey.drawings import escaped, heat_map, line_chart, plural
from naturelm_audio.survey.grids import by_day, by_hour
from naturelm_audio.survey.richness import Accumulation

__all__ = ["About", "page"]

# Nothing may be fetched, whatever a label tries.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
MOST_IN_MAPS = 30
MOST_IN_TABLE = 300
MOST_SITES = 500


@dataclass(frozen=True, kw_only=True)
class About:
    """What made the rows. ``provenance`` is the run file; ``unfinished`` counts recordings not reached."""

    title: str
    results: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    licence: str = ""
    other_questions: tuple[str, ...] = ()
    unfinished: int = 0
    bad_lines: int = 0
    made_by: str = ""


def page(survey: Survey, curve: Accumulation | None, about: About) -> str:
    """Return the page."""
    title = escaped(about.title)
    style = (resources.files("naturelm_audio.survey") / "style.css").read_text(encoding="utf-8")
    labels = survey.ordered_labels
    parts = [
        f'<h1>{title}</h1>\n<p class="soft">{escaped(_span(survey))}</p>',
        _figures(survey),
        _notes(survey, about),
        _time_maps(survey, labels[:MOST_IN_MAPS], len(labels)),
        _curve(curve),
        _labels(survey, labels),
        _sites(survey),
        _failed(survey),
        _how(survey),
        _provenance(about),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


def _span(survey: Survey) -> str:
    days = sorted(hour // 24 for hour in survey.effort)
    if not days:
        return "No row has a time of day, so there are no maps by hour and day."
    firsts = [site.first_time for site in survey.sites.values() if site.first_time]
    lasts = [site.last_time for site in survey.sites.values() if site.last_time]
    first, last = min(firsts, key=_clock), max(lasts, key=_clock)
    return f"{first[:16].replace('T', ' ')} to {last[:16].replace('T', ' ')}"


def _clock(time: str) -> str:
    return time[:19]


def _figures(survey: Survey) -> str:
    hours = survey.seconds / 3600
    detected = f"{survey.detections / survey.windows:.0%}" if survey.windows else "0%"
    figures = [
        (f"{survey.detections:,}", plural(survey.detections, "detection")),
        (f"{len(survey.labels):,}", plural(len(survey.labels), "label")),
        (detected, "of windows with a detection"),
        (f"{hours:,.1f}" if hours < 1000 else f"{hours:,.0f}", "hours listened"),
        (
            f"{survey.recordings:,}",
            f"{plural(survey.recordings, 'recording')}, {survey.recordings_failed:,} failed",
        ),
        (f"{len(survey.sites):,}", plural(len(survey.sites), "site")),
    ]
    items = "".join(
        f"<li><b>{escaped(value)}</b><span>{escaped(name)}</span></li>" for value, name in figures
    )
    return f'<ul class="figures">{items}</ul>'


def _notes(survey: Survey, about: About) -> str:
    """Return what a reader must know before believing a figure."""
    notes = []
    if about.unfinished:
        notes.append(f"The run is not finished; recordings not reached: {about.unfinished:,}.")
    if about.bad_lines:
        notes.append(f"Lines of the results that could not be read and are not counted: {about.bad_lines:,}.")
    if not survey.detections:
        notes.append("Nothing was detected. That is a result only for the hours that were listened to.")
    if survey.untimed and survey.effort:
        notes.append(f"Windows without a time, counted but in no map by time: {survey.untimed:,}.")
    if survey.wrong_clock:
        notes.append(f"Windows whose clock looks wrong, in no map by time: {survey.wrong_clock:,}.")
    if survey.offsets.get("") and len(survey.offsets) > 1:
        notes.append("Some recordings have a time zone and some have none: their hours may not be the same.")
    elif len(survey.offsets) > 1:
        shown = ", ".join(sorted(survey.offsets))
        notes.append(f"Hours are those of each recorder's own clock, in several offsets from UTC ({shown}).")
    if OTHER_LABELS in survey.labels:
        notes.append("There are more different answers than are kept apart; later ones are (other answers).")
    if about.other_questions:
        asked = "; ".join(f"“{question}”" for question in about.other_questions[:5])
        notes.append(f"Only answers to “{survey.query}” are counted here. Also asked: {asked}.")
    return "".join(f'<p class="note">{escaped(note)}</p>\n' for note in notes)


def _time_maps(survey: Survey, labels: Sequence[LabelCounts], of: int) -> str:
    if not survey.effort or not labels:
        return ""
    which = f"the {len(labels)} labels with most detections, of {of}" if of > len(labels) else "all labels"
    zones = sorted(f"UTC{one}".replace("UTCZ", "UTC") for one in survey.offsets if one)
    clock = str(survey.zone) if survey.zone else ", ".join(zones) or "unknown time zone"
    hours = heat_map(by_hour(survey, labels), f"Detections by hour of day ({clock}); {which}")
    days = by_day(survey, labels)
    return (
        f"<h2>When: hour of day</h2>\n{hours}\n<h2>When: {days.unit} by {days.unit}</h2>\n"
        f"{heat_map(days, f'Detections by {days.unit}; {which}')}"
    )


def _curve(curve: Accumulation | None) -> str:
    if curve is None:
        return ""
    more = ""
    if curve.estimate is not None:
        more = (
            f" Labels found once and twice suggest at least {curve.estimate:.0f} in all (Chao2), if every "
            "label is right; wrong ones push this up."
        )
    return (
        f"<h2>How many labels: accumulation</h2>\n<figure>{line_chart(curve)}\n<figcaption>"
        f"How many labels fewer {escaped(curve.unit)} would have found on average, over all ways to choose "
        f"them.{escaped(more)}</figcaption></figure>"
    )


def _labels(survey: Survey, labels: Sequence[LabelCounts]) -> str:
    if not labels:
        return ""
    most = labels[0].detections
    rows = []
    for label in labels[:MOST_IN_TABLE]:
        name = f" <em>{escaped(label.scientific_name)}</em>" if label.scientific_name else ""
        share = 100 * label.detections / most
        bar = f'<i style="width:{share:.1f}%"></i><span>{label.detections:,}</span>'
        rows.append(
            f'<tr><th scope="row"><bdi>{escaped(label.label)}</bdi>{name}</th>'
            f'<td class="number bar">{bar}</td>'
            f"{_numbers(label.recordings, len(label.sites))}"
            f"{_scores(label.mean_score, label.best_score)}{_times(label.first_time, label.last_time)}</tr>"
        )
    heads = ("Label", "Detections", "Recordings", "Sites", "Mean score", "Best score", "First", "Last")
    left = len(labels) - MOST_IN_TABLE
    rest = f'<p class="soft">{left:,} more labels are in summary.csv.</p>' if left > 0 else ""
    return f"<h2>What: labels</h2>\n{_table(heads, rows, numbers=range(1, 6))}{rest}"


def _sites(survey: Survey) -> str:
    rows = [_site_row(site) for _, site in sorted(survey.sites.items())[:MOST_SITES]]
    if not rows:
        return ""
    counts = ("Recordings", "Failed", "Hours", "Detections", "Labels")
    heads = ("Site", *counts, "Most often", "First day", "Last day")
    left = len(survey.sites) - MOST_SITES
    rest = f'<p class="soft">{left:,} more sites are in sites.csv.</p>' if left > 0 else ""
    return f"<h2>Where: sites</h2>\n{_table(heads, rows, numbers=range(1, 6))}{rest}"


def _site_row(site: SiteCounts) -> str:
    place = "" if site.latitude is None else f"{site.latitude:.5f}, {site.longitude:.5f}"
    often = ", ".join(
        f"<bdi>{escaped(label)}</bdi> ({count:,})" for label, count in site.labels.most_common(3)
    )
    recorders = ", ".join(sorted(site.recorders)[:3]) + (" …" if len(site.recorders) > 3 else "")
    more = " · ".join(text for text in (place, recorders) if text)
    return (
        f'<tr><th scope="row"><bdi>{escaped(site.site)}</bdi><small>{escaped(more)}</small></th>'
        f"{_numbers(site.recordings, site.failed)}"
        f'<td class="number">{site.seconds / 3600:,.1f}</td>{_numbers(site.detections, len(site.labels))}'
        f'<td class="wide">{often}</td>{_times(site.first_time, site.last_time, length=10)}</tr>'
    )


def _failed(survey: Survey) -> str:
    if not survey.recordings_failed:
        return ""
    rows = [
        f'<tr><th scope="row"><bdi>{escaped(name)}</bdi></th><td>{escaped(error)}</td></tr>'
        for name, error in survey.failed
    ]
    left = survey.recordings_failed - len(survey.failed)
    rest = f'<p class="soft">and {left:,} more.</p>' if left > 0 else ""
    count = survey.recordings_failed
    summary = f"{count:,} {plural(count, 'recording')} could not be read in full"
    return (
        f"<h2>Failed recordings</h2>\n<details{' open' if count <= 10 else ''}><summary>{summary}</summary>"
        f"{_table(('Recording', 'Why'), rows)}{rest}</details>"
    )


def _how(survey: Survey) -> str:
    """Return the rule of counting, with what it left out."""
    least = "" if survey.min_confidence is None else f" with a score of at least {survey.min_confidence:g}"
    if survey.ranked:
        rule = f"A window counts as a detection of its best-ranked label{least}, unless that is None."
    else:
        rule = f"A window counts as a detection of its answer as it stands{least}, unless that is None."
    kinds = sorted(kind for kind in survey.confidence_kinds if kind)
    meaning = f" Scores are of the kind {', '.join(kinds)}." if kinds else ""
    if kinds and "calibrated" not in kinds:
        meaning += " They are not calibrated: a score of 0.8 doesn't mean right in 8 of 10 cases."
    facts = [
        ("Question", survey.query),
        ("Windows", f"{survey.windows:,}"),
        ("Answered None", f"{survey.skipped[NOTHING]:,}"),
        ("Score too low", f"{survey.skipped[BELOW]:,}"),
        ("No score to compare", f"{survey.skipped[UNSCORED]:,}"),
        (
            "Warnings",
            "; ".join(
                f"{text} ({count:,} {plural(count, 'recording')})"
                for text, count in survey.warnings.most_common(12)
            ),
        ),
    ]
    return (
        f"<h2>How it was counted</h2>\n<p>{escaped(rule + meaning)} Windows that overlap count each; hours "
        "listened count every moment once. An hour without a detection is no proof of absence.</p>\n"
        f"{_facts(facts)}"
    )


def _provenance(about: About) -> str:
    run = about.provenance
    settings, counts, versions = (_section(run, name) for name in ("settings", "counts", "versions"))
    window = f"{settings.get('window_length_seconds')} s every {settings.get('hop_length_seconds')} s"
    model = _section(settings, "model")
    facts = [
        ("Results", about.results),
        ("Model", about.model),
        ("Revision", model.get("revision") or run.get("model_revision")),
        ("Weights", model.get("weights")),
        ("Licence of the weights", about.licence),
        ("Version", versions.get("naturelm-audio") or run.get("version")),
        ("Run", run.get("run_id")),
        ("Time", " to ".join(str(run[key]) for key in ("started", "ended") if run.get(key))),
        ("State", run.get("status")),
        ("Device", run.get("device")),
        ("Windows", window if settings.get("window_length_seconds") else None),
        ("Recordings given", counts.get("recordings")),
        ("Report made by", about.made_by),
    ]
    whole = json.dumps(run, indent=2, ensure_ascii=False, default=str)
    more = f"<details><summary>All settings</summary><pre>{_lines(whole)}</pre></details>" if run else ""
    return f"<h2>What made the results</h2>\n{_facts(facts)}\n{more}"


def _section(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of the run file; an empty one where the file has none or is damaged."""
    found = run.get(name)
    return found if isinstance(found, Mapping) else {}


def _facts(facts: Iterable[tuple[str, Any]]) -> str:
    items = "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(str(value))}</dd>"
        for name, value in facts
        if value not in (None, "", "0")
    )
    return f"<dl>{items}</dl>"


def _lines(text: str) -> str:
    return "\n".join(escaped(line) for line in text.split("\n"))


def _table(heads: Sequence[str], rows: Sequence[str], *, numbers: Iterable[int] = ()) -> str:
    right = set(numbers)
    cells = "".join(
        f'<th scope="col"{" class=number" if place in right else ""}>{head}</th>'
        for place, head in enumerate(heads)
    )
    body = "\n".join(rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(heads[0])}">'
        f'<table class="list">'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _numbers(*values: int) -> str:
    return "".join(f'<td class="number">{value:,}</td>' for value in values)


def _scores(*values: float | None) -> str:
    return "".join(f'<td class="number">{"" if value is None else f"{value:.2f}"}</td>' for value in values)


def _times(*values: str | None, length: int = 16) -> str:
    """Return cells with times as they are written, up to the minute or the day."""
    shown = [escaped((value or "")[:length].replace("T", " ")) for value in values]
    return "".join(f'<td class="time">{value}</td>' for value in shown)
