"""Richness: how many labels a smaller survey would have found, exactly, and how many are missing.

The expected number of labels in n of N samples, over all choices of n, is ``S - sum(C(N - k, n) / C(N, n))``
for labels found in k samples each (Colwell et al. 2012). Nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from naturelm_audio.survey.counting import OTHER_LABELS, Survey

__all__ = ["Accumulation", "accumulation", "expected_labels"]

POINTS = 60
LEAST_SAMPLES = 5


@dataclass(frozen=True)
class Accumulation:
    """Points (samples, expected labels); ``estimate`` is Chao's lower bound of all labels there are."""

    unit: str
    samples: int
    points: tuple[tuple[int, float], ...]
    estimate: float | None


def accumulation(survey: Survey) -> Accumulation | None:
    """Return the curve over site-days, or recordings or windows if there are too few; None without labels."""
    labels = [one for one in survey.labels.values() if one.label != OTHER_LABELS]
    if not labels:
        return None
    choices = (
        ("days at a site", len(survey.site_days), [len(one.site_days) for one in labels]),
        ("recordings", survey.recordings - survey.recordings_failed, [one.recordings for one in labels]),
        ("windows", survey.windows, [one.detections for one in labels]),
    )
    # Labels without a time are in no site-day, so days must know them all.
    fitting = [one for one in choices if one[1] >= LEAST_SAMPLES and all(one[2])]
    unit, samples, found_in = fitting[0] if fitting else choices[-1]
    samples = max(samples, *found_in)
    wanted = sorted({max(1, round(samples * step / POINTS)) for step in range(1, POINTS + 1)})
    points = tuple((count, expected_labels(found_in, samples, count)) for count in wanted)
    return Accumulation(unit, samples, points, _chao(found_in, samples))


def expected_labels(found_in: Sequence[int], samples: int, count: int) -> float:
    """Return how many labels ``count`` of the samples have on average.

    Args:
        found_in: in how many samples each label is, from 1 to ``samples``.
        samples: of the whole survey.
        count: of the smaller one, from 0 to ``samples``.
    """
    all_choices = _log_choices(samples, count)
    missed = (
        math.exp(_log_choices(samples - found, count) - all_choices)
        for found in found_in
        if samples - found >= count
    )
    return len(found_in) - math.fsum(missed)


def _log_choices(items: int, taken: int) -> float:
    return math.lgamma(items + 1) - math.lgamma(taken + 1) - math.lgamma(items - taken + 1)


def _chao(found_in: Sequence[int], samples: int) -> float | None:
    """Return the bias-corrected Chao2 estimate; None where one sample alone tells nothing."""
    if samples < LEAST_SAMPLES:
        return None
    once, twice = sum(found == 1 for found in found_in), sum(found == 2 for found in found_in)
    return len(found_in) + (samples - 1) / samples * once * (once - 1) / (2 * (twice + 1))
