"""``naturelm embed`` and ``naturelm search``: arguments -> options -> one call.

Anything heavy is imported inside the command that needs it. Errors of the tree go to the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.options import DTYPES, RESAMPLERS

if TYPE_CHECKING:
    from naturelm_audio.embeddings.encoder import Embedder
    from naturelm_audio.embeddings.run import EmbedOptions
    from naturelm_audio.embeddings.search import Hit
    from naturelm_audio.embeddings.table import EmbeddingTable

__all__ = ["embed", "search"]

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


@click.command()
@click.argument("table", type=_PATH)
@click.option("--query-path", type=_PATH, required=True, help="Recording of what is looked for.")
@click.option("--start-seconds", type=float, default=0.0, help="Where it starts there.  [0]")
@click.option("--end-seconds", type=float, help="Where it ends there.  [the end of the file]")
@click.option("--top-k", type=int, default=20, help="So many windows at most.  [20]")
@click.option(
    "--metric", type=click.Choice(["cosine", "inner"]), default="cosine", help="How alike.  [cosine]"
)
@click.option("--exclude-query", is_flag=True, help="Leave out windows that overlap the query itself.")
@click.option("--output-path", type=_PATH, help="Write the windows as CSV, too.")
@click.option("--clips-path", type=_PATH, help="Cut them into this folder, with a page to review them.")
@click.option("--label", default="", help="What the query is, for that page.")
@click.option("--audio-root", type=_PATH, help="Where the recordings are now, if they were moved.")
@click.option("--model", help="Where the weights of the table are now, if they were moved.")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps.  [auto]")
@click.option("--overwrite", is_flag=True, help="Replace a CSV, or a page of clips, that is there.")
def search(
    table: Path, query_path: Path, start_seconds: float, end_seconds: float | None, device: str, **given: Any
) -> int:
    """Find the windows of TABLE that sound most like a recording, or a part of it.

    TABLE is a folder that `naturelm embed` made. Every vector is compared; nothing is approximate.
    """
    from naturelm_audio.embeddings.search import Query, embed_query, nearest
    from naturelm_audio.embeddings.table import EmbeddingTable

    _check_places(given["output_path"], given["clips_path"], given["overwrite"])
    opened = EmbeddingTable.open(table)
    if not opened.finished:
        click.echo(f"{table}: is not finished; searching the {opened.rows} vectors so far", err=True)
    query = Query(path=query_path, start_seconds=start_seconds, end_seconds=end_seconds)
    embedder = _load_embedder_of(opened, given["model"], device)
    vector = embed_query(embedder, opened, query)
    files = _files(opened, given["audio_root"])
    keep = (lambda span: not query.is_heard_in(span, files)) if given["exclude_query"] else None
    hits = nearest(opened, vector, metric=given["metric"], top_k=given["top_k"], keep=keep)
    _show(hits)
    if given["output_path"] is not None:
        _write_hits(given["output_path"], hits)
        click.echo(f"{len(hits)} rows in {given['output_path']}", err=True)
    if given["clips_path"] is not None:
        return _cut_clips(opened, hits, files, query_path, given)
    return 0


def _check_places(hits: Path | None, clips: Path | None, overwrite: bool) -> None:
    """Say before any work what can't be written."""
    if hits is not None and not hits.absolute().parent.is_dir():
        raise OptionsError(f"--output-path {hits}: there is no such folder; make it first")
    for path in (hits, clips and clips / "index.html"):
        if path is not None and path.exists() and not overwrite:
            raise OutputError(f"{path}: exists already: replace it with --overwrite, or choose another place")


def _load_embedder_of(table: EmbeddingTable, model: str | None, device: str) -> Embedder:
    """Return the encoder that made a table, whose frames are compared with the mean of the query."""
    from naturelm_audio.checkpoint import load_audio_tower
    from naturelm_audio.embeddings.encoder import Embedder

    source = table.model_source
    if model is None and source is not None and Path(source).exists():
        model = source
    stored = table.settings.get("model", {})
    tower = load_audio_tower(model or stored.get("name"), device=device, dtype=stored.get("dtype", "auto"))
    return Embedder(tower, level=table.settings["level"])


def _files(table: EmbeddingTable, audio_root: Path | None) -> dict[str, Path]:
    """Return name -> where the recording is."""
    if audio_root is not None:
        return {name: (audio_root / name).resolve() for name in table.files}
    return {name: Path(file) for name, file in table.files.items()}


def _show(hits: list[Hit]) -> None:
    """Print a table; names come last, as they may be long."""
    click.echo(f"{'rank':>4}  {'score':>7}  {'from':>12}  {'to':>12}  recording")
    for rank, hit in enumerate(hits, start=1):
        start, end = _clock(hit.span.start_seconds), _clock(hit.span.end_seconds)
        name = " ".join(hit.span.audio_path.split())
        click.echo(f"{rank:>4}  {hit.score:>7.4f}  {start:>12}  {end:>12}  {name}")


def _cut_clips(
    table: EmbeddingTable, hits: list[Hit], files: dict[str, Path], query_path: Path, given: dict[str, Any]
) -> int:
    """Write the windows as a page to review; return the exit status."""
    from naturelm_audio.review.choosing import Candidate
    from naturelm_audio.review.run import write_review

    label = given["label"] or query_path.stem
    candidates = [
        Candidate(
            path=hit.span.audio_path,
            start_seconds=hit.span.start_seconds,
            end_seconds=hit.span.end_seconds,
            label=label,
            score=round(hit.score, 4),
            channel=table.settings["channel"],
            speed_factor=table.settings["speed_factor"],
        )
        for hit in hits
    ]
    summary = write_review(
        candidates,
        files.__getitem__,
        given["clips_path"],
        title=f"Windows like {query_path.name}",
        audio_root=given["audio_root"],
        overwrite=given["overwrite"],
    )
    click.echo(str(summary), err=True)
    return SOME_FAILED if summary.failed else 0


def _clock(seconds: float) -> str:
    """Return hours, minutes and seconds to the hundredth."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 360000:d}:{hundredths // 6000 % 60:02d}:{hundredths % 6000 / 100:05.2f}"


def _write_hits(path: Path, hits: list[Hit]) -> None:
    import csv

    from naturelm_audio.files import replacing

    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "audio_path", "start_seconds", "end_seconds", "score"])
        for rank, hit in enumerate(hits, start=1):
            span = hit.span
            row = [rank, span.audio_path, span.start_seconds, span.end_seconds, round(hit.score, 6)]
            writer.writerow(row)
