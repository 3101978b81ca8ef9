"""The web app in a real browser: first page, an answer, first segments and picture of an hour, memory.

    python benchmarks/webapp.py [--hours 6] [--model FOLDER]

Starts the real command, drives Chromium through Playwright, and makes its own recordings. Run it on a quiet
machine: the browser and the model share the same cores, as on a laptop. With six hours it takes six minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import browsers
from web_app import App, start_app, stop_app

RATE_HZ = 22_050
QUESTION = "What is the common name for the focal species in the audio?"
LISTENING_TO = "document.querySelector('.nl-long')?.dataset.recording === name"
SEGMENTS = f"name => {LISTENING_TO} && document.querySelector('.nl-long').dataset.segments > 0"
PATIENCE_SECONDS = 120


def write_recording(path: Path, minutes: float) -> Path:
    """Noise with chirps, written in blocks so that this process stays small too."""
    noise = np.random.default_rng(0)
    time_s = np.arange(RATE_HZ * 60) / RATE_HZ
    chirps = 0.2 * np.sin(2 * np.pi * (2000 + 800 * np.sin(2 * np.pi * 0.7 * time_s)) * time_s)
    subtype = None if path.suffix == ".mp3" else "PCM_16"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, subtype=subtype) as file:
        for minute in range(max(round(minutes), 1)):
            file.write(np.roll(chirps, minute * 1000) + noise.normal(0, 0.02, len(time_s)))
    return path


def peak_mib(app: App) -> float:
    """Peak memory of the app's process, 0 where the system doesn't tell."""
    try:
        lines = Path(f"/proc/{app.process.pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def timed(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def first_page(page, app: App) -> None:
    page.goto(app.address)
    page.get_by_text("Or an example:").first.wait_for()


def answer(page, path: Path) -> float:
    page.locator("#nl-file-ask").set_input_files(str(path))
    page.get_by_role("button", name=f"Remove {path.name}").wait_for()

    def ask() -> None:
        page.get_by_label("Question", exact=True).fill(QUESTION)
        replies = page.locator(".nl-reply").count()
        page.locator("#nl-go-ask").click()
        page.locator(".nl-reply").nth(replies).locator(".nl-answer").wait_for()

    ask()
    return min(timed(ask) for _ in range(3))


def long_recording(page, path: Path) -> tuple[float, float]:
    """Seconds from the end of the upload to the whole picture, and from the button to the first segments."""
    page.get_by_role("tab", name="Long recording").click()
    page.locator("#nl-file-long").set_input_files(str(path))
    page.get_by_role("button", name=f"Remove {path.name}").wait_for(timeout=600_000)
    whole = f"#nl-uploads-long [data-recording='{path.name}'] [data-tiles-missing='0']"
    picture = timed(lambda: page.locator(whole).wait_for())
    start = time.perf_counter()
    page.locator("#nl-go-long").click()
    page.wait_for_function(SEGMENTS, arg=path.name, polling=50)
    return picture, time.perf_counter() - start


def finish(page) -> float:
    return timed(lambda: page.locator("#nl-long").get_by_text("Done:").wait_for(timeout=3_600_000))


def stop_listening(page) -> None:
    page.locator("#nl-long").get_by_role("button", name="Cancel").click()
    page.locator("#nl-long").get_by_text("Cancelled:").wait_for()


def measure(page, app: App, place: Path, hours: float) -> None:
    """Print every figure, with what it has to stay under."""
    print(f"first page: {timed(lambda: first_page(page, app)):.2f} s (limit 2)")
    print(f"first page again: {timed(lambda: first_page(page, app)):.2f} s")
    clip = place / "clip.wav"
    soundfile.write(clip, np.random.default_rng(1).normal(0, 0.05, RATE_HZ * 10), RATE_HZ)
    print(f"a clip of 10 s answered: {answer(page, clip):.2f} s (limit 2)")
    for name in ("hour.flac", "hour.mp3", "hour.wav"):
        picture, segments = long_recording(page, write_recording(place / name, 60))
        print(f"{name}: whole picture {picture:.2f} s (limit 3), first segments {segments:.2f} s (limit 5)")
        if name != "hour.wav":
            stop_listening(page)
    print(f"an hour: all segments {finish(page):.1f} s later, peak memory {peak_mib(app):.0f} MiB")
    picture, segments = long_recording(page, write_recording(place / "long.wav", 60 * hours))
    print(f"{hours:g} h: whole picture {picture:.2f} s, first segments {segments:.2f} s")
    print(f"{hours:g} h: all segments {finish(page):.1f} s later, peak memory {peak_mib(app):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=6.0, help="length of the recording for the memory")
    parser.add_argument("--model", default="naturelm-tiny", help="a smaller one where memory alone counts")
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        place = Path(folder)
        app = start_app(place, "--max-upload-mb", "10000", "--model", chosen.model)
        browser = driver.chromium.launch(executable_path=browsers.chromium_path(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        try:
            measure(page, app, place, chosen.hours)
        finally:
            browser.close()
            stop_app(app)


if __name__ == "__main__":
    main()
