"""Recordings through the official preparation: resampy's kaiser_best, mean of channels, the first 10 s."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from naturelm_audio import audio

RECORDINGS = {
    "frog": "nri-GreenTreeFrogEvergladesNP.mp3",
    "lazuli": "Lazuli_Bunting_yell-YELLLAZB20160625SM303143.mp3",
}


@pytest.fixture(params=RECORDINGS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def heard(parity_dir: Path, name: str) -> np.ndarray:
    """The first 10 s of a recording as the official release hears them."""
    path = parity_dir.parent / "recordings" / "examples" / RECORDINGS[name]
    if not path.is_file():
        pytest.skip("the folder shared/recordings beside the checkout is not there")
    samples = audio.read_span(path, 0.0, 10.0, resampler="kaiser_best")
    return np.pad(samples, (0, 160_000 - len(samples)))  # the frog is 20 ms short of 10 s


def test_samples(heard: np.ndarray, name: str, arrays: Any, check: Callable[..., None]) -> None:
    check(f"samples of a recording, {name}", heard, arrays[f"wav_{name}_f64"], 1e-6)


@torch.no_grad()
def test_audio_tokens(
    heard: np.ndarray, name: str, arrays: Any, micro: Any, check: Callable[..., None]
) -> None:
    tokens = micro.get_audio_features(torch.from_numpy(heard)[None]).pooler_output
    row = ["chirp10", "chirp5pad", "frog", "lazuli"].index(name)
    theirs = arrays["encode_batch_nomask_f32"][row : row + 1]
    check(f"audio tokens of a recording, {name}", tokens, theirs, 1e-3)
