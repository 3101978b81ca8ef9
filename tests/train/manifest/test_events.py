"""Tables of Raven, Audacity, BirdNET, Kaleidoscope, ours and any other -> events, faults with their lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train.manifest.events import is_event_table, read_events
from naturelm_audio.train.manifest.problems import ManifestError

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


@pytest.fixture
def site(tmp_path, audio):
    """Two recordings in a folder, and a function that writes a table beside them."""
    audio("site/rec.wav", seconds=20.0)
    audio("site/other.flac", seconds=14.5)

    def table(name, text, encoding="utf-8"):
        path = tmp_path / "site" / name
        path.write_bytes(text.encode(encoding))
        return path

    table.root = tmp_path / "site"
    return table


def spans(found):
    return [(one.audio, one.start_seconds, one.end_seconds, one.label) for one in found.events]


def test_two_views_of_a_selection_are_one_event(site):
    path = site(
        "rec.Table.1.selections.txt",
        RAVEN + "1\tWaveform 1\t1\t2.100\t3.400\t0.0\t24000.0\twren\n"
        "1\tSpectrogram 1\t1\t2.100\t3.400\t2500.0\t7800.0\twren\n",
    )
    found = read_events(path, site.root)
    assert spans(found) == [("rec.wav", 2.1, 3.4, "wren")]
    (event,) = found.events
    assert (event.low_hz, event.high_hz, event.channel, event.line) == (2500.0, 7800.0, 1, 3)
    assert found.dropped == {"another view of the same selection": 1}
    assert (found.read, found.problems) == (2, [])


def test_two_boxes_of_equal_time_are_two_events(site):
    rows = "1\tSpectrogram 1\t1\t2\t3\t100\t900\twren\n2\tSpectrogram 1\t1\t2\t3\t100\t900\twren\n"
    found = read_events(site("rec.selections.txt", RAVEN + rows), site.root)
    assert len(found.events) == 2


@pytest.mark.parametrize(
    "name",
    [
        "rec.txt",
        "rec.selections.txt",
        "rec.Table.3.selections.txt",
        "rec.BirdNET.selection.table.txt",
        "rec.wav.txt",
    ],
)
def test_the_recording_is_found_by_the_stem(site, name):
    found = read_events(site(name, RAVEN + "1\tSpectrogram 1\t1\t2\t3\t100\t900\twren\n"), site.root)
    assert spans(found) == [("rec.wav", 2.0, 3.0, "wren")]


def test_paths_of_another_machine(site):
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tAnnotation\n"
    found = read_events(site("all.txt", header + "1\t2\t3\tD:\\survey\\site\\REC.WAV\twren\n"), site.root)
    assert spans(found) == [("rec.wav", 2.0, 3.0, "wren")]


def test_one_name_in_two_folders_is_told_by_the_path_or_the_table(tmp_path, audio):
    audio("x/1/rec.wav", seconds=5)
    audio("x/2/rec.wav", seconds=5)
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tAnnotation\n"
    path = tmp_path / "x" / "all.txt"
    path.write_text(header + "1\t2\t3\t/mnt/2/rec.wav\twren\n2\t2\t3\trec.wav\twren\n")
    found = read_events(path, tmp_path / "x")
    assert spans(found) == [("2/rec.wav", 2.0, 3.0, "wren")]
    assert "2 recordings rec.wav" in found.problems[0].reason
    beside = tmp_path / "x" / "1" / "rec.selections.txt"
    beside.write_text(header + "1\t2\t3\t\twren\n")
    assert spans(read_events(beside, tmp_path / "x")) == [("1/rec.wav", 2.0, 3.0, "wren")]


HEADER = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"


def test_positions_in_a_table_of_several_files(site):
    rows = (
        "1\t1.0\t2.0\tother.flac\t1.0\twren\n2\t34.5\t36.5\trec.wav\t18\trobin\n3\t34.5\t35\trec.wav\t\tx\n"
    )
    found = read_events(site("combined.selections.txt", HEADER + rows), site.root)
    assert spans(found) == [("other.flac", 1.0, 2.0, "wren"), ("rec.wav", 18.0, 20.0, "robin")]
    assert "no file offset" in found.problems[0].reason


def test_without_offsets_the_sequence_must_be_known(site):
    header = HEADER.replace("File Offset (s)\t", "")
    rows = "1\t1.0\t2.0\tother.flac\twren\n2\t15.5\t16.5\trec.wav\trobin\n"
    path = site("combined.selections.txt", header + rows)
    with pytest.raises(ManifestError, match=r"'File Offset \(s\)'.*combined\.list\.txt"):
        read_events(path, site.root)
    expected = [("other.flac", 1.0, 2.0, "wren"), ("rec.wav", 1.0, 2.0, "robin")]
    assert spans(read_events(path, site.root, sequence=["other.flac", "rec.wav"])) == expected
    site("combined.list.txt", "D:\\x\\other.flac\nD:\\x\\rec.wav\n")
    assert spans(read_events(path, site.root)) == expected
    reverse = read_events(path, site.root, sequence=["rec.wav", "other.flac"])
    assert "before the recording" in reverse.problems[0].reason


def test_audacity_labels(site):
    path = site(
        "rec.labels.txt",
        "0.000000\t10.000000\tEurasian Wren\n\\\t100.0\t8000.0\n"
        "12,5\t13,5\tGrünfink\n\\\t-1\t-1\n3\t3\tpoint\n4\told point\n5\t6\n",
    )
    found = read_events(path, site.root)
    assert spans(found) == [("rec.wav", 0.0, 10.0, "Eurasian Wren"), ("rec.wav", 12.5, 13.5, "Grünfink")]
    assert (found.events[0].low_hz, found.events[1].low_hz) == (100.0, None)
    assert found.dropped == {"a point, not a span": 2}
    assert [(one.line, one.reason) for one in found.problems] == [(7, "the label is empty")]


def test_birdnet_results(site):
    path = site(
        "rec.BirdNET.results.csv",
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        "0.0,3.0,Troglodytes troglodytes,Eurasian Wren,0.83,/x/rec.wav\n"
        "3.0,6.0,nocall,nocall,0.9,/x/rec.wav\n"
        "6.0,9.0,Tyto alba,Owl, barn,0.9,/x/rec.wav\n"
        "6.0,9.0,Tyto alba,Barn Owl,0.1,/x/rec.wav\n",
    )
    found = read_events(path, site.root, least_confidence=0.2)
    assert spans(found) == [("rec.wav", 0.0, 3.0, "Eurasian Wren")]
    assert found.events[0].scientific_name == "Troglodytes troglodytes"
    assert found.dropped == {"label 'nocall' is no species": 1, "below the least confidence": 1}
    assert "7 cells for 6 columns" in found.problems[0].reason
    assert found.problems[0].line == 4


def test_the_older_birdnet_table(site):
    text = "filepath,start,end,scientific_name,common_name,confidence\nrec.wav,0,3,Tyto alba,Barn Owl,0.5\n"
    assert spans(read_events(site("t.csv", text), site.root)) == [("rec.wav", 0.0, 3.0, "Barn Owl")]


def test_kaleidoscope(site, audio):
    audio("site/sub/deep.wav", seconds=20.0)
    path = site(
        "id.csv",
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH*,TOP1DIST,MANUAL ID,CHANNEL\n"
        "D:\\survey,sub,deep.wav,10.0,4.5,Wren,0.2,,0\n"
        "D:\\survey,,rec.wav,1.0,2.0,Wren,0.2,Robin,0\n"
        "D:\\survey,,rec.wav,3.0,2.0,NoID,,,0\n",
    )
    found = read_events(path, site.root)
    assert spans(found) == [("sub/deep.wav", 10.0, 14.5, "Wren"), ("rec.wav", 1.0, 3.0, "Robin")]
    assert found.events[0].confidence == pytest.approx(0.8)
    assert found.events[1].confidence is None
    assert found.dropped == {"label 'NoID' is no species": 1}


def test_our_rows_after_review(site):
    rows = [
        {"audio_path": "rec.wav", "start_seconds": 0.0, "end_seconds": 10.0, "output": "Wren, Robin"},
        {"audio_path": "rec.wav", "start_seconds": 10.0, "end_seconds": 20.0, "output": "None"},
        {
            "audio_path": "rec.wav",
            "start_seconds": 0,
            "end_seconds": 5,
            "output": "x",
            "corrected_label": "Owl",
        },
        {"audio_path": "rec.wav", "start_seconds": 0, "end_seconds": 5, "labels": [{"label": "Wren, big"}]},
        {"audio_path": "gone.wav", "start_seconds": None, "end_seconds": None, "error": "audio_not_found: x"},
    ]
    path = site("rows.jsonl", "\n".join(map(json.dumps, rows)) + "\n{\n")
    found = read_events(path, site.root)
    assert [one.label for one in found.events] == ["Wren", "Robin", "Owl", "Wren, big"]
    assert found.silent == [("rec.wav", 10.0, 20.0)]
    assert found.dropped == {"a recording that failed": 1}
    assert str(found.problems[0]).endswith("rows.jsonl:6: not a JSON object")


def test_any_csv_with_semicolons_and_decimal_commas(site):
    text = "Datei;onset;offset;label:species\r\nrec.wav;0,5;1,25;Grünfink\r\n".replace("Datei", "file")
    for encoding in ("utf-8-sig", "cp1252", "utf-16"):
        assert spans(read_events(site("t.csv", text, encoding), site.root)) == [
            ("rec.wav", 0.5, 1.25, "Grünfink")
        ]


@pytest.mark.parametrize(
    ("unit", "start", "end", "expected"),
    [("seconds", "1.5", "2", (1.5, 2.0)), ("milliseconds", "1500", "2000", (1.5, 2.0)),
     ("hh:mm:ss", "00:00:01.5", "0:02", (1.5, 2.0))],
)  # fmt: skip
def test_units_of_time_only_as_stated(site, unit, start, end, expected):
    path = site("t.csv", f"file,start,end,label\nrec.wav,{start},{end},wren\n")
    (event,) = read_events(path, site.root, time_unit=unit).events
    assert (event.start_seconds, event.end_seconds) == expected


def test_every_fault_has_its_file_and_line(site):
    text = (
        "file,start,end,label\nrec.wav,2,1,wren\nrec.wav,nan,1,wren\nrec.wav,-1,1,wren\n"
        "gone.wav,0,1,wren\nrec.wav,0,1,\nrec.wav,00:01,00:02,wren\nrec.wav,1,2,wren\n"
    )
    found = read_events(site("t.csv", text), site.root)
    reasons = {problem.line: problem.reason for problem in found.problems}
    parts = {2: "not after its start", 3: "not a finite number", 4: "before the recording",
             5: "no recording gone.wav", 6: "label is empty", 7: "say so with the time unit"}  # fmt: skip
    assert reasons.keys() == parts.keys()
    assert all(part in reasons[line] for line, part in parts.items())
    assert len(found.events) == 1


def test_tables_without_times_or_labels(site):
    with pytest.raises(ManifestError, match="no columns of start and end times; it has file, label"):
        read_events(site("t.csv", "file,label\nrec.wav,x\n"), site.root)
    with pytest.raises(ManifestError, match="no column such as Annotation"):
        read_events(site("t.csv", "file,start,end,what\nrec.wav,0,1,x\n"), site.root)
    found = read_events(site("t.csv", "file,start,end,what\nrec.wav,0,1,x\n"), site.root, label_column="What")
    assert found.events[0].label == "x"


def test_a_folder_of_tables_and_one_exported_twice(site):
    site("rec.selections.txt", RAVEN + "1\tSpectrogram 1\t1\t2\t3\t100\t900\twren\n")
    site("rec.Table.1.selections.txt", RAVEN + "7\tSpectrogram 1\t1\t2\t3\t100\t900\twren\n")
    site("other.txt", "")
    found = read_events(site.root, site.root)
    assert spans(found) == [("rec.wav", 2.0, 3.0, "wren")]
    assert found.dropped == {"the same event in another table": 1}
    assert found.files == {"rec.wav", "other.flac"}  # nothing was found in one of them


def test_events_above_what_the_model_hears_are_counted(site):
    found = read_events(site("rec.txt", RAVEN + "1\tSpectrogram 1\t1\t2\t3\t9000\t12000\tbat\n"), site.root)
    assert found.above_model_band == 1


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.lists(TEXT, min_size=1, max_size=4), max_size=6), st.sampled_from("\t,;"))
def test_no_table_makes_it_fall(tmp_path_factory, rows, delimiter):
    folder = tmp_path_factory.mktemp("tables")
    path = folder / "t.txt"
    header = delimiter.join(("file", "start", "end", "label"))
    path.write_text("\n".join([header, *(delimiter.join(row) for row in rows)]), encoding="utf-8")
    try:
        found = read_events(path, folder)
    except ManifestError:
        return
    assert not found.events


def test_tables_of_events_and_of_recordings_are_told_apart(site):
    assert is_event_table(site("a.txt", "0.5\t1\twren\n"))
    assert is_event_table(
        site("b.csv", "Start (s),End (s),Scientific name,Common name,Confidence,File\n0,1,a,b,1,c\n")
    )
    assert not is_event_table(site("c.csv", "path,label,events\na.wav,wren,0-1\n"))
    marked = "path,start_seconds,end_seconds,label,score,mark,correct_label\na.wav,0,1,wren,1,wrong,\n"
    assert not is_event_table(site("d.csv", marked))
