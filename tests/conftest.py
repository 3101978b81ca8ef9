"""Shared fixtures. Nothing here needs network, GPU or weights."""

from __future__ import annotations

import os

# Before torch or numpy start their threads: spinning threads on shared cores cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browsers import browser  # noqa: F401  a fixture
from hypothesis import settings

# Shared machines stall; a deadline would fail tests at random. The same examples in every run.
settings.register_profile("shared", deadline=None, derandomize=True)
settings.load_profile("shared")

REPO_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of recordings, parity fixtures and specifications beside the checkout."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' beside the checkout: it holds real recordings and fixtures")
    return folder


@pytest.fixture(scope="session")
def synthetic_samples() -> Callable[..., np.ndarray]:
    """A function that makes (frames,) or (frames, channels) float32: a sweep with a little seeded noise."""

    def make(seconds: float = 2.0, sample_rate_hz: int = 44_100, channels: int = 1) -> np.ndarray:
        frames = round(seconds * sample_rate_hz)
        time_s = np.arange(frames) / sample_rate_hz
        noise = np.random.default_rng(7).standard_normal((frames, channels))
        sweep = 0.5 * np.sin(2 * np.pi * (300 * time_s + 400 * time_s**2 / max(seconds, 1e-9)))
        samples = (sweep[:, None] / np.arange(1, channels + 1) + 0.05 * noise).astype(np.float32)
        return samples[:, 0] if channels == 1 else samples

    return make


@pytest.fixture
def wav(tmp_path: Path, synthetic_samples: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """A function that writes a small synthetic recording and returns its path."""

    def write(
        name: str = "sweep.wav",
        *,
        seconds: float = 2.0,
        sample_rate_hz: int = 44_100,
        channels: int = 1,
        subtype: str | None = None,
        format: str | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = synthetic_samples(seconds, sample_rate_hz, channels)
        soundfile.write(path, samples, sample_rate_hz, subtype=subtype, format=format)
        return path

    return write


@pytest.fixture(scope="session")
def toy_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in our own layout: a model of two layers each, random weights, adapters, a tokenizer."""
    import toys

    from naturelm_audio.checkpoint import save_model

    folder = tmp_path_factory.mktemp("models") / "toy"
    save_model(toys.model(padded_lengths_seconds=(3.0, 10.0), lora_rank=2, lora_alpha=4.0), folder)
    return folder


@pytest.fixture(scope="session")
def toy_model(toy_model_dir: Path) -> Any:
    """That model, loaded; tests must leave it as they found it."""
    from naturelm_audio.checkpoint import load_model

    return load_model(toy_model_dir, device="cpu", dtype="float32")
