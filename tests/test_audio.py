"""From file or array to what the model hears: streams, spans, mixing, speed, and values that are no sound."""

from __future__ import annotations

import logging
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import resampy
import soundfile
import soxr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from naturelm_audio import audio
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.windows import WindowPlan

# The resampler's own rounding, in samples of full scale 1; its filter rejects 120 dB and more.
TOLERANCE = 2e-5


def sine(hertz: float, seconds: float, rate_hz: float, phase: float = 0.3) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz + phase)).astype(
        "f4"
    )


# --- resampling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rate_hz", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000, 500_000]
)
@pytest.mark.parametrize("hertz", [50, 1000, 3000])
def test_resampling_keeps_a_tone(rate_hz, hertz):
    heard = audio.resample(sine(hertz, 1.0, rate_hz), rate_hz, 16_000)
    truth = sine(hertz, 1.0, 16_000)
    assert len(heard) == 16_000
    np.testing.assert_allclose(heard[1000:-1000], truth[1000:-1000], atol=1e-4)


@pytest.mark.parametrize("hertz", [8500, 10_000, 15_000, 23_000])
def test_resampling_takes_away_what_the_model_cannot_hear(hertz):
    heard = audio.resample(sine(hertz, 1.0, 48_000), 48_000, 16_000)
    assert np.abs(heard[1000:-1000]).max() < 1e-4


def test_resampling_agrees_with_the_references_resampler_below_its_edge():
    noise = np.random.default_rng(0).standard_normal(48_000) * 0.1
    band = np.fft.rfft(noise)
    band[5500:] = 0  # the reference's filter is not flat above 6 kHz
    low = np.fft.irfft(band, 48_000).astype(np.float32)
    ours = audio.resample(low, 48_000, 16_000)
    theirs = resampy.resample(low, 48_000, 16_000, filter="kaiser_best")
    assert len(ours) == len(theirs)
    assert np.abs(ours - theirs)[500:-500].max() < 2e-3


@given(st.integers(0, 3000), st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 191_999]))
def test_resampled_length_is_rounded_down(frames, rate_hz):
    heard = audio.resample(np.zeros(frames, np.float32), rate_hz, 16_000)
    assert len(heard) == frames * 16_000 // rate_hz
    assert heard.dtype == np.float32


def test_resampling_at_equal_rates_copies():
    samples = sine(100, 0.1, 16_000)
    heard = audio.resample(samples, 16_000, 16_000)
    np.testing.assert_array_equal(heard, samples)
    assert not np.shares_memory(heard, samples)


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf")])
def test_resampling_refuses_impossible_rates(rate_hz):
    with pytest.raises(OptionsError, match="from_hz"):
        audio.resample(np.zeros(10, np.float32), rate_hz, 16_000)


# --- streaming ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000, 250_000, 191_999])
@pytest.mark.parametrize("block_seconds", [0.01, 0.3, 10.0])
def test_I5_a_stream_equals_the_whole_file_resampled_at_once(wav, rate_hz, block_seconds):
    path = wav(seconds=1.3, sample_rate_hz=rate_hz, subtype="FLOAT")
    blocks = list(audio.stream(path, block_seconds=block_seconds))
    whole = soxr.resample(soundfile.read(path, dtype="float32")[0], rate_hz, 16_000, quality="HQ")
    heard = np.concatenate(blocks)
    assert 0 <= len(whole) - len(heard) <= 1
    np.testing.assert_allclose(heard, np.clip(whole[: len(heard)], -1, 1), atol=TOLERANCE)
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)


def test_I5_a_window_equals_the_same_span_of_the_resampled_file(wav):
    path = wav(seconds=25.0, sample_rate_hz=22_050)
    whole = audio.read_span(path)
    plan = WindowPlan(10, 5)
    cut = list(plan.cut(audio.stream(path)))
    assert [window for window, _ in cut] == plan.windows(len(whole))
    for window, samples in cut:
        np.testing.assert_array_equal(samples, whole[window.start_sample : window.end_sample])


def test_I12_samples_are_float32_from_the_decoder_on(wav):
    assert audio.read_span(wav(subtype="DOUBLE")).dtype == np.float32


def test_blocks_belong_to_the_caller(wav):
    path = wav(sample_rate_hz=16_000)
    truth = audio.read_span(path)
    blocks = []
    for block in audio.stream(path, block_seconds=0.1):
        blocks.append(block.copy())
        block[:] = 9
    np.testing.assert_array_equal(np.concatenate(blocks), truth)


def test_a_file_is_closed_when_its_stream_is_left(wav, tmp_path):
    path = wav(seconds=3.0)
    blocks = audio.stream(path, block_seconds=0.1)
    next(blocks)
    blocks.close()
    path.unlink()  # fails on Windows while the file is open


def test_arguments_are_checked_by_the_call_itself(wav):
    path = wav()
    for wrong in (
        {"start_seconds": -1},
        {"start_seconds": float("nan")},
        {"duration_seconds": 0},
        {"duration_seconds": -2},
        {"speed_factor": 0},
        {"speed_factor": float("nan")},
        {"block_seconds": 0},
        {"sample_rate_hz": 0},
    ):
        with pytest.raises(OptionsError, match=next(iter(wrong))):
            audio.stream(path, **wrong)


def test_memory_does_not_grow_with_the_recording(tmp_path, synthetic_samples):
    samples = synthetic_samples(20.0, 48_000, 2)

    def peak_bytes(repeats: int) -> int:
        path = tmp_path / f"{repeats}.wav"
        with soundfile.SoundFile(path, "w", 48_000, 2, "PCM_16") as file:
            for _ in range(repeats):
                file.write(samples)
        tracemalloc.start()
        heard = sum(len(block) for block in audio.stream(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert heard == repeats * 320_000
        return peak

    assert peak_bytes(30) < 1.05 * peak_bytes(3)
    assert peak_bytes(30) < 16e6


# --- spans --------------------------------------------------------------------------------------------------


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate_hz=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 191_999, 384_000]),
    speed=st.sampled_from([1.0, 0.1, 0.5, 4.0, 0.07, 1 / 3]),
    start=st.floats(0, 0.99),
    length=st.floats(0.001, 1.2),
)
@example(rate_hz=191_999, speed=1 / 3, start=0.9, length=0.05)
def test_I5_a_span_equals_that_span_of_the_whole(tmp_path, rate_hz, speed, start, length):
    frames = 60_000
    path = tmp_path / f"{rate_hz}.wav"
    if not path.exists():
        noise = np.random.default_rng(rate_hz).standard_normal(frames) * 0.2
        soundfile.write(path, noise.clip(-1, 1), rate_hz, "FLOAT")
    whole = audio.read_span(path, speed_factor=speed)
    seconds = frames / rate_hz
    first = round(start * seconds / speed * 16_000)
    end = round((start + length) * seconds / speed * 16_000)
    if first >= len(whole):
        return
    span = audio.read_span(path, start * seconds, length * seconds, speed_factor=speed)
    assert abs(len(span) - (min(end, len(whole)) - first)) <= 1
    np.testing.assert_allclose(span, whole[first : first + len(span)], atol=TOLERANCE)


def test_neighbouring_spans_join_without_gap_or_overlap(wav):
    path = wav(seconds=2.0, sample_rate_hz=44_100)
    whole = audio.read_span(path)
    parts = [audio.read_span(path, at / 10, 0.1) for at in range(20)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=TOLERANCE)


def test_a_span_decodes_only_its_neighbourhood(wav, monkeypatch):
    path = wav(seconds=60.0, sample_rate_hz=16_000)
    read = 0
    original = soundfile.SoundFile.buffer_read_into

    def counting(self, buffer, dtype):
        nonlocal read
        count = original(self, buffer, dtype)
        read += count
        return count

    monkeypatch.setattr(soundfile.SoundFile, "buffer_read_into", counting)
    assert len(audio.read_span(path, 55.0, 0.5)) == 8000
    assert read <= 0.5 * 16_000 + 2000


def test_a_span_beyond_the_end_is_shorter_and_one_behind_it_an_error(wav):
    path = wav(seconds=2.0)
    assert len(audio.read_span(path, 1.5, 10)) == 8000
    with pytest.raises(AudioError, match=r"ends before 2 s") as caught:
        audio.read_span(path, 2.0, 1)
    assert caught.value.code == "audio_empty"


# --- channels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_I13_mean_of_channels_by_default_or_a_chosen_one(wav, channels):
    path = wav(seconds=0.5, sample_rate_hz=16_000, channels=channels, subtype="FLOAT")
    truth = soundfile.read(path, dtype="float32", always_2d=True)[0]
    np.testing.assert_allclose(audio.read_span(path), truth.mean(axis=1), atol=1e-6)
    for channel in range(1, channels + 1):
        np.testing.assert_array_equal(audio.read_span(path, channel=channel), truth[:, channel - 1])


@pytest.mark.parametrize("channel", [0, -1, 3])
def test_I13_a_channel_that_is_not_there(wav, channel):
    path = wav(channels=2)
    with pytest.raises(
        AudioError, match=rf"sweep\.wav: there is no channel {channel}: .*from 1 to 2"
    ) as caught:
        audio.read_span(path, channel=channel)
    assert caught.value.code == "audio_no_such_channel"


def test_I13_a_clip_of_2_samples_and_4_channels(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]]), 16_000, "FLOAT")
    np.testing.assert_allclose(audio.read_span(path), [0.25, 0.5])


# --- speed --------------------------------------------------------------------------------------------------


def test_a_bat_heard_ten_times_slower_sings_ten_times_lower(tmp_path):
    path = tmp_path / "bat.wav"
    soundfile.write(path, sine(40_000, 0.5, 384_000), 384_000)
    heard = audio.read_span(path, speed_factor=0.1)
    assert len(heard) == 80_000  # 5 s for the model
    assert np.abs(np.fft.rfft(heard)).argmax() / 5 == 4000
    assert audio.read_span(path).std() < 1e-3  # unheard at its own speed


def test_infrasound_is_heard_faster(tmp_path):
    path = tmp_path / "whale.wav"
    soundfile.write(path, sine(20, 20.0, 2_000), 2_000)
    heard = audio.read_span(path, speed_factor=8)
    assert len(heard) == 40_000
    assert np.abs(np.fft.rfft(heard)).argmax() / 2.5 == 160


@pytest.mark.parametrize(
    ("frames", "rate_hz", "speed", "samples"),
    [
        (48_000, 48_000, 0.1, 160_000),
        (44_100, 44_100, 1 / 3, 48_000),
        (250_000, 250_000, 0.05, 320_000),
        (16_000, 16_000, 0.3, 53_333),
    ],
)
def test_a_speed_means_the_simple_fraction(tmp_path, frames, rate_hz, speed, samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(frames), rate_hz)
    assert len(audio.read_span(path, speed_factor=speed)) == samples
    assert Fraction(samples, 16_000) * Fraction(speed) <= Fraction(frames, rate_hz) * (
        1 + Fraction(1, 10**12)
    )


def test_a_span_is_given_in_seconds_of_the_file_at_any_speed(wav):
    path = wav(seconds=2.0, sample_rate_hz=48_000)
    whole = audio.read_span(path, speed_factor=0.1)
    span = audio.read_span(path, 0.5, 0.25, speed_factor=0.1)
    np.testing.assert_allclose(span, whole[80_000:120_000], atol=TOLERANCE)


@pytest.mark.parametrize("rate_hz", [11_025, 44_100, 48_000])
@given(frames=st.integers(24_000, 80_000))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_I2_the_end_is_never_beyond_the_file(tmp_path, rate_hz, frames):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(frames), rate_hz)
    for speed in (0.1, 1.0):
        windows = WindowPlan(2.0).windows(len(audio.read_span(path, speed_factor=speed)))
        end = windows[-1].seconds_in_file(speed)[1]
        assert frames / rate_hz - 1 / 16_000 - 1e-6 <= end <= frames / rate_hz + 1e-6


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_named_by_its_time(tmp_path, value):
    samples = sine(440, 3.0, 44_100)
    samples[2 * 44_100] = value
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, 44_100, "FLOAT")
    heard: list[np.ndarray] = []
    with pytest.raises(AudioError, match=r"bad\.wav: the sample at 2\.000000 s is not a finite") as caught:
        heard.extend(audio.stream(path, block_seconds=0.5))
    assert caught.value.code == "audio_not_finite"
    assert sum(len(block) for block in heard) == 32_000  # what comes before the fault


@pytest.mark.parametrize("values", [(np.inf, -np.inf), (3e38, 3e38)])
def test_channels_that_add_up_to_no_number(tmp_path, values):
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.array([values] * 100, np.float32), 16_000, "FLOAT")
    with pytest.raises(AudioError) as caught:
        audio.read_span(path)
    assert caught.value.code == "audio_not_finite"


def test_I16_floats_far_outside_are_clipped_with_one_warning(tmp_path, caplog):
    path = tmp_path / "loud.wav"
    soundfile.write(path, 20_000 * sine(440, 3.0, 16_000), 16_000, "FLOAT")
    with caplog.at_level(logging.WARNING):
        heard = audio.read_span(path)
    assert (heard.min(), heard.max()) == (-1, 1)
    assert len(caplog.records) == 1
    assert "loud.wav" in caplog.text
    assert "1e+04" in caplog.text


def test_an_overshoot_of_the_resampler_is_clipped_in_silence(tmp_path, caplog):
    path = tmp_path / "square.wav"
    soundfile.write(path, np.sign(sine(440, 1.0, 44_100)) * 0.999, 44_100)
    with caplog.at_level(logging.WARNING):
        assert np.abs(audio.read_span(path)).max() == 1
    assert not caplog.records


# --- arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest", "middle"),
    [
        (np.int8, -128, 127, 0),
        (np.int16, -32_768, 32_767, 0),
        (np.int32, -(2**31), 2**31 - 1, 0),
        (np.int64, -(2**63), 2**63 - 1, 0),
        (np.uint8, 0, 255, 128),
        (np.uint16, 0, 65_535, 32_768),
        (np.uint32, 0, 2**32 - 1, 2**31),
    ],
)
def test_I16_whole_numbers_are_scaled_by_their_range(dtype, lowest, highest, middle):
    heard = audio.as_waveform(np.array([lowest, middle, highest], dtype), 16_000)
    np.testing.assert_allclose(heard, [-1, 0, 1], atol=2**-7 if np.dtype(dtype).itemsize == 1 else 1e-4)
    assert heard.dtype == np.float32
    assert heard[1] == 0


def test_I16_an_int16_array_equals_the_file_it_came_from(wav):
    path = wav(sample_rate_hz=16_000, subtype="PCM_16")
    np.testing.assert_array_equal(
        audio.as_waveform(soundfile.read(path, dtype="int16")[0], 16_000), audio.read_span(path)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_floats_of_any_width(dtype):
    heard = audio.as_waveform(np.array([0.5, -0.25, 0], dtype))
    np.testing.assert_array_equal(heard, np.array([0.5, -0.25, 0], np.float32))


def test_I9_lists_and_tuples_of_numbers():
    np.testing.assert_allclose(audio.as_waveform([0.5, -0.5, 0.25]), [0.5, -0.5, 0.25])
    np.testing.assert_allclose(audio.as_waveform((0.5, 1, -1)), [0.5, 1, -1])
    np.testing.assert_allclose(audio.as_waveform([0, 1, -1]), [0, 1, -1])
    with pytest.raises(AudioError, match="numpy array of int16"):
        audio.as_waveform([0, 300, -200])


def test_tensors():
    torch = pytest.importorskip("torch")
    values = torch.tensor([0.5, -0.25], requires_grad=True)
    np.testing.assert_allclose(audio.as_waveform(values), [0.5, -0.25])
    np.testing.assert_allclose(audio.as_waveform(values.to(torch.bfloat16)), [0.5, -0.25])
    np.testing.assert_allclose(audio.as_waveform(torch.tensor([16_384], dtype=torch.int16)), [0.5])
    np.testing.assert_allclose(audio.as_waveform(torch.full((2, 50), 0.5)), np.full(50, 0.5))


def test_arrays_are_resampled_like_files(wav):
    path = wav(sample_rate_hz=44_100, subtype="FLOAT")
    samples = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(audio.as_waveform(samples, 44_100), audio.read_span(path))


def test_the_array_of_the_caller_is_left_alone():
    samples = np.array([0.5, 5.0, -7.0], np.float32)
    heard = audio.as_waveform(samples)
    np.testing.assert_array_equal(samples, np.array([0.5, 5, -7], np.float32))
    np.testing.assert_array_equal(heard, np.array([0.5, 1, -1], np.float32))


@pytest.mark.parametrize("shape", [(100, 2), (2, 100), (1, 5), (5, 1), (40, 32), (32, 40)])
def test_I13_the_shorter_axis_counts_channels(shape):
    samples = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    channels_first = samples if shape[0] < shape[1] else samples.T
    np.testing.assert_allclose(audio.as_waveform(samples), channels_first.mean(axis=0), atol=1e-6)


def test_I13_of_a_square_the_rows_are_channels():
    np.testing.assert_allclose(audio.as_waveform([[0.0, 0.5], [1.0, 0.5]]), [0.5, 0.5])
    np.testing.assert_allclose(audio.as_waveform([[0.0, 0.5], [1.0, 0.5]], channel_axis=1), [0.25, 0.75])


def test_I13_an_array_of_2_samples_and_4_channels():
    last = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]])
    np.testing.assert_allclose(audio.as_waveform(last, channel_axis=1), [0.25, 0.5])
    np.testing.assert_allclose(audio.as_waveform(last, channel_axis=-1), [0.25, 0.5])
    np.testing.assert_allclose(audio.as_waveform(last.T, channel_axis=0), [0.25, 0.5])
    np.testing.assert_allclose(audio.as_waveform(last.T, channel_axis=0, channel=2), [0.2, 0.5])


def test_I13_two_long_axes_are_not_guessed():
    with pytest.raises(AudioError, match=r"\(33, 40\).*channel_axis=0"):
        audio.as_waveform(np.zeros((33, 40)))
    assert len(audio.as_waveform(np.zeros((33, 40)), channel_axis=0)) == 40


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 3, 4)),
        np.float32(0.5),
        [[0.1, 0.2], [0.3]],
        "sound.wav",
        None,
        np.array([True, False]),
        np.array([1j]),
        [None],
        {"a": 1},
    ],
    ids=repr,
)
def test_arrays_of_the_wrong_kind(wrong):
    with pytest.raises(AudioError) as caught:
        audio.as_waveform(wrong)
    assert caught.value.code == "audio_bad_array"


@pytest.mark.parametrize("empty", [[], np.zeros(0), np.zeros((2, 0)), np.zeros((0, 2), np.int16), [[]]])
def test_M17_no_samples_are_an_error(empty):
    with pytest.raises(AudioError) as caught:
        audio.as_waveform(empty)
    assert caught.value.code == "audio_empty"


def test_M17_one_sample_is_enough():
    np.testing.assert_array_equal(audio.as_waveform([0.5]), [0.5])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_S3_what_is_no_number_in_an_array(value):
    with pytest.raises(AudioError, match="sample 1 is not a finite number") as caught:
        audio.as_waveform(np.array([0.1, value]))
    assert caught.value.code == "audio_not_finite"


def test_I16_arrays_far_outside_give_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        audio.as_waveform(np.array([0.0, 12_000.0, -9_000.0]))
    assert "far outside" in caplog.text


@pytest.mark.parametrize("axis", [2, -2, 5])
def test_a_channel_axis_that_does_not_exist(axis):
    with pytest.raises(OptionsError, match="channel_axis"):
        audio.as_waveform(np.zeros((2, 10)), channel_axis=axis)
    with pytest.raises(OptionsError, match="sample_rate_hz"):
        audio.as_waveform(np.zeros(10), 0)


@given(
    arrays.arrays(
        st.sampled_from([np.int16, np.uint8, np.float32, np.float64]),
        arrays.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=32),
    )
)
def test_any_array_gives_finite_samples_in_range_or_an_audio_error(array):
    try:
        heard = audio.as_waveform(array)
    except AudioError:
        heard = None
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32)).all()
    if heard is not None:
        assert heard.shape == (max(array.shape),)
        assert np.abs(heard).max() <= 1
    assert heard is not None or not finite or array.ndim == 2  # a sum of channels may overflow


# --- real recordings ----------------------------------------------------------------------------------------


def test_real_recordings_decode_to_the_last_frame(shared_dir):
    found = audio.find_recordings(shared_dir / "recordings" / "examples")
    assert len(found) == 9
    for recording in found:
        samples, rate_hz = soundfile.read(recording.path, dtype="float32", always_2d=True)
        heard = audio.read_span(recording.path)
        assert len(heard) == len(samples) * 16_000 // rate_hz
        middle = audio.read_span(recording.path, 1.0, 0.5)
        np.testing.assert_allclose(middle, heard[16_000:24_000], atol=TOLERANCE)
        assert 0.001 < np.abs(heard).max() <= 1


def test_real_recordings_at_16_khz_are_not_touched(shared_dir):
    folder = shared_dir / "recordings" / "esc10"
    for recording in audio.find_recordings(folder)[:20]:
        samples = soundfile.read(recording.path, dtype="float32")[0]
        np.testing.assert_array_equal(audio.read_span(recording.path), samples.clip(-1, 1))
