"""The page as a whole: what it says of its model, who can use it, with which device and eyes."""

from __future__ import annotations

import pytest
from browsers import expect
from web_app import start_app, stop_app

QUESTION = "What is the common name for the focal species in the audio?"


def violations(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe of [dev]")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def fill_all_tabs(user):
    """Bring every part of the page on the screen, one tab after the other; yields the tab's name."""
    page = user.page
    user.example("ask", "frog.wav")
    user.ask(QUESTION)
    page.locator(".nl-reply .nl-answer").wait_for()
    yield "Ask"
    user.tab("Batch")
    user.example("batch", "cricket.wav")
    page.locator("#nl-go-batch").click()
    page.locator("#nl-results").get_by_text("Done:").wait_for()
    page.locator("#nl-results").get_by_role("button", name="Listen to").click()
    page.locator(".nl-heard audio").wait_for()
    yield "Batch"
    user.tab("Long recording")
    user.example("long", "mixture.wav")
    page.locator("#nl-go-long").click()
    page.locator("#nl-long").get_by_text("Done:").wait_for()
    page.locator(".nl-view").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("The same as a list").click()
    yield "Long recording"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_people_who_see_little_or_use_keys(visitor, scheme):
    user = visitor(color_scheme=scheme)
    user.page.get_by_text("Model and settings").click()
    found = {tab: violations(user.page) for tab in fill_all_tabs(user)}
    assert found == {tab: [] for tab in found}


def test_it_fits_a_phone(visitor):
    user = visitor(viewport={"width": 360, "height": 740}, has_touch=True)
    for tab in fill_all_tabs(user):
        wide = user.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{tab} is {wide} pixels wide"


def test_the_panel_says_which_model_runs_where_and_warns_of_the_demonstration(visitor):
    head = visitor().page.locator("#nl-head")
    for part in ("naturelm-tiny", "processor (CPU), float32", "CC BY-NC-4.0", "small demonstration model"):
        expect(head).to_contain_text(part)


def test_a_model_that_fails_to_load_is_a_sentence_and_the_other_goes_on(visitor):
    user = visitor()
    user.page.get_by_text("Model and settings").click()
    user.page.get_by_label("Model", exact=True).click()
    user.page.get_by_role("option", name="broken-model").click()
    status = user.page.locator("#nl-model-status")
    expect(status).to_contain_text("The model is still naturelm-tiny")
    expect(status).to_contain_text("broken-model")
    user.page.wait_for_function("document.querySelector('#nl-model input').value.includes('naturelm-tiny')")
    next(fill_all_tabs(user))


def set_number(user, label, value):
    """Fill a field and leave it, as someone does who goes on to another."""
    field = user.page.get_by_label(label)
    field.fill(value)
    field.press("Tab")


def test_settings_are_used_and_wrong_ones_are_sentences(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("tone.wav", 3.0))
    user.page.get_by_text("Model and settings").click()
    set_number(user, "Window (s)", "1")
    user.ask(QUESTION)
    user.page.locator(".nl-reply .nl-answer").nth(2).wait_for()
    set_number(user, "Hop (s)", "5")
    user.ask(QUESTION)
    user.page.locator(".nl-reply").nth(1).get_by_text("the hop length 5 s is longer").wait_for()


def test_what_is_typed_at_once_stays(visitor):
    """Gradio's own tabs and folds put their first values over what was typed in the first second."""
    user = visitor()
    user.page.get_by_role("button", name="Model and settings").click()
    typed = {}

    def fill(box, text):
        user.page.locator(box).first.fill(text)
        typed[box] = text

    fill("#nl-settings input[type=number]", "1")
    for tab, name in (("batch", "Batch"), ("long", "Long recording")):
        user.tab(name)
        for box in ("question", "labels"):
            fill(f"#nl-{box}-{tab} textarea", f"{box} {tab}")
    user.page.wait_for_timeout(3000)
    assert {box: user.page.locator(box).first.input_value() for box in typed} == typed


def test_tabs_are_for_keys_too(visitor):
    page = visitor().page
    page.get_by_role("tab", name="Ask").focus()
    keys = (("ArrowRight", "Batch"), ("End", "Long recording"), ("ArrowRight", "Ask"))
    for key, name in (*keys, ("ArrowLeft", "Long recording")):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tab", selected=True)).to_have_text(name)
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    expect(page.get_by_role("tabpanel")).to_have_count(1)


def test_a_password_keeps_others_out(browser, tmp_path):
    locked = start_app(tmp_path, NATURELM_APP_PASSWORD="wren and robin")
    try:
        page = browser.new_page()
        assert page.request.get(f"{locked.address}/config").status == 401
        assert page.request.get(f"{locked.address}/naturelm/static/app.js").status == 401
        page.goto(locked.address)
        page.get_by_label("Password").fill("wren")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("That is not the password.").wait_for()
        assert violations(page) == []
        page.get_by_label("Password").fill("wren and robin")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("tab", name="Batch").wait_for()
        page.close()
    finally:
        stop_app(locked)
    assert not list(tmp_path.glob("naturelm-app-*")), "what users left is still there"


def test_the_app_says_when_it_was_stopped(browser, tmp_path, sounds):
    running = start_app(tmp_path)
    page = browser.new_page()
    page.goto(running.address)
    page.get_by_text("Or an example:").first.wait_for()
    stop_app(running)
    page.locator("#nl-uploads-ask").get_by_role("button", name="frog.wav").click()
    page.get_by_text("The app does not answer").first.wait_for()
    page.close()
