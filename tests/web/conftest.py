"""The web app: its parts with a toy model, and the real command in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import browsers
import numpy as np
import pytest
import soundfile
from browsers import PATIENCE_MS, expect
from web_app import App, start_app, stop_app

IGNORED_FAILURES = ("net::ERR_ABORTED",)  # streams that Gradio itself ends, players that stop loading


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with the bundled model, and a second one on its list that can't be loaded."""
    pytest.importorskip("gradio", reason="needs gradio of [web]")
    browsers.require()
    folder = tmp_path_factory.mktemp("app")
    broken = folder / "broken-model"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "naturelm"}))
    running = start_app(folder, "--model", "naturelm-tiny", "--model", str(broken))
    yield running
    stop_app(running)


@dataclass
class Visitor:
    """One user with a browser of their own."""

    context: Any
    page: Any
    app: App
    complaints: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)
    """Parts of complaints that a test provokes."""
    foreign: list[str] = field(default_factory=list)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def give(self, tab: str, *paths: Path, wait: bool = True) -> None:
        self.page.locator(f"#nl-file-{tab}").set_input_files([str(path) for path in paths])
        if wait:
            for path in paths:
                self.is_there(tab, path.name)

    def example(self, tab: str, *names: str) -> None:
        """Take examples, and wait for all of them."""
        for name in names:
            self.page.locator(f"#nl-uploads-{tab}").get_by_role("button", name=name, exact=True).click()
            self.is_there(tab, name)

    def is_there(self, tab: str, name: str) -> None:
        """Wait for a recording, and for its picture if it has one: a job then has all that is meant."""
        entry = self.page.locator(f"#nl-uploads-{tab} li").filter(has_text=name)
        expect(entry.get_by_role("button", name=f"Remove {name}")).to_be_visible()
        for picture in entry.get_by_role("img").all():
            picture.scroll_into_view_if_needed()
            picture.evaluate("image => image.decode()")

    def ask(self, question: str) -> None:
        self.page.get_by_label("Question", exact=True).fill(question)
        self.page.locator("#nl-go-ask").click()

    def tell_of_the_survey(self, part: str, **more: str) -> None:
        """Fill in what Camtrap DP asks for, and ask for it."""
        place = self.page.locator(f"#nl-{part}")
        place.get_by_role("button", name="Camtrap DP", exact=True).click()
        said = {"project": "Wrens", "contributor": "A. Recordist", "site": "Wood", "latitude": "52.5"}
        for name, text in (said | {"longitude": "13.4"} | more).items():
            place.locator(f".nl-survey [name={name}]").fill(text)
        place.get_by_role("button", name="Make Camtrap DP").click()

    def unforgiven(self) -> list[str]:
        """What the page complained of until now."""
        return [text for text in self.complaints if not any(part in text for part in self.forgiven)]

    def rows(self) -> list[list[str]]:
        """Cells of the table of answers."""
        lines = self.page.locator("#nl-results tbody tr").all()
        return [[cell.inner_text().strip() for cell in line.locator("th,td").all()] for line in lines]


@pytest.fixture
def visitor(app: App, browser: Any) -> Iterator[Callable[..., Visitor]]:
    """A function that opens the app in a new browser; at the end nobody may have complained."""
    opened: list[Visitor] = []

    def open_page(running: App = app, **options: Any) -> Visitor:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        one = Visitor(context, page, running)
        opened.append(one)
        page.on("console", lambda message: message.type == "error" and one.complaints.append(message.text))
        page.on("pageerror", lambda error: one.complaints.append(str(error)))
        page.on("requestfailed", lambda request: note_failure(one, request))
        page.on("request", lambda request: note_foreign(one, request))
        page.goto(running.address)
        page.get_by_role("tab", name="Batch").wait_for()
        page.get_by_text("Or an example:").first.wait_for()
        return one

    open_page.opened = opened  # type: ignore[attr-defined]
    yield open_page
    # Before any is closed: what a page is still loading then is refused, for its session is over.
    heard = [one.unforgiven() for one in opened]
    foreign = [one.foreign for one in opened]
    for one in opened:
        one.context.close()
    assert foreign == [[] for _ in opened], "the page asked other hosts"
    assert heard == [[] for _ in opened], "the page complained"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show with a failed test what its pages showed: a text that never came is not told by its absence."""
    report = yield
    pages = getattr(getattr(item, "funcargs", {}).get("visitor"), "opened", [])
    if report.when == "call" and report.failed:
        for one in pages:
            try:
                seen = one.page.locator("body").inner_text()
            except Exception as error:  # closed, or too busy: the failure is told without it
                seen = f"not to be read: {error}"
            report.sections += [("page", seen), ("log of the app", one.app.log.read_text()[-2000:])]
    return report


def note_failure(visitor: Visitor, request: Any) -> None:
    if request.failure not in IGNORED_FAILURES:
        visitor.complaints.append(f"{request.url}: {request.failure}")


def note_foreign(visitor: Visitor, request: Any) -> None:
    if not request.url.startswith((visitor.app.address, "data:", "blob:")):
        visitor.foreign.append(request.url)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a recording of noise with a tone, another for each seed."""
    folder = tmp_path_factory.mktemp("sounds")

    def write(name: str, seconds: float = 3.0, rate_hz: int = 16_000, seed: int = 0) -> Path:
        path = folder / f"{seconds:g}-{rate_hz}-{seed}" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            time_s = np.arange(round(seconds * rate_hz)) / rate_hz
            noise = np.random.default_rng(seed).standard_normal(len(time_s)) * 0.02
            soundfile.write(path, 0.3 * np.sin(2 * np.pi * (700 + 300 * seed) * time_s) + noise, rate_hz)
        return path

    return write
