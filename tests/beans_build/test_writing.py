import json
import uuid

import datasets
import numpy as np
import pyarrow.parquet
import pytest
from small_zoo import heard, recording, write_tone

from naturelm_audio.audio import read_span
from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import LeftOut
from naturelm_audio.beans_build.rules import classification
from naturelm_audio.beans_build.writing import COLUMNS, ROWS_IN_MEMORY, write_rows
from naturelm_audio.errors import AudioError, OutputError

# The columns of BEANS-Zero.
OFFICIAL = {
    "source_dataset", "audio", "id", "created_at", "metadata", "file_name", "instruction", "instruction_text",
    "output", "task", "dataset_name", "license",
}  # fmt: skip


@pytest.fixture
def component(tmp_path):
    given = []
    for n in range(ROWS_IN_MEMORY + 8):
        one = recording("Barn Owl" if n % 2 else "Zebra Finch", n, licence="CC0" if n else "")
        write_tone(tmp_path / one.path, 200 + n, seconds=0.6 + n / 100)
        given.append(heard(one, seconds=0.6 + n / 100))
    return classification(given, ComponentOptions(rule="labels", name="birds", max_seconds=0.8), 0, LeftOut())


def write(component, root, folder, **given):
    return write_rows([component], root, folder, created_at="2026-01-01T00:00:00+00:00", **given)


def test_the_columns_are_those_of_the_benchmark():
    assert set(COLUMNS) == OFFICIAL


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_what_is_written_is_read_by_datasets(component, tmp_path, form, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / form
    write(component, tmp_path, folder, format=form, rows_per_shard=15)
    if form == "arrow":
        data = datasets.load_from_disk(str(folder))
    else:
        data = datasets.load_dataset(
            "parquet",
            data_files={"test": str(folder / "data" / "*.parquet")},
            split="test",
            cache_dir=tmp_path / "c",
        )
    assert set(data.features) == OFFICIAL
    assert data.features["audio"] == datasets.List(datasets.Value("float32"))
    assert str(data.split) == "test"
    assert len(data) == len(component.rows) == ROWS_IN_MEMORY + 8
    for row, planned in zip(data, component.rows, strict=True):
        samples = read_span(tmp_path / planned.files[0], 0.0, 0.8)
        np.testing.assert_array_equal(np.asarray(row["audio"], np.float32), samples)
        metadata = json.loads(row["metadata"])
        assert metadata["sample_rate"] == 16_000
        assert metadata["duration"] == round(len(samples) / 16_000, 6)
        assert row["instruction"] == f"<Audio><AudioHere></Audio> {row['instruction_text']}"
        assert (row["output"], row["dataset_name"], row["task"]) == (planned.text, "birds", "classification")
        assert row["license"] == (planned.license or "unknown")
        assert str(uuid.UUID(row["id"])) == row["id"]
    assert len(set(data["id"])) == len(data)


def test_few_rows_are_in_memory_at_a_time(component, tmp_path):
    (path,) = write(component, tmp_path, tmp_path / "out")
    with pyarrow.parquet.ParquetFile(path) as file:
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [ROWS_IN_MEMORY, 8]


@pytest.mark.parametrize("form", ["arrow"])  # Parquet: with a whole benchmark, in test_build.py
def test_files_do_not_depend_on_the_number_of_workers(component, tmp_path, form):
    for workers in (1, 2):
        write(component, tmp_path, tmp_path / f"{workers}", format=form, rows_per_shard=15, workers=workers)
    names = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert len(names) == 5
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_recording_that_went_away_is_named(component, tmp_path):
    (tmp_path / component.rows[3].files[0]).unlink()
    with pytest.raises(AudioError, match=component.rows[3].files[0]):
        write(component, tmp_path, tmp_path / "out")
    assert list((tmp_path / "out" / "data").iterdir()) == []


def test_a_place_that_cannot_be_written(component, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        write(component, tmp_path, tmp_path / "file")
