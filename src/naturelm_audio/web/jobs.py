"""One run over recordings in a thread of its own: rows on disk, progress, cancelling.

The rows are the truth, as for the command line and in the same files: JSON Lines with a journal, from which
the page is filled and every download is made.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio.audio import Recording
from naturelm_audio.errors import NatureLMError
from naturelm_audio.journal import Journal
from naturelm_audio.label_lists import LabelList
from naturelm_audio.metadata import FieldNotes
from naturelm_audio.pipeline import Pipeline
from naturelm_audio.progress import expected_windows
from naturelm_audio.run_outputs import sound_facts
from naturelm_audio.runs import about_run
from naturelm_audio.windows import WindowPlan

__all__ = ["Job", "Listening", "Rows"]

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Listening:
    """How recordings are heard: the options of :meth:`naturelm_audio.Pipeline.ask` that the page has."""

    plan: WindowPlan
    channel: int | None = None
    speed_factor: float = 1.0


class Rows:
    """Finds rows of a growing JSON Lines file by their number; none is held in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends = [0]

    def count(self) -> None:
        """Take note of a row that was appended."""
        self._ends.append(self.path.stat().st_size)

    def lines(self, first: int, most: int = ROWS_AT_ONCE) -> list[str]:
        """Return rows from a number on, each as its line of JSON."""
        end = min(first + most, len(self))
        if not 0 <= first < end:
            return []
        with open(self.path, "rb") as file:
            file.seek(self._ends[first])
            return file.read(self._ends[end] - self._ends[first]).decode().split("\n")[:-1]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._ends) - 1


class Job:
    """Asks a pipeline about recordings until it is done or cancelled.

    Args:
        pipeline: of the user.
        recordings: in any number.
        questions: each put to every window.
        listening: windows, channel, speed.
        labels: to choose among; None lets the model use its own words.
        folder: for the rows; the job deletes it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        recordings: Sequence[Recording],
        questions: Sequence[str],
        listening: Listening,
        folder: Path,
        labels: LabelList | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.pipeline = pipeline
        self.recordings = list(recordings)
        self.questions = list(questions)
        self.listening = listening
        self.labels = labels
        self.folder = folder
        self.rows = Rows(folder / "answers.jsonl")
        self.state = "running"
        self.problem: str | None = None
        self.failed = 0
        self.finished_recordings = 0
        self.expected_windows = 0.0
        self.started = time.monotonic()
        self.ended: float | None = None
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job-{self.id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to stop after the batch it is at."""
        self._cancelled.set()

    def wait(self, seconds: float | None = 60.0) -> None:
        """Return when the job has ended, or after some time."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def delete(self) -> None:
        """Stop and remove the rows."""
        self.cancel()
        self.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.state == "running"

    def status(self) -> dict[str, Any]:
        """Return progress as JSON values."""
        state = self.state  # before the rows: a job that is done has no more of them
        rows = len(self.rows)
        elapsed = (self.ended or time.monotonic()) - self.started
        expected = max(round(self.expected_windows * len(self.questions)), rows)
        left = elapsed / rows * (expected - rows) if rows else None
        return {
            "state": state,
            "problem": self.problem,
            "rows": rows,
            "expected": rows if state == "done" else expected,
            "recordings": len(self.recordings),
            "finished": self.finished_recordings,
            "failed": self.failed,
            "elapsed_seconds": round(elapsed, 1),
            "left_seconds": None if left is None else round(left),
        }

    def _run(self) -> None:
        try:
            listening = self.listening
            self.expected_windows = expected_windows(self.recordings, listening.plan, listening.speed_factor)
            with Journal.open(
                self.rows.path, mode="new", settings=self._settings(), about=about_run()
            ) as journal:
                self._ask(journal)
            self.state = "cancelled" if self._cancelled.is_set() else "done"
        except NatureLMError as error:
            self.problem, self.state = str(error), "failed"
        except Exception:  # a fault of ours ends this job with a sentence, and never the app
            logger.exception("a job failed")
            self.problem = "Something went wrong inside the program; its log says what."
            self.state = "failed"
        finally:
            self.ended = time.monotonic()

    def _ask(self, journal: Journal) -> None:
        by_name = {recording.name: recording for recording in journal.remaining(self.recordings)}

        def finished(source: Any, windows: int, rows: int, error: str | None, seconds: float | None) -> None:
            facts = sound_facts(source.path, seconds)
            facts.pop("file")  # a place that is gone when the page is closed
            journal.finish(source, windows=windows, error=error, **facts)
            self.finished_recordings += 1
            self.failed += error is not None

        answers = self.pipeline.ask(
            self.recordings,
            self.questions,
            labels=self.labels,
            plan=self.listening.plan,
            channel=self.listening.channel,
            speed_factor=self.listening.speed_factor,
            on_recording_done=finished,
        )
        notes = FieldNotes()
        for answer in answers:
            if self._cancelled.is_set():
                break
            recording = by_name[answer.audio_path]
            journal.append(notes.described(answer, recording), recording)
            self.rows.count()

    def _settings(self) -> dict[str, Any]:
        """What decides the rows, as the run file of the command line has it."""
        plan, provenance = self.listening.plan, self.pipeline.model.provenance
        return {
            "queries": self.questions,
            "window_length_seconds": float(plan.window_length_seconds),
            "hop_length_seconds": float(plan.hop_length_seconds or plan.window_length_seconds),
            "channel": self.listening.channel,
            "speed_factor": float(self.listening.speed_factor),
            "ranking": None if self.labels is None else self.labels.settings(),
            "generate": dataclasses.asdict(self.pipeline.generator.options),
            "model": {
                "name": provenance.model_name,
                "revision": provenance.model_revision,
                "weights": provenance.weights_fingerprint,
            },
        }
