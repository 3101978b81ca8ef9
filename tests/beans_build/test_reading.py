import pytest
from small_zoo import recording

from naturelm_audio.beans_build.reading import audio_root_of, of_splits, read_training
from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.annotations import write_annotations
from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest


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
