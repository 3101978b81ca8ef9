import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_zoo import heard, recording

from naturelm_audio.beans_build.detection import detection
from naturelm_audio.beans_build.options import ComponentOptions
from naturelm_audio.beans_build.planned import LeftOut
from naturelm_audio.errors import LabelError
from naturelm_audio.train.manifest.labelled import Span


def soundscape(*spans, number=0, seconds=20.0):
    events = tuple(Span(start, end, label) for start, end, label in spans)
    return heard(recording("", number, events=events), seconds=seconds)


def options(**fields):
    return ComponentOptions(**{"rule": "detection", "rare_count": 1, "completely_annotated": True, **fields})


def texts(component):
    return {(row.start_seconds, row.end_seconds): row.text for row in component.rows}


def test_windows_have_the_labels_that_are_heard_in_them():
    given = [soundscape((1.0, 2.0, "wren"), (9.0, 11.0, "robin"))]
    component = detection(given, options(), LeftOut())
    assert component.labels == ("robin", "wren", "None")
    assert (component.window_seconds, component.shift_seconds, component.max_seconds) == (10.0, 5.0, 10.0)
    assert texts(component) == {(0.0, 10.0): "robin, wren", (5.0, 15.0): "robin", (10.0, 20.0): "robin"}


def test_a_share_of_the_event_can_be_asked_for():
    given = [soundscape((1.0, 2.0, "wren"), (9.0, 11.5, "robin"))]
    component = detection(given, options(least_share=0.5), LeftOut())
    assert texts(component) == {(0.0, 10.0): "wren", (5.0, 15.0): "robin", (10.0, 20.0): "robin"}


def test_silence_is_an_answer_only_where_everything_was_annotated():
    given = [soundscape((1.0, 2.0, "wren"))]
    assert texts(detection(given, options(), LeftOut()))[10.0, 20.0] == "None"
    left_out = LeftOut()
    component = detection([*given, soundscape(number=1)], options(completely_annotated=False), left_out)
    assert texts(component) == {(0.0, 10.0): "wren"}
    assert left_out.counts == {
        "detection: a window without an event": 2,
        "detection: nothing is annotated in it": 1,
    }


def test_rare_labels_are_other():
    given = [soundscape((1.0, 2.0, "wren"), (3.0, 4.0, "wren"), (6.0, 7.0, "robin"), (12.0, 13.0, "owl"))]
    component = detection(given, options(rare_count=2), LeftOut())
    assert component.labels == ("wren", "other", "None")
    assert component.unknown_label == "other"
    assert texts(component) == {(0.0, 10.0): "wren, other", (5.0, 15.0): "other", (10.0, 20.0): "other"}
    with pytest.raises(LabelError, match="no label has 100 events, the most frequent, 'wren', has 2: lower"):
        detection(given, options(rare_count=100), LeftOut())


def test_listed_labels_are_all_that_count():
    given = [soundscape((1.0, 2.0, "wren"), (6.0, 7.0, "robin"))]
    assert set(texts(detection(given, options(labels=("robin",)), LeftOut())).values()) == {"robin", "None"}
    with pytest.raises(LabelError, match="'owl' occurs in no event"):
        detection(given, options(labels=("owl",)), LeftOut())


@pytest.mark.parametrize(
    ("spans", "message"),
    [([], "no recording has an event with a label"), ([(0.0, 1.0, "a, b")], "has a comma")],
)
def test_events_that_cannot_be_asked_about(spans, message):
    with pytest.raises(LabelError, match=message):
        detection([soundscape(*spans)], options(), LeftOut())


def test_a_recording_shorter_than_any_window():
    left_out = LeftOut()
    given = [soundscape((1.0, 2.0, "wren")), soundscape((0.1, 0.2, "wren"), number=1, seconds=0.3)]
    detection(given, options(), left_out)
    assert left_out.counts == {"detection: is shorter than any window": 1}


spans = st.tuples(st.integers(0, 290), st.integers(1, 80), st.sampled_from("abc")).map(
    lambda span: (span[0] / 10, min(30.0, (span[0] + span[1]) / 10), span[2])
)


@given(st.lists(spans, min_size=1, max_size=8), st.sampled_from([(10.0, 5.0), (2.0, 1.0), (4.0, 4.0)]))
def test_every_window_says_what_any_overlap_says(events, window):
    width, shift = window
    component = detection(
        [soundscape(*events, seconds=30.0)], options(window_seconds=width, shift_seconds=shift), LeftOut()
    )
    for row in component.rows:
        start, end = row.start_seconds, row.end_seconds
        expected = {label for a, b, label in events if a < end and b > start}
        assert set(row.text.split(", ")) - {"None"} == expected
    covered = [(row.start_seconds, row.end_seconds) for row in component.rows]
    assert covered[0][0] == 0.0
    assert max(end for _, end in covered) == 30.0
