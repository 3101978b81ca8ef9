"""Pictures of recordings: the model's own filterbank, at any zoom, in bounded memory and time."""

from __future__ import annotations

import io
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio import audio
from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError
from naturelm_audio.model.fbank import fbank
from naturelm_audio.spectrograms import TILE_COLUMNS, Spectrogram, mel_position, png

Image = pytest.importorskip("PIL.Image", reason="needs pillow of [review]")


def tone(path, seconds, hertz=1000.0, rate_hz=16_000, start=0.0, end=None):
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    inside = (time_s >= start) & (time_s < (end or seconds))
    soundfile.write(path, np.where(inside, 0.5 * np.sin(2 * np.pi * hertz * time_s), 0.0), rate_hz)
    return path


def loudest_hz(column):
    bands = np.linspace(0, 1, 128)
    hertz = np.geomspace(25, 7900, 2000)
    positions = np.array([mel_position(one) for one in hertz])
    return float(hertz[np.abs(positions - bands[int(np.nanargmax(column))]).argmin()])


def test_the_finest_columns_are_the_models_own_filterbank(wav):
    path = wav(seconds=4.0, sample_rate_hz=16_000)
    frames = fbank(torch.from_numpy(audio.read_span(path))[None])[0].numpy()
    drawn = Spectrogram(path).columns(0.0, 0.01, 300)
    # Drawn from the second sample on, so that the frames lie 1/160 of a column beside each other.
    assert np.abs(drawn[5:290] - frames[5:290]).mean() < 0.03


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("column_seconds", [0.01, 0.08, 0.5, 3.0])
def test_a_tone_is_where_it_is_at_every_zoom_and_rate(tmp_path, rate_hz, column_seconds):
    path = tone(tmp_path / "tone.wav", 20.0, 1500.0, rate_hz)
    columns = Spectrogram(path).columns(4.0, column_seconds, 4)
    assert not np.isnan(columns).any()
    for column in columns:
        assert loudest_hz(column) == pytest.approx(1500, rel=0.08)


@pytest.mark.parametrize("column_seconds", [0.02, 0.25, 1.0])
def test_times_are_right_at_every_zoom(tmp_path, column_seconds):
    path = tone(tmp_path / "tone.wav", 30.0, start=10.0, end=20.0)
    columns = Spectrogram(path).columns(0.0, column_seconds, int(30 / column_seconds))
    loud = np.flatnonzero(columns.max(axis=1) > 0.3) * column_seconds
    assert loud.min() == pytest.approx(10.0, abs=column_seconds + 0.03)
    assert loud.max() == pytest.approx(20.0, abs=column_seconds + 0.03)


def test_behind_the_end_is_nothing(wav):
    spectrogram = Spectrogram(wav(seconds=2.0))
    columns = spectrogram.columns(1.0, 0.5, 10)
    assert not np.isnan(columns[0]).any()
    assert np.isnan(columns[3:]).all()
    assert np.isnan(spectrogram.columns(50.0, 0.01, 5)).all()


def test_slower_hearing_shifts_pictures_as_it_shifts_what_the_model_hears(tmp_path):
    path = tone(tmp_path / "bat.wav", 2.0, 40_000.0, 192_000)
    columns = Spectrogram(path, speed_factor=0.1).columns(0.2, 0.001, 50)
    assert loudest_hz(columns[20]) == pytest.approx(4000, rel=0.08)


@pytest.mark.parametrize(("channel", "expected"), [(1, 800), (2, 3000)])
def test_a_channel_is_drawn_alone(tmp_path, channel, expected):
    time_s = np.arange(32_000) / 16_000
    both = np.stack([np.sin(2 * np.pi * 800 * time_s), np.sin(2 * np.pi * 3000 * time_s)], axis=1) * 0.5
    soundfile.write(tmp_path / "two.wav", both, 16_000)
    column = Spectrogram(tmp_path / "two.wav", channel=channel).columns(0.5, 0.05, 1)[0]
    assert loudest_hz(column) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg"])
def test_compressed_recordings_can_be_looked_at_in_any_order(wav, suffix):
    path = wav(f"sweep.{suffix}", seconds=6.0)
    spectrogram = Spectrogram(path)
    first = spectrogram.columns(0.0, 0.02, 100)
    spectrogram.columns(4.0, 0.1, 40)  # to the end and over it
    spectrogram.value_range(6.0)
    assert np.array_equal(spectrogram.columns(0.0, 0.02, 100), first, equal_nan=True)


def test_a_tile_is_its_columns(wav):
    spectrogram = Spectrogram(wav(seconds=6.0))
    tile = spectrogram.tile(0, 1)
    assert tile.shape == (TILE_COLUMNS, 128)
    assert np.array_equal(tile, spectrogram.columns(2.56, 0.01, TILE_COLUMNS), equal_nan=True)


def test_W2_memory_does_not_grow_with_the_recording(tmp_path):
    path = tmp_path / "six-hours.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1, subtype="PCM_16"):
        pass
    frames = 6 * 3600 * 8_000
    head = bytearray(path.read_bytes()[:44])
    head[4:8], head[40:44] = (36 + 2 * frames).to_bytes(4, "little"), (2 * frames).to_bytes(4, "little")
    with open(path, "wb") as file:  # a file with a hole: it takes no room
        file.write(head)
        file.truncate(44 + 2 * frames)
    spectrogram = Spectrogram(path)
    assert not np.isnan(spectrogram.tile(11, 2)).any()
    tracemalloc.start()
    for level, index in [(13, 0), (10, 7), (5, 300), (4, 500), (0, 5)]:
        assert spectrogram.tile(level, index).shape == (TILE_COLUMNS, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # the whole recording is 1.4 GB as float32


def test_the_range_of_silence_is_not_blown_up(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    darkest, brightest = Spectrogram(tmp_path / "silence.wav").value_range(2.0)
    assert brightest - darkest >= 0.35


def test_a_broken_file_is_drawn_up_to_the_fault(wav):
    path = wav("torn.flac", seconds=8.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    columns = Spectrogram(path).columns(0.0, 0.1, 80)
    assert not np.isnan(columns[:10]).any()
    assert np.isnan(columns[-10:]).all()


def test_a_closed_one_says_so(wav):
    spectrogram = Spectrogram(wav())
    spectrogram.close()
    spectrogram.close()
    with pytest.raises(AudioError, match="closed"):
        spectrogram.tile(0, 0)


def test_a_speed_of_nothing_is_refused(wav):
    with pytest.raises(OptionsError):
        Spectrogram(wav(), speed_factor=0)


def test_a_picture_has_low_frequencies_at_the_bottom_and_nothing_where_nothing_is():
    columns = np.full((10, 128), 0.0, np.float32)
    columns[:, 5] = 1.0
    columns[8:] = np.nan
    image = Image.open(io.BytesIO(png(columns, (0.0, 1.0))))
    assert image.size == (10, 128)
    pixels = np.array(image.convert("RGBA"))
    brightness = pixels[:, :, :3].sum(axis=2)
    assert brightness[:, 0].argmax() == 127 - 5
    assert (pixels[:, 8:, 3] == 0).all()
    assert (pixels[:, :8, 3] == 255).all()


@given(st.floats(20, 8000), st.floats(20, 8000))
def test_higher_is_higher_up(one, other):
    assert (mel_position(one) < mel_position(other)) == (one < other) or abs(one - other) < 1e-6
    assert 0 <= mel_position(one) <= 1


def test_without_pillow_the_smallest_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'naturelm-audio\[review\]'"):
        png(np.zeros((4, 128), np.float32), (0.0, 1.0))
