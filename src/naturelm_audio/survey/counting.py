"""Rows -> counts of a survey. Memory grows with labels and hours of the survey, never with the rows."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

from naturelm_audio.records import Answer
from naturelm_audio.survey.detections import Detection, detected

__all__ = ["HOURS_A_DAY", "OTHER_LABELS", "LabelCounts", "SiteCounts", "Survey"]

HOURS_A_DAY = 24
MOST_LABELS = 5000
MOST_FAILED_SHOWN = 500
OTHER_LABELS = "(other answers)"
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)?")
WARNING_KIND = re.compile("[:;]")  # what stands before it is the same for all recordings
CLOCK_WRONG = "clock looks wrong"
EARLIEST_YEAR = 2000
WHOLE_SURVEY = "(no folder)"


@dataclass
class LabelCounts:
    """Where and when one label was detected. Keys of ``hours`` are ``day * 24 + hour``."""

    label: str
    scientific_name: str | None = None
    detections: int = 0
    recordings: int = 0
    hours: Counter[int] = field(default_factory=Counter)
    site_days: set[tuple[str, int]] = field(default_factory=set)
    sites: set[str] = field(default_factory=set)
    scores: int = 0
    score_sum: float = 0.0
    best_score: float | None = None
    first_time: str | None = None
    last_time: str | None = None
    last_recording: str | None = None

    def add(self, found: Detection, recording: str, site: str) -> None:
        """Count a detection."""
        self.detections += 1
        self.sites.add(site)
        self.scientific_name = self.scientific_name or found.scientific_name
        if recording != self.last_recording:
            self.recordings += 1
            self.last_recording = recording
        if found.score is not None:
            self.scores += 1
            self.score_sum += found.score
            self.best_score = max(found.score, self.best_score or 0.0)

    @property
    def mean_score(self) -> float | None:
        """The mean of the scores that there are."""
        return self.score_sum / self.scores if self.scores else None


@dataclass
class SiteCounts:
    """What was heard at one site."""

    site: str
    recordings: int = 0
    failed: int = 0
    seconds: float = 0.0
    detections: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    recorders: set[str] = field(default_factory=set)
    latitude: float | None = None
    longitude: float | None = None
    first_time: str | None = None
    last_time: str | None = None


@dataclass
class Survey:
    """Counts of all rows of one question, row by row; rows of a recording stand together, in order.

    Args:
        query: the question whose rows are counted; others are left aside.
        min_confidence: of a detection; None takes all.
        zone: brings times that have a zone to this one; None leaves each as its recorder had it.
    """

    query: str
    min_confidence: float | None = None
    zone: tzinfo | None = None
    labels: dict[str, LabelCounts] = field(default_factory=dict)
    sites: dict[str, SiteCounts] = field(default_factory=dict)
    effort: Counter[int] = field(default_factory=Counter)
    """Seconds listened in each hour of the survey, in whole seconds times 1000."""
    site_days: set[tuple[str, int]] = field(default_factory=set)
    windows: int = 0
    detections: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    recordings: int = 0
    recordings_failed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    untimed: int = 0
    wrong_clock: int = 0
    offsets: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    confidence_kinds: Counter[str] = field(default_factory=Counter)
    ranked: int = 0
    _recording: str | None = None
    _heard_until: float = 0.0
    _failed_recording: str | None = None

    def add(self, answer: Answer) -> None:
        """Count a row."""
        site = self._site(answer)
        if answer.audio_path != self._recording:
            self._recording, self._heard_until = answer.audio_path, 0.0
            self.recordings += 1
            site.recordings += 1
            self.warnings.update({WARNING_KIND.split(one)[0] for one in answer.warnings or ()})
        if answer.error is not None:
            self._fail(answer, site)
            return
        if answer.query != self.query:
            self.skipped["other question"] += 1
            return
        self.windows += 1
        hour = self._hour(answer)
        self._listen(answer, site, hour)
        found = detected(answer, self.min_confidence)
        if answer.labels:
            self.ranked += 1
        self.confidence_kinds[answer.confidence_kind or ""] += 1
        if isinstance(found, Detection):
            self._count(answer, found, site, hour)
        else:
            self.skipped[found] += 1

    def _site(self, answer: Answer) -> SiteCounts:
        folder = answer.audio_path.partition("/")[0] if "/" in answer.audio_path.lstrip("/") else ""
        name = answer.site or folder or WHOLE_SURVEY
        if name not in self.sites:
            self.sites[name] = SiteCounts(name)
        site = self.sites[name]
        if site.latitude is None and answer.latitude is not None:
            site.latitude, site.longitude = answer.latitude, answer.longitude
        if answer.recorder:
            site.recorders.add(answer.recorder)
        return site

    def _fail(self, answer: Answer, site: SiteCounts) -> None:
        self.skipped["failed"] += 1
        if answer.audio_path == self._failed_recording:
            return
        self._failed_recording = answer.audio_path
        self.recordings_failed += 1
        site.failed += 1
        if len(self.failed) < MOST_FAILED_SHOWN:
            self.failed.append((answer.audio_path, answer.error or ""))

    def _hour(self, answer: Answer) -> int | None:
        """Return the hour of the survey in which a window begins; None if that is unknown or wrong."""
        found = TIME.fullmatch(answer.start_time or "")
        if found is None:
            self.untimed += 1
            return None
        year, month, day, hour = (int(found[group]) for group in range(1, 5))
        offset = found[5] or ""
        if self.zone is not None and offset:
            time = datetime.fromisoformat(found[0]).astimezone(self.zone)
            year, month, day, hour, offset = time.year, time.month, time.day, time.hour, "as asked"
        if year < EARLIEST_YEAR or any(one.startswith(CLOCK_WRONG) for one in answer.warnings or ()):
            self.wrong_clock += 1
            return None
        try:
            days = date(year, month, day).toordinal()
        except ValueError:
            self.untimed += 1
            return None
        self.offsets[offset] += 1
        return days * HOURS_A_DAY + hour

    def _listen(self, answer: Answer, site: SiteCounts, hour: int | None) -> None:
        """Count the time that no window before has heard."""
        start, end = answer.start_seconds or 0.0, answer.end_seconds or 0.0
        new = max(0.0, end - max(start, self._heard_until)) / (answer.time_expansion or 1.0)
        self._heard_until = max(end, self._heard_until)
        self.seconds += new
        site.seconds += new
        if hour is None:
            return
        self.effort[hour] += round(new * 1000)
        self.site_days.add((site.site, hour // HOURS_A_DAY))
        site.first_time, site.last_time = _span(site.first_time, site.last_time, answer.start_time)

    def _count(self, answer: Answer, found: Detection, site: SiteCounts, hour: int | None) -> None:
        name = found.label
        if name not in self.labels:
            name = name if len(self.labels) < MOST_LABELS else OTHER_LABELS
            self.labels.setdefault(name, LabelCounts(name))
        label = self.labels[name]
        label.add(found, answer.audio_path, site.site)
        self.detections += 1
        site.detections += 1
        site.labels[name] += 1
        if hour is not None:
            label.hours[hour] += 1
            label.site_days.add((site.site, hour // HOURS_A_DAY))
            label.first_time, label.last_time = _span(label.first_time, label.last_time, answer.start_time)

    @property
    def ordered_labels(self) -> list[LabelCounts]:
        """Labels by falling number of detections, then by name."""
        return sorted(self.labels.values(), key=lambda one: (-one.detections, one.label))


def _span(first: str | None, last: str | None, time: str | None) -> tuple[str | None, str | None]:
    """Return the first and last of times as they are written, compared as wall clocks."""
    if time is None:
        return first, last
    clock = time[:19]
    return (
        time if first is None or clock < first[:19] else first,
        time if last is None or clock > last[:19] else last,
    )
