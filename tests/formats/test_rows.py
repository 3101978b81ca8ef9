"""CSV and JSON Lines: every row survives, whatever is in its cells, and readers that are not ours agree."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from format_rows import NAME, QUERY, documented, failed, made, row, text_of
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OutputError
from naturelm_audio.formats import FormatOptions, read_csv
from naturelm_audio.formats.rows import COLUMNS
from naturelm_audio.journal import read_answers
from naturelm_audio.records import Answer, Label

HEADER = (
    "audio_path,start_seconds,end_seconds,query,output,confidence,label,label_score,scientific_name,common_name,"
    "start_time,end_time,latitude,longitude,site,channel,model,model_revision,run_id,error\n"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def test_the_documented_table_is_written(tmp_path: Path):
    made(tmp_path, documented(), "csv")
    assert text_of(tmp_path, "combined.csv") == HEADER + (
        f"{NAME},0.0,10.0,{QUERY},Eurasian Wren,0.83,Eurasian Wren,0.83,Troglodytes troglodytes,"
        "Eurasian Wren,2024-05-01T04:00:00+02:00,2024-05-01T04:00:10+02:00,,,site1,,naturelm-audio,1a2b3c,"
        "20240613T101500Z-3f2a,\n"
        f"{NAME},10.0,14.5,{QUERY},European Robin,0.41,European Robin,0.41,Erithacus rubecula,European Robin,"
        "2024-05-01T04:00:10+02:00,2024-05-01T04:00:14.5+02:00,,,site1,,naturelm-audio,1a2b3c,"
        "20240613T101500Z-3f2a,\n"
    )


def test_X4_cells_with_commas_quotes_and_line_ends_are_quoted(tmp_path: Path):
    nasty = 'Beluga, "White\r\nWhale"\rx'
    made(tmp_path, [row(output=nasty, audio_path='a,"b".wav')], "csv")
    (read,) = csv.DictReader(io.StringIO(text_of(tmp_path, "combined.csv"), newline=""))
    assert (read["output"], read["audio_path"]) == (nasty, 'a,"b".wav')
    assert '"Beluga, ""White\r\nWhale""\rx"' in text_of(tmp_path, "combined.csv")


def test_a_lone_carriage_return_is_quoted(tmp_path: Path):
    """Python's own writer leaves it bare if lines end with a line feed, and readers then see two rows."""
    made(tmp_path, [row(output="a\rb")], "csv")
    assert '"a\rb"' in text_of(tmp_path, "combined.csv")


def test_the_header_is_there_without_a_row(tmp_path: Path):
    made(tmp_path, documented(), "csv", FormatOptions(min_confidence=0.9))
    assert text_of(tmp_path, "combined.csv") == HEADER


def test_the_long_form_has_a_row_for_each_label(tmp_path: Path):
    labels = (Label(label="wren", score=0.6), Label(label="robin", score=0.3))
    made(tmp_path, [row(labels=labels), row(10, 20, "None")], "csv", FormatOptions(long=True))
    read = list(csv.DictReader(io.StringIO(text_of(tmp_path, "combined.csv"))))
    assert [(one["label"], one["label_score"]) for one in read] == [
        ("wren", "0.6"),
        ("robin", "0.3"),
        ("", ""),
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2 dB", "@home", "\t=1", "\r=1"])
def test_formulas_are_disarmed_in_the_spreadsheet_safe_mode_only(tmp_path: Path, text: str):
    made(
        tmp_path,
        [row(output=text, latitude=-33.9, longitude=18.4)],
        "csv",
        FormatOptions(spreadsheet_safe=True),
    )
    (safe,) = csv.DictReader(io.StringIO(text_of(tmp_path, "combined.csv"), newline=""))
    assert (safe["output"], safe["latitude"]) == (f"'{text}", "-33.9")
    made(tmp_path, [row(output=text)], "csv", overwrite=True)
    (plain,) = csv.DictReader(io.StringIO(text_of(tmp_path, "combined.csv"), newline=""))
    assert plain["output"] == text


def test_a_byte_order_mark_is_a_switch_and_is_read(tmp_path: Path):
    made(tmp_path, documented(), "csv", FormatOptions(byte_order_mark=True))
    assert text_of(tmp_path, "combined.csv").startswith("\ufeffaudio_path,")
    assert [answer.output for answer in read_csv(tmp_path / "out/combined.csv")] == [
        "Eurasian Wren",
        "European Robin",
    ]


def test_a_table_saved_in_utf_16_is_read(tmp_path: Path):
    made(tmp_path, documented(), "csv")
    path = tmp_path / "out/combined.csv"
    rows = list(read_csv(path))
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-16"))
    assert list(read_csv(path)) == rows


@pytest.mark.parametrize("answer", ["None", "NA", "null", "", " ", "nan"])
def test_an_answer_that_looks_like_nothing_is_read_back(tmp_path: Path, answer: str):
    made(tmp_path, [row(output=answer), failed()], ["csv"])
    first, second = read_csv(tmp_path / "out/combined.csv")
    assert (first.output, first.error) == (answer, None)
    assert (second.output, second.start_seconds) == (None, None)
    assert second.error == failed().error


def only_columns(answer: Answer) -> dict[str, object]:
    kept = [
        "audio_path",
        "start_seconds",
        "end_seconds",
        "query",
        "output",
        "confidence",
        "start_time",
        "error",
    ]
    kept += ["end_time", "latitude", "longitude", "site", "channel", "model", "model_revision", "run_id"]
    values = {name: getattr(answer, name) for name in kept}
    return values | {"labels": [(one.label, one.score, one.scientific_name) for one in answer.labels or ()]}


def test_our_own_reader_gives_the_rows_again(tmp_path: Path):
    rows = [
        *documented(latitude=-52.5, longitude=13.25),
        row(0, 10, "x", channel=2, audio_path="z.wav"),
        failed("zz"),
    ]
    made(tmp_path, rows, "csv")
    assert [only_columns(one) for one in read_csv(tmp_path / "out/combined.csv")] == [
        only_columns(one) for one in rows
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "has no column audio_path, start_seconds"),
        (HEADER + "a,x,1,q,o" + "," * 15 + "\n", "line 2: not a row of results"),
        (HEADER + '"a', r"line \d: not a row of results"),
    ],
)
def test_a_table_of_another_form_is_named(tmp_path: Path, content: str, message: str):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(OutputError, match=message):
        list(read_csv(tmp_path / "x.csv"))


@given(st.lists(st.tuples(names, texts, texts, texts), min_size=1, max_size=5))
def test_any_text_survives_in_csv(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, ...]]):
    folder = tmp_path_factory.mktemp("csv")
    rows = [
        row(
            n,
            n + 1,
            output,
            audio_path="a.wav",
            query=f"{n}{query}",
            labels=(Label(label=label),),
            site=site or None,
        )
        for n, (label, output, query, site) in enumerate(cells)
    ]
    made(folder, rows, ["csv", "jsonl"])
    path = folder / "out/combined.csv"
    assert [only_columns(one) for one in read_csv(path)] == [only_columns(one) for one in rows]
    with open(path, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file, strict=True))
    assert [(one["output"], one["label"], one["query"]) for one in read] == [
        (one.output, one.labels[0].label if one.labels else "", one.query) for one in rows
    ]
    assert list(read_answers(folder / "out/combined.jsonl")) == rows


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30), min_size=1, max_size=5))
def test_pandas_reads_the_same_cells(tmp_path_factory: pytest.TempPathFactory, outputs: list[str]):
    pandas = pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("pandas")
    made(folder, [row(10 * n, 10 * n + 10, text) for n, text in enumerate(outputs)], "csv")
    table = pandas.read_csv(folder / "out/combined.csv", keep_default_na=False)
    assert tuple(table.columns) == COLUMNS
    assert list(table["output"]) == [str(one) for one in outputs] or table["output"].dtype.kind in "ifb"
    assert list(table["start_seconds"]) == [10.0 * n for n in range(len(outputs))]


def test_json_lines_are_the_rows_in_order(tmp_path: Path):
    rows = [row(audio_path="b.wav"), row(audio_path="a.wav"), failed("c.wav")]
    made(tmp_path, rows, "jsonl")
    assert [one.audio_path for one in read_answers(tmp_path / "out/combined.jsonl")] == [
        "a.wav",
        "b.wav",
        "c.wav",
    ]


def test_a_failed_recording_has_no_file_of_its_own(tmp_path: Path):
    done = made(
        tmp_path, [row(audio_path="a.wav"), failed("c.wav")], ["csv", "jsonl"], FormatOptions(per_file=True)
    )
    assert sorted(path.name for path in done.paths) == ["a.csv", "a.jsonl"]
