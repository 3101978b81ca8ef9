"""Questions about encoded audio -> answers with their log-probabilities, in batches that never change an
answer.

Rows of a batch are padded on the left and stop each on its own, so an answer is the same alone, in any batch
and in any order (exact in float32; in lower precision ties may break differently). Sampling draws from a
stream of its own for every request, so that holds for random answers too. Knows nothing of files or windows.
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from naturelm_audio.errors import NatureLMError
from naturelm_audio.model.lora import merging_alpha
from naturelm_audio.model.naturelm import NatureLMForConditionalGeneration
from naturelm_audio.options import GenerateOptions
from naturelm_audio.sequence import embed_prompt, text_ids

__all__ = ["Generated", "Generator", "Request"]

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Request:
    """One question: the filled prompt with a placeholder per clip, the clips' vectors, and a key for random
    draws.

    ``audio``: each (tokens, D) from :meth:`Generator.encode`. ``key``: any text that names the request; equal
    keys draw equal random numbers, whatever else is in the batch.
    """

    prompt: str
    audio: tuple[Tensor, ...]
    key: str = ""


@dataclass(frozen=True)
class Generated:
    """One answer. ``log_probabilities`` has one value per token of ``token_ids``, the end token included."""

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]

    @property
    def mean_log_probability(self) -> float:
        """Mean over the answer's tokens, the end token included; 0 of no token at all."""
        return math.fsum(self.log_probabilities) / max(len(self.log_probabilities), 1)

    @property
    def confidence(self) -> float:
        """Geometric mean of the token probabilities, in [0, 1]: how expected the words, not how true."""
        return math.exp(min(self.mean_log_probability, 0.0))


class OutOfMemoryError(NatureLMError):
    """Not even one row fits into memory."""


class Generator:
    """Encodes clips and answers requests with one model.

    Args:
        model: loaded model with its ``tokenizer``.
        options: how to generate; greedy or beams or sampling.
        batch_size: rows worked on at once; halved, once and for all, when memory runs out.
    """

    def __init__(
        self,
        model: NatureLMForConditionalGeneration,
        options: GenerateOptions | None = None,
        *,
        batch_size: int = 8,
    ) -> None:
        self.model = model
        self.options = options or GenerateOptions()
        self.batch_size = batch_size
        self._ids = lru_cache(maxsize=4096)(partial(text_ids, model.tokenizer))

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Audio vectors (tokens, D) of each mono 16 kHz waveform (samples,), padded with zeros as in
        training.

        Clips of one padded length share a batch; a clip's vectors don't depend on its neighbours.

        Raises:
            ValueError: an empty clip or one longer than the model hears at once.
        """
        config = self.model.config
        lengths = [config.padded_samples(len(waveform)) for waveform in waveforms]
        vectors: dict[int, Tensor] = {}
        for length in sorted(set(lengths)):
            places = [place for place, own in enumerate(lengths) if own == length]

            def encode(batch: Sequence[int], length: int = length) -> list[Tensor]:
                clips = np.zeros((len(batch), length), dtype=np.float32)
                for row, place in enumerate(batch):
                    clip = waveforms[place][:length]
                    clips[row, : len(clip)] = clip
                values = torch.from_numpy(clips).to(self.model.device)
                return list(self.model.get_audio_features(values).pooler_output)

            vectors.update(zip(places, self.in_batches(places, encode), strict=True))
        return [vectors[place] for place in range(len(lengths))]

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request], options: GenerateOptions | None = None) -> list[Generated]:
        """The answers, in the order of ``requests``.

        Raises:
            PromptError: placeholders and clips of a request differ in number.
            OutOfMemoryError: one request alone is too large.
        """
        options = options or self.options
        rows = [self.embed(request) for request in requests]
        # Rows of like length share a batch: less padding to compute. The order never shows in the answers.
        order = sorted(range(len(rows)), key=lambda row: rows[row].shape[0])
        with merging_alpha(self.model.language_model, options.merging_alpha):
            answers = self.in_batches(
                order,
                lambda batch: self._generate(
                    [rows[row] for row in batch], [requests[row] for row in batch], options
                ),
            )
        placed = dict(zip(order, answers, strict=True))
        return [placed[row] for row in range(len(rows))]

    def exclusively(self, work: Callable[[], _Result]) -> _Result:
        """What ``work`` returns; meanwhile nothing else may use the model, see ``batching``."""
        return work()

    def in_batches(
        self, items: Sequence[_Item], work: Callable[[Sequence[_Item]], list[_Result]]
    ) -> list[_Result]:
        """Results of ``work`` on slices of ``items``, smaller ones when memory runs out.

        Raises:
            OutOfMemoryError: one item alone is too large.
        """
        results: list[_Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.batch_size]
            try:
                results.extend(work(batch))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(len(batch))
        return results

    def _halve(self, rows: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if rows == 1:
            raise OutOfMemoryError(
                "out of memory with a single window: use a smaller model, dtype or --num-beams 1"
            )
        self.batch_size = max(rows // 2, 1)
        logger.warning("out of memory with %d rows at once: going on with %d", rows, self.batch_size)

    def embed(self, request: Request) -> Tensor:
        """The request's positions (S, D).

        Raises:
            PromptError: placeholders and clips of the request differ in number.
        """
        return embed_prompt(self.model, request.prompt, request.audio, self._ids(request.prompt))

    def _generate(
        self, rows: list[Tensor], requests: list[Request], options: GenerateOptions
    ) -> list[Generated]:
        """Answers of one batch."""
        longest = max(row.shape[0] for row in rows)
        embeddings = torch.stack(
            [torch.nn.functional.pad(row, (0, 0, longest - row.shape[0], 0)) for row in rows]
        )
        mask = torch.tensor(
            [[0] * (longest - row.shape[0]) + [1] * row.shape[0] for row in rows], device=embeddings.device
        )
        recorder = _Recorder()
        processors: list[LogitsProcessor] = [recorder]
        if options.do_sample:
            processors.append(_OwnNoise([request.key for request in requests], options))
        with warnings.catch_warnings():
            # As in the official release: the prompt is vectors, so a penalty can only see what was said.
            warnings.filterwarnings("ignore", message="Passing `repetition_penalty` with `inputs_embeds`")
            output = self.model.language_model.generate(
                inputs_embeds=embeddings,
                attention_mask=mask,
                generation_config=self._generation_config(options),
                logits_processor=LogitsProcessorList(processors if options.num_beams == 1 else []),
            )
        if options.num_beams == 1:
            scores = recorder.finish(output.sequences)
        else:
            scores = self.model.language_model.compute_transition_scores(
                output.sequences, output.scores, output.beam_indices, normalize_logits=False
            )
        return [
            self._finish(ids, values)
            for ids, values in zip(output.sequences.tolist(), scores.float().tolist(), strict=True)
        ]

    def _finish(self, ids: list[int], log_probabilities: list[float]) -> Generated:
        """Cut a row after its first end token, and decode it."""
        ends = self._end_ids()
        count = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
        text = self.model.tokenizer.decode(
            ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Generated(
            text=text, token_ids=tuple(ids[:count]), log_probabilities=tuple(log_probabilities[:count])
        )

    def _end_ids(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        return [ends] if isinstance(ends, int) else list(ends)

    def _generation_config(self, options: GenerateOptions) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=options.max_new_tokens,
            num_beams=options.num_beams,
            # Random draws are made by a noise of our own (see _OwnNoise), so to transformers it's greedy.
            do_sample=False,
            repetition_penalty=options.repetition_penalty,
            length_penalty=options.length_penalty if options.num_beams > 1 else None,
            early_stopping=False if options.num_beams > 1 else None,
            eos_token_id=self._end_ids(),
            pad_token_id=self._end_ids()[-1],
            return_dict_in_generate=True,
            output_scores=options.num_beams > 1,
        )


class _Recorder(LogitsProcessor):
    """Keeps the log-probability of each chosen token, never more than one step of all scores."""

    def __init__(self) -> None:
        self._last: Tensor | None = None
        self._chosen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._last is not None:
            self._chosen.append(self._last.gather(1, input_ids[:, -1:]))
        self._last = scores.float().log_softmax(dim=1)
        return scores

    def finish(self, sequences: Tensor) -> Tensor:
        """Log-probabilities (B, tokens) of the finished ``sequences``."""
        if self._last is None:
            return sequences.new_zeros(sequences.shape, dtype=torch.float32)
        return torch.cat([*self._chosen, self._last.gather(1, sequences[:, -1:])], dim=1)


class _OwnNoise(LogitsProcessor):
    """Sampling as an argmax over noisy scores ("Gumbel-max"), each row with random numbers of its own.

    The usual draw takes numbers from one stream for the whole batch, so that a row's answer depends on its
    neighbours.
    """

    def __init__(self, keys: list[str], options: GenerateOptions) -> None:
        seeds = (hashlib.sha256(f"{options.seed}\0{key}".encode()).digest() for key in keys)
        self._streams = [np.random.default_rng(int.from_bytes(seed[:8], "little")) for seed in seeds]
        self._temperature = options.temperature or 1.0
        self._top_p = options.top_p or 1.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.float() / self._temperature
        if self._top_p < 1.0:
            ordered, places = scores.sort(dim=1, descending=True)
            before = ordered.softmax(dim=1).cumsum(dim=1) - ordered.softmax(dim=1)
            outside = torch.zeros_like(scores, dtype=torch.bool).scatter(1, places, before > self._top_p)
            scores = scores.masked_fill(outside, -math.inf)
        noise = np.stack([stream.gumbel(size=scores.shape[1]) for stream in self._streams])
        return scores + torch.from_numpy(noise).to(scores)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
