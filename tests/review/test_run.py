"""A whole run of clips: from rows to a folder that opens in a browser, whatever is wrong with some."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError, OutputError
from naturelm_audio.journal import Journal
from naturelm_audio.recordings import Recording
from naturelm_audio.records import Answer
from naturelm_audio.review.run import ReviewOptions, locator, review_results


def answer(path, label, confidence, start=0.0, query="What?"):
    return Answer(
        audio_path=path, start_seconds=start, end_seconds=start + 2, query=query, output=label,
        confidence=confidence, confidence_kind="token_probability",
    )  # fmt: skip


def write_rows(path, rows):
    path.write_text("".join(f"{row.to_json()}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def results(tmp_path, wav):
    wav("sounds/site 1/a.wav", seconds=6)
    wav("sounds/b.flac", seconds=4, sample_rate_hz=16_000)
    rows = [
        answer("site 1/a.wav", "frog", 0.9),
        answer("site 1/a.wav", "wren", 0.3, 2.0),
        answer("b.flac", "frog", 0.5, 1.0),
    ]
    return write_rows(tmp_path / "answers.jsonl", rows)


def review(results, **more):
    given = {
        "results": results,
        "output_path": results.parent / "review",
        "audio_root": results.parent / "sounds",
    }
    return review_results(ReviewOptions(**(given | more)))


def index(folder):
    with open(folder / "clips.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_clips_with_its_page(results, tmp_path):
    summary = review(results)
    assert str(summary) == f"3 clips to review: open {tmp_path / 'review' / 'index.html'} in a browser"
    rows = index(tmp_path / "review")
    assert [(row["path"], row["start_seconds"], row["label"], row["score"]) for row in rows] == [
        ("site 1/a.wav", "0.0", "frog", "0.9"),
        ("b.flac", "1.0", "frog", "0.5"),
        ("site 1/a.wav", "2.0", "wren", "0.3"),
    ]  # fmt: skip
    files = {path.relative_to(tmp_path / "review").as_posix() for path in (tmp_path / "review").rglob("*.*")}
    assert files == {
        "index.html",
        "clips.csv",
        *(row["audio"] for row in rows),
        *(row["spectrogram"] for row in rows),
    }


def test_windows_that_can_not_be_cut_are_noted(results, tmp_path):
    (tmp_path / "sounds" / "b.flac").write_bytes(b"no sound")
    summary = review(results)
    assert summary.clips == 2
    assert summary.failed == {"b.flac 1-3 s": "not a readable audio file"}
    assert str(summary).endswith("in a browser; 1 window could not be cut")


def test_recordings_that_are_nowhere_are_an_error_that_says_what_to_do(results, tmp_path):
    with pytest.raises(
        AudioError, match=r"not one of 3 windows could be cut \(no such file\): say where .*--audio-root"
    ):
        review(results, audio_root=None)
    assert not (tmp_path / "review").exists()
    assert review(results).clips == 3


def test_the_run_that_made_the_rows_says_where_recordings_are(results, tmp_path):
    one = Recording(tmp_path / "sounds" / "b.flac", "b.flac")
    rows = tmp_path / "other.jsonl"
    with Journal.open(rows, mode="new", settings={}) as journal:
        journal.append(answer("b.flac", "frog", 0.5), one)
        journal.finish(one, windows=1, file=str(one.path))
    assert locator(rows, None)("b.flac") == one.path
    assert locator(rows, None)("c.flac") == tmp_path / "c.flac"
    assert locator(rows, Path("/root"))("b.flac") == Path("/root/b.flac")
    assert review(rows, audio_root=None).clips == 1


def test_an_earlier_page_is_kept_unless_asked(results, tmp_path):
    review(results)
    (tmp_path / "review" / "marks.csv").write_text("mine")
    with pytest.raises(OutputError, match="has a page of clips already: take its place with --overwrite"):
        review(results)
    assert review(results, overwrite=True, labels=("wren",)).clips == 1
    assert [path.name for path in (tmp_path / "review" / "clips").iterdir()] == ["0001_wren.flac"]
    assert (tmp_path / "review" / "marks.csv").read_text() == "mine"


def test_folders_that_are_not_ours_are_left_alone(results, tmp_path):
    (tmp_path / "mine" / "clips").mkdir(parents=True)
    with pytest.raises(OutputError, match="holds other files: choose a new folder"):
        review(results, output_path=tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "clips").is_dir()
    with pytest.raises(OutputError, match="is a file: name a folder"):
        review(results, output_path=results)
    with pytest.raises(OutputError, match="there is no folder"):
        review(results, output_path=tmp_path / "no" / "review")


def test_nothing_to_review_says_why(results, tmp_path):
    with pytest.raises(OptionsError, match="no window to review: none has the label owl or hawk"):
        review(results, labels=("owl", "hawk"))
    with pytest.raises(OptionsError, match=r"none has the label frog with a score of 0\.95 or more"):
        review(results, labels=("frog",), least_score=0.95)
    empty = write_rows(tmp_path / "empty.jsonl", [])
    with pytest.raises(OptionsError, match="it has no answer"):
        review(empty)
    with pytest.raises(OutputError, match="can't be read"):
        review(tmp_path / "none.jsonl")
    with pytest.raises(OptionsError, match=r"--audio-root .*: there is no such folder"):
        ReviewOptions(results=results, audio_root=tmp_path / "none")
    with pytest.raises(OptionsError, match="--format must be one of flac, wav"):
        ReviewOptions(results=results, clip_format="mp3")


def test_several_questions_are_reviewed_one_by_one(results, tmp_path):
    rows = [
        answer("b.flac", "frog", 0.5),
        answer("b.flac", "A frog croaks.", 0.5, query="Caption the audio."),
    ]
    both = write_rows(tmp_path / "both.jsonl", rows)
    with pytest.raises(OptionsError, match="the results answer 2 questions; choose one"):
        review(both)
    assert review(both, query="What?").clips == 1
    assert [row["label"] for row in index(tmp_path / "review")] == ["frog"]


def test_pictures_need_their_extra(results, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingExtraError, match="spectrograms"):
        review(results)
    assert not (tmp_path / "review").exists()


def test_the_page_knows_the_command_that_learns_from_its_marks(results, tmp_path):
    review(results)
    page = (tmp_path / "review" / "index.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["commands"][0] == (
        f"naturelm finetune --data marks.csv --audio-root {tmp_path / 'sounds'} --output my-model"
    )
