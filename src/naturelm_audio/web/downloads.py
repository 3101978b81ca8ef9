"""Rows of a job -> a file to take home, in every form that the package writes."""

from __future__ import annotations

from dataclasses import dataclass

from naturelm_audio.errors import OptionsError
from naturelm_audio.web.jobs import Job

__all__ = ["Download", "downloads", "make_download"]


@dataclass(frozen=True)
class Download:
    """A file for the browser."""

    name: str
    media_type: str
    content: bytes


def downloads() -> dict[str, str]:
    """Return what there is: key and name."""
    return {"jsonl": "JSON Lines"}


def make_download(job: Job, kind: str) -> Download:
    """Return the file of one kind.

    Raises:
        OptionsError: there is no such kind.
    """
    if kind == "jsonl":
        return Download("answers.jsonl", "application/jsonl", job.rows.path.read_bytes())
    raise OptionsError(f"no such download: {kind}")
