"""One run of ``naturelm infer``: options -> a file of rows that can be resumed. No parsing, no model code.

Everything that can be wrong is found before the model is loaded, as far as it can be known then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import naturelm_audio
from naturelm_audio import prompts
from naturelm_audio.calibration import Calibration, read_calibration
from naturelm_audio.errors import NatureLMError
from naturelm_audio.formats import Conversion
from naturelm_audio.formats.about import licence_of
from naturelm_audio.journal import Journal
from naturelm_audio.label_lists import DEFAULT_TOP_K, LabelList, read_labels
from naturelm_audio.metadata import FieldNotes
from naturelm_audio.options import InferOptions
from naturelm_audio.progress import Progress
from naturelm_audio.recordings import Recording, find_recordings
from naturelm_audio.run_outputs import RunOutputs, sound_facts
from naturelm_audio.windows import WindowPlan

if TYPE_CHECKING:
    from naturelm_audio.pipeline import Pipeline

__all__ = ["RunStoppedError", "RunSummary", "about_run", "counted", "run_infer"]


class RunStoppedError(NatureLMError):
    """A run that ended midway: rows are on file, and the message says how to go on.

    Args:
        message: what stopped it.
        interrupted: whether it was the user.
    """

    def __init__(self, message: str, *, interrupted: bool = False) -> None:
        super().__init__(message)
        self.interrupted = interrupted


@dataclass(frozen=True)
class RunSummary:
    """What a finished run left: rows on file (those of earlier parts included) and recordings that failed.

    ``conversion`` is what came of the rows in other formats, if any were asked for.
    """

    rows: int
    failed: tuple[str, ...]
    rows_path: Path
    conversion: Conversion | None = None
    folder: Path | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every recording was read and every format made."""
        return not self.failed and (self.conversion is None or self.conversion.is_whole)

    def __str__(self) -> str:
        """One line for the user."""
        where = str(self.rows_path)
        if self.conversion is not None and self.folder is None:
            where = f"{', '.join(map(str, self.conversion.paths))} (made from {self.rows_path})"
        elif self.conversion is not None:
            made = ", ".join(self.conversion.rows)
            where += f"; {counted(len(self.conversion.paths), 'file')} in {self.folder} ({made})"
        failed = counted(len(self.failed), "recording")
        more = f"; {failed} failed, see `error` in {self.rows_path}" if self.failed else ""
        return f"{counted(self.rows, 'row')} in {where}{more}"


def run_infer(options: InferOptions, load: Callable[[InferOptions], Pipeline]) -> RunSummary:
    """Answer all questions about all recordings into the output; return what there is at the end.

    ``load`` is called once, and only if something is left to do.

    Raises:
        RunStoppedError: it ended midway.
        NatureLMError: nothing was done, for the reason it gives.
    """
    calibration = None if options.calibration is None else read_calibration(options.calibration)
    listed = _label_list(options, calibration)
    if listed is not None and not options.queries:
        options = dataclasses.replace(options, queries=(listed.question,))
    prompts.check_queries(options.queries)
    plan = WindowPlan(
        window_length_seconds=options.window_length_seconds,
        hop_length_seconds=options.hop_seconds,
        allow_gaps=options.allow_gaps,
    )
    recordings = find_recordings(options.audio_paths)
    notes = FieldNotes(recorder=options.recorder, time_zone=options.time_zone, table=options.metadata)
    notes.check(recordings)
    outputs = RunOutputs(options, [recording.name for recording in recordings])
    outputs.check({recording.path.resolve() for recording in recordings})
    ranking = None if listed is None else listed.settings()
    settings = options.settings() | {"ranking": ranking, "recorders": notes.settings}
    journal = Journal.open(options.rows_path, mode=options.output_mode, settings=settings, about=about_run())
    rows_before = journal.row_count
    try:
        with journal:
            todo = journal.remaining(recordings)
            if todo:
                pipeline = load(options)
                if calibration is not None:
                    calibration.check(pipeline.model.provenance.weights_fingerprint, options.queries)
                _answer(options, listed, plan, journal, todo, pipeline, notes)
                notes.close()
        conversion = outputs.write()
    except NatureLMError as error:
        if journal.row_count == rows_before:
            raise
        raise RunStoppedError(f"{error}; {_how_to_go_on(options, journal)}") from error
    except KeyboardInterrupt:
        raise RunStoppedError(_how_to_go_on(options, journal), interrupted=True) from None
    return RunSummary(journal.row_count, tuple(journal.failed), options.rows_path, conversion, outputs.folder)


def _label_list(options: InferOptions, calibration: Calibration | None) -> LabelList | None:
    """The labels to rank, or None for free answers."""
    if options.labels_path is None:
        return None
    return LabelList(
        labels=read_labels(options.labels_path),
        with_none=not options.no_none,
        top_k=DEFAULT_TOP_K if options.top_k is None else options.top_k,
        min_confidence=options.min_confidence or 0.0,
        temperature=None if calibration is None else calibration.temperature,
    )


def _answer(
    options: InferOptions,
    listed: LabelList | None,
    plan: WindowPlan,
    journal: Journal,
    todo: Sequence[Recording],
    pipeline: Pipeline,
    notes: FieldNotes,
) -> None:
    """Append the rows that are not on file yet."""
    _note_model(journal, pipeline)
    if listed is not None:
        journal.note(labels=list(listed.texts))
    plan = dataclasses.replace(plan, model_max_seconds=pipeline.model.config.max_clip_seconds)
    by_name = {recording.name: recording for recording in todo}
    done = {name: journal.rows_on_file.get(name, 0) for name in by_name}
    with Progress(todo, plan, options.speed_factor, questions=len(options.queries), done=done) as progress:

        def finished(source: Any, windows: int, rows: int, error: str | None, seconds: float | None) -> None:
            journal.finish(source, windows=windows, error=error, **sound_facts(source.path, seconds))
            progress.recording(source.name, error)

        answers = pipeline.ask(
            todo,
            options.queries,
            labels=listed,
            plan=plan,
            channel=options.channel,
            speed_factor=options.speed_factor,
            resampler=options.resampler,
            done=done,
            on_recording_done=finished,
        )
        for answer in answers:
            recording = by_name[answer.audio_path]
            journal.append(notes.described(answer, recording), recording)
            progress.row(answer)


def _note_model(journal: Journal, pipeline: Pipeline) -> None:
    """Compare the model with that of the rows on file, and note what else is worth knowing."""
    model, provenance = pipeline.model, pipeline.model.provenance
    journal.confirm(
        "model",
        {
            "name": provenance.model_name,
            "revision": provenance.model_revision,
            "weights": provenance.weights_fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
        },
    )
    journal.note(
        device=str(model.device),
        model_source=str(provenance.source),
        licence_of_weights=licence_of(provenance.model_name),
    )


def about_run() -> dict[str, Any]:
    """Return what the run file says besides settings and inputs."""
    versions = {"naturelm-audio": naturelm_audio.__version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "numpy", "soundfile", "soxr"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"command": sys.argv, "directory": str(Path.cwd()), "versions": versions}


def _how_to_go_on(options: InferOptions, journal: Journal) -> str:
    if not journal.row_count:
        return "no row was made yet"
    instead = " instead of --overwrite" if options.overwrite else ""
    rows = counted(journal.row_count, "row")
    return f"{rows} on file in {journal.output}; the same command with --resume{instead} goes on"


def counted(number: int, thing: str) -> str:
    """Return ``1 row`` or ``2 rows``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
