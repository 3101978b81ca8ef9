from pathlib import Path

import pytest
from small_zoo import recording, write_table, write_tone

from naturelm_audio.beans_build.reading import audio_root_of, of_splits, read_recordings, read_training
from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.annotations import write_annotations
from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
from naturelm_audio.train.manifest.problems import ManifestError


def read(*tables, root=Path()):
    return read_recordings([str(table) for table in tables], root=root)


def test_every_kind_of_table_that_training_reads(zoo, tmp_path):
    table = zoo()
    assert len(read(table, root=tmp_path).recordings) == 16
    write_tone(tmp_path / "folders" / "Barn Owl" / "a.wav", 300)
    (folder,) = read(tmp_path / "folders").recordings
    assert folder.common_name == "Barn Owl"
    labels = tmp_path / "0-1.txt"
    labels.write_text("0.1\t0.4\twren\n0.5\t0.9\trobin\n")
    (events,) = read(labels, root=tmp_path).recordings
    assert [span.label for span in events.events] == ["wren", "robin"]
    assert (events.path, events.source) == ("0-1.wav", "0-1")


def test_tables_are_joined(zoo, tmp_path):
    table = zoo()
    assert len(read(table, table, root=tmp_path).recordings) == 32


def test_an_empty_table_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match=r"empty.csv: the table is empty: no row names a recording"):
        read(write_table(tmp_path / "empty.csv", []))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty: the first line must name the columns"),
        ("file\na.wav\n", "no column of labels; call it 'common_name'"),
        ("label\nwren\n", "no column of paths; call it 'path'"),
        ("path,label,licens\na.wav,wren,CC0\n", "unknown column 'licens'; did you mean 'license'"),
    ],
)
def test_tables_without_what_is_needed(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(tmp_path / "table.csv")


def test_no_table_and_an_absent_one():
    with pytest.raises(OptionsError, match="no table of recordings is given"):
        read()
    with pytest.raises(OptionsError, match=r"absent.csv: there is no such table"):
        read("absent.csv")


def test_where_recordings_are(tmp_path):
    assert audio_root_of([str(tmp_path / "a.csv"), "b.csv"], None) == tmp_path
    assert audio_root_of([str(tmp_path)], None) == tmp_path
    with pytest.raises(OptionsError, match="--audio-root nowhere: there is no such folder"):
        audio_root_of(["a.csv"], "nowhere")


def test_splits_by_any_of_their_names():
    given = [recording("a", n, split=split) for n, split in enumerate(("train", "valid", "", "test"))]
    assert of_splits(given, ()) == given
    assert of_splits(given, ("validation",)) == given[1:2]
    assert of_splits(given, ("training", "")) == [given[0], given[2]]
    with pytest.raises(OptionsError, match="splits:"):
        of_splits(given, ("holiday",))


def test_training_is_read_from_tables_and_from_compiled_annotations(zoo, tmp_path):
    table = zoo()
    recordings = read_training([str(table)], tmp_path, ("train",))
    assert {one.recording_id for one in recordings} == {f"rec-{n}-0" for n in range(4)}
    compiled = compile_manifest(recordings, CompileOptions(audio_root=str(tmp_path)))
    annotations = tmp_path / "compiled.jsonl"
    write_annotations(annotations, compiled.rows)
    again = read_training([str(annotations)], tmp_path, ("train",))
    assert {one.recording_id for one in again} == {one.recording_id for one in recordings}
    assert {one.taxon.species for one in again} == {one.taxon.species for one in recordings}
    assert {one.source for one in again} == {"zoo"}
