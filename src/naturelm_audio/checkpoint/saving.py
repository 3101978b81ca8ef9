"""Writing the model in our own layout or the official one; nothing half-written replaces a good folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from naturelm_audio import prompts
from naturelm_audio.checkpoint import layouts
from naturelm_audio.checkpoint.tensors import SAFETENSORS
from naturelm_audio.checkpoint.tokens import PAD_TOKEN, chat_template, write_base_tokenizer
from naturelm_audio.errors import CheckpointError, OutputError
from naturelm_audio.model import (
    NatureLMFeatureExtractor,
    NatureLMForConditionalGeneration,
    NatureLMProcessor,
)

logger = logging.getLogger(__name__)

_LLAMA_FOLDER = "llama"
_QFORMER_POSITIONS = 512  # length of an unused buffer that official files hold


def save_model(
    model: NatureLMForConditionalGeneration,
    folder: str | Path,
    *,
    state_dict: Mapping[str, Tensor] | None = None,
) -> None:
    """Write model, tokenizer and processor as a folder that :func:`load_model` and the Auto classes read.

    An existing model folder is replaced when everything is written, so a full disk leaves it as it was.

    Args:
        model: with its tokenizer.
        folder: where to.
        state_dict: weights to write in place of the model's own, under the same names.

    Raises:
        CheckpointError: the model has no tokenizer.
        OutputError: the folder can't be written, or holds something that is no model.
    """
    tokenizer = _tokenizer_of(model)
    template = chat_template(model.config)

    def write(target: Path) -> None:
        weights = None if state_dict is None else dict(state_dict)
        model.save_pretrained(target, state_dict=weights, max_shard_size="50GB")
        extractor = NatureLMFeatureExtractor.from_config(model.config)
        NatureLMProcessor(extractor, tokenizer, chat_template=template).save_pretrained(target)

    _write_folder(Path(folder), write)


def save_official(
    model: NatureLMForConditionalGeneration, folder: str | Path, *, llama_path: str | None = None
) -> None:
    """Write the model as the official ``save_pretrained`` does, base language model included.

    Args:
        model: one of ours whose encoder the official code knows.
        folder: where to.
        llama_path: what to name as the base model; by default its configuration and tokenizer are written to
            the subfolder ``llama`` (the official code needs its weights there too).

    Raises:
        CheckpointError: the official model has no such parts, or the model has no tokenizer.
        OutputError: the folder can't be written, or holds something that is no model.
    """
    tokenizer = _tokenizer_of(model)
    tensors, dropped = official_tensors(model)
    if model.config.padded_lengths_seconds != layouts.OFFICIAL_LENGTHS_SECONDS:
        logger.warning("the official layout can't hold this model's clip lengths; it is read with 10 s")
    arguments = layouts.official_arguments(model.config, llama_path or _LLAMA_FOLDER)

    def write(target: Path) -> None:
        save_file(tensors, target / SAFETENSORS, metadata=dropped)
        text = json.dumps(arguments, indent=2, sort_keys=True)
        (target / "config.json").write_text(text + "\n", encoding="utf-8")
        if llama_path is None:
            _write_base(model, tokenizer, target / _LLAMA_FOLDER)

    _write_folder(Path(folder), write)


def official_tensors(model: NatureLMForConditionalGeneration) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state dict under official names, and which alias was left out for which name.

    Raises:
        CheckpointError: the official model has no such encoder.
    """
    config: Any = model.config
    if config.audio_config.patch_stem != "linear":
        raise CheckpointError(
            "the official layout has no convolutional patch stem: save this model in our own layout"
        )
    lora, tied = config.lora_rank > 0, bool(config.text_config.tie_word_embeddings)
    tensors = {
        layouts.to_official(name, lora=lora): tensor.cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == layouts.HEAD)
    }
    tensors["audio_Qformer.bert.embeddings.position_ids"] = torch.arange(_QFORMER_POSITIONS).unsqueeze(0)
    llm = "llama_model.base_model.model." if lora else "llama_model."
    embedding = "llama_embed_tokens.weight"
    dropped = {f"{llm}model.embed_tokens.weight": embedding}
    if tied:
        dropped[f"{llm}lm_head.weight"] = embedding
    table = "beats.encoder.layers.{}.self_attn.relative_attention_bias.weight"
    dropped |= {table.format(i): table.format(0) for i in range(1, config.audio_config.encoder_layers)}
    return tensors, dropped


def _tokenizer_of(model: NatureLMForConditionalGeneration) -> Any:
    if model.tokenizer is None:
        raise CheckpointError("the model has no tokenizer: set model.tokenizer before saving it")
    return model.tokenizer


def _write_base(model: NatureLMForConditionalGeneration, tokenizer: Any, folder: Path) -> None:
    """Write configuration and tokenizer of the base model as they were before tokens were added."""
    folder.mkdir()
    parts: Any = model.config
    text = parts.text_config.to_dict()
    added = {prompts.AUDIO_TOKEN}
    if tokenizer.convert_tokens_to_ids(PAD_TOKEN) == text["vocab_size"] - 1:
        added.add(PAD_TOKEN)
        text["vocab_size"] -= 1
    (folder / "config.json").write_text(json.dumps(text, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    generation: Any = model.generation_config
    generation.save_pretrained(folder)
    write_base_tokenizer(tokenizer, folder, added)


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary folder, then put it in the place of ``folder``."""
    folder = folder.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder for the model")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file():
        raise OutputError(f"{folder}: holds something that is no model; name a new or an empty folder")
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        write(temporary)
        temporary.chmod(0o777 & ~_umask())
        _swap(temporary, folder)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"{folder}: can't be written: {reason}; what was there is unchanged") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _swap(new: Path, folder: Path) -> None:
    """Rename ``new`` to ``folder``; an existing one goes, but keeps its other files, such as a model card."""
    if not folder.exists():
        new.rename(folder)
        return
    for path in folder.iterdir():
        written = path.suffix in (".safetensors", ".bin") or path.name.endswith(".safetensors.index.json")
        if not written and not (new / path.name).exists():
            shutil.copytree(path, new / path.name) if path.is_dir() else shutil.copy2(path, new / path.name)
    old = new.with_name(new.name + ".old")
    folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
