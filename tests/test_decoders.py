"""Opening what is on disk: every format, wrong suffixes, broken files, and things that are no files."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from naturelm_audio import audio
from naturelm_audio.decoders import open_audio
from naturelm_audio.errors import AudioError, MissingExtraError

# suffix, libsndfile's format, subtype, and how far samples may move: one step of the type
LOSSLESS = [
    ("wav", "WAV", "PCM_U8", 2**-7),
    ("wav", "WAV", "PCM_16", 2**-15),
    ("wav", "WAV", "PCM_24", 2**-23),
    ("wav", "WAV", "PCM_32", 2**-23),
    ("wav", "WAV", "FLOAT", 0),
    ("wav", "WAV", "DOUBLE", 2**-24),
    ("wav", "WAVEX", "PCM_24", 2**-23),
    ("flac", "FLAC", "PCM_S8", 2**-7),
    ("flac", "FLAC", "PCM_16", 2**-15),
    ("flac", "FLAC", "PCM_24", 2**-23),
    ("aiff", "AIFF", "PCM_S8", 2**-7),
    ("aif", "AIFF", "PCM_16", 2**-15),
    ("aif", "AIFF", "FLOAT", 0),
    ("au", "AU", "PCM_16", 2**-15),
    ("caf", "CAF", "PCM_24", 2**-23),
    ("w64", "W64", "PCM_16", 2**-15),
    ("rf64", "RF64", "FLOAT", 0),
]
LOSSY = [("mp3", "MP3", "MPEG_LAYER_III"), ("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS")]


def decoded(path: Path, start_frame: int = 0) -> np.ndarray:
    source = open_audio(path)
    try:
        return np.concatenate([block.copy() for block in source.blocks(start_frame, 4000)])
    finally:
        source.close()


def lag_and_likeness(heard: np.ndarray, truth: np.ndarray) -> tuple[int, float]:
    """By how many frames one sound is late, and the correlation there."""
    frames = 1 << (len(heard) + len(truth)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, frames) * np.conj(np.fft.rfft(truth, frames)))
    best = int(product.argmax())
    likeness = product[best] / (np.linalg.norm(heard) * np.linalg.norm(truth))
    return (best if best < frames // 2 else best - frames), float(likeness)


def write_mp3(path: Path, samples: np.ndarray, rate_hz: int, compression: float = 0.5) -> Path:
    with soundfile.SoundFile(
        path,
        "w",
        rate_hz,
        1,
        "MPEG_LAYER_III",
        format="MP3",
        bitrate_mode="CONSTANT",
        compression_level=compression,
    ) as file:
        file.write(samples)
    return path


# --- formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "format", "subtype", "tolerance"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats(tmp_path, synthetic_samples, suffix, format, subtype, tolerance, channels):
    truth = synthetic_samples(0.5, 44_100, channels)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, truth, 44_100, subtype, format=format)
    heard = decoded(path)
    assert heard.dtype == np.float32
    assert heard.shape == (len(truth), channels)
    assert np.abs(heard - truth.reshape(-1, channels)).max() <= tolerance
    info = audio.probe(path)
    assert (info.sample_rate_hz, info.channels, info.frames, info.exact) == (
        44_100,
        channels,
        len(truth),
        True,
    )
    assert info.duration_seconds == len(truth) / 44_100


@pytest.mark.parametrize(("suffix", "format", "subtype"), LOSSY)
def test_X10_lossy_formats_are_not_shifted(tmp_path, synthetic_samples, suffix, format, subtype):
    truth = synthetic_samples(2.0, 48_000)
    path = tmp_path / f"a.{suffix.upper()}"
    soundfile.write(path, truth, 48_000, subtype, format=format)
    heard = decoded(path)[:, 0]
    lag, likeness = lag_and_likeness(heard, truth)
    assert lag == 0
    assert likeness > 0.98
    assert len(heard) == len(truth)


@pytest.mark.parametrize("rate_hz", [8_000, 96_000, 192_000, 250_000, 384_000, 500_000])
def test_rates_from_8_to_500_khz(wav, rate_hz):
    path = wav(seconds=0.5, sample_rate_hz=rate_hz)
    assert audio.probe(path).sample_rate_hz == rate_hz
    assert len(audio.read_span(path)) == 8000


def test_many_channels(tmp_path):
    path = tmp_path / "array.wav"
    truth = np.linspace(-1, 1, 400 * 512, dtype=np.float32).reshape(400, 512)
    soundfile.write(path, truth, 8000, "FLOAT")
    np.testing.assert_array_equal(decoded(path), truth)


@pytest.mark.parametrize(
    ("suffix", "format", "subtype"), [("wav", "WAV", "PCM_16"), ("flac", "FLAC", "PCM_16"), *LOSSY]
)
def test_starting_in_the_middle_is_exact(tmp_path, synthetic_samples, suffix, format, subtype):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, synthetic_samples(3.0, 48_000), 48_000, subtype, format=format)
    whole = decoded(path)
    for start in (1, 4567, 70_001, len(whole) - 1):
        np.testing.assert_allclose(decoded(path, start), whole[start:], atol=1e-6)


# --- headers are hints --------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed_bytes", [10_000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_header_with_a_wrong_length(wav, claimed_bytes):
    path = wav(seconds=1.0, sample_rate_hz=16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", claimed_bytes)
    path.write_bytes(data)
    # A recorder that lost power claims far too much: the samples are there all the same.
    expected = 5000 if claimed_bytes == 10_000 else 16_000
    assert len(decoded(path)) == expected


def test_a_flac_of_unknown_length(tmp_path, synthetic_samples):
    path = tmp_path / "a.flac"
    soundfile.write(path, synthetic_samples(1.0, 16_000), 16_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # 36 bits of STREAMINFO, as written by an encoder into a pipe
    data[22:26] = b"\0\0\0\0"
    path.write_bytes(data)
    info = audio.probe(path)
    assert (info.frames, info.duration_seconds, info.exact) == (None, None, False)
    assert len(decoded(path)) == 16_000
    assert len(decoded(path, 10_000)) == 6_000


def test_X10_mp3_the_decoded_length_is_the_truth(shared_dir):
    wrong = 0
    for path in sorted((shared_dir / "recordings" / "examples").glob("*.mp3")):
        info, heard = audio.probe(path), decoded(path)
        assert not info.exact
        wrong += info.frames != len(heard)
        assert abs(len(audio.read_span(path)) - len(heard) * 16_000 / info.sample_rate_hz) < 1
    assert wrong  # these headers are estimates, some by several per cent


def test_X10_joined_mp3_files_are_heard_to_the_end(tmp_path, synthetic_samples):
    truth = synthetic_samples(6.0, 44_100)
    first = write_mp3(tmp_path / "1.mp3", truth[:88_200], 44_100, 0.0)
    second = write_mp3(tmp_path / "2.mp3", truth[88_200:], 44_100, 0.5)
    path = tmp_path / "joined.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    heard = decoded(path)[:, 0]
    assert abs(len(heard) - len(truth)) <= 2 * 1152  # a frame of padding at the join and at the end
    lag, likeness = lag_and_likeness(heard[-88_200:], truth[-88_200:])
    assert abs(lag) <= 2 * 1152
    assert likeness > 0.95
    np.testing.assert_allclose(decoded(path, 180_000)[:, 0], heard[180_000:], atol=1e-6)


def test_an_mp3_with_titles_at_both_ends_ends_there(tmp_path, synthetic_samples):
    path = write_mp3(tmp_path / "a.mp3", synthetic_samples(1.0, 44_100), 44_100)
    plain = decoded(path)
    head = b"ID3\x03\0\0\0\0\x0a\0" + bytes(1280)
    path.write_bytes(head + path.read_bytes() + b"TAG" + bytes(125))
    assert abs(len(decoded(path)) - len(plain)) <= 1152


def test_sound_behind_other_data_in_an_mp3(tmp_path, synthetic_samples):
    path = write_mp3(tmp_path / "a.mp3", synthetic_samples(1.0, 44_100), 44_100)
    plain = decoded(path)
    path.write_bytes(b"\0" * 5000 + path.read_bytes())
    assert len(decoded(path)) == len(plain)


# --- not audio ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["wav", "WAV", "mp3", "flac", "ogg", "aiff", "raw", "txt", ""])
@pytest.mark.parametrize(
    "content", [b"This is a text file.\n" * 50, b"RIFF\x24\0\0\0WAVE", b"\xff", bytes(range(7, 250, 3))]
)
def test_what_is_no_audio(tmp_path, suffix, content):
    path = tmp_path / f"notes.{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        AudioError, match=r"notes.*: (not a readable audio file|holds no sound|broken)"
    ) as caught:
        audio.read_span(path)
    assert caught.value.code in {"audio_decode_failed", "audio_empty"}


def test_a_text_file_named_wav(tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("12 May, two wrens\n")
    with pytest.raises(AudioError, match=r"notes\.wav: not a readable audio file$") as caught:
        audio.probe(path)
    assert caught.value.code == "audio_decode_failed"
    assert caught.value.reason == "not a readable audio file"


@pytest.mark.parametrize("suffix", ["mp3", "wav", "m4a"])
def test_an_empty_file(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.touch()
    with pytest.raises(AudioError, match="0 bytes") as caught:
        audio.read_span(path)
    assert caught.value.code == "audio_empty"


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_a_header_without_frames(tmp_path, format):
    path = tmp_path / f"a.{format.lower()}"
    soundfile.write(path, np.zeros(0, np.float32), 16_000, format=format)
    with pytest.raises(AudioError) as caught:
        list(audio.stream(path))
    assert caught.value.code == "audio_empty"


def test_a_folder_named_like_a_recording(tmp_path):
    (tmp_path / "x.wav").mkdir()
    with pytest.raises(AudioError, match="is a folder") as caught:
        audio.probe(tmp_path / "x.wav")
    assert caught.value.code == "audio_not_a_file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and sockets in the file system")
@pytest.mark.timeout(10)
def test_pipes_sockets_and_devices_are_refused_without_waiting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    os.mkfifo("pipe.wav")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.wav")
        for path in ("pipe.wav", "socket.wav", os.devnull, "/dev/zero"):
            with pytest.raises(AudioError, match="device, pipe or socket"):
                audio.read_span(path)


@pytest.mark.parametrize("name", ["gone.wav", "a\0b.wav", "x" * 5000])
def test_paths_that_lead_nowhere(tmp_path, name):
    with pytest.raises(AudioError) as caught:
        audio.probe(tmp_path / name)
    assert caught.value.code == "audio_not_found"


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names are Unicode there")
@pytest.mark.parametrize("name", [b"caf\xe9.wav", "Grünspecht Ωλ.wav".encode(), b"concat:a|b.wav"])
def test_any_name_is_read(wav, name):
    path = Path(os.fsdecode(os.fsencode(wav(seconds=0.1).parent) + b"/" + name))
    wav(seconds=0.1).rename(path)
    assert len(audio.read_span(path)) == 1600
    path.write_bytes(b"text")
    with pytest.raises(AudioError) as caught:
        audio.read_span(path)
    str(caught.value).encode("utf-8")  # can be printed


# --- broken files -------------------------------------------------------------------------------------------


def test_a_truncated_flac_is_heard_to_the_fault(tmp_path, synthetic_samples):
    path = tmp_path / "cut.flac"
    soundfile.write(path, synthetic_samples(30.0, 22_050), 22_050)
    whole = audio.read_span(path, sample_rate_hz=22_050)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    blocks = audio.stream(path, sample_rate_hz=22_050)
    heard, message = [], ""
    try:
        for block in blocks:
            heard.append(block)
    except AudioError as error:
        message = str(error)
    got = np.concatenate(heard)
    assert 17 * 22_050 < len(got) < 23 * 22_050
    np.testing.assert_array_equal(got, whole[: len(got)])
    assert f"at {len(got) / 22_050:.3f} s" in message


def test_a_flac_cut_between_two_of_its_frames_is_an_error_too(tmp_path, synthetic_samples):
    path = tmp_path / "cut.flac"
    soundfile.write(path, synthetic_samples(5.0, 22_050), 22_050)
    data = path.read_bytes()
    for drop in (2000, 5000, 9000):
        path.write_bytes(data[: len(data) - drop])
        with pytest.raises(AudioError, match=r"broken or cut off at 4\.\d+ s"):
            audio.read_span(path)


@pytest.mark.parametrize("suffix", ["wav", "ogg", "mp3", "aiff"])
def test_other_truncated_files_give_what_they_have(tmp_path, synthetic_samples, suffix):
    path = tmp_path / f"cut.{suffix}"
    soundfile.write(path, synthetic_samples(4.0, 22_050), 22_050)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert 0.8 < len(audio.read_span(path)) / 16_000 < 3.2


# --- the [media] extra --------------------------------------------------------------------------------------


def write_media(
    path: Path, samples: np.ndarray, rate_hz: int, codec: str, container: str | None = None
) -> Path:
    av = pytest.importorskip("av", reason="needs the [media] extra")
    with av.open(str(path), "w", format=container) as output:
        track = output.add_stream(codec, rate=rate_hz, layout="mono")
        track.bit_rate = 128_000
        for at in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, at
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


MEDIA = [
    ("m4a", "aac", "ipod"),
    ("mp4", "aac", "mp4"),
    ("mov", "aac", "mov"),
    ("mkv", "aac", "matroska"),
    ("aac", "aac", "adts"),
    ("wma", "wmav2", "asf"),
]


@pytest.mark.parametrize(("suffix", "codec", "container"), MEDIA)
def test_containers(tmp_path, synthetic_samples, suffix, codec, container):
    truth = synthetic_samples(2.0, 44_100)
    path = write_media(tmp_path / f"a.{suffix.upper()}", truth, 44_100, codec, container)
    heard = decoded(path)
    assert heard.shape[1] == 1
    assert heard.dtype == np.float32
    lag, likeness = lag_and_likeness(heard[:, 0], truth)
    assert likeness > 0.95
    # Bare AAC and WMA streams don't say how much their encoder put in front.
    assert abs(lag) <= (0 if suffix in {"m4a", "mp4", "mov"} else 2 * 2048)
    info = audio.probe(path)
    assert (info.sample_rate_hz, info.channels, info.exact) == (44_100, 1, False)
    np.testing.assert_array_equal(decoded(path, 50_000), heard[50_000:])
    span = audio.read_span(path, 0.5, 0.5)
    np.testing.assert_allclose(span, audio.read_span(path)[8000:16_000], atol=2e-5)


def test_a_container_is_known_by_what_it_holds(tmp_path, synthetic_samples):
    path = write_media(tmp_path / "phone.wav", synthetic_samples(1.0, 44_100), 44_100, "aac", "mp4")
    assert len(audio.read_span(path)) == pytest.approx(16_000, abs=1000)


def test_a_wav_named_m4a_needs_no_extra(wav, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = wav("a.wav", seconds=1.0)
    assert len(audio.read_span(path.rename(path.with_suffix(".m4a")))) == 16_000


def test_without_the_extra_the_error_has_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x18ftypM4A " + bytes(200))
    with pytest.raises(MissingExtraError, match=r"pip install 'naturelm-audio\[media\]'"):
        audio.probe(path)


def test_a_container_without_sound_or_sense(tmp_path):
    av = pytest.importorskip("av", reason="needs the [media] extra")
    (tmp_path / "text.m4a").write_text("not a film")
    with pytest.raises(AudioError, match="not a readable audio file"):
        audio.probe(tmp_path / "text.m4a")
    with av.open(str(tmp_path / "mute.mp4"), "w") as output:
        track = output.add_stream("mpeg4", rate=10)
        track.width = track.height = 32
        output.mux(track.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(track.encode(None))
    with pytest.raises(AudioError, match="no sound track") as caught:
        audio.probe(tmp_path / "mute.mp4")
    assert caught.value.code == "audio_empty"


def test_a_playlist_is_not_followed(tmp_path, wav):
    pytest.importorskip("av", reason="needs the [media] extra")
    wav("secret.wav")
    for name, text in (
        ("list.m4a", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.wav\n#EXT-X-ENDLIST\n"),
        ("list.mkv", "ffconcat version 1.0\nfile secret.wav\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="not a readable audio file"):
            audio.read_span(tmp_path / name)


def test_a_truncated_film(tmp_path, synthetic_samples):
    path = write_media(tmp_path / "a.mkv", synthetic_samples(4.0, 44_100), 44_100, "aac", "matroska")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with_error = False
    heard = 0
    try:
        for block in audio.stream(path):
            heard += len(block)
    except AudioError as error:
        with_error = "broken or cut off" in str(error)
    assert with_error or 1 < heard / 16_000 < 3


def test_importing_the_decoders_imports_no_optional_package():
    code = (
        "import sys, naturelm_audio.audio; sys.exit(any(n in sys.modules for n in ('av', 'torch', 'scipy')))"
    )
    src = Path(audio.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(src)}, check=False
    )
    assert done.returncode == 0
