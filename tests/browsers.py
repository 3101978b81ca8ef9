"""A real browser for tests of pages: Chromium through Playwright; without one they are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_MS = 120_000  # a machine that does other things too
CHOICE = "NATURELM_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = f"no Chromium: run apt-get install chromium, or playwright install chromium, or set {CHOICE}"


def chromium_path() -> str | None:
    """The program to start; None is Playwright's own. Skips the test if there is neither."""
    found = os.environ.get(CHOICE) or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None and not os.path.exists(found):
        pytest.skip(f"{CHOICE} names {found}, which is not there")
    return found


def expect(part: Any) -> Any:
    """Playwright's assertions about a part of a page, which wait until they hold, also on a busy machine.

    What comes late must be waited for: a text that is read right after a click is the one of before.
    """
    from playwright.sync_api import expect as waiting

    waiting.set_options(timeout=PATIENCE_MS)
    return waiting(part)


def require() -> None:
    """Skip the test unless there are Playwright and a browser; without starting either."""
    pytest.importorskip("playwright", reason="needs playwright of [dev]")
    if chromium_path() is None and not playwright_browsers():
        pytest.skip(MISSING)


def playwright_browsers() -> list[Path]:
    """Folders of the browsers that Playwright has downloaded."""
    own = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    caches = (Path.home() / ".cache", Path.home() / "Library" / "Caches")
    places = [Path(own)] if own else [cache / "ms-playwright" for cache in caches]
    return [item for place in places if place.is_dir() for item in place.glob("chromium*")]


# Of a module, not of the session: while it runs, its event loop keeps every asyncio.run() of the thread from
# starting, also those of tests that have nothing to do with a browser.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's Browser; each test opens its own context, so that users don't share anything."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright of [dev]")
    path = chromium_path()
    with playwright.sync_playwright() as driver:
        if path is None and not os.path.exists(driver.chromium.executable_path):
            pytest.skip(MISSING)
        # Root has no sandbox; shared memory is small in containers.
        started = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-quic"]
        )
        yield started
        for context in started.contexts:  # a page that still loads something would hold the browser open
            context.close()
        started.close()
