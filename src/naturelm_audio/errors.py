"""The one exception tree: catch :class:`NatureLMError` to catch everything a user can cause.

    NatureLMError
    ├── AudioError         a recording or array that can't be used (has ``path`` and a stable ``code``)
    ├── CheckpointError    weights, configuration or base model that don't fit or aren't there
    ├── LabelError         a label list that can't be used
    ├── MissingExtraError  an optional package is not installed; the message has the command
    ├── OptionsError       an option or a key of a configuration file is wrong
    ├── OutputError        a result can't be written, or belongs to another run
    └── PromptError        a question that doesn't fit its audio

Every message is one line that says what is wrong, with which file or option, and what to do next.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "AudioError",
    "CheckpointError",
    "LabelError",
    "MissingExtraError",
    "NatureLMError",
    "OptionsError",
    "OutputError",
    "PromptError",
]


class NatureLMError(Exception):
    """Base of all errors that a user can cause and mend."""


class AudioError(NatureLMError):
    """A recording that can't be found, decoded or used.

    Args:
        message: what is wrong, without the file's name.
        path: the file, if there is one; it opens the message.
        code: a stable word for programs, such as ``audio_decode_failed``.
    """

    def __init__(
        self, message: str, *, path: str | Path | None = None, code: str = "audio_decode_failed"
    ) -> None:
        super().__init__(f"{path}: {message}" if path is not None else message)
        self.reason = message
        self.path = path
        self.code = code


class CheckpointError(NatureLMError):
    """Weights or their configuration are missing, incomplete or of another model."""


class PromptError(NatureLMError):
    """A question that can't be put to the model, such as a wrong number of audio placeholders."""


class OptionsError(NatureLMError):
    """An option or a key of a configuration file that is unknown or out of range."""


class LabelError(NatureLMError):
    """A label list that is empty, ambiguous or unreadable."""


class OutputError(NatureLMError):
    """A result that can't be written, or an existing one that belongs to another run."""


class MissingExtraError(NatureLMError):
    """An optional package is not installed.

    Args:
        extra: the extra of this package that brings it, for example ``media``.
        purpose: what it is needed for, as the subject of a sentence.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the optional packages of [{extra}]: pip install 'naturelm-audio[{extra}]'"
        )
        self.extra = extra
