"""``naturelm embed`` and ``naturelm search``: arguments -> options -> one call.

Anything heavy is imported inside the command that needs it. Errors of the tree go to the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naturelm_audio.options import DTYPES, RESAMPLERS

if TYPE_CHECKING:
    from naturelm_audio.embeddings.encoder import Embedder
    from naturelm_audio.embeddings.run import EmbedOptions

__all__ = ["embed"]

STOPPED, SOME_FAILED, INTERRUPTED = 1, 3, 130
_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--audio-path",
    "audio_paths",
    multiple=True,
    required=True,
    help="File, folder (searched deeply) or pattern; repeatable.",
)
@click.option(
    "--output-path", type=_PATH, default=Path("embeddings"), help="Folder of the table.  [embeddings]"
)
@click.option(
    "--level",
    type=click.Choice(["encoder", "qformer", "tokens"]),
    default="encoder",
    help="Encoder's output, Q-Former's, or the language model's input.  [encoder]",
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "frames"]),
    default="mean",
    help="One vector per window, or one per step of time.  [mean]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["numpy", "parquet"]),
    default="numpy",
    help="Memory-mapped .npy files with an index, or Parquet.  [numpy]",
)
@click.option(
    "--store",
    "stored_dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    help="Number format on disk; float16 is half as large.  [float32]",
)
@click.option("--model", help="Bundled name, folder, hub id or BEATs file.  [naturelm-tiny]")
@click.option(
    "--window-length-seconds",
    type=float,
    default=10.0,
    help="Window; above the model's 10 s it is split.  [10]",
)
@click.option("--hop-length-seconds", type=float, help="From window to window.  [the window's length]")
@click.option("--allow-gaps", is_flag=True, help="Allow a hop longer than the window.")
@click.option("--channel", type=int, help="Channel to hear, from 1.  [the mean of all]")
@click.option(
    "--speed-factor", type=float, default=1.0, help="0.1: heard ten times slower, for ultrasound.  [1]"
)
@click.option(
    "--resampler",
    type=click.Choice(RESAMPLERS),
    default=RESAMPLERS[0],
    help="kaiser_best is the official release's.  [soxr]",
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.  [auto]")
@click.option(
    "--dtype", type=click.Choice(DTYPES), default="auto", help="Number format of the weights.  [auto]"
)
@click.option("--batch-size", type=int, help="Windows at once.  [8 on a CPU, else 64]")
@click.option("--resume", is_flag=True, help="Go on with a table that was interrupted.")
@click.option("--overwrite", is_flag=True, help="Begin a table again.")
def embed(**given: Any) -> int:
    """Make vectors of every window, for classifiers and search of your own.

    Only the audio encoder is loaded, never the language model. A recording that can't be read is noted in
    the table's journal, and the run goes on (exit status 3). An interrupted run goes on with --resume.
    """
    from naturelm_audio.embeddings.run import EmbedOptions, run_embed
    from naturelm_audio.runs import RunStoppedError

    try:
        summary = run_embed(EmbedOptions(**given), _load_embedder)
    except RunStoppedError as error:
        click.echo(f"{'Interrupted' if error.interrupted else 'Error'}: {error}", err=True)
        return INTERRUPTED if error.interrupted else STOPPED
    click.echo(str(summary), err=True)
    return SOME_FAILED if summary.failed else 0


def _load_embedder(options: EmbedOptions) -> Embedder:
    """Return the embedder with its weights; the only place where torch is imported."""
    from naturelm_audio.checkpoint import load_audio_tower
    from naturelm_audio.embeddings.encoder import Embedder

    tower = load_audio_tower(options.model, device=options.device, dtype=options.dtype)
    return Embedder(tower, level=options.level, pooling=options.pooling, batch_size=options.batch_size)
