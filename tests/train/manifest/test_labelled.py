"""Tables of archives and folders of labels: what is known of each recording, and what can't be understood."""

from __future__ import annotations

import pytest

from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.train.manifest.labelled import Span, read_folders, read_labelled
from naturelm_audio.train.manifest.problems import ManifestError


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_table_of_ours(tmp_path):
    path = table(
        tmp_path,
        "path,label,taxonomic_name,kind,seconds,recording,split,events,source,licence\n"
        "a.ogg,Green Treefrog,Chordata Amphibia Anura Hylidae Dryophytes cinereus,animal,2.5,r1,validation,"
        "0.5-1;1.5-2.0,zoo,CC0\n",
    )
    (one,) = read_labelled(path).recordings
    assert (one.common_name, one.taxon.species, one.taxon.family) == (
        "Green Treefrog", "Dryophytes cinereus", "Hylidae",
    )  # fmt: skip
    assert (one.seconds, one.recording_id, one.split, one.source) == (2.5, "r1", "valid", "zoo")
    assert one.events == (Span(0.5, 1.0), Span(1.5, 2.0))
    assert (one.licence, one.line) == ("CC0", 2)


def test_a_xeno_canto_table(tmp_path):
    path = table(
        tmp_path,
        "id;gen;sp;en;type;sex;stage;rmk;date;time;cnt;loc;lat;lng;alt;also;file;rec\n"
        '1;Troglodytes;troglodytes;Eurasian Wren;"songs, alarm calls, male, adult";;;in reeds;2019-05-12;'
        "06:30;Spain;Huesca;42,1;-0,4;180 m;Erithacus rubecula|Turdus merula;x.mp3;me\n",
    )
    (one,) = read_labelled(path).recordings
    assert one.taxon.species == "Troglodytes troglodytes"
    assert one.call_types == ("song", "alarm call")
    assert (one.sex, one.life_stage, one.notes) == ("male", "adult", "in reeds")
    assert (one.recorded_at, one.place) == ("2019-05-12 06:30", "Huesca, Spain")
    assert (one.latitude, one.longitude, one.altitude) == (42.1, -0.4, 180.0)
    assert one.background == ("Erithacus rubecula", "Turdus merula")


@pytest.mark.parametrize(
    ("row", "common_name", "species"),
    [
        ("Eurasian Wren", "Eurasian Wren", ""),
        ("wren", "wren", ""),
        ("Troglodytes troglodytes", "", "Troglodytes troglodytes"),
        ("Troglodytes troglodytes indigenus", "", "Troglodytes troglodytes"),
        ("Rana sp.", "", ""),
        ("Anas platyrhynchos x Anas acuta", "", ""),
    ],
)
def test_a_column_species_holds_either_name(tmp_path, row, common_name, species):
    (one,) = read_labelled(table(tmp_path, f"file,species\na.wav,{row}\n")).recordings
    assert (one.common_name, one.taxon.species) == (common_name, species)


def test_genus_and_epithet_in_two_columns(tmp_path):
    (one,) = read_labelled(table(tmp_path, "file,genus,species\na.wav,Aplonis,magna\n")).recordings
    assert one.taxon.species == "Aplonis magna"


def test_every_fault_with_its_line(tmp_path):
    text = (
        "path,common_name,seconds,events,split,channel,kind\n"
        "a.wav,,1,,,,\n"
        ",Wren,1,,,,\n"
        "b.wav,Wren,nan,,,,\n"
        "c.wav,Wren,-1,2-1,holiday,0,animl\n"
        "d.wav,NaN,1,,,,\n"
        "e.wav,Wren,x,oops,,,\n"
        "f.wav,None,1,,,,\n"
    )
    found = read_labelled(table(tmp_path, text))
    assert [one.path for one in found.recordings] == ["b.wav", "f.wav"]
    assert found.recordings[1].kind == "noise"
    reasons = {problem.line: problem.reason for problem in found.problems}
    assert sorted(reasons) == [2, 3, 5, 6, 7]
    assert reasons[2] == reasons[6] == "the label is empty"
    assert "path is empty" in reasons[3]
    for part in ("not above 0", "2-1 is no span", "is no split", "whole number", "did you mean 'animal'"):
        assert part in reasons[5]
    assert "'x' is not a number" in reasons[7]
    assert "is not like '0.5-1.2;2-3.1 label'" in reasons[7]


def test_events_with_labels(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "t.parquet"
    events = [{"start": 1.0, "end": 2.0, "label": "Robin"}, {"start": 0.0, "end": 0.5, "label": "Wren"}]
    pyarrow.parquet.write_table(pyarrow.table({"path": ["a.wav"], "label": ["x"], "events": [events]}), path)
    assert read_labelled(path).recordings[0].events == (Span(0.0, 0.5, "Wren"), Span(1.0, 2.0, "Robin"))
    text = 'path,label,events\na.wav,x,"0,5-1,25 Wren;2-3: Robin, big"\nb.wav,x,"[[0, 1, ""Wren""]]"\n'
    first, second = read_labelled(table(tmp_path, text)).recordings
    assert first.events == (Span(0.5, 1.25, "Wren"), Span(2.0, 3.0, "Robin, big"))
    assert second.events == (Span(0.0, 1.0, "Wren"),)


def test_misspelt_columns_get_a_hint_and_others_are_listed(tmp_path):
    with pytest.raises(ManifestError, match="'life_stge'; did you mean 'life_stage'"):
        read_labelled(table(tmp_path, "path,common_name,life_stge\na,b,c\n"))
    found = read_labelled(table(tmp_path, "path,common_name,bitrate,recordist\na,b,c,d\n"))
    assert found.ignored_columns == ("bitrate", "recordist")


def test_columns_can_be_named(tmp_path):
    path = table(tmp_path, "clip,what\na.wav,Wren\n")
    with pytest.raises(ManifestError, match="no column of paths"):
        read_labelled(path)
    with pytest.raises(ManifestError, match="no column of labels"):
        read_labelled(path, columns={"path": "clip"})
    assert read_labelled(path, columns={"path": "clip", "common_name": "what"}).recordings[0].path == "a.wav"
    with pytest.raises(OptionsError, match="did you mean 'what'"):
        read_labelled(path, columns={"path": "clip", "common_name": "whit"})
    with pytest.raises(OptionsError, match="did you mean 'common_name'"):
        read_labelled(path, columns={"common_nam": "what"})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_european_exports(tmp_path, encoding):
    text = "Pfad;label;Dauer\r\nä.wav;Grünfink, männlich;1,5\r\n"
    path = table(tmp_path, text, encoding=encoding)
    (one,) = read_labelled(path, columns={"path": "Pfad", "seconds": "Dauer"}).recordings
    assert (one.path, one.common_name, one.seconds) == ("ä.wav", "Grünfink, männlich", 1.5)


def test_folders(tmp_path, audio):
    for name in (
        "wren/a.wav",
        "Turdus merula_Common Blackbird/b.wav",
        "Turdus_philomelos/c.wav",
        "loose.wav",
    ):
        audio(f"set/{name}")
    found = read_folders(tmp_path / "set")
    names = {one.path: (one.common_name, one.taxon.species) for one in found.recordings}
    assert names == {
        "wren/a.wav": ("wren", ""),
        "Turdus merula_Common Blackbird/b.wav": ("Common Blackbird", "Turdus merula"),
        "Turdus_philomelos/c.wav": ("", "Turdus philomelos"),
    }
    assert "no folder that names its label" in str(found.problems[0])


def test_folders_of_splits(tmp_path, audio):
    audio("train/wren/a.wav")
    audio("validation/wren/b.wav")
    audio("test/robin/deep/c.wav")
    found = read_folders(tmp_path).recordings
    assert sorted((one.split, one.common_name) for one in found) == [
        ("test", "robin"), ("train", "wren"), ("valid", "wren"),
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="no recording found"):
        read_folders(tmp_path / "empty")


MARKS = "path,start_seconds,end_seconds,label,score,mark,correct_label\n"


def test_marks_give_the_windows_whose_truth_is_known(tmp_path):
    path = table(
        tmp_path,
        MARKS + "a.wav,0.0,10.0,Eurasian Wren,0.9,right,\n"
        "a.wav,10.0,14.5,Eurasian Wren,0.4,wrong,European Robin\n"
        "b.wav,0.0,10.0,Eurasian Wren,0.3,wrong,\n"
        "b.wav,10.0,20.0,None,0.3,right,\n"
        "c.wav,0.0,10.0,Eurasian Wren,,unsure,\n"
        "c.wav,10.0,20.0,Eurasian Wren,0.2,,\n",
    )
    found = read_labelled(path)
    assert [
        (one.path, one.start_seconds, one.end_seconds, one.seconds, one.common_name, one.kind)
        for one in found.recordings
    ] == [
        ("a.wav", 0.0, 10.0, 10.0, "Eurasian Wren", "animal"),
        ("a.wav", 10.0, 14.5, 4.5, "European Robin", "animal"),
        ("b.wav", 10.0, 20.0, 10.0, "None", "noise"),
    ]
    assert found.problems == ()
    assert len({one.key for one in found.recordings}) == 3
    assert [one.recording_id for one in found.recordings] == ["a.wav", "a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.wav,0,10,Wren,0.5,maybe,", "mark is 'maybe'"),
        ("a.wav,0,10,Wren,0.5,right,Robin", "'Wren' is marked right, but has the correct label 'Robin'"),
        ("a.wav,10,10,Wren,0.5,right,", "10 to 10.0 s is no span of time"),
        ("a.wav,-1,10,Wren,0.5,right,", "-1 to 10.0 s is no span of time"),
        ("a.wav,0,x,Wren,0.5,right,", "end_seconds: 'x' is not a number"),
    ],
)
def test_faulty_marks_are_named_with_their_line(tmp_path, row, reason):
    found = read_labelled(table(tmp_path, MARKS + "a.wav,0,10,Wren,0.5,right,\n" + row + "\n"))
    assert len(found.recordings) == 1
    (problem,) = found.problems
    assert problem.line == 3
    assert reason in problem.reason


def test_whole_recordings_have_no_part(tmp_path):
    (one,) = read_labelled(table(tmp_path, "path,label\na.wav,Wren\n")).recordings
    assert not one.is_part
    assert one.key == "\x1fa.wav\x1fWren\x1f\x1f"
