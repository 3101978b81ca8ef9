"""Windows over events: 10 s every 5 s, rare species are `other`, and never a wrong answer in a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.train.manifest.compile import CompileOptions, compile_manifest
from naturelm_audio.train.manifest.event_rows import recordings_of
from naturelm_audio.train.manifest.events import Event, EventTable
from naturelm_audio.train.manifest.labelled import Labelled, Span
from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions

OPEN = "What are the common names for the species in the audio, if any?"


def soundscape(*spans, path="a.wav", seconds=22.0):
    return Labelled(path=path, seconds=seconds, events=tuple(Span(*span) for span in spans))


def ask(recordings, seed=0, **options):
    options = CompileOptions(families=("soundscapes",), seed=seed, soundscapes=SoundscapeOptions(**options))
    return compile_manifest(recordings, options).rows


def open_answers(rows, task="common-soundscape-detection"):
    return [(row.start_seconds, row.end_seconds, row.text) for row in rows if row.task == task]


def test_windows_of_ten_seconds_every_five():
    one = soundscape((1, 2, "Wren"), (9, 11, "Robin"))
    rows = ask([one], rare_count=0)
    assert {row.prompt for row in rows if row.task == "common-soundscape-detection"} == {OPEN}
    assert open_answers(rows) == [(0.0, 10.0, "Robin, Wren"), (5.0, 15.0, "Robin"), (10.0, 20.0, "Robin")]
    complete = ask([one], rare_count=0, completely_annotated=True)
    assert open_answers(complete)[-1] == (15.0, 22.0, "None")


def test_species_with_a_hundred_events_are_still_other():
    spans = [(n / 10, n / 10 + 0.05, "Wren") for n in range(100)]
    assert {text for *_, text in open_answers(ask([soundscape(*spans)]))} == {"other"}
    spans.append((15.0, 15.1, "Wren"))
    spans.append((15.2, 15.3, "Robin"))
    assert {text for *_, text in open_answers(ask([soundscape(*spans)]))} == {"Wren", "other, Wren"}


def test_scientific_twins_where_every_name_is_known():
    wren, nameless = (1, 2, "Wren", "Troglodytes troglodytes"), (11, 12, "Mystery", "")
    rows = ask([soundscape(wren, nameless)], rare_count=0)
    assert open_answers(rows, "sci-soundscape-detection") == [(0.0, 10.0, "Troglodytes troglodytes")]
    named = Labelled(path="b.wav", common_name="Mystery", taxon=rows_taxon("Avis secreta"), seconds=5.0)
    rows = ask([soundscape(wren, nameless), named], rare_count=0)
    assert "Avis secreta" in {text for *_, text in open_answers(rows, "sci-soundscape-detection")}


def rows_taxon(name):
    from naturelm_audio.train.manifest.taxonomy import parse_taxon

    return parse_taxon(name)


SPANS = st.lists(
    st.tuples(st.floats(0, 20), st.sampled_from(["Wren", "Robin", "Owl", "Frog", "Toad"])).map(
        lambda one: (one[0], one[0] + 1.5, one[1])
    ),
    min_size=1,
    max_size=12,
)


@given(SPANS, st.integers(0, 3), st.integers(0, 99))
def test_lists_offer_nothing_that_is_heard_as_wrong(spans, rare_count, seed):
    pool = [
        soundscape((0, 1, name), path=f"{name}.wav")
        for name in ("Wren", "Robin", "Owl", "Frog", "Toad", "Newt")
    ]
    rows = ask([soundscape(*spans), *pool], seed, rare_count=rare_count)
    for row in rows:
        if row.paths != ("a.wav",) or not row.task.endswith("-list"):
            continue
        heard = {name for start, end, name in spans if start < row.end_seconds and end > row.start_seconds}
        offered = row.prompt.partition("? ")[2].split(", ")
        assert offered[-1] == "None"
        answers = set() if row.text == "None" else set(row.text.split(", "))
        assert set(offered[:-1]) & heard == answers - {"other"}


def test_events_of_other_programs_become_soundscapes():
    event = Event(
        audio="a.wav", start_seconds=1.0, end_seconds=2.0, label="Wren", scientific_name="Tyto alba"
    )
    (full, empty) = recordings_of(EventTable(events=[event], files={"a.wav", "b.wav"}))
    assert full.events == (Span(1.0, 2.0, "Wren", "Tyto alba"),)
    assert (empty.path, empty.events) == ("b.wav", ())


@pytest.mark.parametrize("seconds", [0.2, 0.5, 9.99, 10.0, 10.01])
def test_short_recordings(seconds):
    rows = open_answers(ask([soundscape((0.0, 0.1, "Wren"), seconds=seconds)], rare_count=0))
    if seconds < 0.5:
        assert rows == []
    else:
        assert rows[0][:2] == (0.0, min(seconds, 10.0))
