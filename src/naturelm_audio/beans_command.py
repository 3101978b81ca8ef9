"""``beans``: run a benchmark from its rows to scores, a report and a plot.

Anything heavy is imported inside the command. Errors of the tree go to the caller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naturelm_audio.errors import OptionsError
from naturelm_audio.options import BUNDLED_MODEL, DTYPES, RESAMPLERS, RunConfig, read_config

if TYPE_CHECKING:
    from naturelm_audio.beans.dataset import HubRows, LocalRows
    from naturelm_audio.beans.models import Model
    from naturelm_audio.beans.options import BeansOptions
    from naturelm_audio.beans.run import BeansSummary
    from naturelm_audio.components import Component

__all__ = ["beans"]

STOPPED, SOME_FAILED, INTERRUPTED = 1, 3, 130
GENERATE_FLAGS = ("num_beams", "max_new_tokens", "merging_alpha")
_PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--cfg-path", help="Configuration file (YAML), official or ours; options here win over it.")
@click.option(
    "--data-path",
    required=True,
    help="Folder (save_to_disk, Parquet, Arrow), file, EarthSpeciesProject/BEANS-Zero or hub:owner/name.",
)
@click.option(
    "--output-path",
    type=_PATH,
    help="Predictions (.jsonl); scores are named after it.  [beans_predictions.jsonl]",
)
@click.option("--batch-size", type=int, help="Rows at once, or in one call of a server.  [by device]")
@click.option(
    "--num-workers",
    "workers",
    type=int,
    help="Threads that prepare clips, or calls of a server at the same time.  [2]",
)
@click.option("--model", help=f"Bundled name, local folder or file, or hub id.  [{BUNDLED_MODEL}]")
@click.option("--llama-path", help="Base language model, for checkpoints that come without one.")
@click.option("--device", help="auto, cpu, cuda, cuda:1, mps.  [auto]")
@click.option("--dtype", type=click.Choice(DTYPES), help="Number format.  [auto]")
@click.option("--num-beams", type=int, help="1 is greedy, and faster.  [2]")
@click.option("--max-new-tokens", type=int, help="Longest answer.  [300]")
@click.option("--merging-alpha", type=float, help="0 is the base language model, 1 the tuned one.  [1]")
@click.option(
    "--resampler",
    type=click.Choice(RESAMPLERS),
    help="Published numbers were made with kaiser_best.  [kaiser_best]",
)
@click.option("--components", multiple=True, help="Names with commas between, repeatable.  [all]")
@click.option("--limit", type=int, help="Only the first so many rows of each component: a partial result.")
@click.option(
    "--benchmark", type=_PATH, help="Table of components (JSON).  [components.json of the data, BEANS-Zero]"
)
@click.option("--rank-labels", is_flag=True, help="Score every label of the component by its likelihood too.")
@click.option("--predict-url", help="A server that speaks predictions_v1 answers in place of the model.")
@click.option("--timeout-seconds", type=float, help="Limit of one call of the server.  [120]")
@click.option(
    "--mode",
    type=click.Choice(["official", "strict"]),
    help="Scores in the metrics file; the report has both.  [strict]",
)
@click.option("--no-spice", is_flag=True, help="Captions by CIDEr alone, without asking for SPIDEr.")
@click.option("--resume", is_flag=True, help="Go on with an output that was interrupted.")
@click.option("--overwrite", is_flag=True, help="Begin an output again.")
def beans(cfg_path: str | None, **given: Any) -> int:
    """Run BEANS-Zero, or a benchmark of the same form, and score it.

    Predictions are appended as they are made; a row that can't be used becomes a row with an error. A run
    that was stopped goes on with --resume. At the end there are metrics, details, a report in Markdown and a
    plot beside the published models. Exit status 3: something could not be answered or scored in full.
    """
    options = merge_options(read_config(cfg_path) if cfg_path else RunConfig(), given)
    from naturelm_audio.beans.run import run_beans
    from naturelm_audio.runs import RunStoppedError

    try:
        summary = run_beans(options, load_model)
    except RunStoppedError as error:
        click.echo(f"{'Interrupted' if error.interrupted else 'Error'}: {error}", err=True)
        return INTERRUPTED if error.interrupted else STOPPED
    return score_run(options, summary)


def merge_options(config: RunConfig, given: dict[str, Any]) -> BeansOptions:
    """Return the options: those given on the command line, else of the file, else the defaults.

    Raises:
        OptionsError: naming the flag that is wrong.
    """
    from naturelm_audio.beans.options import BeansOptions

    given = {name: value for name, value in given.items() if _is_given(value)}
    names = {item.name for item in dataclasses.fields(BeansOptions)}
    values = {name: value for name, value in vars(config).items() if name in names and value is not None}
    values |= {name: value for name, value in given.items() if name in names}
    if "model" in given or "predict_url" in given:
        values.pop("model_arguments", None)
        if "llama_path" not in given:
            values.pop("llama_path", None)
        if "model" not in given:
            values.pop("model", None)
    changes = {name: given[name] for name in GENERATE_FLAGS if name in given}
    try:
        values["generate"] = dataclasses.replace(config.generate, **changes)
    except OptionsError as error:
        name, _, rest = str(error).partition(" ")
        raise OptionsError(f"--{name.replace('_', '-')} {rest}") from None
    values["data"] = given["data_path"]
    values["spice"] = "no_spice" not in given
    values["components"] = _names(given.get("components", ()))
    return BeansOptions(**values)


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != ()


def _names(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))


def load_model(options: BeansOptions, rows: LocalRows | HubRows, components: Sequence[Component]) -> Model:
    """Return what answers: the model of the options, or a server.

    Raises:
        NatureLMError: it can't be loaded or reached, or can't hear clips as long as a component's.
    """
    if options.predict_url is not None:
        from naturelm_audio.beans.http_calls import Caller
        from naturelm_audio.beans.remote import RemoteModel

        return RemoteModel(
            options.predict_url,
            options.generate,
            folder=rows.folder,
            batch_size=options.batch_size,
            calls_at_once=options.workers,
            caller=Caller(timeout_seconds=options.timeout_seconds),
        )
    from naturelm_audio import checkpoint
    from naturelm_audio.beans.models import LocalModel
    from naturelm_audio.pipeline import Pipeline

    loaded = checkpoint.load_model(
        options.model,
        llama=options.llama_path,
        device=options.device,
        dtype=options.dtype,
        arguments=options.model_arguments or None,
    )
    generator = Pipeline(loaded, options.generate, batch_size=options.batch_size).generator
    model = LocalModel(
        generator, folder=rows.folder, resampler=options.resampler, rank_labels=options.rank_labels
    )
    for component in components:
        model.check(component)
    return model


def score_run(options: BeansOptions, summary: BeansSummary) -> int:
    """Score the predictions of a finished run, say where everything is, and return the exit status.

    Raises:
        NatureLMError: there is nothing to score, or the results can't be written.
    """
    from naturelm_audio.scoring_command import say_scores
    from naturelm_audio.scoring_files import score_file

    found = score_file(
        options.output_path,
        options.output_path.with_name(f"{options.output_path.stem}_metrics.json"),
        mode=options.mode,
        benchmark=summary.benchmark,
        plot=True,
        run=summary.report,
        partial=options.limit is not None,
        spice=options.spice,
    )
    say_scores(found)
    for name, rows in summary.unknown.items():
        click.echo(
            f"unknown component {name!r}: {rows:,} rows of the data were not asked; name their table with "
            "--benchmark",
            err=True,
        )
    if summary.absent:
        click.echo(f"components without a row in the data: {', '.join(summary.absent)}", err=True)
    failed = summary.errors or summary.unknown or summary.absent
    click.echo(
        f"{options.output_path}: {summary.rows:,} predictions, {summary.errors:,} of them errors", err=True
    )
    return SOME_FAILED if failed or not found.in_full else 0
