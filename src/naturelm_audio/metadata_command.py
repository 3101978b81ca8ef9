"""``naturelm metadata``: recordings -> a table of when, where and with what they were made.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from naturelm_audio.recorder_names import RECORDERS

__all__ = ["metadata"]

NAMED = 20  # recordings for each kind of doubt


@click.command()
@click.argument("recordings", nargs=-1, required=True)
@click.option("--output-path", type=click.Path(path_type=Path), help="CSV file.  [standard output]")
@click.option(
    "--recorder", type=click.Choice(RECORDERS), default="auto", help="Believe this kind only.  [auto]"
)
@click.option("--time-zone", help="Of times without one: Europe/Berlin, UTC, +02:00.  [left unknown]")
@click.option(
    "--metadata",
    "table",
    type=click.Path(path_type=Path),
    help="CSV of your own: audio_path, start_time, latitude, longitude, site, ...",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def metadata(
    recordings: tuple[str, ...],
    output_path: Path | None,
    recorder: str,
    time_zone: str | None,
    table: Path | None,
    overwrite: bool,
) -> int:
    """List when and where recordings were made, and with what.

    RECORDINGS are files, folders or patterns. The sound is not read. Doubts about clocks and zones are said
    on stderr. The table, once corrected, can be given back with --metadata.
    """
    from naturelm_audio.errors import OutputError
    from naturelm_audio.files import replacing
    from naturelm_audio.metadata import FieldNotes
    from naturelm_audio.metadata.listing import listing
    from naturelm_audio.recordings import find_recordings

    notes = FieldNotes(recorder=recorder, time_zone=time_zone, table=table, named=NAMED)
    found = find_recordings(recordings)
    notes.check(found)
    if output_path is not None and output_path.exists() and not overwrite:
        raise OutputError(f"{output_path}: exists already: replace it with --overwrite")
    lines = listing(found, notes)
    if output_path is None:
        for line in lines:
            click.echo(line)
    else:
        with replacing(output_path) as file:
            file.writelines(f"{line}\n" for line in lines)
    notes.close()
    return 0
