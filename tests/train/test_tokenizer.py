"""The tiny tokenizer spells anything and keeps the special tokens whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from naturelm_audio import prompts
from naturelm_audio.train.tokenizer import SPECIAL_TOKENS, train_tokenizer

TEXTS = [
    "What is the common name for the focal species in the audio?",
    "chirping birds",
    "dog, cat, None",
] * 5
TOKENIZER = train_tokenizer(TEXTS, 400)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_text_survives(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    if not any(token in text for token in SPECIAL_TOKENS):
        assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_a_special_token_is_one_id(token: str) -> None:
    assert TOKENIZER(token, add_special_tokens=False)["input_ids"] == [SPECIAL_TOKENS.index(token)]


def test_a_prompt_has_one_audio_placeholder() -> None:
    ids = TOKENIZER(prompts.build("chirping birds?"), add_special_tokens=False)["input_ids"]
    assert ids.count(TOKENIZER.convert_tokens_to_ids(prompts.AUDIO_TOKEN)) == 1
    assert TOKENIZER.decode(ids) == prompts.build("chirping birds?")


def test_known_words_are_short() -> None:
    assert len(TOKENIZER("What is the common name", add_special_tokens=False)["input_ids"]) <= 6
    assert len(TOKENIZER) <= 400


def test_it_is_read_back_from_its_folder(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(str(tmp_path))
    again = AutoTokenizer.from_pretrained(str(tmp_path))
    text = prompts.build("dog, cat?") + "dog<|end_of_text|>"
    assert again(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert (again.bos_token, again.eos_token, again.pad_token) == ("<|begin_of_text|>", "<|eot_id|>", "[PAD]")
