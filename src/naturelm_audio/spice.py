"""SPICE of captions through its published Java program, where that is installed; else what is missing.

Nothing is downloaded. The program is spice-1.0.jar with Stanford CoreNLP 3.6.0 in its folder ``lib``, as the
package pycocoevalcap brings and fetches them. Source: Anderson et al. (2016), SPICE.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from naturelm_audio.errors import NatureLMError

__all__ = ["FOLDER_VARIABLE", "SpiceError", "missing_parts", "spice_folder", "spice_scores"]

FOLDER_VARIABLE = "NATURELM_SPICE"
JAR = "spice-1.0.jar"
LIBRARIES = ("lib/stanford-corenlp-3.6.0.jar", "lib/stanford-corenlp-3.6.0-models.jar")
MEMORY = "-Xmx8G"
HOW_TO_GET = (
    "install Java, unpack SPICE 1.0 and put the two CoreNLP jars into its folder lib (pip install "
    f"pycocoevalcap, run its get_stanford_models.sh), or point {FOLDER_VARIABLE} at such a folder"
)


class SpiceError(NatureLMError):
    """SPICE is not there, or its program failed."""


def spice_folder() -> Path | None:
    """Return the folder of the program: the variable's, else the one of pycocoevalcap, else None."""
    if os.environ.get(FOLDER_VARIABLE):
        return Path(os.environ[FOLDER_VARIABLE])
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(next(iter(package.submodule_search_locations))) / "spice"


def missing_parts(folder: Path | None) -> list[str]:
    """Return what is not installed, in words; empty if SPICE can run."""
    missing = [] if shutil.which("java") else ["Java"]
    if folder is None:
        return [*missing, f"the SPICE program ({JAR})"]
    return [*missing, *(name for name in (JAR, *LIBRARIES) if not (folder / name).is_file())]


def spice_scores(references: Sequence[str], hypotheses: Sequence[str]) -> list[float]:
    """Return the F-score of every row, with one reference each.

    Raises:
        SpiceError: a part is missing, or the program failed; the message says which and how to get it.
    """
    folder = spice_folder()
    missing = missing_parts(folder)
    if missing or folder is None:
        raise SpiceError(f"SPICE needs {', '.join(missing)}: {HOW_TO_GET}")
    pairs = zip(references, hypotheses, strict=True)
    rows = [{"image_id": n, "test": text, "refs": [reference]} for n, (reference, text) in enumerate(pairs)]
    with tempfile.TemporaryDirectory() as temporary:
        asked, answered = Path(temporary) / "captions.json", Path(temporary) / "scores.json"
        asked.write_text(json.dumps(rows), encoding="utf-8")
        _run(["java", MEMORY, "-jar", JAR, str(asked), "-out", str(answered), "-silent"], folder)
        return _read(answered, len(rows))


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise SpiceError(f"SPICE: java can't be started: {error.strerror or error}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SpiceError(f"SPICE ended with status {done.returncode}: {last}; it was made for Java 8")


def _read(path: Path, rows: int) -> list[float]:
    try:
        scores = {
            int(row["image_id"]): float(row["scores"]["All"]["f"]) for row in json.loads(path.read_text())
        }
        found = [scores[number] for number in range(rows)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpiceError(f"SPICE gave no scores that can be read ({error!r})") from None
    return [0.0 if math.isnan(score) else score for score in found]
