"""The folder of a report: its page parsed, its tables read back."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from survey_rows import QUESTION, failed, row, timed, write

from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.survey import write_report

NASTY = "<script>alert(1)</script> & \"quoted\" 'x', comma\ttab \u202eright to left 名前"
RUN = {
    "run_id": "20240613T101500Z-3f2a",
    "started": "2024-06-13T10:15:00+00:00",
    "ended": "2024-06-13T11:15:00+00:00",
    "status": "finished",
    "settings": {
        "queries": [QUESTION],
        "window_length_seconds": 10.0,
        "hop_length_seconds": 5.0,
        "model": {"name": "naturelm-tiny", "revision": None, "weights": "abc123"},
    },
    "versions": {"naturelm-audio": "0.1.0"},
    "counts": {"recordings": 4},
    "device": "cpu",
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains of tags that don't match."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def results(tmp_path):
    answers = [
        timed("2024-05-01T04:00:00+02:00", labels=[("frog", 0.5)]),
        timed("2024-05-01T05:00:00+02:00", labels=[(NASTY, 0.9)], site=NASTY, recorder=NASTY),
        timed(
            "2024-05-02T04:00:00+02:00",
            labels=[("None", 0.9)],
            confidence=0.9,
            confidence_kind="label_softmax",
        ),
        failed(f"site1/{NASTY}.wav", f"audio_decode_failed: {NASTY}"),
    ]
    return write(tmp_path / "results.jsonl", answers, RUN)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_needs_nothing_else(results, tmp_path):
    page = Page(write_report(results, tmp_path / "report").page)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "action", "onerror", "onload", "onclick"} & attributes.keys(), (
            tag
        )
    source = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_name_is_escaped(results, tmp_path):
    made = write_report(results, tmp_path / "report", title=NASTY)
    source = made.page.read_text(encoding="utf-8")
    assert "<script" not in source
    assert "\u202e" not in source
    assert source.count("&lt;script&gt;alert(1)") >= 5
    assert Page(made.page).text.count("<script>alert(1)</script>") >= 5


def test_what_the_page_says(results, tmp_path):
    text = Page(write_report(results, tmp_path / "report").page).text
    for words in (
        "Survey report: results",
        "2024-05-01 04:00 to 2024-05-02 04:00",
        "67% of windows with a detection",
        "4 recordings, 1 failed",
        "Detections by hour of day (UTC+02:00); all labels",
        "A window counts as a detection of its best-ranked label, unless that is None.",
        "They are not calibrated",
        "naturelm-tiny",
        "non-commercial demonstration only",
        "10.0 s every 5.0 s",
        "20240613T101500Z-3f2a",
        "1 recording could not be read in full",
    ):
        assert words in text, words


def test_the_tables_beside_it(results, tmp_path):
    folder = tmp_path / "report"
    made = write_report(results, folder)
    assert {path.name for path in folder.iterdir()} == {"index.html", *(path.name for path in made.tables)}
    summary = table(folder / "summary.csv")
    assert [(line["label"], line["detections"], line["best_score"]) for line in summary] == [
        (" ".join(NASTY.split()), "1", "0.9"),
        ("frog", "1", "0.5"),
    ]
    assert table(folder / "hours.csv")[1] == {
        "label": "frog",
        "date": "2024-05-01",
        "hour": "4",
        "detections": "1",
    }
    assert [line["listened_seconds"] for line in table(folder / "effort.csv")] == ["10.0", "10.0", "10.0"]
    assert {line["site"]: (line["recordings"], line["failed"]) for line in table(folder / "sites.csv")} == {
        "site1": ("3", "1"),
        NASTY: ("1", "0"),
    }
    assert table(folder / "accumulation.csv")[-1]["expected_labels"] == "2.0"


def test_a_least_score_and_a_zone(results, tmp_path):
    made = write_report(results, tmp_path / "report", min_confidence=0.6, time_zone="Asia/Tokyo")
    assert made.survey.detections == 1
    text = Page(made.page).text
    assert "with a score of at least 0.6" in text
    assert "Score too low 1" in text
    assert "(Asia/Tokyo)" in text
    assert table(tmp_path / "report" / "hours.csv")[0]["hour"] == "12"


def test_questions_are_chosen_by_their_text(tmp_path):
    answers = [row(output="frog"), row(query="Caption  it.", output="A frog calls")]
    results = write(tmp_path / "results.jsonl", answers)
    first = write_report(results, tmp_path / "first")
    assert list(first.survey.labels) == ["frog"]
    assert (
        "Only answers to “Which species?” are counted here. Also asked: “Caption it.”"
        in Page(first.page).text
    )
    second = write_report(results, tmp_path / "second", query="caption it.")
    assert list(second.survey.labels) == ["A frog calls"]
    with pytest.raises(OptionsError, match=r"no such question; they have 'Which species\?'; 'Caption  it\.'"):
        write_report(results, tmp_path / "third", query="What?")


def test_nothing_detected_is_a_page_too(tmp_path):
    results = write(tmp_path / "results.jsonl", [row(output="None")])
    text = Page(write_report(results, tmp_path / "report").page).text
    assert "Nothing was detected." in text
    assert "No row has a time of day" in text


def test_results_with_no_row_at_all(tmp_path):
    made = write_report(write(tmp_path / "results.jsonl", [], RUN), tmp_path / "report")
    assert made.survey.windows == 0
    assert "Nothing was detected." in Page(made.page).text


def test_a_run_that_did_not_finish_is_seen(tmp_path):
    results = write(
        tmp_path / "results.jsonl", [row()], RUN | {"inputs": [{"path": "a.wav"}, {"path": "b.wav"}]}
    )
    state = {"path": "site1/a.wav", "status": "ok", "rows": 1}
    results.with_name("results.jsonl.state.jsonl").write_text(json.dumps(state) + "\n")
    assert "recordings not reached: 1" in Page(write_report(results, tmp_path / "report").page).text


def test_times_with_and_without_a_zone_are_said(tmp_path):
    answers = [timed("2024-05-01T04:00:00"), timed("2024-05-02T04:00:00Z"), row("site1/z.wav", output="toad")]
    text = Page(write_report(write(tmp_path / "r.jsonl", answers), tmp_path / "report").page).text
    assert "Some recordings have a time zone and some have none" in text
    assert "Windows without a time, counted but in no map by time: 1" in text


def test_lines_that_are_no_rows_are_counted(tmp_path):
    results = write(tmp_path / "results.jsonl", [row()])
    with open(results, "a") as file:
        file.write("not a row\n")
    assert (
        "could not be read and are not counted: 1"
        in Page(write_report(results, tmp_path / "report").page).text
    )


def test_a_report_is_not_replaced_unasked(results, tmp_path):
    folder = tmp_path / "report"
    write_report(results, folder)
    with pytest.raises(OutputError, match="--overwrite"):
        write_report(results, folder)
    write_report(results, folder, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        write_report(results, results)


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_least_score_out_of_range(results, tmp_path, least):
    with pytest.raises(OptionsError, match="--min-confidence must be from 0 to 1"):
        write_report(results, tmp_path / "report", min_confidence=least)
    assert not (tmp_path / "report").exists()


def test_results_that_are_not_there(tmp_path):
    with pytest.raises(OutputError, match="can't be read"):
        write_report(tmp_path / "none.jsonl", tmp_path / "report")


def test_many_labels_are_in_the_tables_and_the_page_says_so(tmp_path):
    answers = [
        timed(f"2024-05-01T04:00:00.{number:03d}Z", f"label {number}", name=f"s/{number}.wav")
        for number in range(400)
    ]
    made = write_report(write(tmp_path / "r.jsonl", answers), tmp_path / "report")
    assert "the 30 labels with most detections, of 400" in Page(made.page).text
    assert "100 more labels are in summary.csv" in Page(made.page).text
    assert len(table(tmp_path / "report" / "summary.csv")) == 400
