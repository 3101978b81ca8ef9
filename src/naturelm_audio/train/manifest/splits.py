"""Training, validation and test by recording, site or day, never through one of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.seeding import digest

__all__ = ["SplitBy", "assign_splits", "check_splits", "group_of"]

SplitBy = Literal["recording", "site", "day"]
_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?([01]\d)[-_]?([0-3]\d)(?!\d)")


def group_of(path: str, recording_id: str, by: SplitBy) -> str:
    """Return what must stay in one split: the recording, the folder (a site), or the day in the file's name.

    Raises:
        OptionsError: the name has no date.
    """
    if by == "recording":
        return recording_id or path
    pure = PurePosixPath(path.replace("\\", "/"))
    if by == "site":
        return str(pure.parent)
    day = _DAY.search(pure.name)
    if day is None:
        raise OptionsError(f"{path}: has no date like 20240501 in its name, so it can't be split by day")
    return "-".join(day.groups())


def assign_splits(
    groups: Iterable[str], *, valid_share: float, test_share: float = 0.0, seed: int = 0
) -> dict[str, str]:
    """Return group -> split. Shares are of groups; each split gets one at least if there are enough.

    Raises:
        OptionsError: the shares leave nothing for training.
    """
    if not (valid_share >= 0 and test_share >= 0 and valid_share + test_share < 1):
        raise OptionsError(f"shares of {valid_share} and {test_share} leave nothing to train on")
    ordered = sorted(set(groups), key=lambda group: (digest(seed, "split", group), group))
    spare = len(ordered) - 1
    valid = min(spare, max(1, round(valid_share * len(ordered)))) if valid_share else 0
    test = min(spare - valid, max(1, round(test_share * len(ordered)))) if test_share else 0
    names = ["valid"] * valid + ["test"] * test
    return {group: names[place] if place < len(names) else "train" for place, group in enumerate(ordered)}


def check_splits(splits: Iterable[tuple[str, str]], where: str) -> None:
    """Check pairs of recording and split; rows without a split count as training.

    Raises:
        ManifestError: a recording is in two.
    """
    found: Mapping[str, set[str]] = defaultdict(set)
    for recording, split in splits:
        found[recording].add(split or "train")
    problems = [
        Problem(where, 0, f"recording {recording!r} is in {' and '.join(sorted(names))}")
        for recording, names in sorted(found.items())
        if len(names) > 1
    ]
    if problems:
        raise ManifestError(f"{where}: recordings are in two splits: keep each in one", problems)
