"""``naturelm convert``: rows of any earlier run -> files of other formats.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from naturelm_audio.errors import OptionsError
from naturelm_audio.format_names import OUTPUT_FORMATS, check_effect, split_formats

if TYPE_CHECKING:
    from naturelm_audio.formats import Conversion

__all__ = ["convert"]

SOME_FAILED = 3  # as of all commands: something could not be done, the rest is there
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("results", type=_PATH)
@click.option(
    "--format",
    "formats",
    multiple=True,
    required=True,
    metavar="NAME,...",
    help=f"One or more of {', '.join(OUTPUT_FORMATS)}; repeatable.",
)
@click.option("--output-path", type=_PATH, help="Folder of the files.  [RESULTS without its suffix]")
@click.option("--per-file", is_flag=True, help="One file for each recording.")
@click.option("--combined", is_flag=True, help="One file for all recordings.")
@click.option("--merge", is_flag=True, help="Join equal answers of windows that touch or overlap.")
@click.option("--min-confidence", type=float, help="Leave out what has a lower score.")
@click.option("--species", type=_PATH, help="List as for `infer --labels`: leave out all others.")
@click.option("--top-k", type=int, help="Labels taken of a ranking.  [1]")
@click.option("--split-answers", is_flag=True, help="Cut answers without labels at their commas.")
@click.option("--keep-none", is_flag=True, help='Annotate the answer "None" too.')
@click.option("--long", is_flag=True, help="CSV: one row per label.")
@click.option("--byte-order-mark", is_flag=True, help="CSV: begin with one, for spreadsheets.")
@click.option("--frequency-lines", is_flag=True, help="Audacity: the band of each label.")
@click.option("--nominal-end", is_flag=True, help="Official form: end = start + window.")
@click.option("--audio-root", type=_PATH, help="Where the recordings are, if they were moved.")
@click.option("--paths-as", metavar="FOLDER", help=r"Folder to write before names, such as D:\survey.")
@click.option("--metadata", type=_PATH, help="CSV of audio_path, start_time, latitude, longitude, site.")
@click.option("--time-zone", help="Of recorders' clocks: Europe/Berlin, +02:00.")
@click.option("--dataset", type=_PATH, help="Camtrap DP: description of the project (YAML or JSON).")
@click.option("--media-url", metavar="URL", help="Where others find the recordings.")
@click.option("--scores-as-probabilities", is_flag=True, help="Camtrap DP: without calibration too.")
@click.option("--overwrite", is_flag=True, help="Replace files of before.")
def convert(results: Path, formats: Sequence[str], output_path: Path | None, **given: Any) -> int:
    """Write the rows of an earlier run in other formats.

    RESULTS is the JSON Lines file of `naturelm infer`. No model is needed, and the same command gives the
    same files. Exit status 3: some lines are no rows, or a format lacks what it needs; the rest is there.
    """
    from naturelm_audio.formats import convert as convert_rows
    from naturelm_audio.formats.completing import completer

    names = split_formats(formats)
    check_effect(given, names)
    folder = output_path or results.with_suffix("")
    if not output_path and folder == results:
        raise OptionsError("--output-path is missing: name a folder for the files")
    conversion = convert_rows(
        results,
        names,
        folder,
        _options(results, given),
        overwrite=given["overwrite"],
        audio_root=given["audio_root"],
        written_root=given["paths_as"],
        complete=completer(given["metadata"], given["time_zone"]),
    )
    say(conversion, folder)
    return 0 if conversion.is_whole else SOME_FAILED


def say(conversion: Conversion, folder: Path) -> None:
    """Tell the user what was made, what was not, and why."""
    for message in conversion.messages:
        click.echo(message, err=True)
    made = ", ".join(f"{name} {rows:,}" for name, rows in conversion.rows.items())
    files = f"{len(conversion.paths):,} file{'s' * (len(conversion.paths) != 1)}"
    click.echo(f"{files} in {folder}; rows: {made}", err=True)


def _options(results: Path, given: Mapping[str, Any]) -> Any:
    from naturelm_audio.formats import FormatOptions
    from naturelm_audio.formats.camtrap import read_dataset

    alike = ("merge", "keep_none", "min_confidence", "split_answers", "long", "byte_order_mark")
    more = ("frequency_lines", "scores_as_probabilities")
    return FormatOptions(
        per_file=True if given["per_file"] else False if given["combined"] else None,
        top_k=given["top_k"] if given["top_k"] is not None else 1,
        species=None if given["species"] is None else read_species(given["species"]),
        nominal_window_seconds=_window_seconds(results) if given["nominal_end"] else None,
        media_url=given["media_url"] or "",
        dataset=read_dataset(given["dataset"]),
        **{name: given[name] for name in (*alike, *more)},
    )


def read_species(path: Path) -> frozenset[str]:
    """Return all names of a list of labels, as they are compared.

    Raises:
        LabelError: the file can't be read, or has no label.
    """
    from naturelm_audio.formats.annotations import compared
    from naturelm_audio.label_lists import read_labels

    names = (value for label in read_labels(path) for value in label.to_mapping().values())
    return frozenset(compared(name) for name in names)


def _window_seconds(results: Path) -> float:
    """Return the window of the run, in seconds of the file."""
    import json

    path = results.with_name(f"{results.name}.run.json")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return float(settings["window_length_seconds"]) * float(settings.get("speed_factor", 1.0))
    except (OSError, ValueError, KeyError, TypeError):
        raise OptionsError(f"--nominal-end needs the length of the windows, from {path.name}") from None
