"""The tokenizer: prepared in one place, so that every loading path gives identical token ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoTokenizer

from naturelm_audio import prompts
from naturelm_audio.checkpoint.tensors import read_json, shown
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import NatureLMConfig

PAD_TOKEN = "[PAD]"
_TURN_END = "<|eot_id|>"


def prepare_tokenizer(folder: Path, config: NatureLMConfig) -> Any:
    """Return the tokenizer of a local folder with the tokens that every loading path needs, and set its ids.

    The pad token of training, ``[PAD]``, is added where the embedding table has a row for it; ``<AudioHere>``
    always (its id may lie behind the table: the model replaces it before embedding). Padding is on the left,
    with the end token. ``config.audio_token_id`` is set.

    Raises:
        CheckpointError: no tokenizer there, or not the model's.
    """
    tokenizer = _read_tokenizer(folder)
    text: Any = config.text_config
    known = tokenizer.get_vocab()
    if PAD_TOKEN not in known and prompts.AUDIO_TOKEN not in known and len(tokenizer) < text.vocab_size:
        _add(tokenizer, PAD_TOKEN)
    if prompts.AUDIO_TOKEN not in known:
        _add(tokenizer, prompts.AUDIO_TOKEN)
    config.audio_token_id = tokenizer.convert_tokens_to_ids(prompts.AUDIO_TOKEN)
    _check_tokenizer(tokenizer, config, folder)
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    return tokenizer


def eos_token_ids(folder: Path, config: NatureLMConfig, tokenizer: Any) -> list[int]:
    """Return every id that ends an answer: those of the base's generation settings and the end symbol."""
    path = folder / "generation_config.json"
    ids = read_json(path).get("eos_token_id") if path.is_file() else None
    if ids is None:
        text: Any = config.text_config
        ids = text.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    end_symbol = tokenizer(config.end_symbol, add_special_tokens=False).input_ids
    return sorted({*(ids if isinstance(ids, list | tuple) else [ids]), *end_symbol})


def chat_template(config: NatureLMConfig) -> str:
    """Return the prompt template as transformers' chat template: one audio tag per clip, then the text."""
    head, _, tail = (config.prompt_template or prompts.TEMPLATE).partition("{}")
    user_end, turn, assistant = tail.partition(_TURN_END)
    if not turn:  # a template of the user's own without turns: all of its end belongs to the question
        user_end, assistant = tail, ""
    start, end, reply, stop, tag = (
        json.dumps(text, ensure_ascii=False)
        for text in (head, user_end + turn, assistant, config.end_symbol, f"{prompts.AUDIO_TAG} ")
    )
    return (
        "{%- for message in messages -%}"
        "{%- set ns = namespace(text='') -%}"
        "{%- if message['content'] is string -%}{%- set ns.text = message['content'] -%}{%- else -%}"
        "{%- for part in message['content'] -%}"
        "{%- if part['type'] == 'audio' -%}{%- set ns.text = ns.text + " + tag + " -%}"
        "{%- elif part['type'] == 'text' -%}{%- set ns.text = ns.text + part['text'] -%}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}"
        "{%- if message['role'] == 'user' -%}{{ " + start + " + ns.text.strip() + " + end + " }}"
        "{%- elif message['role'] == 'assistant' -%}{{ " + reply + " + ns.text + " + stop + " }}"
        "{%- else -%}{{ raise_exception('the model knows only user and assistant turns') }}{%- endif -%}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ " + reply + " }}{%- endif -%}"
    )


def write_base_tokenizer(tokenizer: Any, folder: Path, added: set[str]) -> None:
    """Write a tokenizer without the tokens that :func:`prepare_tokenizer` added to it."""
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer.json"
    content = read_json(path)
    removed = added - set(content["model"].get("vocab", {}))
    content["added_tokens"] = [one for one in content["added_tokens"] if one["content"] not in removed]
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    decoder = settings.get("added_tokens_decoder", {})
    kept = {number: one for number, one in decoder.items() if one["content"] not in removed}
    settings |= {"added_tokens_decoder": kept} if kept else {}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        if isinstance(settings.get(key), list):
            settings[key] = [token for token in settings[key] if token not in removed]
    path.write_text(json.dumps(settings, ensure_ascii=False, indent=2), encoding="utf-8")


def _read_tokenizer(folder: Path) -> Any:
    wanted = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if not any((folder / name).is_file() for name in wanted):
        raise CheckpointError(f"{folder}: no tokenizer here; looked for {', '.join(wanted)}")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust library raises bare Exception for a damaged tokenizer.json
        raise CheckpointError(f"{folder}: its tokenizer can't be read: {error}") from error


def _add(tokenizer: Any, token: str) -> None:
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)], special_tokens=True)


def _check_tokenizer(tokenizer: Any, config: NatureLMConfig, folder: Path) -> None:
    text: Any = config.text_config
    rows = text.vocab_size
    outside = [
        token
        for token, number in tokenizer.get_vocab().items()
        if number >= rows and token != prompts.AUDIO_TOKEN
    ]
    if outside:
        raise CheckpointError(
            f"{folder}: not this model's tokenizer: {len(outside)} tokens have no row in the embedding table "
            f"of {rows}: {shown(sorted(outside))}"
        )
    for name in ("bos_token", "eos_token"):
        if getattr(tokenizer, name) is None:
            raise CheckpointError(f"{folder}: the tokenizer has no {name}, which the prompt needs")
    if len(tokenizer(config.end_symbol, add_special_tokens=False).input_ids) != 1:
        raise CheckpointError(
            f"{folder}: the end symbol {config.end_symbol!r} (end_sym) is not one token of this tokenizer; "
            "wrong tokenizer, or a wrong end_sym in the model's settings"
        )
