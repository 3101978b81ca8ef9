"""Write the example recordings in assets/: synthetic sounds of our own, the same in every run.

    python examples/make_assets.py [FOLDER]

All 16-bit mono at the rates that field recorders use, FLAC but for one WAV. ``mixture.flac`` has known
content: ``mixture.csv`` beside it lists it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import soundfile

from naturelm_audio.train.synthetic import mix, synthesise

# file name: kind, seed, seconds, sample rate
RECORDINGS = {
    "bird-song.flac": ("bird", 4, 10.0, 44_100),
    "bird-trill.flac": ("bird-trill", 2, 6.0, 32_000),
    "cricket.flac": ("cricket", 1, 8.0, 32_000),
    "frog.wav": ("frog", 3, 5.5, 22_050),
    "rain.flac": ("rain", 5, 8.0, 22_050),
    "silence.flac": ("silence", 6, 5.0, 22_050),
    "wind.flac": ("wind", 7, 8.0, 22_050),
}
MIXTURE_SEED, MIXTURE_SECONDS, MIXTURE_RATE_HZ = 11, 60.0, 22_050
# kind, start and end in seconds
MIXTURE = [
    ("cricket", 2.0, 9.0),
    ("bird", 12.0, 19.0),
    ("frog", 21.0, 29.0),
    ("rain", 31.0, 37.0),
    ("bird-trill", 41.0, 48.0),
    ("frog", 52.0, 58.0),
]


def write_assets(folder: Path) -> list[Path]:
    """Write all recordings and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (kind, seed, seconds, rate_hz) in RECORDINGS.items():
        soundfile.write(folder / name, synthesise(kind, seed, seconds, rate_hz), rate_hz, subtype="PCM_16")
    mixture = mix(MIXTURE, MIXTURE_SEED, MIXTURE_SECONDS, MIXTURE_RATE_HZ)
    soundfile.write(folder / "mixture.flac", mixture, MIXTURE_RATE_HZ, subtype="PCM_16")
    with open(folder / "mixture.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("kind", "start_seconds", "end_seconds"))
        writer.writerows(MIXTURE)
    return [folder / name for name in sorted([*RECORDINGS, "mixture.flac"])]


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "assets"
    for path in write_assets(target):
        print(path)
