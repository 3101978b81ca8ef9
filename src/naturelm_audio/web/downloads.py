"""Rows of a job -> files to take home, in every format of the registry; several files come as one archive."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.formats import FORMATS, FormatOptions, convert
from naturelm_audio.formats.completing import completer
from naturelm_audio.web.jobs import Job

__all__ = ["Download", "Survey", "downloads", "make_download"]

TITLES = {
    "csv": "Table (CSV)",
    "jsonl": "JSON Lines",
    "parquet": "Parquet",
    "raven": "Raven",
    "audacity": "Audacity",
    "birdnet": "BirdNET CSV",
    "kaleidoscope": "Kaleidoscope",
    "camtrap-dp": "Camtrap DP",
    "darwin-core": "Darwin Core",
    "official": "NatureLM-audio",
}
PARAMS = ".params.json"
TYPES = {".csv": "text/csv", ".txt": "text/plain", ".json": "application/json", ".jsonl": "application/jsonl"}


@dataclass(frozen=True)
class Download:
    """A file for the browser."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a user says of a survey, for a format that must know it; empty where nothing was said.

    The place and the zone hold for all recordings, where these don't say otherwise; the start is that of the
    only one.
    """

    project: str = ""
    contributor: str = ""
    design: str = ""
    site: str = ""
    latitude: str = ""
    longitude: str = ""
    time_zone: str = ""
    start_time: str = ""

    def dataset(self) -> dict[str, Any]:
        """Return the description of the project."""
        contributors = [{"title": self.contributor}] if self.contributor else []
        project = {"title": self.project, "samplingDesign": self.design}
        return {"contributors": contributors, "project": project}

    def write_table(self, path: Path, names: list[str]) -> Path:
        """Write what holds for the recordings as the table that ``naturelm convert --metadata`` takes.

        Raises:
            OptionsError: a start for more than one recording.
        """
        rows = [[".", self.site, self.latitude, self.longitude, ""]]
        if self.start_time:
            if len(names) != 1:
                raise OptionsError("One start can't be that of several recordings: leave it out.")
            rows.append([names[0], "", "", "", self.start_time])
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["audio_path", "site", "latitude", "longitude", "start_time"])
            table.writerows(rows)
        return path


def downloads() -> dict[str, str]:
    """Return every format of the registry and its title, tables for everyone first."""
    known = [name for name in TITLES if name in FORMATS]
    return {name: TITLES.get(name, name) for name in [*known, *(set(FORMATS) - set(known))]}


def make_download(
    job: Job, kind: str, *, merge: bool = False, least: float = 0.0, survey: Survey | None = None
) -> Download:
    """Return the rows of a job in one format: the file, or an archive of its files.

    Args:
        job: that has rows.
        kind: name of the format.
        merge: join equal answers of windows that touch or overlap, where the format has annotations.
        least: leave out annotations with a lower confidence.
        survey: what the user says of the recordings.

    Raises:
        NatureLMError: there is no such format, it needs what isn't known, or a package that isn't installed.
    """
    if kind not in FORMATS:
        raise OptionsError(f"there is no format {kind!r}")
    if not len(job.rows):
        raise OptionsError("There is no answer yet to take home.")
    if kind == "jsonl":
        return Download("answers.jsonl", TYPES[".jsonl"], job.rows.path.read_bytes())
    with tempfile.TemporaryDirectory(dir=job.folder) as temporary:
        folder = Path(temporary, "made")
        complete = None
        if survey is not None:
            names = [recording.name for recording in job.recordings]
            complete = completer(
                survey.write_table(Path(temporary, "survey.csv"), names), survey.time_zone or None
            )
        options = _options(merge, least, survey)
        made = convert(job.rows.path, [kind], folder, options, written_root="", complete=complete)
        paths = [path for path in made.paths if not path.name.endswith(PARAMS)]
        if len(paths) == 1:
            path = paths[0]
            return Download(path.name, TYPES.get(path.suffix, "application/octet-stream"), path.read_bytes())
        return Download(f"answers-{kind}.zip", "application/zip", _zipped(sorted(folder.rglob("*"))))


def _options(merge: bool, least: float, survey: Survey | None) -> FormatOptions:
    """For spreadsheets too: they run cells that begin like formulas, and guess encodings."""
    return FormatOptions(
        merge=merge,
        min_confidence=least if least > 0 else None,
        spreadsheet_safe=True,
        byte_order_mark=True,
        dataset={} if survey is None else survey.dataset(),
    )


def _zipped(paths: list[Path]) -> bytes:
    content = io.BytesIO()
    root = paths[0].parent if paths else Path()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
    return content.getvalue()
