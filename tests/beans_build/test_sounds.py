from array import array

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.beans_build.sounds import SILENT_PEAK, Sound, listen, listen_to, with_workers
from naturelm_audio.errors import AudioError, NatureLMError
from naturelm_audio.train.manifest.holdouts import audio_hash


@pytest.fixture
def half_silent(tmp_path):
    """Two seconds of a tone and a half, then two seconds of silence."""
    path = tmp_path / "half.wav"
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 16_000)
    soundfile.write(path, np.concatenate([tone, np.zeros(40_000)]), 16_000)
    return path


def test_length_peaks_and_level(half_silent):
    sound = listen_to(half_silent)
    assert sound.seconds == 4.0
    assert len(sound.peaks) == 4
    assert list(sound.peaks[:2]) == pytest.approx([0.25, 0.25], abs=1e-3)
    assert list(sound.peaks[2:]) == [0, 0]
    assert sound.level_db == pytest.approx(10 * np.log10(0.25**2 / 2), abs=0.1)
    assert sound.hash == audio_hash(half_silent)


def test_which_spans_are_silent(half_silent):
    sound = listen_to(half_silent, hashes=False)
    assert sound.hash == ""
    assert not sound.is_silent()
    assert not sound.is_silent(0.0, 2.0)
    assert not sound.is_silent(1.9, 4.0)
    assert sound.is_silent(2.0, 4.0)
    assert sound.is_silent(2.5, 2.75)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.data())
def test_a_span_is_as_loud_as_its_seconds(peaks, data):
    sound = Sound(float(len(peaks)), array("f", peaks), -20.0, "")
    start = data.draw(st.integers(0, len(peaks) - 1))
    end = data.draw(st.integers(start + 1, len(peaks)))
    assert sound.peak(start, end) == max(peaks[start:end])
    assert sound.is_silent(start, end) == (max(peaks[start:end]) < SILENT_PEAK)
    assert sound.peak() == max(peaks)


@pytest.mark.parametrize(
    ("samples", "code"), [(np.zeros(0), "audio_empty"), (np.full(16_000, 1e-5), "audio_silent")]
)
def test_nothing_to_hear(tmp_path, samples, code):
    path = tmp_path / "nothing.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError) as caught:
        listen_to(path)
    assert caught.value.code == code


def test_a_bad_recording_spoils_no_other(tmp_path, half_silent):
    broken, absent = tmp_path / "broken.wav", tmp_path / "absent.wav"
    broken.write_bytes(b"RIFF, but no more")
    found = listen([half_silent, broken, absent, half_silent])
    assert list(found) == [half_silent, broken, absent]
    assert isinstance(found[half_silent], Sound)
    assert isinstance(found[broken], AudioError)
    assert "no such file" in str(found[absent]).lower()


def test_several_processes_hear_the_same(tmp_path, half_silent):
    paths = [half_silent, tmp_path / "absent.wav"]
    alone, shared = listen(paths), listen(paths, workers=2)
    assert shared[half_silent] == alone[half_silent]
    assert str(shared[paths[1]]) == str(alone[paths[1]])


def _end(_job):
    import os

    os._exit(1)


def test_a_process_that_is_killed_is_an_error_in_one_line():
    with pytest.raises(NatureLMError, match=r"a process ended abruptly.*fewer --workers"):
        list(with_workers(_end, [1, 2], 2, "work"))
