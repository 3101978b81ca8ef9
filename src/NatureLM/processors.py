"""Audio and questions to the tensors and prompts that ``NatureLM.generate`` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from naturelm_audio import prompts
from naturelm_audio.audio import as_waveform, read_span, resample
from naturelm_audio.errors import OptionsError

__all__ = ["NatureLMAudioEvalProcessor", "NatureLMAudioProcessor", "NatureLMInferenceDataset", "collater"]

# What the official evaluation asks of data sets with many labels, whatever the data set's own question.
DETECTION_QUESTION = "What are the common names for the species in the audio, if any?"


@dataclass
class NatureLMAudioProcessor:
    """Cuts or pads clips to one length and fills the chat template.

    Args:
        sample_rate: of the result, in Hz.
        max_length_seconds: of every clip in the result.
        audio_token_placeholder: put in front of a question that has none; only the model's own is known here.
        prompt_template: the chat template, with ``{prompt}`` for the question; None is the model's.
        resampler: soxr, or kaiser_best, which the official package used.
    """

    sample_rate: int = 16_000
    max_length_seconds: float = 10
    audio_token_placeholder: str = f"{prompts.AUDIO_TAG} "
    prompt_template: str | None = None
    resampler: str = field(default="soxr", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a placeholder that the model doesn't know."""
        if prompts.AUDIO_TOKEN not in self.audio_token_placeholder:
            raise OptionsError(f"audio_token_placeholder must contain {prompts.AUDIO_TOKEN}")

    def prepare_audio(self, audio: Any, input_sr: int | None = None) -> Tensor:
        """One clip as (samples,) float32 in [-1, 1], cut or padded with zeros to ``max_length_seconds``.

        Args:
            audio: a path, or an array, tensor or list of samples with or without channels.
            input_sr: sample rate of samples in Hz; None is the model's. A file's own rate is known.

        Raises:
            AudioError: a file or array that can't be used.
        """
        if isinstance(audio, str | PathLike):
            samples = read_span(
                str(audio),
                duration_seconds=self.max_length_seconds,
                sample_rate_hz=self.sample_rate,
                resampler=self.resampler,
            )
        else:
            heard = as_waveform(audio, input_sr or 16_000, resampler=self.resampler)
            samples = resample(heard, 16_000, self.sample_rate, resampler=self.resampler)
        wanted = round(self.max_length_seconds * self.sample_rate)
        clip = torch.from_numpy(samples[:wanted])
        return torch.nn.functional.pad(clip, (0, wanted - len(clip)))

    def prepare_instruction(self, instruction: str) -> str:
        """The whole prompt of a question: placeholder in front unless it has one, chat template around it.

        Raises:
            PromptError: more than one placeholder.
        """
        template = None if self.prompt_template is None else self.prompt_template.replace("{prompt}", "{}")
        tagged = (
            instruction if prompts.AUDIO_TOKEN in instruction else self.audio_token_placeholder + instruction
        )
        return prompts.build(tagged, template=template)

    def __call__(
        self, audios: Sequence[Any], instructions: Sequence[str], input_sample_rates: Sequence[int | None]
    ) -> tuple[Tensor, list[str]]:
        """The clips as (A, samples), and the whole prompts.

        Args:
            audios: paths or samples.
            instructions: questions.
            input_sample_rates: one per clip, in Hz.

        Raises:
            AudioError: a clip that can't be used.
            PromptError: a question with more than one placeholder.
        """
        pairs = zip(audios, input_sample_rates, strict=True)
        waveforms = torch.stack([self.prepare_audio(audio, rate) for audio, rate in pairs])
        return waveforms, [self.prepare_instruction(instruction) for instruction in instructions]


@dataclass
class NatureLMAudioEvalProcessor(NatureLMAudioProcessor):
    """The same for a benchmark's data set: detection sets with many labels get one fixed question.

    Args:
        dataset_name: of the data set.
        true_labels: its labels, if it has some.
        task: ``detection``, ``classification`` or ``captioning``.
        threshold_too_many_detection_labels: with more labels than this it asks the fixed question.
    """

    dataset_name: str = "beans-zero"
    true_labels: Sequence[str] = field(default_factory=list)
    task: str = "detection"
    threshold_too_many_detection_labels: int = 8

    @property
    def dataset_labels(self) -> set[str]:
        """The labels that answers are compared with; a detection set has "None" too, captions have none."""
        if self.task == "captioning":
            return set()
        return {*self.true_labels, *(["None"] if self.task == "detection" else [])}

    def prepare_instruction(self, instruction: str) -> str:
        """The whole prompt of a question, or of the fixed one.

        Raises:
            PromptError: more than one placeholder.
        """
        many = len(self.dataset_labels) > self.threshold_too_many_detection_labels
        fixed = self.task == "detection" and many
        return super().prepare_instruction(DETECTION_QUESTION if fixed else instruction)


class NatureLMInferenceDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of a benchmark (``audio``, ``instruction``, ``metadata``, ...) as items for :func:`collater`.

    Args:
        ds: anything with ``len`` and rows by number.
        processor: prepares audio and questions.
    """

    def __init__(self, ds: Any, processor: NatureLMAudioProcessor) -> None:
        self.ds = ds
        self.processor = processor

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ds)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """One row, prepared.

        Raises:
            AudioError: its audio can't be used.
        """
        row: Mapping[str, Any] = self.ds[idx]
        waveform = self.processor.prepare_audio(row["audio"], json.loads(row["metadata"])["sample_rate"])
        return {
            "raw_wav": waveform,
            "text": "",
            "task": row["task"],
            "audio_chunk_sizes": len(waveform),
            "index": idx,
            "id": row["id"],
            "prompt": self.processor.prepare_instruction(row["instruction"]),
            "label": row["output"],
        }


def collater(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One batch of items: ``raw_wav`` (A, samples), an all-False ``padding_mask``, lists of all else."""
    waveforms = torch.stack([sample["raw_wav"] for sample in samples])
    listed = {
        key: [item[key] for item in samples] for key in ("text", "task", "id", "prompt", "index", "label")
    }
    mask = torch.zeros_like(waveforms, dtype=torch.bool)
    return {"raw_wav": waveforms, "padding_mask": mask, "audio_chunk_sizes": 1, **listed}
