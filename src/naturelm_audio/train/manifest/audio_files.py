"""Find the recording that a table of another program, on another machine, speaks of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from naturelm_audio.errors import AudioError
from naturelm_audio.recordings import find_recordings

__all__ = ["AudioFiles"]


@dataclass(frozen=True)
class AudioFiles:
    """The recordings below a folder, found by path, by the end of a path, by name, or by stem."""

    root: Path

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        try:
            for recording in find_recordings(self.root):
                found[PurePosixPath(recording.name).name.casefold()].append(recording.name)
        except AudioError:  # none at all: every search then says what it missed
            return {}
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for names in self._by_name.values():
            for name in names:
                found[PurePosixPath(name).stem.casefold()].append(name)
        return found

    def find(self, given: str, *, near: Path, stem: str = "") -> str:
        """Return the path below the root of a file as a table names it.

        Args:
            given: a path of this machine or another, or a name; empty where the table is of one file.
            near: the table; of several files of one name the one beside it is taken.
            stem: of the recording, where nothing is given.

        Raises:
            ValueError: there is none, or more than one.
        """
        posix = given.replace("\\", "/")
        if posix:
            if (self.root / posix).is_file() and not PurePosixPath(posix).is_absolute():
                return posix
            inside = self._inside(posix)
            if inside:
                return inside
            found = self._by_name.get(PurePosixPath(posix).name.casefold(), [])
        else:
            found = self._by_stem.get(stem.casefold(), [])
        if len(found) > 1:
            found = self._closest(found, posix, near)
        shown = posix or f"{stem}.*"
        if not found:
            raise ValueError(f"no recording {shown} below {self.root}")
        if len(found) > 1:
            raise ValueError(f"{len(found)} recordings {shown} below {self.root}: {', '.join(found[:3])}")
        return found[0]

    def _inside(self, posix: str) -> str:
        """Return an absolute path of this machine relative to the root, if it lies below it."""
        try:
            path = Path(posix).resolve()
            return path.relative_to(self.root.resolve()).as_posix() if path.is_file() else ""
        except (ValueError, OSError):
            return ""

    def _closest(self, found: list[str], posix: str, near: Path) -> list[str]:
        """Return those of files with the longest end of the path in common, or beside the table."""
        wanted = [part.casefold() for part in PurePosixPath(posix).parts]

        def shared(name: str) -> int:
            parts = [part.casefold() for part in PurePosixPath(name).parts]
            pairs = zip(reversed(parts), reversed(wanted), strict=False)
            return next(
                (count for count, (one, two) in enumerate(pairs) if one != two), min(len(parts), len(wanted))
            )

        best = max(map(shared, found))
        longest = [name for name in found if shared(name) == best]
        if len(longest) > 1:
            beside = [
                name for name in longest if (self.root / name).parent.resolve() == near.parent.resolve()
            ]
            return beside or longest
        return longest
