"""The only file that writes results: appends whole lines, replaces whole files, says plainly what failed."""

from __future__ import annotations

import codecs
import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from naturelm_audio.errors import OutputError

__all__ = [
    "LineFile",
    "clear_errors",
    "encoding_of",
    "replacing",
    "replacing_file",
    "text_encoding",
    "write_atomically",
]

logger = logging.getLogger(__name__)

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LineFile:
    """A file to which whole lines are appended, each with one write; errors are :class:`OutputError`."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is not there."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        with clear_errors(path):
            self._file = os.open(path, flags, 0o666)

    def lock(self) -> None:
        """Keep other processes from writing here until this file is closed."""
        try:
            import fcntl
        except ImportError:  # Windows; two runs on one output are then not noticed
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{self.path}: another process is writing to it: wait for that one, or choose another "
                "--output-path"
            ) from None
        except OSError as error:
            logger.warning(
                "%s: can't be locked (%s); make sure that only one run writes to it", self.path, error
            )

    def append(self, line: str) -> None:
        """Write the line and its line feed, or nothing of it."""
        data = f"{line}\n".encode()
        with clear_errors(self.path):
            before = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, data)
                while written < len(data):  # a disk that fills up takes a part first and fails on the rest
                    written += os.write(self._file, data[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, before)
                raise

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        with clear_errors(self.path):
            os.ftruncate(self._file, size)

    def remove_torn_line(self) -> None:
        """Cut off what follows the last line feed."""
        with clear_errors(self.path):
            end = os.fstat(self._file).st_size
            while end > 0:
                start = max(end - 65536, 0)
                os.lseek(self._file, start, os.SEEK_SET)
                found = os.read(self._file, end - start).rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            os.ftruncate(self._file, end)

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        with clear_errors(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        """Let the file and its lock go; a second time does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A path beside ``path``, with its suffix; its file takes that place when the block ends well.

    Readers see the old content or the new, whatever happens. One process at a time may do this.

    Raises:
        OutputError: it can't be written.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    with clear_errors(path):
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` as a whole, see :func:`replacing_file`.

    Raises:
        OutputError: it can't be written.
    """
    with replacing_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        yield file


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of a file as a whole, see :func:`replacing`.

    Raises:
        OutputError: it can't be written.
    """
    with replacing(path) as file:
        file.write(text)


def text_encoding(path: Path) -> str:
    """Return how a text is to be opened: UTF-16 if it begins with that mark, else UTF-8, perhaps with one.

    Raises:
        OSError: the file can't be read.
    """
    with open(path, "rb") as file:
        return encoding_of(file.read(2))


def encoding_of(start: bytes) -> str:
    """Return the encoding of a text that begins with these bytes, as :func:`text_encoding` does of a file."""
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


@contextlib.contextmanager
def clear_errors(path: Path, action: str = "written") -> Iterator[None]:
    """Turn what the operating system says into one line with the file and what to do."""
    try:
        yield
    except UnicodeDecodeError:
        raise OutputError(f"{path}: is not UTF-8 text, so not a file of results") from None
    except OSError as error:
        if error.errno in FULL_DISK:
            raise OutputError(
                f"{path}: the disk is full or the file too large for it: make room and go on with --resume"
            ) from None
        raise OutputError(f"{path}: can't be {action}: {error.strerror or error}") from None
