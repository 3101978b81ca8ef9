"""Counts of a survey as CSV: per label, per label and hour, per hour listened, per site, and the curve."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date

from naturelm_audio.survey.counting import HOURS_A_DAY, Survey
from naturelm_audio.survey.richness import Accumulation

__all__ = ["tables"]

Cell = str | int | float | None


def tables(survey: Survey, curve: Accumulation | None) -> dict[str, str]:
    """Return file name -> CSV text. Empty cells are unknown; hours are local clock time."""
    return {
        "summary.csv": _csv(SUMMARY, _summary(survey)),
        "hours.csv": _csv(("label", "date", "hour", "detections"), _hours(survey)),
        "effort.csv": _csv(("date", "hour", "listened_seconds"), _effort(survey)),
        "sites.csv": _csv(SITES, _sites(survey)),
        "accumulation.csv": _csv(("unit", "samples", "expected_labels"), _points(curve)),
    }


SUMMARY = (
    "label",
    "scientific_name",
    "detections",
    "recordings",
    "sites",
    "site_days",
    "mean_score",
    "best_score",
    "first_time",
    "last_time",
)
SITES = (
    "site",
    "latitude",
    "longitude",
    "recorders",
    "recordings",
    "failed",
    "listened_hours",
    "detections",
    "labels",
    "first_time",
    "last_time",
)


def _summary(survey: Survey) -> Iterable[Sequence[Cell]]:
    for label in survey.ordered_labels:
        mean = None if label.mean_score is None else round(label.mean_score, 4)
        yield (
            label.label,
            label.scientific_name,
            label.detections,
            label.recordings,
            len(label.sites),
            len(label.site_days),
            mean,
            label.best_score,
            label.first_time,
            label.last_time,
        )


def _hours(survey: Survey) -> Iterable[Sequence[Cell]]:
    for label in survey.ordered_labels:
        for hour, count in sorted(label.hours.items()):
            yield label.label, *_day_and_hour(hour), count


def _effort(survey: Survey) -> Iterable[Sequence[Cell]]:
    for hour, milliseconds in sorted(survey.effort.items()):
        yield *_day_and_hour(hour), milliseconds / 1000


def _sites(survey: Survey) -> Iterable[Sequence[Cell]]:
    for _, site in sorted(survey.sites.items()):
        yield (
            site.site,
            site.latitude,
            site.longitude,
            "; ".join(sorted(site.recorders)),
            site.recordings,
            site.failed,
            round(site.seconds / 3600, 4),
            site.detections,
            len(site.labels),
            site.first_time,
            site.last_time,
        )


def _points(curve: Accumulation | None) -> Iterable[Sequence[Cell]]:
    for samples, labels in curve.points if curve else ():
        yield curve.unit if curve else "", samples, round(labels, 4)


def _day_and_hour(hour: int) -> tuple[str, int]:
    return date.fromordinal(hour // HOURS_A_DAY).isoformat(), hour % HOURS_A_DAY


def _csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
