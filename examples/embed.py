"""Which windows of a folder sound alike? Embeddings from the audio encoder alone; no language model is built.

python examples/embed.py [folder]
"""

from __future__ import annotations

import sys

import torch

from naturelm_audio import load_audio_tower
from naturelm_audio.audio import stream
from naturelm_audio.recordings import find_recordings
from naturelm_audio.windows import WindowPlan

CLIP_SAMPLES = (
    160_000  # 10 s at 16 kHz: what the encoder was trained on; shorter windows are padded with silence
)

folder = sys.argv[1] if len(sys.argv) > 1 else "assets"
tower = load_audio_tower("naturelm-tiny", device="cpu")
plan = WindowPlan(window_length_seconds=10.0)

names, vectors = [], []
for recording in find_recordings([folder]):
    for window, samples in plan.cut(stream(recording.path)):
        clip = torch.nn.functional.pad(torch.from_numpy(samples), (0, CLIP_SAMPLES - len(samples)))
        with torch.inference_mode():
            patches = tower(clip.unsqueeze(0))  # (1, patches, width)
        names.append(f"{recording.name} {window.start_seconds:.0f}-{window.end_seconds:.0f} s")
        vectors.append(patches.mean(dim=1)[0])

unit = torch.nn.functional.normalize(torch.stack(vectors) - torch.stack(vectors).mean(dim=0), dim=1)
likeness = unit @ unit.T
likeness.fill_diagonal_(-1.0)
for name, row in zip(names, likeness, strict=True):
    print(f"{name:<40} is most like {names[int(row.argmax())]:<40} ({row.max():.2f})")
