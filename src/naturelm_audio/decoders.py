"""Open a file that holds sound -> blocks of float32 (frames, channels) at the file's own rate.

The only module that opens audio: libsndfile for what it knows, FFmpeg (the [media] extra) for containers of
phones and films. Header lengths are hints: nothing is allocated by them, and what decodes is the truth.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from naturelm_audio.errors import AudioError, MissingExtraError
from naturelm_audio.recordings import MEDIA_SUFFIXES, shown_path

__all__ = ["AudioInfo", "FloatArray", "Source", "open_audio"]

FloatArray = npt.NDArray[np.float32]

_UNKNOWN_FRAMES = 1 << 62  # libsndfile says "unknown" with its largest number
_LEAST_MP3_BYTES = 4096  # fewer at the end of a file are its title, not sound worth another decoder

# FFmpeg would also open playlists, which name other files and addresses: only real containers are let in.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,avi,mpegts,mpeg,mp3,flac,wav,ogg"


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says.

    ``frames`` and ``duration_seconds`` are None where the header doesn't say. Unless ``exact``, they are an
    estimate for progress bars: MP3 headers are wrong by several per cent, and only decoding tells.
    """

    sample_rate_hz: int
    channels: int
    frames: int | None
    duration_seconds: float | None
    exact: bool = True


class Source(Protocol):
    """An open recording."""

    info: AudioInfo

    def blocks(self, start_frame: int, block_frames: int) -> Iterator[FloatArray]:
        """Yield (frames, channels) from a frame on; a block is valid until the next one is asked for."""

    def close(self) -> None:
        """Close the file."""


def open_audio(path: Path) -> Source:
    """Open a file by what it holds: libsndfile first, FFmpeg for containers that it doesn't know."""
    _require_regular_file(path)
    try:
        return _SoundFileSource(path)
    except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: a name that ends in .raw
        if _is_container(path):
            return _MediaSource(path)
        # Empty messages and codes of libsndfile help nobody; a text file or a torn header is what it means.
        raise AudioError("not a readable audio file", path=shown_path(path)) from error


def _require_regular_file(path: Path) -> None:
    """Refuse what isn't a file before it is opened: opening a pipe would wait for ever."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise AudioError("no such file", path=shown_path(path), code="audio_not_found") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(
            f"can't be opened: {reason}", path=shown_path(path), code="audio_not_found"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("is a folder, not a recording", path=shown_path(path), code="audio_not_a_file")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(
            "is a device, pipe or socket, not a recording", path=shown_path(path), code="audio_not_a_file"
        )
    if status.st_size == 0:
        raise AudioError("the file is empty (0 bytes)", path=shown_path(path), code="audio_empty")
    if not os.access(path, os.R_OK):
        raise AudioError("can't be opened: no permission", path=shown_path(path), code="audio_not_found")


class _SoundFileSource:
    """WAV, FLAC, MP3, Ogg, Opus, AIFF and the other formats of libsndfile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Bytes, because soundfile refuses names that aren't valid Unicode.
        self._file = soundfile.SoundFile(os.fspath(path) if sys.platform == "win32" else os.fsencode(path))
        self._format = self._file.format
        self._descriptor = self._reopen_by_descriptor() if self._format == "MP3" else None
        rate_hz, frames = self._file.samplerate, self._file.frames
        known = 0 <= frames < _UNKNOWN_FRAMES
        self.info = AudioInfo(
            sample_rate_hz=rate_hz,
            channels=self._file.channels,
            frames=frames if known else None,
            duration_seconds=frames / rate_hz if known else None,
            exact=known and self._format != "MP3",
        )

    def blocks(self, start_frame: int, block_frames: int) -> Iterator[FloatArray]:
        buffer = np.empty((block_frames, self.info.channels), np.float32)
        position = self._seek(start_frame)
        while True:
            count, failed = self._read(buffer)
            skipped = min(count, max(0, start_frame - position))
            position += count
            if count > skipped:
                yield buffer[skipped:count]
            # Where the header gives no length (FLAC written into a pipe), libsndfile fails at the very end.
            if failed and self.info.frames is not None:
                raise self._broken(position)
            if failed or (not count and not self._go_on_behind_end()):
                break
        if self._format == "FLAC" and self.info.frames is not None and position < self.info.frames:
            raise self._broken(position)

    def close(self) -> None:
        self._file.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self, buffer: FloatArray) -> tuple[int, bool]:
        """Fill the buffer; return the number of frames, and whether a fault ended them."""
        buffer.fill(np.nan)
        try:
            # The array, not its memoryview: with one in an exception's frames CPython's collector crashes.
            return self._file.buffer_read_into(buffer, "float32"), False
        except soundfile.SoundFileError:
            # The count is lost with the exception; what decoded before the fault is no longer NaN.
            untouched = np.isnan(buffer[:, 0])
            return int(untouched.argmax()) if untouched.any() else len(buffer), True

    def _seek(self, frame: int) -> int:
        """Go to a frame, or stay at the start if the header can't tell whether it exists; return where."""
        frames = self.info.frames
        if frame == 0 or (not self.info.exact and (frames is None or frame >= frames)):
            return 0
        try:
            return int(self._file.seek(frame if frames is None else min(frame, frames)))
        except soundfile.SoundFileError as error:
            raise self._broken(frame) from error

    def _reopen_by_descriptor(self) -> int | None:
        """Exchange the file for one that tells how far it was read; None where that isn't possible."""
        if sys.platform == "win32":  # descriptors of two C libraries don't match there
            return None
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            by_descriptor = soundfile.SoundFile(descriptor, closefd=False)
        except soundfile.SoundFileError:  # sound behind other data is found by the name's suffix alone
            os.close(descriptor)
            return None
        self._file.close()
        self._file = by_descriptor
        return descriptor

    def _go_on_behind_end(self) -> bool:
        """Open what follows where libsndfile takes an MP3 to end; False at the true end.

        Joined files go on after the end that the first header names. Files without a header go on if their
        first frames are larger than the rest; there the join may repeat up to a tenth of a second.
        """
        if self._descriptor is None or sys.platform == "win32":
            return False
        place = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.pread(self._descriptor, 3, place) == b"TAG":  # the title at the end of a joined file
            place = os.lseek(self._descriptor, 128, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size - place < _LEAST_MP3_BYTES:
            return False
        head = os.pread(self._descriptor, 3, place)
        if head != b"ID3" and not (len(head) == 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
            return False
        try:
            following = soundfile.SoundFile(self._descriptor, closefd=False)
        except soundfile.SoundFileError:
            return False
        same = (following.samplerate, following.channels) == (self.info.sample_rate_hz, self.info.channels)
        if not same:
            following.close()
            raise AudioError("the rate or the channels change in the middle", path=shown_path(self._path))
        self._file.close()
        self._file = following
        return True

    def _broken(self, frame: int) -> AudioError:
        seconds = frame / self.info.sample_rate_hz
        return AudioError(f"broken or cut off at {seconds:.3f} s", path=shown_path(self._path))


class _MediaSource:
    """The first sound track of a container that FFmpeg reads: m4a, aac, wma, mp4, mov, mkv."""

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("media", f"Reading {shown_path(path)}") from error
        self._av = av
        self._path = path
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        try:
            # "file:" keeps FFmpeg from reading a protocol into a name such as "concat:a".
            self._container = av.open(
                f"file:{os.path.abspath(path)}", options=options, metadata_errors="replace"
            )
        except (av.FFmpegError, UnicodeError) as error:
            raise AudioError("not a readable audio file", path=shown_path(path)) from error
        if not self._container.streams.audio:
            self._container.close()
            raise AudioError("holds no sound track", path=shown_path(path), code="audio_empty")
        self._track = self._container.streams.audio[0]
        seconds = _media_seconds(self._track, self._container)
        rate_hz = self._track.rate
        frames = None if seconds is None else round(seconds * rate_hz)
        self.info = AudioInfo(rate_hz, self._track.codec_context.channels, frames, seconds, exact=False)

    def blocks(self, start_frame: int, block_frames: int) -> Iterator[FloatArray]:
        """Decode from the start and drop what comes before: seeks in containers aren't exact."""
        position, held = 0, 0
        pending: list[FloatArray] = []
        for frames in self._decoded():
            wanted = frames[max(0, start_frame - position) :]
            position += len(frames)
            pending.append(wanted)
            held += len(wanted)
            if held >= block_frames:
                yield np.concatenate(pending)
                pending, held = [], 0
        if held:
            yield np.concatenate(pending)

    def _decoded(self) -> Iterator[FloatArray]:
        """Yield (frames, channels) as the codec hands them out, a few hundredths of a second at a time."""
        resampler = self._av.AudioResampler(
            "fltp", self._track.codec_context.layout, self.info.sample_rate_hz
        )
        position = 0
        try:
            for packed in self._container.decode(self._track):
                for frame in resampler.resample(packed):
                    planes = np.asarray(frame.to_ndarray(), np.float32)  # (channels, frames)
                    position += planes.shape[1]
                    yield planes.T
        except self._av.FFmpegError as error:
            seconds = position / self.info.sample_rate_hz
            raise AudioError(f"broken or cut off at {seconds:.3f} s", path=shown_path(self._path)) from error

    def close(self) -> None:
        self._container.close()


def _media_seconds(track: Any, container: Any) -> float | None:
    """Return the length that a container claims."""
    if track.duration is not None and track.time_base is not None:
        return float(track.duration * track.time_base)
    return container.duration / 1e6 if container.duration else None


def _is_container(path: Path) -> bool:
    """Tell whether FFmpeg should try a file: by what it starts with, or by its suffix."""
    with open(path, "rb") as file:
        head = file.read(8)
    signatures = head[4:8] == b"ftyp" or head[:4] in (b"\x1aE\xdf\xa3", b"0&\xb2u")  # MP4, Matroska, ASF
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return signatures or adts or path.suffix.lower() in MEDIA_SUFFIXES
