"""`python -m naturelm_audio.train`: train from a settings file, or print the figures of a model."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click


@click.group()
def main() -> None:
    """Train the tiny model and measure it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@main.command()
@click.argument("config_path", type=click.Path(exists=True))
@click.argument("output_dir", type=click.Path())
@click.option(
    "--options", multiple=True, help="A change such as stages.0.steps=10; may be given several times."
)
def run(config_path: str, output_dir: str, options: tuple[str, ...]) -> None:
    """Train by CONFIG_PATH into OUTPUT_DIR, or go on where it stopped."""
    from naturelm_audio.train import loop

    loop.run(config_path, output_dir, options)


@main.command()
@click.argument("model")
@click.option("--manifest", default="../shared/recordings/manifest.csv", show_default=True)
@click.option("--json", "json_path", type=click.Path(), help="Write the figures with all wrong answers here.")
def evaluate(model: str, manifest: str, json_path: str | None) -> None:
    """Print the figures of MODEL (a name, a folder) on the validation split of a manifest."""
    from naturelm_audio import checkpoint
    from naturelm_audio.train import evaluate as figures

    found = figures.evaluate(checkpoint.load_model(model), manifest)
    click.echo(figures.as_markdown(found))
    if json_path:
        Path(json_path).write_text(json.dumps(figures.as_json(found), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
