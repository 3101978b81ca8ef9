"""Make the pictures of the web app for the documentation, with the example recordings in assets/.

    python tests/web_screenshots.py [FOLDER] [--recordings FOLDER] [--all]

Needs the tools of [dev] and a browser. Writes web-ask.png, web-batch.png and web-long-recording.png, and with
--all the same in the dark and as wide as a phone.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

PATIENCE_MS = 600_000
QUESTION = "What is the common name for the focal species in the audio?"
VIEWS: dict[str, dict[str, Any]] = {
    "": {"viewport": {"width": 1180, "height": 800}},
    "-dark": {"viewport": {"width": 1180, "height": 800}, "color_scheme": "dark"},
    "-phone": {"viewport": {"width": 390, "height": 800}, "device_scale_factor": 2},
}


def give(page: Any, tab: str, *paths: Path) -> None:
    """Upload recordings and wait until they are there."""
    page.locator(f"#nl-file-{tab}").set_input_files([str(path) for path in paths])
    page.locator(f"#nl-uploads-{tab}").get_by_role("button", name=f"Remove {paths[-1].name}").wait_for()


def pictures_are_there(page: Any, selector: str) -> None:
    """Wait for spectrograms."""
    for picture in page.locator(selector).all():
        picture.scroll_into_view_if_needed()
        picture.evaluate("image => image.decode()")


def ask(page: Any, clips: list[Path]) -> None:
    """The tab Ask with two clips, a question and a follow-up."""
    give(page, "ask", *clips)
    for turn, question in enumerate([QUESTION, "Caption the audio."]):
        page.get_by_label("Question", exact=True).fill(question)
        page.locator("#nl-go-ask").click()
        page.locator(".nl-reply").nth(turn).locator(".nl-answer").nth(len(clips) - 1).wait_for()
        page.locator(".nl-reply").nth(turn).locator(".nl-progress").wait_for(state="detached")
    pictures_are_there(page, "#nl-uploads-ask img")


def batch(page: Any, clips: list[Path]) -> None:
    """The tab Batch when it is done."""
    page.get_by_role("tab", name="Batch").click()
    give(page, "batch", *clips)
    page.locator("#nl-go-batch").click()
    page.locator("#nl-results").get_by_text("Done:").wait_for()


def long_recording(page: Any, recording: Path) -> None:
    """The tab Long recording when it is done, with a segment chosen."""
    page.get_by_role("tab", name="Long recording").click()
    give(page, "long", recording)
    page.locator("#nl-go-long").click()
    page.locator("#nl-long").get_by_text("Done:").wait_for()
    page.locator(".nl-view").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    pictures_are_there(page, ".nl-detail img")
    page.locator(".nl-view[data-tiles-missing='0']").wait_for()
    page.mouse.move(0, 0)


def take(
    browser: Any, address: str, recordings: Path, folder: Path, views: Iterable[str] = ("",)
) -> list[Path]:
    """Take a picture of every tab; the longest recording goes to the last one, all others to the others."""
    sounds = sorted(item for item in recordings.iterdir() if item.suffix in (".wav", ".flac", ".mp3"))
    longest = max(sounds, key=lambda item: item.stat().st_size)
    clips = [item for item in sounds if item != longest]
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for suffix in views:
        page = browser.new_page(**VIEWS[suffix])
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.get_by_text("Or an example:").first.wait_for()
        for name, step in (
            ("ask", lambda page=page: ask(page, clips[:2])),
            ("batch", lambda page=page: batch(page, clips)),
            ("long-recording", lambda page=page: long_recording(page, longest)),
        ):
            step()
            made.append(folder / f"web-{name}{suffix}.png")
            picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            picture.quantize(256).save(made[-1], optimize=True)
        page.close()
    return made


def main() -> None:
    """Start the app and take every picture."""
    import browsers
    from playwright.sync_api import sync_playwright
    from web_app import start_app, stop_app

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "docs")
    parser.add_argument("--recordings", type=Path, default=ROOT / "assets")
    parser.add_argument("--all", action="store_true", help="in the dark and on a phone too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        app = start_app(Path(temporary))
        browser = driver.chromium.launch(executable_path=browsers.chromium_path(), args=["--no-sandbox"])
        take(browser, app.address, chosen.recordings, chosen.folder, VIEWS if chosen.all else ("",))
        browser.close()
        stop_app(app)


if __name__ == "__main__":
    main()
