"""Questions about animal sounds: recordings in, text with exact times out.

>>> from naturelm_audio import Pipeline, load_model
>>> model = load_model("naturelm-tiny")

The names below are imported on first use (PEP 562), so importing this package loads neither torch nor
transformers. Using :class:`NatureLM` or :func:`load_model` registers the model with the Auto classes of
transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from naturelm_audio.checkpoint import load_audio_tower, load_model
    from naturelm_audio.errors import NatureLMError
    from naturelm_audio.model import NatureLMForConditionalGeneration as NatureLM
    from naturelm_audio.pipeline import Pipeline
    from naturelm_audio.records import Answer
    from naturelm_audio.windows import Window

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "NatureLM",
    "NatureLMError",
    "Pipeline",
    "Window",
    "__version__",
    "load_audio_tower",
    "load_model",
]

_HOME_OF = {
    "Answer": ("naturelm_audio.records", "Answer"),
    "NatureLM": ("naturelm_audio.model", "NatureLMForConditionalGeneration"),
    "NatureLMError": ("naturelm_audio.errors", "NatureLMError"),
    "Pipeline": ("naturelm_audio.pipeline", "Pipeline"),
    "Window": ("naturelm_audio.windows", "Window"),
    "load_audio_tower": ("naturelm_audio.checkpoint", "load_audio_tower"),
    "load_model": ("naturelm_audio.checkpoint", "load_model"),
}


def __getattr__(name: str) -> object:
    """The public object of this name, imported now and remembered.

    Raises:
        AttributeError: there is no such public name.
    """
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, attribute = _HOME_OF[name]
    value: object = getattr(import_module(module_name), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All names of the module, those not yet imported included."""
    return sorted({*globals(), *__all__})
