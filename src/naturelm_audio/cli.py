"""The commands ``naturelm`` and ``beans``: arguments -> options -> one call of the library.

Exit status: 0 all went well; 2 wrong use, nothing was done; 3 some recordings failed, the others have
answers; 1 the run stopped midway and can be resumed; 130 interrupted. Errors of the tree are one line on
stderr, results go to files, and standard output stays clean. Anything heavy is imported inside the command
that needs it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from naturelm_audio.beans_build_command import beans_build
from naturelm_audio.beans_command import beans
from naturelm_audio.calibrate_command import calibrate
from naturelm_audio.clips_command import clips
from naturelm_audio.convert_command import convert
from naturelm_audio.embed_command import embed, search
from naturelm_audio.errors import NatureLMError, OptionsError
from naturelm_audio.format_names import OUTPUT_FORMATS, split_formats
from naturelm_audio.metadata_command import metadata
from naturelm_audio.options import (
    BUNDLED_MODEL,
    DEFAULT_OUTPUT,
    DTYPES,
    RESAMPLERS,
    InferOptions,
    RunConfig,
    read_config,
)
from naturelm_audio.recorder_names import RECORDERS
from naturelm_audio.report_command import report
from naturelm_audio.scoring_command import score
from naturelm_audio.train.commands import data
from naturelm_audio.train.commands_train import finetune, train, train_compare, train_evaluate
from naturelm_audio.web_command import inference_app

if TYPE_CHECKING:
    from naturelm_audio.pipeline import Pipeline

__all__ = ["beans_main", "main"]

Command = TypeVar("Command", bound=Callable[..., Any])

STOPPED, WRONG_USE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130
GENERATE_FLAGS = ("num_beams", "max_new_tokens", "merging_alpha")
ANSWER_FLAGS = ("num_beams", "max_new_tokens")  # of free answers only


def _batch_size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    """Return a whole number or "auto"; the range is checked with all other options."""
    if value is None or value == "auto":
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a whole number nor auto", context, parameter
        ) from None


def _formats(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the formats of one or more lists; None if there is none."""
    return split_formats(values) if values else None


# One line per option: flag, settings. Defaults are shown as text only; None means "not given", so that a
# configuration file can speak first and the built-in default last.
INFER_OPTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--cfg-path",), {"help": "Configuration file (YAML), official or ours; options here win over it."}),
    (
        ("--audio-path",),
        {
            "multiple": True,
            "required": True,
            "help": "File, folder (searched deeply) or pattern; repeatable.",
        },
    ),
    (
        ("--query",),
        {"multiple": True, "help": "Question asked of every window; repeatable. Needed without --labels."},
    ),
    (
        ("--labels", "labels_path"),
        {
            "type": click.Path(path_type=Path),
            "help": "List to rank in each window: one label per line, or a CSV with label, common_name or "
            "scientific_name. The answer is the best label.",
        },
    ),
    (("--no-none",), {"is_flag": True, "help": 'With --labels: do not add "None" to the list.'}),
    (("--top-k",), {"type": int, "help": "With --labels: best labels kept.  [5]"}),
    (("--min-confidence",), {"type": float, "help": "With --labels: leave out what is less sure.  [0]"}),
    (
        ("--calibration",),
        {"type": click.Path(path_type=Path), "help": "With --labels: a file of naturelm calibrate."},
    ),
    (
        ("--output-path",),
        {"type": click.Path(path_type=Path), "help": f"File of results.  [{DEFAULT_OUTPUT}]"},
    ),
    (
        ("--window-length-seconds",),
        {"type": float, "help": "Window; above the model's 10 s it is split.  [10]"},
    ),
    (("--hop-length-seconds",), {"type": float, "help": "From window to window.  [the window's length]"}),
    (("--allow-gaps",), {"is_flag": True, "help": "Allow a hop longer than the window."}),
    (("--merging-alpha",), {"type": float, "help": "0 is the base language model, 1 the tuned one.  [1]"}),
    (("--model",), {"help": f"Bundled name, local folder or file, or hub id.  [{BUNDLED_MODEL}]"}),
    (("--llama-path",), {"help": "Base language model, for checkpoints that come without one."}),
    (("--device",), {"help": "auto, cpu, cuda, cuda:1, mps.  [auto]"}),
    (("--dtype",), {"type": click.Choice(DTYPES), "help": "Number format.  [auto]"}),
    (
        ("--batch-size",),
        {"callback": _batch_size, "metavar": "INTEGER|auto", "help": "Answers made at once.  [auto]"},
    ),
    (("--num-beams",), {"type": int, "help": "1 is greedy, and faster.  [2]"}),
    (("--max-new-tokens",), {"type": int, "help": "Longest answer.  [300]"}),
    (("--channel",), {"type": int, "help": "Channel to hear, from 1.  [the mean of all]"}),
    (("--speed-factor",), {"type": float, "help": "0.1: heard ten times slower, for ultrasound.  [1]"}),
    (
        ("--resampler",),
        {"type": click.Choice(RESAMPLERS), "help": "kaiser_best is what the official release used.  [soxr]"},
    ),
    (
        ("--format", "formats"),
        {
            "multiple": True,
            "metavar": "NAME,...",
            "callback": _formats,
            "help": f"JSON Lines and any of {', '.join(OUTPUT_FORMATS[1:])}.  [jsonl]",
        },
    ),
    (("--per-file",), {"is_flag": True, "help": "Other formats: one file for each recording."}),
    (("--combined",), {"is_flag": True, "help": "Other formats: one file for all recordings."}),
    (("--merge",), {"is_flag": True, "help": "Join equal annotations of windows that touch or overlap."}),
    (
        ("--dataset",),
        {"type": click.Path(path_type=Path), "help": "camtrap-dp: description of the project (YAML)."},
    ),
    (
        ("--nominal-end",),
        {"is_flag": True, "help": "Official form: end = start + window, even beyond the file."},
    ),
    (
        ("--recorder",),
        {"type": click.Choice(RECORDERS), "help": "Whose times and places are believed.  [auto]"},
    ),
    (
        ("--time-zone",),
        {"help": "Of recordings that don't tell: Europe/Berlin, UTC, +02:00.  [left unknown]"},
    ),
    (
        ("--metadata",),
        {
            "type": click.Path(path_type=Path),
            "help": "CSV of your own: audio_path, start_time, latitude, longitude, site, recorder.",
        },
    ),
    (("--resume",), {"is_flag": True, "help": "Go on with an output that was interrupted."}),
    (("--overwrite",), {"is_flag": True, "help": "Begin an output again."}),
    (("-v", "--verbose"), {"count": True, "help": "Say more on stderr; twice for everything."}),
]


def infer_options(command: Command) -> Command:
    """Return the command with all options of ``naturelm infer``."""
    for names, settings in reversed(INFER_OPTIONS):
        command = click.option(*names, **settings)(command)
    return command


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from naturelm_audio import __version__

        click.echo(f"naturelm-audio {__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
def naturelm() -> None:
    """Ask questions about animal sounds."""


@naturelm.command()
@infer_options
def infer(cfg_path: str | None, verbose: int, **given: Any) -> int:
    """Answer questions about every window of recordings.

    One JSON row per window and question is appended to the output as it is made. A recording that can't be
    read becomes a row with an error, and the run goes on (exit status 3). An interrupted run goes on with
    --resume.
    """
    with _log_on_stderr(verbose):
        options = merge_options(read_config(cfg_path) if cfg_path else RunConfig(), given)
        from naturelm_audio.runs import RunStoppedError, run_infer

        try:
            summary = run_infer(options, _load_pipeline)
        except RunStoppedError as error:
            _say(f"{'Interrupted' if error.interrupted else 'Error'}: {error}")
            return INTERRUPTED if error.interrupted else STOPPED
    if summary.conversion is not None:
        for note in summary.conversion.messages:
            _say(note)
    _say(str(summary))
    return 0 if summary.is_whole else SOME_FAILED


for _command in (
    calibrate,
    convert,
    score,
    metadata,
    report,
    beans_build,
    embed,
    search,
    clips,
    data,
    train,
    finetune,
    train_compare,
    train_evaluate,
    inference_app,
):
    naturelm.add_command(_command)

LATER = {"ignore_unknown_options": True, "allow_extra_args": True}


@naturelm.command(context_settings=LATER)
def serve() -> int:
    """Answer over HTTP (not part of this version)."""
    return _not_yet("naturelm serve", "naturelm infer answers from the command line")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``naturelm`` and leave the process with its exit status."""
    sys.exit(_run(naturelm, "naturelm", arguments))


def beans_main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``beans`` and leave the process with its exit status."""
    sys.exit(_run(beans, "beans", arguments))


def _run(command: click.Command, name: str, arguments: Sequence[str] | None) -> int:
    """Return the exit status; a mistake of ours keeps its traceback."""
    try:
        return int(command.main(arguments, prog_name=name, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except NatureLMError as error:
        _say(f"Error: {error}")
        return WRONG_USE
    except (KeyboardInterrupt, click.Abort):
        _say("Interrupted.")
        return INTERRUPTED


def _say(text: str) -> None:
    click.echo(" ".join(text.splitlines()), err=True)


def _not_yet(command: str, instead: str) -> int:
    _say(f"Error: `{command}` is not part of this version; {instead}")
    return WRONG_USE


@contextlib.contextmanager
def _log_on_stderr(verbose: int) -> Iterator[None]:
    """Show our own log while a command runs; libraries keep their settings."""
    ours = logging.getLogger("naturelm_audio")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


def merge_options(config: RunConfig, given: dict[str, Any]) -> InferOptions:
    """Return the options: those given on the command line, else of the file, else the defaults.

    Raises:
        OptionsError: naming the flag that is wrong.
    """
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    names = {item.name for item in dataclasses.fields(InferOptions)}
    values = {name: value for name, value in vars(config).items() if name in names and value is not None} | {
        name: value for name, value in given.items() if name in names
    }
    if "model" in given:
        values.pop("model_arguments", None)
        if "llama_path" not in given:
            values.pop("llama_path", None)
    if values.get("batch_size") == "auto":
        values["batch_size"] = None
    changes = {name: given[name] for name in GENERATE_FLAGS if name in given}
    for name in ANSWER_FLAGS:
        if name in changes and "labels_path" in given:
            raise OptionsError(f"--{name.replace('_', '-')} has no effect with --labels: leave it out")
    values["generate"] = _changed_generation(config, changes)
    values["audio_paths"], values["queries"] = tuple(given["audio_path"]), tuple(given["query"])
    return InferOptions(**values)


def _changed_generation(config: RunConfig, changes: dict[str, Any]) -> Any:
    try:
        return dataclasses.replace(config.generate, **changes)
    except OptionsError as error:
        name, _, rest = str(error).partition(" ")
        flag = f"--{name.replace('_', '-')}" if name in GENERATE_FLAGS else name
        raise OptionsError(f"{flag} {rest}") from None


def _load_pipeline(options: InferOptions) -> Pipeline:
    """Return the pipeline with its model; the only place where torch is imported."""
    from naturelm_audio.checkpoint import load_model
    from naturelm_audio.pipeline import Pipeline

    model = load_model(
        options.model,
        llama=options.llama_path,
        device=options.device,
        dtype=options.dtype,
        arguments=options.model_arguments or None,
    )
    return Pipeline(model, options.generate, batch_size=options.batch_size)
