"""Files of rows as they come: damaged, mixed, saved by editors; every row once, in order, the rest named."""

from __future__ import annotations

import json
from operator import attrgetter
from pathlib import Path

import pytest
from format_rows import NAME, QUERY, documented, failed, row, write_rows
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OutputError
from naturelm_audio.formats import source
from naturelm_audio.formats.source import ResultFile
from naturelm_audio.records import Answer

TEXT = "".join(f"{one.to_json()}\n" for one in documented())


def read(path: Path) -> tuple[list[Answer], list[int]]:
    """All rows, and the numbers of the lines that are none."""
    with ResultFile(path) as rows:
        answers = [answer for name in rows.names for answer in rows.answers(name)]
        return answers, sorted(bad.line for bad in rows.bad_lines)


def file(folder: Path, content: str | bytes) -> Path:
    path = folder / "results.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.removesuffix("\n"),
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        "\n" + TEXT + "\n\n",
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        "".join(f"{json.dumps(json.loads(line), indent=None)}\n" for line in TEXT.splitlines()),
    ],
    ids=["ours", "no last line feed", "CRLF", "mark", "blank lines", "UTF-16", "UTF-16 big", "blanks"],
)
def test_rows_are_read_however_they_were_saved(tmp_path: Path, content: str | bytes):
    answers, bad = read(file(tmp_path, content))
    assert answers == documented()
    assert bad == []


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        TEXT.splitlines()[1][:200],
        TEXT.splitlines()[1].replace('"start_seconds":10.0', '"start_seconds":"x"'),
        TEXT.splitlines()[1].replace('"site":"site1"', '"site":7'),
        TEXT.splitlines()[1].replace('"confidence":0.41', '"confidence":true'),
        TEXT.splitlines()[1].replace('"score":0.41', '"score":"high"'),
        "[" * 100_000,
        "\x00\x01",
    ],
    ids=lambda line: line[:30],
)
def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path: Path, line: str):
    lines = TEXT.splitlines()
    answers, bad = read(file(tmp_path, f"{lines[0]}\n{line}\n{lines[1]}\n"))
    assert answers == documented()
    assert bad == [2]


def test_bytes_that_are_no_text_spoil_their_line_only(tmp_path: Path):
    first, second = TEXT.encode().splitlines()
    answers, bad = read(
        file(tmp_path, first + b"\n" + second.replace(b"Robin", b"\xff\xfe") + b"\n" + second)
    )
    assert (answers, bad) == (documented(), [2])


def test_a_file_without_a_single_row_is_refused(tmp_path: Path):
    with pytest.raises(OutputError, match=r"has no row of results; line 1: .*naturelm infer"):
        ResultFile(file(tmp_path, "RIFF....WAVE\n"))
    with pytest.raises(OutputError, match="can't be read"):
        ResultFile(tmp_path / "nowhere.jsonl")


def test_an_empty_file_has_no_rows(tmp_path: Path):
    with ResultFile(file(tmp_path, "")) as rows:
        assert (rows.names, rows.queries) == ([], [])


def test_of_many_bad_lines_some_are_kept_and_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "BAD_LINES_KEPT", 3)
    with ResultFile(file(tmp_path, TEXT + "x\n" * 10)) as rows:
        assert len(rows.bad_lines) == 3
        assert rows.bad_count == 10


def test_rows_of_older_versions_and_of_others_are_read(tmp_path: Path):
    old = {
        "audio_path": "a.wav",
        "start_seconds": 0,
        "end_seconds": 1,
        "query": "q",
        "output": "o",
        "model": "x",
    }
    new = old | {"start_seconds": 1, "end_seconds": 2, "hologram": [1], "sample_rate": 48000.0, "site": None}
    answers, bad = read(file(tmp_path, f"{json.dumps(old)}\n{json.dumps(new)}\n"))
    assert bad == []
    assert [one.start_seconds for one in answers] == [0.0, 1.0]
    assert answers[1].sample_rate == 48000


def test_recordings_come_by_name_and_rows_by_start_then_question(tmp_path: Path):
    """As two files of one run, one for each question, that were put together."""
    rows = [row(start, start + 5, audio_path=name, query=query)
            for query in ("B?", "A?") for name in ("z.wav", "b.wav") for start in (0, 5)]  # fmt: skip
    path = write_rows(tmp_path / "results.jsonl", rows)
    answers, _ = read(path)
    assert [(one.audio_path, one.start_seconds, one.query) for one in answers] == [
        (name, start, query) for name in ("b.wav", "z.wav") for start in (0.0, 5.0) for query in ("B?", "A?")
    ]
    with ResultFile(path) as file:
        assert file.queries == ["B?", "A?"]


def test_first_rows_can_be_read_while_rows_are_on_their_way(tmp_path: Path):
    rows = [row(n, n + 1, f"{name}{n}", audio_path=name) for name in ("a.wav", "b.wav") for n in range(3)]
    with ResultFile(write_rows(tmp_path / "r.jsonl", rows)) as file:
        seen = []
        for answer in file.answers("b.wav"):
            seen.append(answer.output)
            first = file.first("a.wav")
            assert first is not None
            assert first.output == "a.wav0"
        assert seen == ["b.wav0", "b.wav1", "b.wav2"]
        assert file.first("nowhere.wav") is None


def test_half_a_character_becomes_its_escape(tmp_path: Path):
    line = '{"audio_path":"a\\udcff.wav","start_seconds":0,"end_seconds":1,'
    line += '"query":"q\\ud800","output":"\\udfff"}'
    with ResultFile(file(tmp_path, line + "\n" + line)) as rows:
        assert rows.queries == ["q\\ud800"]
        (name,) = rows.names
        first, second = rows.answers(name)
    assert first == second
    assert (first.audio_path, first.output) == ("a\\udcff.wav", "\\udfff")


def test_a_question_that_looks_like_a_row_is_one(tmp_path: Path):
    trap = 'x","query":"y'
    answers, bad = read(
        write_rows(tmp_path / "r.jsonl", [row(query=trap, audio_path=f"{trap}.wav"), failed()])
    )
    assert bad == []
    assert {one.query for one in answers} == {trap, QUERY}
    with ResultFile(tmp_path / "r.jsonl") as rows:
        assert rows.queries == [trap, QUERY]


texts = st.text(max_size=12)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a.wav", "a", NAME, "ü\t.wav"]), texts, st.integers(0, 3)), max_size=12
    ),
    st.randoms(use_true_random=False),
)
def test_every_row_is_read_once_in_order(tmp_path_factory: pytest.TempPathFactory, cells: list, draw):
    rows = [
        row(n, n + 1, f"{n}", audio_path=name, query=text or "q") for n, (name, text, _) in enumerate(cells)
    ]
    draw.shuffle(rows)
    path = write_rows(tmp_path_factory.mktemp("rows") / "r.jsonl", rows)
    answers, bad = read(path)
    assert bad == []
    key = attrgetter("audio_path", "start_seconds")
    escaped = [one.output for one in sorted(rows, key=key)]
    assert [one.output for one in answers] == escaped
