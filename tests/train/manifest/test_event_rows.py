"""Events -> examples: windows and clips, None only where everything was annotated, splits by recording."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.decoders import AudioInfo
from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest import event_rows
from naturelm_audio.train.manifest.event_rows import EventOptions, event_examples, read_label_map
from naturelm_audio.train.manifest.events import Event, EventTable
from naturelm_audio.train.manifest.problems import ManifestError

SECONDS = 25.0


@pytest.fixture(autouse=True)
def _lengths(monkeypatch):
    """Recordings of 25 s that need not be written."""
    info = AudioInfo(sample_rate_hz=16_000, channels=1, frames=400_000, duration_seconds=SECONDS)
    monkeypatch.setattr(event_rows, "probe", lambda path: info)


def table(*spans, audio="a.wav"):
    events = [
        Event(audio=audio, start_seconds=start, end_seconds=end, label=label, table="t", line=line)
        for line, (start, end, label) in enumerate(spans, start=2)
    ]
    return EventTable(events=events, files={audio}, read=len(events))


def rows_of(found, options=None, **annotated):
    rows, report = event_examples(found, ".", options, annotated=annotated.get("annotated"))
    return [(row.start_seconds, row.end_seconds, row.text) for row in rows], report


def test_windows_with_events_and_nothing_about_the_rest():
    rows, report = rows_of(table((1, 2, "Wren"), (3, 4, "Robin"), (22, 24, "Wren")))
    assert rows == [(0.0, 10.0, "Robin, Wren"), (20.0, 25.0, "Wren")]
    assert report.skipped_windows == {"no event, and not declared as completely annotated": 1}
    assert report.classes == {"Wren": 2, "Robin": 1}


def test_none_only_inside_annotated_ranges():
    whole, _ = rows_of(table((1, 2, "Wren")), EventOptions(completely_annotated=True))
    assert whole == [(0.0, 10.0, "Wren"), (10.0, 20.0, "None"), (20.0, 25.0, "None")]
    part, _ = rows_of(table((1, 2, "Wren")), annotated={"a.wav": [(0, 5), (5, 15)]})
    assert part == [(0.0, 10.0, "Wren"), (10.0, 15.0, "None")]


def test_a_file_in_which_nothing_was_found():
    silent = EventTable(files={"a.wav"})
    assert rows_of(silent)[0] == []
    assert [text for *_, text in rows_of(silent, EventOptions(completely_annotated=True))[0]] == ["None"] * 3


def test_rows_that_a_reviewer_called_none():
    found = table((1, 2, "Wren"))
    found.silent.append(("a.wav", 10.0, 20.0))
    assert (10.0, 20.0, "None") in rows_of(found)[0]


def test_a_small_part_of_an_event_is_neither_label_nor_silence():
    options = EventOptions(completely_annotated=True)
    rows, report = rows_of(table((9.7, 12, "Wren")), options)
    assert rows == [(10.0, 20.0, "Wren"), (20.0, 25.0, "None")]
    assert report.skipped_windows == {"only a small part of an event, or one without a label": 1}


def test_an_event_longer_than_a_window_fills_it():
    assert [text for *_, text in rows_of(table((0, 25, "Frogs")))[0]] == ["Frogs"] * 3


def test_clips_have_the_event_in_the_middle_and_stay_in_the_file():
    options = EventOptions(mode="clip", window_seconds=4.0, hop_seconds=4.0)
    rows, _ = rows_of(table((1, 2, "A"), (12, 14, "B"), (13, 13.5, "C"), (24.5, 25.02, "D")), options)
    assert rows == [(0.0, 4.0, "A"), (11.0, 15.0, "B, C"), (11.25, 15.25, "B, C"), (21.0, 25.0, "D")]


def test_labels_by_onset():
    options = EventOptions(order="onset")
    assert rows_of(table((3, 4, "A"), (1, 2, "b"), (5, 6, "b")), options)[0] == [(0.0, 10.0, "b, A")]


def test_label_maps_rename_merge_and_drop(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("from,to\nwren,Wren\nwr.,Wren\nrain,\n", encoding="utf-8-sig")
    options = EventOptions(label_map=read_label_map(path), completely_annotated=True)
    rows, report = rows_of(table((1, 2, "WREN"), (3, 4, "wr."), (11, 12, "rain"), (21, 22, "Owl")), options)
    # Rain is no label, and where it rains it isn't silent either.
    assert rows == [(0.0, 10.0, "Wren"), (20.0, 25.0, "Owl")]
    assert report.unmapped == {"Owl": 1}
    assert report.dropped == {"its label is mapped to nothing": 1}
    path.write_text("a,b\n")
    with pytest.raises(ManifestError, match="columns from,to"):
        read_label_map(path)
    path.write_text("from,to\na,b\na,c\n")
    with pytest.raises(ManifestError, match="'a' is mapped to 'b' and to 'c'"):
        read_label_map(path)


def test_events_outside_the_file_are_listed_and_50_ms_are_forgiven():
    rows, report = rows_of(table((24, 25.04, "A"), (24, 25.2, "B"), (30, 31, "C")))
    assert rows == [(20.0, 25.0, "A")]
    assert [str(problem) for problem in report.problems] == [
        "t:3: 24-25.2 s lies outside a.wav of 25 s",
        "t:4: 30-31 s lies outside a.wav of 25 s",
    ]


def test_splits_never_cut_a_recording_site_or_day():
    many = EventTable()
    for number in range(20):
        name = f"site{number % 4}/rec_202405{number % 7 + 1:02d}_0400{number:02d}.wav"
        many.extend(table((1, 2, "Wren"), (11, 12, "Wren"), audio=name))
    for by, part in (("recording", lambda p: p), ("site", lambda p: p[:5]), ("day", lambda p: p[10:18])):
        rows, _ = event_examples(many, ".", EventOptions(split_by=by, valid_share=0.25, test_share=0.25))
        pairs = {(part(row.files[0]), row.split) for row in rows}
        assert len({group for group, _ in pairs}) == len(pairs)
        assert {split for _, split in pairs} == {"train", "valid", "test"}
    with pytest.raises(OptionsError, match="no date"):
        event_examples(table((1, 2, "x")), ".", EventOptions(split_by="day"))


EVENTS = st.lists(
    st.tuples(st.floats(0, 24), st.floats(0.05, 12), st.sampled_from(["A", "b", "C"])).map(
        lambda one: (round(one[0], 3), round(min(SECONDS, one[0] + one[1]), 3), one[2])
    ),
    max_size=8,
)


@given(EVENTS, st.booleans(), st.sampled_from(["clip", "window"]), st.sampled_from([2.5, 5.0, 10.0]))
def test_every_row_tells_what_is_heard_in_it(events, complete, mode, hop):
    options = EventOptions(mode=mode, hop_seconds=hop, completely_annotated=complete)
    rows, report = rows_of(table(*events), options)
    for start, end, text in rows:
        assert 0 <= start < end <= SECONDS
        assert end - start <= 10.000001
        heard = [one for one in events if one[0] < end and one[1] > start]
        if text == "None":
            assert complete
            assert not heard
        else:
            assert set(text.split(", ")) <= {label for *_, label in heard}
            assert text.split(", ") == sorted(set(text.split(", ")), key=str.casefold)
    if complete and mode == "window":
        covered = {label for *_, text in rows for label in text.split(", ")}
        assert rows or report.skipped_windows
        assert covered <= {"A", "b", "C", "None"}
    assert report.kept == len(events)
    json.dumps(report.as_json())


@pytest.mark.parametrize("options", [{"window_seconds": 0}, {"hop_seconds": 11}, {"least_share": 0}])
def test_options_are_checked(options):
    with pytest.raises(OptionsError):
        EventOptions(**options)
