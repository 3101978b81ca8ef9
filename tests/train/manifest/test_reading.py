"""One list of recordings from tables, folders and events."""

from __future__ import annotations

from pathlib import Path

import pytest
from rehearsal import write_tone

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.problems import ManifestError
from naturelm_audio.train.manifest.reading import read_recordings


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("path,label\na.wav,Wren\nb.wav,Robin\n")
    return path


def read(*tables, root=Path()):
    return read_recordings(tables, root=root)


def test_every_kind_of_table_makes_one_list(table, tmp_path):
    write_tone(tmp_path / "folders" / "Barn Owl" / "a.wav", 300, 0.1)
    (folder,) = read(tmp_path / "folders").recordings
    assert folder.common_name == "Barn Owl"
    write_tone(tmp_path / "0-1.wav", 300, 1.0)
    labels = tmp_path / "0-1.txt"
    labels.write_text("0.1\t0.4\twren\n0.5\t0.9\trobin\n")
    (events,) = read(labels, root=tmp_path).recordings
    assert [span.label for span in events.events] == ["wren", "robin"]
    assert (events.path, events.source) == ("0-1.wav", "0-1")
    found = read(table, labels, tmp_path / "folders", root=tmp_path).recordings
    assert sorted(one.path for one in found) == ["0-1.wav", "Barn Owl/a.wav", "a.wav", "b.wav"]


def test_a_recording_with_events_in_two_tables_is_one(tmp_path):
    write_tone(tmp_path / "r.wav", 300, 1.0)
    (tmp_path / "r.txt").write_text("0.1\t0.4\twren\n")
    (tmp_path / "b.csv").write_text("file,start,end,label\nr.wav,0.5,0.9,robin\n")
    (one,) = read(tmp_path / "r.txt", tmp_path / "b.csv", root=tmp_path).recordings
    assert [span.label for span in one.events] == ["wren", "robin"]


def test_an_empty_table_is_an_error(table):
    table.write_text("path,label\n")
    with pytest.raises(ManifestError, match=r"table.csv: the table is empty: no row names a recording"):
        read(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty: the first line must name the columns"),
        ("file\na.wav\n", "no column of labels; call it 'common_name'"),
        ("label\nwren\n", "no column of paths; call it 'path'"),
        ("path,label,licens\na.wav,wren,CC0\n", "unknown column 'licens'; did you mean 'license'"),
    ],
)
def test_tables_without_what_is_needed(table, text, message):
    table.write_text(text)
    with pytest.raises(ManifestError, match=message):
        read(table)


def test_no_table_and_an_absent_one():
    with pytest.raises(OptionsError, match="no table of recordings is given"):
        read()
    with pytest.raises(OptionsError, match=r"absent.csv: there is no such table"):
        read("absent.csv")
