"""Recordings x questions -> rows: complete, in order, each window heard once, whatever the batch."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from naturelm_audio import audio
from naturelm_audio.errors import AudioError, OptionsError, PromptError
from naturelm_audio.options import GenerateOptions
from naturelm_audio.pipeline import Clip, Pipeline
from naturelm_audio.records import Answer
from naturelm_audio.windows import WindowPlan

GREEDY = GenerateOptions(max_new_tokens=4, num_beams=1)
QUESTIONS = ["What is it?", "Caption the audio."]


@pytest.fixture
def pipeline(toy_model: Any) -> Pipeline:
    return Pipeline(toy_model, GREEDY, batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1)
    place = tmp_path / "survey"
    (place / "site").mkdir(parents=True)
    for name, seconds, rate in [("a.wav", 19.9, 16000), ("site/b.FLAC", 25.0, 22050), ("c.wav", 3.0, 48000)]:
        samples = noise.normal(0, 0.1, round(seconds * rate))
        soundfile.write(place / name, samples, rate, format="FLAC" if name.endswith("FLAC") else "WAV")
    return place


def spans(rows: list[Answer]) -> list[tuple[str, float | None, float | None]]:
    return [(row.audio_path, row.start_seconds, row.end_seconds) for row in rows]


def test_I1_I2_every_window_to_the_true_end(pipeline: Pipeline, folder: Path) -> None:
    rows = list(pipeline.ask(folder, "What is it?"))
    assert spans(rows) == [
        ("a.wav", 0.0, 10.0),
        ("a.wav", 10.0, 19.9),
        ("c.wav", 0.0, 3.0),
        ("site/b.FLAC", 0.0, 10.0),
        ("site/b.FLAC", 10.0, 20.0),
        ("site/b.FLAC", 20.0, 25.0),
    ]
    assert all(row.error is None and row.output is not None for row in rows)
    assert all(
        0.0 < (row.confidence or 0.0) <= 1.0 and row.confidence_kind == "token_probability" for row in rows
    )


def test_rows_say_which_model_made_them(pipeline: Pipeline, folder: Path) -> None:
    row = next(iter(pipeline.ask(folder / "c.wav", "What is it?")))
    assert row.model
    assert row.model_revision
    assert row.version


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_questions_in_order_and_the_same_for_any_batch(toy_model: Any, folder: Path, batch_size: int) -> None:
    expected = list(Pipeline(toy_model, GREEDY, batch_size=4).ask(folder, QUESTIONS))
    rows = list(Pipeline(toy_model, GREEDY, batch_size=batch_size).ask(folder, QUESTIONS))
    assert [row.query for row in rows] == QUESTIONS * (len(rows) // 2)
    for row, other in zip(rows, expected, strict=True):
        assert row.confidence == pytest.approx(other.confidence, abs=2e-4)
        assert dataclasses.replace(row, confidence=None) == dataclasses.replace(other, confidence=None)


def test_each_window_is_encoded_once_for_all_questions(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    original = pipeline.model.get_audio_features

    def counting(values: torch.Tensor, *rest: Any) -> Any:
        heard.append(len(values))
        return original(values, *rest)

    monkeypatch.setattr(pipeline.model, "get_audio_features", counting)
    rows = list(pipeline.ask(folder, [*QUESTIONS, "How many?"]))
    assert len(rows) == 18
    assert sum(heard) == 6


def break_flac(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def not_audio(path: Path) -> None:
    path.write_text("this is no sound", encoding="utf-8")


@pytest.mark.parametrize(("spoil", "before"), [(not_audio, 0), (break_flac, 1)])
def test_I7_a_bad_recording_is_one_row_and_the_run_goes_on(
    pipeline: Pipeline, folder: Path, spoil: Callable[[Path], None], before: int
) -> None:
    soundfile.write(folder / "bad.flac", np.random.default_rng(0).normal(0, 0.1, 400_000), 16_000)
    spoil(folder / "bad.flac")
    rows = list(pipeline.ask(folder, QUESTIONS))
    bad = [row for row in rows if row.audio_path == "bad.flac"]
    errors = [row for row in bad if row.error]
    assert len(errors) == 1
    assert errors == bad[-1:]
    assert errors[0].error is not None
    assert errors[0].error.startswith("audio_decode_failed: ")
    assert errors[0].start_seconds is None
    assert str(folder) not in errors[0].error
    assert (len(bad) > 1) == bool(before)
    assert len([row for row in rows if row.audio_path != "bad.flac"]) == 12


def test_too_short_is_a_row_with_an_error(pipeline: Pipeline, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "blip.wav", np.zeros(3200), 16_000)
    (row,) = pipeline.ask(tmp_path, "What is it?")
    assert row.error is not None
    assert row.error.startswith("audio_too_short: ")


@pytest.mark.parametrize("count", range(14))
def test_rows_on_file_are_not_repeated(pipeline: Pipeline, folder: Path, count: int) -> None:
    rows = list(pipeline.ask(folder, QUESTIONS))
    done: dict[str, int] = {}
    for row in rows[:count]:
        done[row.audio_path] = done.get(row.audio_path, 0) + 1
    rest = list(pipeline.ask(folder, QUESTIONS, done=done))
    assert spans(rest) == spans(rows[count:])
    assert [row.output for row in rest] == [row.output for row in rows[count:]]


def test_windows_on_file_are_not_heard_again(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    original = pipeline.generator.encode
    monkeypatch.setattr(
        pipeline.generator, "encode", lambda clips: heard.append(len(clips)) or original(clips)
    )
    list(pipeline.ask(folder, QUESTIONS, done={"a.wav": 4, "c.wav": 1, "site/b.FLAC": 2}))
    assert sum(heard) == 3


def test_callback_comes_after_a_recordings_last_row(pipeline: Pipeline, folder: Path) -> None:
    not_audio(folder / "b_bad.wav")
    seen: list[Any] = []
    rows: list[Answer] = []

    def note(recording: Any, *facts: Any) -> None:
        seen.append((len(rows), recording.name, *facts))

    for row in pipeline.ask(folder, QUESTIONS, on_recording_done=note):
        rows.append(row)  # one by one: the callback counts them
    assert [entry[:4] for entry in seen] == [
        (4, "a.wav", 2, 4),
        (5, "b_bad.wav", 0, 1),
        (7, "c.wav", 1, 2),
        (13, "site/b.FLAC", 3, 6),
    ]
    assert [entry[5] for entry in seen] == [
        pytest.approx(19.9),
        None,
        pytest.approx(3.0),
        pytest.approx(25.0),
    ]
    assert [bool(entry[4]) for entry in seen] == [False, True, False, False]


def test_memory_does_not_fit_a_single_window(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(**_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pipeline.model.language_model, "generate", never)
    rows = list(pipeline.ask(folder / "a.wav", QUESTIONS))
    assert len(rows) == 4
    assert all(
        (row.error or "").startswith("out_of_memory: ") and row.start_seconds is not None for row in rows
    )


def test_speed_factor_maps_times_back(pipeline: Pipeline, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "bat.wav", np.random.default_rng(0).normal(0, 0.1, 256_000 * 2), 256_000)
    rows = list(pipeline.ask(tmp_path, "What is it?", speed_factor=0.1))
    assert spans(rows) == [("bat.wav", 0.0, 1.0), ("bat.wav", 1.0, 2.0)]
    assert rows[0].speed_factor == 0.1


def test_the_resampler_decides_what_files_and_arrays_sound_like(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 48_000, "FLOAT")
    heard: list[np.ndarray] = []
    encode = pipeline.generator.encode
    monkeypatch.setattr(pipeline.generator, "encode", lambda clips: heard.extend(clips) or encode(clips))
    for source in (tmp_path, Clip(samples, 48_000)):
        for name in ("soxr", "kaiser_best"):
            list(pipeline.ask(source, "What is it?", resampler=name))
            np.testing.assert_array_equal(
                heard.pop(), audio.resample(samples, 48_000, 16_000, resampler=name)
            )
    with pytest.raises(OptionsError, match="resampler must be one of"):
        list(pipeline.ask(tmp_path, "What is it?", resampler="sinc"))


def test_I16_integers_in_memory_are_scaled(pipeline: Pipeline) -> None:
    floats = np.random.default_rng(2).normal(0, 0.1, 48_000).clip(-1, 1)
    integers = (floats * 32767).round().astype(np.int16)
    (one,) = pipeline.ask(Clip(floats), "What is it?")
    (other,) = pipeline.ask(Clip(integers), "What is it?")
    assert one.output == other.output
    assert one.audio_path == "array"
    assert one.end_seconds == 3.0


def test_several_clips_of_any_rate(pipeline: Pipeline) -> None:
    clips = [Clip(np.zeros(8_000), 8_000, "quiet"), Clip([0.1, -0.1] * 12_000, 24_000, "list")]
    assert spans(list(pipeline.ask(clips, "What is it?"))) == [("quiet", 0.0, 1.0), ("list", 0.0, 1.0)]


def test_closing_early_stops_the_decoder(pipeline: Pipeline, folder: Path) -> None:
    answers = pipeline.ask(folder, QUESTIONS)
    next(answers)
    answers.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "decode-ahead"]


def test_an_unexpected_error_in_the_decoder_reaches_the_caller(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("naturelm_audio.audio.stream", broken)
    with pytest.raises(ZeroDivisionError, match="a bug of ours"):
        list(pipeline.ask(folder, QUESTIONS))


@pytest.mark.parametrize("query", ["", "   ", "<Audio><AudioHere></Audio> ", []])
def test_questions_are_checked_first(pipeline: Pipeline, folder: Path, query: Any) -> None:
    with pytest.raises(PromptError):
        next(iter(pipeline.ask(folder, query)))


def test_M8_more_placeholders_than_audios(pipeline: Pipeline, folder: Path) -> None:
    with pytest.raises(PromptError, match="2 <AudioHere> for 1 audio clip"):
        next(iter(pipeline.ask(folder, "<AudioHere> or <AudioHere>?")))


def test_nothing_to_listen_to(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        next(iter(pipeline.ask(tmp_path, "What is it?")))
    with pytest.raises(AudioError, match="no recordings"):
        next(iter(pipeline.ask([], "What is it?")))


def test_I3_windows_longer_than_the_model_hears(pipeline: Pipeline, folder: Path) -> None:
    plan = WindowPlan(window_length_seconds=20.0)
    assert spans(list(pipeline.ask(folder / "a.wav", "What is it?", plan=plan))) == [
        ("a.wav", 0.0, 10.0),
        ("a.wav", 10.0, 19.9),
    ]
    with pytest.raises(OptionsError, match="this model hears 10 s at once"):
        next(iter(pipeline.ask(folder, "What is it?", plan=WindowPlan(model_max_seconds=20.0))))


def test_a_batch_size_below_one(toy_model: Any) -> None:
    with pytest.raises(OptionsError, match="batch_size"):
        Pipeline(toy_model, GREEDY, batch_size=0)
