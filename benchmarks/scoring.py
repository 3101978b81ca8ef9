"""Score as many predictions as BEANS-Zero has, and match a component's answers to its labels.

    python benchmarks/scoring.py [--rounds 5]

Answers are made up: right ones, misspelt ones, free sentences, empty ones. The whole command runs in a
process of its own, both modes and all files it writes; captions are scored by CIDEr. Matching is timed with
and without rapidfuzz.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from naturelm_audio import labels
from naturelm_audio.components import beans_zero

SUBJECTS = ["A bird", "The call of a robin", "Several frogs", "A distant owl", "Crickets and a wren"]
VERBS = ["sings", "calls", "trills softly", "is heard twice", "chatters over running water"]
PLACES = ["at dawn.", "near a road.", "in the forest", "with wind noise.", "while insects buzz."]


def misspelt(text: str, draw: random.Random) -> str:
    letters = list(text)
    for _ in range(draw.randrange(1, 4)):
        letters[draw.randrange(len(letters))] = draw.choice("abcdefghij ")
    return "".join(letters)


def answer(gold: str, choices: list[str], draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.5:
        return gold
    if kind < 0.8:
        return misspelt(draw.choice(choices), draw)
    return "" if kind < 0.85 else f"This sounds like {draw.choice(choices)} number {draw.randrange(1000)}"


def write_predictions(path: Path) -> int:
    draw, rows = random.Random(0), 0
    with path.open("w", encoding="utf-8") as file:
        for component in beans_zero():
            for number in range(component.rows or 0):
                if component.task == "captioning":
                    gold, text = (" ".join(map(draw.choice, (SUBJECTS, VERBS, PLACES))) for _ in range(2))
                    text = f"{text} {draw.randrange(500)}"
                else:
                    gold = draw.choice(component.labels)
                    if component.task == "detection" and draw.random() < 0.2:
                        others = [label for label in component.labels if label not in ("None", gold)]
                        gold = (
                            "None"
                            if gold == "None"
                            else ", ".join([gold, *draw.sample(others, k=min(1, len(others)))])
                        )
                    text = answer(gold, list(component.labels), draw)
                row = {"dataset_name": component.name, "prediction": text, "label": gold, "id": str(number)}
                file.write(json.dumps(row) + "\n")
                rows += 1
    return rows


def time_command(folder: Path) -> None:
    path = folder / "predictions.jsonl"
    rows = write_predictions(path)
    call = "import sys, json, resource; from naturelm_audio.scoring_command import score;"
    call += "code = score([sys.argv[1], '--no-spice'], standalone_mode=False);"
    call += "used = resource.getrusage(resource.RUSAGE_SELF);"
    call += "print(json.dumps([code, used.ru_maxrss, used.ru_utime + used.ru_stime]))"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", call, str(path)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    seconds = time.perf_counter() - started
    code, peak, processor = json.loads(done.stdout.splitlines()[-1])
    unit = 1024 if sys.platform != "darwin" else 1024**2
    print(
        f"score {rows:,} predictions, both modes: {seconds:.1f} s, {processor:.1f} s of processor time, "
        f"{peak / unit:.0f} MiB, status {code}"
    )


def time_matching(rounds: int) -> None:
    names = list(beans_zero().components["cbi"].labels)
    draw = random.Random(1)
    for kind, texts in {
        "all misspelt": [misspelt(draw.choice(names), draw) for _ in range(3620)],
        "as above": [answer(draw.choice(names), names, draw) for _ in range(3620)],
    }.items():
        both = {"numpy alone": labels.edit_distances, "as installed": labels.distances}
        for way, measure in both.items():
            best = min(timed(texts, names, measure) for _ in range(rounds))
            print(f"match 3,620 answers ({kind}) to 264 labels, {way}: {best:.3f} s")


def timed(texts: list[str], names: list[str], measure) -> float:
    usual, labels.distances = labels.distances, measure
    try:
        started = time.perf_counter()
        labels.LabelSet(names).nearest(texts)
        return time.perf_counter() - started
    finally:
        labels.distances = usual


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    time_matching(rounds)
    with tempfile.TemporaryDirectory() as folder:
        time_command(Path(folder))


if __name__ == "__main__":
    main()
