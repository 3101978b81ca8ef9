"""Read a benchmark's rows of 10 s audio that are stored as lists of floats, against the naive way.

    python benchmarks/beans_reading.py [--rows 1600] [--rate-hz 16000] [--number float64] [--threads 2]

The naive way takes a row as Python objects, as iterating over a data set does, and makes an array of its
list. Ours takes views of the column's memory, and ends with what the model hears: a checked, clamped float32
clip (of 16 kHz, so that no resampling is timed). Each way runs in a process of its own, for its peak memory;
the files are read once before, so that none waits for the disk. With few rows most of the time is starting.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from naturelm_audio.beans.dataset import Row, open_rows
from naturelm_audio.beans.sounds import waveform

SECONDS = 10
WAYS = ("ours", "ours, views alone", "naive")
GROUP = 64  # rows


class Everything:
    complete = False

    def __call__(self, name: str, identity: str | None) -> str | None:
        return identity


def write(folder: Path, rows: int, rate_hz: int, number: str) -> dict[str, Path]:
    """The same rows as Arrow, as `save_to_disk` writes it, and as Parquet."""
    kind = {"float64": pa.float64(), "float32": pa.float32()}[number]
    draw = np.random.default_rng(0)
    files = {form: folder / f"rows.{form}" for form in ("arrow", "parquet")}
    fields = [pa.field("audio", pa.list_(kind))]
    fields += [
        pa.field(name, pa.string()) for name in ("id", "metadata", "dataset_name", "instruction", "output")
    ]
    schema = pa.schema(fields)
    metadata = json.dumps({"sample_rate": rate_hz, "duration": SECONDS})
    with (
        pa.OSFile(str(files["arrow"]), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as arrow,
        parquet.ParquetWriter(files["parquet"], schema) as other,
    ):
        for start in range(0, rows, GROUP):
            there = min(GROUP, rows - start)
            values = pa.array(draw.uniform(-1, 1, there * SECONDS * rate_hz).astype(number))
            offsets = pa.array(np.arange(there + 1, dtype=np.int32) * SECONDS * rate_hz)
            texts = [[text] * there for text in (metadata, "cbi", "What?", "Wren")]
            columns = map(pa.array, [[str(start + place) for place in range(there)], *texts])
            batch = pa.record_batch([pa.ListArray.from_arrays(offsets, values), *columns], schema=schema)
            arrow.write_batch(batch)
            other.write_batch(batch)
    return files


def naive(path: Path) -> int:
    batches = parquet.ParquetFile(path).iter_batches(16) if path.suffix == ".parquet" else arrow_batches(path)
    samples = 0
    for batch in batches:
        for place in range(len(batch)):
            row = {name: batch.column(name)[place].as_py() for name in batch.schema.names}
            samples += np.array(row["audio"], dtype=np.float32).size
    return samples


def arrow_batches(path: Path) -> list[pa.RecordBatch]:
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all().to_batches()


def ours(path: Path, threads: int, *, views: bool) -> int:
    def clip(row: Row) -> int:
        return len(row.sound.samples if views else waveform(row.sound, SECONDS, folder=path.parent))

    rows = open_rows(path).rows(Everything())
    if views:
        return sum(map(clip, rows))
    samples = 0
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(rows, GROUP)):
            samples += sum(pool.map(clip, some))
    return samples


def peak_kib() -> float:
    """The largest resident set of this process; Linux's usual figure begins with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)


def measure(way: str, path: Path, threads: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    samples = naive(path) if way == "naive" else ours(path, threads, views=way != "ours")
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak_mib = peak_kib() / 1024
    print(
        json.dumps({"samples": samples, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak_mib})
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--rate-hz", type=int, default=16_000)
    parser.add_argument("--number", choices=["float64", "float32"], default="float64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]), options.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), options.rows, options.rate_hz, options.number)
        for form, path in files.items():
            path.read_bytes()
            found = {}
            for way in WAYS:
                command = [sys.executable, __file__, "--threads", str(options.threads), "--measure", way]
                done = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True)
                found[way] = json.loads(done.stdout)
            if len({one["samples"] for one in found.values()}) != 1:
                sys.exit(f"{form}: the ways read different numbers of samples: {found}")
            print(f"{form}, {options.rows} rows of {SECONDS} s, lists of {options.number}")
            for way, one in found.items():
                per_second, per_cpu_second = (options.rows / one[name] for name in ("seconds", "cpu_seconds"))
                ratio = found["naive"]["seconds"] / one["seconds"]
                print(
                    f"  {way:18} {per_second:8.0f} rows/s, {per_cpu_second:8.0f} rows per CPU second, "
                    f"peak {one['peak_mib']:.0f} MiB, {ratio:.1f} times the naive rate"
                )


if __name__ == "__main__":
    main()
