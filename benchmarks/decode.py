"""Decode and resample by hand: how many times real time, and how much memory a long file takes.

    python benchmarks/decode.py [SECONDS] [HOURS]

Speed: one file of SECONDS (default 600) per format and rate, CPU time of one thread; then each resampler by
itself. Memory: a WAV of HOURS (default 6) and one of 5 minutes, each streamed through windows in its own
process; their peaks must agree.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import numpy as np
import soundfile

from naturelm_audio import audio
from naturelm_audio.options import RESAMPLERS
from naturelm_audio.resampling import resampled
from naturelm_audio.windows import WindowPlan

FORMATS = [
    ("wav", "WAV", "PCM_16", 48_000),
    ("wav", "WAV", "PCM_16", 384_000),
    ("flac", "FLAC", "PCM_16", 48_000),
    ("mp3", "MP3", "MPEG_LAYER_III", 48_000),
    ("ogg", "OGG", "VORBIS", 48_000),
    ("opus", "OGG", "OPUS", 48_000),
]


def write_noise(path: Path, seconds: int, format: str, subtype: str, rate_hz: int) -> None:
    second = (0.1 * np.random.default_rng(0).standard_normal(rate_hz)).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate_hz, 1, subtype, format=format) as file:
        for _ in range(seconds):
            file.write(second)


def print_speeds(folder: Path, seconds: int) -> None:
    for suffix, format, subtype, rate_hz in FORMATS:
        path = folder / f"speed.{suffix}"
        write_noise(path, seconds, format, subtype, rate_hz)
        started = time.process_time()
        samples = sum(len(block) for block in audio.stream(path))
        stream_seconds = time.process_time() - started
        started = time.process_time()
        for number in range(20):
            audio.read_span(path, number * (seconds - 10) / 20, 10.0)
        span_milliseconds = (time.process_time() - started) / 20 * 1000
        print(
            f"{suffix:5} {subtype:15} {rate_hz // 1000:4} kHz: "
            f"{samples / 16_000 / stream_seconds:7.0f} x real time, "
            f"{stream_seconds / seconds * 3600:5.2f} s per hour; a span of 10 s: {span_milliseconds:5.1f} ms"
        )


def print_resamplers(seconds: int) -> None:
    for rate_hz in (22_050, 44_100, 48_000, 384_000):
        block = (0.1 * np.random.default_rng(0).standard_normal(10 * rate_hz)).astype(np.float32)
        figures = []
        for name in RESAMPLERS:
            started = time.process_time()
            for _ in resampled(repeat(block, max(1, seconds // 10)), Fraction(rate_hz, 16_000), name):
                pass
            per_hour = (time.process_time() - started) / max(1, seconds // 10) * 360
            figures.append(f"{name} {per_hour:6.2f} s per hour")
        print(f"resampling {rate_hz / 1000:6.2f} kHz: {', '.join(figures)}")


def print_peaks(folder: Path, hours: float) -> None:
    for seconds in (300, round(hours * 3600)):
        path = folder / "long.wav"
        write_noise(path, seconds, "WAV", "PCM_16", 48_000)
        output = subprocess.run(
            [sys.executable, __file__, "--peak", str(path)], capture_output=True, text=True, check=True
        ).stdout
        print(f"{seconds / 3600:6.2f} h at 48 kHz: {output.strip()}")


def print_own_peak(path: str) -> None:
    windows = sum(1 for _ in WindowPlan(10.0, 10.0).cut(audio.stream(path)))
    peak_mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{windows} windows, peak memory {peak_mebibytes:.0f} MiB")


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        print_own_peak(sys.argv[2])
        return
    numbers = [float(text) for text in sys.argv[1:]] + [600, 6][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory() as folder:
        print_speeds(Path(folder), round(numbers[0]))
        print_resamplers(round(numbers[0]))
        print_peaks(Path(folder), numbers[1])


if __name__ == "__main__":
    main()
