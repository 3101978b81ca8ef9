"""The components of a benchmark: task, labels, number of rows, clip length, question, published results.

BEANS-Zero's are a table in ``beans_zero.json``; other benchmarks come as a file of the same shape, which lies
as ``components.json`` in the folder of their rows:

    {"schema_version": 1, "name": "my-birds", "version": "1",
     "components": [{"name": "my-birds-cmn", "task": "classification", "labels": ["Wren", "Robin"],
                     "rows": 40, "sample_rate_hz": 16000, "max_seconds": 10, "prompt": "What is ...?"}]}

Keys of a component are the fields of :class:`Component`; what else is there (licence, source, seed) is left
aside. Knows nothing of predictions or audio.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from naturelm_audio.errors import LabelError, OptionsError

__all__ = [
    "COMPONENTS_FILE",
    "SCHEMA_VERSION",
    "TASKS",
    "Benchmark",
    "Component",
    "beans_zero",
    "benchmark_of",
    "read_benchmark",
]

Task = Literal["classification", "detection", "captioning"]
TASKS: tuple[str, ...] = ("classification", "detection", "captioning")
COMPONENTS_FILE = "components.json"  # beside the rows of a benchmark
SCHEMA_VERSION = 1  # of that file and of the rows' columns
ALSO_CALLED = {"number": "rows", "n": "rows", "max_duration": "max_seconds", "window_width": "window_seconds"}


@dataclass(frozen=True, kw_only=True)
class Component:
    """One component.

    ``rows`` is how many the whole component has, None if that is not known. Detection windows are
    ``window_seconds`` long and begin every ``shift_seconds``; a clip is cut or padded to ``max_seconds``.
    ``published`` is model -> headline score.
    """

    name: str
    task: Task
    labels: tuple[str, ...] = ()
    rows: int | None = None
    sample_rate_hz: int | None = None
    max_seconds: float | None = None
    window_seconds: float | None = None
    shift_seconds: float | None = None
    prompt: str | None = None
    unknown_label: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The name of the score that the component is compared by."""
        return {"classification": "Accuracy", "detection": "F1", "captioning": "SPIDEr"}[self.task]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Components in their order, by name; ``aliases`` is other name -> name."""

    name: str
    components: Mapping[str, Component]
    aliases: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    published_source: str | None = None

    def __iter__(self) -> Iterator[Component]:
        return iter(self.components.values())

    def find(self, name: str) -> Component | None:
        """Return the component of this name or alias."""
        return self.components.get(self.aliases.get(name, name))

    def closest(self, name: str) -> str:
        """Return a hint with all names, and the one that was perhaps meant."""
        near = difflib.get_close_matches(name, [*self.components, *self.aliases], n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return f"{guess}{self.name} has {', '.join(self.components)}"


@cache
def beans_zero() -> Benchmark:
    """Return BEANS-Zero: 22 components, 91,965 rows.

    Source: Robinson et al. (2025), arXiv 2411.07186, and the benchmark's own settings, version 0.1.0.
    """
    text = files("naturelm_audio").joinpath("beans_zero.json").read_text(encoding="utf-8")
    return _benchmark(json.loads(text), "beans_zero.json")


def benchmark_of(data: str | Path) -> Benchmark:
    """Return the benchmark whose rows a folder holds: that of its ``components.json``, else BEANS-Zero.

    Args:
        data: the folder, or a file in it.

    Raises:
        OptionsError: see :func:`read_benchmark`.
        LabelError: see :func:`read_benchmark`.
    """
    folder = Path(data)
    table = (folder if folder.is_dir() else folder.parent) / COMPONENTS_FILE
    return read_benchmark(table) if table.is_file() else beans_zero()


def read_benchmark(path: str | Path) -> Benchmark:
    """Return the benchmark that a JSON file describes.

    The file is a list of components, or an object whose key ``components`` is that list. A component has
    ``name``, ``task`` and, but for captioning, ``labels``; other keys are those of :class:`Component`, and
    unknown ones are left aside.

    Raises:
        OptionsError: the file can't be read or has another shape.
        LabelError: a component's labels are missing.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise OptionsError(f"{path}: can't be read: {error.strerror or error}") from None
    except ValueError as error:
        raise OptionsError(f"{path}: is not JSON: {error}") from None
    if isinstance(content, list):
        content = {"components": content}
    if not isinstance(content, dict) or not isinstance(content.get("components"), list):
        raise OptionsError(f"{path}: must be a list of components, or an object with a list 'components'")
    schema = content.get("schema_version", SCHEMA_VERSION)
    if schema != SCHEMA_VERSION:
        raise OptionsError(
            f"{path}: has schema_version {schema!r}, this version reads {SCHEMA_VERSION}: build the set "
            "again, or read it with the version of naturelm-audio that made it"
        )
    name = Path(path).absolute().parent.name if Path(path).name == COMPONENTS_FILE else Path(path).stem
    return _benchmark({"name": name, **content}, str(path))


def _benchmark(content: Mapping[str, Any], where: str) -> Benchmark:
    components: dict[str, Component] = {}
    for number, row in enumerate(content["components"], 1):
        component = _component(row, f"{where}, component {number}")
        if component.name in components:
            raise OptionsError(f"{where}: component {component.name!r} is there twice: keep one")
        components[component.name] = component
    if not components:
        raise OptionsError(f"{where}: has no components")
    aliases = content.get("aliases") or {}
    return Benchmark(
        name=str(content["name"]),
        components=components,
        aliases={str(other): str(name) for other, name in aliases.items()},
        version=content.get("version"),
        published_source=content.get("published_source"),
    )


def _component(row: Any, where: str) -> Component:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise OptionsError(f"{where}: must be an object with a 'name'")
    row = {ALSO_CALLED.get(key, key): value for key, value in row.items()}
    where = f"{where} ({row['name']})"
    if row.get("task") not in TASKS:
        raise OptionsError(f"{where}: task must be one of {', '.join(TASKS)}, not {row.get('task')!r}")
    labels = _labels(row.get("labels"), where)
    if not labels and row["task"] != "captioning":
        raise LabelError(f"{where}: has no labels: add the list 'labels'")
    if row.get("rows") is not None and (type(row["rows"]) is not int or row["rows"] < 1):
        raise OptionsError(f"{where}: rows must be a whole number from 1, not {row['rows']!r}")
    known = {item.name for item in fields(Component)}
    settings = {key: value for key, value in row.items() if key in known and key != "labels"}
    return Component(**cast(Any, settings), labels=labels)


def _labels(labels: Any, where: str) -> tuple[str, ...]:
    if labels is None:
        return ()
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise LabelError(f"{where}: labels must be a list of texts")
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise LabelError(f"{where}: label {twice!r} is there twice: keep one")
    return tuple(labels)
