"""``naturelm report``: rows of results -> one page about the survey, and its figures as CSV.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--output-path", type=click.Path(path_type=Path), help="Folder of the report.  [<results>_report]"
)
@click.option("--min-confidence", type=float, help="Count detections with at least this score.  [all]")
@click.option("--query", help="Question whose answers are counted.  [the first in the results]")
@click.option("--time-zone", help="Show times in this zone, such as Europe/Berlin.  [each recorder's own]")
@click.option("--title", help="Title of the page.")
@click.option("--overwrite", is_flag=True, help="Replace a report that is there.")
def report(
    results: Path,
    output_path: Path | None,
    min_confidence: float | None,
    query: str | None,
    time_zone: str | None,
    title: str | None,
    overwrite: bool,
) -> int:
    """Make a page about a survey from its results (JSON Lines).

    It shows detections per label by hour of day and by day, how the number of labels grows with listening,
    every site, what failed, and what made the results. Beside it are its figures as CSV. The page needs no
    network.
    """
    from naturelm_audio.survey import write_report
    from naturelm_audio.survey.drawings import plural

    folder = output_path or results.with_name(f"{results.stem}_report")
    made = write_report(
        results,
        folder,
        query=query,
        min_confidence=min_confidence,
        time_zone=time_zone,
        title=title,
        overwrite=overwrite,
    )
    found = made.survey
    click.echo(
        f"{made.page}: {found.detections:,} {plural(found.detections, 'detection')} of "
        f"{len(found.labels):,} {plural(len(found.labels), 'label')} in {found.seconds / 3600:,.1f} h of "
        f"{found.recordings:,} {plural(found.recordings, 'recording')} ({found.recordings_failed:,} failed)",
        err=True,
    )
    return 0
