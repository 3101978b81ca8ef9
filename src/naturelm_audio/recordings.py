"""Files, folders and patterns -> recordings, each with the name that stands for it in results.

Looks at names only; whether a file holds sound is for :mod:`naturelm_audio.audio` to find out.
"""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from naturelm_audio.errors import AudioError

__all__ = ["AUDIO_SUFFIXES", "MEDIA_SUFFIXES", "Recording", "find_recordings", "shown_path"]

logger = logging.getLogger(__name__)

# fmt: off
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc",
    ".au", ".snd", ".caf", ".w64", ".rf64",
})
# fmt: on
"""What the core decodes, in lower case."""

# fmt: off
MEDIA_SUFFIXES = frozenset({
    ".m4a", ".m4b", ".aac", ".wma", ".mp4", ".mov", ".mkv", ".mka", ".webm", ".avi", ".wmv", ".3gp",
})
# fmt: on
"""What the [media] extra decodes: music files of phones, and the sound tracks of films."""


@dataclass(frozen=True)
class Recording:
    """One file to listen to.

    ``name`` is its path below the folder it was found in, with "/" on every system; bytes that aren't valid
    Unicode are written ``\\xNN``, so a name can always be printed and stored.
    """

    path: Path
    name: str


def find_recordings(inputs: str | Path | Sequence[str | Path]) -> list[Recording]:
    """Return every recording of files, folders and patterns, sorted by name, each path once.

    Folders are searched with their sub-folders, by suffix in any case; hidden files and folders (so the
    ``._`` twins of macOS) are left out, and links are followed without going round in circles. A pattern
    (``*``, ``?``, ``[...]``, ``**``) finds folders, and files with the same suffixes or with the one it ends
    in. A single file is taken whatever its name. Where two inputs hold the same name, both are named by their
    whole path as given.

    Raises:
        AudioError: an input doesn't exist, or holds no recording; it lists the suffixes looked for.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not given:
        raise AudioError("no recordings given: name a file, a folder or a pattern", code="audio_not_found")
    found: dict[str, Recording] = {}
    for one in given:
        before = _expand(os.fspath(one))
        recordings = [recording for recording in before if not _is_hidden_twin(recording)]
        if not recordings:
            raise AudioError(_nothing_found(), path=shown_path(one), code="audio_not_found")
        for recording in recordings:
            found.setdefault(os.path.abspath(recording.path), recording)
    return sorted(_with_distinct_names(list(found.values())), key=lambda recording: recording.name)


def shown_path(path: str | Path) -> str:
    """Return a path as text that can be printed and stored; bytes that aren't valid Unicode as ``\\xNN``."""
    text = os.fspath(path)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate of Windows
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _expand(given: str) -> list[Recording]:
    if os.path.isdir(given):
        return list(_in_folder(given, given))
    if os.path.lexists(given):
        return [Recording(Path(given), _name(given, os.path.dirname(given)))]
    if glob.has_magic(given):
        return list(_matching(given))
    raise AudioError("no such file or folder", path=shown_path(given), code="audio_not_found")


def _is_hidden_twin(recording: Recording) -> bool:
    """Leave out what macOS writes beside the files of a foreign disk, even if a pattern matches it."""
    return recording.path.name.startswith("._")


def _matching(pattern: str) -> Iterator[Recording]:
    """Yield what a pattern finds, named below the part of it that is no pattern."""
    parts = Path(pattern).parts
    plain = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base = os.path.join(*parts[:plain]) if plain else ""
    own_suffix = os.path.splitext(pattern)[1].lower()
    for match in glob.glob(pattern, recursive=True):
        if os.path.isdir(match):
            yield from _in_folder(match, base)
        elif _has_audio_suffix(match) or os.path.splitext(match)[1].lower() == own_suffix:
            yield Recording(Path(match), _name(match, base))


def _in_folder(folder: str, base: str) -> Iterator[Recording]:
    """Yield the recordings below a folder. Real folders come first, so links never hide their names."""
    linked: list[str] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting or linked:
        current = waiting.pop() if waiting else linked.pop(0)
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(current, must_open=current == folder):
            if _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(entry.path)
            elif _has_audio_suffix(entry.name):
                yield Recording(Path(entry.path), _name(entry.path, base))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _entries(folder: str, *, must_open: bool) -> list[os.DirEntry[str]]:
    """Return what a folder shows, by name. Closed sub-folders are passed over: most cards have some."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        if must_open:
            message = f"the folder can't be read: {error.strerror}"
            raise AudioError(message, path=shown_path(folder), code="audio_not_found") from error
        logger.warning("%s: not searched: %s", shown_path(folder), error.strerror)
        return []


def _name(path: str, base: str) -> str:
    return shown_path(Path(os.path.relpath(path, base) if base else path).as_posix())


def _has_audio_suffix(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in AUDIO_SUFFIXES or suffix in MEDIA_SUFFIXES


def _with_distinct_names(recordings: list[Recording]) -> list[Recording]:
    uses = Counter(recording.name for recording in recordings)
    return [
        Recording(one.path, shown_path(one.path.as_posix())) if uses[one.name] > 1 else one
        for one in recordings
    ]


def _nothing_found() -> str:
    suffixes = " ".join(sorted(AUDIO_SUFFIXES | MEDIA_SUFFIXES))
    return f"no recording found; looked for files that end in {suffixes} (in any case)"
