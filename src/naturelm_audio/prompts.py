"""The only place that makes prompt text: the chat template and the audio placeholder.

Source: template and placeholder of the released model (model card and paper, section 4.1). The text goes in
literally: braces have no meaning. Knows nothing of token ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from naturelm_audio.errors import PromptError

AUDIO_TOKEN = "<AudioHere>"
AUDIO_TAG = f"<Audio>{AUDIO_TOKEN}</Audio>"
TEMPLATE = (
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
# For lists of labels; the wordings of the paper's benchmark and training.
CATEGORIES = "The objective is to classify the sound into one of the following categories: {}"
COMMON_NAME = "What is the common name for the focal species in the audio?"
SCIENTIFIC_NAME = "What is the scientific name for the focal species in the audio?"
# Longer lists are not named in the question: on held-out sounds with 29 labels and more, the bundled model
# ranks better if it is not told them, and training never named more than 20.
MOST_CATEGORIES = 20
_TAG = re.compile(re.escape(AUDIO_TAG) + " ?")


def with_audio(query: str, clips: int = 1) -> str:
    """The question with exactly one placeholder per clip; without any, they are put in front, as in training.

    Raises:
        PromptError: it has placeholders, but not one for each clip.
    """
    found = query.count(AUDIO_TOKEN)
    if found == 0:
        return f"{AUDIO_TAG} " * clips + query
    if found != clips:
        raise PromptError(
            f"the question has {found} {AUDIO_TOKEN} for {clips} audio clip{'s' if clips != 1 else ''}: "
            "give one for each clip, or none to have them put in front"
        )
    return query


def without_audio(query: str) -> str:
    """The question as a person reads it, without placeholders."""
    return _TAG.sub("", query).replace(AUDIO_TOKEN, "").strip()


def fill(instruction: str, template: str | None = None) -> str:
    """The filled chat template; white space at both ends of the instruction is cut, as at inference.

    Raises:
        PromptError: the template has no ``{}``.
    """
    head, slot, tail = (template or TEMPLATE).partition("{}")
    if not slot:
        raise PromptError("the prompt template has no {} for the question")
    return head + instruction.strip() + tail


def build(query: str, *, clips: int = 1, template: str | None = None) -> str:
    """The whole prompt for a question about ``clips`` audio clips.

    Raises:
        PromptError: an empty question, or a wrong number of placeholders.
    """
    if not without_audio(query):
        raise PromptError("the question is empty: ask something, for example 'Caption the audio.'")
    return fill(with_audio(query, clips), template)


def pieces(prompt: str) -> list[str]:
    """The text around the placeholders: n of them give n + 1 pieces, some of them perhaps empty."""
    return prompt.split(AUDIO_TOKEN)


def check_queries(queries: Sequence[str]) -> None:
    """Check questions for recordings before any work is done.

    Raises:
        PromptError: no question at all, an empty one, or one with more than one placeholder.
    """
    if not queries:
        raise PromptError("no question given: pass at least one, for example --query 'Caption the audio.'")
    for query in queries:
        build(query)


def for_labels(labels: Sequence[str], *, scientific: bool = False) -> str:
    """The question for ranking these labels: which of them, if they are few, else what is heard.

    They are named in alphabetical order, so that their order in the list changes nothing; labels that have
    commas are not named, as the question has them between its labels.
    """
    if 1 < len(labels) <= MOST_CATEGORIES and not any("," in label for label in labels):
        return CATEGORIES.format(", ".join(sorted(labels)))
    return SCIENTIFIC_NAME if scientific else COMMON_NAME
