"""Prompt text: literally what was asked, with exactly one placeholder per clip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio import prompts
from naturelm_audio.errors import PromptError
from naturelm_audio.prompts import AUDIO_TAG, AUDIO_TOKEN

HEAD = "<|start_header_id|>user<|end_header_id|>\n\n"
TAIL = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
TEXT = st.text() | st.text(alphabet="{}%<>AudioHere \n/")
QUESTION = TEXT.filter(lambda text: prompts.without_audio(text) != "" and AUDIO_TOKEN not in text)


def test_the_release_prompt() -> None:
    expected = f"{HEAD}<Audio><AudioHere></Audio> Caption the audio.{TAIL}"
    assert prompts.build("Caption the audio.") == expected


@given(question=QUESTION, clips=st.integers(1, 4))
def test_text_goes_in_literally(question: str, clips: int) -> None:
    prompt = prompts.build(question, clips=clips)
    assert prompt == HEAD + (f"{AUDIO_TAG} " * clips + question).strip() + TAIL
    assert prompt.count(AUDIO_TOKEN) == clips


@pytest.mark.parametrize("question", ["{}", "{0}", "{name}", "a {{b}} %s", "\\n", "{" * 50])
def test_braces_have_no_meaning(question: str) -> None:
    assert prompts.build(question) == f"{HEAD}{AUDIO_TAG} {question}{TAIL}"


@pytest.mark.parametrize(
    "question",
    [
        "<Audio><AudioHere></Audio> What is it?",
        "<Audio><AudioHere></Audio>What is it?",
        "What is it? <Audio><AudioHere></Audio>",
        "<AudioHere> What is it?",
        "  What <AudioHere> is it?\n",
        "<AudioHere>What is it?<Audio></Audio>",
    ],
)
def test_I15_a_placeholder_is_recognised_with_or_without_blank(question: str) -> None:
    assert prompts.build(question) == HEAD + question.strip() + TAIL
    assert prompts.with_audio(question) == question


@given(before=TEXT, after=TEXT, clips=st.integers(1, 3))
def test_I15_adding_the_tag_twice_adds_it_once(before: str, after: str, clips: int) -> None:
    question = before + AUDIO_TOKEN * clips + after
    if question.count(AUDIO_TOKEN) != clips:
        return
    assert prompts.with_audio(question, clips) == question
    once = prompts.with_audio("Who?", clips)
    assert prompts.with_audio(once, clips) == once


@given(found=st.integers(1, 5), clips=st.integers(1, 5))
def test_M8_the_number_of_placeholders_must_be_that_of_clips(found: int, clips: int) -> None:
    question = "Compare " + AUDIO_TAG * found
    if found == clips:
        assert prompts.build(question, clips=clips).count(AUDIO_TOKEN) == clips
        return
    with pytest.raises(PromptError, match=rf"{found} <AudioHere> for {clips} audio clips?: give one"):
        prompts.build(question, clips=clips)


def test_M8_without_clips_there_is_no_placeholder() -> None:
    assert prompts.build("Who are you?", clips=0) == f"{HEAD}Who are you?{TAIL}"
    with pytest.raises(PromptError, match="1 <AudioHere> for 0 audio clips"):
        prompts.build("Who is <AudioHere>?", clips=0)


@given(texts=st.lists(TEXT.filter(lambda text: "<" not in text and "e" not in text), min_size=1, max_size=5))
def test_M8_pieces_join_to_the_prompt_however_empty(texts: list[str]) -> None:
    prompt = AUDIO_TOKEN.join(texts)
    assert prompts.pieces(prompt) == texts
    assert len(prompts.pieces(prompt)) == prompt.count(AUDIO_TOKEN) + 1


@pytest.mark.parametrize("prompt", [AUDIO_TOKEN, AUDIO_TOKEN * 2, f"{AUDIO_TOKEN}a", f"a{AUDIO_TOKEN}"])
def test_M8_a_prompt_may_begin_and_end_with_audio(prompt: str) -> None:
    assert AUDIO_TOKEN.join(prompts.pieces(prompt)) == prompt


@pytest.mark.parametrize("question", ["", "  \n", AUDIO_TAG, f" {AUDIO_TAG} ", AUDIO_TOKEN])
def test_an_empty_question_is_an_error(question: str) -> None:
    with pytest.raises(PromptError, match="the question is empty: ask something"):
        prompts.build(question)


@given(question=QUESTION)
def test_questions_read_the_same_without_audio(question: str) -> None:
    # Text that looks like an empty tag around the cut stays as it is: only whole tags go.
    assert prompts.without_audio(prompts.with_audio(question)) == question.strip()


def test_questions_are_shown_without_tags() -> None:
    assert prompts.without_audio(f"{AUDIO_TAG} What? {AUDIO_TAG}") == "What?"
    assert prompts.without_audio("Is <AudioHere> a bird?") == "Is  a bird?"


# --- templates -------------------------------------------------------------------------------------


def test_M9_a_template_of_ones_own() -> None:
    assert prompts.build("Who?", template="USER: {}\nBOT:") == f"USER: {AUDIO_TAG} Who?\nBOT:"
    assert prompts.build("{}", template="a{}b{}") == f"a{AUDIO_TAG} {{}}b{{}}", (
        "only the first {} is the slot"
    )


@pytest.mark.parametrize("template", [None, ""])
def test_M9_an_empty_template_is_the_releases(template: str | None) -> None:
    assert prompts.build("Who?", template=template) == prompts.build("Who?")


def test_M9_a_template_needs_a_place_for_the_question() -> None:
    with pytest.raises(PromptError, match=r"no \{\} for the question"):
        prompts.build("Who?", template="USER: BOT:")


def test_white_space_around_the_instruction_is_cut() -> None:
    assert prompts.fill("\n  Who? \t") == f"{HEAD}Who?{TAIL}"
    assert prompts.build(" Who?") == f"{HEAD}{AUDIO_TAG}  Who?{TAIL}", (
        "as the official code: after the tag stays"
    )


# --- checks before work ----------------------------------------------------------------------------


def test_questions_are_checked_before_any_work() -> None:
    prompts.check_queries(["Who?", f"{AUDIO_TAG} Where?"])
    with pytest.raises(PromptError, match="no question given"):
        prompts.check_queries([])
    with pytest.raises(PromptError, match="empty"):
        prompts.check_queries(["Who?", " "])
    with pytest.raises(PromptError, match="2 <AudioHere> for 1 audio clip: "):
        prompts.check_queries([AUDIO_TAG * 2 + "Same?"])
