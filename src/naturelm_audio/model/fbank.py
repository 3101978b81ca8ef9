"""Log-mel filterbank, Kaldi's ``fbank`` with BEATs' normalisation: waveform in, (frames, 128) out.

Symbols: B batch, N samples, F frames of 25 ms every 10 ms, K = 257 FFT bins, M = 128 mel bands.
Source: Kaldi's feature extraction as used by BEATs (Chen et al., 2023, section 3.1). Computed in the dtype of
the audio, window included, never in half precision: the logarithm amplifies rounding in nearly empty bands.
Not here: dither, energy column, mean subtraction, vocal-tract warping.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .config import FRAME_HOP_SAMPLES, FRAME_LENGTH_SAMPLES, MEL_BANDS, SAMPLE_RATE_HZ

FFT_SAMPLES = 512
PRE_EMPHASIS = 0.97
LOWEST_HZ = 20.0
LOG_FLOOR = 2.0**-23
WAVEFORM_SCALE = 2.0**15
FBANK_MEAN = 15.41663
FBANK_STD = 6.55582


def fbank(waveform: Tensor) -> Tensor:
    """Normalised log-mel energies, (B, F, 128) float32, of ``waveform`` (B, N) at 16 kHz in [-1, 1].

    F = 1 + (N - 400) // 160: only frames that fit completely.

    Raises:
        ValueError: not (B, N), not float32 or float64, or fewer than 400 samples.
    """
    if waveform.ndim != 2:
        raise ValueError(f"waveform must be (batch, samples), not {tuple(waveform.shape)}")
    if waveform.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the filterbank needs float32 or float64 audio, not {waveform.dtype}")
    if waveform.shape[1] < FRAME_LENGTH_SAMPLES:
        raise ValueError(f"{waveform.shape[1]} samples are fewer than one frame of {FRAME_LENGTH_SAMPLES}")
    with torch.autocast(waveform.device.type, enabled=False):
        frames = (waveform * WAVEFORM_SCALE).unfold(1, FRAME_LENGTH_SAMPLES, FRAME_HOP_SAMPLES)  # (B, F, 400)
        frames = frames - frames.mean(dim=2, keepdim=True)
        previous = torch.cat((frames[..., :1], frames[..., :-1]), dim=2)
        frames = (frames - PRE_EMPHASIS * previous) * _povey_window(waveform.dtype, str(waveform.device))
        spectrum = torch.fft.rfft(frames, n=FFT_SAMPLES).abs().pow(2.0)  # (B, F, K) power
        energies = spectrum @ _mel_weights(waveform.dtype, str(waveform.device)).T  # (B, F, M)
        log_energies = energies.clamp_min(LOG_FLOOR).log().to(torch.float32)
        return (log_energies - FBANK_MEAN) / (2 * FBANK_STD)


# Cached by (dtype, device) and never buffers of a module: `from_pretrained` builds modules without storage,
# and buffers computed there come back with wrong values. Made outside inference mode, so that training can
# use them later.
@lru_cache(maxsize=8)
def _povey_window(dtype: torch.dtype, device: str) -> Tensor:
    """Kaldi's default window (400,), a symmetric Hann window to the power 0.85."""
    with torch.inference_mode(False), torch.device("cpu"):
        window = torch.hann_window(FRAME_LENGTH_SAMPLES, periodic=False, dtype=dtype).pow(0.85)
        return window.to(device)


@lru_cache(maxsize=8)
def _mel_weights(dtype: torch.dtype, device: str) -> Tensor:
    """Triangular weights (128, 257), linear in mel and not area-normalised; the Nyquist bin has weight 0."""
    lowest, highest = _mel_number(LOWEST_HZ), _mel_number(SAMPLE_RATE_HZ / 2)
    step = (highest - lowest) / (MEL_BANDS + 1)
    with torch.inference_mode(False), torch.device("cpu"):
        band = torch.arange(MEL_BANDS).unsqueeze(1)
        bin_hz = SAMPLE_RATE_HZ / FFT_SAMPLES * torch.arange(FFT_SAMPLES // 2)
        bin_mel = 1127.0 * (1.0 + bin_hz / 700.0).log().unsqueeze(0)
        # Three sums of float32, not multiples of one step: equal to the official weights to the last bit.
        left, centre, right = (lowest + (band + offset) * step for offset in (0.0, 1.0, 2.0))
        rising, falling = (bin_mel - left) / (centre - left), (right - bin_mel) / (right - centre)
        weights = torch.minimum(rising, falling).clamp_min(0.0)
        return torch.nn.functional.pad(weights, (0, 1)).to(device=device, dtype=dtype)


def _mel_number(frequency_hz: float) -> float:
    return 1127.0 * math.log(1.0 + frequency_hz / 700.0)
