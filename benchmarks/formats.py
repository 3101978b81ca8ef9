"""Write a million rows in every format: seconds, rows per second and peak memory.

    python benchmarks/formats.py [--rows 1000000] [--recordings 500] [--format csv,raven] [--per-file]

Rows are made up, each with a label, a time and a place. Each format is converted in a process of its own,
once with a tenth of the rows and once with all, so that the last column shows whether memory grows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from naturelm_audio.format_names import OUTPUT_FORMATS, split_formats

SPECIES = [
    ("Eurasian Wren", "Troglodytes troglodytes"),
    ("European Robin", "Erithacus rubecula"),
    ("Common Chiffchaff", "Phylloscopus collybita"),
    ("None", None),
]
WINDOW_SECONDS = 10.0
CALL = """
import json, resource, sys
from pathlib import Path
from naturelm_audio.formats import FormatOptions, convert
source, name, folder, per_file = sys.argv[1:]
dataset = {"contributors": [{"title": "A"}], "project": {"title": "B", "samplingDesign": "targeted"}}
way = {"": None, "no": False, "yes": True}[per_file]
made = convert(source, [name], folder, FormatOptions(per_file=way, dataset=dataset))
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([made.rows[name], len(made.paths), used.ru_maxrss, used.ru_utime + used.ru_stime]))
"""


def write_rows(path: Path, rows: int, recordings: int) -> None:
    """Write rows as `naturelm infer` does, without the model."""
    per_recording = -(-rows // recordings)
    begin = datetime(2024, 5, 1, 2, tzinfo=UTC)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            recording, window = divmod(number, per_recording)
            start = window * WINDOW_SECONDS
            time_of = begin + timedelta(days=recording, seconds=start)
            label, scientific = SPECIES[number % 7 % 4]
            row = {
                "audio_path": f"site{recording % 10}/S4A01_{recording:05d}.wav",
                "start_seconds": start,
                "end_seconds": start + WINDOW_SECONDS,
                "query": "What is the common name for the focal species in the audio?",
                "output": label,
                "confidence": round(0.2 + number % 80 / 100, 4),
                "confidence_kind": "token_probability",
                "start_time": time_of.isoformat(),
                "end_time": (time_of + timedelta(seconds=WINDOW_SECONDS)).isoformat(),
                "time_source": "guano",
                "site": f"site{recording % 10}",
                "latitude": 52.52,
                "longitude": 13.405,
                "sample_rate": 48000,
                "duration_seconds": per_recording * WINDOW_SECONDS,
                "model": "naturelm-tiny",
                "model_revision": "1a2b3c",
                "version": "0.1.0",
                "run_id": "20240613T101500Z-3f2a",
            }
            if scientific:
                row["labels"] = [{"label": label, "score": row["confidence"], "scientific_name": scientific}]
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def measured(source: Path, name: str, per_file: str) -> tuple[list[float], float]:
    """Convert in a process of its own: [rows, files, peak, processor seconds] and real seconds."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", CALL, str(source), name, folder, per_file],
            stdout=subprocess.PIPE,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - started


def main() -> None:
    """Measure every format that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--recordings", type=int, default=500)
    parser.add_argument("--format", default=",".join(OUTPUT_FORMATS))
    parser.add_argument("--per-file", choices=["yes", "no"], default="")
    asked = parser.parse_args()
    unit = 1024 if sys.platform != "darwin" else 1024**2
    with tempfile.TemporaryDirectory() as folder:
        few, all_rows = Path(folder) / "few.jsonl", Path(folder) / "all.jsonl"
        write_rows(few, asked.rows // 10, asked.recordings)
        write_rows(all_rows, asked.rows, asked.recordings)
        print(f"{asked.rows:,} rows of {asked.recordings} recordings, {all_rows.stat().st_size / 1e6:.0f} MB")
        print("format         seconds  processor    rows/s  files  MiB  MiB with a tenth")
        for name in split_formats([asked.format]):
            before, _ = measured(few, name, asked.per_file)
            (_, files, peak, processor), seconds = measured(all_rows, name, asked.per_file)
            print(
                f"{name:13} {seconds:8.1f} {processor:10.1f} {asked.rows / seconds:9,.0f} {files:6} "
                f"{peak / unit:4.0f} {before[2] / unit:5.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
