"""Answers about every five seconds of a folder, from Python: which recordings have a cricket?

python examples/ask.py [folder]
"""

from __future__ import annotations

import sys

from naturelm_audio import Pipeline, load_model
from naturelm_audio.options import GenerateOptions
from naturelm_audio.windows import WindowPlan

folder = sys.argv[1] if len(sys.argv) > 1 else "assets"
greedy = GenerateOptions(num_beams=1, max_new_tokens=20)
pipeline = Pipeline(load_model("naturelm-tiny"), greedy)
plan = WindowPlan(window_length_seconds=5.0, hop_length_seconds=5.0)

heard = 0

# Answers are lazy: each is there as soon as its batch is through, however long the folder.
for answer in pipeline.ask(folder, "What is the common name for the focal species in the audio?", plan=plan):
    if answer.error is not None:
        print(f"{answer.audio_path}: {answer.error}")
    elif "cricket" in answer.output.lower():
        heard += 1
        print(f"{answer.audio_path} {answer.start_seconds:.1f} - {answer.end_seconds:.1f} s: {answer.output}")
print(f"{heard} windows with a cricket")
