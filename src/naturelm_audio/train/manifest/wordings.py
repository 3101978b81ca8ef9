"""Every wording of compiled questions, by family of tasks; the first of each is the usual one.

Known wordings of the public training set are given exactly (marked P); the others are ours. ``{}`` stands for
a comma-separated list, ``{name}`` for a species. Questions on scenes are taken from here too.
"""

from __future__ import annotations

__all__ = ["LANGUAGES", "WORDINGS", "answer_language"]

_DETECT_SCIENTIFIC = "What are the scientific names for the species in the audio, if any?"

WORDINGS: dict[str, tuple[str, ...]] = {
    # Names of the focal species.
    "name-common": (
        "What is the common name for the focal species in the audio?",  # P
        "Which species is heard in the audio? Give its common name.",
        "Name the animal in this recording.",
        "What animal is heard in the audio?",
        "Which species is this?",
    ),
    "name-scientific": (
        "What is the scientific name for the focal species in the audio?",  # P
        "Which species is heard in the audio? Give its scientific name.",
    ),
    "name-taxonomic": (
        "What is the taxonomic name of the focal species in the audio?",  # P
        "Give phylum, class, order, family and species of the focal animal in the audio.",
    ),
    "name-sound": (
        "What is the common name for the sound in the audio?",
        "What sound is heard in the audio?",
        "What is this sound?",
    ),
    "rank-genus": (
        "What is the genus of the focal species in the audio?",  # P
        "Which genus does the focal species in the audio belong to?",
    ),
    "rank-family": (
        "What is the family of the focal species in the audio?",  # P
        "Which family does the focal species in the audio belong to?",
    ),
    "rank-order": (
        "What is the order of the focal species in the audio?",
        "Which order does the focal species in the audio belong to?",
    ),
    "rank-class": (
        "What is the class of the focal species in the audio?",
        "Which class does the focal species in the audio belong to?",
    ),
    # Closed lists.
    "candidates": (
        "Which of these is the focal species in the audio? {}",  # P
        "Which one of these species is heard in the audio? {}",
    ),
    "categories": ("The objective is to classify the sound into one of the following categories: {}",),
    "detect-list": (
        "Which of these, if any, are present in the audio recording? {}",  # P
        "Which of the following species can be heard, if any? {}",
    ),
    # Open detection.
    "detect-common": (
        "What are the common names for the species in the audio, if any?",  # P
        "List the common names of all species heard in the audio, or None.",
        "Which animals are heard in the audio, if any?",
    ),
    "detect-scientific": (
        _DETECT_SCIENTIFIC,
        "List the scientific names of all species heard in the audio, or None.",
    ),
    # About the animal that calls.
    "call-or-song": (
        "What type of vocalization is heard from the focal species in the audio? "
        "Answer with either 'call' or 'song'.",  # P
        "Is this a call or a song? Answer with either 'call' or 'song'.",
    ),
    "call-or-song-named": (
        "What type of vocalization is heard from the {name} in the audio? "
        "Answer with either 'call' or 'song'.",
    ),
    "call-types": (
        "What call types are heard from the focal species in the audio?",  # P
        "Which kinds of vocalization does the focal species make in the audio?",
    ),
    "call-types-named": ("What call types are heard from the {name} in the audio?",),
    "life-stage": (
        "What is the life stage of the focal species in the audio?",  # P
        "How old is the animal in the audio: which life stage?",
    ),
    "life-stage-named": ("What is the life stage of the {name} in the audio?",),
    "sex": (
        "What is the sex of the focal animal in the audio? Answer with either 'male' or 'female'.",
        "Is the focal animal in the audio male or female?",
    ),
    "sex-named": ("What is the sex of the {name} in the audio? Answer with either 'male' or 'female'.",),
    # Captions.
    "caption-common": (
        "Caption the audio, using the common name for any animal species.",  # P
        "Describe the audio in one sentence, using common names of animals.",
    ),
    "caption-scientific": (
        "Caption the audio, using the scientific name for any animal species.",  # P
        "Describe the audio in one sentence, using scientific names of animals.",
    ),
    "caption-plain": ("Caption the audio.", "Describe the audio."),  # P
    "caption-rich": ("Caption the audio in detail.", "Describe in detail what is heard in the audio."),
    "caption-templated": (
        "Describe the recording in the form 'Species; Vocalization; Life stage; Sex; Background'.",
    ),
    # Counting.
    "count-animals": (
        "Is there one animal or more than one in the audio?",
        "Does one animal call in the audio, or more than one?",
    ),
    "count-speakers": (
        "How many speakers are in the audio?",
        "How many different people speak in the audio?",
    ),
    "count-instruments": ("How many instruments are in the audio?",),
    "which-instruments": ("Which instruments are in the audio?",),
    # Music.
    "music-instrument": ("What instrument is heard in the audio?", "Which instrument is playing?"),
    "music-pitch": ("What is the pitch of the sound in Hz?",),
    "music-velocity": ("What is the velocity of the note, between 0 and 1?",),
    "music-quality": ("Describe the timbre of the sound.",),
    # Questions with examples; <clip> is a placeholder for audio, {times} one event.
    "few-shot": (
        "The sound of interest is heard at {times} s. At which other times is it heard? "
        "Answer with start and end in seconds.",
    ),
    "in-context": ("{} <clip>; {} <clip>. Which of the two species is this? <clip>",),
    # What kind of sound it is.
    "kind": ("Is the sound speech, music, an animal or something else?",),
}

CONTEXT = {
    "time": "Recorded {}",
    "coordinates": "{}",
    "altitude": "{} m",
    "place": "{}",
    "notes": "Notes: {}",
}
"""Parts of a context, in their order."""

QUALITIES = {
    "bright": ("The sound is bright.", "A large amount of high frequencies gives the note a brilliant edge."),
    "dark": ("The sound is dark.", "With few high frequencies the note sounds muffled and warm."),
    "distortion": (
        "The sound is distorted.",
        "A crunchy tone with many harmonics, as from an overdriven amplifier.",
    ),
    "fast_decay": ("The sound decays fast.", "The loudness falls off quickly after the start of the note."),
    "long_release": (
        "The sound has a long release.",
        "The note rings on for a long time after it is let go.",
    ),
    "multiphonic": ("The sound is multiphonic.", "Overtones of more than one fundamental are heard at once."),
    "nonlinear_env": ("The loudness changes in steps.", "The loudness doesn't just rise and fall: it moves."),
    "percussive": ("The sound is percussive.", "A loud, non-harmonic strike opens the note."),
    "reverb": (
        "The sound is reverberant.",
        "Echoes of a room follow that can't be heard apart from the note.",
    ),
    "tempo-synced": ("The sound pulses.", "Rhythmic changes run through the note at a steady tempo."),
}
"""Qualities of notes, as NSynth names them: a plain and a descriptive form."""

LANGUAGES = {
    "cs": "Czech", "da": "Danish", "de": "German", "es": "Spanish", "et": "Estonian", "fi": "Finnish",
    "fr": "French", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish",
    "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "zh": "Chinese",
}  # fmt: skip


def answer_language(language: str) -> str:
    """Return what is added to a question whose answer is in another language than English."""
    if not language or language.split("-")[0].split("_")[0].casefold() in ("en", "english"):
        return ""
    return f" Answer in {LANGUAGES.get(language.casefold(), language)}."
