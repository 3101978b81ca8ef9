"""The tab Batch in a real browser: many files and questions, a table, downloads, cancelling, two users."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import zipfile

import pytest
from browsers import expect

from naturelm_audio.formats import FORMATS
from naturelm_audio.metadata import FieldNotes
from naturelm_audio.options import GenerateOptions
from naturelm_audio.pipeline import Pipeline
from naturelm_audio.recordings import Recording
from naturelm_audio.web.questions import SUGGESTIONS

QUESTION = "What is the common name for the focal species in the audio?"
CAPTION = "Caption the audio."


def run(visitor, questions=QUESTION):
    visitor.page.get_by_label("Questions, one per line").first.fill(questions)
    visitor.page.locator("#nl-go-batch").click()


def finished(visitor, part="results"):
    expect(visitor.page.locator(f"#nl-{part} .nl-progress")).to_contain_text("Done:", timeout=300_000)


def take(visitor, name, part="results"):
    with visitor.page.expect_download() as waiting:
        visitor.page.locator(f"#nl-{part}").get_by_role("button", name=name, exact=True).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline("naturelm-tiny", GenerateOptions(num_beams=1, max_new_tokens=24))


def test_W5_a_table_of_file_window_answer_and_error_and_W3_the_numbers_of_the_command_line(
    visitor, sounds, tmp_path, pipeline
):
    notes = tmp_path / "notes.wav"
    notes.write_text("no sound")
    paths = [sounds("a.wav", 12.0, seed=2), sounds("b.wav", 4.0, seed=3)]
    user = visitor()
    user.tab("Batch")
    user.give("batch", *paths, notes)
    run(user, f"{QUESTION}\n{CAPTION}")
    finished(user)
    rows = user.rows()
    assert [row[0] for row in rows] == ["a.wav"] * 4 + ["b.wav"] * 2 + ["notes.wav"]
    assert rows[-1][3] == "not a readable audio file"
    expect(user.page.locator("#nl-results .nl-summary")).to_contain_text("3 of 3 recordings, 1 could not")
    name, content = take(user, "JSON Lines")
    assert name == "answers.jsonl"
    mine = [json.loads(line) for line in content.decode().splitlines()]
    notes, files = FieldNotes(), {path.name: Recording(path, path.name) for path in paths}
    answers = pipeline.ask([*paths], [QUESTION, CAPTION])
    expected = [json.loads(notes.described(one, files[one.audio_path]).to_json()) for one in answers]
    for row in mine:
        row.pop("run_id")
    assert mine[:-1] == expected
    assert mine[-1]["error"] == "audio_decode_failed: not a readable audio file"
    assert [row[3] for row in rows[:-1]] == [row["output"] for row in expected]


def test_W5_every_format_can_be_taken_home(visitor, sounds):
    user = visitor()
    user.tab("Batch")
    user.give("batch", sounds("a.wav", 12.0, seed=2), sounds("b.wav", 4.0, seed=3))
    run(user)
    finished(user)
    downloads = user.page.locator("#nl-results .nl-downloads")
    expect(downloads.get_by_role("button")).to_have_count(len(FORMATS))  # that of the hidden form is none
    name, content = take(user, "Table (CSV)")
    assert name.endswith(".csv")
    assert [row["start_seconds"] for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))] == [
        "0.0",
        "10.0",
        "0.0",
    ]
    name, content = take(user, "Raven")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {"a.selections.txt", "b.selections.txt"} <= set(archive.namelist())
        table = archive.read("a.selections.txt").decode().splitlines()
    assert len(table) == 3
    assert table[1].split("\t")[4] == "10.000000"
    assert take(user, "Parquet")[1][:4] == b"PAR1"
    for title in ("Audacity", "BirdNET CSV", "Kaleidoscope", "Darwin Core", "NatureLM-audio"):
        assert len(take(user, title)[1]) > 50
    # One that needs what nobody has said names it.
    user.forgiven.append("422")
    user.tell_of_the_survey("results")
    user.page.locator("#nl-results").get_by_text("camtrap-dp needs start time of a.wav, b.wav").wait_for()


def test_a_row_can_be_heard_and_rows_can_be_found(visitor, sounds):
    user = visitor()
    user.tab("Batch")
    user.give("batch", sounds("a.wav", 12.0, seed=2), sounds("b.wav", 4.0, seed=3))
    run(user)
    finished(user)
    user.page.get_by_label("Show rows that contain").fill("b.wav")
    expect(user.page.locator("#nl-results tbody tr")).to_have_count(1)
    user.page.locator("#nl-results").get_by_role("button", name="Listen to").click()
    user.page.wait_for_function("document.querySelector('.nl-heard audio').duration > 3.9")
    user.page.wait_for_function("document.querySelector('.nl-heard img').naturalWidth > 0")


def test_a_batch_can_be_cancelled_and_keeps_what_it_has(visitor, sounds):
    user = visitor()
    user.tab("Batch")
    user.give("batch", sounds("hour.wav", 3600.0, 4_000))
    run(user, "\n".join(SUGGESTIONS.values()))  # more than is done before a slow browser has stopped it
    user.page.locator("#nl-results tbody tr").nth(3).wait_for()
    user.page.locator("#nl-results").get_by_role("button", name="Cancel").click()
    said = user.page.locator("#nl-results").get_by_text("Cancelled:").inner_text()
    answers = int(re.sub(r"\D", "", said))
    assert 4 <= answers < 360 * len(SUGGESTIONS)
    assert len(take(user, "JSON Lines")[1].splitlines()) == answers
    time.sleep(1.0)
    expect(user.page.locator("#nl-results tbody tr")).to_have_count(min(answers, 200))
    assert user.page.locator("#nl-results").get_by_text("Cancelled:").inner_text() == said


def test_W8_two_users_at_once_do_not_mix(visitor, sounds):
    one, two = visitor(), visitor()
    for user, name, seed in ((one, "mine.wav", 2), (two, "yours.wav", 3)):
        user.tab("Batch")
        user.give("batch", sounds(name, 45.0, seed=seed))
    run(one)
    run(two, CAPTION)
    finished(one)
    finished(two)
    assert {row[0] for row in one.rows()} == {"mine.wav"}
    assert {row[0] for row in two.rows()} == {"yours.wav"}
    assert len(one.rows()) == len(two.rows()) == 5
    assert {json.loads(line)["query"] for line in take(two, "JSON Lines")[1].splitlines()} == {CAPTION}


def test_W8_uploads_are_deleted_when_the_page_is_closed_in_the_middle_of_a_job(visitor, app, sounds):
    user = visitor()
    user.tab("Batch")
    user.give("batch", sounds("left.wav", 3600.0, 4_000))
    run(user, "\n".join(SUGGESTIONS.values()))
    user.page.locator("#nl-results tbody tr").first.wait_for()
    mine = [folder for folder in app.folders() if list(folder.glob("*/left.wav"))]
    assert len(mine) == 1
    user.context.close()
    end = time.monotonic() + 120
    while mine[0].exists():
        assert time.monotonic() < end, "the uploads of a closed page are still there"
        time.sleep(0.1)
    # The model is free for others at once.
    other = visitor()
    other.example("ask", "frog.wav")
    other.ask(QUESTION)
    other.page.locator(".nl-reply .nl-text").get_by_text("frog").wait_for()


def test_nothing_to_do_is_a_sentence(visitor, sounds):
    user = visitor()
    user.tab("Batch")
    run(user)
    user.page.locator("#nl-results").get_by_text("Add a recording first").wait_for()
    user.give("batch", sounds("b.wav", 4.0, seed=3))
    run(user, " \n ")
    user.page.locator("#nl-results").get_by_text("Type a question").wait_for()
