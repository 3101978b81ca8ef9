"""The progress of a run on stderr: windows done, recordings per hour, time left, and a line per failure."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from tqdm import tqdm

from naturelm_audio.audio import Recording, probe
from naturelm_audio.errors import AudioError
from naturelm_audio.records import Answer
from naturelm_audio.windows import WindowPlan

__all__ = ["Progress", "expected_windows"]

PROBED_RECORDINGS = 500
LAYOUT = "{n:.0f}/{total:.0f} windows |{bar}| {elapsed} so far, {remaining} left{postfix}"
SECONDS_BETWEEN_LINES = 30.0  # where the bar is no terminal, each refresh is a line of a log file


class Progress:
    """Counts windows and recordings of a run and shows them; a context manager."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        plan: WindowPlan,
        speed_factor: float,
        *,
        questions: int,
        done: Mapping[str, int],
    ) -> None:
        self._questions = questions
        self._recordings = 0
        self._started = time.monotonic()
        terminal = sys.stderr.isatty()
        expected = expected_windows(recordings, plan, speed_factor)
        self._bar = tqdm(
            total=max(expected - sum(done.values()) / questions, 1.0),
            file=sys.stderr,
            bar_format=LAYOUT,
            mininterval=0.2 if terminal else SECONDS_BETWEEN_LINES,
            ncols=None if terminal else 79,
        )

    def row(self, answer: Answer) -> None:
        """Count a row; all questions of a window make a window."""
        if answer.start_seconds is not None:
            self._bar.update(1 / self._questions)

    def window(self) -> None:
        """Count a window that is through as a whole."""
        self._bar.update(1)

    def recording(self, name: str, error: str | None) -> None:
        """Count a finished recording, and say so if it failed."""
        self._recordings += 1
        hours = (time.monotonic() - self._started) / 3600
        self._bar.set_postfix_str(f"{self._recordings / max(hours, 1e-9):.0f} recordings/h", refresh=False)
        if error is not None:
            self._bar.write(f"{name}: {error}", file=sys.stderr)

    def __enter__(self) -> Progress:
        """Return the progress itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last state; the total was an estimate, so it gives way to what was counted."""
        if error is None:
            self._bar.total = self._bar.n
        self._bar.refresh()
        self._bar.close()


def expected_windows(recordings: Sequence[Recording], plan: WindowPlan, speed_factor: float = 1.0) -> float:
    """Return about how many windows there will be, from headers alone.

    Where there are many recordings, the first ones speak for the others.
    """
    probed = recordings[:PROBED_RECORDINGS]
    if not probed:
        return 0.0
    found = sum(_windows_of(recording, plan, speed_factor) for recording in probed)
    return found * len(recordings) / len(probed)


def _windows_of(recording: Recording, plan: WindowPlan, speed_factor: float) -> float:
    try:
        seconds = probe(recording.path).duration_seconds
    except AudioError:
        return 0.0
    if seconds is None:
        return 1.0
    hop = plan.hop_length_seconds or plan.window_length_seconds
    parts = math.ceil(plan.window_length_seconds / plan.model_max_seconds)
    return parts * max(1, math.ceil((seconds / speed_factor - plan.window_length_seconds) / hop) + 1)
