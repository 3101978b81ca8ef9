"""A whole run of embedding: every window once and in order, bad recordings noted, resumed after any stop."""

from __future__ import annotations

import json

import numpy as np
import pytest

from naturelm_audio.audio import find_recordings, read_span
from naturelm_audio.checkpoint import load_audio_tower
from naturelm_audio.embeddings.encoder import Embedder
from naturelm_audio.embeddings.run import EmbedOptions, Vectors, embed, run_embed
from naturelm_audio.embeddings.table import EmbeddingTable
from naturelm_audio.embeddings.writer import TableWriter
from naturelm_audio.errors import AudioError, NatureLMError, OptionsError, OutputError
from naturelm_audio.listening import Clip, End, Hearing
from naturelm_audio.runs import RunStoppedError
from naturelm_audio.windows import WindowPlan


@pytest.fixture(scope="module")
def tower(toy_model_dir):
    return load_audio_tower(toy_model_dir, device="cpu", dtype="float32")


@pytest.fixture
def sounds(tmp_path, wav):
    wav("sounds/a.wav", seconds=24.5)
    wav("sounds/deep/b.flac", seconds=3.0, sample_rate_hz=48_000, channels=2)
    (tmp_path / "sounds" / "broken.wav").write_bytes(b"no sound")
    return tmp_path / "sounds"


@pytest.fixture
def run(tmp_path, sounds, tower):
    def go(name="table", embedder=None, **more):
        level, pooling = more.get("level", "encoder"), more.get("pooling", "mean")
        given = {"audio_paths": (str(sounds),), "output_path": tmp_path / name} | more
        made = embedder or Embedder(tower, level=level, pooling=pooling, batch_size=2)
        return run_embed(EmbedOptions(**given), lambda _: made)

    return go


def content(folder):
    table = EmbeddingTable.open(folder)
    return table.spans(range(table.rows)), np.concatenate([block for _, block, _ in table.blocks()])


def test_every_window_is_in_the_table_and_a_bad_recording_stops_nothing(run, tmp_path, sounds, tower):
    summary = run()
    assert (summary.rows, summary.width, summary.windows) == (4, 16, 4)
    assert summary.failed == {"broken.wav": "audio_decode_failed: not a readable audio file"}
    assert str(summary).startswith(f"4 vectors of 16 numbers in {tmp_path / 'table'} (")
    assert str(summary).endswith("; 1 recording failed, see `error` in table/_embeddings.jsonl")
    spans, vectors = content(tmp_path / "table")
    assert [(one.audio_path, one.start_seconds, one.end_seconds) for one in spans] == [
        ("a.wav", 0.0, 10.0), ("a.wav", 10.0, 20.0), ("a.wav", 20.0, 24.5), ("deep/b.flac", 0.0, 3.0),
    ]  # fmt: skip
    for span, vector in zip(spans, vectors, strict=True):
        samples = read_span(
            sounds / span.audio_path, span.start_seconds, span.end_seconds - span.start_seconds
        )
        np.testing.assert_allclose(vector, Embedder(tower).embed([samples])[0][0], atol=1e-5)


def test_the_run_file_says_what_made_the_vectors(run, tmp_path, tower):
    run(level="tokens", hop_length_seconds=5.0, stored_dtype="float16")
    about = json.loads((tmp_path / "table" / "_embeddings.jsonl.run.json").read_text())
    assert about["status"] == "finished"
    assert about["settings"]["level"] == "tokens"
    assert about["settings"]["hop_length_seconds"] == 5.0
    assert about["settings"]["vectors"] == {"width": 16}
    assert about["settings"]["model"]["weights"] == tower.provenance.weights_fingerprint
    assert about["settings"]["model"]["dtype"] == "float32"
    assert about["versions"]["naturelm-audio"]
    assert about["failed"] == {"broken.wav": "audio_decode_failed: not a readable audio file"}
    assert np.load(tmp_path / "table" / "part-00000.npy").dtype == np.float16


def test_frames_have_the_seconds_of_the_file(run, tmp_path):
    run(pooling="frames", speed_factor=0.5)
    spans, vectors = content(tmp_path / "table")
    long = [one for one in spans if one.audio_path == "a.wav"]
    assert len(spans) == len(vectors)
    assert (long[0].start_seconds, long[0].end_seconds) == (0.0, 0.08)
    assert long[62].start_seconds == 5.0
    assert long[-1].end_seconds <= 24.5
    assert {round(one.end_seconds - one.start_seconds, 6) for one in long[:61]} == {0.08}


@pytest.mark.parametrize("stop_at", range(5))
def test_a_run_that_stops_goes_on(run, tmp_path, monkeypatch, stop_at):
    run("whole")
    adding = iter(range(100))
    add = TableWriter.add

    def full(self, *arguments):
        if next(adding) == stop_at:
            raise OutputError("the disk is full")
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TableWriter, "add", full)
        if stop_at == 4:
            run()
        else:
            with pytest.raises(NatureLMError, match="disk is full") as caught:
                run()
            assert isinstance(caught.value, RunStoppedError) == (stop_at > 0)
            assert (tmp_path / "table").exists() == (stop_at > 0)
            assert stop_at == 0 or "the same command with --resume goes on" in str(caught.value)
    summary = run(resume=True)
    assert summary.rows == 4
    assert summary.windows == 4 - stop_at
    np.testing.assert_equal(content(tmp_path / "table"), content(tmp_path / "whole"))


def test_an_interrupt_keeps_what_was_made(run, tmp_path, monkeypatch):
    calls = iter(range(100))
    window = "naturelm_audio.progress.Progress.window"

    def interrupt(self):
        if next(calls) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(window, interrupt)
        with pytest.raises(RunStoppedError, match="2 vectors in") as caught:
            run()
    assert caught.value.interrupted
    assert run(resume=True).windows == 2


def test_nothing_is_loaded_where_nothing_is_left(run, tmp_path, sounds):
    run()

    def load(options):
        raise AssertionError("the model is not needed")

    options = EmbedOptions(audio_paths=(str(sounds),), output_path=tmp_path / "table", resume=True)
    summary = run_embed(options, load)
    assert (summary.rows, summary.width, summary.windows) == (4, 16, 0)


def test_other_settings_or_another_model_do_not_share_a_table(run, tower):
    run()
    with pytest.raises(OutputError, match="exists already"):
        run()
    with pytest.raises(OutputError, match=r"made with hop_length_seconds 10\.0, now it is 2\.5"):
        run(resume=True, hop_length_seconds=2.5)


def test_a_table_of_failures_alone_is_a_table(tmp_path, tower):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    options = EmbedOptions(audio_paths=(str(tmp_path / "broken.wav"),), output_path=tmp_path / "t")
    summary = run_embed(options, lambda _: Embedder(tower))
    assert (summary.rows, len(summary.failed)) == (0, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"audio_paths": ()}, "--audio-path is missing"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"stored_dtype": "int8"}, "--store must be one of float32, float16"),
        ({"speed_factor": 0.0}, "--speed-factor must be a finite number above 0"),
        ({"channel": 0}, "--channel must be a whole number of at least 1"),
        ({"resampler": "fast"}, "fast"),
    ],
)
def test_wrong_options_are_named(wrong, message):
    with pytest.raises(OptionsError, match=message):
        EmbedOptions(**({"audio_paths": ("x",)} | wrong))


def test_wrong_windows_and_no_recordings_leave_no_table(run, tmp_path):
    with pytest.raises(OptionsError, match="leaves sound"):
        run(hop_length_seconds=11.0)
    with pytest.raises(AudioError, match="no such file"):
        run(audio_paths=(str(tmp_path / "none"),))
    assert not (tmp_path / "table").exists()


def test_the_library_embeds_what_is_in_memory_too(tower, sounds):
    clip = Clip(np.zeros(48_000, np.float32), 16_000, name="silence")
    found = list(
        embed(
            Embedder(tower, batch_size=3),
            [clip, *find_recordings(sounds / "deep")],
            WindowPlan(window_length_seconds=2.0),
            Hearing(None, 1.0, "soxr"),
        )
    )
    assert [(one.source.name, isinstance(one, End)) for one in found] == [
        ("silence", False), ("silence", False), ("silence", True),
        ("b.flac", False), ("b.flac", False), ("b.flac", True),
    ]  # fmt: skip
    assert all(one.vectors.shape == (1, 16) for one in found if isinstance(one, Vectors))


def test_half_precision_on_disk_cuts_what_it_can_not_hold(run, tmp_path, tower, monkeypatch):
    huge = Embedder(tower, batch_size=2)
    monkeypatch.setattr(huge, "embed", lambda clips: [np.full((1, 16), 1e6, np.float32) for _ in clips])
    run(embedder=huge, stored_dtype="float16")
    _, vectors = content(tmp_path / "table")
    assert np.isfinite(vectors).all()
    assert (vectors > 65_000).all()
