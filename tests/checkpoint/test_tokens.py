"""The tokenizer of every loading path: the same added tokens, the same ids, the right ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toys
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from naturelm_audio import prompts
from naturelm_audio.checkpoint import prepare_tokenizer
from naturelm_audio.checkpoint.tokens import eos_token_ids
from naturelm_audio.errors import CheckpointError

LLAMA_TOKENS = toys.SPECIAL_TOKENS[:-1]  # without the audio token, as a base model has them
ROWS = 256 + len(LLAMA_TOKENS)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a base model's tokenizer."""
    write_tokenizer(tmp_path)
    return tmp_path


def write_tokenizer(folder: Path, bos: str | None = toys.BOS, eos: str | None = toys.END_OF_TURN) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in LLAMA_TOKENS])
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos).save_pretrained(folder)


def config(rows: int = ROWS, **changes: Any) -> Any:
    return toys.config({"vocab_size": rows}, **changes)


def test_with_a_row_for_the_pad_token(base: Path):
    settings = config(ROWS + 1)
    tokenizer = prepare_tokenizer(base, settings)
    assert tokenizer.convert_tokens_to_ids("[PAD]") == ROWS
    assert settings.audio_token_id == tokenizer.convert_tokens_to_ids(prompts.AUDIO_TOKEN) == ROWS + 1
    assert (tokenizer.pad_token, tokenizer.padding_side) == (toys.END_OF_TURN, "left")
    assert tokenizer("a[PAD]b", add_special_tokens=False).input_ids[1] == ROWS


def test_without_a_row_for_the_pad_token(base: Path):
    settings = config(ROWS)
    tokenizer = prepare_tokenizer(base, settings)
    assert "[PAD]" not in tokenizer.get_vocab()
    assert settings.audio_token_id == ROWS
    assert max(tokenizer("a[PAD]b", add_special_tokens=False).input_ids) < ROWS


def test_the_audio_token_is_one_whole_token(base: Path):
    settings = config(ROWS)
    tokenizer = prepare_tokenizer(base, settings)
    ids = tokenizer(f"x {prompts.AUDIO_TAG} y", add_special_tokens=False).input_ids
    assert ids.count(settings.audio_token_id) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == "x <Audio></Audio> y"


def test_preparing_twice_changes_nothing(base: Path, tmp_path: Path):
    settings = config(ROWS + 1)
    first = prepare_tokenizer(base, settings)
    first.save_pretrained(tmp_path / "saved")
    second = prepare_tokenizer(tmp_path / "saved", settings)
    assert second.get_vocab() == first.get_vocab()
    assert settings.audio_token_id == ROWS + 1
    assert (second.pad_token, second.eos_token, second.bos_token) == (
        first.pad_token,
        first.eos_token,
        first.bos_token,
    )


def test_another_models_tokenizer(base: Path):
    with pytest.raises(CheckpointError, match=r"not this model's tokenizer: 4 tokens have no row .* of 258"):
        prepare_tokenizer(base, config(258))


@pytest.mark.parametrize("missing", ["bos", "eos"])
def test_a_tokenizer_without_a_needed_token(missing: str, tmp_path: Path):
    write_tokenizer(tmp_path, **{missing: None})
    with pytest.raises(CheckpointError, match=f"no {missing}_token"):
        prepare_tokenizer(tmp_path, config())


@pytest.mark.parametrize("symbol", ["</s>", "", "two words"])
def test_M9_the_end_symbol_must_be_one_token(symbol: str, base: Path):
    with pytest.raises(CheckpointError, match="end symbol"):
        prepare_tokenizer(base, config(end_symbol=symbol))


def test_no_tokenizer(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no tokenizer here; looked for tokenizer\.json"):
        prepare_tokenizer(tmp_path, config())


@pytest.mark.parametrize(
    ("generation", "text", "expected"),
    [
        ({"eos_token_id": [257, 260, 261]}, 3, [257, 260, 261]),
        ({"eos_token_id": 261}, 3, [257, 261]),
        ({"do_sample": True}, 3, [3, 257]),
        (None, [3, 4], [3, 4, 257]),
        (None, None, [257, 261]),
    ],
)
def test_every_end_token_counts(generation: Any, text: Any, expected: list[int], base: Path):
    if generation is not None:
        (base / "generation_config.json").write_text(json.dumps(generation))
    settings = toys.config({"vocab_size": ROWS, "eos_token_id": text})
    tokenizer = prepare_tokenizer(base, settings)
    assert tokenizer.convert_tokens_to_ids([toys.END, toys.END_OF_TURN]) == [257, 261]
    assert eos_token_ids(base, settings, tokenizer) == expected
