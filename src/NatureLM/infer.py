"""The official inference interface: one string per recording, a line ``#0.00s - 10.00s#: text`` per window.

Unlike the official one it answers the last, shorter window too, and no end time is beyond the recording's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from NatureLM.config import Config, ModelConfig, as_options
from NatureLM.models import NatureLM
from NatureLM.processors import NatureLMAudioProcessor
from naturelm_audio import pipeline as ours
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.options import OFFICIAL_MODEL
from naturelm_audio.recordings import Recording
from naturelm_audio.records import Answer
from naturelm_audio.windows import WindowPlan

__all__ = ["Pipeline", "load_model_and_config", "output_template", "sliding_window_inference"]

SAMPLE_RATE = 16_000


def load_model_and_config(
    cfg_path: str | Path | None = None, device: str | None = None
) -> tuple[NatureLM, Config]:
    """The model of a configuration file, and the configuration; without a file, the official 8B model.

    Raises:
        OptionsError: a file that is missing or has unknown keys.
        CheckpointError: weights that are absent or don't fit.
    """
    cfg = _config(cfg_path)
    device = device or cfg.model.device
    return NatureLM.from_pretrained(cfg.model.path, cfg.model.llama_path, device=device), cfg


def _config(cfg_path: str | Path | None) -> Config:
    if cfg_path is not None:
        return Config.from_sources(cfg_path)
    return Config(model=ModelConfig(path=OFFICIAL_MODEL, llama_path=None, device="auto"))


def output_template(model_output: str, start_time: float, end_time: float) -> str:
    """The official line of one window."""
    return f"#{start_time:.2f}s - {end_time:.2f}s#: {model_output}\n"


def sliding_window_inference(
    audio: Any,
    query: str,
    processor: NatureLMAudioProcessor | None,
    model: NatureLM,
    cfg: Config,
    window_length_seconds: float = 10.0,
    hop_length_seconds: float = 10.0,
    input_sr: int = SAMPLE_RATE,
    device: str | None = None,
    *,
    resampler: str = "soxr",
) -> str:
    """The official string of one recording.

    Args:
        audio: a path or samples.
        query: the question.
        processor: not needed; the model's own preparation is used.
        model: from ``NatureLM.from_pretrained``.
        cfg: its ``generate`` section is used.
        window_length_seconds: of each window; longer ones than the model's are split.
        hop_length_seconds: from one window's start to the next one's.
        input_sr: sample rate of samples, in Hz.
        device: not needed; the model's own is used.
        resampler: soxr, or kaiser_best, which the official package used.

    Raises:
        AudioError: audio that can't be used.
        PromptError: a question that can't be asked.
    """
    plan = _plan(model, window_length_seconds, hop_length_seconds)
    asked = ours.Pipeline(model.model, as_options(cfg.generate))
    answers = asked.ask([_source(audio, input_sr, 0)], query, plan=plan, resampler=resampler)
    return _strings(answers, [audio])[0]


class Pipeline:
    """Answers about recordings as official strings.

    Args:
        model: from ``NatureLM.from_pretrained``; None loads the one of the configuration.
        cfg_path: configuration file; without it, the official 8B model and its settings.

    Attributes:
        resampler: set it to ``kaiser_best`` to hear what the official package heard; ``soxr`` by default.
    """

    resampler = "soxr"

    def __init__(self, model: NatureLM | None = None, cfg_path: str | Path | None = None) -> None:
        self.cfg_path = cfg_path
        if model is None:
            self.model, self.cfg = load_model_and_config(cfg_path)
        else:
            self.model, self.cfg = model, _config(cfg_path)

    def __call__(
        self,
        audios: Any,
        queries: str | Sequence[str],
        window_length_seconds: float = 10.0,
        hop_length_seconds: float = 10.0,
        input_sample_rate: int = SAMPLE_RATE,
        verbose: bool = False,
    ) -> list[str]:
        """One string per recording: a line for each window.

        Args:
            audios: one recording or a list of them: paths, arrays, tensors, or lists of numbers.
            queries: one question for all, or one for each recording.
            window_length_seconds: of each window; longer ones than the model's are split.
            hop_length_seconds: from one window's start to the next one's.
            input_sample_rate: of samples in memory, in Hz; a file's own rate is known.
            verbose: accepted and ignored; results are returned, not printed.

        Raises:
            AudioError: a recording that can't be used.
            OptionsError: questions and recordings differ in number, or a window or hop is not above 0.
            PromptError: a question that can't be asked.
        """
        listed = _as_list(audios)
        asked = [queries] if isinstance(queries, str) else list(queries)
        asked = asked * len(listed) if len(asked) == 1 else asked
        if len(asked) != len(listed):
            raise OptionsError(
                f"{len(asked)} queries for {len(listed)} recordings: give one for all, or one for each"
            )
        plan = _plan(self.model, window_length_seconds, hop_length_seconds)
        by_query: dict[str, list[int]] = defaultdict(list)
        for place, query in enumerate(asked):
            by_query[query].append(place)
        pipeline = ours.Pipeline(self.model.model, as_options(self.cfg.generate))
        results = [""] * len(listed)
        for query, places in by_query.items():
            sources = [_source(listed[place], input_sample_rate, place) for place in places]
            answers = pipeline.ask(sources, query, plan=plan, resampler=self.resampler)
            for place, text in zip(places, _strings(answers, listed), strict=True):
                results[place] = text
        return results


def _as_list(audios: Any) -> list[Any]:
    """One recording or many, as a list: a list of numbers and an array are one recording each."""
    if isinstance(audios, list | tuple):
        return (
            [audios]
            if audios and not hasattr(audios[0], "__len__") and _is_number(audios[0])
            else list(audios)
        )
    return [audios]


def _is_number(value: Any) -> bool:
    return not isinstance(value, str | Path) and not getattr(value, "ndim", 0) and hasattr(value, "__float__")


def _source(audio: Any, sample_rate_hz: int, place: int) -> ours.Clip | Recording:
    """The recording as the pipeline takes it; its name is its place, so that equal paths stay apart."""
    if isinstance(audio, str | Path):
        return Recording(Path(audio), str(place))
    return ours.Clip(audio, sample_rate_hz, name=str(place))


def _plan(model: NatureLM, window_seconds: float, hop_seconds: float) -> WindowPlan:
    longest = model.model.config.max_clip_seconds
    # Existing code may leave gaps by shortening the window alone; the lines' times show them.
    return WindowPlan(
        window_length_seconds=window_seconds,
        hop_length_seconds=hop_seconds,
        model_max_seconds=longest,
        allow_gaps=True,
    )


def _strings(answers: Iterable[Answer], audios: Sequence[Any]) -> list[str]:
    """The lines of each recording, joined, in order.

    Raises:
        AudioError: one of them could not be used.
    """
    lines: dict[str, str] = {}
    for answer in answers:
        if answer.start_seconds is None or answer.end_seconds is None or answer.output is None:
            code, _, reason = (answer.error or "").partition(": ")
            audio = audios[int(answer.audio_path)]
            shown = str(audio) if isinstance(audio, str | Path) else f"recording {int(answer.audio_path) + 1}"
            raise AudioError(reason, path=shown, code=code)
        line = output_template(answer.output, answer.start_seconds, answer.end_seconds)
        lines[answer.audio_path] = lines.get(answer.audio_path, "") + line
    return list(lines.values())
