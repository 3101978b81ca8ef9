"""``naturelm clips``: arguments -> options -> one call. Anything heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["clips"]

SOME_FAILED = 3
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("results", type=_PATH)
@click.option("--output-path", type=_PATH, default=Path("review"), help="Folder of the page.  [review]")
@click.option(
    "--audio-root",
    type=_PATH,
    help="Folder of the recordings.  [where the run found them, else beside RESULTS]",
)
@click.option("--per-label", type=int, default=20, help="Clips of each label at most.  [20]")
@click.option(
    "--select",
    type=click.Choice(["top", "uncertain", "random"]),
    default="top",
    help="Highest scores, where the model was least sure, or any.  [top]",
)
@click.option("--label", "labels", multiple=True, help="Only this label; repeatable.  [all]")
@click.option("--least-score", type=float, default=0.0, help="Leave out scores below.  [0]")
@click.option("--query", help="Of several questions, the one to review.")
@click.option("--seed", type=int, default=0, help="Of the random choice.  [0]")
@click.option(
    "--format",
    "clip_format",
    type=click.Choice(["flac", "wav"]),
    default="flac",
    help="Of the clips.  [flac]",
)
@click.option("--keep-level", is_flag=True, help="Don't make quiet clips louder.")
@click.option("--overwrite", is_flag=True, help="Take the place of an earlier page and its clips.")
def clips(**given: Any) -> int:
    """Cut windows of RESULTS to short files, with a page to listen, look and mark them right or wrong.

    RESULTS are the JSON Lines of `naturelm infer`. The marks are exported from the page as CSV, for `naturelm
    finetune --data` and `naturelm calibrate`. Exit status 3: some windows could not be cut.
    """
    from naturelm_audio.review.run import ReviewOptions, review_results

    summary = review_results(ReviewOptions(**given))
    click.echo(str(summary), err=True)
    return SOME_FAILED if summary.failed else 0
