"""`naturelm embed` against the raw encoder, at the release's sizes on random weights, in one run.

    python benchmarks/embed.py [--threads 2] [--minutes 4] [--batch 8] [--dtype float32] [--device cpu]

The raw figure is the encoder alone on clips that are in memory already, in the same batches; the other is the
whole way from files on disk to a finished table. The two take turns, so that both see the same machine; on a
busy one the ratio of processor time says more than that of the clock.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from naturelm_audio.checkpoint import random_audio_tower
from naturelm_audio.embeddings.encoder import LEVELS, POOLINGS, Embedder
from naturelm_audio.embeddings.run import EmbedOptions, run_embed

RATE_HZ = 48_000
WINDOW_SAMPLES = 160_000
FILE_MINUTES = 2.0


def write_recordings(folder: Path, minutes: float) -> int:
    """Files of two minutes of noise at 48 kHz in FLAC, which is the slowest to decode; how many windows."""
    noise = np.random.default_rng(0)
    files = max(1, round(minutes / FILE_MINUTES))
    for number in range(files):
        samples = noise.normal(0, 0.05, round(FILE_MINUTES * 60 * RATE_HZ)).astype(np.float32)
        soundfile.write(folder / f"{number:03d}.flac", samples, RATE_HZ)
    return files * round(FILE_MINUTES * 6)


Times = tuple[float, float]
"""By the clock, and of the processor, in seconds."""


def times() -> Times:
    return time.perf_counter(), time.process_time()


def since(start: Times) -> Times:
    return time.perf_counter() - start[0], time.process_time() - start[1]


def raw_seconds(embedder: Embedder, windows: int) -> Times:
    """Times of the encoder (and what is behind it) alone for so many windows."""
    clips = torch.randn(embedder.batch_size, WINDOW_SAMPLES, device=embedder.device) * 0.05
    start = times()
    with torch.inference_mode():
        for first in range(0, windows, embedder.batch_size):
            embedder._vectors(clips[: min(embedder.batch_size, windows - first)])
        if embedder.device.type == "cuda":
            torch.cuda.synchronize()
    return since(start)


def whole_seconds(embedder: Embedder, folder: Path, name: str, pooling: str) -> Times:
    """Times from files to a finished table."""
    options = EmbedOptions(
        audio_paths=(str(folder),), output_path=folder / name, level=embedder.level, pooling=pooling
    )
    start = times()
    summary = run_embed(options, lambda _: embedder)
    if summary.failed:
        raise SystemExit(f"failed: {summary.failed}")
    return since(start)


def main() -> None:
    """Print both rates, their ratio and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--level", choices=LEVELS, default=LEVELS[0])
    parser.add_argument("--pooling", choices=POOLINGS, default=POOLINGS[0])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tower = random_audio_tower(dtype=getattr(torch, options.dtype), device=options.device)
    embedder = Embedder(tower, level=options.level, pooling=options.pooling, batch_size=options.batch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows = write_recordings(folder, options.minutes)
        raw_seconds(embedder, options.batch)
        pairs = []
        for number in range(options.rounds):
            (raw, raw_cpu) = raw_seconds(embedder, windows)
            (whole, whole_cpu) = whole_seconds(embedder, folder, f"table-{number}", options.pooling)
            pairs.append((raw / whole, raw_cpu / whole_cpu))
            rates = f"raw {windows / raw:.2f} windows/s, embed {windows / whole:.2f}"
            print(f"{rates}: {raw / whole:.1%}; of processor time {raw_cpu / whole_cpu:.1%}", flush=True)
    share, share_cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
    unit = 1024 if sys.platform != "darwin" else 1024**2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(
        f"median {share:.1%} of the raw encoder's rate, {share_cpu:.1%} by processor time; "
        f"peak memory {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
