"""Questions that the models were trained on, offered as suggestions."""

from __future__ import annotations

__all__ = ["SUGGESTIONS"]

SUGGESTIONS: dict[str, str] = {
    "Common name": "What is the common name for the focal species in the audio?",
    "Scientific name": "What is the scientific name for the focal species in the audio?",
    "All species, if any": "What are the common names for the species in the audio, if any?",
    "Caption": "Caption the audio.",
    "How many animals": "Is there one animal or more than one in the audio?",
    "Kind of sound": "Is the sound speech, music, an animal or something else?",
    "Family": "What is the family of the focal species in the audio?",
}
"""What a button says, and the question it asks."""
