"""Rows of a job -> files to take home, in every format of the registry; several files come as one archive."""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from naturelm_audio.errors import OptionsError
from naturelm_audio.formats import FORMATS, FormatOptions, convert
from naturelm_audio.web.jobs import Job

__all__ = ["Download", "downloads", "make_download"]

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


def downloads() -> dict[str, str]:
    """Return every format of the registry and its title, tables for everyone first."""
    known = [name for name in TITLES if name in FORMATS]
    return {name: TITLES.get(name, name) for name in [*known, *(set(FORMATS) - set(known))]}


def make_download(job: Job, kind: str, *, merge: bool = False, least: float = 0.0) -> Download:
    """Return the rows of a job in one format: the file, or an archive of its files.

    Args:
        job: that has rows.
        kind: name of the format.
        merge: join equal answers of windows that touch or overlap, where the format has annotations.
        least: leave out annotations with a lower confidence.

    Raises:
        NatureLMError: there is no such format, it needs what isn't known, or a package that isn't installed.
    """
    if kind not in FORMATS:
        raise OptionsError(f"there is no format {kind!r}")
    if not len(job.rows):
        raise OptionsError("There is no answer yet to take home.")
    if kind == "jsonl":
        return Download("answers.jsonl", TYPES[".jsonl"], job.rows.path.read_bytes())
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        made = convert(job.rows.path, [kind], folder, _options(merge, least), written_root="")
        paths = [path for path in made.paths if not path.name.endswith(PARAMS)]
        if len(paths) == 1:
            path = paths[0]
            return Download(path.name, TYPES.get(path.suffix, "application/octet-stream"), path.read_bytes())
        return Download(f"answers-{kind}.zip", "application/zip", _zipped(sorted(Path(folder).rglob("*"))))


def _options(merge: bool, least: float) -> FormatOptions:
    """For spreadsheets too: they run cells that begin like formulas, and guess encodings."""
    return FormatOptions(
        merge=merge,
        min_confidence=least if least > 0 else None,
        spreadsheet_safe=True,
        byte_order_mark=True,
    )


def _zipped(paths: list[Path]) -> bytes:
    content = io.BytesIO()
    root = paths[0].parent if paths else Path()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            if path.is_file():
                archive.write(path, path.relative_to(root).as_posix())
    return content.getvalue()
