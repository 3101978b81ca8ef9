"""A table of labelled recordings, or a folder for each label -> what is known of every recording.

Columns are found by the names that archives use for them; a column that is almost one of these is refused
with a hint, others are ignored and listed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturelm_audio.errors import OptionsError
from naturelm_audio.marks import known_truth
from naturelm_audio.recordings import find_recordings
from naturelm_audio.train.manifest.columns import COLUMNS, PASSED_OVER
from naturelm_audio.train.manifest.examples import split_name
from naturelm_audio.train.manifest.problems import ManifestError, Problem, did_you_mean
from naturelm_audio.train.manifest.spans import Span, parse_spans
from naturelm_audio.train.manifest.tables import Row, folded, is_blank, number, read_table
from naturelm_audio.train.manifest.taxonomy import Taxon, is_scientific, parse_taxon

__all__ = ["KINDS", "Labelled", "LabelledTable", "Span", "read_folders", "read_labelled"]

logger = logging.getLogger(__name__)

KINDS = ("animal", "environment", "speech", "music", "noise", "unlabelled")

_LISTS = ("call_types", "background", "qualities")
_PART = ("start_seconds", "end_seconds")
_NUMBERS = ("latitude", "longitude", "altitude", "pitch_midi", "velocity_midi", "seconds", *_PART)
_STAGES = ("adult", "juvenile", "nestling", "immature", "subadult", "larva", "nymph")
_SEXES = ("male", "female")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One recording and what is known of it; nothing stands for unknown."""

    path: str
    common_name: str = ""
    taxon: Taxon = field(default_factory=Taxon)
    kind: str = "animal"
    call_types: tuple[str, ...] = ()
    life_stage: str = ""
    sex: str = ""
    notes: str = ""
    caption: str = ""
    question: str = ""
    """A free question about the recording, with its answer."""
    answer: str = ""
    recorded_at: str = ""
    place: str = ""
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    background: tuple[str, ...] = ()
    """Other species that are heard, by common or scientific name."""
    individual: str = ""
    """Who calls, speaks or sings."""
    instrument: str = ""
    pitch_midi: float | None = None
    velocity_midi: float | None = None
    qualities: tuple[str, ...] = ()
    seconds: float | None = None
    recording_id: str = ""
    """Of the source recording; splits never cut through it. The path, if the table names none."""
    split: str = ""
    events: tuple[Span, ...] = ()
    source: str = ""
    licence: str = ""
    channel: int | None = None
    start_seconds: float | None = None
    """Of the part of the file that is meant; ``seconds`` then is the part's length."""
    end_seconds: float | None = None
    table: str = ""
    line: int = 0

    @property
    def is_part(self) -> bool:
        """Whether a part of the file is meant, and nothing is said of the rest."""
        return self.start_seconds is not None or self.end_seconds is not None

    @property
    def is_none(self) -> bool:
        """Whether the label says that nothing of interest is heard."""
        return self.common_name.casefold() == "none"

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that may come into a question or an answer."""
        own = (self.common_name, self.caption, self.question, self.answer, self.notes, self.place, self.sex)
        other = (self.life_stage, self.individual, self.instrument, self.recorded_at)
        labels = (span.label for span in self.events)
        return (*own, *other, *self.call_types, *self.background, *self.qualities, *labels)

    @property
    def key(self) -> str:
        """What tells the row from all others, wherever it stands in a table."""
        part = (f"{self.start_seconds}-{self.end_seconds}",) if self.is_part else ()
        own = (self.source, self.path, self.common_name, self.taxon.given, str(self.channel or ""))
        return "\x1f".join((*own, *part))


@dataclass(frozen=True)
class LabelledTable:
    """Recordings, the faults of other rows, and columns that were not understood."""

    recordings: tuple[Labelled, ...]
    problems: tuple[Problem, ...] = ()
    ignored_columns: tuple[str, ...] = ()


def read_labelled(
    path: str | Path, *, columns: Mapping[str, str] | None = None, source: str = ""
) -> LabelledTable:
    """Return the recordings of a CSV, TSV or Parquet table.

    A table of :mod:`~naturelm_audio.marks` gives the windows whose truth is known: those that were marked
    right, or have a correct label.

    Args:
        path: the table; paths in it are left as they are.
        columns: our name -> the table's, for tables with other names.
        source: stands for the data set where the table names none.

    Raises:
        ManifestError: no column of paths or labels, or a column that is almost one of ours.
        OptionsError: ``columns`` names one that isn't there.
    """
    table = read_table(path)
    places = _places(table.columns, columns or {}, str(path))
    recordings, problems = [], list(table.problems)
    for row in table.rows:
        faults: list[str] = []
        cells = {name: row.cells.get(column, "") for name, column in places.items()}
        if not _judge(cells, faults):
            continue
        recording = _recording(cells, row, str(path), source, faults)
        if faults:
            problems.append(Problem(str(path), row.line, "; ".join(faults)))
        else:
            recordings.append(recording)
    ignored = tuple(column for column in table.columns if column not in places.values())
    if ignored:
        logger.info("%s: columns without a meaning here: %s", path, ", ".join(ignored))
    return LabelledTable(tuple(recordings), tuple(problems), ignored)


def read_folders(root: str | Path, *, source: str = "") -> LabelledTable:
    """Return recordings that lie in a folder named by their label, perhaps below ``train`` or ``valid``.

    A folder may be called by a common name, a binomial, or ``Scientific name_Common name``; underscores are
    blanks.

    Raises:
        AudioError: there is no recording.
    """
    root = Path(root)
    recordings, problems = [], []
    for found in find_recordings(root):
        parts = found.name.split("/")[:-1]
        split = _folder_split(parts[0]) if len(parts) > 1 else ""
        if not parts:
            problems.append(Problem(found.name, 0, "lies in no folder that names its label"))
            continue
        common_name, scientific_name = _folder_names(parts[1] if split else parts[0])
        recordings.append(
            Labelled(
                path=found.name,
                common_name=common_name,
                taxon=parse_taxon(scientific_name),
                split=split,
                recording_id=found.name,
                source=source or root.name,
                table=str(root),
                kind=_kind("", common_name),
            )
        )
    return LabelledTable(tuple(recordings), tuple(problems))


def _places(columns: Sequence[str], given: Mapping[str, str], name: str) -> dict[str, str]:
    """Return our name -> column."""
    for ours, theirs in given.items():
        if ours not in COLUMNS:
            raise OptionsError(f"there is no column {ours!r} to be given{did_you_mean(ours, COLUMNS)}")
        if theirs not in columns:
            raise OptionsError(f"{name}: has no column {theirs!r}{did_you_mean(theirs, columns)}")
    present = {folded(column): column for column in reversed(columns) if column not in given.values()}
    found = dict(given)
    for ours, names in COLUMNS.items():
        for one in names:
            if ours not in found and folded(one) in present:
                found[ours] = present[folded(one)]
    if "path" not in found:
        raise ManifestError(f"{name}: no column of paths; call it 'path', or say which one it is")
    named = {"common_name", "scientific_name", "genus", "caption", "question", "instrument", "pitch_midi"}
    if not named & set(found):
        raise ManifestError(f"{name}: no column of labels; call it 'common_name' or 'scientific_name'")
    _refuse_misspelt(set(columns) - set(found.values()), found, name)
    return found


def _refuse_misspelt(unknown: Iterable[str], found: Mapping[str, str], name: str) -> None:
    missing = [names for ours, names in COLUMNS.items() if ours not in found]
    known = [one for names in missing for one in names if len(one) > 3]
    every = {folded(one) for names in (*COLUMNS.values(), PASSED_OVER) for one in names}
    problems = []
    for column in sorted(unknown):
        hint = did_you_mean(column, known) if folded(column) not in every else ""
        if hint:
            problems.append(Problem(name, 1, f"unknown column {column!r}{hint}"))
    if problems:
        raise ManifestError(f"{name}: rename these columns, or leave them out:", problems)


def _recording(cells: Mapping[str, str], row: Row, table: str, source: str, faults: list[str]) -> Labelled:
    """Return one row; faults are added to the list."""
    text = {name: "" if is_blank(cell) else _clean(cell) for name, cell in cells.items()}
    values: dict[str, Any] = {name: _number(text.get(name, ""), name, faults) for name in _NUMBERS}
    values |= {name: _parts(text.get(name, "")) for name in _LISTS}
    values |= _voices(values["call_types"], text.get("life_stage", ""), text.get("sex", ""))
    _part(values, faults)
    values["channel"] = _channel(text.get("channel", ""), faults)
    common_name, scientific_name = _names(text)
    ranks = {rank: text.get(rank, "") for rank in ("phylum", "class_", "order", "family", "genus")}
    taxon = parse_taxon(scientific_name, **ranks)
    kind = _kind(text.get("kind", ""), common_name)
    if not text.get("path"):
        faults.append("the path is empty")
    if kind not in KINDS:
        faults.append(f"kind {kind!r} is none of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if bool(text.get("question")) != bool(text.get("answer")):
        faults.append("a question without an answer, or the other way round")
    told = (text.get("caption"), text.get("question"), text.get("instrument"), values["pitch_midi"])
    known = (common_name, taxon.genus, *told)
    if kind != "unlabelled" and not any(known):
        faults.append("the label is empty")
    try:
        values["split"] = split_name(text.get("split", ""))
    except ValueError as error:
        faults.append(str(error))
    return Labelled(
        path=text.get("path", ""), common_name=common_name, taxon=taxon, kind=kind,
        notes=text.get("notes", ""),
        question=text.get("question", ""),
        answer=text.get("answer", ""), caption=text.get("caption", ""), recorded_at=_recorded_at(text),
        place=", ".join(part for part in (text.get("place"), text.get("country")) if part),
        individual=text.get("individual", ""), instrument=text.get("instrument", ""),
        recording_id=text.get("recording_id", "") or text.get("path", ""),
        events=parse_spans(text.get("events", ""), faults), source=text.get("source", "") or source,
        licence=text.get("licence", ""), table=table, line=row.line, **values,
    )  # fmt: skip


def _judge(cells: dict[str, str], faults: list[str]) -> bool:
    """Put a marked row's truth in the place of its label; return whether there is anything to learn."""
    if "mark" in cells:
        try:
            truth = known_truth(cells.get("common_name", ""), cells["mark"], cells.get("correct_label", ""))
        except ValueError as error:
            faults.append(str(error))
            return True
        cells["common_name"] = truth or ""
        return truth is not None
    return True


def _names(text: Mapping[str, str]) -> tuple[str, str]:
    """Return common and scientific name; a column ``species`` may hold either, or the second word alone."""
    common_name, name = text.get("common_name", ""), text.get("scientific_name", "")
    genus, epithet = text.get("genus", ""), text.get("epithet", "")
    if genus and not epithet and re.fullmatch(r"[a-z-]+", name):
        epithet, name = name, ""
    if genus and epithet and not name:
        name = f"{genus.capitalize()} {epithet}"
    if name and not is_scientific(name):
        return common_name or name, ""
    if not name and is_scientific(common_name) and len(common_name.split()) == 6:
        return "", common_name
    return common_name, name


def _clean(cell: str) -> str:
    return " ".join(cell.split())


def _number(cell: str, name: str, faults: list[str]) -> float | None:
    if not cell:
        return None
    try:
        found = number(re.sub(r"(?<=\d)\s*m(?:eters)?$", "", cell) if name == "altitude" else cell)
    except ValueError as error:
        # Archives write '?' or '100-200' for what isn't exactly known; only what tasks are made of must be
        # right.
        if name not in ("altitude", "latitude", "longitude"):
            faults.append(f"{name}: {error}")
        return None
    if name == "seconds" and found <= 0:
        faults.append(f"seconds: {cell} is not above 0")
    limit = {"latitude": 90.0, "longitude": 180.0}.get(name)
    return None if limit is not None and abs(found) > limit else found


def _part(values: dict[str, Any], faults: list[str]) -> None:
    """Check a part of a file; its length is that of the recording as far as training is concerned."""
    start, end = values["start_seconds"] or 0.0, values["end_seconds"]
    if start < 0 or (end is not None and end <= start):
        faults.append(f"{start:g} to {end} s is no span of time")
    elif end is not None:
        values["seconds"] = end - start


def _channel(cell: str, faults: list[str]) -> int | None:
    if cell and not (cell.isascii() and cell.isdigit() and int(cell) > 0):
        faults.append(f"channel: {cell!r} is not a whole number from 1")
        return None
    return int(cell) if cell else None


def _parts(cell: str) -> tuple[str, ...]:
    """Return the parts of a list in one cell: JSON, or separated by semicolons, bars or commas."""
    if cell.startswith("["):
        try:
            return tuple(str(part) for part in json.loads(cell))
        except ValueError:
            pass
    separator = next((one for one in ";|" if one in cell), ",")
    parts = (part.strip() for part in cell.split(separator))
    return tuple(dict.fromkeys(part for part in parts if part and not is_blank(part)))


def _voices(types: Sequence[str], stage: str, sex: str) -> dict[str, Any]:
    """Return call types, life stage and sex; archives once wrote all three into one cell."""
    lower = [one.casefold().rstrip(".?") for one in types]
    singular = {"songs": "song", "calls": "call", "flight calls": "flight call", "alarm calls": "alarm call"}
    stages = stage.casefold() or ", ".join(one for one in lower if one in _STAGES)
    sexes = sex.casefold() or ", ".join(one for one in lower if one in _SEXES)
    others = (*_STAGES, *_SEXES, "uncertain", "unknown", "")
    own = [singular.get(one, one) for one in lower if one not in others]
    return {"call_types": tuple(dict.fromkeys(own)), "life_stage": stages, "sex": sexes}


def _recorded_at(text: Mapping[str, str]) -> str:
    given = text.get("recorded_at", "") or " ".join(
        filter(None, (text.get("date", ""), text.get("time", "")))
    )
    return re.sub(r"(?<=\d)T(?=\d)", " ", given)


def _kind(kind: str, common_name: str) -> str:
    if kind:
        return kind.casefold()
    return "noise" if common_name.casefold() == "none" else "animal"


def _folder_split(name: str) -> str:
    try:
        return split_name(name)
    except ValueError:
        return ""


def _folder_names(folder: str) -> tuple[str, str]:
    """Return common and scientific name of a folder's name."""
    scientific, underscore, common = folder.partition("_")
    if underscore and re.fullmatch(r"[A-Z][a-z-]+ [a-z-]+", scientific):
        return common.replace("_", " ").strip(), scientific
    name = folder.replace("_", " ").strip()
    binomial = re.fullmatch(r"[A-Z][a-z]+ [a-z]{3,}(?:us|is|a|um|es|ns|ix|or|ae|i|ii|os|on|er)", name)
    return ("", name) if binomial else (name, "")


def with_split(recording: Labelled, split: str) -> Labelled:
    """Return the recording in another split."""
    return dataclasses.replace(recording, split=split)
