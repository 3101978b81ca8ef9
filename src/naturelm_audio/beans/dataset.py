"""Rows of a benchmark, one at a time: from a folder of Parquet or Arrow files, or in a stream from the hub.

Only what is wanted is read: text columns first, the audio of a group of rows when one of them is asked for.
Files are read as they lie there, in the order of their names, so the n-th row is always the same one. Memory
is that of a few rows, however many there are. Nothing is ever downloaded as a whole.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from naturelm_audio.beans.sounds import Sound, sound_at
from naturelm_audio.errors import AudioError, MissingExtraError, NatureLMError

__all__ = ["HUB_DATASET", "DatasetError", "HubRows", "LocalRows", "Row", "open_rows"]

logger = logging.getLogger(__name__)

HUB_DATASET = "EarthSpeciesProject/BEANS-Zero"
HUB_SIZE = "about 100 GB"
HUB_PREFIX = "hub:"
REQUIRED = ("audio", "dataset_name", "output")
TEXTS = ("dataset_name", "id", "output", "instruction", "instruction_text", "metadata", "file_name")
ROWS_AT_ONCE = 16
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


class Wanted(Protocol):
    """Which rows are to be read; asked once for every row, in order."""

    @property
    def complete(self) -> bool:
        """Whether no later row can be wanted."""

    def __call__(self, name: str, identity: str | None) -> str | None:
        """Return the id that the row of this component and id goes by, None if it isn't wanted."""


class DatasetError(NatureLMError):
    """Rows of a benchmark that are not there, or not in the shape that is read here."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row: a question about a sound, and the right answer.

    ``fault`` says why the row can't be asked (``code: message``); ``sound`` is None exactly then.
    """

    dataset_name: str
    id: str
    instruction: str
    label: str
    file_name: str | None = None
    sound: Sound | None = None
    fault: str | None = None


def open_rows(data: str | Path) -> LocalRows | HubRows:
    """Return the rows of a local folder or file, or of a data set on the hub.

    Args:
        data: a path; the name of BEANS-Zero on the hub; or ``hub:owner/name`` for another set there.

    Raises:
        DatasetError: no such path or set, or files without the columns.
        MissingExtraError: ``pyarrow`` or ``datasets`` is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("eval", "Reading a benchmark") from None
    name = str(data)
    if Path(data).exists():
        return LocalRows(Path(data))
    if name == HUB_DATASET:
        logger.warning("%s: read in a stream from the hub, %s if all rows are", name, HUB_SIZE)
        return HubRows(name)
    if name.startswith(HUB_PREFIX) and _HUB_NAME.fullmatch(name.removeprefix(HUB_PREFIX)):
        return HubRows(name.removeprefix(HUB_PREFIX))
    raise DatasetError(
        f"--data-path {name}: there is no such folder or file. Nothing is downloaded for a name that is not "
        f"known: {HUB_DATASET} streams the published set ({HUB_SIZE}), hub:owner/name another one of the hub"
    )


class LocalRows:
    """Rows of files on this disk.

    Args:
        path: a folder as ``save_to_disk`` makes it, a folder with Parquet or Arrow files in it or below, or
            one file.

    Raises:
        DatasetError: no files, or a file that can't be read or lacks columns.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path if path.is_dir() else path.parent
        self.name = path.absolute().name
        self._files = [_open(file) for file in _files(path)]
        self.counts: Mapping[str, int] | None = self._counted()

    def _counted(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for file in self._files:
            counts.update(str(name) for name in file.texts(("dataset_name",))["dataset_name"])
        return counts

    def rows(self, wanted: Wanted) -> Iterator[Row]:
        """Yield the wanted rows in order.

        Args:
            wanted: says which, by component and id.
        """
        for file in self._files:
            texts = file.texts(TEXTS)
            start = 0
            for group, length in enumerate(file.group_lengths):
                span = {name: values[start : start + length] for name, values in texts.items()}
                start += length
                keep = [wanted(_name(span, place), _id(span, place)) for place in range(length)]
                if any(keep):
                    yield from _with_audio(span, keep, file.audio(group))
                if wanted.complete:
                    return


class HubRows:
    """Rows of a data set on the hub, in a stream.

    Args:
        name: owner/name.

    Raises:
        DatasetError: it can't be reached, or has no split "test" with the columns.
        MissingExtraError: ``datasets`` is not installed.
    """

    counts: Mapping[str, int] | None = None  # only the whole stream would tell

    def __init__(self, name: str) -> None:
        try:
            from datasets import load_dataset
        except ImportError:
            raise MissingExtraError("eval", "Reading a benchmark from the hub") from None
        self.name, self.folder = name, Path()
        try:
            self._rows = load_dataset(name, split="test", streaming=True).with_format("arrow")
        except (OSError, ValueError, RuntimeError) as error:  # what the hub's libraries raise
            raise DatasetError(f"{name}: can't be read from the hub: {_first_line(error)}") from None

    def rows(self, wanted: Wanted) -> Iterator[Row]:
        """Yield the wanted rows in order; see :meth:`LocalRows.rows`.

        Raises:
            DatasetError: the stream breaks off or is damaged, or lacks columns.
        """
        import pyarrow

        try:
            for table in self._rows.iter(batch_size=ROWS_AT_ONCE):
                _check_columns(table.column_names, self.name)
                texts = _texts(table, TEXTS)
                keep = [wanted(_name(texts, place), _id(texts, place)) for place in range(len(table))]
                yield from _with_audio(texts, keep, iter(table.column("audio").chunks))
                if wanted.complete:
                    return
        except (OSError, pyarrow.ArrowException) as error:
            raise DatasetError(
                f"{self.name}: the stream broke off ({_first_line(error)}): go on with --resume"
            ) from None


# --- files -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _File:
    """A file as groups of rows.

    ``texts``: columns -> values of all rows. ``audio``: of a group, in pieces.
    """

    path: Path
    group_lengths: list[int]
    texts: Callable[[tuple[str, ...]], dict[str, list[Any]]]
    audio: Callable[[int], Iterator[Any]]


def _files(path: Path) -> list[Path]:
    """Files with rows, in the order of their names."""
    if path.is_file():
        return [path]
    splits = path / "dataset_dict.json"
    if splits.is_file():
        path = _split_folder(path, json.loads(splits.read_text(encoding="utf-8"))["splits"])
    state = path / "state.json"
    if state.is_file():
        saved = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        return [path / item["filename"] for item in saved]
    for suffix in ("parquet", "arrow"):
        found = sorted(file for file in path.rglob(f"*.{suffix}") if _is_data(file.relative_to(path)))
        tests = [file for file in found if "test" in re.split(r"\W", str(file.relative_to(path)))]
        if found:
            return tests or found
    raise DatasetError(f"{path}: no Parquet or Arrow file in it or below")


def _split_folder(path: Path, splits: list[str]) -> Path:
    if "test" not in splits and len(splits) != 1:
        raise DatasetError(f"{path}: has the splits {', '.join(splits)} and no test: name the folder of one")
    return path / ("test" if "test" in splits else splits[0])


def _is_data(path: Path) -> bool:
    """Whether a file holds rows: no hidden ones, none that the ``datasets`` library keeps for itself."""
    return not any(part.startswith(".") for part in path.parts) and not path.name.startswith("cache-")


def _open(path: Path) -> _File:
    import pyarrow

    try:
        return _open_parquet(path) if path.suffix == ".parquet" else _open_arrow(path)
    except (pyarrow.ArrowException, OSError, EOFError) as error:
        raise DatasetError(
            f"{path}: can't be read ({_first_line(error)}): copy it anew, or take it away to go on without it"
        ) from None


def _open_parquet(path: Path) -> _File:
    from pyarrow import parquet

    # A buffer instead of whole column chunks: a group of a thousand clips would be a gigabyte.
    file = parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    _check_columns(file.schema_arrow.names, str(path))
    lengths = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]

    def texts(names: tuple[str, ...]) -> dict[str, list[Any]]:
        there = [name for name in names if name in file.schema_arrow.names]
        return _texts(file.read(columns=there), names)

    def audio(group: int) -> Iterator[Any]:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], columns=["audio"]):
            yield batch.column(0)

    return _File(path, lengths, texts, audio)


def _open_arrow(path: Path) -> _File:
    import pyarrow

    mapped = pyarrow.memory_map(str(path))
    is_file = mapped.read_at(6, 0) == b"ARROW1"
    table = (pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream)(mapped).read_all()
    _check_columns(table.column_names, str(path))
    batches = table.to_batches()

    def audio(group: int) -> Iterator[Any]:
        yield batches[group].column("audio")

    return _File(path, [len(batch) for batch in batches], lambda names: _texts(table, names), audio)


def _check_columns(names: list[str], where: str) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if not missing and not {"instruction", "instruction_text"} & set(names):
        missing = ["instruction"]
    if missing:
        raise DatasetError(
            f"{where}: has no column {', '.join(missing)}, so its rows are not of the schema of BEANS-Zero "
            f"0.1; its columns are {', '.join(names)}"
        )


# --- rows --------------------------------------------------------------------------------------------------


def _texts(table: Any, names: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: table.column(name).to_pylist() for name in names if name in table.column_names}


def _name(texts: Mapping[str, list[Any]], place: int) -> str:
    return str(texts["dataset_name"][place]).strip()


def _id(texts: Mapping[str, list[Any]], place: int) -> str | None:
    value = texts["id"][place] if "id" in texts else None
    return None if value in (None, "") else str(value)


def _with_audio(
    texts: Mapping[str, list[Any]], keep: list[str | None], pieces: Iterator[Any]
) -> Iterator[Row]:
    """Rows of a group; if its audio can't be read to the end, the rest are rows with a fault."""
    import pyarrow

    place = 0
    try:
        for column in pieces:
            column.validate(full=True)  # damaged lists would be read from somewhere else in memory
            for within in range(len(column)):
                name = keep[place + within]
                if name is not None:
                    yield _row(texts, place + within, name, partial(sound_at, column, within))
            place += len(column)
    except (pyarrow.ArrowException, OSError) as error:
        reason = f"row_unreadable: the file is damaged here ({_first_line(error)})"
        for rest in range(place, len(keep)):
            name = keep[rest]
            if name is not None:
                yield _row(texts, rest, name, None, reason)


def _row(
    texts: Mapping[str, list[Any]],
    place: int,
    identity: str,
    sound: Callable[[float | None], Sound] | None,
    fault: str | None = None,
) -> Row:
    def text(name: str) -> str | None:
        value = texts[name][place] if name in texts else None
        return value if isinstance(value, str) else None

    instruction, label = text("instruction") or text("instruction_text"), text("output")
    heard = None
    if label is None:
        fault = "row_incomplete: the row has no output, so no right answer"
    elif not (instruction or "").strip():
        fault = "row_incomplete: the row has no instruction"
    elif sound is not None:
        try:
            heard = sound(_sample_rate_hz(texts["metadata"][place] if "metadata" in texts else None))
        except AudioError as error:
            fault = f"{error.code}: {error.reason}"
    name = _name(texts, place)
    return Row(name, identity, instruction or "", label or "", text("file_name"), heard, fault)


def _sample_rate_hz(metadata: Any) -> float | None:
    """The rate in a row's metadata, which is JSON or an object.

    Raises:
        AudioError: it is no JSON, or the rate no number above 0.
    """
    try:
        values = json.loads(metadata) if isinstance(metadata, str) else metadata
        rate = values.get("sample_rate") if isinstance(values, Mapping) else None
        if rate is None or 0 < float(rate) < float("inf"):
            return None if rate is None else float(rate)
    except (TypeError, ValueError):
        raise AudioError("the row's metadata is no JSON object", code="row_incomplete") from None
    raise AudioError(f"the row's sample_rate is {rate}", code="row_incomplete")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
