"""``naturelm calibrate``: labelled recordings -> a temperature, a reliability table and a plot.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from naturelm_audio.errors import LabelError, OptionsError, OutputError
from naturelm_audio.options import BUNDLED_MODEL, DTYPES
from naturelm_audio.options.checks import real

__all__ = ["calibrate"]

SOME_FAILED = 3
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("table", type=_PATH)
@click.option("--output", type=_PATH, default=Path("calibration.json"), show_default=True)
@click.option("--model", help=f"Bundled name, local folder or file, or hub id.  [{BUNDLED_MODEL}]")
@click.option("--llama-path", help="Base language model, for checkpoints that come without one.")
@click.option("--audio-root", type=_PATH, help="Folder of the paths.  [the table's]")
@click.option(
    "--only",
    multiple=True,
    metavar="COLUMN=VALUE,...",
    help="Rows with one of these values in a column, such as split=validation; repeatable.",
)
@click.option("--labels", type=_PATH, help="List to rank, as for infer.  [the labels of the table]")
@click.option("--no-none", is_flag=True, help='Do not add "None" to the list.')
@click.option("--query", help="Question, as for infer.  [one that suits the list]")
@click.option("--channel", type=click.IntRange(min=1), help="Channel to hear, from 1.  [the mean of all]")
@click.option(
    "--speed-factor", type=float, default=1.0, help="As for infer; 0.1: heard ten times slower.  [1]"
)
@click.option("--free", "free_answers", is_flag=True, help="Judge free answers to the question as well.")
@click.option("--no-plot", is_flag=True, help="No picture beside the output.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Windows at once.  [by device]")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.  [auto]")
@click.option("--dtype", type=click.Choice(DTYPES), default="auto", help="Number format.  [auto]")
@click.option("--overwrite", is_flag=True, help="Replace a calibration that is there.")
def calibrate(table: Path, output: Path, no_plot: bool, overwrite: bool, **given: Any) -> int:
    """Fit scores of labels to how often they are right.

    TABLE has the columns path and label (perhaps start_seconds, end_seconds, and recording, which keeps cuts
    of one recording together), or is a file of marks from the page of `naturelm clips`. The output goes into
    `naturelm infer --labels ... --calibration`; use the same list, question and model there. Beside it comes
    a picture. Exit status 3: some recordings could not be read.
    """
    if output.suffix.lower() != ".json":
        raise OptionsError(f"--output {output}: choose a name that ends in .json")
    real(given["speed_factor"], "--speed-factor", above=0.0)
    if not output.absolute().parent.is_dir():
        raise OptionsError(f"--output {output}: the folder {output.absolute().parent} is not there")
    for made in (output,) if no_plot else (output, output.with_suffix(".png")):
        if made.exists() and not overwrite:
            raise OutputError(
                f"{made}: exists already: replace it with --overwrite, or choose another --output"
            )
    return _calibrate(table, output, no_plot=no_plot, **given)


def _calibrate(
    table: Path,
    output: Path,
    *,
    labels: Path | None,
    no_none: bool,
    query: str | None,
    free_answers: bool,
    no_plot: bool,
    audio_root: Path | None,
    only: tuple[str, ...],
    channel: int | None,
    speed_factor: float,
    **loading: Any,
) -> int:
    from naturelm_audio.calibrating import USUAL, labels_of, read_sounds
    from naturelm_audio.calibrating import calibrate as run
    from naturelm_audio.calibration import all_certain, write_calibration
    from naturelm_audio.calibration_report import plot_calibration, report_text, require_plots
    from naturelm_audio.label_lists import LabelList, read_labels

    if not no_plot:
        require_plots()
    sounds = read_sounds(table, audio_root=audio_root, only=_only(only))
    known = labels_of(sounds) if labels is None else read_labels(labels)
    listed = LabelList(labels=known, with_none=not no_none)
    pipeline = _pipeline(**loading)
    hearing = replace(USUAL, channel=channel, speed_factor=speed_factor)
    report = run(pipeline, sounds, listed, question=query, free_answers=free_answers, hearing=hearing)
    click.echo(report_text(report))
    if all_certain(report.calibration.temperature):
        raise LabelError(
            "not one window says how wrong a score can be, and every later score would be 1: nothing was "
            "written; use the scores as they are, or calibrate with more recordings and harder ones"
        )
    write_calibration(output, report.calibration)
    made = str(output)
    if not no_plot:
        plot_calibration(report, output.with_suffix(".png"))
        made += f", {output.with_suffix('.png')}"
    failed = f"; {report.failed} recordings could not be read" if report.failed else ""
    click.echo(f"{made}{failed}", err=True)
    return SOME_FAILED if report.failed else 0


def _only(texts: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        column, sign, values = text.partition("=")
        if not sign or not column.strip():
            raise OptionsError(f"--only {text!r}: write COLUMN=VALUE, such as split=validation")
        found.setdefault(column.strip(), []).extend(value.strip() for value in values.split(","))
    return found


def _pipeline(
    *, model: str | None, llama_path: str | None, device: str, dtype: str, batch_size: int | None
) -> Any:
    from naturelm_audio.checkpoint import load_model
    from naturelm_audio.options import GenerateOptions
    from naturelm_audio.pipeline import Pipeline

    loaded = load_model(model, llama=llama_path, device=device, dtype=dtype)
    return Pipeline(loaded, GenerateOptions(num_beams=1), batch_size=batch_size)
