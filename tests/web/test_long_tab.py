"""The tab Long recording in a real browser: time line, segments, filters, zoom, keys and downloads."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from browsers import expect

from naturelm_audio.web.questions import SUGGESTIONS

QUESTION = "What is the common name for the focal species in the audio?"
EN_DASH = "\N{EN DASH}"
COLOURS_OF_THE_LANE = """(wanted) => {
  const canvas = document.querySelector('.nl-view canvas');
  const y = 182 * canvas.width / canvas.clientWidth;
  const colours = new Set();
  for (let x = 9; x < 60; x += 10) {
    colours.add(canvas.getContext('2d').getImageData((x / 60) * canvas.width, y, 1, 1).data.join());
  }
  return colours.size === wanted;
}"""
PICTURE_IS_BRIGHT = """() => {
  const canvas = document.querySelector('.nl-view canvas');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, 60).data;
  return Math.max(...pixels.filter((value, at) => at % 4 === 0)) > 150;
}"""


@pytest.fixture
def listened(visitor):
    """A user who has listened to a minute of crickets, birds, frogs and rain."""
    user = visitor()
    user.tab("Long recording")
    user.example("long", "mixture.wav")
    user.page.locator("#nl-go-long").click()
    expect(user.page.locator("#nl-long .nl-progress")).to_contain_text("Done:", timeout=300_000)
    return user


def click_at(user, seconds, total=60.0):
    """Click the segment at a time of the whole recording."""
    view = user.page.locator(".nl-view")
    view.click(position={"x": view.bounding_box()["width"] * seconds / total, "y": 140 + 20 + 12})


def shows(user, text):
    """Wait until the time line shows this range."""
    expect(user.page.locator(".nl-where")).to_have_text(text.replace("-", EN_DASH))


def test_the_overview_is_there_before_anything_is_asked(visitor):
    user = visitor()
    user.tab("Long recording")
    user.example("long", "mixture.wav")
    view = user.page.locator("#nl-uploads-long .nl-view")
    expect(view).to_have_attribute("data-tiles-missing", "0")
    user.page.wait_for_function(PICTURE_IS_BRIGHT)
    user.page.locator("#nl-uploads-long").get_by_role("button", name="Zoom in").click()
    shows(user, "0:15 - 0:45 of 1:00")
    expect(view).to_have_attribute("data-tiles-missing", "0")  # one on its way would be refused, and noted
    user.page.get_by_role("button", name="Remove mixture.wav").click()
    expect(view).to_have_count(0)


def test_answers_are_segments_with_colour_and_letter(listened):
    expect(listened.page.locator(".nl-long")).to_have_attribute("data-segments", "6")
    legend = listened.page.locator(".nl-legend button")
    texts = legend.all_inner_texts()
    assert any("frog" in text for text in texts)
    assert len({button.locator(".nl-swatch").inner_text() for button in legend.all()}) == legend.count()
    # Drawn: the lane under the spectrogram has as many colours as there are answers, the picture is no black.
    listened.page.wait_for_function(COLOURS_OF_THE_LANE, arg=legend.count())
    expect(listened.page.locator(".nl-view")).to_have_attribute("data-tiles-missing", "0")
    listened.page.wait_for_function(PICTURE_IS_BRIGHT)


def test_a_click_on_a_segment_lets_one_see_and_hear_it(listened):
    click_at(listened, 25)
    detail = listened.page.locator(".nl-detail")
    detail.get_by_text("frog").wait_for()
    expect(detail.locator(".nl-when")).to_have_text(f"0:20 {EN_DASH} 0:30")
    listened.page.wait_for_function("document.querySelector('.nl-detail img').naturalWidth === 900")
    listened.page.wait_for_function("document.querySelector('.nl-detail audio').duration > 9.9")
    click_at(listened, 5)
    detail.get_by_text("cricket").wait_for()


def test_the_time_line_works_by_keys_alone(listened):
    listened.page.locator(".nl-view").focus()
    detail = listened.page.locator(".nl-detail .nl-when")
    listened.page.keyboard.press("ArrowRight")
    listened.page.keyboard.press("ArrowRight")
    expect(detail).to_have_text(re.compile("^0:10"))
    listened.page.keyboard.press("End")
    expect(detail).to_have_text(re.compile("^0:50"))
    listened.page.keyboard.press("+")
    shows(listened, "0:28 - 0:58 of 1:00")
    listened.page.keyboard.press("0")
    shows(listened, "0:00 - 1:00")


def test_zoom_shows_less_and_finer(listened):
    with listened.page.expect_request(re.compile(r"/tiles/[^/]+/[01]/")):
        for _ in range(3):
            listened.page.get_by_role("button", name="Zoom in").click()
    shows(listened, "0:26 - 0:34 of 1:00")
    expect(listened.page.locator(".nl-view")).to_have_attribute("data-tiles-missing", "0")
    listened.page.get_by_role("button", name="Later").click()
    shows(listened, "0:30 - 0:38 of 1:00")
    listened.page.get_by_role("button", name="Show the whole recording").click()
    shows(listened, "0:00 - 1:00")


def test_answers_stay_when_their_recording_is_removed_and_say_so(listened):
    click_at(listened, 25)
    listened.page.wait_for_function("document.querySelector('.nl-detail img').naturalWidth === 900")
    listened.page.wait_for_function("document.querySelector('.nl-detail audio').duration > 9.9")
    listened.page.get_by_role("button", name="Zoom in").click()
    expect(listened.page.locator(".nl-where")).to_contain_text("of 1:00")
    expect(listened.page.locator(".nl-view")).to_have_attribute("data-tiles-missing", "0")
    listened.page.get_by_role("button", name="Remove mixture.wav").click()
    expect(listened.page.locator(".nl-detail")).to_contain_text("mixture.wav was removed.")
    listened.page.get_by_role("button", name="Zoom in").click()
    listened.page.locator(".nl-view").focus()
    listened.page.keyboard.press("Home")
    expect(listened.page.locator(".nl-detail")).to_contain_text("cricket")
    expect(listened.page.locator(".nl-detail")).to_contain_text("mixture.wav was removed.")


def test_filters_by_answer_confidence_and_text(listened):
    page = listened.page
    page.get_by_text("The same as a list").click()

    def shown(number):
        expect(page.locator(".nl-segments li")).to_have_count(number)

    shown(6)
    frog = page.locator(".nl-legend button").filter(has_text="frog")
    frog.click()
    expect(frog).to_have_attribute("aria-pressed", "false")
    shown(4)
    frog.click()
    page.get_by_label("Show answers that contain").fill("frog")
    shown(2)
    page.get_by_label("Show answers that contain").fill("")
    shown(6)
    page.get_by_label("Confidence of at least").fill("1")
    expect(page.locator(".nl-segments li")).not_to_have_count(6)
    page.get_by_label("Confidence of at least").fill("0")
    shown(6)
    page.locator(".nl-segments button").first.click()
    page.locator(".nl-detail strong").first.wait_for()


def test_what_is_taken_home_is_what_was_seen(listened):
    listened.page.get_by_text("join equal answers").click()
    with listened.page.expect_download() as waiting:
        listened.page.locator("#nl-long").get_by_role("button", name="Audacity").click()
    content = waiting.value.path().read_bytes()
    if waiting.value.suggested_filename.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read("mixture.labels.txt")
    labels = [line.split("\t") for line in content.decode().splitlines()]
    assert [float(label[0]) for label in labels] == [0, 10, 20, 30, 40, 50]
    assert labels[2][2].startswith("frog")


def test_camtrap_dp_asks_for_the_survey_and_is_made(listened):
    with listened.page.expect_download() as waiting:
        listened.tell_of_the_survey("long", time_zone="+02:00", start_time="2026-05-01 04:30:00")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        media = archive.read("camtrap-dp/media.csv").decode()
    assert "2026-05-01T04:30:00+02:00" in media


def test_an_hour_begins_to_arrive_at_once_and_can_be_stopped(visitor, sounds):
    user = visitor()
    user.tab("Long recording")
    user.give("long", sounds("hour.wav", 3600.0, 4_000))
    # More than is done before a slow browser has stopped it.
    user.page.locator("#nl-question-long textarea").fill("\n".join(SUGGESTIONS.values()))
    user.page.locator("#nl-go-long").click()
    user.page.wait_for_function("Number(document.querySelector('.nl-long')?.dataset.segments || 0) > 4")
    user.page.locator(".nl-view").focus()
    user.page.keyboard.press("ArrowRight")
    user.page.locator(".nl-detail .nl-when").wait_for()
    user.page.locator("#nl-long").get_by_role("button", name="Cancel").click()
    user.page.locator("#nl-long").get_by_text("Cancelled:").wait_for()
    expect(user.page.locator("#nl-long .nl-downloads")).to_be_visible()


def test_a_list_of_labels_is_ranked_with_scores(visitor):
    user = visitor()
    user.tab("Long recording")
    user.example("long", "mixture.wav")
    user.page.locator("#nl-labels-long textarea").fill("frog\nrain\nFrog")
    user.page.locator("#nl-go-long").click()
    user.page.locator("#nl-long").get_by_role("alert").get_by_text("differs from").wait_for()
    user.page.locator("#nl-labels-long textarea").fill("frog\nrain\ncricket")
    user.page.locator("#nl-go-long").click()
    expect(user.page.locator("#nl-long .nl-progress")).to_contain_text("Done:", timeout=300_000)
    click_at(user, 25)
    ranking = user.page.locator(".nl-ranking li")
    expect(ranking).to_have_count(4)
    expect(ranking.first).to_have_text(re.compile("^frog"))
    assert {text.split("\n")[0] for text in ranking.all_inner_texts()} == {"frog", "rain", "cricket", "None"}


def test_no_recording_is_a_sentence(visitor):
    user = visitor()
    user.tab("Long recording")
    user.page.locator("#nl-go-long").click()
    user.page.locator("#nl-long").get_by_text("Add a recording first").wait_for()
