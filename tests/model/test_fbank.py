"""The filterbank against Kaldi's own."""

from __future__ import annotations

import math
import sys

import kaldi_native_fbank
import numpy as np
import pytest
import torch
import toys

from naturelm_audio.model import fbank

SILENCE = (math.log(2.0**-23) - 15.41663) / (2 * 6.55582)


def kaldi(waveform: np.ndarray) -> np.ndarray:
    """(F, 128) of Kaldi's code, normalised as BEATs does."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = 128
    options.energy_floor = 1.0
    extractor = kaldi_native_fbank.OnlineFbank(options)
    extractor.accept_waveform(16_000, (waveform * 32_768).tolist())
    extractor.input_finished()
    frames = np.stack([extractor.get_frame(frame) for frame in range(extractor.num_frames_ready)])
    return (frames - 15.41663) / (2 * 6.55582)


def clip(kind: str) -> np.ndarray:
    time_s = np.arange(16_000) / 16_000
    if kind == "chirp":
        # With a little noise: the logarithm of bands that are empty but for rounding can't agree.
        noise = np.random.default_rng(0).normal(0, 1e-2, 16_000)
        return (0.8 * np.sin(2 * np.pi * (200 * time_s + 3000 * time_s**2)) + noise).astype(np.float32)
    if kind == "noise":
        return np.random.default_rng(0).normal(0, 0.2, 16_000).astype(np.float32)
    return (toys.waveform() * np.linspace(1, 1e-4, 16_000)).astype(np.float32)


@pytest.mark.parametrize("kind", ["chirp", "noise", "fading"])
def test_equals_kaldi(kind: str) -> None:
    ours, theirs = fbank(torch.from_numpy(clip(kind))[None])[0].numpy(), kaldi(clip(kind))
    assert ours.shape == theirs.shape == (98, 128)
    difference = np.abs(ours - theirs)
    assert difference.max() < 3e-3
    assert difference.mean() < 1e-5


def test_silence_is_the_floor() -> None:
    features = fbank(torch.zeros(1, 800))
    assert features.shape == (1, 3, 128)
    torch.testing.assert_close(features, torch.full_like(features, SILENCE))
    assert pytest.approx(-2.3917, abs=1e-4) == SILENCE


def test_the_filter_without_a_bin_is_always_the_floor() -> None:
    features = fbank(toys.waveforms(2))
    torch.testing.assert_close(features[:, :, 3], torch.full((2, 98), SILENCE))
    assert (features[:, :, 4:] > SILENCE).all()


def test_I12_float64_differs_by_less_than_the_encoder_can_hear() -> None:
    single = toys.waveforms(1)
    double = fbank(single.double())
    assert double.dtype == torch.float32
    assert (double - fbank(single)).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_it(dtype: torch.dtype) -> None:
    waveform = toys.waveforms(1)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(fbank(waveform), fbank(waveform.clone()))
        inside = fbank(waveform)
    assert torch.equal(inside, fbank(waveform))


def test_a_clip_in_a_batch_is_as_alone() -> None:
    batch = toys.waveforms(5)
    together = fbank(batch)
    for row in range(len(batch)):
        torch.testing.assert_close(fbank(batch[row : row + 1])[0], together[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_only_frames_that_fit_completely(samples: int, frames: int) -> None:
    assert fbank(torch.zeros(1, samples)).shape[1] == frames


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(16_000), r"must be \(batch, samples\), not \(16000,\)"),
        (torch.zeros(1, 1, 16_000), r"not \(1, 1, 16000\)"),
        (torch.zeros(1, 16_000, dtype=torch.int16), "float32 or float64 audio, not torch.int16"),
        (torch.zeros(1, 16_000, dtype=torch.bfloat16), "not torch.bfloat16"),
        (torch.zeros(1, 399), "399 samples are fewer than one frame of 400"),
    ],
)
def test_errors_say_what_is_wrong(waveform: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fbank(waveform)


def test_it_passes_gradients_to_the_audio_after_inference() -> None:
    """What is cached in inference mode must still serve later training."""
    module = sys.modules["naturelm_audio.model.fbank"]
    for cached in (module._povey_window, module._mel_weights):
        cached.cache_clear()
    with torch.inference_mode():
        fbank(torch.zeros(1, 400, dtype=torch.float64))
    waveform = toys.waveforms(1, 0.05).double().requires_grad_()
    fbank(waveform).sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.abs().sum() > 0
