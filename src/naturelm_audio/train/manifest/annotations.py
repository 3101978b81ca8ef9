"""Annotation files: JSON Lines, one JSON object ``{"annotation": [...]}``, or Parquet <-> examples.

Every faulty row is reported at once, with its line. Files are looked for below the audio root: the folder of
the annotation file unless another is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from naturelm_audio.errors import MissingExtraError, OutputError
from naturelm_audio.files import clear_errors, replacing, text_encoding
from naturelm_audio.records import dump_json
from naturelm_audio.train.manifest.examples import Example, from_mapping
from naturelm_audio.train.manifest.problems import ManifestError, Problem, refuse_if_any
from naturelm_audio.train.manifest.tables import parquet_rows, read_text

__all__ = ["check_annotations", "read_annotations", "resolve", "write_annotations"]

_WRAPPED = re.compile(r'\s*\{\s*"annotation"\s*:')
_JSON_IN_PARQUET = ("mix", "metadata")


def read_annotations(
    path: str | Path,
    *,
    audio_root: str | Path | None = None,
    check_files: bool = True,
    drop_bad: bool = False,
) -> list[Example]:
    """Return the examples of an annotation file.

    Raises:
        ManifestError: naming every faulty row, unless ``drop_bad``; or no row is left.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    examples, problems = check_annotations(path, audio_root=audio_root, check_files=check_files)
    if not drop_bad:
        refuse_if_any(problems, str(path))
    if not examples:
        raise ManifestError(f"{path}: holds no {'sound ' if problems else ''}row", problems)
    return examples


def check_annotations(
    path: str | Path, *, audio_root: str | Path | None = None, check_files: bool = True
) -> tuple[list[Example], list[Problem]]:
    """Return the sound rows of an annotation file, and the faults of the others.

    Raises:
        ManifestError: the file as a whole can't be read.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    root = Path(audio_root) if audio_root is not None else Path(path).parent
    exists = _remembered(lambda name: resolve(root, name).is_file())
    examples, problems = [], []
    for line, row in _rows(Path(path)):
        try:
            example = _example(row)
            absent = [name for name in example.paths if check_files and not exists(name)]
            if absent:
                raise ValueError(f"no such file: {', '.join(absent)} (below {root})")
            examples.append(example)
        except ValueError as error:
            problems.append(Problem(str(path), line, str(error)))
    return examples, problems


def resolve(root: Path, name: str) -> Path:
    """Return the place of a file that a row names; names of other systems have backslashes."""
    direct = root / name
    return direct if "\\" not in name or direct.exists() else root / name.replace("\\", "/")


def write_annotations(path: str | Path, examples: Iterable[Example]) -> int:
    """Write examples as JSON Lines (.jsonl), wrapped JSON (.json) or Parquet, as a whole; return how many.

    Raises:
        OutputError: it can't be written, or the suffix is none of these.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    path, count = Path(path), 0
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".json", ".parquet"):
        raise OutputError(f"{path}: name it .jsonl, .json or .parquet")
    if suffix == ".parquet":
        return _write_parquet(path, [example.to_mapping() for example in examples])
    wrapped = suffix == ".json"
    with clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write('{"annotation":[\n' if wrapped else "")
        for count, example in enumerate(examples, start=1):
            line = dump_json(example.to_mapping())
            file.write(f"{',' if wrapped and count > 1 else ''}{line}\n")
        file.write("]}\n" if wrapped else "")
    return count


def _example(row: Any) -> Example:
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError("not an object")
    return from_mapping(row)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line, row); a ValueError in place of a row is a line that is no JSON."""
    if path.suffix.lower() in (".parquet", ".pq"):
        # Parquet knows no absent cells, only nulls.
        for line, row in parquet_rows(path):
            yield line, {key: value for key, value in row.items() if value is not None}
        return
    with _opened(path) as file:
        head = file.read(4096)
    if _WRAPPED.match(head):
        yield from _wrapped_rows(read_text(path), path)
    else:
        yield from _lines(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with open(path, encoding=text_encoding(path)) as file:
            yield file
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: not UTF-8 text: JSON has to be") from None


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with _opened(path) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield line, _parsed(text)


def _wrapped_rows(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the rows of one JSON object with the lines on which they start."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    match = re.match(r'\s*\{\s*"annotation"\s*:\s*\[\s*', text)
    if match is None:
        raise ManifestError(f"{path}: 'annotation' is not a list")
    place, line, counted = match.end(), 1, 0
    while text[place : place + 1] != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            row, place = decoder.raw_decode(text, place)
        except ValueError as error:
            raise ManifestError(f"{path}:{line}: not JSON: {error}") from None
        yield line, row
        separator = re.compile(r"\s*(,\s*|(?=\]))").match(text, place)
        if separator is None:
            raise ManifestError(f"{path}:{line}: not JSON: a comma or ] is missing after this row")
        place = separator.end()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        return ValueError(f"not JSON: {error}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _remembered(function: Callable[[str], bool]) -> Callable[[str], bool]:
    """Return the function with a memory: one file has many rows."""
    known: dict[str, bool] = {}

    def ask(name: str) -> bool:
        if name not in known:
            known[name] = function(name)
        return known[name]

    return ask


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("train", "Parquet") from None
    text, real = pyarrow.string(), pyarrow.float64()
    texts = pyarrow.list_(text)
    types = {
        "path": text, "files": texts, "mix": text, "start_seconds": real, "end_seconds": real,
        "channel": pyarrow.int32(), "prompt": text, "text": text, "task": text, "split": text,
        "labels": texts,
        "source": text, "recording_id": text, "id": text, "license": text, "metadata": text, "weight": real,
    }  # fmt: skip
    for row in rows:
        for name in _JSON_IN_PARQUET:
            if name in row:
                row[name] = dump_json(row[name])
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(list(types.items())))
    temporary = path.with_name(f".{path.name}.tmp")
    with clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pyarrow.parquet.write_table(table, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return len(rows)
