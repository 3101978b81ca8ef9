"""``naturelm data``: tables to questions, questions checked, questions with their audio in shards.

Arguments -> options -> one call. Anything heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naturelm_audio.errors import NatureLMError

if TYPE_CHECKING:
    from naturelm_audio.train.manifest.examples import Example
    from naturelm_audio.train.manifest.holdouts import HoldOuts
    from naturelm_audio.train.manifest.reading import Kind

__all__ = ["data"]

_PATH = click.Path(path_type=Path)
_EXISTING = click.Path(path_type=Path, exists=True)
WRONG_USE = 2


@click.group()
def data() -> None:
    """Make instruction data of labelled recordings."""


@data.command("compile")
@click.argument("tables", nargs=-1, required=True, type=_EXISTING)
@click.option("--output", "-o", required=True, type=_PATH, help="Annotations: .jsonl, .json or .parquet.")
@click.option("--audio-root", type=_EXISTING, help="Where the recordings are.  [the folder of the table]")
@click.option(
    "--kind",
    type=click.Choice(["auto", "recordings", "folders", "events"]),
    default="auto",
    help="A table of recordings, a folder for each label, or events of Raven, Audacity and others.  [auto]",
)
@click.option(
    "--tasks", "families", multiple=True, help="Family of tasks; repeatable.  [all but few-shot, in-context]"
)
@click.option("--seed", type=int, default=0, help="Of all draws.  [0]")
@click.option("--workers", type=int, default=1, help="Processes; the rows don't depend on it.  [1]")
@click.option("--wordings", type=int, default=1, help="Wordings used of each question.  [1]")
@click.option("--language", "languages", multiple=True, help="Of common names; repeatable.  [en]")
@click.option("--names", type=_EXISTING, help="Table of common names: scientific_name and languages.")
@click.option(
    "--hold-out", default="paper", help="paper, rule (drawn by the seed), none, or a file of taxa.  [paper]"
)
@click.option(
    "--held-out",
    type=click.Choice(["drop", "refuse", "test"]),
    default="drop",
    help="What to do with them; test: keep them as test split.  [drop]",
)
@click.option(
    "--against", type=_EXISTING, help="Table of recordings kept for measuring; none of them is used."
)
@click.option(
    "--compare-audio", is_flag=True, help="Find the same sound under another name; reads all audio."
)
@click.option("--drop-bad", is_flag=True, help="Leave faulty rows out instead of refusing the table.")
@click.option(
    "--impulse-responses", "rooms", type=_EXISTING, help="Folder of rooms, one for each mixture of speakers."
)
@click.option("--balance", type=float, default=0.0, help="0: by frequency; 1: all taxa weigh the same.  [0]")
@click.option("--most-per-taxon", type=int, help="Recordings of one taxon.  [all]")
@click.option("--valid-share", type=float, default=0.0, help="Of recordings, for validation.  [0]")
@click.option(
    "--split-by", type=click.Choice(["recording", "site", "day"]), default="recording", help="[recording]"
)
@click.option(
    "--completely-annotated", is_flag=True, help="Silence between events means that nothing is heard."
)
@click.option("--rare-count", type=int, default=100, help="Species with so few events are 'other'.  [100]")
@click.option(
    "--events-as",
    type=click.Choice(["window", "clip", "soundscape"]),
    default="window",
    help="Windows or clips with one question each, or soundscapes with lists of candidates.  [window]",
)
@click.option("--label-column", help="Of event tables, where it isn't plain.")
@click.option("--label-map", type=_EXISTING, help="CSV from,to that renames, merges and drops labels.")
@click.option("--report", "report_path", type=_PATH, help="Write the report as JSON.")
def compile_command(
    tables: Sequence[Path], output: Path, kind: Kind, report_path: Path | None, **given: Any
) -> None:
    """Turn TABLES of labelled recordings into questions with answers.

    Prints a report: rows of each task and taxon, hours, and what was left out and why.
    """
    with _one_line_errors():
        root = given["audio_root"] or (tables[0] if tables[0].is_dir() else tables[0].parent)
        cut = _kind(tables, kind) == "events" and given["events_as"] != "soundscape"
        rows, text, report = (_from_events if cut else _from_recordings)(tables, kind, root, given)
        from naturelm_audio.files import write_atomically
        from naturelm_audio.train.manifest.annotations import write_annotations

        click.echo(text)
        count = write_annotations(output, rows)
        if report_path:
            write_atomically(report_path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        click.echo(f"{output}: {count:,} rows; paths are below {root}")


@data.command()
@click.argument("annotations", type=_EXISTING)
@click.option("--audio-root", type=_EXISTING, help="Where the recordings are.  [the folder of the file]")
@click.option("--no-files", is_flag=True, help="Don't look whether the recordings exist.")
@click.option("--hold-out", default="paper", help="paper, none, or a file of taxa and recordings.  [paper]")
def check(annotations: Path, audio_root: Path | None, no_files: bool, hold_out: str) -> None:
    """Check an annotation file: every faulty row with its line, and rows of held-out taxa."""
    from collections import Counter

    with _one_line_errors():
        from naturelm_audio.train.manifest.annotations import check_annotations
        from naturelm_audio.train.manifest.splits import check_splits

        rows, problems = check_annotations(annotations, audio_root=audio_root, check_files=not no_files)
        for problem in problems:
            click.echo(str(problem), err=True)
        named = [(f"{row.source}/{row.recording_id}", row.split) for row in rows if row.recording_id]
        check_splits(named, str(annotations))
        held = _held_out(rows, _holdouts(hold_out))
        for task, count in sorted(Counter(row.task for row in rows).items()):
            click.echo(f"{count:10,}  {task}")
        click.echo(f"{annotations}: {len(rows):,} sound rows, {len(problems):,} faulty")
        for reason, count in held.most_common():
            click.echo(f"held out: {reason}: {count:,} rows", err=True)
        if problems or held:
            raise SystemExit(WRONG_USE)


@data.command()
@click.argument("annotations", type=_EXISTING)
@click.argument("folder", type=_PATH)
@click.option("--audio-root", type=_EXISTING, help="Where the recordings are.  [the folder of the file]")
@click.option("--rows-per-shard", type=int, default=2500, help="[2500]")
@click.option(
    "--audio", type=click.Choice(["flac", "stored"]), default="flac", help="How it is kept.  [flac]"
)
@click.option("--shuffle-seed", type=int, default=0, help="Of the order of the rows.  [0]")
@click.option("--keep-order", is_flag=True, help="Don't shuffle.")
@click.option("--workers", type=int, default=1, help="Processes.  [1]")
@click.option("--drop-bad", is_flag=True, help="Leave faulty rows out instead of refusing the file.")
def shard(
    annotations: Path, folder: Path, audio_root: Path | None, keep_order: bool, drop_bad: bool, **given: Any
) -> None:
    """Write ANNOTATIONS with their audio as Parquet into FOLDER, for training on many machines.

    Shards that are there already with the same rows are kept, so an interrupted command can be repeated.
    """
    with _one_line_errors():
        from naturelm_audio.train.manifest.annotations import read_annotations
        from naturelm_audio.train.manifest.shards import ShardOptions, write_shards

        if keep_order:
            given["shuffle_seed"] = None
        options = ShardOptions(**given)
        root = audio_root or annotations.parent
        rows = read_annotations(annotations, audio_root=root, drop_bad=drop_bad)
        report = write_shards(rows, root, folder, options)
        for problem in report.problems:
            click.echo(str(problem), err=True)
        written = len(report.shards) - len(report.kept)
        click.echo(f"{folder}: {written} shards written, {len(report.kept)} were there")


def _from_recordings(
    tables: Sequence[Path], kind: Kind, root: Path, given: dict[str, Any]
) -> tuple[list[Example], str, dict[str, Any]]:
    from naturelm_audio.train.manifest.compile import DEFAULT_FAMILIES, CompileOptions, compile_manifest
    from naturelm_audio.train.manifest.counting import CountingOptions
    from naturelm_audio.train.manifest.holdouts import HoldOuts, choose_holdouts
    from naturelm_audio.train.manifest.labelled import read_labelled
    from naturelm_audio.train.manifest.names import read_names
    from naturelm_audio.train.manifest.reading import read_recordings
    from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions
    from naturelm_audio.train.manifest.tasks import TaskOptions

    table = read_recordings(tables, kind=kind, root=root, label_column=given["label_column"])
    options = CompileOptions(
        seed=given["seed"],
        families=tuple(given["families"]) or DEFAULT_FAMILIES,
        tasks=TaskOptions(wordings=given["wordings"]),
        soundscapes=SoundscapeOptions(
            rare_count=given["rare_count"], completely_annotated=given["completely_annotated"]
        ),
        counting=CountingOptions(impulse_responses=_rooms(given["rooms"], root)),
        languages=tuple(given["languages"]) or ("en",),
        audio_root=str(root),
        bad_rows="drop" if given["drop_bad"] else "refuse",
        held_out=given["held_out"],
        valid_share=given["valid_share"],
        split_by=given["split_by"],
        balance=given["balance"],
        most_per_taxon=given["most_per_taxon"],
        compare_audio=given["compare_audio"],
        workers=given["workers"],
    )
    names = read_names(given["names"]) if given["names"] else None
    if given["hold_out"] == "rule":
        holdouts: HoldOuts | None = choose_holdouts(table.recordings, seed=given["seed"])
    else:
        holdouts = _holdouts(given["hold_out"])
    if against := given["against"]:
        audio_root = against.parent if given["compare_audio"] else None
        holdouts = (holdouts or HoldOuts()).with_recordings(read_labelled(against).recordings, audio_root)
    compiled = compile_manifest(table, options, holdouts=holdouts, names=names)
    return compiled.rows, compiled.report.as_text(), compiled.report.as_json()


def _from_events(
    tables: Sequence[Path], kind: Kind, root: Path, given: dict[str, Any]
) -> tuple[list[Example], str, dict[str, Any]]:
    from naturelm_audio.train.manifest.event_rows import EventOptions, event_examples, read_label_map
    from naturelm_audio.train.manifest.events import read_event_tables
    from naturelm_audio.train.manifest.problems import refuse_if_any

    merged = read_event_tables(tables, root, label_column=given["label_column"])
    options = EventOptions(
        mode=given["events_as"],
        completely_annotated=given["completely_annotated"],
        label_map=read_label_map(given["label_map"]) if given["label_map"] else None,
        split_by=given["split_by"],
        valid_share=given["valid_share"],
        seed=given["seed"],
    )
    rows, report = event_examples(merged, root, options)
    if not given["drop_bad"]:
        refuse_if_any(report.problems, "the tables of events")
    holdouts = _holdouts(given["hold_out"])
    held = _held_out(rows, holdouts)
    if held and given["held_out"] == "refuse":
        raise NatureLMError(f"{held.total()} rows are held out: {', '.join(sorted(held))}")
    if holdouts is not None:
        rows = [row for row in rows if not holdouts.reason_of_example(row)]
    return rows, report.as_text() + _counted("held out", held), report.as_json() | {"held_out": dict(held)}


def _rooms(folder: Path | None, root: Path) -> tuple[str, ...]:
    """Return the impulse responses of a folder, as rows name them: below the audio root if they are there."""
    if folder is None:
        return ()
    from naturelm_audio.audio import find_recordings

    found = [recording.path.resolve() for recording in find_recordings([folder])]
    top = root.resolve()
    return tuple(
        (path.relative_to(top) if path.is_relative_to(top) else path).as_posix() for path in sorted(found)
    )


def _holdouts(given: str) -> HoldOuts | None:
    from naturelm_audio.train.manifest.holdouts import read_holdouts, shipped_holdouts

    if given == "none":
        return None
    return shipped_holdouts() if given == "paper" else read_holdouts(given)


def _held_out(rows: Sequence[Example], holdouts: HoldOuts | None) -> Any:
    from collections import Counter

    found = Counter(holdouts.reason_of_example(row) if holdouts else "" for row in rows)
    del found[""]
    return found


def _counted(title: str, counts: Any) -> str:
    return "".join(f"\n{title}: {reason}: {count:,} rows" for reason, count in counts.most_common())


def _kind(tables: Sequence[Path], given: Kind) -> Kind:
    """Return what the tables are, where that isn't said."""
    if given != "auto":
        return given
    from naturelm_audio.train.manifest.events import kind_of

    return kind_of(tables[0])


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Print an error of the tree without a traceback and end with status 2."""
    try:
        yield
    except NatureLMError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(WRONG_USE) from None
