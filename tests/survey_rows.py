"""Rows of results for tests of survey reports."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from naturelm_audio.records import Answer, Label
from naturelm_audio.survey.counting import Survey

QUESTION = "Which species?"


def row(name: str = "site1/a.wav", start: float = 0.0, output: str = "frog", **values: Any) -> Answer:
    """One row of ten seconds; ``labels`` as pairs of label and score."""
    labels = values.pop("labels", None)
    if labels is not None:
        values["labels"] = tuple(Label(label=label, score=score) for label, score in labels)
    return Answer(
        audio_path=name,
        start_seconds=start,
        end_seconds=values.pop("end", start + 10),
        query=values.pop("query", QUESTION),
        output=output,
        **values,
    )


def failed(
    name: str = "site1/broken.wav", error: str = "audio_decode_failed: not readable", **values: Any
) -> Answer:
    return Answer(
        audio_path=name,
        start_seconds=None,
        end_seconds=None,
        query=QUESTION,
        output=None,
        error=error,
        **values,
    )


def timed(time: str, output: str = "frog", name: str | None = None, **values: Any) -> Answer:
    """A row that begins at a time, the first of a recording named after it."""
    return row(name or f"site1/{time[:19].replace(':', '')}.wav", output=output, start_time=time, **values)


def survey_of(*answers: Answer, **options: Any) -> Survey:
    """The counts of these rows."""
    survey = Survey(QUESTION, **options)
    for answer in answers:
        survey.add(answer)
    return survey


def write(path: Path, answers: Iterable[Answer], run: dict[str, Any] | None = None) -> Path:
    path.write_text("".join(f"{answer.to_json()}\n" for answer in answers), encoding="utf-8")
    if run is not None:
        path.with_name(f"{path.name}.run.json").write_text(json.dumps(run), encoding="utf-8")
    return path
