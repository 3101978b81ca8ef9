"""A window -> a short file to listen to and a picture of it, as the model heard it.

The sound is the file's own channel mix at its own rate, at most 48 kHz, which every browser plays; with a
speed factor it is slowed down as for the model, so that ultrasound is heard. Quiet clips are made louder. The
picture is the model's own filterbank.
"""

from __future__ import annotations

import math
import re
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile

from naturelm_audio.audio import probe, read_span
from naturelm_audio.decoders import FloatArray
from naturelm_audio.files import replacing_file
from naturelm_audio.review.choosing import Candidate
from naturelm_audio.review.page import ReviewClip
from naturelm_audio.spectrograms import COLUMN_SECONDS, Spectrogram, png

__all__ = ["CLIP_FORMATS", "cut"]

CLIP_FORMATS = ("flac", "wav")
AUDIO_FOLDER, IMAGE_FOLDER = "clips", "spectrograms"
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000, 48_000
LOUD_PEAK, MOST_GAIN = 0.7, 30.0
MOST_COLUMNS = 1000
DARKEST_SHARE, BRIGHTEST_SHARE, LEAST_RANGE = 0.25, 0.998, 0.35


def cut(
    candidate: Candidate,
    recording: Path,
    folder: Path,
    number: int,
    *,
    clip_format: str = "flac",
    keep_level: bool = False,
) -> ReviewClip:
    """Write sound and picture of a window below ``folder``; return where they are.

    Args:
        candidate: the window.
        recording: its file.
        folder: the page's; its sub-folders are there.
        number: of the clip, which its names begin with.
        clip_format: one of CLIP_FORMATS.
        keep_level: don't make quiet clips louder.

    Raises:
        AudioError: the window can't be read.
        OutputError: the files can't be written.
        MissingExtraError: pillow is not installed.
    """
    name = f"{number:04d}_{_plain(candidate.label)}"
    audio = f"{AUDIO_FOLDER}/{name}.{clip_format}"
    image = f"{IMAGE_FOLDER}/{name}.png"
    samples, rate_hz = _heard(candidate, recording)
    with replacing_file(folder / audio) as temporary:
        soundfile.write(temporary, samples if keep_level else _louder(samples), rate_hz, subtype="PCM_16")
    with replacing_file(folder / image) as temporary:
        temporary.write_bytes(_picture(candidate, recording))
    return ReviewClip(candidate, audio, image)


def _heard(candidate: Candidate, recording: Path) -> tuple[FloatArray, int]:
    native_hz = probe(recording).sample_rate_hz * candidate.speed_factor
    rate_hz = round(min(max(native_hz, LOWEST_RATE_HZ), HIGHEST_RATE_HZ))
    samples = read_span(
        recording,
        candidate.start_seconds,
        candidate.end_seconds - candidate.start_seconds,
        sample_rate_hz=rate_hz,
        channel=candidate.channel,
        speed_factor=candidate.speed_factor,
    )
    return samples, rate_hz


def _louder(samples: FloatArray) -> FloatArray:
    peak = float(np.abs(samples).max(initial=0.0))
    gain = min(LOUD_PEAK / peak, MOST_GAIN) if 0 < peak < LOUD_PEAK else 1.0
    return (samples * np.float32(gain)).astype(np.float32)


def _picture(candidate: Candidate, recording: Path) -> bytes:
    seconds = candidate.end_seconds - candidate.start_seconds
    finest = COLUMN_SECONDS * candidate.speed_factor
    column_seconds = max(finest, seconds / MOST_COLUMNS)
    count = max(1, math.floor(seconds / column_seconds + 1e-6))
    spectrogram = Spectrogram(recording, channel=candidate.channel, speed_factor=candidate.speed_factor)
    with closing(spectrogram):
        columns = spectrogram.columns(candidate.start_seconds, column_seconds, count)
    known = columns[~np.isnan(columns)]
    if not known.size:
        return png(columns, (0.0, 1.0))
    darkest, brightest = np.quantile(known, (DARKEST_SHARE, BRIGHTEST_SHARE))
    return png(columns, (float(darkest), max(float(brightest), float(darkest) + LEAST_RANGE)))


def _plain(label: str) -> str:
    """The label as part of a file name on every system."""
    return re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")[:40] or "clip"
