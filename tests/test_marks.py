"""Marks of a review: the truth of each row, and files as people and spreadsheets write them."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import LabelError, OutputError
from naturelm_audio.marks import MARK_COLUMNS, MARKS, Mark, known_truth, read_marks

HEADER = ",".join(MARK_COLUMNS)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1).map(str.strip)


def mark(**changes):
    usual = {"path": "a.wav", "start_seconds": 0.0, "end_seconds": 10.0, "label": "Wren", "score": 0.5}
    return Mark(**(usual | {"mark": "right"} | changes))


@pytest.fixture
def written(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "marks.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    ("judged", "correct", "truth", "is_right"),
    [
        ("right", "", "Wren", True),
        ("right", "wren", "Wren", True),
        ("wrong", "Robin", "Robin", False),
        ("wrong", "", None, False),
        ("unsure", "", None, None),
        ("unsure", "Robin", "Robin", False),
    ],
)
def test_the_truth_is_what_somebody_knew(judged, correct, truth, is_right):
    found = mark(mark=judged, correct_label=correct)
    assert (found.truth, found.is_right) == (truth, is_right)


def test_a_label_that_is_right_has_no_other_correct_one():
    with pytest.raises(ValueError, match="'Wren' is marked right, but has the correct label 'Robin'"):
        known_truth("Wren", "right", "Robin")


def test_rows_are_read_in_order(written):
    path = written(f'{HEADER}\nsite 1/a.wav,0.0,10.0,Wren,0.83,right,\nb.wav,2.5,4,,,wrong,"Robin, red"\n')
    assert read_marks(path) == [
        mark(path="site 1/a.wav", score=0.83),
        mark(path="b.wav", start_seconds=2.5, end_seconds=4.0, label="", score=None, mark="wrong",
             correct_label="Robin, red"),
    ]  # fmt: skip


def test_rows_that_nobody_marked_yet_say_nothing(written):
    assert read_marks(written(f"{HEADER}\na.wav,0,10,Wren,0.5,,\nb.wav,,,,,,\n")) == []
    assert known_truth("Wren", "", "") is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_spreadsheets_are_read(written, encoding):
    text = f"{HEADER.replace(',', ';')};notes\r\na.wav;0,5;10;Zaunkönig;0,25;Right;;loud\r\n"
    found = read_marks(written(text, encoding))
    assert found == [mark(start_seconds=0.5, label="Zaunkönig", score=0.25)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.wav,0,10,Wren,0.5,maybe,", "mark is 'maybe': write right, wrong or unsure"),
        ("a.wav,10,10,Wren,0.5,right,", "10 to 10 s is no span of time"),
        ("a.wav,-1,10,Wren,0.5,right,", "-1 to 10 s is no span of time"),
        ("a.wav,nan,10,Wren,0.5,right,", "start_seconds is 'nan'"),
        ("a.wav,0,ten,Wren,0.5,right,", "end_seconds is 'ten'"),
        ("a.wav,0,10,Wren,high,right,", "score is 'high'"),
        (",0,10,Wren,0.5,right,", "the path is empty"),
        ("a.wav,0,10,Wren,0.5,right,Robin", "is marked right, but"),
    ],
)
def test_a_faulty_row_is_named_with_its_line(written, row, reason):
    with pytest.raises(LabelError, match="line 3: ") as caught:
        read_marks(written(f"{HEADER}\na.wav,0,10,Wren,0.5,right,\n{row}\n"))
    assert reason in str(caught.value)


def test_another_table_is_refused(written):
    with pytest.raises(LabelError, match="has no column score, mark, so it is not a file of marks"):
        read_marks(written("path,start_seconds,end_seconds,label\na.wav,0,1,Wren\n"))


def test_an_empty_file_and_a_missing_one(written, tmp_path):
    with pytest.raises(LabelError, match="has no column path"):
        read_marks(written(""))
    with pytest.raises(OutputError, match=r"none\.csv: can't be read: No such file"):
        read_marks(tmp_path / "none.csv")
    assert read_marks(written(f"{HEADER}\n")) == []


@given(
    rows=st.lists(
        st.builds(
            mark,
            path=TEXT.filter(bool),
            label=TEXT,
            score=st.none() | st.floats(0, 1),
            mark=st.sampled_from(MARKS[1:]),
            correct_label=TEXT,
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("marks") / "marks.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, MARK_COLUMNS)
        writer.writeheader()
        writer.writerows(vars(one) for one in rows)
    assert read_marks(path) == rows
