"""Tables of vectors: what is written is read, whatever the names, and a dead process loses nothing twice."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio.embeddings import parts, writer
from naturelm_audio.embeddings.parts import EmbeddedSpan, HeardRecording, Part
from naturelm_audio.embeddings.table import EmbeddingTable
from naturelm_audio.embeddings.writer import TableWriter
from naturelm_audio.errors import MissingExtraError, OutputError
from naturelm_audio.files import LineFile
from naturelm_audio.recordings import Recording

WIDTH = 4
SETTINGS = {"level": "encoder", "vectors": {"width": WIDTH}}


def recording(folder, name, content=b"x"):
    path = folder / f"{abs(hash(name))}.wav"
    path.write_bytes(content)
    return Recording(path, name)


def rows_of(name, count, start=0):
    spans = [EmbeddedSpan(name, 10.0 * i, 10.0 * i + 10) for i in range(start, start + count)]
    numbers = np.random.default_rng([len(name), start]).standard_normal((count, WIDTH)).astype(np.float32)
    return spans, numbers


def open_writer(folder, mode="new", **more):
    return TableWriter.open(folder, mode=mode, **({"settings": SETTINGS} | more))


def fill(table, recordings, windows=3):
    for one in recordings:
        for window in range(table.windows_done(one.name), windows):
            table.add(one, *rows_of(one.name, 1, window))
        table.finish(one)


def content(folder):
    """Every row and every vector, as a reader sees them."""
    table = EmbeddingTable.open(folder)
    vectors = np.concatenate([block for _, block, _ in table.blocks()])
    return table.spans(range(table.rows)), vectors


@pytest.mark.parametrize("file_format", parts.WRITERS)
def test_what_is_written_is_read(tmp_path, file_format):
    names = ["a.wav", 'site 1/"b", c.flac', "line\nfeed.wav", "Zaunkönig.wav"]
    with open_writer(tmp_path / "t", file_format=file_format) as table:
        fill(table, [recording(tmp_path, name) for name in names])
        assert table.rows == 12
    spans, vectors = content(tmp_path / "t")
    expected = [rows_of(name, 1, window) for name in names for window in range(3)]
    assert spans == [span for found, _ in expected for span in found]
    np.testing.assert_array_equal(vectors, np.concatenate([found for _, found in expected]))
    opened = EmbeddingTable.open(tmp_path / "t")
    assert (opened.rows, opened.width, opened.finished) == (12, WIDTH, True)
    assert set(opened.files) == set(names)
    ((_, _, norms),) = opened.blocks()
    np.testing.assert_allclose(norms, np.linalg.norm(vectors, axis=1), rtol=1e-6)
    assert opened.spans([11, 0, 5]) == [spans[11], spans[0], spans[5]]


def test_other_programs_read_the_files(tmp_path):
    with open_writer(tmp_path / "n") as table:
        fill(table, [recording(tmp_path, "a, b.wav")])
    index = pyarrow.csv.read_csv(tmp_path / "n" / "part-00000.csv")
    assert index.column_names == ["audio_path", "start_seconds", "end_seconds"]
    assert list(index.to_pylist()[2].values()) == ["a, b.wav", 20.0, 30.0]
    assert len(np.load(tmp_path / "n" / "part-00000.npy")) == len(index)
    with open_writer(tmp_path / "p", file_format="parquet") as table:
        fill(table, [recording(tmp_path, "a, b.wav")])
    rows = pyarrow.parquet.read_table(tmp_path / "p")
    assert rows.column_names == ["audio_path", "start_seconds", "end_seconds", "norm", "vector"]
    vectors = np.array(rows["vector"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, np.load(tmp_path / "n" / "part-00000.npy"))


def test_parts_are_cut_when_memory_is_full_and_when_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "PART_BYTES", 2 * WIDTH * 4)
    with open_writer(tmp_path / "t") as table:
        fill(table, [recording(tmp_path, "a.wav"), recording(tmp_path, "b.wav")])
        assert [part.rows for part in table.parts] == [2, 2, 2]
    lines = (tmp_path / "t" / "_embeddings.jsonl").read_text().splitlines()
    assert [json.loads(line)["part"] for line in lines] == [
        "part-00000", "part-00001", "part-00002", None,
    ]  # fmt: skip


def test_parts_are_cut_when_time_is_up_later_and_later(tmp_path, monkeypatch):
    """A process that dies loses a minute, or a fiftieth of the run."""
    clock = iter([0.0, *range(10, 30_000, 10)])
    last = [0.0]

    def monotonic():
        last[0] = next(clock)
        return last[0]

    monkeypatch.setattr(writer, "time", SimpleNamespace(monotonic=monotonic))  # not the clock of all threads
    cuts = []
    with open_writer(tmp_path / "t") as table:
        one = recording(tmp_path, "a.wav")
        for window in range(1000):
            before = len(table.parts)
            table.add(one, *rows_of("a.wav", 1, window))
            if len(table.parts) > before:
                cuts.append(last[0])
    waits = np.diff([0.0, *cuts])
    assert waits[0] == pytest.approx(60, abs=20)
    assert all(wait <= max(60, 0.02 * at) + 20 for wait, at in zip(waits, cuts, strict=True))
    assert waits[-1] > 150
    assert len(content(tmp_path / "t")[0]) == 1000


class DiedError(Exception):
    """Stands for a process that was killed: nothing of it runs any more."""


@given(die_at=st.integers(0, 20), bytes_per_part=st.sampled_from([16, 48, 1000]))
@settings(max_examples=40)
def test_a_killed_run_goes_on_without_a_row_lost_or_twice(tmp_path_factory, die_at, bytes_per_part):
    tmp_path = tmp_path_factory.mktemp("killed")
    recordings = [recording(tmp_path, f"{letter}.wav") for letter in "abc"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "PART_BYTES", bytes_per_part)
        with open_writer(tmp_path / "whole") as table:
            fill(table, recordings)
        steps = iter(range(100))

        def dies(function):
            def call(*arguments):
                if next(steps) >= die_at:
                    raise DiedError
                return function(*arguments)

            return call

        with pytest.MonkeyPatch.context() as dying:
            for target, name in ((TableWriter, "add"), (TableWriter, "_take"), (LineFile, "append")):
                dying.setattr(target, name, dies(getattr(target, name)))
            table = open_writer(tmp_path / "t")
            try:
                fill(table, recordings)
                table.flush()
            except DiedError:
                pass
            table._rows.close()
        (tmp_path / "t" / "part-00099.npy").write_bytes(b"written, but its line never came")
        with open_writer(tmp_path / "t", "resume") as table:
            fill(table, table.remaining(recordings))
    np.testing.assert_equal(content(tmp_path / "t"), content(tmp_path / "whole"))
    assert not (tmp_path / "t" / "part-00099.npy").exists()


def test_a_torn_line_is_removed(tmp_path):
    one = recording(tmp_path, "a.wav")
    with open_writer(tmp_path / "t") as table:
        fill(table, [one])
    with open(tmp_path / "t" / "_embeddings.jsonl", "a") as file:
        file.write('{"part": "part-0')
    assert EmbeddingTable.open(tmp_path / "t").rows == 3
    with open_writer(tmp_path / "t", "resume") as table:
        assert table.remaining([one]) == []
        assert table.resumed


def test_an_interrupted_run_keeps_what_it_had_in_memory(tmp_path):
    recordings = [recording(tmp_path, "a.wav"), recording(tmp_path, "b.wav")]
    with contextlib.suppress(KeyboardInterrupt), open_writer(tmp_path / "t") as table:
        table.add(recordings[0], *rows_of("a.wav", 1))
        raise KeyboardInterrupt
    opened = EmbeddingTable.open(tmp_path / "t")
    assert (opened.rows, opened.finished) == (1, False)
    run = json.loads((tmp_path / "t" / "_embeddings.jsonl.run.json").read_text())
    assert run["status"] == "interrupted"
    with open_writer(tmp_path / "t", "resume") as table:
        assert [one.name for one in table.remaining(recordings[::-1])] == ["a.wav", "b.wav"]


def test_an_existing_table_is_kept_unless_asked(tmp_path):
    one = recording(tmp_path, "a.wav")
    with open_writer(tmp_path / "t") as table:
        fill(table, [one])
    with pytest.raises(OutputError, match="exists already: continue it with --resume"):
        open_writer(tmp_path / "t")
    with pytest.raises(OutputError, match=r'made with level "encoder", now it is "tokens"'):
        open_writer(tmp_path / "t", "resume", settings=SETTINGS | {"level": "tokens"})
    with pytest.raises(OutputError, match="file_format"):
        open_writer(tmp_path / "t", "resume", file_format="parquet")
    with open_writer(tmp_path / "t", "overwrite", file_format="parquet") as table:
        fill(table, [one], windows=1)
    assert sorted(path.name for path in (tmp_path / "t").glob("part-*")) == ["part-00000.parquet"]
    assert EmbeddingTable.open(tmp_path / "t").rows == 1


def test_two_processes_do_not_share_a_table(tmp_path):
    with open_writer(tmp_path / "t"), pytest.raises(OutputError, match="another process is writing"):
        open_writer(tmp_path / "t", "resume")


def test_a_recording_that_changed_is_refused(tmp_path):
    one = recording(tmp_path, "a.wav")
    with open_writer(tmp_path / "t") as table:
        fill(table, [one])
    one.path.write_bytes(b"other sound")
    with open_writer(tmp_path / "t", "resume") as table:
        with pytest.raises(OutputError, match="has changed since it was heard"):
            table.remaining([one])
        with pytest.raises(OutputError, match=r"two recordings would be called b\.wav"):
            table.remaining([Recording(tmp_path / "x", "b.wav"), Recording(tmp_path / "y", "b.wav")])


def test_failures_are_noted_with_what_came_before(tmp_path):
    recordings = [recording(tmp_path, "a.wav"), recording(tmp_path, "b.wav")]
    with open_writer(tmp_path / "t") as table:
        table.finish(recordings[0], "audio_decode_failed: not a readable audio file")
        table.add(recordings[1], *rows_of("b.wav", 1))
        table.finish(recordings[1], "audio_decode_failed: broken at 10 s")
        assert table.rows == 1
    run = json.loads((tmp_path / "t" / "_embeddings.jsonl.run.json").read_text())
    assert run["failed"]["b.wav"] == "audio_decode_failed: broken at 10 s"
    assert run["counts"] == {"rows": 1, "recordings": 2}
    with open_writer(tmp_path / "t", "resume") as table:
        assert table.remaining(recordings) == []
        assert set(table.failed) == {"a.wav", "b.wav"}


def test_tables_that_can_not_be_read(tmp_path):
    with pytest.raises(OutputError, match="is no table of embeddings: make one with `naturelm embed`"):
        EmbeddingTable.open(tmp_path)
    with open_writer(tmp_path / "t") as table:
        table.finish(recording(tmp_path, "a.wav"), "broken")
    with pytest.raises(OutputError, match="the table is empty: none of its recordings could be heard"):
        EmbeddingTable.open(tmp_path / "t")
    with open_writer(tmp_path / "u") as table:
        fill(table, [recording(tmp_path, "a.wav")])
    np.save(tmp_path / "u" / "part-00000.npy", np.zeros((2, WIDTH)))
    with pytest.raises(OutputError, match="is not as its journal says"):
        list(EmbeddingTable.open(tmp_path / "u").blocks())
    (tmp_path / "u" / "part-00000.npy").unlink()
    with pytest.raises(OutputError, match="can't be read"):
        list(EmbeddingTable.open(tmp_path / "u").blocks())
    (tmp_path / "u" / "_embeddings.jsonl").write_text("{}\n")
    with pytest.raises(OutputError, match="line 1: not a line of a journal"):
        EmbeddingTable.open(tmp_path / "u")
    (tmp_path / "u" / "_embeddings.jsonl.run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run\.json: can't be read"):
        EmbeddingTable.open(tmp_path / "u")


def test_places_where_no_table_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file: name a folder"):
        open_writer(tmp_path / "file")
    with pytest.raises(OutputError, match="there is no folder"):
        open_writer(tmp_path / "no" / "table")


@pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
def test_files_of_others_are_never_deleted(tmp_path, mode):
    (tmp_path / "t").mkdir()
    theirs = tmp_path / "t" / "part-00000-of-00003.parquet"
    theirs.write_bytes(b"another data set")
    with pytest.raises(OutputError, match=r"has part-00000-of-00003\.parquet, which is of no table"):
        open_writer(tmp_path / "t", mode)
    assert list((tmp_path / "t").iterdir()) == [theirs]


def test_parquet_needs_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="A table in Parquet needs"):
        open_writer(tmp_path / "t", file_format="parquet")
    assert not (tmp_path / "t").exists()


def test_lines_of_the_journal_come_back():
    states = (HeardRecording(path="a", file="/a", windows=2), HeardRecording(path="b", file="/b", error="x"))
    part = Part("part-00000", 7, states)
    assert Part.from_json(part.to_json()) == part
    with pytest.raises(ValueError, match="unknown content"):
        Part.from_json('{"part": null, "rows": 0, "recordings": [{"colour": 1}]}')


def test_a_disk_that_is_full_at_the_end_is_no_finished_run(tmp_path, monkeypatch):
    table = open_writer(tmp_path / "t")
    one = recording(tmp_path, "a.wav")

    def full(self):
        raise OutputError("the disk is full")

    monkeypatch.setattr(TableWriter, "flush", full)
    with pytest.raises(OutputError, match="the disk is full"), table:
        table.add(one, *rows_of("a.wav", 1))
    assert not (tmp_path / "t").exists()  # nothing was written
