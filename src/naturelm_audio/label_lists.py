"""A list of labels to rank: from a file or from Python, checked, with what is wanted of the ranking.

Files are plain text (one label per line, also BirdNET's ``Scientific name_Common name``) or a table (CSV or
TSV with a column ``label``, ``common_name`` or ``scientific_name``). Knows nothing of models or audio.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturelm_audio import prompts
from naturelm_audio.errors import LabelError
from naturelm_audio.files import encoding_of
from naturelm_audio.labels import NONE, is_none
from naturelm_audio.options.checks import real, whole
from naturelm_audio.records import Label

__all__ = ["DEFAULT_TOP_K", "LabelList", "as_label_list", "read_labels"]

logger = logging.getLogger(__name__)

DEFAULT_TOP_K = 5
TABLES = (".csv", ".tsv")
DELIMITERS = ",;\t"
# Column, without blanks, underscores and case -> field of a label.
COLUMNS = {
    "label": "label",
    "commonname": "common_name",
    "common": "common_name",
    "englishname": "common_name",
    "scientificname": "scientific_name",
    "scientific": "scientific_name",
    "latinname": "scientific_name",
    "code": "code",
    "speciescode": "code",
}
NAMES = ("label", "common_name", "scientific_name")  # the first that a row has is what the model is to say
BIRDNET_LINE = re.compile(r"[^\W\d_]\S* [^_]+_.*\S")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class LabelList:
    """Labels to rank for each window, and what is wanted of the ranking.

    Args:
        labels: as the model would say them, with other names where they are known; plain text is enough.
        with_none: add "None", for windows with nothing of the list, unless it is there in any case.
        top_k: labels kept for each window, best first.
        min_confidence: labels below this score are left out.
        temperature: from a calibration; None is no calibration.

    Raises:
        LabelError: no labels, or one that is blank, has control characters, or is there twice (also where
            only case differs).
        OptionsError: another value is out of range.
    """

    labels: tuple[Label, ...]
    with_none: bool = True
    top_k: int = DEFAULT_TOP_K
    min_confidence: float = 0.0
    temperature: float | None = None

    def __post_init__(self) -> None:
        """Bring labels to one form and check everything."""
        labels = [Label(label=one) if isinstance(one, str) else one for one in self.labels]
        if not labels:
            raise LabelError("the list of labels is empty: give at least one")
        seen: dict[str, str] = {}
        for one in labels:
            _check(one.label, seen)
        if self.with_none and not any(is_none(one.label) for one in labels):
            labels.append(Label(label=NONE))
        if len(labels) == 1:
            raise LabelError(
                f"the only label {labels[0].label!r} would always have the score 1: give more labels, or let "
                '"None" be one of them'
            )
        object.__setattr__(self, "labels", tuple(labels))
        whole(self.top_k, "--top-k", at_least=1)
        real(self.min_confidence, "--min-confidence", at_least=0.0, at_most=1.0)
        if self.temperature is not None:
            real(self.temperature, "temperature", above=0.0)

    @property
    def texts(self) -> tuple[str, ...]:
        """The labels as the model would say them, "None" included."""
        return tuple(one.label for one in self.labels)

    @property
    def question(self) -> str:
        """The question that ranks them best where nobody asks another, see :func:`prompts.for_labels`."""
        named = [one for one in self.labels if not is_none(one.label)]
        scientific = bool(named) and all(one.scientific_name == one.label for one in named)
        return prompts.for_labels([one.label for one in named], scientific=scientific)

    def settings(self) -> dict[str, Any]:
        """Return what decides the rows, as JSON values; the list itself as its number and hash."""
        content = "\n".join("\t".join(one.to_mapping().values()) for one in self.labels)
        return {
            "labels": len(self.labels),
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
            "top_k": self.top_k,
            "min_confidence": float(self.min_confidence),
            "temperature": self.temperature,
        }


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """Return the labels of a file, each once.

    A label that is there twice with the same names is kept once, with a warning.

    Raises:
        LabelError: the file can't be read, has no labels, lacks the columns, or has a faulty line, which is
            named.
    """
    path = Path(path)
    text = _text(path)
    rows = _table(text, path) if path.suffix.lower() in TABLES else _lines(text)
    found: dict[str, Label] = {}
    repeated = 0
    for line, names in rows:
        label = _label(names, f"{path}, line {line}")
        before = found.setdefault(label.label, label)
        if before is not label:
            repeated += 1
            if before != label:
                raise LabelError(
                    f"{path}, line {line}: {label.label!r} is there before with other names: keep one, or "
                    "tell them apart in a column label"
                )
    if not found:
        raise LabelError(f"{path}: has no labels: write one on each line")
    if repeated:
        logger.warning("%s: %d labels that are there more than once are taken once", path, repeated)
    return tuple(found.values())


def _check(text: str, seen: dict[str, str]) -> None:
    if not text.strip():
        raise LabelError("the list of labels has a blank one: take it out")
    if CONTROL.search(text):
        raise LabelError(
            f"the label {text!r} has a tab, a line feed or another control character: no answer has one"
        )
    if prompts.AUDIO_TOKEN in text:
        raise LabelError(f"the label {text!r} has the placeholder {prompts.AUDIO_TOKEN}: take it out")
    folded = unicodedata.normalize("NFC", text).casefold()
    if folded in seen:
        before = seen[folded]
        twice = "is there twice" if before == text else f"differs from {before!r} in case only"
        raise LabelError(f"the label {text!r} {twice}: keep one")
    seen[folded] = text


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: can't be read: {error.strerror or error}") from None
    try:
        text = data.decode(encoding_of(data))
    except UnicodeDecodeError:
        raise LabelError(f"{path}: is neither UTF-8 nor UTF-16 with a mark: save it as UTF-8") from None
    if "\0" in text:
        raise LabelError(f"{path}: is not text (or UTF-16 without a mark): save it as UTF-8")
    return unicodedata.normalize("NFC", text)


def _lines(text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and names of a plain list; blank lines are left out."""
    lines = [(number, line.strip(" \r")) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    birdnet = bool(lines) and all(BIRDNET_LINE.fullmatch(line) for _, line in lines)
    for number, line in lines:
        if birdnet:
            scientific, _, common = line.partition("_")
            yield number, {"scientific_name": scientific.strip(), "common_name": common.strip()}
        else:
            yield number, {"label": line}


def _table(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and names of each row; blank rows and other columns are left out."""
    header = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=header.count))
    try:
        fields = [COLUMNS.get(re.sub(r"[\W_]+", "", cell).casefold()) for cell in next(reader, [])]
        if not set(NAMES) & set(fields):
            raise LabelError(
                f"{path}: has no column label, common_name or scientific_name in its first line; a plain "
                "list goes into a file that ends in .txt"
            )
        start = reader.line_num + 1
        for cells in reader:
            named = zip(fields, cells, strict=False)
            if any(cell.strip() for cell in cells):
                yield start, {name: cell.strip() for name, cell in named if name and cell.strip()}
            start = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(f"{path}, line {reader.line_num}: not a table: {error}") from None


def _label(names: Mapping[str, str], where: str) -> Label:
    text = next((names[name] for name in NAMES if name in names), "")
    if not text:
        raise LabelError(f"{where}: the label is empty")
    if CONTROL.search(text):
        raise LabelError(f"{where}: the label {text!r} has a tab, a line feed or another control character")
    others: dict[str, Any] = {name: names[name] for name in names if name != "label"}
    return Label(label=text, **others)


def as_label_list(labels: LabelList | Sequence[str]) -> LabelList:
    """Return the list itself, or one of plain labels with the usual settings.

    Raises:
        LabelError: the labels can't be a list.
    """
    if isinstance(labels, LabelList):
        return labels
    if isinstance(labels, str):
        raise LabelError("labels is one text: give a list of labels")
    return LabelList(labels=tuple(Label(label=one) for one in labels))
