"""The page in a real browser: nothing is fetched, nothing fails, and it fits wide and narrow screens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from survey_rows import failed, timed, write

from naturelm_audio.survey import write_report

SIZES = [(1200, "light"), (1200, "dark"), (390, "light"), (320, "dark")]
SITE = "somewhere/" * 3


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    answers = [
        timed(
            f"2024-05-{day:02d}T{hour:02d}:00:00+02:00",
            labels=[(f"<img src=x onerror=alert(1)> {'long name ' * (day % 5)} {day % 7}", 0.5)],
            recorder="Song Meter Mini 2 S4A00001",
            latitude=52.52,
            longitude=13.405,
        )
        for day in range(1, 29)
        for hour in (4, 5, 22)
    ]
    results = write(folder / "results.jsonl", [*answers, failed(f"{SITE}{'x' * 120}.wav")])
    return write_report(results, folder / "report").page


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_page_fits_and_fetches_nothing(browser: Any, page_path: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    requests: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.goto(page_path.as_uri())
    assert requests == [page_path.as_uri()]
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cell = page.locator("td.h8").first
    assert cell.is_visible()
    assert cell.evaluate("cell => getComputedStyle(cell).backgroundColor") == (
        "rgb(68, 1, 84)" if scheme == "light" else "rgb(253, 231, 37)"
    )
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(253, 253, 251)") == (scheme == "light")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_by_everybody(browser: Any, page_path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe of [dev]")
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe brings a script of its own
    page = context.new_page()
    page.goto(page_path.as_uri())
    page.locator("summary").first.click()
    found = axe.Axe().run(page)
    broken = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found.response["violations"]]
    assert broken == []
    context.close()
