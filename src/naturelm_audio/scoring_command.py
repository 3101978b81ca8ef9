"""``naturelm score``: a file of predictions -> metrics, details, labelled rows and a report.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from naturelm_audio.errors import OptionsError

if TYPE_CHECKING:
    from naturelm_audio.scoring_files import ScoredFile

__all__ = ["metrics_path", "say_scores", "score"]

SOME_FAILED = 3  # as of all commands: something could not be done, the rest is there
TABLES = (".jsonl", ".csv", ".tsv")


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--output-path", type=click.Path(path_type=Path), help="Metrics file.  [<predictions>_metrics.json]"
)
@click.option(
    "--mode",
    type=click.Choice(["official", "strict"]),
    default="strict",
    show_default=True,
    help="Scores in the metrics file; the report has both.",
)
@click.option(
    "--benchmark", type=click.Path(path_type=Path), help="Components and their labels (JSON).  [BEANS-Zero]"
)
@click.option(
    "--partial", is_flag=True, help="Score the rows that are there; else missing rows count as wrong."
)
@click.option("--plot", is_flag=True, help="Draw the scores beside the published ones (PNG).")
@click.option("--no-spice", is_flag=True, help="Captions by CIDEr alone, without asking for SPIDEr.")
@click.option("--resamples", type=int, default=1000, show_default=True, help="Draws of the 95 % intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of those draws.")
def score(
    predictions: Path,
    output_path: Path | None,
    mode: Literal["official", "strict"],
    benchmark: Path | None,
    no_spice: bool,
    **given: Any,
) -> int:
    """Score a benchmark's predictions (JSON Lines or CSV).

    The output has each component's metrics in the asked mode: official repeats the published scorer, strict
    mends its oddities. Beside it go details and a report of both modes, and every row with the label it
    became. Exit status 3, in strict mode: something could not be scored in full.
    """
    from naturelm_audio.components import beans_zero, read_benchmark
    from naturelm_audio.scoring_files import score_file

    output = metrics_path(predictions, output_path)
    table = beans_zero() if benchmark is None else read_benchmark(benchmark)
    found = score_file(predictions, output, mode=mode, benchmark=table, spice=not no_spice, **given)
    say_scores(found)
    if found.asked.absent:
        click.echo(f"components without a row: {', '.join(found.asked.absent)}", err=True)
    return 0 if found.in_full else SOME_FAILED


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


def say_scores(found: ScoredFile) -> None:
    """Say on stderr what is missing, and where the results are."""
    scores = found.asked
    if scores.missing_rows and scores.options.mode == "strict":
        then = "are left out: a partial result" if scores.options.partial else "count as wrong"
        hint = "" if scores.options.partial else " (naturelm score --partial leaves them out)"
        click.echo(f"rows without an answer {then}{hint}: {', '.join(scores.missing_rows)}", err=True)
    for item in scores.components:
        if item.reason:
            click.echo(f"{item.name}: {item.reason}", err=True)
    for note in (*scores.notes, *found.rankings.notes, *found.notes):
        click.echo(note, err=True)
    components = f"{len(scores.components)} component{'s' * (len(scores.components) != 1)}"
    click.echo(f"{found.metrics}: {found.mode} metrics of {components}, {found.rows:,} rows", err=True)
    click.echo(f"{found.report}: the report{f', with {found.plot.name}' if found.plot else ''}", err=True)
