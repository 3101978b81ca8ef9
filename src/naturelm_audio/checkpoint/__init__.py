"""Loading and saving the model; reads our own layout and every official one, always strictly.

A tensor that is missing, unexpected or of the wrong shape is an error that names it; nothing is ever left at
random values, nothing in a file is ever executed, and a local path never touches the network.
"""

from naturelm_audio.checkpoint.loading import Provenance, load_adapter, load_model
from naturelm_audio.checkpoint.placement import resolve_device, resolve_dtype
from naturelm_audio.checkpoint.saving import save_model, save_official
from naturelm_audio.checkpoint.tokens import prepare_tokenizer
from naturelm_audio.checkpoint.tower import AudioEncoder, load_audio_tower, random_audio_tower

__all__ = [
    "AudioEncoder",
    "Provenance",
    "load_adapter",
    "load_audio_tower",
    "load_model",
    "prepare_tokenizer",
    "random_audio_tower",
    "resolve_device",
    "resolve_dtype",
    "save_model",
    "save_official",
]
