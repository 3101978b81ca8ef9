"""The page on Gradio: three tabs, the model panel, and what happens on a click."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio

from naturelm_audio.errors import NatureLMError
from naturelm_audio.options import GenerateOptions
from naturelm_audio.recordings import AUDIO_SUFFIXES, MEDIA_SUFFIXES
from naturelm_audio.web.downloads import downloads
from naturelm_audio.web.examples import Examples
from naturelm_audio.web.forms import Choices, labels_of, questions_of, start_job
from naturelm_audio.web.jobs import Job
from naturelm_audio.web.models import Loaded, Shelf
from naturelm_audio.web.questions import SUGGESTIONS
from naturelm_audio.web.sessions import TABS, Session, Sessions

__all__ = ["State", "build"]

TITLE = "NatureLM-audio"
PURPOSE = "Ask questions about animal sounds."
TAB_NAMES = dict(zip(TABS, ("Ask", "Batch", "Long recording"), strict=True))
CONVERSATIONS_KEPT = 20
ACCEPT = ",".join(sorted(AUDIO_SUFFIXES | MEDIA_SUFFIXES))
# Waits for the page's own script, whichever of the two the browser has first.
MOUNT = """
const start = () => window.naturelm
  ? window.naturelm.mount(props.part, element, props, trigger, watch) : setTimeout(start, 20);
start();
"""
DEMONSTRATION = (
    "<strong>This is the small demonstration model.</strong> It knows about 230 kinds of sound and always "
    "names one of them, right or wrong. Do not use its answers for science or decisions: start the app with "
    "the released weights, or with a model of your own."
)
CHOICE_NAMES = (
    "window_seconds",
    "hop_seconds",
    "channel",
    "slower",
    "num_beams",
    "max_new_tokens",
    "merging_alpha",
)


@dataclass
class State:
    """What all pages share."""

    sessions: Sessions
    shelf: Shelf
    examples: Examples
    generate: GenerateOptions
    numbers: Any = field(default_factory=itertools.count)
    pages: dict[str, str] = field(default_factory=dict)
    """Gradio's id of a page -> the session's."""


def build(state: State) -> Any:
    """Return the page, a Gradio Blocks."""
    with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_width=False) as page:
        session = gradio.State()
        head = gradio.HTML(_head(state.shelf.get()), elem_id="nl-head")
        settings, model, model_status = _settings(state)
        _part("tabs", "nl-tabs", names=TAB_NAMES)
        with gradio.Column(elem_id="nl-panel-ask"):
            ask = _ask_tab(state)
        with gradio.Column(elem_id="nl-panel-batch"):
            batch = _batch_tab(state)
        with gradio.Column(elem_id="nl-panel-long"):
            long = _long_tab(state)
        parts = [ask["uploads"], batch["uploads"], long["uploads"]]
        page.load(_opener(state), None, [session, *parts], show_progress="hidden")
        page.unload(_closer(state))
        _wire_model(state, session, model, head, model_status)
        for event in (ask["go"], ask["question"].submit):
            _wire(event, _asker(state), [session, ask["question"], *settings], [ask["answers"]])
        for tab, parts_of in (("batch", batch), ("long", long)):
            inputs = [session, parts_of["question"], parts_of["labels"], *settings]
            _wire(parts_of["go"], _runner(state, tab), inputs, [parts_of["answers"]])
    return page


def _wire(event: Any, handler: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    listen = event.click if isinstance(event, gradio.Button) else event
    listen(handler, inputs, outputs, show_progress="hidden", concurrency_limit=None)


def _part(part: str, elem_id: str, **props: Any) -> Any:
    """Return one of the page's own components, see static/."""
    return gradio.HTML(
        value={}, html_template="<div></div>", js_on_load=MOUNT, apply_default_css=False, part=part,
        elem_id=elem_id, **props,
    )  # fmt: skip


def _uploads(state: State, tab: str, hint: str, *, multiple: bool = True, cards: bool = False) -> Any:
    limits = state.sessions.limits
    return _part(
        "uploads", f"nl-uploads-{tab}", tab=tab, multiple=multiple, cards=cards, accept=ACCEPT, hint=hint,
        upload_bytes=limits.upload_bytes, examples=state.examples.names(tab),
    )  # fmt: skip


def _suggestions(question: Any, *, add: bool) -> None:
    """Buttons that fill the question's box, or add a line to it."""
    with gradio.Row(elem_classes="nl-suggestions"):
        for name, text in SUGGESTIONS.items():
            if add:
                script = f"(old) => [old, {json.dumps(text)}].filter(Boolean).join('\\n')"
            else:
                script = f"() => {json.dumps(text)}"
            gradio.Button(name, size="sm", min_width=60).click(
                None, question if add else None, question, js=script, show_progress="hidden"
            )


def _ask_tab(state: State) -> dict[str, Any]:
    minutes = state.sessions.limits.clip_seconds / 60
    uploads = _uploads(
        state,
        "ask",
        f"One or several clips of up to {minutes:g} minutes. Everything in them is heard.",
        cards=True,
    )
    answers = _part(
        "conversation", "nl-conversation",
        hint="Ask anything about the recordings above. Each question is put to the model on its own, for "
        "every window of every recording, so the answer is the one the command line gives.",
    )  # fmt: skip
    with gradio.Row(elem_classes="nl-ask"):
        question = gradio.Textbox(
            label="Question", placeholder=SUGGESTIONS["Common name"], lines=1, max_lines=4, scale=6,
            elem_id="nl-question-ask",
        )  # fmt: skip
        go = gradio.Button("Ask", variant="primary", elem_id="nl-go-ask", scale=1, min_width=90)
    _suggestions(question, add=False)
    return {"uploads": uploads, "answers": answers, "question": question, "go": go}


def _labels_box(tab: str) -> Any:
    return gradio.Textbox(
        label="Only these answers, one per line (optional)",
        info="The model chooses among them, or none, and each gets a score.",
        placeholder="Eurasian Wren",
        lines=1,
        max_lines=20,
        elem_id=f"nl-labels-{tab}",
    )


def _questions_box(tab: str, *, lines: int) -> gradio.Textbox:
    question = gradio.Textbox(
        label="Questions, one per line",
        lines=lines,
        max_lines=20,
        value=SUGGESTIONS["Common name"],
        elem_id=f"nl-question-{tab}",
    )
    _suggestions(question, add=True)
    return question


def _batch_tab(state: State) -> dict[str, Any]:
    uploads = _uploads(
        state, "batch", "Many recordings of any length. One that can't be read doesn't stop the others."
    )
    question = _questions_box("batch", lines=3)
    labels = _labels_box("batch")
    go = gradio.Button("Ask about all recordings", variant="primary", elem_id="nl-go-batch")
    answers = _part("results", "nl-results", downloads=downloads())
    return {"uploads": uploads, "question": question, "labels": labels, "go": go, "answers": answers}


def _long_tab(state: State) -> dict[str, Any]:
    hours = state.sessions.limits.recording_seconds / 3600
    uploads = _uploads(state, "long", f"One recording of up to {hours:g} hours.", multiple=False)
    question = _questions_box("long", lines=2)
    labels = _labels_box("long")
    go = gradio.Button("Listen to the whole recording", variant="primary", elem_id="nl-go-long")
    answers = _part("long", "nl-long", downloads=downloads())
    return {"uploads": uploads, "question": question, "labels": labels, "go": go, "answers": answers}


def _settings(state: State) -> tuple[list[Any], Any, Any]:
    """The panel of models and settings; the settings are in the order of CHOICE_NAMES."""
    longest = float(state.shelf.get().model.config.max_clip_seconds)
    generate = state.generate
    _part("unfold", "nl-unfold", heading="Model and settings", controls="nl-settings")
    with gradio.Column(elem_id="nl-settings"):
        model = gradio.Dropdown(
            state.shelf.names, value=state.shelf.names[0], label="Model", info="Local models of this app.",
            elem_id="nl-model", filterable=False, visible=len(state.shelf.names) > 1,
        )  # fmt: skip
        status = gradio.Markdown("", elem_id="nl-model-status")
        with gradio.Row():
            settings: list[Any] = [
                gradio.Number(longest, label="Window (s)", info="How much is heard at once."),
                gradio.Number(0, label="Hop (s)", info="From window to window; 0: no overlap."),
                gradio.Number(0, label="Channel", info="From 1; 0: the mean of all.", precision=0),
                gradio.Number(1, label="Slower (times)", info="10 for bats: heard ten times slower."),
            ]
        with gradio.Row():
            settings += [
                gradio.Number(generate.num_beams, label="Beams", info="1 is faster.", precision=0),
                gradio.Number(generate.max_new_tokens, label="Longest answer (tokens)", precision=0),
                gradio.Slider(
                    0, 1, value=generate.merging_alpha, step=0.05, label="Merging alpha",
                    info="1: tuned model; 0: its base language model.",
                ),
            ]  # fmt: skip
    return settings, model, status


def _head(loaded: Loaded) -> str:
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>"
        for name, text in loaded.facts().items()
    )
    notice = f'<p class="nl-notice" role="note">{DEMONSTRATION}</p>' if loaded.is_demonstration else ""
    return (
        f'<div class="nl"><div class="nl-head"><h1>{TITLE}</h1><p>{PURPOSE}</p></div>'
        f'<dl class="nl-facts">{facts}</dl>{notice}</div>'
    )


def _opener(state: State) -> Callable[[gradio.Request], list[Any]]:
    def opened(request: gradio.Request) -> list[Any]:
        session = state.sessions.open()
        state.pages[str(request.session_hash)] = session.id
        return [session.id, *({"session": session.id} for _ in range(3))]

    return opened


def _closer(state: State) -> Callable[[gradio.Request], None]:
    def closed(request: gradio.Request) -> None:
        state.sessions.end(state.pages.pop(str(request.session_hash), ""))

    return closed


def _wire_model(state: State, session: Any, model: Any, head: Any, status: Any) -> None:
    def choose(session_id: str, name: str) -> tuple[Any, str, Any]:
        mine = state.sessions.get(session_id)
        try:
            loaded = state.shelf.get(name)
        except NatureLMError as error:
            before = mine.model or state.shelf.names[0]
            return (
                gradio.skip(),
                f"⚠ {html.escape(_sentence(error))} The model is still {html.escape(before)}.",
                before,
            )
        mine.model = name
        return _head(loaded), "", gradio.skip()

    model.input(choose, [session, model], [head, status, model], show_progress="full", concurrency_limit=None)


def _asker(state: State) -> Callable[..., dict[str, Any]]:
    def ask(session_id: str, question: str, *settings: Any) -> dict[str, Any]:
        turn = next(state.numbers) + 1
        value: dict[str, Any] = {"turn": turn, "question": question or "", "model": TITLE}
        try:
            session = state.sessions.get(session_id)
            value["model"] = state.shelf.get(session.model).model.provenance.model_name
            if not (question or "").strip():
                questions_of(question, 1)
            slot = f"ask-{turn % CONVERSATIONS_KEPT}"
            job = start_job(
                session, state.shelf, "ask", [question], _choices(settings), state.generate, slot=slot
            )
        except NatureLMError as error:
            return value | {"problem": _sentence(error)}
        return value | _shown(session, "ask", job)

    return ask


def _runner(state: State, tab: str) -> Callable[..., Any]:
    def run(session_id: str, text: str, label_text: str, *settings: Any) -> Any:
        value: dict[str, Any] = {"run": next(state.numbers) + 1}
        try:
            session = state.sessions.get(session_id)
            labels = labels_of(label_text, session.folder)
            if labels is not None and (text or "").strip() in ("", SUGGESTIONS["Common name"]):
                text = labels.question
            questions = questions_of(text, session.limits.questions)
            choices = _choices(settings)
            job = start_job(session, state.shelf, tab, questions, choices, state.generate, labels=labels)
        except NatureLMError as error:
            return value | {"problem": _sentence(error)}
        return value | _shown(session, tab, job)

    return run


def _shown(session: Session, tab: str, job: Job) -> dict[str, Any]:
    """What the page's own parts need to know of a job."""
    clips = session.uploads[tab].values()
    first = next(iter(clips))
    return {
        "session": session.id,
        "job": job.id,
        "questions": job.questions,
        "clips": {clip.name: clip.id for clip in clips},
        "clip": {"id": first.id, "name": first.name},
        "recordings": len(job.recordings),
        "seconds": first.duration_seconds,
        "listening": {"channel": job.listening.channel or 0, "speed": job.listening.speed_factor},
    }


def _choices(settings: tuple[Any, ...]) -> Choices:
    return Choices(**dict(zip(CHOICE_NAMES, settings, strict=True)))


def _sentence(error: NatureLMError) -> str:
    return " ".join(str(error).split())
