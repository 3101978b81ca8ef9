"""The official form: the documented lines, exact reading, and no lost or invented recording."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OutputError
from naturelm_audio.formats import (
    OfficialRow,
    OfficialWindow,
    official_paths,
    official_string,
    parse_official_string,
    read_official,
    write_official,
)
from naturelm_audio.records import Answer

QUERY = "What is the common name for the focal species in the audio?"
NAME = "site1/S4A01_20240501_040000.wav"


def row(start: float | None, end: float | None, output: str | None, **changes: str | None) -> Answer:
    values = {"audio_path": NAME, "query": QUERY, **changes}
    return Answer(start_seconds=start, end_seconds=end, output=output, **values)  # type: ignore[arg-type]


DOCUMENTED = [
    row(0.0, 10.0, "Eurasian Wren"),
    row(10.0, 14.5, "European Robin"),
    row(0.0, 10.0, "None", audio_path="site1/S4A01_20240501_041500.wav"),
]
DOCUMENTED_LINES = [
    '{"audio_path":"site1/S4A01_20240501_040000.wav",'
    '"output":"#0.00s - 10.00s#: Eurasian Wren\\n#10.00s - 14.50s#: European Robin\\n"}',
    '{"audio_path":"site1/S4A01_20240501_041500.wav","output":"#0.00s - 10.00s#: None\\n"}',
]


def test_the_documented_lines_are_written(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    assert write_official(DOCUMENTED, path, [QUERY]) == [path]
    assert path.read_text().splitlines() == DOCUMENTED_LINES
    assert list(tmp_path.iterdir()) == [path]


def test_the_documented_lines_are_read(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_text("\n".join(DOCUMENTED_LINES))
    first, second = read_official(path)
    assert first.windows == [
        OfficialWindow(0.0, 10.0, "Eurasian Wren"),
        OfficialWindow(10.0, 14.5, "European Robin"),
    ]
    assert second.windows == [OfficialWindow(0.0, 10.0, "None")]


def test_I2_the_true_end_is_printed_and_the_nominal_one_on_request():
    rows = DOCUMENTED[:2]
    assert "#10.00s - 14.50s#" in official_string(rows)
    assert "#10.00s - 20.00s#" in official_string(rows, nominal_window_seconds=10.0)


def test_each_question_has_a_file(tmp_path: Path):
    rows = [row(0, 5, text, query=query) for query, text in (("A?", "one"), ("B?", "two"))]
    paths = write_official(rows, tmp_path / "out.jsonl", ["A?", "B?"])
    assert [path.name for path in paths] == ["out.query1.jsonl", "out.query2.jsonl"]
    assert [next(read_official(path)).output for path in paths] == [
        "#0.00s - 5.00s#: one\n",
        "#0.00s - 5.00s#: two\n",
    ]
    assert official_paths(Path("a.b.jsonl"), 2)[1] == Path("a.b.query2.jsonl")


def test_a_failed_recording_is_neither_left_out_nor_silent(tmp_path: Path):
    error = "audio_decode_failed: not a readable audio file"
    rows = [
        row(None, None, None, error=error, audio_path="broken.wav", query="A?"),
        row(0, 5, "one", audio_path="cut.flac", query="A?"),
        row(0, 5, "two", audio_path="cut.flac", query="B?"),
        row(None, None, None, error=error, audio_path="cut.flac", query="A?"),
    ]
    paths = write_official(rows, tmp_path / "out.jsonl", ["A?", "B?"])
    for path, text in zip(paths, ("one", "two"), strict=True):
        assert list(read_official(path)) == [
            OfficialRow("broken.wav", None),
            OfficialRow("cut.flac", f"#0.00s - 5.00s#: {text}\n"),
        ]
        assert next(read_official(path)).windows == []


@pytest.mark.parametrize("trap", ["one\ntwo", "one\r\ntwo", "one\rtwo", "one\n#1.00s - 2.00s#: two"])
def test_line_feeds_become_blanks(trap: str):
    (window,) = parse_official_string(official_string([row(0, 5, trap)]))
    assert window.text == re.sub(r"\r\n|\r|\n", " ", trap)


def test_M5_a_number_sign_in_an_answer_stays():
    text = official_string([row(0, 5, "call #2#: trill"), row(5, 10, "# 1.00s - 2.00s#: x")])
    texts = [window.text for window in parse_official_string(text)]
    assert texts == ["call #2#: trill", "# 1.00s - 2.00s#: x"]


def test_strings_of_the_official_program_are_read():
    text = (
        "#0.00s - 10.00s#: Green Treefrog\n#10.00s - 20.00s#: two\nlines\n\n#20.00s - 30.00s#:\n#3s - 4.5s#:x"
    )
    assert parse_official_string(text) == [
        OfficialWindow(0.0, 10.0, "Green Treefrog"),
        OfficialWindow(10.0, 20.0, "two\nlines\n"),
        OfficialWindow(20.0, 30.0, ""),
        OfficialWindow(3.0, 4.5, "x"),
    ]
    assert parse_official_string("") == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_the_official_program_are_read(tmp_path: Path, encoding: str):
    path = tmp_path / "out.jsonl"
    content = {"audio_path": "a/Zaunkönig.wav", "output": "#0.00s - 10.00s#: é\n"}
    text = json.dumps(content).replace("/", "\\/") + "\r\n"
    path.write_bytes(text.encode(encoding))
    assert list(read_official(path)) == [OfficialRow("a/Zaunkönig.wav", "#0.00s - 10.00s#: é\n")]


@pytest.mark.parametrize(
    "line", ["", "x", "[]", "{}", '{"audio_path":1,"output":""}', '{"audio_path":"a","output":1}']
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str):
    path = tmp_path / "out.jsonl"
    path.write_text(f"{DOCUMENTED_LINES[0]}\n{line}\n")
    with pytest.raises(OutputError, match=r"out\.jsonl, line 2: not a line with audio_path and output"):
        list(read_official(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(OutputError, match="can't be read"):
        list(read_official(tmp_path / "out.jsonl"))


def test_an_error_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def rows():
        yield DOCUMENTED[0]
        raise OutputError("torn")

    with pytest.raises(OutputError, match="torn"):
        write_official(rows(), path, [QUERY])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


times = st.integers(0, 10_000_000).map(lambda hundredths: hundredths / 100)
lines = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.tuples(times, times, lines), max_size=6))
def test_a_string_read_back_has_the_windows_that_were_written(windows: list[tuple[float, float, str]]):
    text = official_string(row(start, end, output) for start, end, output in windows)
    assert parse_official_string(text) == [OfficialWindow(*window) for window in windows]
