"""Clips are the window itself, loud enough, at a rate that browsers play; pictures are the filterbank's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from naturelm_audio.errors import AudioError
from naturelm_audio.review.choosing import Candidate
from naturelm_audio.review.cutting import cut


@pytest.fixture
def folder(tmp_path):
    for name in ("clips", "spectrograms"):
        (tmp_path / "review" / name).mkdir(parents=True)
    return tmp_path / "review"


def window(start, end, label="frog", **more):
    return Candidate(path="x", start_seconds=start, end_seconds=end, label=label, **more)


def test_a_clip_is_the_window_at_the_rate_of_its_file(wav, folder):
    path = wav("long.wav", seconds=20, subtype="FLOAT")
    clip = cut(window(3.0, 7.5), path, folder, 7, keep_level=True)
    assert (clip.audio, clip.image) == ("clips/0007_frog.flac", "spectrograms/0007_frog.png")
    samples, rate_hz = soundfile.read(folder / clip.audio)
    assert (rate_hz, len(samples)) == (44_100, round(4.5 * 44_100))
    expected, _ = soundfile.read(path, start=round(3.0 * 44_100), frames=len(samples))
    np.testing.assert_allclose(samples, expected, atol=2e-4)


def test_quiet_clips_are_made_louder_and_silence_stays_silent(tmp_path, folder):
    time_s = np.arange(32_000) / 16_000
    soundfile.write(tmp_path / "quiet.wav", 0.05 * np.sin(2 * np.pi * 500 * time_s), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(32_000), 16_000)
    quiet = cut(window(0.0, 2.0), tmp_path / "quiet.wav", folder, 1)
    none = cut(window(0.0, 2.0), tmp_path / "none.wav", folder, 2)
    assert np.abs(soundfile.read(folder / quiet.audio)[0]).max() == pytest.approx(0.7, abs=0.01)
    assert not soundfile.read(folder / none.audio)[0].any()


@pytest.mark.parametrize(
    ("stored_hz", "speed_factor", "clip_hz", "seconds"),
    [(96_000, 1.0, 48_000, 2.0), (4000, 1.0, 8000, 2.0), (250_000, 0.1, 25_000, 20.0)],
)
def test_rates_that_browsers_play(wav, folder, stored_hz, speed_factor, clip_hz, seconds):
    """Ultrasound is slowed down as the model hears it: two seconds of the file become twenty."""
    path = wav("x.wav", seconds=3, sample_rate_hz=stored_hz)
    clip = cut(window(0.5, 2.5, speed_factor=speed_factor), path, folder, 1, clip_format="wav")
    info = soundfile.info(folder / clip.audio)
    assert (info.format, info.subtype, info.samplerate) == ("WAV", "PCM_16", clip_hz)
    assert info.duration == pytest.approx(seconds, abs=0.01)


def test_the_picture_shows_the_window(wav, folder):
    clip = cut(window(2.0, 4.0), wav("sweep.wav", seconds=6, channels=2), folder, 1)
    image = Image.open(io.BytesIO((folder / clip.image).read_bytes()))
    assert image.size == (200, 128)
    brightness = np.asarray(image.convert("L"), float)
    brightest = brightness[:, :-3].argmax(axis=0)
    assert brightest[10] > brightest[180]  # a sweep goes up, and rows count from the top
    assert np.std(brightness) > 10


def test_labels_of_any_kind_become_file_names(wav, folder):
    path = wav("x.wav", seconds=2)
    for number, (label, name) in enumerate(
        {'../../etc: "x"\n': "etc-x", "Käfer": "K-fer", "鳥": "clip", "a" * 300: "a" * 40}.items()
    ):
        assert cut(window(0.0, 1.0, label), path, folder, number).audio == f"clips/{number:04d}_{name}.flac"


def test_windows_that_can_not_be_read(wav, folder, tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        cut(window(0.0, 1.0), tmp_path / "none.wav", folder, 1)
    with pytest.raises(AudioError, match="ends before 9 s"):
        cut(window(9.0, 10.0), wav("x.wav", seconds=2), folder, 1)
    assert not list(folder.glob("*/*"))
