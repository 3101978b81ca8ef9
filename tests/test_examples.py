"""Each script of `examples/` runs as a user would run it, from a checkout, without network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the example recordings and scripts, so that nothing is written into the real ones."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("assets", "configs", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def run(script, folder, **env):
    return subprocess.run(
        [sys.executable, f"examples/{script}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", [path.name for path in SCRIPTS])
def test_an_example_runs(script, checkout):
    done = run(script, checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_the_demo_takes_own_recordings_and_an_own_question(checkout):
    recording = next(
        path for path in sorted((checkout / "assets").rglob("*")) if path.suffix in {".wav", ".flac"}
    )
    done = run("demo.py", checkout, AUDIO=str(recording), QUERY="Is there a frog; or 'a bird'?")
    assert done.returncode == 0, done.stderr
    assert "Is there a frog; or 'a bird'?" in done.stdout
    assert recording.name in done.stdout


@pytest.mark.slow
def test_the_demo_reports_a_folder_without_recordings(checkout, tmp_path):
    done = run("demo.py", checkout, AUDIO=str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_is_short_and_says_what_it_shows(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 70
    assert lines[0].startswith('"""')
