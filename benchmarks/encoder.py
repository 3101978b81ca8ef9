"""Real-size encoder and Q-Former on random weights against the machine's own matrix-product rate, in one run.

    python benchmarks/encoder.py [--threads 2] [--batch 4] [--rounds 5]

Prints GFLOP/s of the audio half and its share of a plain matrix product of the encoder's own shape.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from naturelm_audio.model import BeatsConfig, BeatsModel, Bridge, BridgeConfig

LLM_WIDTH = 4096
CLIP_SAMPLES = 160_000
PRODUCTS = 20


def audio_half(dtype: torch.dtype) -> nn.Module:
    """Encoder and bridge at the release's size with random weights."""
    torch.manual_seed(0)
    audio = BeatsConfig()
    half = nn.ModuleDict({"encoder": BeatsModel(audio), "bridge": Bridge(BridgeConfig(), 768, LLM_WIDTH)})
    return half.to(dtype).eval()


def flops_per_clip(audio: BeatsConfig, bridge: BridgeConfig) -> float:
    """Multiply-adds times two in all products of one 10 s clip."""
    patches, windows = 496, 29
    c, f, e, q, i = 768, 3072, 512, 768, 3072
    layer = patches * (4 * c * c + 2 * c * f) + 2 * patches * patches * c
    encoder = (
        audio.encoder_layers * layer + patches * (256 * e + e * c) + patches * c * (c // 16) * audio.conv_pos
    )
    per_window = (
        4 * q * q + 2 * q * q + 2 * bridge.window_patches * c * q + 2 * bridge.window_patches * q + 2 * q * i
    )
    return 2.0 * (encoder + windows * (bridge.num_hidden_layers * per_window + q * LLM_WIDTH))


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median time of ``work`` after one warm-up."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def main() -> None:
    """Measure both precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    flops = flops_per_clip(BeatsConfig(), BridgeConfig())
    print(f"{flops / 1e9:.1f} GFLOP per clip of 10 s, batch {options.batch}, {options.threads} threads")
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            measured = [measure(dtype, options.batch) for _ in range(options.rounds)]
            share, ours, peak = sorted(measured)[len(measured) // 2]
            print(
                f"{dtype!s:16} {ours / 1e9:7.1f} GFLOP/s of {peak / 1e9:7.1f}: {share:6.1%}  "
                f"{ours / flops:.2f} windows/s"
            )


def measure(dtype: torch.dtype, batch: int) -> tuple[float, float, float]:
    """Share, our rate and the machine's in FLOP/s, one right after the other."""
    half, product = audio_half(dtype), nn.Linear(768, 3072).to(dtype)
    clips = torch.randn(batch, CLIP_SAMPLES) * 0.1
    left = torch.randn(batch * 496, 768, dtype=dtype)
    peak = (
        PRODUCTS
        * 2
        * left.shape[0]
        * 768
        * 3072
        / seconds(lambda: [product(left) for _ in range(PRODUCTS)], 3)
    )
    work = batch * flops_per_clip(BeatsConfig(), BridgeConfig())
    ours = work / seconds(lambda: half["bridge"](half["encoder"](clips)), 1)
    return ours / peak, ours, peak


if __name__ == "__main__":
    main()
