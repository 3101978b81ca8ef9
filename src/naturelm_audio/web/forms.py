"""What a user filled in -> checked options and a job, or a sentence that says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from naturelm_audio import prompts
from naturelm_audio.errors import AudioError, LabelError, OptionsError, PromptError
from naturelm_audio.label_lists import LabelList, read_labels
from naturelm_audio.options import GenerateOptions
from naturelm_audio.web.jobs import Job, Listening
from naturelm_audio.web.models import Loaded, Shelf
from naturelm_audio.web.sessions import Session
from naturelm_audio.windows import WindowPlan

__all__ = ["Choices", "labels_of", "questions_of", "start_job"]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The settings of the page as they come from it; None and 0 are "not given".

    Raises:
        OptionsError: one of them can't be.
    """

    window_seconds: float | None = None
    hop_seconds: float | None = None
    channel: float | None = None
    slower: float | None = None
    num_beams: float | None = None
    max_new_tokens: float | None = None
    merging_alpha: float | None = None

    def generate(self, default: GenerateOptions) -> GenerateOptions:
        """Return how answers are made; what isn't given is as the app was started."""
        given = {
            "num_beams": None if not self.num_beams else int(self.num_beams),
            "max_new_tokens": None if not self.max_new_tokens else int(self.max_new_tokens),
            "merging_alpha": self.merging_alpha,
        }
        values = {name: getattr(default, name) for name in GenerateOptions.__dataclass_fields__}
        return GenerateOptions(**values | {name: value for name, value in given.items() if value is not None})

    def listening(self, loaded: Loaded) -> Listening:
        """Return how recordings are heard."""
        longest = float(loaded.model.config.max_clip_seconds)
        slower = self.slower or 1.0
        if not 0.01 <= slower <= 1000:
            raise OptionsError("Slower must be from 0.01 to 1000 times")
        plan = WindowPlan(
            window_length_seconds=self.window_seconds or longest,
            hop_length_seconds=self.hop_seconds or None,
            model_max_seconds=longest,
        )
        return Listening(
            plan=plan, channel=int(self.channel) if self.channel else None, speed_factor=1.0 / slower
        )


def questions_of(text: str | None, most: int) -> list[str]:
    """Return one question per line; a backslash and n inside stand for nothing special.

    Raises:
        PromptError: there is none, too many, or one that can't be asked.
    """
    questions = list(dict.fromkeys(line.strip() for line in (text or "").splitlines() if line.strip()))
    if not questions:
        raise PromptError("Type a question, or choose one of the suggestions.")
    if len(questions) > most:
        raise PromptError(f"These are {len(questions)} questions; at most {most} can be asked at once.")
    prompts.check_queries(questions)
    return questions


def labels_of(text: str | None, folder: Path) -> LabelList | None:
    """Return the list that was typed or pasted, in any form of a file of labels; None if there is none.

    Raises:
        LabelError: a list that can't be ranked.
    """
    if not (text or "").strip():
        return None
    path = folder / "labels.txt"
    path.write_text(f"{text}\n", encoding="utf-8")
    try:
        return LabelList(labels=read_labels(path))
    except LabelError as error:
        raise LabelError(str(error).replace(str(path), "The list")) from None


def start_job(
    session: Session,
    shelf: Shelf,
    tab: str,
    questions: Sequence[str],
    choices: Choices,
    default: GenerateOptions,
    *,
    slot: str | None = None,
    labels: LabelList | None = None,
) -> Job:
    """Start a job about everything that was uploaded in a tab.

    Args:
        session: of the user.
        shelf: with the user's model.
        tab: whose recordings.
        questions: put to every window.
        choices: of the page.
        default: generation options that the page doesn't say.
        slot: which job of the user it replaces; the tab's own by default.
        labels: to choose among.

    Raises:
        NatureLMError: nothing was uploaded, a setting can't be, or the model can't be loaded.
    """
    uploads = list(session.uploads[tab].values())
    if not uploads:
        raise AudioError("Add a recording first: drop it above, or choose an example.", code="audio_empty")
    prompts.check_queries(list(questions))
    loaded = shelf.get(session.model)
    listening = choices.listening(loaded)
    pipeline = loaded.pipeline(choices.generate(default))
    recordings = sorted((upload.recording for upload in uploads), key=lambda recording: recording.name)

    def make(folder: Path) -> Job:
        return Job(pipeline, recordings, questions, listening, folder, labels)

    return session.start(slot or tab, make)
