"""Starts and stops the real command `naturelm inference-app` for tests, benchmarks and pictures of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "generate:\n  num_beams: 1\n  max_new_tokens: 24\n"


@dataclass
class App:
    """The running command."""

    address: str
    process: Any
    temporary: Path
    log: Path

    def folders(self) -> list[Path]:
        """Folders of open pages."""
        return [item for root in self.temporary.glob("naturelm-app-*") for item in root.iterdir()]


def start_app(folder: Path, *words: str, **environment: str) -> App:
    """Start `naturelm inference-app` on a free port and wait until it says where it is."""
    (folder / "app.yml").write_text(CONFIG)
    log = folder / "app.log"
    settings = {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "naturelm_audio", "inference-app", "--port", "0", "--device", "cpu"]
    command += ["--cfg-path", str(folder / "app.yml"), *words]
    with open(log, "w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | settings | environment,
            cwd=folder,
        )
    said = process.stdout.readline()
    found = re.search(r"(http://\S+)", said)
    if found is None:
        process.kill()
        process.communicate()
        raise AssertionError(f"the app did not start: {said}{log.read_text()}")
    return App(found[1], process, folder, log)


def stop_app(app: App) -> None:
    app.process.terminate()
    try:
        app.process.wait(20)
    except subprocess.TimeoutExpired:
        app.process.kill()
    app.process.stdout.close()
