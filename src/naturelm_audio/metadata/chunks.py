"""The raw metadata inside WAV files (RIFF, RF64, BW64): finds chunks by seeking, never reads the sound.

Sizes in a file may lie: nothing is allocated by them, and not more than 1 MB of metadata is read.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MOST_BYTES", "Chunk", "info_texts", "read_chunks", "text_of"]

MOST_BYTES = 1 << 20
MOST_CHUNKS = 4096
WANTED = frozenset({b"fmt ", b"LIST", b"guan", b"wamd", b"bext", b"id3 ", b"ID3 "})
SOUND = b"data"
IN_LONG_TABLE = 0xFFFFFFFF


@dataclass(frozen=True)
class Chunk:
    """A part of a file: its four letters, its bytes, and its length in the file. Sound has no bytes here."""

    name: bytes
    data: bytes
    length: int


def read_chunks(file: BinaryIO) -> list[Chunk]:
    """Return the chunks with metadata, in order; none if the file is no WAV. The file may be cut anywhere.

    Raises:
        OSError: the file can't be read.
    """
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return []
    end = file.seek(0, os.SEEK_END)
    found, left = [], MOST_BYTES
    for name, size in _walk(file, 12, end, long_sizes=head[:4] != b"RIFF"):
        if name == SOUND:
            found.append(Chunk(name, b"", min(size, end - file.tell())))
        elif name in WANTED and left > 0:
            data = file.read(min(size, left))
            left -= len(data)
            found.append(Chunk(name, data, len(data)))
    return found


def _walk(file: BinaryIO, position: int, end: int, *, long_sizes: bool) -> Iterator[tuple[bytes, int]]:
    """Yield (name, size) of each chunk with the file standing at its content."""
    sizes: dict[bytes, int] = {}
    for _ in range(MOST_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or not _is_name(header[:4]):
            return
        name, size = header[:4], int.from_bytes(header[4:], "little")
        if long_sizes and name == b"ds64":
            sizes = _long_sizes(file.read(min(size, 4096)))
            file.seek(position + 8)
        if long_sizes and size == IN_LONG_TABLE:
            size = sizes.get(name, end)
        yield name, size
        position += 8 + size
        if position >= end:
            return
        position += size % 2 and _padding(file, position)


def _padding(file: BinaryIO, position: int) -> int:
    """Return 1 for the byte after a chunk of odd length; some writers leave it out."""
    file.seek(position)
    following = file.read(4)
    return 0 if len(following) == 4 and _is_name(following) else 1


def _long_sizes(data: bytes) -> dict[bytes, int]:
    """Return the 64-bit sizes of a ds64 chunk by name."""
    if len(data) < 28:
        return {}
    sizes = {b"data": struct.unpack_from("<Q", data, 8)[0]}
    count = struct.unpack_from("<I", data, 24)[0]
    for index in range(min(count, (len(data) - 28) // 12)):
        name, size = struct.unpack_from("<4sQ", data, 28 + 12 * index)
        sizes[name] = size
    return sizes


def info_texts(chunk: Chunk) -> dict[str, str]:
    """Return the texts of a ``LIST`` chunk of kind ``INFO`` by their four letters; none of other kinds."""
    if chunk.name != b"LIST" or chunk.data[:4] != b"INFO":
        return {}
    memory = io.BytesIO(chunk.data)
    texts = {}
    for name, size in _walk(memory, 4, len(chunk.data), long_sizes=False):
        texts[name.decode("ascii")] = text_of(memory.read(min(size, len(chunk.data))))
    return texts


def text_of(data: bytes) -> str:
    """Return a field of fixed size as text: up to the first NUL, without blanks around it."""
    return data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def _is_name(letters: bytes) -> bool:
    return all(0x20 <= letter < 0x7F for letter in letters)
