"""Tables and options that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_zoo import COLUMNS, SPECIES, write_table, write_tone

from naturelm_audio.beans_build.options import BuildOptions, ComponentOptions


@pytest.fixture
def zoo(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes four recordings of each species and returns their table.

    Keyword arguments change the cells of all rows, and `change(row)` those of one.
    """

    def make(change: Callable[[dict[str, str]], Any] = lambda row: None, **cells: str) -> Path:
        rows = []
        for place, (name, taxonomic_name) in enumerate(SPECIES.items()):
            for number in range(4):
                row = dict.fromkeys(COLUMNS, "") | {
                    "path": f"{place}-{number}.wav",
                    "label": name,
                    "taxonomic_name": taxonomic_name,
                    "kind": "animal",
                    "recording": f"rec-{place}-{number}",
                    "split": "validation" if number else "train",
                    "source": "zoo",
                    "licence": "CC0" if place else "CC BY 4.0",
                    "call_type": ("song", "call", "flight call", "song, call")[number],
                    "life_stage": ("adult", "juvenile", "", "adult")[number],
                    "individual": f"bird {number % 2}",
                    "caption": f"A {name} calls." if number else "",
                    "events": "0.2-0.4;0.6-0.8" if number == 3 else "",
                }
                row |= cells
                change(row)
                write_tone(tmp_path / row["path"], 200 + 100 * place + 10 * number)
                rows.append(row)
        return write_table(tmp_path / "table.csv", rows)

    return make


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., BuildOptions]:
    """A function that makes options for rules, with an output folder of the test."""

    def make(table: Path, *rules: Any, **fields: Any) -> BuildOptions:
        components = tuple(ComponentOptions(rule=one) if isinstance(one, str) else one for one in rules)
        fields.setdefault("output", str(tmp_path / "built"))
        return BuildOptions(tables=(str(table),), components=components, **fields)

    return make
