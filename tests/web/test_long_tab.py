"""The tab Long recording in a real browser: time line, segments, filters, zoom, keys and downloads."""

from __future__ import annotations

import io
import zipfile

import pytest

QUESTION = "What is the common name for the focal species in the audio?"
COLOURS_OF_THE_LANE = """() => {
  const canvas = document.querySelector('.nl-view canvas');
  const y = 182 * canvas.width / canvas.clientWidth;
  const colours = new Set();
  for (let x = 9; x < 60; x += 10) {
    colours.add(canvas.getContext('2d').getImageData((x / 60) * canvas.width, y, 1, 1).data.join());
  }
  return colours.size;
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
    user.page.locator("#nl-uploads-long").get_by_role("button", name="mixture.wav").click()
    user.page.get_by_role("button", name="Remove mixture.wav").wait_for()
    user.page.locator("#nl-go-long").click()
    user.page.locator("#nl-long").get_by_text("Done:").wait_for()
    return user


def click_at(user, seconds, total=60.0):
    """Click the segment at a time of the whole recording."""
    view = user.page.locator(".nl-view")
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    user.page.mouse.click(box["x"] + box["width"] * seconds / total, box["y"] + 140 + 20 + 12)


def shown_range(user):
    return user.page.locator(".nl-where").inner_text().replace("\N{EN DASH}", "-")


def test_answers_are_segments_with_colour_and_letter(listened):
    assert listened.page.locator(".nl-long").get_attribute("data-segments") == "6"
    legend = listened.page.locator(".nl-legend button")
    texts = legend.all_inner_texts()
    assert any("frog" in text for text in texts)
    assert len({button.locator(".nl-swatch").inner_text() for button in legend.all()}) == legend.count()
    # Drawn: the lane under the spectrogram has as many colours as there are answers, the picture is no black.
    assert listened.page.evaluate(COLOURS_OF_THE_LANE) == legend.count()
    listened.page.wait_for_function(PICTURE_IS_BRIGHT)


def test_a_click_on_a_segment_lets_one_see_and_hear_it(listened):
    click_at(listened, 25)
    detail = listened.page.locator(".nl-detail")
    detail.get_by_text("frog").wait_for()
    assert detail.locator(".nl-when").inner_text().replace("\N{EN DASH}", "-") == "0:20 - 0:30"
    listened.page.wait_for_function("document.querySelector('.nl-detail img').naturalWidth === 900")
    listened.page.wait_for_function("document.querySelector('.nl-detail audio').duration > 9.9")
    click_at(listened, 5)
    detail.get_by_text("cricket").wait_for()


def test_the_time_line_works_by_keys_alone(listened):
    listened.page.locator(".nl-view").focus()
    detail = listened.page.locator(".nl-detail .nl-when")
    listened.page.keyboard.press("ArrowRight")
    listened.page.keyboard.press("ArrowRight")
    assert detail.inner_text().startswith("0:10")
    listened.page.keyboard.press("End")
    assert detail.inner_text().startswith("0:50")
    listened.page.keyboard.press("+")
    listened.page.wait_for_function("document.querySelector('.nl-where').textContent.includes('of 1:00')")
    listened.page.keyboard.press("0")
    listened.page.wait_for_function("!document.querySelector('.nl-where').textContent.includes('of')")


def test_zoom_shows_less_and_finer(listened):
    tiles = []
    listened.page.on("request", lambda request: "/tiles/" in request.url and tiles.append(request.url))
    for _ in range(3):
        listened.page.get_by_role("button", name="Zoom in").click()
    listened.page.wait_for_function("document.querySelector('.nl-where').textContent.includes('of 1:00')")
    start, end = shown_range(listened).split(" of ")[0].split(" - ")
    assert (start, end) == ("0:26", "0:34")
    listened.page.wait_for_timeout(300)
    levels = {int(url.split("/tiles/")[1].split("/")[1]) for url in tiles}
    assert min(levels) <= 1
    listened.page.get_by_role("button", name="Later").click()
    listened.page.wait_for_function("document.querySelector('.nl-where').textContent.startsWith('0:30')")
    listened.page.get_by_role("button", name="Show the whole recording").click()
    listened.page.wait_for_function("!document.querySelector('.nl-where').textContent.includes('of')")


def test_filters_by_answer_confidence_and_text(listened):
    page = listened.page
    page.get_by_text("The same as a list").click()

    def shown(number):
        page.wait_for_function(f"document.querySelectorAll('.nl-segments li').length === {number}")

    shown(6)
    frog = page.locator(".nl-legend button").filter(has_text="frog")
    frog.click()
    assert frog.get_attribute("aria-pressed") == "false"
    shown(4)
    frog.click()
    page.get_by_label("Show answers that contain").fill("frog")
    shown(2)
    page.get_by_label("Show answers that contain").fill("")
    shown(6)
    page.get_by_label("Confidence of at least").fill("0.9")
    page.wait_for_function("document.querySelectorAll('.nl-segments li').length < 6")
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


def test_an_hour_begins_to_arrive_at_once_and_can_be_stopped(visitor, sounds):
    user = visitor()
    user.tab("Long recording")
    user.give("long", sounds("hour.wav", 1800.0, 8_000))
    user.page.locator("#nl-go-long").click()
    user.page.wait_for_function("Number(document.querySelector('.nl-long')?.dataset.segments || 0) > 4")
    click_at(user, 15, 1800.0)
    user.page.locator(".nl-detail .nl-when").wait_for()
    user.page.locator("#nl-long").get_by_role("button", name="Cancel").click()
    user.page.locator("#nl-long").get_by_text("Cancelled:").wait_for()
    assert user.page.locator("#nl-long .nl-downloads").is_visible()


def test_a_list_of_labels_is_ranked_with_scores(visitor):
    user = visitor()
    user.tab("Long recording")
    user.page.locator("#nl-uploads-long").get_by_role("button", name="mixture.wav").click()
    user.page.get_by_role("button", name="Remove mixture.wav").wait_for()
    user.page.locator("#nl-labels-long textarea").fill("frog\nrain\nFrog")
    user.page.locator("#nl-go-long").click()
    user.page.locator("#nl-long").get_by_role("alert").get_by_text("differs from").wait_for()
    user.page.locator("#nl-labels-long textarea").fill("frog\nrain\ncricket")
    user.page.locator("#nl-go-long").click()
    user.page.locator("#nl-long").get_by_text("Done:").wait_for()
    click_at(user, 25)
    ranking = user.page.locator(".nl-ranking li")
    ranking.first.wait_for()
    assert ranking.first.inner_text().startswith("frog")
    assert {text.split("\n")[0] for text in ranking.all_inner_texts()} == {"frog", "rain", "cricket", "None"}


def test_no_recording_is_a_sentence(visitor):
    user = visitor()
    user.tab("Long recording")
    user.page.locator("#nl-go-long").click()
    user.page.locator("#nl-long").get_by_text("Add a recording first").wait_for()
