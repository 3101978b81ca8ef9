"""The page itself: closed to other hosts and to markup in names, and used in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import pytest
from click.testing import CliRunner

from naturelm_audio.marks import MARK_COLUMNS, read_marks
from naturelm_audio.records import Answer
from naturelm_audio.review.choosing import Candidate
from naturelm_audio.review.page import ReviewClip, build_page
from naturelm_audio.review.run import ReviewOptions, review_results

NASTY = '</script><img src=x onerror="document.title=\'owned\'">&<b>, "q"\n\u2028\'; drop'
LOCAL = ("file:", "data:")


def clip(number=0, **more):
    given = {"path": f"{number}.wav", "start_seconds": 0.0, "end_seconds": 2.0, "label": "frog", "score": 0.5}
    return ReviewClip(Candidate(**(given | more)), f"clips/{number}.flac", f"spectrograms/{number}.png")


def embedded(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_names_are_data_and_never_markup():
    page = build_page([clip(path=NASTY, label=NASTY)], title=NASTY, commands=[NASTY])
    (one,) = embedded(page)["clips"]
    assert (one["path"], one["label"]) == (NASTY, NASTY)
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    assert "\u2028" not in page.partition('id="data">')[2]


def test_nothing_is_asked_of_other_hosts():
    page = build_page([clip()], title="t")
    assert "://" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:link|iframe|object|embed)\b|@import|url\(|fetch\(|XMLHttp|sendBeacon", page)


def test_the_same_clips_keep_their_marks_and_others_do_not_get_them():
    first = embedded(build_page([clip(0), clip(1)], title="a"))
    assert embedded(build_page([clip(0), clip(1)], title="b"))["id"] == first["id"]
    assert embedded(build_page([clip(0)], title="a"))["id"] != first["id"]
    assert len({one["id"] for one in first["clips"]}) == 2
    assert (
        embedded(build_page([clip(0, label="wren")], title="a"))["clips"][0]["id"] != first["clips"][0]["id"]
    )


def test_frequencies_rise_from_bottom_to_top():
    ticks = embedded(build_page([clip()], title="a"))["frequencies"]
    assert [hertz for hertz, _ in ticks] == [250, 500, 1000, 2000, 4000, 8000]
    places = [place for _, place in ticks]
    assert places == sorted(places)
    assert places[-1] == 1.0


# --- in a browser ------------------------------------------------------------------------------------------


@pytest.fixture
def review(tmp_path, wav):
    """A page of six clips of two labels from three recordings, as the command makes it."""
    rows = []
    for name in ("a.wav", "b, c.wav", "d.wav"):
        wav(f"sounds/{name}", seconds=4, sample_rate_hz=16_000)
        for start, label in ((0.0, "high"), (2.0, "low")):
            rows.append(
                Answer(
                    audio_path=name, start_seconds=start, end_seconds=start + 2, query="What?", output=label,
                    confidence=0.5, confidence_kind="token_probability",
                ).to_json()
            )  # fmt: skip
    (tmp_path / "answers.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    summary = review_results(
        ReviewOptions(
            results=tmp_path / "answers.jsonl",
            output_path=tmp_path / "review",
            audio_root=tmp_path / "sounds",
        )
    )
    return summary.page


@pytest.fixture
def open_page(browser):
    """Opens a page as a file in a browser of its own; anything that goes wrong in it fails the test."""
    contexts, troubles = [], []

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # a clip that was not wanted any more
            troubles.append(f"{request.url}: {request.failure}")

    def go(path, **options):
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
        page.on("requestfailed", failed)
        page.on("request", lambda request: request.url.startswith(LOCAL) or troubles.append(request.url))
        page.goto(path.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


def exported(page, folder):
    with page.expect_download() as download:
        page.get_by_role("button", name="Export marks").click()
    assert download.value.suggested_filename == "marks.csv"
    path = folder / "marks.csv"
    download.value.save_as(path)
    return path


def test_marks_by_key_come_out_as_csv(review, open_page, tmp_path):
    page = open_page(review)
    assert page.locator("#label").inner_text() == "high"
    page.keyboard.press("r")
    page.keyboard.press("w")
    page.keyboard.type('great "tit", wren')
    page.keyboard.press("Enter")
    page.keyboard.press("u")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("w")
    page.keyboard.press("Enter")
    assert page.locator("#progress").inner_text() == "4 of 6 marked: 1 right, 2 wrong, 1 unsure"
    marks = read_marks(exported(page, tmp_path))
    assert [(one.path, one.start_seconds, one.label, one.mark, one.correct_label) for one in marks] == [
        ("a.wav", 0.0, "high", "right", ""),
        ("b, c.wav", 0.0, "high", "wrong", 'great "tit", wren'),
        ("d.wav", 0.0, "high", "unsure", ""),
        ("b, c.wav", 2.0, "low", "wrong", ""),
    ]
    assert {one.score for one in marks} == {0.5}
    header = (tmp_path / "marks.csv").read_text(encoding="utf-8").splitlines()[0]
    assert tuple(next(csv.reader(io.StringIO(header)))) == MARK_COLUMNS


def test_marks_stay_until_the_page_is_opened_again_and_can_be_taken_back(review, open_page):
    page = open_page(review)
    page.keyboard.press("u")
    page.reload()
    assert page.locator("#progress").inner_text().startswith("1 of 6 marked")
    assert page.locator("#place").inner_text() == "2 of 6"
    page.keyboard.press("ArrowLeft")
    assert page.locator(".marks [aria-pressed=true]").inner_text().startswith("Unsure")
    page.keyboard.press("0")
    assert page.locator("#progress").inner_text().startswith("0 of 6 marked")
    assert page.locator("#export").is_disabled()


def test_by_hand_on_a_phone(review, open_page):
    page = open_page(review, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".marks [data-mark=wrong]").tap()
    assert page.locator("#place").inner_text() == "1 of 6"  # there is a name to be given
    assert page.evaluate("document.activeElement.id") != "correct"  # and no keyboard over the page
    page.locator("#correct").fill("low")
    page.locator("#instead button").tap()
    page.locator(".marks [data-mark=right]").tap()
    assert page.locator("#progress").inner_text() == "2 of 6 marked: 1 right, 1 wrong, 0 unsure"
    for button in page.locator("main button").all():
        assert button.bounding_box()["height"] >= 44


def test_a_name_that_is_the_label_makes_it_right(review, open_page, tmp_path):
    page = open_page(review)
    page.keyboard.press("c")
    page.keyboard.type("HIGH")
    page.keyboard.press("Enter")
    (mark,) = read_marks(exported(page, tmp_path))
    assert (mark.mark, mark.truth) == ("right", "high")


def until(page, expression):
    """Wait for an expression to be true. (The page's policy forbids Playwright's own way of waiting.)"""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"not true in 10 s: {expression}")


def test_clips_are_played_and_shown(review, open_page):
    page = open_page(review)
    until(page, "document.getElementById('audio').readyState >= 2")
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(2.0, abs=0.05)
    assert page.evaluate("document.getElementById('spectrogram').naturalWidth") == 200
    box = page.locator("#view").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    until(page, "document.getElementById('audio').currentTime >= 1")
    until(page, "parseFloat(document.getElementById('playhead').style.left) >= 50")


def test_only_some_clips(review, open_page):
    page = open_page(review)
    page.keyboard.press("r")
    page.locator("#filter").select_option("label:low")
    assert page.locator(".clips li").count() == 3
    assert page.locator("#label").inner_text() == "low"
    page.locator("#filter").select_option("right")
    assert page.locator(".clips li").count() == 1
    page.locator("#filter").select_option("wrong")
    assert page.locator("#card").is_hidden()
    until(page, "document.getElementById('audio').readyState >= 2")  # what comes late wipes nothing out
    assert page.locator("#notice").inner_text() == "No clip is like that."
    page.locator("#filter").select_option("all")
    assert page.locator("#notice").is_hidden()
    page.locator(".clips button").nth(4).click()
    assert page.locator("#place").inner_text() == "5 of 6"


def test_a_clip_that_is_broken(review, open_page):
    broken = min((review.parent / "clips").iterdir())
    broken.write_text("not a sound")
    page = open_page(review)
    for place in range(6):
        page.locator(".clips button").nth(place).click()
        until(page, "(a => a.readyState >= 2 || a.error !== null)(document.getElementById('audio'))")
        if page.evaluate("document.getElementById('audio').error !== null"):
            break
    until(page, "document.getElementById('notice').textContent !== ''")
    assert page.locator("#notice").inner_text() == f"This clip can't be played: clips/{broken.name}"
    page.locator(".clips button").nth((place + 1) % 6).click()
    assert page.locator("#notice").is_hidden()


def test_nasty_names_in_a_browser(open_page, review, tmp_path):
    folder = review.parent
    nasty = [clip(n, path=NASTY, label=NASTY, start_seconds=float(n)) for n in range(2)]
    for one in nasty:
        shutil.copy(next((folder / "clips").iterdir()), folder / one.audio)
        shutil.copy(next((folder / "spectrograms").iterdir()), folder / one.image)
    (folder / "nasty.html").write_text(build_page(nasty, title=NASTY), encoding="utf-8")
    page = open_page(folder / "nasty.html")
    assert "owned" not in page.title().partition("<img")[0]
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("#label").text_content() == NASTY
    page.keyboard.press("r")
    (mark,) = read_marks(exported(page, tmp_path))
    assert (mark.path, mark.label) == (NASTY.strip(), NASTY.strip())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_any_light(review, open_page, scheme):
    page = open_page(review, color_scheme=scheme)
    contrast = page.evaluate(
        """() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
              .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (element) => {
            for (let one = element; one; one = one.parentElement) {
              const colour = getComputedStyle(one).backgroundColor;
              if (!colour.endsWith(", 0)")) return light(colour);
            }
            return 1;
          };
          return Object.fromEntries(["#label", "#where", "#progress", "#export", "#place", "h3 span",
            "[data-mark=right]", "[data-mark=wrong]", "[data-mark=unsure]"].map((name) => {
            const element = document.querySelector(name);
            const [a, b] = [light(getComputedStyle(element).color), ground(element)].sort((x, y) => y - x);
            return [name, (a + 0.05) / (b + 0.05)];
          }));
        }"""
    )
    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.5} == {}


# --- from the page to a better model ---------------------------------------------------------------------


@pytest.mark.slow
def test_marks_of_the_page_teach_a_model(open_page, tmp_path, toy_model_dir):
    """The whole circle at the smallest size: results, page, marks in a browser, fine-tuning."""
    from rehearsal import write_tone

    from naturelm_audio.checkpoint import load_model
    from naturelm_audio.train.commands_train import finetune

    rows = []
    for number in range(6):
        write_tone(tmp_path / "sounds" / f"{number}.wav", (3000.0, 400.0)[number % 2], 1.0)
        rows.append(
            Answer(
                audio_path=f"{number}.wav", start_seconds=0.0, end_seconds=1.0, query="What?", output="high",
                confidence=0.5, confidence_kind="token_probability",
            ).to_json()
        )  # fmt: skip
    (tmp_path / "answers.jsonl").write_text("\n".join(rows) + "\n")
    options = ReviewOptions(
        results=tmp_path / "answers.jsonl", output_path=tmp_path / "review", audio_root=tmp_path / "sounds"
    )
    page = open_page(review_results(options).page)
    for number in range(6):
        assert page.locator("#where").inner_text().startswith(f"{number}.wav")
        page.keyboard.press("r" if number % 2 == 0 else "w")
        if number % 2:
            page.keyboard.type("low")
            page.keyboard.press("Enter")
    marks = exported(page, tmp_path)
    assert [mark.truth for mark in read_marks(marks)] == ["high", "low"] * 3
    arguments = ["--data", marks, "--audio-root", tmp_path / "sounds", "--model", toy_model_dir]
    arguments += ["--output", tmp_path / "better", "--steps", "2", "--batch-size", "2"]
    done = CliRunner().invoke(finetune, [str(one) for one in arguments], standalone_mode=False)
    assert done.exception is None, done.output
    assert load_model(tmp_path / "better", device="cpu").tokenizer is not None
    record = json.loads((tmp_path / "better" / "finetune.json").read_text())
    assert record["recordings"] == {"high": {"learned": 2, "judged": 1}, "low": {"learned": 2, "judged": 1}}
    learned = (tmp_path / "better-training" / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in learned]
    assert {(one["start_seconds"], one["end_seconds"]) for one in rows} == {(0.0, 1.0)}
