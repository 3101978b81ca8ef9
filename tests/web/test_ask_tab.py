"""The tab Ask in a real browser: clips, questions, follow-ups, and what goes wrong."""

from __future__ import annotations

import pytest
import soundfile
from browsers import expect

EN_DASH = "\N{EN DASH}"
QUESTION = "What is the common name for the focal species in the audio?"


def answers(visitor):
    return visitor.page.locator(".nl-reply")


def test_a_clip_is_seen_heard_and_asked_about(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("tone.wav", 3.0))
    card = user.page.locator("#nl-uploads-ask .nl-cards li")
    picture = card.get_by_role("img")
    assert "Spectrogram of tone.wav" in picture.get_attribute("alt")
    user.page.wait_for_function("document.querySelector('#nl-uploads-ask img').naturalWidth === 900")
    expect(card.locator("audio")).to_have_count(1)
    expect(card).to_contain_text("0:03")
    user.ask(QUESTION)
    for part in ("tone.wav", f"0:00 {EN_DASH} 0:03", "%"):
        expect(answers(user)).to_contain_text(part)
    expect(user.page.get_by_label("Question", exact=True)).to_have_value("")


def test_a_follow_up_asks_about_the_same_clips_and_W6_asking_again_gives_the_same_answer(visitor):
    user = visitor()
    user.example("ask", "frog.wav", "cricket.wav")
    for turn, question in enumerate([QUESTION, "Caption the audio.", QUESTION]):
        user.ask(question)
        answers(user).nth(turn).locator(".nl-answer").nth(1).wait_for()
    first, caption, again = (
        answers(user).nth(turn).locator(".nl-text").all_inner_texts() for turn in range(3)
    )
    assert first == again
    assert sorted(first) == ["cricket", "frog"]
    assert caption != first
    expect(user.page.locator(".nl-question")).to_have_count(3)


def test_every_window_of_a_clip_is_answered_and_can_be_heard(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("long-tone.wav", 25.0, seed=1))
    user.ask(QUESTION)
    answers(user).locator(".nl-answer").nth(2).wait_for()
    chips = answers(user).get_by_role("button", name="Listen to")
    spans = ["0:00 - 0:10", "0:10 - 0:20", "0:20 - 0:25"]
    expect(chips).to_have_text([f"▶ {span.replace('-', EN_DASH)}" for span in spans])
    chips.nth(2).click()
    user.page.wait_for_function("document.querySelector('.nl-reply audio').duration > 0")
    assert user.page.evaluate("document.querySelector('.nl-reply audio').duration") == pytest.approx(
        5, abs=0.1
    )


def test_suggestions_fill_the_question(visitor):
    user = visitor()
    user.page.get_by_role("button", name="Caption", exact=True).first.click()
    expect(user.page.get_by_label("Question", exact=True)).to_have_value("Caption the audio.")


def test_W6_text_before_audio_is_a_sentence_and_any_order_works(visitor, sounds):
    user = visitor()
    user.ask(QUESTION)
    answers(user).get_by_text("Add a recording first").wait_for()
    expect(user.page.get_by_label("Question", exact=True)).to_have_value(QUESTION)
    user.give("ask", sounds("tone.wav", 3.0))
    user.page.locator("#nl-go-ask").click()
    answers(user).nth(1).locator(".nl-answer").wait_for()


def test_audio_without_a_question_is_a_sentence(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("tone.wav", 3.0))
    user.ask("   ")
    answers(user).get_by_text("Type a question").wait_for()


def test_wrong_files_are_sentences(visitor, sounds, tmp_path):
    text, empty, short = tmp_path / "notes.wav", tmp_path / "empty.wav", tmp_path / "click.wav"
    text.write_text("These are field notes.")
    empty.touch()
    soundfile.write(short, [0.1] * 3200, 16_000)
    huge = tmp_path / "huge.wav"
    with open(huge, "wb") as file:
        file.truncate(2 * 2**30)
    user = visitor()
    user.give("ask", text, empty, wait=False)
    problems = user.page.locator("#nl-uploads-ask .nl-complaint")
    expect(problems.nth(0)).to_contain_text("notes.wav: not a readable audio file")
    expect(problems.nth(1)).to_contain_text("empty.wav: the file is empty")
    expect(user.page.locator("#nl-uploads-ask .nl-cards li")).to_have_count(0)
    user.give("ask", sounds("tone.wav", 3.0))
    expect(problems).to_have_count(0)
    user.page.get_by_role("button", name="Remove tone.wav").click()
    expect(user.page.locator("#nl-uploads-ask .nl-cards li")).to_have_count(0)
    user.give("ask", short)
    user.ask(QUESTION)
    answers(user).get_by_text("the model needs at least 0.5 s").wait_for()
    user.give("ask", huge, wait=False)
    user.page.get_by_text("huge.wav is larger than the 2,000 MB that this app takes").wait_for()


def test_a_clip_that_is_too_long_is_sent_to_the_other_tab(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("minutes.wav", 400.0, 8_000), wait=False)
    user.page.locator("#nl-uploads-ask").get_by_text("open it under Long recording").wait_for()


def test_what_a_user_types_is_text_and_never_markup(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("tone.wav", 3.0))
    user.ask("<img src=x onerror=alert(1)> <AudioHere> <AudioHere>")
    expect(answers(user).get_by_role("alert")).to_contain_text("2 <AudioHere> for 1 audio clip")
    expect(user.page.locator(".nl-question p")).to_contain_text("<img src=x")
    expect(user.page.locator(".nl-log img")).to_have_count(0)


def test_an_upload_can_be_broken_off_and_removed_all_at_once(visitor, sounds, tmp_path):
    user = visitor()
    slow = tmp_path / "slow.wav"
    with open(slow, "wb") as file:
        file.truncate(40_000_000)
    network = user.context.new_cdp_session(user.page)
    network.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_000_000}
    network.send("Network.emulateNetworkConditions", limits)
    user.give("ask", slow, sounds("tone.wav", 3.0), wait=False)
    user.page.locator("#nl-uploads-ask").get_by_role("button", name="Cancel upload").click()
    network.send("Network.emulateNetworkConditions", limits | {"uploadThroughput": -1})
    user.example("ask", "frog.wav", "cricket.wav")
    cards = user.page.locator("#nl-uploads-ask .nl-cards li")
    expect(cards).to_have_count(2)
    user.page.get_by_role("button", name="Remove all").click()
    expect(cards).to_have_count(0)
    user.ask(QUESTION)
    answers(user).get_by_text("Add a recording first").wait_for()


def test_a_question_that_is_being_typed_stays(visitor, sounds):
    user = visitor()
    user.give("ask", sounds("tone.wav", 3.0))
    user.ask(QUESTION)
    user.page.get_by_label("Question", exact=True).fill("Caption the au")
    answers(user).locator(".nl-answer").wait_for()
    expect(user.page.get_by_label("Question", exact=True)).to_have_value("Caption the au")


def test_what_is_dropped_while_the_page_still_connects_is_taken(visitor, sounds):
    user = visitor()
    held = []
    user.page.route("**/queue/join*", lambda route: held.append(route))
    with user.page.expect_request("**/queue/join*"):
        user.page.goto(user.app.address)
    user.give("ask", sounds("tone.wav", 3.0), wait=False)
    expect(user.page.locator("#nl-uploads-ask li")).to_have_count(0)
    held[0].continue_()
    user.page.unroute("**/queue/join*")
    user.is_there("ask", "tone.wav")
