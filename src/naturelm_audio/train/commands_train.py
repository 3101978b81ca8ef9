"""``naturelm train``, ``finetune``, ``train-compare``, ``train-evaluate``: arguments -> options -> one call.

Anything heavy is imported inside the command that needs it. Errors of the tree go to the caller.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from naturelm_audio.train.running import Finished

__all__ = ["finetune", "train", "train_compare", "train_evaluate"]

_PATH = click.Path(path_type=Path)
STOPPED = 1
WRONG_USE = 2


@click.command()
@click.option(
    "--cfg-path", "cfg_paths", multiple=True, required=True, help="Recipe (YAML); several are stages in turn."
)
@click.option(
    "--options",
    multiple=True,
    help="A change such as optimiser.steps=10, or stages.0.optimiser.steps=10 for one stage; repeatable.",
)
@click.option("--output-dir", type=_PATH, required=True, help="Folder of the run; one that stopped goes on.")
@click.option("--joined", is_flag=True, help="Make one run of all stages: all rows from the first weights.")
def train(cfg_paths: tuple[str, ...], options: tuple[str, ...], output_dir: Path, joined: bool) -> int:
    """Train a model, or go on with a run that was stopped.

    One process, or several with torchrun: torchrun --nproc-per-node 2 -m naturelm_audio train ... Exit status
    1: the run stopped midway (no finite gradients, unreadable audio, a full disk) and can be taken up.
    """
    with _log_on_stderr():
        from naturelm_audio.train.checkpoints import NotSavedError
        from naturelm_audio.train.manifest.problems import ManifestError
        from naturelm_audio.train.recipe import join_recipes, read_recipes
        from naturelm_audio.train.running import train_stages
        from naturelm_audio.train.trainer import TrainingError

        recipes = [recipe for path in cfg_paths for recipe in read_recipes(path, options)]
        try:
            finished = train_stages([join_recipes(recipes)] if joined else recipes, output_dir)
        except (TrainingError, NotSavedError) as error:
            click.echo(f"Error: {error}", err=True)
            return STOPPED
        except ManifestError as error:  # of many rows, each in a line of its own
            click.echo(f"Error: {error}", err=True)
            return WRONG_USE
    if finished is not None and _speaks():
        _say_finished(finished)
    _part_from_others()
    return 0


@click.command()
@click.option(
    "--data", required=True, type=_PATH, help="Table of labelled recordings, or a folder per label."
)
@click.option("--model", default="naturelm-tiny", help="Bundled name, folder or hub id.  [naturelm-tiny]")
@click.option("--output", required=True, type=_PATH, help="Folder of the new model.")
@click.option("--audio-root", type=_PATH, help="Where the recordings are.  [the folder of the table]")
@click.option("--steps", type=int, help="Updates.  [by the number of recordings]")
@click.option("--batch-size", type=int, default=16, help="Rows in an update.  [16]")
@click.option("--learning-rate", type=float, help="At its highest.  [by the size of the model]")
@click.option("--valid-share", type=float, default=0.2, help="Of recordings, kept to judge by.  [0.2]")
@click.option("--seed", type=int, default=13, help="Of all draws.  [13]")
@click.option("--drop-bad", is_flag=True, help="Leave faulty rows and unreadable recordings out.")
def finetune(
    data: Path,
    model: str,
    output: Path,
    audio_root: Path | None,
    steps: int | None,
    batch_size: int,
    learning_rate: float | None,
    valid_share: float,
    seed: int,
    drop_bad: bool,
) -> int:
    """Teach a model new sounds, and print what it knew before and knows after.

    The table has columns such as path and common_name. Afterwards: naturelm infer --model OUTPUT ...
    """
    from naturelm_audio.train.finetune import FinetuneOptions
    from naturelm_audio.train.finetune import finetune as run

    options = FinetuneOptions(
        data=data,
        output=output,
        model=model,
        audio_root=audio_root,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        valid_share=valid_share,
        seed=seed,
        drop_bad=drop_bad,
    )
    with _log_on_stderr():
        from naturelm_audio.train.checkpoints import NotSavedError
        from naturelm_audio.train.manifest.problems import ManifestError
        from naturelm_audio.train.trainer import TrainingError

        try:
            result = run(options)
        except (TrainingError, NotSavedError) as error:
            click.echo(f"Error: {error}", err=True)
            return STOPPED
        except ManifestError as error:  # of many rows, each in a line of its own
            click.echo(f"Error: {error}", err=True)
            return WRONG_USE
    click.echo(result.as_markdown(), nl=False)
    return 0


@click.command("train-compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
def train_compare(first: Path, second: Path) -> int:
    """Print how the training runs FIRST and SECOND differ, in settings and in figures."""
    from naturelm_audio.train.compare import as_markdown, compare_runs

    click.echo(as_markdown(compare_runs(first, second)), nl=False)
    return 0


def _speaks() -> bool:
    """Return whether this is the one process of several that speaks; until they are joined, all do."""
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


@click.command("train-evaluate")
@click.argument("model", default="naturelm-tiny")
@click.option(
    "--manifest",
    type=_PATH,
    default=Path("../shared/recordings/manifest.csv"),
    help="Table of labelled clips; those of the split validation are asked about.",
)
@click.option("--json", "json_path", type=_PATH, help="Write the figures with all wrong answers here.")
def train_evaluate(model: str, manifest: Path, json_path: Path | None) -> int:
    """Print how well MODEL (a name or a folder) answers about clips that naturelm-tiny never learned from.

    Tables of figures with intervals, and of what is confused.
    """
    from naturelm_audio.checkpoint import load_model
    from naturelm_audio.files import write_atomically
    from naturelm_audio.train.evaluate import as_json, as_markdown, confusions, evaluate

    figures = evaluate(load_model(model), manifest)
    click.echo(as_markdown(figures))
    click.echo(confusions(figures), nl=False)
    if json_path is not None:
        write_atomically(json_path, json.dumps(as_json(figures), indent=1, ensure_ascii=False) + "\n")
    return 0


def _part_from_others() -> None:
    """Leave the processes of a launcher together.

    Without this the first to finish pulls the connections from under the others, which can end in an abort.
    """
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show how a run goes, line by line; libraries keep their settings."""
    ours = logging.getLogger("naturelm_audio")
    handler, level = logging.StreamHandler(sys.stderr), ours.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: _speaks())
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


def _figure_lines(figures: Mapping[str, float]) -> list[str]:
    """Return the figures of all rows in a line each, and those of tasks as a table."""
    lines = [f"  {name}: {value:.4g}" for name, value in figures.items() if "/" not in name]
    tasks: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        task, slash, metric = name.rpartition("/")
        if slash:
            tasks.setdefault(task, {})[metric] = value
    metrics = list(dict.fromkeys(metric for found in tasks.values() for metric in found))
    if tasks:
        lines += ["", f"| task | {' | '.join(metrics)} |", f"|---|{'---:|' * len(metrics)}"]
    for task, found in tasks.items():
        cells = [f"{found[metric]:.4g}" if metric in found else "" for metric in metrics]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return lines


def _say_finished(run: Finished) -> None:
    click.echo(f"The model is in {run.model}.")
    for line in _figure_lines(run.figures):
        click.echo(line)
    if run.tested:
        click.echo("On the test rows, which chose nothing:")
    for line in _figure_lines(run.tested):
        click.echo(line)
    if run.unreadable:
        click.echo(
            f"{len(run.unreadable)} rows were left out because their audio can't be read; see run.json."
        )
    if run.bad_updates:
        click.echo(f"{run.bad_updates} updates were left out because their gradient was not finite.")
