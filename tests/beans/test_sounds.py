from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from benchmark_rows import samples

from naturelm_audio.audio import as_waveform
from naturelm_audio.beans.sounds import Sound, as_stored, sound_at, waveform
from naturelm_audio.errors import AudioError

pa = pytest.importorskip("pyarrow", reason="needs the [eval] extra")


def column(values, kind):
    return pa.array(values, kind)


@pytest.mark.parametrize("make", [pa.list_, pa.large_list], ids=["list", "large_list"])
@pytest.mark.parametrize("number", [pa.float64(), pa.float32()], ids=str)
def test_lists_of_floats_are_views_without_a_copy(make, number):
    rows = column([samples(0), samples(1)], make(number))[1:]
    sound = sound_at(rows, 0, 16_000)
    values = rows.flatten().to_numpy(zero_copy_only=True)
    assert np.shares_memory(sound.samples, values)
    assert not sound.samples.flags.owndata
    np.testing.assert_array_equal(sound.samples, samples(1).astype(sound.samples.dtype))


def test_two_dimensions_are_mixed_over_the_shorter_axis():
    stereo = [samples(0).tolist(), samples(1).tolist()]
    rows = column([stereo, np.transpose(stereo).tolist()], pa.list_(pa.list_(pa.float32())))
    clips = [waveform(sound_at(rows, place, 16_000), 1.0, folder=None) for place in (0, 1)]
    np.testing.assert_allclose(clips[0], (samples(0) + samples(1)) / 2, atol=1e-6)
    np.testing.assert_array_equal(clips[0], clips[1])


def wav_bytes(format="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(0), 16_000, format=format, subtype="PCM_16")
    return buffer.getvalue()


def test_encoded_files_and_names_of_files(tmp_path):
    (tmp_path / "a.flac").write_bytes(wav_bytes("FLAC"))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    found = [
        sound_at(column([{"bytes": wav_bytes(), "path": "x.wav"}], kind), 0),
        sound_at(column([{"bytes": None, "path": "a.flac"}], kind), 0),
        sound_at(column([wav_bytes("FLAC")], pa.binary()), 0),
        sound_at(column(["a.flac"], pa.string()), 0),
    ]
    for sound in found:
        clip = waveform(sound, 1.0, folder=tmp_path)
        np.testing.assert_allclose(clip, samples(0), atol=2e-4)
        stored, rate_hz = as_stored(sound, 1.0, folder=tmp_path)
        assert rate_hz == 16_000
        np.testing.assert_array_equal(stored, clip)


def test_decoded_audio_has_its_own_rate():
    kind = pa.struct({"array": pa.list_(pa.float32()), "sampling_rate": pa.int64()})
    sound = sound_at(column([{"array": [0.0, 0.5], "sampling_rate": 8000}], kind), 0, 16_000)
    assert (sound.samples.tolist(), sound.sample_rate_hz) == ([0.0, 0.5], 8000)


@pytest.mark.parametrize("resampler", ["soxr", "kaiser_best"])
@pytest.mark.parametrize("rate_hz", [9600, 16_000, 44_100])
def test_clips_are_resampled_cut_and_padded_as_published(rate_hz, resampler):
    long = samples(3, seconds=4.0, rate_hz=rate_hz)
    whole = as_waveform(long, rate_hz, resampler=resampler)
    cut = waveform(Sound(long, rate_hz), 1.5, folder=None, resampler=resampler)
    np.testing.assert_array_equal(cut, whole[:24_000])
    padded = waveform(Sound(long, rate_hz), 5.0, folder=None, resampler=resampler)
    assert padded.shape == (80_000,)
    np.testing.assert_array_equal(padded[: len(whole)], whole)
    assert not padded[len(whole) :].any()


def test_what_is_stored_gives_the_same_clip_after_resampling_elsewhere():
    long = samples(3, seconds=4.0, rate_hz=44_100)
    stored, rate_hz = as_stored(Sound(long, 44_100.0), 1.5, folder=None)
    assert len(stored) == 2.5 * 44_100
    here = waveform(Sound(long, 44_100), 1.5, folder=None)
    np.testing.assert_allclose(as_waveform(stored, rate_hz)[:24_000], here, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (None, pa.list_(pa.float64()), "the row has no audio"),
        ([0.1, None], pa.list_(pa.float64()), "a sample is missing"),
        ([], pa.list_(pa.float64()), "holds no samples"),
        ([0.1, float("nan")], pa.list_(pa.float64()), "sample 1 is not a finite number"),
        ([[0.1], [0.2, 0.3]], pa.list_(pa.list_(pa.float64())), "not lists of numbers"),
        (["a"], pa.list_(pa.string()), "not lists of numbers"),
        (1, pa.int64(), "audio of type int64 is not known"),
        ("none.wav", pa.string(), "no such file"),
        ("", pa.string(), "the row has no audio"),
        (b"x", pa.binary(), "not a readable audio file"),
    ],
)
def test_bad_audio_is_an_audio_error(values, kind, message, tmp_path):
    with pytest.raises(AudioError, match=message):
        waveform(sound_at(column([values], kind), 0, 16_000), 1.0, folder=tmp_path)


def test_audio_without_a_rate():
    with pytest.raises(AudioError, match="metadata has no sample_rate"):
        waveform(Sound(samples(0)), 1.0, folder=None)
    with pytest.raises(AudioError, match="no whole number"):
        as_stored(Sound(samples(0), 0.5), 1.0, folder=None)
