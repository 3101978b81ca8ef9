"""``naturelm beans-build``: labelled recordings -> a benchmark in the form of BEANS-Zero.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from naturelm_audio.beans_build.options import BuildOptions
    from naturelm_audio.beans_build.planned import Built

__all__ = ["beans_build"]

SOME_FAILED = 3  # as of all commands: something could not be done, the rest is there
_MOST_SHOWN = 10


@click.command("beans-build")
@click.argument("tables", nargs=-1, type=click.Path())
@click.option("--output", "-o", type=click.Path(), help="Folder of the benchmark.")
@click.option("--cfg-path", type=click.Path(), help="Settings file with components and their options (YAML).")
@click.option(
    "--component",
    "rules",
    multiple=True,
    help="Rule of a component, repeatable: labels, species, unseen-species, unseen-genus, unseen-family, "
    "genus, "
    "family, order, class, life-stage, call-type, sex, presence, detection, counting, captioning.",
)
@click.option("--name", help="Of the benchmark.  [the folder's name]")
@click.option(
    "--audio-root", type=click.Path(), help="Where the recordings are.  [the folder of the first table]"
)
@click.option(
    "--kind",
    type=click.Choice(["auto", "recordings", "folders", "events"]),
    help="A table of recordings, a folder for each label, or events of Raven, Audacity and others.  [auto]",
)
@click.option("--split", "splits", multiple=True, help="Take rows of this split; repeatable.  [all]")
@click.option(
    "--training",
    multiple=True,
    type=click.Path(),
    help="What models are trained on; repeatable. Nothing of it is taken.",
)
@click.option(
    "--training-root", type=click.Path(), help="Where its recordings are.  [the folder of the first table]"
)
@click.option("--no-compare-audio", is_flag=True, help="Don't look for training recordings by their sound.")
@click.option(
    "--on-leak",
    type=click.Choice(["drop", "refuse"]),
    help="What to do with recordings that training has.  [drop]",
)
@click.option("--hold-out", help="Of unseen-*: paper, rule (drawn by the seed), or a file of taxa.  [paper]")
@click.option("--seed", type=int, help="Of all draws.  [0]")
@click.option("--workers", type=int, help="Processes; the rows don't depend on it.  [1]")
@click.option(
    "--format",
    type=click.Choice(["parquet", "arrow"]),
    help="arrow: as datasets.load_from_disk reads.  [parquet]",
)
@click.option("--overwrite", is_flag=True, help="Replace a benchmark that is there.")
def beans_build(cfg_path: str | None, **given: Any) -> int:
    """Build a benchmark from TABLES of labelled recordings.

    The tables are those of `naturelm data compile`. The folder gets the rows with their audio,
    components.json, a data card (README.md), and build.json, which says what was left out and why. Exit
    status 3: some recordings could not be used.
    """
    from naturelm_audio.beans_build.build import build_benchmark

    options = _options(cfg_path, given)
    built = build_benchmark(options)
    _say(built, options)
    return SOME_FAILED if built.problems else 0


def _options(cfg_path: str | None, given: dict[str, Any]) -> BuildOptions:
    """Return the options of the settings file, changed by those of the command line.

    Raises:
        OptionsError: one is unknown or out of range.
    """
    from naturelm_audio.beans_build.options import BuildOptions, component_of
    from naturelm_audio.train.yaml_options import stages_from_yaml

    options = stages_from_yaml(BuildOptions, cfg_path)[0] if cfg_path else BuildOptions()
    changes: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if name in _FIELDS and value is not None and value is not False and value != ()
    }
    if given["rules"]:
        changes["components"] = tuple(component_of(rule) for rule in given["rules"])
    if given["no_compare_audio"]:
        changes["compare_audio"] = False
    output = given["output"] or options.output
    if output and not given["name"] and not cfg_path:
        changes["name"] = Path(output).name
    return dataclasses.replace(options, **changes)


_FIELDS = {
    "tables", "output", "name", "audio_root", "kind", "splits", "training", "training_root", "on_leak",
    "hold_out", "seed", "workers", "format", "overwrite",
}  # fmt: skip


def _say(built: Built, options: BuildOptions) -> None:
    for component in built.components:
        labels = f", {len(component.labels)} labels" if component.labels else ""
        click.echo(f"{len(component.rows):8,}  {component.name} ({component.task}{labels})")
    for problem in built.problems[:_MOST_SHOWN]:
        click.echo(str(problem), err=True)
    if len(built.problems) > _MOST_SHOWN:
        click.echo(f"and {len(built.problems) - _MOST_SHOWN} more, see build.json", err=True)
    left_out = built.left_out.counts.total()
    for reason, count in sorted(built.left_out.counts.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"left out: {count:,}: {reason}", err=True)
    components = f"{len(built.components)} component{'s' * (len(built.components) != 1)}"
    click.echo(
        f"{options.output}: {built.rows:,} rows in {components}; {left_out:,} left out, "
        f"{len(built.problems):,} unusable",
        err=True,
    )
