"""One run of ``naturelm clips``: rows of results -> a folder of clips, pictures and the page. No parsing.

    review/index.html       the page
    review/clips.csv        one line per clip: its files, its window, its label and score
    review/clips/           the sound
    review/spectrograms/    the pictures

The page is written last. A window that can't be cut is noted, and the others are.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError, OutputError
from naturelm_audio.files import clear_errors, replacing, write_atomically
from naturelm_audio.journal import read_answers, read_states
from naturelm_audio.review.choosing import Candidate, choose, only_query
from naturelm_audio.review.cutting import AUDIO_FOLDER, CLIP_FORMATS, IMAGE_FOLDER, cut
from naturelm_audio.review.page import ReviewClip, build_page
from naturelm_audio.runs import counted

__all__ = ["ReviewOptions", "ReviewSummary", "review_results", "write_review"]

logger = logging.getLogger(__name__)

PAGE = "index.html"
INDEX = "clips.csv"
INDEX_COLUMNS = (
    "audio", "spectrogram", "path", "start_seconds", "end_seconds", "label", "score",
)  # fmt: skip
MANY_CLIPS = 2000


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """What ``naturelm clips`` does.

    Raises:
        OptionsError: naming the option that is wrong.
    """

    results: Path
    output_path: Path = Path("review")
    audio_root: Path | None = None
    per_label: int = 20
    select: str = "top"
    labels: tuple[str, ...] = ()
    least_score: float = 0.0
    query: str | None = None
    seed: int = 0
    clip_format: str = CLIP_FORMATS[0]
    keep_level: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        if self.clip_format not in CLIP_FORMATS:
            raise OptionsError(f"--format must be one of {', '.join(CLIP_FORMATS)}, not {self.clip_format!r}")
        if self.audio_root is not None and not self.audio_root.is_dir():
            raise OptionsError(f"--audio-root {self.audio_root}: there is no such folder")


@dataclass(frozen=True)
class ReviewSummary:
    """What a run left: the page, its clips, and windows that could not be cut with the reason."""

    page: Path
    clips: int
    failed: Mapping[str, str]

    def __str__(self) -> str:
        """One line for the user."""
        failed = f"; {counted(len(self.failed), 'window')} could not be cut" if self.failed else ""
        return f"{counted(self.clips, 'clip')} to review: open {self.page} in a browser{failed}"


def review_results(options: ReviewOptions) -> ReviewSummary:
    """Cut the chosen windows of a file of results, and write the page.

    Raises:
        OptionsError: no window is chosen, or several questions were asked and none is.
        OutputError: the results can't be read, or the folder exists or can't be written.
        AudioError: not one window could be cut.
        MissingExtraError: pillow is not installed.
    """
    _refuse_existing(options.output_path, options.overwrite)
    query = only_query(_queries(options.results), options.query)
    candidates = choose(
        (answer for answer in read_answers(options.results) if answer.query == query),
        per_label=options.per_label,
        select=options.select,
        labels=options.labels,
        least_score=options.least_score,
        seed=options.seed,
    )
    if not candidates:
        raise OptionsError(f"{options.results}: no window to review: {_why_none(options)}")
    locate = locator(options.results, options.audio_root)
    return write_review(
        candidates,
        locate,
        options.output_path,
        title=f"Review of {options.results.name}",
        audio_root=options.audio_root,
        clip_format=options.clip_format,
        keep_level=options.keep_level,
        overwrite=options.overwrite,
    )


def write_review(
    candidates: Sequence[Candidate],
    locate: Callable[[str], Path],
    folder: Path,
    *,
    title: str,
    audio_root: Path | None = None,
    clip_format: str = CLIP_FORMATS[0],
    keep_level: bool = False,
    overwrite: bool = False,
) -> ReviewSummary:
    """Cut windows into a folder, and write its page.

    Args:
        candidates: in the order of the page.
        locate: name of a recording -> its file.
        folder: made if it is not there.
        title: of the page.
        audio_root: where the recordings are, for the commands that the page shows.
        clip_format: flac or wav.
        keep_level: don't make quiet clips louder.
        overwrite: take the place of an earlier page and its clips.

    Raises:
        OutputError: the folder exists or can't be written.
        AudioError: not one window could be cut.
        MissingExtraError: pillow is not installed.
    """
    _require_pillow()
    _refuse_existing(folder, overwrite)
    if len(candidates) > MANY_CLIPS:
        logger.warning("%d clips are a lot to listen to: choose fewer with --per-label", len(candidates))
    _make_folders(folder)
    clips, failed = _cut_all(candidates, locate, folder, clip_format, keep_level)
    if not clips:
        _remove_folders(folder)
        raise AudioError(
            f"not one of {counted(len(candidates), 'window')} could be cut ({next(iter(failed.values()))}): "
            "say where the recordings are with --audio-root",
            code="audio_not_found",
        )
    _write_index(folder / INDEX, clips)
    root = audio_root or _common_root(clips, locate)
    write_atomically(folder / PAGE, build_page(clips, title=title, commands=_commands(root)))
    return ReviewSummary(folder / PAGE, len(clips), failed)


def _cut_all(
    candidates: Sequence[Candidate],
    locate: Callable[[str], Path],
    folder: Path,
    clip_format: str,
    keep_level: bool,
) -> tuple[list[ReviewClip], dict[str, str]]:
    """Return what was cut, and the windows that could not be, with the reason."""
    clips: list[ReviewClip] = []
    failed: dict[str, str] = {}
    for number, candidate in enumerate(tqdm(candidates, desc="clips", disable=None), start=1):
        try:
            clip = cut(
                candidate,
                locate(candidate.path),
                folder,
                number,
                clip_format=clip_format,
                keep_level=keep_level,
            )
        except (AudioError, MissingExtraError) as error:
            window = f"{candidate.path} {candidate.start_seconds:g}-{candidate.end_seconds:g} s"
            failed[window] = error.reason if isinstance(error, AudioError) else str(error)
            logger.warning("%s: not cut: %s", window, failed[window])
        else:
            clips.append(clip)
    return clips, failed


def locator(results: Path, audio_root: Path | None) -> Callable[[str], Path]:
    """Return what finds a recording: below the root, where the run found it, or beside its results."""
    states = {}
    state_path = results.with_name(f"{results.name}.state.jsonl")
    if audio_root is None and state_path.is_file():
        states = {name: state.file for name, state in read_states(state_path).items() if state.file}
    root = audio_root or results.absolute().parent

    def locate(name: str) -> Path:
        known = states.get(name)
        return Path(known) if known else root / name

    return locate


def _queries(results: Path) -> list[str]:
    """Return the questions in the order of their first row."""
    return list(dict.fromkeys(answer.query for answer in read_answers(results)))


def _why_none(options: ReviewOptions) -> str:
    if options.labels:
        return f"none has the label {' or '.join(options.labels)}" + (
            f" with a score of {options.least_score:g} or more" if options.least_score else ""
        )
    return f"none has a score of {options.least_score:g}" if options.least_score else "it has no answer"


def _refuse_existing(folder: Path, overwrite: bool) -> None:
    if folder.is_file():
        raise OutputError(f"{folder}: is a file: name a folder")
    if (folder / PAGE).exists() and not overwrite:
        raise OutputError(
            f"{folder}: has a page of clips already: take its place with --overwrite, or choose another"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX).exists():
        raise OutputError(f"{folder}: holds other files: choose a new folder")
    if not folder.absolute().parent.is_dir():
        raise OutputError(f"{folder}: there is no folder {folder.absolute().parent}: create it first")


def _make_folders(folder: Path) -> None:
    """Make the sub-folders, without the clips of an earlier page; marks of people are not touched."""
    with clear_errors(folder):
        folder.mkdir(exist_ok=True)
        for name in (PAGE, INDEX):
            (folder / name).unlink(missing_ok=True)
        for name in (AUDIO_FOLDER, IMAGE_FOLDER):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()


def _remove_folders(folder: Path) -> None:
    for name in (AUDIO_FOLDER, IMAGE_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write_index(path: Path, clips: Sequence[ReviewClip]) -> None:
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(INDEX_COLUMNS)
        for clip in clips:
            one = clip.candidate
            window = (one.path, one.start_seconds, one.end_seconds, one.label)
            writer.writerow((clip.audio, clip.image, *window, "" if one.score is None else one.score))


def _common_root(clips: Sequence[ReviewClip], locate: Callable[[str], Path]) -> Path | None:
    """Return the folder that the names of all recordings count from, if there is one."""
    roots = set()
    for clip in clips:
        file, name = locate(clip.candidate.path).absolute().as_posix(), clip.candidate.path
        roots.add(file[: -len(name)].rstrip("/") or "/" if file.endswith(f"/{name}") else None)
    only = roots.pop() if len(roots) == 1 else None
    return None if only is None else Path(only)


def _commands(root: Path | None) -> list[str]:
    where = shlex.quote(str(root.absolute())) if root is not None else "FOLDER-OF-RECORDINGS"
    return [
        f"naturelm finetune --data marks.csv --audio-root {where} --output my-model",
        f"naturelm calibrate marks.csv --audio-root {where} --output calibration.json",
    ]


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtraError("review", "Drawing spectrograms") from None
