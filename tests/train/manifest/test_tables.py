"""Tables as spreadsheets and other programs write them; every fault has its line."""

from __future__ import annotations

import csv
import io
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import MissingExtraError
from naturelm_audio.train.manifest.problems import ManifestError, did_you_mean
from naturelm_audio.train.manifest.tables import folded, is_blank, number, parse_table, read_table

TEXT = "path,label\na.wav,Rüppell's Vulture\nb.wav,Grünfink\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, line_end):
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    path = tmp_path / "t.csv"
    path.write_bytes(mark + TEXT.replace("\n", line_end).encode(encoding))
    table = read_table(path)
    assert table.columns == ("path", "label")
    assert [row.cells["label"] for row in table.rows] == ["Rüppell's Vulture", "Grünfink"]


def test_utf16_without_a_mark_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(TEXT.encode("utf-16-le"))
    with pytest.raises(ManifestError, match="save it as UTF-8"):
        read_table(path)


def test_a_mark_of_utf8_is_believed_and_never_read_as_something_else(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode("cp1252"))
    with pytest.raises(ManifestError, match=r"t\.csv"):
        read_table(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter):
    table = parse_table(delimiter.join(("path", "label", "x")) + "\na" + delimiter + '"b, c; d"', "t")
    assert table.rows[0].cells == {"path": "a", "label": "b, c; d", "x": ""}


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8))
def test_any_cells_come_back_with_the_line_on_which_they_start(rows):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([("path", "label"), *rows])
    table = parse_table(buffer.getvalue(), "t")
    expected, line = [], 2
    for row in rows:
        if any(cell.strip() for cell in row):
            expected.append((line, tuple(cell.strip() for cell in row)))
        line += 1 + sum(cell.count("\n") for cell in row)
    assert [(row.line, tuple(row.cells.values())) for row in table.rows] == expected


def test_unquoted_commas_are_named_with_their_line():
    table = parse_table("path,label\na,Dolphin, bottlenose\nb,Wren\n", "t")
    assert len(table.rows) == 1
    assert str(table.problems[0]) == "t:2: 3 cells for 2 columns: quote cells that hold ','"


@pytest.mark.parametrize(("text", "match"), [("", "empty"), ("\n \n", "empty"), ("a,a\n1,2", "two columns")])
def test_headers_that_are_none(text, match):
    with pytest.raises(ManifestError, match=match):
        parse_table(text, "t")


def test_index_columns_without_a_name_are_passed_over():
    assert parse_table(",path\n0,a\n", "t").rows[0].cells == {"path": "a"}


def test_quotation_marks_in_raven_tables_are_text():
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
    table = parse_table(header + '1\t0\t1\t"wren\n2\t1\t2\trobin\n', "t")
    assert [row.cells["Annotation"] for row in table.rows] == ['"wren', "robin"]


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), ("1,5", 1.5), (" -2 ", -2.0), ("1e3", 1000.0), ("0", 0.0)]
)
def test_numbers(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-Infinity", "1.234,5", "1,2,3", "1_000"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="is not a"):
        number(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_back(value):
    assert number(repr(value)) == value
    assert number(repr(value).replace(".", ",")) == value


def test_names_of_columns_are_compared_without_case_blanks_and_units():
    assert len({folded(name) for name in ("Begin Time (s)", "begin_time", "beginTime", " BEGIN TIME")}) == 1
    assert folded("Low Freq (Hz)") == "lowfreq"
    assert folded("TOP1MATCH*") == "top1match"


@pytest.mark.parametrize("cell", ["", " ", "NaN", "NA", "n/a", "null", "<NA>"])
def test_blank(cell):
    assert is_blank(cell)
    assert not is_blank("None")


def test_hints():
    assert did_you_mean("Scientific_nam", ["scientific_name"]) == "; did you mean 'scientific_name'?"
    assert did_you_mean("zebra", ["path"]) == ""


def test_parquet_is_read_like_text(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    path = tmp_path / "t.parquet"
    columns = {"path": ["a", None], "seconds": [1.5, math.nan], "events": [["x"], None]}
    parquet.write_table(pyarrow.table(columns), path)
    rows = read_table(path).rows
    assert rows[0].cells == {"path": "a", "seconds": "1.5", "events": '["x"]'}
    assert rows[1].cells == {"path": "", "seconds": "", "events": ""}


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"naturelm-audio\[train\]"):
        read_table(tmp_path / "t.parquet")


def test_missing_files(tmp_path):
    with pytest.raises(ManifestError, match="can't be read"):
        read_table(tmp_path / "none.csv")
