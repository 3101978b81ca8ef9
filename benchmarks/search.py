"""Searching a table of a million vectors of the release's width: time and memory of a process of its own.

    python benchmarks/search.py [--rows 1000000] [--width 768] [--threads 2] [--table FOLDER]

The vectors are random numbers, written by the same code as real ones; a folder that is there is used again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from naturelm_audio.embeddings.parts import JOURNAL, EmbeddedSpan
from naturelm_audio.embeddings.writer import TableWriter
from naturelm_audio.recordings import Recording

SEARCH = """
import json, resource, sys, time
import numpy as np
from naturelm_audio.embeddings.search import nearest
from naturelm_audio.embeddings.table import EmbeddingTable
folder, metric, top_k, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = []
for number in range(rounds):
    start, cpu = time.perf_counter(), time.process_time()
    table = EmbeddingTable.open(folder)
    query = np.random.default_rng(number).standard_normal(table.width).astype(np.float32)
    hits = nearest(table, query, metric=metric, top_k=top_k)
    times.append((time.perf_counter() - start, time.process_time() - cpu))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"times": times, "before": before, "peak": peak, "hits": len(hits)}))
"""


def write_table(folder: Path, rows: int, width: int) -> None:
    """A table of random vectors, a thousand windows per recording."""
    random = np.random.default_rng(0)
    settings = {"level": "encoder", "pooling": "mean", "vectors": {"width": width}}
    with TableWriter.open(folder, mode="new", settings=settings) as table:
        for number in range(rows // 1000):
            name = f"site {number % 50}/2026-05-{number % 31 + 1:02d}/{number:06d}.wav"
            recording = Recording(Path("/nowhere") / name, name)
            spans = [EmbeddedSpan(name, 10.0 * n, 10.0 * n + 10) for n in range(1000)]
            table.add(recording, spans, random.standard_normal((1000, width), dtype=np.float32))
            table.finish(recording)


def search(folder: Path, metric: str, threads: int, rounds: int) -> None:
    """Print the times of one process, the first of which may read from disk."""
    command = [sys.executable, "-c", SEARCH, str(folder), metric, "20", str(rounds)]
    limits = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=os.environ | limits, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    times = ", ".join(f"{wall:.2f} s ({cpu:.2f} s of processor)" for wall, cpu in found["times"])
    peak, idle = found["peak"] / unit, found["before"] / unit
    print(f"{metric:>7}: {times}; peak memory {peak:.0f} MiB ({idle:.0f} idle)")


def main() -> None:
    """Write the table if it isn't there, and search it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.table or Path(name) / "table"
        if not (folder / JOURNAL).is_file():
            write_table(folder, options.rows, options.width)
        for metric in ("cosine", "inner"):
            search(folder, metric, options.threads, options.rounds)


if __name__ == "__main__":
    main()
