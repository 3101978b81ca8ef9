"""Lists of labels: every file that people have, and a clear message for what can't be a list."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio import prompts
from naturelm_audio.errors import LabelError, OptionsError
from naturelm_audio.label_lists import LabelList, as_label_list, read_labels
from naturelm_audio.records import Label


def listed(*texts: str, **changes: object) -> LabelList:
    return LabelList(labels=tuple(Label(label=text) for text in texts), **changes)


def read(folder: Path, content: str | bytes, name: str = "labels.txt") -> tuple[Label, ...]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(path)


def texts(labels: tuple[Label, ...]) -> list[str]:
    return [label.label for label in labels]


class TestText:
    def test_one_label_per_line(self, tmp_path):
        assert texts(read(tmp_path, "wren\n\n  robin \r\nGreat tit, male\n")) == [
            "wren",
            "robin",
            "Great tit, male",
        ]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_encodings_with_a_mark(self, tmp_path, encoding):
        names = ["Zaunkönig", "夜鶯", "Γλάρος"]
        assert texts(read(tmp_path, "\r\n".join(names).encode(encoding))) == names

    def test_one_spelling_of_an_umlaut(self, tmp_path):
        assert texts(read(tmp_path, "Zaunko\u0308nig\n")) == ["Zaunkönig"]

    def test_quotes_and_number_signs_stay(self, tmp_path):
        assert texts(read(tmp_path, "\"O'o\"\n#7\nO'ahu\n")) == ['"O\'o"', "#7", "O'ahu"]

    def test_birdnet_lists_have_both_names(self, tmp_path):
        found = read(tmp_path, "Troglodytes troglodytes_Eurasian Wren\nErithacus rubecula_European Robin\n")
        assert found[0] == Label(
            label="Eurasian Wren", common_name="Eurasian Wren", scientific_name="Troglodytes troglodytes"
        )

    def test_one_line_without_an_underscore_makes_a_plain_list(self, tmp_path):
        found = read(tmp_path, "Troglodytes troglodytes_Eurasian Wren\nrobin\n")
        assert texts(found) == ["Troglodytes troglodytes_Eurasian Wren", "robin"]

    def test_labels_twice_are_taken_once(self, tmp_path, caplog):
        assert texts(read(tmp_path, "wren\nrobin\nwren\n")) == ["wren", "robin"]
        assert "1 labels that are there more than once" in caplog.text

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "has no labels"),
            (" \n\r\n", "has no labels"),
            ("wren\nro\tbin\n", r"line 2: the label 'ro\\tbin' has a tab"),
            ("wren\nro\u2028bin\n", "line 2: .* control character"),
            (b"wren\x00robin", "is not text"),
            ("Zaunkönig".encode("latin-1"), "save it as UTF-8"),
        ],
    )
    def test_what_can_be_no_list_is_said(self, tmp_path, content, message):
        with pytest.raises(LabelError, match=message):
            read(tmp_path, content)

    def test_a_missing_file_and_a_folder(self, tmp_path):
        with pytest.raises(LabelError, match=r"gone\.txt: can't be read"):
            read_labels(tmp_path / "gone.txt")
        with pytest.raises(LabelError, match="can't be read"):
            read_labels(tmp_path)


class TestTable:
    def test_names_by_column(self, tmp_path):
        found = read(
            tmp_path,
            "Scientific name;Common Name;Region;species_code\n"
            "Troglodytes troglodytes;Eurasian Wren;GB;winwre4\nParus major;;GB;\n;;;\n",
            "region.csv",
        )
        assert found == (
            Label(
                label="Eurasian Wren",
                scientific_name="Troglodytes troglodytes",
                common_name="Eurasian Wren",
                code="winwre4",
            ),
            Label(label="Parus major", scientific_name="Parus major"),
        )

    def test_a_column_label_wins(self, tmp_path):
        found = read(tmp_path, "\ufefflabel,common_name\nwren,Eurasian Wren\n", "list.csv")
        assert found == (Label(label="wren", common_name="Eurasian Wren"),)

    def test_tabs_and_quotes(self, tmp_path):
        found = read(tmp_path, 'label\tnote\n"Great ""tit"", male"\tx\n', "list.tsv")
        assert texts(found) == ['Great "tit", male']

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("wren\nrobin\n", "has no column label, common_name or scientific_name"),
            ("", "has no column label"),
            ("label,region\nwren,a\n,b\n", "line 3: the label is empty"),
            ('label\nwren\n"ro\nbin"\n', r"line 3: the label 'ro\\nbin' has a tab, a line feed"),
            (
                "label,scientific_name\nsparrow,Passer domesticus\nsparrow,Passer montanus\n",
                "line 3: 'sparrow' is there before with other names",
            ),
            ("label\n", "has no labels"),
        ],
    )
    def test_faults_are_named_with_their_line(self, tmp_path, content, message):
        with pytest.raises(LabelError, match=message):
            read(tmp_path, content, "list.csv")

    @given(
        names=st.lists(
            st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(str.strip),
            min_size=1,
            unique_by=lambda text: text.strip(),
        )
    )
    def test_what_a_csv_writer_wrote_is_read_back(self, names, tmp_path_factory):
        import unicodedata

        wanted = list(dict.fromkeys(unicodedata.normalize("NFC", name).strip() for name in names))
        file = io.StringIO()
        csv.writer(file).writerows([["label", "more"], *([name, "x"] for name in names)])
        found = read(tmp_path_factory.mktemp("lists"), file.getvalue(), "list.csv")
        assert texts(found) == wanted


class TestLabelList:
    def test_none_is_added_unless_it_is_there(self):
        assert listed("wren").texts == ("wren", "None")
        assert listed("wren", "none").texts == ("wren", "none")
        assert listed("wren", "robin", with_none=False).texts == ("wren", "robin")

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ((), "is empty"),
            (("wren", " "), "a blank one"),
            (("wren", "wren"), "'wren' is there twice"),
            (("Wren", "wren"), "'wren' differs from 'Wren' in case only"),
            (("wren\n",), "line feed"),
            (("wr\ud800en",), "control character"),
            (("<AudioHere>",), "placeholder"),
        ],
    )
    def test_faulty_lists_are_refused(self, labels, message):
        with pytest.raises(LabelError, match=message):
            listed(*labels)

    def test_a_single_label_needs_none_beside_it(self):
        with pytest.raises(LabelError, match="would always have the score 1"):
            listed("wren", with_none=False)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"top_k": 0}, "--top-k"),
            ({"min_confidence": 1.5}, "--min-confidence"),
            ({"min_confidence": float("nan")}, "--min-confidence"),
            ({"temperature": 0.0}, "temperature"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, changes, message):
        with pytest.raises(OptionsError, match=message):
            listed("wren", **changes)

    def test_settings_tell_lists_apart(self):
        first, same, other = listed("wren", "robin"), listed("wren", "robin"), listed("robin", "wren")
        assert first.settings() == same.settings() != other.settings()
        assert first.settings()["labels"] == 3

    def test_plain_labels_are_enough(self):
        assert as_label_list(["wren", "robin"]) == listed("wren", "robin")
        assert as_label_list(listed("wren")) == listed("wren")
        with pytest.raises(LabelError, match="one text"):
            as_label_list("wren")


class TestQuestion:
    def test_a_short_list_is_in_the_question_in_alphabetical_order(self):
        assert listed("wren", "robin").question == prompts.CATEGORIES.format("robin, wren")

    def test_the_order_of_the_list_changes_nothing(self):
        assert listed("wren", "robin").question == listed("robin", "wren").question

    def test_a_long_list_is_not(self):
        names = [f"bird {number}" for number in range(prompts.MOST_CATEGORIES + 1)]
        assert listed(*names).question == prompts.COMMON_NAME
        assert "bird 3" in listed(*names[:-1]).question

    def test_labels_with_commas_are_not_named(self):
        assert listed("wren", "Great tit, male").question == prompts.COMMON_NAME

    def test_scientific_names_are_asked_for(self):
        names = [f"Parus major {number}" for number in range(30)]
        labels = tuple(Label(label=name, scientific_name=name) for name in names)
        assert LabelList(labels=labels).question == prompts.SCIENTIFIC_NAME

    def test_wordings_are_those_of_training(self):
        from naturelm_audio.train.manifest.wordings import WORDINGS

        assert prompts.CATEGORIES in WORDINGS["categories"]
        assert prompts.COMMON_NAME in WORDINGS["name-common"]
        assert prompts.SCIENTIFIC_NAME in WORDINGS["name-scientific"]
