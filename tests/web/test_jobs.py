"""Jobs of the web app: the windows and rows of the command line, cancelling, errors, what is taken home."""

from __future__ import annotations

import io
import json
import threading
import zipfile

import numpy as np
import pytest
import soundfile

from naturelm_audio import prompts
from naturelm_audio.errors import LabelError, OptionsError, OutputError
from naturelm_audio.formats import FORMATS
from naturelm_audio.generate import Generator
from naturelm_audio.metadata import FieldNotes
from naturelm_audio.options import GenerateOptions
from naturelm_audio.pipeline import Pipeline
from naturelm_audio.recordings import Recording
from naturelm_audio.records import Answer
from naturelm_audio.windows import WindowPlan

pytest.importorskip("gradio", reason="needs gradio of [web]")

from naturelm_audio.web.downloads import Survey, downloads, make_download
from naturelm_audio.web.forms import Choices, labels_of, questions_of
from naturelm_audio.web.jobs import Job
from naturelm_audio.web.models import Shelf

GREEDY = GenerateOptions(num_beams=1, max_new_tokens=3)
QUESTION = "What is heard?"


@pytest.fixture(scope="module")
def loaded(toy_model):
    shelf = Shelf(["toy"], lambda name: toy_model, batch_size=4)
    yield shelf.get()
    shelf.close()


def run(loaded, folder, *paths, questions=(QUESTION,), **choices):
    """The finished job and its rows."""
    folder.mkdir(exist_ok=True)
    listening = Choices(**choices).listening(loaded)
    recordings = [Recording(path, path.name) for path in paths]
    job = Job(loaded.pipeline(GREEDY), recordings, list(questions), listening, folder)
    job.start()
    job.wait()
    return job, [json.loads(line) for line in job.rows.lines(0)]


def of_command_line(model, *paths, questions=(QUESTION,), **options):
    notes, files = FieldNotes(), {path.name: Recording(path, path.name) for path in paths}
    answers = Pipeline(model, GREEDY).ask([*paths], questions, **options)
    return [json.loads(notes.described(answer, files[answer.audio_path]).to_json()) for answer in answers]


def without_run(rows):
    return [{name: value for name, value in row.items() if name != "run_id"} for row in rows]


@pytest.mark.parametrize("seconds", [3.0, 12.0, 25.0])
def test_W1_windows_are_those_of_the_command_line(toy_model, loaded, wav, tmp_path, seconds):
    path = wav(seconds=seconds, sample_rate_hz=16_000)
    job, rows = run(loaded, tmp_path / "job", path)
    assert job.status()["state"] == "done"
    assert without_run(rows) == of_command_line(toy_model, path)
    assert rows[-1]["end_seconds"] == seconds
    assert len(rows) == -(-seconds // 10)


def test_W1_an_hour_has_360_windows(loaded):
    plan = Choices().listening(loaded).plan
    windows = plan.windows(3600 * 16_000)
    assert windows == WindowPlan().windows(3600 * 16_000)
    assert len(windows) == 360


def test_W3_line_feeds_reach_the_model_as_they_are(toy_model, loaded, wav, tmp_path, monkeypatch):
    question = 'One line,\nanother "line"\\n and more?'
    asked, answer = [], Generator.answer

    def spy(self, requests, options=None):
        asked.extend(requests)
        return answer(self, requests, options)

    monkeypatch.setattr(Generator, "answer", spy)
    path = wav(seconds=3.0)
    _, rows = run(loaded, tmp_path / "job", path, questions=[question])
    expected = of_command_line(toy_model, path, questions=[question])
    assert without_run(rows) == expected
    assert [request.prompt for request in asked] == [prompts.build(question)] * 2
    assert rows[0]["query"] == question


def test_W4_all_of_a_file_and_both_its_channels_are_heard(toy_model, loaded, tmp_path):
    right_only = np.zeros((16_000 * 15, 2), np.float32)
    right_only[:, 1] = 0.3 * np.sin(np.arange(len(right_only)) / 5)
    soundfile.write(tmp_path / "right.wav", right_only, 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros((16_000 * 15, 2), np.float32), 16_000)
    _, rows = run(loaded, tmp_path / "job", tmp_path / "right.wav")
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [(0, 10), (10, 15)]
    assert without_run(rows) == of_command_line(toy_model, tmp_path / "right.wav")
    _, silent = run(loaded, tmp_path / "job2", tmp_path / "silent.wav")
    assert [row["confidence"] for row in rows] != [row["confidence"] for row in silent]


def test_W5_one_bad_file_loses_nothing(loaded, wav, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("text")
    job, rows = run(loaded, tmp_path / "job", wav("a.wav"), bad, wav("c.wav"), questions=[QUESTION, "And?"])
    assert [row["audio_path"] for row in rows] == ["a.wav", "a.wav", "bad.wav", "c.wav", "c.wav"]
    status = job.status()
    assert (status["state"], status["failed"], status["finished"]) == ("done", 1, 3)


def fake_rows(loaded, folder, wav, answers, hop=5.0):
    """A job whose model said these answers in windows of 10 s."""
    path = wav("S4A01.wav", seconds=(len(answers) - 1) * hop + 10.0, sample_rate_hz=8_000)
    pipeline = loaded.pipeline(GREEDY)

    def ask(recordings, queries, **options):
        for number, text in enumerate(answers):
            start, end = number * hop, number * hop + 10.0
            yield Answer(
                audio_path=path.name, start_seconds=start, end_seconds=end, query=QUESTION, output=text,
                confidence=0.8, confidence_kind="token_probability", model="toy",
            )  # fmt: skip
        options["on_recording_done"](recordings[0], len(answers), len(answers), None, end)

    pipeline.ask = ask
    folder.mkdir()
    listening = Choices(hop_seconds=hop).listening(loaded)
    job = Job(pipeline, [Recording(path, path.name)], [QUESTION], listening, folder)
    job.start()
    job.wait()
    assert job.status()["problem"] is None
    return job


def table(made):
    content = made.content
    if made.name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".txt"))
            content = archive.read(name)
    return [line.split("\t") for line in content.decode().splitlines()]


def test_W7_equal_neighbours_are_one_row_to_the_true_end(loaded, wav, tmp_path):
    job = fake_rows(loaded, tmp_path / "job", wav, ["wren"] * 4)
    head, *rows = table(make_download(job, "raven", merge=True))
    assert len(rows) == 1
    row = dict(zip(head, rows[0], strict=True))
    assert (float(row["Begin Time (s)"]), float(row["End Time (s)"])) == (0.0, 25.0)
    assert float(row["High Freq (Hz)"]) <= 4000  # never above what the file holds
    assert row["Begin File"] == row["Begin Path"] == "S4A01.wav"  # no folder of this machine


def test_W7_runs_end_where_another_answer_is_and_text_keeps_the_table_whole(loaded, wav, tmp_path):
    job = fake_rows(loaded, tmp_path / "job", wav, ["wren\tor\nrobin", "None", "wren"], hop=10.0)
    _, *rows = table(make_download(job, "raven", merge=True))
    assert [row[3:5] for row in rows] == [["0.000000", "10.000000"], ["20.000000", "30.000000"]]
    assert "wren or robin" in rows[0]


def test_every_format_is_offered_and_most_can_be_made(loaded, wav, tmp_path):
    job = fake_rows(loaded, tmp_path / "job", wav, ["=SUM(A1)", "robin"])
    assert set(downloads()) == set(FORMATS)
    for kind in set(FORMATS) - {"camtrap-dp"}:
        assert make_download(job, kind).content
    csv = make_download(job, "csv").content
    assert csv.startswith(b"\xef\xbb\xbf")
    assert b"'=SUM(A1)" in csv  # no formula in anyone's spreadsheet
    with pytest.raises(OptionsError, match="no format"):
        make_download(job, "shapefile")


SURVEY = Survey(
    project="Wrens of the valley", contributor="A. Recordist", design="opportunistic", site="Wood 4",
    latitude="52.5", longitude="13.4", time_zone="+02:00", start_time="2026-05-01 04:30:00",
)  # fmt: skip


def test_camtrap_dp_is_made_of_what_the_user_says_of_the_survey(loaded, wav, tmp_path):
    job = fake_rows(loaded, tmp_path / "job", wav, ["wren", "robin"])
    with pytest.raises(OutputError, match=r"project\.title"):
        make_download(job, "camtrap-dp")
    made = make_download(job, "camtrap-dp", survey=SURVEY)
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        names = {"deployments.csv", "media.csv", "observations.csv", "datapackage.json"}
        assert names <= {name.rsplit("/")[-1] for name in archive.namelist()}
        tables = {name.rsplit("/")[-1]: archive.read(name).decode() for name in archive.namelist()}
    assert "Wood 4" in tables["deployments.csv"]
    assert "2026-05-01T04:30:00+02:00" in tables["media.csv"]
    assert json.loads(tables["datapackage.json"])["project"]["title"] == "Wrens of the valley"
    assert not list((tmp_path / "job").glob("tmp*"))


def test_one_start_is_not_that_of_several_recordings(tmp_path):
    with pytest.raises(OptionsError, match="several recordings"):
        SURVEY.write_table(tmp_path / "survey.csv", ["a.wav", "b.wav"])


def test_the_least_confidence_holds_for_what_is_taken_home(loaded, wav, tmp_path):
    job = fake_rows(loaded, tmp_path / "job", wav, ["wren", "robin"])
    assert len(table(make_download(job, "audacity", least=0.7))) == 2
    assert table(make_download(job, "audacity", least=0.9)) == []


def test_cancelling_stops_between_batches(loaded, wav, tmp_path):
    (tmp_path / "job").mkdir()
    path = wav("long.wav", seconds=200.0, sample_rate_hz=8_000)
    pipeline = loaded.pipeline(GREEDY)
    job = Job(
        pipeline, [Recording(path, "long.wav")], [QUESTION], Choices().listening(loaded), tmp_path / "job"
    )
    first, encode = threading.Event(), pipeline.generator.encode

    def slow(waveforms):
        if first.is_set():
            job.cancel()
        first.set()
        return encode(waveforms)

    pipeline.generator.encode = slow
    job.start()
    job.wait()
    status = job.status()
    assert status["state"] == "cancelled"
    assert 0 < status["rows"] < 20
    assert job.rows.lines(0)
    job.delete()
    assert not (tmp_path / "job").exists()


def test_a_fault_of_ours_is_a_sentence(loaded, wav, tmp_path, caplog):
    (tmp_path / "job").mkdir()
    pipeline = loaded.pipeline(GREEDY)
    pipeline.ask = lambda *_, **__: 1 / 0
    job = Job(
        pipeline, [Recording(wav(), "a.wav")], [QUESTION], Choices().listening(loaded), tmp_path / "job"
    )
    job.start()
    job.wait()
    assert job.status()["state"] == "failed"
    assert "Something went wrong inside the program" in job.status()["problem"]
    assert "ZeroDivisionError" in caplog.text


def test_rows_are_found_by_number_without_reading_the_others(loaded, wav, tmp_path):
    job = fake_rows(loaded, tmp_path / "job", wav, [f"answer {n} \u2028 \x85 é" for n in range(30)], hop=10.0)
    assert len(job.rows) == 30
    assert [json.loads(line)["output"][:9] for line in job.rows.lines(27)] == [
        "answer 27",
        "answer 28",
        "answer 29",
    ]
    assert len(job.rows.lines(0, 5)) == 5
    assert job.rows.lines(30) == job.rows.lines(99) == []


class TestChoices:
    def test_what_is_not_given_is_as_the_app_was_started(self):
        start = GenerateOptions(num_beams=3, max_new_tokens=50, merging_alpha=0.5)
        assert Choices().generate(start) == start
        assert Choices(num_beams=1.0, merging_alpha=0.0).generate(start) == GenerateOptions(
            num_beams=1, max_new_tokens=50, merging_alpha=0.0
        )

    def test_slower_is_the_inverse_of_the_speed_factor(self, loaded):
        assert Choices(slower=10).listening(loaded).speed_factor == pytest.approx(0.1)

    @pytest.mark.parametrize(
        "wrong",
        [{"slower": -1}, {"window_seconds": 5, "hop_seconds": 8}, {"window_seconds": -2}, {"slower": 1e9}],
    )
    def test_what_cant_be_is_refused(self, loaded, wrong):
        with pytest.raises(OptionsError):
            Choices(**wrong).listening(loaded)

    def test_a_question_on_each_line_each_once(self):
        assert questions_of(" What? \n\nWhich?\nWhat?", 5) == ["What?", "Which?"]


class TestLabels:
    def test_a_list_ranks_as_the_command_line_does(self, toy_model, loaded, wav, tmp_path):
        path = wav(seconds=12.0)
        labels = labels_of("wren\nTroglodytes troglodytes_Eurasian Wren\nrobin\n", tmp_path)
        (tmp_path / "job").mkdir()
        listening = Choices().listening(loaded)
        recordings = [Recording(path, path.name)]
        job = Job(loaded.pipeline(GREEDY), recordings, [labels.question], listening, tmp_path / "job", labels)
        job.start()
        job.wait()
        rows = [json.loads(line) for line in job.rows.lines(0)]
        assert without_run(rows) == of_command_line(
            toy_model, path, questions=[labels.question], labels=labels
        )
        assert all(len(row["labels"]) == 4 for row in rows)

    def test_no_list_is_none_and_a_bad_one_a_sentence(self, tmp_path):
        assert labels_of(" \n", tmp_path) is None
        with pytest.raises(LabelError, match=r"^The list, line 2"):
            labels_of("Alauda arvensis_Wren\nTroglodytes troglodytes_Wren\n", tmp_path)
        with pytest.raises(LabelError, match="differs from 'wren' in case only"):
            labels_of("wren\nWREN\n", tmp_path)
