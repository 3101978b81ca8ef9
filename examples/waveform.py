"""A question about a waveform in memory: a rising whistle at 48 kHz, which no file holds."""

from __future__ import annotations

import numpy as np

from naturelm_audio import Pipeline, load_model
from naturelm_audio.pipeline import Clip

SAMPLE_RATE_HZ = 48_000
seconds = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
whistle = 0.3 * np.sin(2 * np.pi * (2_000 + 500 * seconds) * seconds)

pipeline = Pipeline(load_model("naturelm-tiny"))
for answer in pipeline.ask([Clip(whistle, SAMPLE_RATE_HZ, name="whistle")], "Caption the audio."):
    print(f"{answer.audio_path} {answer.start_seconds} - {answer.end_seconds} s: {answer.output}")
