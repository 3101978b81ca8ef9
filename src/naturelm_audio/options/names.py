"""Names and choices that options of several commands have in common."""

from __future__ import annotations

from pathlib import Path

BUNDLED_MODEL = "naturelm-tiny"
OFFICIAL_MODEL = "EarthSpeciesProject/NatureLM-audio"
DTYPES = ("auto", "float32", "bfloat16", "float16")
RESAMPLERS = ("soxr", "kaiser_best")  # the first is the default, the second what the official release used
DEFAULT_OUTPUT = Path("inference_output.jsonl")
