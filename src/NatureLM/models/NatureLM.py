"""The model class with the official methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from NatureLM.config import as_options
from naturelm_audio import load_model
from naturelm_audio.errors import PromptError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.prompts import AUDIO_TOKEN, fill
from naturelm_audio.sequence import answer_loss, embed_prompt, target_ids

__all__ = ["NatureLM"]


class NatureLM(torch.nn.Module):
    """A loaded model behind the official interface; ``.model`` is the model itself.

    Args:
        model: from :func:`naturelm_audio.load_model`.
    """

    def __init__(self, model: NatureLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        llama_path: str | Path | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        **settings: Any,
    ) -> NatureLM:
        """The model of a local folder or file, or of a hub id.

        Args:
            path_or_hub_id: weights in any official layout, or in ours.
            llama_path: base language model, for weights that come without one.
            device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None is the CPU, as officially.
            dtype: None chooses by device.
            settings: passed on to :func:`naturelm_audio.load_model`.

        Raises:
            CheckpointError: weights that are absent or don't fit.
        """
        number_format = str(dtype or "auto").removeprefix("torch.")
        model = load_model(
            path_or_hub_id, llama=llama_path, device=device or "cpu", dtype=number_format, **settings
        )
        return cls(model).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llama_model.get_input_embeddings().weight.device

    @property
    def llama_model(self) -> Any:
        """The language model."""
        return self.model.language_model

    @property
    def llama_tokenizer(self) -> Any:
        """The language model's tokenizer."""
        return self.model.tokenizer

    def encode_audio(
        self, raw_wav: Tensor, audio_padding_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Audio vectors (A, W, D), and their attention mask (A, W) of ones.

        Args:
            raw_wav: (A, N) samples at 16 kHz in [-1, 1].
            audio_padding_mask: (A, N), True where the encoder shall not listen.
        """
        waveforms = raw_wav.to(self.device, torch.float32)
        heard = None if audio_padding_mask is None else ~audio_padding_mask.to(self.device).bool()
        vectors = self.model.get_audio_features(waveforms, heard).pooler_output
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.int64, device=vectors.device)

    def forward(self, samples: Mapping[str, Any], verbose: bool = False) -> dict[str, Tensor]:
        """``loss`` and ``per_example_loss`` (B,) of the answers ``samples["text"]``.

        Args:
            samples: ``raw_wav`` (A, N), ``padding_mask`` (A, N) or None, and for each of B examples its
                ``prompt`` (without the chat template, with a placeholder per clip) and ``text``.
            verbose: add the target tokens ``correct`` and ``total``, and both ``_per_sample``.

        Raises:
            PromptError: placeholders and clips differ in number.
        """
        config = self.model.config
        filled = [fill(prompt, config.prompt_template) for prompt in samples["prompt"]]
        rows = [
            embed_prompt(self.model, prompt, audio) for prompt, audio in self._with_audio(filled, samples)
        ]
        # The official code cuts a long answer with its end symbol.
        targets = [
            target_ids(
                self.llama_tokenizer, text, config.end_symbol, config.max_answer_tokens, keep_end=False
            )
            for text in samples["text"]
        ]
        result = answer_loss(self.model, rows, targets)
        found = {"loss": result.loss, "per_example_loss": result.per_example_loss}
        if verbose:
            found |= {"correct": result.correct.sum(), "total": result.total.sum()}
            found |= {"correct_per_sample": result.correct, "total_per_sample": result.total}
        return found

    @torch.inference_mode()
    def generate(
        self, samples: Mapping[str, Any], generate_cfg: Any = None, prompts: Sequence[str] | None = None
    ) -> list[str]:
        """The model's answer to each prompt.

        Args:
            samples: ``raw_wav`` (A, N), clips in the order of placeholders; ``padding_mask`` (A, N) or None.
            generate_cfg: a ``GenerateConfig``, a mapping of its fields, or None for the defaults.
            prompts: whole prompts, chat template included; None takes ``samples["prompt"]``.

        Raises:
            PromptError: placeholders and clips differ in number.
            OptionsError: an option that is unknown or out of range.
        """
        pairs = self._with_audio(samples["prompt"] if prompts is None else prompts, samples)
        requests = [Request(prompt, audio, key=str(row)) for row, (prompt, audio) in enumerate(pairs)]
        generator = Generator(self.model, as_options(generate_cfg))
        return [answer.text for answer in generator.answer(requests)]

    def _with_audio(
        self, prompts: str | Sequence[str], samples: Mapping[str, Any]
    ) -> list[tuple[str, tuple[Tensor, ...]]]:
        """Each prompt with the vectors (W, D) of as many clips as it has placeholders."""
        vectors, _ = self.encode_audio(samples["raw_wav"], samples.get("padding_mask"))
        asked = [prompts] if isinstance(prompts, str) else list(prompts)
        clips = [prompt.count(AUDIO_TOKEN) for prompt in asked]
        if sum(clips) != len(vectors):
            raise PromptError(f"the prompts have {sum(clips)} {AUDIO_TOKEN} for {len(vectors)} audio clips")
        parts = torch.split(vectors, clips)
        return [(prompt, tuple(part)) for prompt, part in zip(asked, parts, strict=True)]
