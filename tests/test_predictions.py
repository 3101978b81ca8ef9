from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.predictions import Prediction, PredictionsError, check_rows, read_predictions

ROW = {"prediction": "None", "label": "Beluga, White Whale", "id": "a1", "dataset_name": "watkins"}
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=20)


def written(path, *rows, encoding="utf-8"):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding=encoding)
        return path
    with path.open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_all_kinds_of_files(tmp_path, suffix, encoding):
    path = written(tmp_path / f"p{suffix}", ROW, {**ROW, "id": "ä2"}, encoding=encoding)
    first, second = read_predictions(path)
    assert (first.dataset_name, first.prediction, first.label, first.id) == (
        "watkins",
        "None",
        "Beluga, White Whale",
        "a1",
    )
    assert second.id == "ä2"
    assert first.where == f"{path}, line {1 if suffix == '.jsonl' else 2}"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    "text", ["", "None", "NaN", "null", "NA", "12", "1e5", "true", " a ", 'say "a"', "a\nb"]
)
def test_b8_text_stays_text(tmp_path, suffix, text):
    (row,) = read_predictions(written(tmp_path / f"p{suffix}", {**ROW, "prediction": text, "id": ""}))
    assert row.prediction == text
    assert row.id is None


@given(texts, texts)
def test_csv_and_json_lines_hold_the_same(tmp_path_factory, prediction, label):
    folder = tmp_path_factory.mktemp("p")
    row = {**ROW, "prediction": prediction, "label": label}
    found = [read_predictions(written(folder / name, row))[0] for name in ("p.csv", "p.jsonl")]
    assert [(one.prediction, one.label) for one in found] == [(prediction, label)] * 2


def test_ids_are_optional_and_may_be_numbers(tmp_path):
    rows = read_predictions(
        written(tmp_path / "p.jsonl", {**ROW, "id": 7}, {key: ROW[key] for key in ROW if key != "id"})
    )
    assert [row.id for row in rows] == ["7", None]


def test_blank_lines_and_line_ends_of_windows(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\r\n" + json.dumps(ROW).encode() + b"\r\n\r\n" + json.dumps(ROW).encode())
    assert [row.where.rpartition(" ")[2] for row in read_predictions(path)] == ["2", "4"]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({**ROW, "prediction": float("nan")}, "prediction is NaN: an empty answer is written as empty text"),
        ({**ROW, "prediction": "a \ud800"}, r"prediction has half of a character: 'a \ud800'"),
        ({**ROW, "prediction": None}, "prediction is null: an empty answer is written as empty text"),
        ({**ROW, "label": 3}, "label is 3, not text: put it in quotes"),
        ({**ROW, "prediction": "", "error": "audio_empty: no sound"}, "audio_empty: no sound"),
        ({**ROW, "error": None}, None),
        ({key: ROW[key] for key in ROW if key != "label"}, "label is not there"),
    ],
)
def test_rows_without_an_answer_are_kept_and_say_why(tmp_path, row, error):
    sound, found = read_predictions(written(tmp_path / "p.jsonl", {**ROW, "id": "a2"}, row))
    assert (found.error, found.dataset_name, found.id) == (error, "watkins", "a1")
    assert sound.error is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "dataset_name": ["a"]}, "line 1: dataset_name is"),
        ({**ROW, "id": {}}, "line 1: id is"),
        ({"prediction": "a", "label": "b"}, "line 1: has no dataset_name"),
        ([ROW], "line 1: must be a JSON object with"),
    ],
)
def test_rows_that_are_not_predictions(tmp_path, row, message):
    with pytest.raises(PredictionsError, match=message) as found:
        read_predictions(written(tmp_path / "p.jsonl", row))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", "", "has no predictions"),
        ("p.csv", "", "has no predictions"),
        ("p.csv", "prediction,label,dataset_name\n", "has no predictions"),
        (
            "p.csv",
            "prediction,gold\na,b\n",
            "no column dataset_name, label, only prediction, gold: give every row dataset_name, prediction",
        ),
        ("p.csv", "prediction,label,dataset_name\na,b,c,d\n", "line 2: has 4 cells, the header has 3"),
        ("p.csv", 'prediction,label,dataset_name\n"a,b,c\n', "is not a row of a table"),
        ("p.jsonl", "{}\n", "has no dataset_name, prediction, label"),
        ("p.jsonl", '{"prediction": "a"\n', "line 1: is not a JSON object of its own"),
        ("p.jsonl", "prediction,label\n", "whose name ends in .csv"),
    ],
)
def test_files_that_are_not_predictions(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PredictionsError, match=message) as found:
        read_predictions(path)
    assert str(path) in str(found.value)


def test_a_torn_last_line_is_left_out_and_said(tmp_path, caplog):
    path = written(tmp_path / "p.jsonl", ROW, {**ROW, "id": "a2"})
    with path.open("a") as file:
        file.write('{"prediction": "Bel')
    assert [row.id for row in read_predictions(path)] == ["a1", "a2"]
    assert f"{path}, line 3: torn, as a killed run leaves it: left out" in caplog.text
    path.write_text('{"prediction": "Bel')
    with pytest.raises(PredictionsError, match="line 1: is not a JSON object"):
        read_predictions(path)


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(PredictionsError, match="there is no such file"):
        read_predictions(tmp_path / "p.jsonl")
    with pytest.raises(PredictionsError, match="can't be read"):
        read_predictions(tmp_path)
    (tmp_path / "p.csv").write_bytes(b"prediction,label,dataset_name\n\xff\xfe,a,b\n")
    with pytest.raises(PredictionsError, match="is not UTF-8"):
        read_predictions(tmp_path / "p.csv")


def test_rows_of_a_program():
    assert check_rows([ROW]) == [Prediction("watkins", "None", "Beluga, White Whale", "a1", "row 1")]
    with pytest.raises(PredictionsError, match="row 1: has no label"):
        check_rows([{"prediction": "a", "dataset_name": "b"}])
