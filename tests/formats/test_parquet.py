"""Parquet: declared types whatever the rows hold, times as instants, the run inside."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

import pytest
from format_rows import RUN_ID, documented, failed, made, row
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import MissingExtraError
from naturelm_audio.formats import FormatOptions, parquet
from naturelm_audio.records import Label

pyarrow = pytest.importorskip("pyarrow", reason="needs the [parquet] extra")
from pyarrow import parquet as reader  # noqa: E402


def table(folder: Path, name: str = "combined.parquet"):
    return reader.read_table(folder / "out" / name)


def test_the_documented_rows_are_read_by_pyarrow(tmp_path: Path):
    made(tmp_path, documented(), "parquet")
    first, second = table(tmp_path).to_pylist()
    assert (first["start_seconds"], second["end_seconds"], second["confidence"]) == (0.0, 14.5, 0.41)
    utc = datetime.timezone.utc  # noqa: UP017 - as pyarrow gives it
    assert first["start_time"] == datetime.datetime(2024, 5, 1, 2, 0, tzinfo=utc)
    assert second["end_time"] == datetime.datetime(2024, 5, 1, 2, 0, 14, 500_000, tzinfo=utc)
    assert first["utc_offset_minutes"] == 120
    assert first["start_time_local"] is None
    assert first["labels"] == [
        {
            "label": "Eurasian Wren",
            "score": 0.83,
            "scientific_name": "Troglodytes troglodytes",
            "common_name": None,
            "code": None,
        }
    ]


def test_times_do_not_depend_on_what_else_is_imported(tmp_path: Path):
    """With pandera in the process, pyarrow takes 04:00+02:00 for 04:00 UTC."""
    pytest.importorskip("pandera", reason="comes with crowsetta")

    test_the_documented_rows_are_read_by_pyarrow(tmp_path)


def test_types_are_those_declared_even_where_all_is_null(tmp_path: Path):
    made(tmp_path, [failed()], "parquet")
    schema = table(tmp_path).schema
    assert str(schema.field("start_seconds").type) == "double"
    assert str(schema.field("start_time").type) == "timestamp[us, tz=UTC]"
    assert str(schema.field("utc_offset_minutes").type) == "int16"
    assert str(schema.field("sample_rate").type) == "int32"
    assert str(schema.field("channel").type) == "string"
    assert not schema.field("audio_path").nullable
    assert table(tmp_path).num_rows == 1


def test_a_time_without_a_zone_is_never_an_instant(tmp_path: Path):
    made(tmp_path, [*documented()[:1], row(10, 20, start_time="2024-05-01T04:00:10")], "parquet")
    local = table(tmp_path).to_pylist()[1]
    assert local["start_time"] is None
    assert local["utc_offset_minutes"] is None
    assert local["start_time_local"] == datetime.datetime(2024, 5, 1, 4, 0, 10)


def test_a_time_that_is_none_is_left_out(tmp_path: Path):
    made(tmp_path, [row(start_time="yesterday")], "parquet")
    assert table(tmp_path).to_pylist()[0]["start_time"] is None


@pytest.mark.parametrize(("offset", "minutes"), [("+05:45", 345), ("-03:30", -210), ("Z", 0)])
def test_offsets_are_minutes(tmp_path: Path, offset: str, minutes: int):
    made(tmp_path, [row(start_time=f"2024-05-01T04:00:00{offset}")], "parquet")
    assert table(tmp_path).to_pylist()[0]["utc_offset_minutes"] == minutes


def test_the_run_is_in_the_file(tmp_path: Path):
    (tmp_path / "results.jsonl.run.json").write_text(json.dumps({"run_id": RUN_ID, "settings": {"seed": 7}}))
    made(tmp_path, documented(), "parquet")
    run = json.loads(reader.read_metadata(tmp_path / "out/combined.parquet").metadata[b"naturelm.run"])
    assert run["settings"] == {"seed": 7}
    assert "licence_of_weights" in run
    column = reader.read_metadata(tmp_path / "out/combined.parquet").row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert "RLE_DICTIONARY" in column.encodings


def test_parts_of_recordings_are_one_dataset(tmp_path: Path):
    rows = [*documented(), row(audio_path="site1/z.wav", output="None")]
    made(tmp_path, rows, "parquet", FormatOptions(per_file=True))
    whole = reader.read_table(tmp_path / "out/site1")
    assert whole.num_rows == 3


def test_more_rows_than_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 4)
    made(tmp_path, [row(n, n + 1, str(n)) for n in range(10)], "parquet")
    assert table(tmp_path)["output"].to_pylist() == [str(n) for n in range(10)]
    assert reader.read_metadata(tmp_path / "out/combined.parquet").num_row_groups == 3


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(st.lists(st.tuples(texts, texts, st.floats(0, 1)), min_size=1, max_size=5))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, float]]):
    folder = tmp_path_factory.mktemp("parquet")
    rows = [
        row(n, n + 1, output, labels=(Label(label=label, score=score),), channel=n + 1)
        for n, (output, label, score) in enumerate(cells)
    ]
    made(folder, rows, "parquet")
    read = table(folder).to_pylist()
    assert [one["output"] for one in read] == [one.output for one in rows]
    assert [one["labels"][0]["label"] for one in read] == [cell[1] for cell in cells]
    assert [one["channel"] for one in read] == [str(n + 1) for n in range(len(rows))]


def test_pandas_reads_it(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    made(tmp_path, documented(), "parquet")
    frame = pandas.read_parquet(tmp_path / "out/combined.parquet")
    assert list(frame["output"]) == ["Eurasian Wren", "European Robin"]
    assert str(frame["start_time"].dt.tz) == "UTC"


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"naturelm-audio\[parquet\]"):
        made(tmp_path, documented(), "parquet")
