"""A file of rows -> the folder of a report: a page and the tables beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import naturelm_audio
from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.files import clear_errors, write_atomically
from naturelm_audio.formats.about import Run, licence_of
from naturelm_audio.formats.source import ResultFile
from naturelm_audio.metadata import parse_zone
from naturelm_audio.survey.counting import Survey
from naturelm_audio.survey.page import About, page
from naturelm_audio.survey.richness import accumulation
from naturelm_audio.survey.tables import tables

__all__ = ["PAGE", "Report", "write_report"]

PAGE = "index.html"


@dataclass(frozen=True)
class Report:
    """What was written: the page, the tables, and the counts behind them."""

    page: Path
    tables: tuple[Path, ...]
    survey: Survey


def write_report(
    results: Path,
    folder: Path,
    *,
    query: str | None = None,
    min_confidence: float | None = None,
    time_zone: str | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Write the report of a file of rows into a folder.

    Args:
        results: JSON Lines of ``naturelm infer``.
        folder: made if it is not there.
        query: the question whose answers are counted; by default the first of the file.
        min_confidence: of a detection, from 0 to 1.
        time_zone: shows times in this zone, where they have one of their own.
        title: of the page; by default the name of the results.
        overwrite: replace a report that is there.

    Raises:
        OptionsError: an option is wrong, or the file has no such question.
        OutputError: the rows can't be read, the report is there already, or it can't be written.
    """
    if min_confidence is not None and not 0.0 <= min_confidence <= 1.0:
        raise OptionsError(f"--min-confidence must be from 0 to 1, found {min_confidence:g}")
    zone = parse_zone(time_zone) if time_zone else None
    _check_place(folder, overwrite)
    with ResultFile(results) as rows:
        survey = _counted(rows, query, min_confidence, zone)
        run = Run(rows)
        about = About(
            title=title or f"Survey report: {results.stem}",
            results=results.name,
            provenance=run.provenance,
            model=run.model,
            licence=licence_of(run.model),
            other_questions=tuple(one for one in rows.queries if one != survey.query),
            unfinished=run.unfinished,
            bad_lines=rows.bad_count,
            made_by=f"naturelm-audio {naturelm_audio.__version__}",
        )
    return _written(folder, survey, about)


def _counted(
    rows: ResultFile, query: str | None, min_confidence: float | None, zone: tzinfo | None
) -> Survey:
    asked = _question(rows.queries, query)
    survey = Survey(asked, min_confidence, zone)
    for name in rows.names:
        for answer in rows.answers(name):
            survey.add(answer)
    return survey


def _question(queries: Sequence[str], wanted: str | None) -> str:
    """Return the question to count; one that differs in blanks or case is the same.

    Raises:
        OptionsError: none of the file is.
    """
    if wanted is None:
        return queries[0] if queries else ""
    folded = {" ".join(query.split()).casefold(): query for query in reversed(queries)}
    found = folded.get(" ".join(wanted.split()).casefold())
    if found is None:
        listed = "; ".join(repr(query) for query in queries) or "none"
        raise OptionsError(f"--query {wanted!r}: the results have no such question; they have {listed}")
    return found


def _check_place(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file: name a folder for the report")
    if (folder / PAGE).exists() and not overwrite:
        raise OutputError(
            f"{folder / PAGE}: exists already: replace it with --overwrite, or choose another --output-path"
        )


def _written(folder: Path, survey: Survey, about: About) -> Report:
    curve = accumulation(survey)
    files = tables(survey, curve) | {PAGE: page(survey, curve, about)}  # the page last: it says all is there
    with clear_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomically(folder / name, text)
    return Report(folder / PAGE, tuple(folder / name for name in files if name != PAGE), survey)
