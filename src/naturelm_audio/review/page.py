"""The page to listen, look and mark: one file of HTML with everything inside that is not sound or picture.

Nothing is fetched from other hosts, and the page's own policy forbids it. Names and labels are data, never
markup: they travel as JSON and are shown as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from naturelm_audio.marks import MARK_COLUMNS
from naturelm_audio.review.choosing import Candidate
from naturelm_audio.spectrograms import mel_position

__all__ = ["ReviewClip", "build_page"]

FREQUENCIES_HZ = (250, 500, 1000, 2000, 4000, 8000)


@dataclass(frozen=True)
class ReviewClip:
    """A window that was cut; ``audio`` and ``image`` are addresses relative to the page."""

    candidate: Candidate
    audio: str
    image: str


def build_page(clips: Sequence[ReviewClip], *, title: str, commands: Sequence[str] = ()) -> str:
    """Return the page as HTML.

    Args:
        clips: in the order in which they are shown.
        title: a line of text.
        commands: lines that say what can be done with the marks.
    """
    style, script = _text("page.css"), _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # "self" means nothing to some browsers where the page is opened as a file, so its scheme is named too.
    policy = (
        "default-src 'none'; img-src 'self' file: data:; media-src 'self' file: data: blob:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    data = {
        "id": _id(*(clip.candidate.key for clip in clips)),
        "columns": MARK_COLUMNS,
        "frequencies": [[hertz, round(mel_position(hertz), 4)] for hertz in FREQUENCIES_HZ],
        "commands": list(commands),
        "clips": [_clip(clip) for clip in clips],
    }
    return Template(_text("page.html")).substitute(
        title=html.escape(" ".join(title.split())),
        policy=policy,
        style=style,
        script=script,
        data=_embedded(data),
    )


def _clip(clip: ReviewClip) -> dict[str, Any]:
    candidate = clip.candidate
    return {
        "id": _id(candidate.key),
        "path": candidate.path,
        "start_seconds": candidate.start_seconds,
        "end_seconds": candidate.end_seconds,
        "label": candidate.label,
        "score": candidate.score,
        "speed_factor": candidate.speed_factor,
        "audio": clip.audio,
        "image": clip.image,
    }


def _id(*texts: str) -> str:
    return hashlib.sha256("\x1e".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:20]


def _embedded(value: Any) -> str:
    """JSON that can stand in a script element, whatever the texts in it are."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


def _text(name: str) -> str:
    return (resources.files("naturelm_audio.review") / name).read_text(encoding="utf-8")
