from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from benchmark_rows import row, samples, table_of, write_parquet, zoo_rows

from naturelm_audio.beans import dataset
from naturelm_audio.beans.dataset import HUB_DATASET, DatasetError, HubRows, LocalRows, open_rows
from naturelm_audio.errors import MissingExtraError

pa = pytest.importorskip("pyarrow", reason="needs the [eval] extra")


class Everything:
    """Wants every row, or those of some components, and remembers what it was asked."""

    complete = False

    def __init__(self, *names):
        self.names = names
        self.asked = []

    def __call__(self, name, identity):
        self.asked.append((name, identity))
        return (identity or f"{name}-?") if not self.names or name in self.names else None


def ids(rows, *names):
    return [one.id for one in rows.rows(Everything(*names))]


def save_arrow(path, rows, kind):
    table = table_of(rows)
    with pa.OSFile(str(path), "wb") as sink:
        new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with new(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    return path


ALL_IDS = [one["id"] for one in zoo_rows()]


def test_every_form_gives_the_same_rows(zoo, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the [eval] extra")
    saved = datasets.Dataset(table_of(zoo_rows()))
    saved.save_to_disk(tmp_path / "saved", num_shards=3)
    datasets.DatasetDict({"test": saved, "train": saved.select([0])}).save_to_disk(tmp_path / "splits")
    forms = [
        zoo,
        zoo / "shard-00000.parquet",
        tmp_path / "saved",
        tmp_path / "splits",
        save_arrow(tmp_path / "stream.arrow", zoo_rows(), "stream"),
        save_arrow(tmp_path / "file.arrow", zoo_rows(), "file"),
    ]
    for form in forms:
        rows = open_rows(form)
        assert rows.counts == {"zoo-cmn": 4, "zoo-open": 3, "zoo-cap": 3}
        found = list(rows.rows(Everything()))
        assert [one.id for one in found] == ALL_IDS
        for number, one in enumerate(found):
            np.testing.assert_array_equal(one.sound.samples, samples(number))
            assert (one.sound.sample_rate_hz, one.fault) == (16_000, None)
        assert (found[0].label, found[0].file_name) == ("Hen", "0.wav")
        assert found[0].instruction.startswith("<Audio><AudioHere></Audio> What")


def test_audio_of_groups_that_nobody_wants_is_not_read(zoo, monkeypatch):
    read = []
    opened = dataset._open_parquet

    def watched(path):
        file = opened(path)
        return dataset._File(
            file.path, file.group_lengths, file.texts, lambda group: read.append(group) or file.audio(group)
        )

    monkeypatch.setattr(dataset, "_open_parquet", watched)
    assert ids(open_rows(zoo), "zoo-cap") == ALL_IDS[7:]
    assert read == [1, 2]  # rows 4 to 7 and 8 to 9; the component begins at 7


def test_reading_stops_when_nothing_more_is_wanted(zoo):
    wanted = Everything()
    wanted.complete = True
    assert [one.id for one in open_rows(zoo).rows(wanted)] == ALL_IDS[:4]
    assert len(wanted.asked) == 4


def test_b1_a_mistyped_path_never_starts_a_download(monkeypatch, tmp_path):
    monkeypatch.setattr(dataset, "HubRows", lambda name: pytest.fail(f"asks the hub for {name}"))
    for name in (
        "data/beanz",
        "BEANS-Zero",
        "./zoo",
        "EarthSpeciesProject/BEANS-Zer",
        str(tmp_path / "x"),
        "hub:x",
    ):
        with pytest.raises(DatasetError, match="there is no such folder or file"):
            open_rows(name)


def test_b1_only_the_known_name_or_an_explicit_one_streams(monkeypatch, caplog):
    monkeypatch.setattr(dataset, "HubRows", lambda name: name)
    assert open_rows(HUB_DATASET) == HUB_DATASET
    assert "in a stream from the hub, about 100 GB if all rows are" in caplog.text
    assert open_rows("hub:someone/zoo") == "someone/zoo"


class Stream:
    """What ``load_dataset(..., streaming=True)`` gives, as far as it is used."""

    def __init__(self, rows, fails_after=None, error=ConnectionError):
        self.table, self.fails_after, self.error = table_of(rows), fails_after, error

    def with_format(self, name):
        assert name == "arrow"
        return self

    def iter(self, batch_size):
        for start in range(0, len(self.table), 3):
            if self.fails_after is not None and start >= self.fails_after:
                raise self.error("gone")
            yield self.table.slice(start, 3)


def test_the_hub_is_read_in_a_stream(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the [eval] extra")
    calls = []

    def load(*arguments, **settings):
        calls.append((arguments, settings))
        return Stream(zoo_rows())

    monkeypatch.setattr(datasets, "load_dataset", load)
    rows = HubRows("someone/zoo")
    assert rows.counts is None
    assert ids(rows) == ALL_IDS
    assert ids(rows, "zoo-open") == ALL_IDS[4:7]
    assert calls == [(("someone/zoo",), {"split": "test", "streaming": True})]


@pytest.mark.parametrize("error", [ConnectionError, pa.ArrowInvalid])
def test_a_stream_that_breaks_off_says_how_to_go_on(monkeypatch, error):
    datasets = pytest.importorskip("datasets", reason="needs the [eval] extra")
    broken = Stream(zoo_rows(), fails_after=3, error=error)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: broken)
    found = []
    with pytest.raises(DatasetError, match=r"the stream broke off \(gone\): go on with --resume"):
        found.extend(HubRows("someone/zoo").rows(Everything()))
    assert len(found) == 3


def test_a_real_stream_of_the_library(zoo, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the [eval] extra")
    real = datasets.load_dataset
    files = {"test": str(zoo / "shard-00000.parquet")}
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, **given: real("parquet", data_files=files, **given)
    )
    found = list(HubRows("someone/zoo").rows(Everything("zoo-open")))
    assert [one.id for one in found] == ALL_IDS[4:7]
    np.testing.assert_array_equal(found[0].sound.samples, samples(4))


def test_the_hub_out_of_reach(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the [eval] extra")

    def refuse(*arguments, **settings):
        raise ConnectionError("no network\nmore")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DatasetError, match=r"someone/zoo: can't be read from the hub: no network$"):
        HubRows("someone/zoo")


def test_rows_that_are_faulty_say_so_and_the_others_are_there(tmp_path):
    faulty = [
        row("zoo-cmn", 0, "Hen", audio=None),
        row("zoo-cmn", 1, None),
        row("zoo-cmn", 2, "Hen", instruction=None, instruction_text=None),
        row("zoo-cmn", 3, "Hen", metadata="{"),
        row("zoo-cmn", 4, "Hen", metadata='{"sample_rate": -1}'),
        row("zoo-cmn", 5, "Hen", metadata='{"sample_rate": "x"}'),
        row("zoo-cmn", 6, "Hen", instruction=None),
        row("zoo-cmn", 7, "Hen", id=None),
    ]
    found = list(open_rows(write_parquet(tmp_path / "zoo", faulty)).rows(Everything()))
    assert [one.fault for one in found] == [
        "audio_empty: the row has no audio",
        "row_incomplete: the row has no output, so no right answer",
        "row_incomplete: the row has no instruction",
        "row_incomplete: the row's metadata is no JSON object",
        "row_incomplete: the row's sample_rate is -1",
        "row_incomplete: the row's metadata is no JSON object",
        None,
        None,
    ]
    assert [one.sound is None for one in found] == [True] * 6 + [False] * 2
    assert found[7].id == "zoo-cmn-?"


def test_a_damaged_part_of_a_file_costs_only_its_rows(zoo):
    from pyarrow import parquet

    file = zoo / "shard-00000.parquet"
    chunk = parquet.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(content)
    found = list(open_rows(zoo).rows(Everything()))
    assert [one.id for one in found] == ALL_IDS
    broken = [one.id for one in found if one.fault]
    assert broken == ALL_IDS[4:8]
    assert found[4].fault.startswith("row_unreadable: the file is damaged here (")
    assert found[4].label == "Hen"


def test_lists_that_point_outside_are_damage_not_a_crash(tmp_path):
    offsets = pa.py_buffer(np.array([0, 10**6, 8], np.int32))
    audio = pa.Array.from_buffers(
        pa.list_(pa.float64()), 2, [None, offsets], children=[pa.array(np.zeros(8), pa.float64())]
    )
    texts = table_of([row("zoo-cmn", n, "Hen", audio=[0.0]) for n in range(2)]).drop_columns("audio")
    found = list(dataset._with_audio(dataset._texts(texts, dataset.TEXTS), ["a", "b"], iter([audio])))
    assert [one.fault is not None for one in found] == [True, True]


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (
            "dataset_name",
            "has no column dataset_name, so its rows are not of the schema of BEANS-Zero 0.1; its",
        ),
        ("output", "has no column output"),
    ],
)
def test_files_of_another_schema(tmp_path, drop, message):
    from pyarrow import parquet

    parquet.write_table(table_of(zoo_rows()).drop_columns(drop), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=message):
        open_rows(tmp_path)


def test_rows_without_any_question(tmp_path):
    from pyarrow import parquet

    table = table_of(zoo_rows()).drop_columns(["instruction", "instruction_text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="has no column instruction"):
        open_rows(tmp_path)


def test_files_that_are_no_data(tmp_path, zoo):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no Parquet or Arrow file in it or below"):
        open_rows(tmp_path / "empty")
    for name in ("torn.parquet", "torn.arrow"):
        (tmp_path / "empty" / name).write_bytes(b"PAR1 something")
        with pytest.raises(DatasetError, match=f"{name}: can't be read .*: copy it anew, or take it away"):
            open_rows(tmp_path / "empty" / name)
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "dataset_dict.json").write_text('{"splits": ["train", "valid"]}')
    with pytest.raises(DatasetError, match="has the splits train, valid and no test"):
        open_rows(splits)


def test_only_the_test_split_and_no_caches(zoo):
    (zoo / "data").mkdir()
    for name in ("data/test-00000.parquet", "data/train-00000.parquet", ".hidden.parquet", "cache-1.parquet"):
        shutil.copy(zoo / "shard-00000.parquet", zoo / name)
    assert LocalRows(zoo).counts == {"zoo-cmn": 4, "zoo-open": 3, "zoo-cap": 3}


def test_without_the_extra(zoo, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\[eval\]"):
        open_rows(zoo)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"\[eval\]"):
        HubRows("someone/zoo")


def test_metadata_may_be_an_object(tmp_path):
    rows = [row("zoo-cmn", 0, "Hen", metadata={"sample_rate": 8000})]
    (found,) = open_rows(write_parquet(tmp_path / "zoo", rows)).rows(Everything())
    assert found.sound.sample_rate_hz == 8000
