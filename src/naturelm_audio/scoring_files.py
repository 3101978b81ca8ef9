"""A file of predictions -> its scores as files: metrics, details, labelled rows, a report, perhaps a plot.

All are named after the metrics. Both modes are always scored; the metrics file has one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturelm_audio.components import Benchmark
from naturelm_audio.errors import MissingExtraError
from naturelm_audio.files import replacing, write_atomically
from naturelm_audio.predictions import Prediction, read_predictions
from naturelm_audio.ranking import Rankings, read_rankings
from naturelm_audio.scored import MODES, Mode, ScoreOptions, Scores
from naturelm_audio.scoring import score
from naturelm_audio.scoring_plot import plot_scores
from naturelm_audio.scoring_report import details, markdown, metrics_of, provenance, row_lines

__all__ = ["ScoredFile", "score_file"]


@dataclass(frozen=True, kw_only=True)
class ScoredFile:
    """What came of a file: the scores of each mode, and the files that were written."""

    mode: Mode
    scores: Mapping[str, Scores]
    rows: int
    metrics: Path
    report: Path
    plot: Path | None = None
    rankings: Rankings = field(default_factory=Rankings)
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> Scores:
        """The scores of the mode that was asked for."""
        return self.scores[self.mode]

    @property
    def in_full(self) -> bool:
        """Whether everything has its score; the published mode never minds."""
        return self.mode == "official" or self.asked.in_full


def score_file(
    predictions: Path,
    output: Path,
    *,
    mode: Mode,
    benchmark: Benchmark,
    plot: bool = False,
    run: Mapping[str, Any] | None = None,
    **given: Any,
) -> ScoredFile:
    """Score a file, write the results, and return what there is.

    Args:
        predictions: JSON Lines or CSV.
        output: of the metrics; the others are named after it.
        mode: of the metrics file.
        benchmark: whose components are known.
        plot: whether to draw one.
        run: what is known of the run that made the predictions, for the report.
        given: fields of ScoreOptions.

    Raises:
        NatureLMError: the file can't be scored, or the results can't be written.
    """
    rows = read_predictions(predictions)
    scores: dict[str, Scores] = {
        one: score(rows, ScoreOptions(mode=one, **given), benchmark) for one in MODES
    }
    rankings = read_rankings(predictions, benchmark)
    drawn, notes = _drawn(scores, output) if plot else (None, ())
    found = ScoredFile(
        mode=mode,
        scores=scores,
        rows=len(rows),
        metrics=output,
        report=output.with_name(f"{output.stem}_report.md"),
        plot=drawn,
        rankings=rankings,
        notes=notes,
    )
    _write(found, predictions, rows, run or {})
    return found


def _drawn(scores: Mapping[str, Scores], output: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The plot, or why there is none: scores are worth having without it."""
    path = output.with_name(f"{output.stem}_plot.png")
    try:
        plot_scores(scores, path)
    except MissingExtraError as error:
        return None, (f"no plot: {error}",)
    return path, ()


def _write(found: ScoredFile, predictions: Path, rows: list[Prediction], run: Mapping[str, Any]) -> None:
    with open(predictions, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    made_by = {**provenance(predictions.name, digest, found.rows, found.asked), **run}
    output, scores, rankings = found.metrics, found.scores, found.rankings
    with replacing(output.with_name(f"{output.stem}_rows.jsonl")) as lines:
        lines.writelines(f"{line}\n" for line in row_lines(rows, scores, rankings))
    everything = details(scores, rankings, made_by)
    write_atomically(output.with_name(f"{output.stem}_details.json"), _pretty(everything))
    plot = found.plot.name if found.plot else None
    write_atomically(found.report, markdown(scores, rankings, made_by, plot=plot))
    write_atomically(output, _pretty(metrics_of(found.asked, rankings)))


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
