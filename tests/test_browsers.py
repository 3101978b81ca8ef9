"""The fixture itself: it opens a page, and says why it can't."""

from __future__ import annotations

import browsers
import pytest


def test_it_shows_a_page(browser):
    page = browser.new_page()
    page.set_content("<title>Wren</title><button>Listen</button>")
    assert page.title() == "Wren"
    assert page.get_by_role("button", name="Listen").is_visible()
    page.close()


def test_a_named_browser_wins(monkeypatch, tmp_path):
    program = tmp_path / "chrome"
    program.touch()
    monkeypatch.setenv(browsers.CHOICE, str(program))
    assert browsers.chromium_path() == str(program)


def test_a_named_browser_that_is_not_there_is_a_skip(monkeypatch):
    monkeypatch.setenv(browsers.CHOICE, "/nowhere/chrome")
    with pytest.raises(pytest.skip.Exception, match="/nowhere/chrome, which is not there"):
        browsers.chromium_path()


def test_none_on_the_path_leaves_it_to_playwright(monkeypatch):
    monkeypatch.delenv(browsers.CHOICE, raising=False)
    monkeypatch.setattr(browsers.shutil, "which", lambda name: None)
    assert browsers.chromium_path() is None
