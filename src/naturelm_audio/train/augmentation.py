"""Augmentation of training clips as in the paper's recipe: pure functions of samples and a generator.

Waveforms are float32 (samples,) at 16 kHz. Order for one clip: time scale, crop, noise, padding with zeros,
clamp, mixture with others. Source: Robinson et al. (2025), section 4 and appendix; the official loader.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from naturelm_audio.audio import SAMPLE_RATE_HZ
from naturelm_audio.prompts import without_audio
from naturelm_audio.train.augment import Floats, Generator, mean_square
from naturelm_audio.train.manifest.examples import Example

__all__ = [
    "as_noise",
    "band_mask",
    "echo",
    "fitted_noise",
    "gets_noise",
    "is_mixup_base",
    "may_become_noise",
    "merge_labels",
    "mixup_kind",
    "mixup_weight",
    "partner_kinds",
    "time_scale",
    "with_noise",
]

NONE = "None"
NOISE_FLOOR = 1e-10
NO_NOISE_TASKS = ("-qa", "icl", "caption", "animal-instructions")
NO_NOISE_FOLDER = "/A/"
MIXUP_BASES = ("simple-detection", "multiple-detection", "sci-detection-random", "common-detection-random")
MIXUP_PARTNERS = ("simple-detection", "multiple-detection")
MIXUP_WEIGHTS = (0.1, 0.8)


# --- which rows -----------------------------------------------------------------------------------------


def gets_noise(example: Example) -> bool:
    """Return whether noise may be added: not to captions, conversations and the folders named ``A``."""
    if any(word in example.task for word in NO_NOISE_TASKS):
        return False
    return not any(NO_NOISE_FOLDER in path.replace("\\", "/") for path in example.paths)


def may_become_noise(example: Example) -> bool:
    """Return whether the audio may be replaced by noise: open detection alone, whose answer then is None."""
    return example.task.endswith("detection")


def as_noise(example: Example) -> Example:
    """Return the row with the answer None and one placeholder, for audio that is noise."""
    return dataclasses.replace(
        example, prompt=without_audio(example.prompt), text=NONE, files=example.files[:1], labels=()
    )


def is_mixup_base(example: Example) -> bool:
    """Return whether other recordings may be mixed into the row's one clip."""
    return example.task.endswith(MIXUP_BASES) and example.clips == 1


def mixup_kind(task: str) -> str:
    """Return the kind of names that a base task's partners have: ``sci`` or ``common``."""
    return "sci" if "sci-" in task else "common"


def partner_kinds(example: Example) -> tuple[str, ...]:
    """Return for which kinds of bases the row may be mixed in; most rows for none."""
    single = len(example.files) == 1 and example.mix is None
    if not single or not example.task.endswith(MIXUP_PARTNERS) or example.text.strip() == NONE:
        return ()
    return tuple(kind for kind in ("sci", "common") if f"{kind}-" in example.task)


# --- samples --------------------------------------------------------------------------------------------


def time_scale(waveform: Floats, largest: float, generator: Generator) -> Floats:
    """Return the waveform at another speed, as long as before.

    The factor is ``largest ** u``, u uniform in -1..1; above 1 is faster. What is too long is cut at both
    ends, what is too short is put between zeros at a random place.
    """
    factor = largest ** generator.uniform(-1.0, 1.0)
    samples = len(waveform)
    count = max(1, round(samples / factor))
    places = np.linspace(0.0, samples - 1, count)
    scaled = np.interp(places, np.arange(samples), waveform).astype(np.float32)
    if count >= samples:
        start = (count - samples) // 2
        return scaled[start : start + samples]
    before = int(generator.integers(0, samples - count + 1))
    return np.pad(scaled, (before, samples - count - before))


def fitted_noise(noise: Floats, samples: int, generator: Generator) -> Floats:
    """Return a random crop of ``samples``; noise that is shorter is repeated first, twice or more."""
    if len(noise) < samples:
        noise = np.tile(noise, max(2, math.ceil(samples / max(len(noise), 1))))
    start = int(generator.integers(0, len(noise) - samples + 1))
    return noise[start : start + samples]


def with_noise(waveform: Floats, noise: Floats, snr_db: float) -> Floats:
    """Return the sum with noise of the same length, at a ratio of mean squares of ``snr_db``."""
    power = max(mean_square(noise), NOISE_FLOOR)
    scale = math.sqrt(mean_square(waveform) / power * 10.0 ** (-snr_db / 10.0))
    return waveform + np.float32(scale) * noise


def mixup_weight(generator: Generator) -> float:
    """Return the weight of the base: uniform, but at least 0.1 and at most 0.8."""
    return float(np.clip(generator.beta(1.0, 1.0), *MIXUP_WEIGHTS))


def echo(waveform: Floats, generator: Generator) -> Floats:
    """Return the waveform with a tenth of three trains of echoes, which fade by 60 dB in 0.3 to 1.3 s."""
    level = generator.uniform(0.0, 0.3)
    first_delay, rt60 = generator.uniform(0.01, 0.03), generator.uniform(0.3, 1.3)
    wet = np.zeros(len(waveform), np.float32)
    for _ in range(3):
        # Each echo is a delayed copy of the one before; jitter keeps the trains from coinciding.
        delay_samples, amplitude = 0, level
        while amplitude > 1e-3:
            delay = first_delay * generator.uniform(0.9, 1.1)
            delay_samples += max(1, round(delay * SAMPLE_RATE_HZ))
            if delay_samples >= len(waveform):
                break
            wet[delay_samples:] += np.float32(amplitude) * waveform[:-delay_samples]
            amplitude *= 10.0 ** (-3.0 * generator.uniform(0.9, 1.1) * delay / rt60)
    return waveform + np.float32(0.1) * wet


def band_mask(
    waveform: Floats, generator: Generator, *, widest_share: float = 0.1, bands: int = 120
) -> Floats:
    """Return the waveform without a random band of at most a tenth of 120 mel bands (HTK) from 40 Hz up."""
    width = int(generator.integers(0, int(bands * widest_share) + 1))
    if width == 0 or not len(waveform):
        return waveform
    low = int(generator.integers(0, bands - width))
    edges_mel = np.linspace(_mel(40.0), _mel(SAMPLE_RATE_HZ / 2), bands)
    edges_hz = 700.0 * (10.0 ** (edges_mel[[low, low + width]] / 2595.0) - 1.0)
    edges = edges_hz / SAMPLE_RATE_HZ
    half = int(2 / edges[0])
    times = np.arange(-half, half + 1)
    kernels = []
    for cutoff in edges:
        kernel = 2 * cutoff * np.sinc(2 * cutoff * times) * np.hamming(len(times))
        kernels.append(kernel / kernel.sum())
    return waveform - _filtered(waveform, kernels[1] - kernels[0], half)


def _filtered(waveform: Floats, kernel: np.ndarray, half: int) -> Floats:
    """Return the convolution, aligned with the waveform."""
    size = 1 << (len(waveform) + len(kernel) - 2).bit_length()
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(kernel, size)
    return np.fft.irfft(spectrum, size)[half : half + len(waveform)].astype(np.float32)


def _mel(frequency_hz: float) -> float:
    return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)


# --- words ----------------------------------------------------------------------------------------------


def merge_labels(prompt: str, target: str, others: Sequence[str], generator: Generator) -> tuple[str, str]:
    """Return question and answer of a mixture: names of all, and a candidate list that holds each of them.

    The list is what follows the only question mark, if it has all names of the base. It is shuffled with the
    names that it lacks; ``None`` stays last.
    """
    own = _names(target)
    merged = _union([own, *map(_names, others)])
    text = ", ".join(merged) or NONE
    head, mark, tail = prompt.partition("?")
    if not mark or "?" in tail or not tail.strip():
        return prompt, text
    listed = [item.strip() for item in tail.strip().removesuffix(".").split(",") if item.strip()]
    known = {item.casefold() for item in listed}
    if not all(name.casefold() in known for name in own or [NONE]):
        return prompt, text
    names = _union([[item for item in listed if item.casefold() != NONE.casefold()], merged])
    names = [names[place] for place in generator.permutation(len(names))]
    ending = [NONE] if NONE.casefold() in known else []
    stop = "." if tail.rstrip().endswith(".") else ""
    return f"{head}? {', '.join([*names, *ending])}{stop}", text


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    return [name for name in names if name and name.casefold() != NONE.casefold()]


def _union(lists: Iterable[Sequence[str]]) -> list[str]:
    """Return all items once, in the order in which they come first; case doesn't tell them apart."""
    found: dict[str, str] = {}
    for items in lists:
        for item in items:
            found.setdefault(item.casefold(), item)
    return list(found.values())
