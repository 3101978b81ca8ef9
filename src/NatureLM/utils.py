"""Waveforms of files as the official helpers prepare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from NatureLM.processors import NatureLMAudioProcessor

__all__ = ["move_to_device", "prepare_sample_waveforms"]

TARGET_SAMPLE_RATE = 16_000


def prepare_sample_waveforms(
    audio_paths: Sequence[str | Path],
    cuda_enabled: bool = True,
    sr: int = TARGET_SAMPLE_RATE,
    max_length_seconds: float = 10,
) -> dict[str, Any]:
    """``raw_wav`` (A, N) of the files' first seconds, an all-False ``padding_mask``, ``audio_chunk_sizes``.

    Args:
        audio_paths: files; all channels are averaged.
        cuda_enabled: put the tensors on the GPU if there is one.
        sr: sample rate in Hz.
        max_length_seconds: every clip is cut or padded with zeros to this length.

    Raises:
        AudioError: a file that can't be read.
    """
    processor = NatureLMAudioProcessor(sample_rate=sr, max_length_seconds=max_length_seconds)
    waveforms = torch.stack([processor.prepare_audio(path) for path in audio_paths])
    samples = {
        "raw_wav": waveforms,
        "padding_mask": torch.zeros_like(waveforms, dtype=torch.bool),
        "audio_chunk_sizes": [len(waveforms)],
    }
    return move_to_device(samples, "cuda") if cuda_enabled and torch.cuda.is_available() else samples


def move_to_device(samples: Any, device: str | torch.device) -> Any:
    """The same mapping, list, tuple or tensor with every tensor in it on ``device``; all else as it is."""
    if isinstance(samples, torch.Tensor):
        return samples.to(device)
    if isinstance(samples, dict):
        return {name: move_to_device(value, device) for name, value in samples.items()}
    if isinstance(samples, list | tuple):
        return type(samples)(move_to_device(value, device) for value in samples)
    return samples
