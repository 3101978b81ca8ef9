"""Every wording of compiled questions, by family of tasks; the first of each is the usual one.

Known wordings of the public training set are given exactly (marked P); the others are ours. ``{}`` stands for
a comma-separated list, ``{name}`` for a species. The tiny model's wordings are the same objects, imported.
"""

from __future__ import annotations

from naturelm_audio.train import questions

__all__ = ["LANGUAGES", "WORDINGS", "answer_language"]

_DETECT_SCIENTIFIC = "What are the scientific names for the species in the audio, if any?"

WORDINGS: dict[str, tuple[str, ...]] = {
    # Names of the focal species.
    "name-common": (
        "What is the common name for the focal species in the audio?",  # P
        "Which species is heard in the audio? Give its common name.",
        "Name the animal in this recording.",
    ),
    "name-scientific": (
        "What is the scientific name for the focal species in the audio?",  # P
        "Which species is heard in the audio? Give its scientific name.",
    ),
    "name-taxonomic": (
        "What is the taxonomic name of the focal species in the audio?",  # P
        "Give phylum, class, order, family and species of the focal animal in the audio.",
    ),
    "name-sound": questions.SOUND_NAME[:1] + questions.SOUND_NAME[2:],
    "rank-genus": (questions.RANKS["genus"], "Which genus does the focal species in the audio belong to?"),
    "rank-family": (questions.RANKS["family"], "Which family does the focal species in the audio belong to?"),
    "rank-order": (questions.RANKS["order"], "Which order does the focal species in the audio belong to?"),
    "rank-class": (questions.RANKS["class"], "Which class does the focal species in the audio belong to?"),
    # Closed lists.
    "candidates": (questions.CHOOSE[0], "Which one of these species is heard in the audio? {}"),  # P
    "categories": (questions.CLASSIFY,),
    "detect-list": (questions.DETECT[0], "Which of the following species can be heard, if any? {}"),  # P
    # Open detection.
    "detect-common": (
        questions.DETECT_OPEN[0],  # P
        "List the common names of all species heard in the audio, or None.",
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
    "count-animals": (questions.HOW_MANY[0], "Does one animal call in the audio, or more than one?"),
    "count-speakers": (
        "How many speakers are in the audio?",
        "How many different people speak in the audio?",
    ),
    "count-instruments": ("How many instruments are in the audio?",),
    "which-instruments": ("Which instruments are in the audio?",),
    # Music.
    "music-instrument": (questions.INSTRUMENT[0], "Which instrument is playing?"),
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
    "kind": (questions.KIND[0],),
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
