"""A recording that a user gave: a file in the user's own folder, what its header says, and its pictures."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from naturelm_audio import audio
from naturelm_audio.audio import Recording
from naturelm_audio.decoders import FloatArray
from naturelm_audio.errors import AudioError, NatureLMError
from naturelm_audio.recordings import MEDIA_SUFFIXES, shown_path
from naturelm_audio.spectrograms import Spectrogram, png

__all__ = ["Limits", "Upload", "safe_name"]

logger = logging.getLogger(__name__)

LONGEST_NAME = 120
PICTURE_COLUMNS = 900
AUDIBLE_RATE_HZ = 48_000
LONGEST_SOUND_SECONDS = 600.0
COUNTED_UP_TO_SECONDS = 600.0  # headers of MP3 are wrong by several per cent
Settings = tuple[int | None, float]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What users may give at once."""

    upload_bytes: int = 2_000_000_000
    files: int = 1000
    clip_seconds: float = 300.0
    recording_seconds: float = 24 * 3600.0
    questions: int = 20
    idle_seconds: float = 2 * 3600.0


@dataclass(eq=False)
class Upload:
    """One uploaded recording; :meth:`delete` removes its folder."""

    path: Path
    name: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    sample_rate_hz: int | None = None
    channels: int | None = None
    duration_seconds: float | None = None
    problem: str | None = None
    _heard: Path | None = None
    _spectrograms: dict[Settings, Spectrogram] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def examine(self) -> None:
        """Read the header; what is wrong with the file goes to ``problem``, as a sentence."""
        try:
            info = audio.probe(self.path)
        except NatureLMError as error:
            self.problem = f"{self.name}: {getattr(error, 'reason', error)}"
            return
        self.sample_rate_hz, self.channels = info.sample_rate_hz, info.channels
        self.duration_seconds = info.duration_seconds
        if info.duration_seconds is None:
            self._listen()
        elif not info.exact and info.duration_seconds <= COUNTED_UP_TO_SECONDS:
            self.duration_seconds = self._counted()

    @property
    def recording(self) -> Recording:
        """The recording as a pipeline takes it."""
        return Recording(self.path, self.name)

    def to_mapping(self) -> dict[str, Any]:
        """Return what the page shows."""
        return {
            "id": self.id,
            "name": self.name,
            "seconds": self.duration_seconds,
            "rate_hz": self.sample_rate_hz,
            "channels": self.channels,
            "problem": self.problem,
        }

    def picture(self, start_seconds: float, end_seconds: float, settings: Settings) -> bytes:
        """Return a PNG of a span.

        Raises:
            AudioError: the file can't be read, or was removed.
        """
        duration = max(end_seconds - start_seconds, 1e-3)
        spectrogram = self._spectrogram(settings)
        columns = spectrogram.columns(start_seconds, duration / PICTURE_COLUMNS, PICTURE_COLUMNS)
        return png(columns, spectrogram.value_range(self.duration_seconds or duration))

    def tile(self, level: int, index: int, settings: Settings) -> bytes:
        """Return a PNG tile, see :meth:`naturelm_audio.spectrograms.Spectrogram.tile`.

        Raises:
            AudioError: the file can't be read, or was removed.
        """
        spectrogram = self._spectrogram(settings)
        return png(spectrogram.tile(level, index), spectrogram.value_range(self.duration_seconds or 10.0))

    def sound(self, start_seconds: float, end_seconds: float, settings: Settings) -> tuple[FloatArray, int]:
        """Return a span to listen to, at most ten minutes of it, and its rate in Hz.

        With a speed factor it is as slow as the model hears it.

        Raises:
            AudioError: the span can't be read.
        """
        channel, speed_factor = settings
        seconds = min(max(end_seconds - start_seconds, 0.01), LONGEST_SOUND_SECONDS * speed_factor)
        rate_hz = audio.SAMPLE_RATE_HZ
        if speed_factor == 1.0:
            rate_hz = min(self.sample_rate_hz or rate_hz, AUDIBLE_RATE_HZ)
        samples = audio.read_span(
            self._seekable(),
            start_seconds,
            seconds,
            sample_rate_hz=rate_hz,
            channel=channel,
            speed_factor=speed_factor,
        )
        return samples, rate_hz

    def close(self) -> None:
        """Close the file; pictures open it again."""
        with self._lock:
            for spectrogram in self._spectrograms.values():
                spectrogram.close()
            self._spectrograms.clear()

    def _counted(self) -> float | None:
        """The true length, by decoding; the header's where that fails in the middle."""
        samples = 0
        try:
            for block in audio.stream(self.path):
                samples += len(block)
        except AudioError:
            return self.duration_seconds
        return samples / audio.SAMPLE_RATE_HZ

    def delete(self) -> None:
        """Remove the file and what was made of it."""
        self.close()
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def _spectrogram(self, settings: Settings) -> Spectrogram:
        path = self._seekable()
        with self._lock:
            if settings not in self._spectrograms:
                channel, speed_factor = settings
                self._spectrograms[settings] = Spectrogram(path, channel=channel, speed_factor=speed_factor)
            return self._spectrograms[settings]

    def _seekable(self) -> Path:
        """The file, or a copy of it as a WAV file where every look at it would decode it from its start."""
        if self.path.suffix.lower() in MEDIA_SUFFIXES:
            self._listen()
        return self._heard or self.path

    def _listen(self) -> None:
        """Decode the whole file into a WAV file beside it, block by block."""
        with self._lock:
            if self._heard is not None:
                return
            copy = self.path.with_name("heard.wav")
            rate_hz = min(self.sample_rate_hz or audio.SAMPLE_RATE_HZ, AUDIBLE_RATE_HZ)
            try:
                with soundfile.SoundFile(os.fspath(copy), "w", rate_hz, 1, subtype="PCM_16") as file:
                    for block in audio.stream(self.path, sample_rate_hz=rate_hz):
                        file.write(block)
            except AudioError as error:
                logger.info("%s: %s", self.name, error.reason)
            self._heard = copy
            self.duration_seconds = soundfile.info(os.fspath(copy)).duration


def safe_name(given: str) -> str:
    """Return a file name as it is shown and stored: no folders, no control characters, not too long."""
    name = shown_path(given.replace("\\", "/").rsplit("/", 1)[-1])
    name = (
        "".join(letter if letter.isprintable() else "_" for letter in name).strip().lstrip(".") or "recording"
    )
    stem, dot, suffix = name.rpartition(".")
    room = LONGEST_NAME - len(suffix) - 1
    if not dot or room < 1:
        return name[:LONGEST_NAME]
    return f"{stem[:room]}.{suffix}"
