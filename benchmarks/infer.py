"""`naturelm infer` with the bundled model as a user runs it: cold start, speed, memory on long recordings.

    python benchmarks/infer.py [--threads 1] [--hours 6]

Makes its own recordings in a temporary folder. Every figure is of a whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

QUESTION = "What is the common name for the focal species in the audio?"
RATE_HZ = 16_000


def write_recording(path: Path, minutes: float) -> None:
    """Noise with chirps, written in blocks so that this process stays small too."""
    noise = np.random.default_rng(0)
    time_s = np.arange(RATE_HZ * 60) / RATE_HZ
    chirps = 0.2 * np.sin(2 * np.pi * (2000 + 800 * np.sin(2 * np.pi * 0.7 * time_s)) * time_s)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, subtype="PCM_16") as file:
        for minute in range(round(minutes)):
            file.write(np.roll(chirps, minute * 1000) + noise.normal(0, 0.02, len(time_s)))


def infer(recordings: list[Path], output: Path, threads: int, *options: str) -> tuple[float, float, int]:
    """Seconds, peak memory in MiB, and rows of one run."""
    arguments = [str(part) for path in recordings for part in ("--audio-path", path)]
    command = [sys.executable, "-m", "naturelm_audio", "infer", *arguments, "--query", QUESTION]
    command += ["--output-path", str(output), "--num-beams", "1", "--overwrite", *options]
    start = time.perf_counter()
    # A child of its own per run: ru_maxrss of children is the largest so far.
    script = "import resource,subprocess,sys,json;r=subprocess.run(sys.argv[1:]).returncode;"
    script += "print(json.dumps([r,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
    )
    elapsed = time.perf_counter() - start
    code, peak = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise SystemExit(f"infer ended with {code}")
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return elapsed, peak / unit, sum(1 for _ in output.open(encoding="utf-8"))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--hours", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"10 s": 1 / 6, "5 min": 5.0, f"{options.hours:g} h": options.hours * 60}
        results = {}
        for label, minutes in sizes.items():
            recording = folder / "recording.wav"
            write_recording(recording, max(minutes, 1))
            if minutes < 1:
                samples, rate = soundfile.read(recording, frames=10 * RATE_HZ)
                soundfile.write(recording, samples, rate)
            results[label] = infer([recording], folder / "rows.jsonl", options.threads)
            seconds, peak, rows = results[label]
            print(f"{label:>6}: {rows:5d} windows  {seconds:8.1f} s  peak {peak:7.1f} MiB")
        (start, _, first), (short, small, few) = results["10 s"], results["5 min"]
        long, large, many = results[f"{options.hours:g} h"]
        print(f"cold start to {first} answer: {start:.2f} s")
        print(f"then {(many - few) / (long - short):.1f} windows/s ({options.threads} threads)")
        print(f"peak memory {options.hours:g} h / 5 min: {large / small:.3f}")


if __name__ == "__main__":
    main()
