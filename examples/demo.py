"""What `make demo` runs: the real command on AUDIO (example recordings by default), its answers as a table.

The bundled model is small. Its answers show how the program works, not what the official 8B model would say.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

QUESTIONS = ("What is the common name for the focal species in the audio?", "Caption the audio.")
OUTPUT = Path("runs") / "demo" / "answers.jsonl"


def command(audio: str, question: str) -> list[str]:
    """The arguments of `naturelm` that answer one question, or the usual two, about one folder or file."""
    questions = [question] if question else QUESTIONS
    queries = [part for text in questions for part in ("--query", text)]
    return ["infer", "--audio-path", audio, *queries, "--output-path", str(OUTPUT), "--overwrite"]


def table(rows: list[dict]) -> str:
    """One line per answer: recording, seconds, answer."""
    lines = []
    for row in rows:
        span = (
            ""
            if row["start_seconds"] is None
            else f"{row['start_seconds']:7.2f} - {row['end_seconds']:.2f} s"
        )
        answer = row["output"] if row.get("error") is None else f"({row['error']})"
        lines.append(f"{row['audio_path']:<28} {span:<20} {answer}")
    return "\n".join(lines)


def main() -> int:
    """The command's exit status; its answers are printed per question."""
    arguments = command(os.environ.get("AUDIO") or "assets", os.environ.get("QUERY", ""))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    print("$ naturelm", shlex.join(arguments), "\n", flush=True)
    status = subprocess.run([sys.executable, "-m", "naturelm_audio", *arguments], check=False).returncode
    if status not in (0, 3):  # 3: some recordings failed, the others have answers
        return status
    rows = [json.loads(line) for line in OUTPUT.read_text(encoding="utf-8").splitlines()]
    for question in dict.fromkeys(row["query"] for row in rows):
        print(f"\n{question}\n{table([row for row in rows if row['query'] == question])}")
    print(f"\nThese are answers of the small bundled model, not of the official 8B model. Rows: {OUTPUT}")
    return status


if __name__ == "__main__":
    sys.exit(main())
