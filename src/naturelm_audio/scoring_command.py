"""``naturelm score``: a file of predictions -> metrics, details, labelled rows and a report.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naturelm_audio.errors import NatureLMError, OptionsError

if TYPE_CHECKING:
    from naturelm_audio.scoring_report import Outcome

__all__ = ["metrics_path", "score", "score_file"]

SOME_FAILED = 3  # as of all commands: something could not be done, the rest is there
TABLES = (".jsonl", ".csv", ".tsv")


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--output-path", type=click.Path(path_type=Path), help="Metrics file.  [<predictions>_metrics.json]"
)
@click.option("--mode", type=click.Choice(["official", "strict"]), default="strict", show_default=True)
@click.option(
    "--benchmark", type=click.Path(path_type=Path), help="Components and their labels (JSON).  [BEANS-Zero]"
)
@click.option(
    "--partial", is_flag=True, help="Score the rows that are there; else missing rows count as wrong."
)
@click.option("--no-spice", is_flag=True, help="Captions by CIDEr alone, without asking for SPIDEr.")
@click.option("--resamples", type=int, default=1000, show_default=True, help="Draws of the 95 % intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of those draws.")
def score(
    predictions: Path, output_path: Path | None, benchmark: Path | None, no_spice: bool, **given: Any
) -> int:
    """Score a benchmark's predictions (JSON Lines or CSV).

    The output has each component's metrics in the asked mode: official repeats the published scorer, strict
    mends its oddities. Beside it go details and a report of both modes, and every row with the label it
    became. Exit status 3, in strict mode: a component could not
    be scored in full.
    """
    return score_file(predictions, output_path, benchmark=benchmark, spice=not no_spice, **given)


def metrics_path(predictions: Path, output_path: Path | None) -> Path:
    """Return where the metrics go.

    Raises:
        OptionsError: the name is that of the predictions, or of such a file.
    """
    path = output_path or predictions.with_name(f"{predictions.stem}_metrics.json")
    if path.suffix.lower() in TABLES or path.resolve() == predictions.resolve():
        raise OptionsError(
            f"--output-path {path}: metrics never replace predictions: choose a name that ends in .json"
        )
    if not path.absolute().parent.is_dir():
        raise OptionsError(
            f"--output-path {path}: the folder {path.absolute().parent} is not there: make it first"
        )
    return path


def score_file(
    predictions: Path,
    output_path: Path | None = None,
    *,
    mode: str = "strict",
    benchmark: Path | None = None,
    **given: Any,
) -> int:
    """Score a file, write the results, and return the exit status.

    Args:
        predictions: JSON Lines or CSV.
        output_path: of the metrics; details, rows and report are named after it.
        mode: of the metrics file.
        benchmark: components of one's own.
        given: fields of ScoreOptions.

    Raises:
        NatureLMError: the file can't be scored in this mode, or the results can't be written.
    """
    from naturelm_audio.components import beans_zero, read_benchmark
    from naturelm_audio.predictions import read_predictions
    from naturelm_audio.scoring import MODES, ScoreOptions, Scores
    from naturelm_audio.scoring import score as score_rows

    output = metrics_path(predictions, output_path)
    table = beans_zero() if benchmark is None else read_benchmark(benchmark)
    options = {one: ScoreOptions(mode=one, **given) for one in MODES}
    rows = read_predictions(predictions)
    outcomes: dict[str, Outcome] = {}
    for one in sorted(MODES, key=lambda name: name != mode):
        try:
            outcomes[one] = score_rows(rows, options[one], table)
        except NatureLMError as error:
            if one == mode:
                raise
            outcomes[one] = error
    asked = outcomes[mode]
    if not isinstance(asked, Scores):  # it would have been raised
        raise asked
    _write(output, predictions, rows, outcomes, asked)
    _say_what_is_missing(asked)
    for name, outcome in outcomes.items():
        if isinstance(outcome, NatureLMError):
            click.echo(f"no {name} scores: {outcome}", err=True)
    click.echo(
        f"{output}: {mode} metrics of {len(asked.components)} components, {len(rows):,} rows", err=True
    )
    return SOME_FAILED if asked.failed and mode == "strict" else 0


def _write(output: Path, predictions: Path, rows: Any, outcomes: dict[str, Outcome], asked: Any) -> None:
    import hashlib

    from naturelm_audio.files import replacing, write_atomically
    from naturelm_audio.scoring_report import details, markdown, metrics_of, provenance, row_lines

    with open(predictions, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    made_by = provenance(predictions.name, digest, len(rows), asked)
    both = {mode: outcomes[mode] for mode in sorted(outcomes)}
    with replacing(output.with_name(f"{output.stem}_rows.jsonl")) as lines:
        lines.writelines(f"{line}\n" for line in row_lines(rows, both))
    write_atomically(output.with_name(f"{output.stem}_details.json"), _pretty(details(both, made_by)))
    write_atomically(output.with_name(f"{output.stem}_report.md"), markdown(both, made_by))
    write_atomically(output, _pretty(metrics_of(asked)))


def _pretty(content: Any) -> str:
    import json

    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _say_what_is_missing(scores: Any) -> None:
    for item in scores.components:
        if item.missing and scores.options.mode == "strict":
            then = "are left out" if scores.options.partial else "count as wrong (--partial leaves them out)"
            click.echo(
                f"{item.name}: {item.missing:,} of {item.expected:,} rows are missing and {then}", err=True
            )
        if item.reason:
            click.echo(f"{item.name}: {item.reason}", err=True)
    for note in scores.notes:
        click.echo(note, err=True)
