"""What belongs to one user: uploads, jobs, the chosen model. Nothing of it is shared, all of it is deleted.

A session begins when a page is opened and ends when it is closed, or after hours without a sign of life. Its
id can't be guessed, and without it nothing of the session can be read.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from naturelm_audio.errors import AudioError, NatureLMError
from naturelm_audio.web.jobs import Job
from naturelm_audio.web.uploads import Limits, Upload, safe_name

__all__ = ["TABS", "Session", "SessionGoneError", "Sessions"]

logger = logging.getLogger(__name__)

TABS = ("ask", "batch", "long")
SWEEP_SECONDS = 60.0


class SessionGoneError(NatureLMError):
    """The page is older than its session."""


class Session:
    """One open page."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.id = secrets.token_urlsafe(16)
        self.folder = folder / self.id
        self.folder.mkdir()
        self.limits = limits
        self.model: str | None = None
        self.uploads: dict[str, dict[str, Upload]] = {tab: {} for tab in TABS}
        self.jobs: dict[str, Job] = {}
        self.seen = time.monotonic()
        self._lock = threading.Lock()
        self._closed = False

    def new_path(self, name: str) -> Path:
        """Return where an upload of this name goes, in a folder of its own."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder / safe_name(name)

    def add(self, tab: str, path: Path, name: str) -> Upload:
        """Take an uploaded file in; one that can't be used has a ``problem``, and stays only in a batch.

        Raises:
            AudioError: the tab has as many as it may.
        """
        upload = Upload(path, safe_name(name))
        upload.examine()
        upload.problem = upload.problem or self._too_long(tab, upload)
        with self._lock:
            wanted = upload.problem is None or tab == "batch"
            full = wanted and len(self.uploads[tab]) >= self.limits.files
            keep = wanted and not (self._closed or full)
            if keep:
                if tab == "long":
                    self._drop_all(tab)
                upload.name = self._free_name(tab, upload.name)  # here, for two may come at once
                self.uploads[tab][upload.id] = upload
        if not keep:
            upload.delete()
        if full:
            raise AudioError(f"{upload.name}: more than {self.limits.files} recordings at once")
        return upload

    def remove(self, tab: str, upload_id: str | None = None) -> None:
        """Delete one upload of a tab, or all of them."""
        with self._lock:
            if upload_id is None:
                self._drop_all(tab)
            elif upload_id in self.uploads[tab]:
                self.uploads[tab].pop(upload_id).delete()

    def upload(self, upload_id: str) -> Upload | None:
        """Return an upload of any tab."""
        return next((found[upload_id] for found in self.uploads.values() if upload_id in found), None)

    def job(self, job_id: str) -> Job | None:
        """Return a job of any tab."""
        return next((job for job in self.jobs.values() if job.id == job_id), None)

    def start(self, tab: str, make: Callable[[Path], Job]) -> Job:
        """Make and start a job in place of the tab's last one, whose rows are deleted.

        Raises:
            SessionGoneError: the session was closed.
        """
        with self._lock:
            if self._closed:
                raise SessionGoneError("this page is no longer connected: reload it")
            if tab in self.jobs:
                self.jobs[tab].delete()
            folder = self.folder / secrets.token_hex(8)
            folder.mkdir()
            self.jobs[tab] = job = make(folder)
            job.start()
            return job

    def close(self) -> None:
        """Stop all jobs and delete everything."""
        with self._lock:
            self._closed = True
            jobs = list(self.jobs.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.wait()
        for tab in TABS:
            self.remove(tab)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _drop_all(self, tab: str) -> None:
        if tab in self.jobs:
            self.jobs[tab].cancel()  # what it listens to goes; its answers stay
        for upload in self.uploads[tab].values():
            upload.delete()
        self.uploads[tab].clear()

    def _free_name(self, tab: str, name: str) -> str:
        taken = {upload.name for upload in self.uploads[tab].values()}
        if name not in taken or tab == "long":
            return name
        stem, dot, suffix = name.rpartition(".")
        stem, suffix = (stem, dot + suffix) if dot else (suffix, "")
        return next(new for n in range(2, len(taken) + 3) if (new := f"{stem} ({n}){suffix}") not in taken)

    def _too_long(self, tab: str, upload: Upload) -> str | None:
        seconds = upload.duration_seconds or 0.0
        if tab == "ask" and seconds > self.limits.clip_seconds:
            return (
                f"{upload.name} lasts {seconds / 60:.0f} minutes; here clips may last "
                f"{self.limits.clip_seconds / 60:g}: open it under Long recording"
            )
        if seconds > self.limits.recording_seconds:
            hours = self.limits.recording_seconds / 3600
            return f"{upload.name} lasts {seconds / 3600:.1f} hours; recordings may last {hours:g}: split it"
        return None


class Sessions:
    """All open pages, and the folder in which they keep their files."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.folder = Path(tempfile.mkdtemp(prefix="naturelm-app-"))
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        threading.Thread(target=self._sweep, name="sessions", daemon=True).start()

    def open(self) -> Session:
        """Return a new session."""
        session = Session(self.folder, self.limits)
        with self._lock:
            self._sessions[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Return an open session, which counts as a sign of life.

        Raises:
            SessionGoneError: there is none with this id.
        """
        with self._lock:
            session = self._sessions.get(session_id)
        if session is None:
            raise SessionGoneError("this page is no longer connected: reload it")
        session.seen = time.monotonic()
        return session

    def end(self, session_id: str) -> None:
        """Close a session; one that isn't there is none."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close all sessions and remove the folder."""
        self._stopped.set()
        for session_id in list(self._sessions):
            self.end(session_id)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __len__(self) -> int:
        """Return the number of open pages."""
        return len(self._sessions)

    def _sweep(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            idle = time.monotonic() - self.limits.idle_seconds
            for session in list(self._sessions.values()):
                if session.seen < idle:
                    logger.info("a page without a sign of life was closed")
                    self.end(session.id)
