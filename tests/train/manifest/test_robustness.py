"""Whatever is in a table: rows or named faults, never a crash, and every row that comes out is sound."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio.train.manifest.compile import ALL_FAMILIES, CompileOptions, compile_manifest
from naturelm_audio.train.manifest.examples import from_mapping
from naturelm_audio.train.manifest.holdouts import shipped_holdouts
from naturelm_audio.train.manifest.labelled import KINDS, Labelled, Span, read_labelled
from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions
from naturelm_audio.train.manifest.taxonomy import parse_taxon

COLUMNS = (
    *("path", "common_name", "scientific_name", "genus", "family", "kind", "call_type", "life_stage", "sex"),
    *("notes", "date", "time", "latitude", "altitude", "background", "seconds", "split", "events", "channel"),
    *("caption", "question", "answer", "velocity", "qualities"),
)
TRICKY = (
    *("a.wav", "Wren", "Tyto alba", "Rana sp.", "none", "None", "nan", "1.5", "-1", "1,5", "1e400", "train"),
    *(
        "animal",
        "song",
        "adult",
        "male, adult",
        "0-1;2-3",
        "[[0,1]]",
        "[]",
        "[1]",
        "[{}]",
        "{}",
        "\u2028",
        '"',
    ),
)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=15)
CELLS |= st.sampled_from(TRICKY)


@given(st.lists(st.lists(CELLS, min_size=len(COLUMNS), max_size=len(COLUMNS)), max_size=4))
def test_any_cells_give_rows_or_faults(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([COLUMNS, *rows])
    path.write_text(buffer.getvalue(), encoding="utf-8")
    found = read_labelled(path)
    filled = sum(any(cell.strip() for cell in row) for row in rows)
    assert len(found.recordings) + len(found.problems) == filled
    for problem in found.problems:
        assert problem.line >= 2
        assert "\n" not in str(problem)
    for one in found.recordings:
        assert one.path
        assert one.seconds is None or one.seconds > 0
        assert all(0 <= span.start_seconds < span.end_seconds for span in one.events)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=12).map(
    lambda text: " ".join(text.split())
)
NAMES = WORDS | st.sampled_from(
    ["Wren", "Owl, barn", "None", "{}", "\\1", "(?", "a|b", "%s", "<AudioHere>", "Zebra Finch"]
)
STARLING = "Chordata Aves Passeriformes Sturnidae Aplonis grandis"
TAXA = st.sampled_from(["", "Tyto alba", "Taeniopygia guttata", "Rana sp.", STARLING]).map(parse_taxon)
SPANS = st.tuples(st.floats(0, 20), st.floats(0.01, 5), NAMES).map(
    lambda one: Span(one[0], one[0] + one[1], one[2])
)
RECORDINGS = st.builds(
    Labelled,
    path=st.sampled_from(["a.wav", "b.wav", "ü/c.flac"]),
    common_name=NAMES,
    taxon=TAXA,
    kind=st.sampled_from(KINDS),
    call_types=st.lists(NAMES, max_size=2).map(tuple),
    life_stage=WORDS,
    sex=WORDS,
    notes=NAMES,
    caption=NAMES,
    recorded_at=WORDS,
    place=NAMES,
    background=st.lists(NAMES, max_size=2).map(tuple),
    individual=WORDS,
    instrument=NAMES,
    pitch_midi=st.none() | st.floats(0, 127),
    velocity_midi=st.none() | st.floats(-9, 200),
    qualities=st.lists(st.sampled_from(["bright", "x"]), max_size=2).map(tuple),
    seconds=st.none() | st.floats(0.01, 40),
    events=st.lists(SPANS, max_size=4).map(tuple),
    source=WORDS,
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
)
HELD_OUT = shipped_holdouts()


@settings(max_examples=60)
@given(st.lists(RECORDINGS, max_size=5), st.integers(0, 5))
def test_anything_known_of_recordings_gives_sound_rows(recordings, seed):
    soundscapes = SoundscapeOptions(rare_count=0)
    options = CompileOptions(seed=seed, families=ALL_FAMILIES, bad_rows="drop", soundscapes=soundscapes)
    compiled = compile_manifest(recordings, options, holdouts=HELD_OUT)
    assert compiled.report.tasks.total() == len(compiled.rows)
    for row in compiled.rows:
        mapping = json.loads(json.dumps(row.to_mapping(), allow_nan=False))
        assert from_mapping(mapping) == row
        assert row.full_prompt.count("<AudioHere>") == row.clips
        assert row.end_seconds is None or 0 <= (row.start_seconds or 0) < row.end_seconds
        assert "Zebra Finch" not in row.text
        assert "Taeniopygia" not in row.text + row.prompt
    json.dumps(compiled.report.as_json())
    assert compiled.report.as_text()
