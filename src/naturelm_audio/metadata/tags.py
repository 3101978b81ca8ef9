"""Tags of FLAC and OGG (Vorbis comments) and of ID3 -> name and text. Bounded like the chunks of WAV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from naturelm_audio.metadata.chunks import MOST_BYTES

__all__ = ["parse_id3", "read_flac", "read_id3", "read_ogg"]

MOST_TAGS = 4096
STREAM_INFO, VORBIS_COMMENT = 0, 4
OGG_COMMENTS = (b"\x03vorbis", b"OpusTags")  # how their packet begins
TEXT_FRAMES = {b"COMM": "comment", b"TPE1": "artist", b"TSSE": "encoder"}


def read_flac(file: BinaryIO) -> tuple[dict[str, str], int | None, float | None]:
    """Return the tags of a FLAC file, its sample rate in Hz and its length in seconds; what there is of it.

    Raises:
        OSError: the file can't be read.
    """
    tags: dict[str, str] = {}
    rate_hz, seconds = None, None
    if file.read(4) != b"fLaC":
        return tags, rate_hz, seconds
    for _ in range(MOST_TAGS):
        header = file.read(4)
        if len(header) < 4:
            break
        kind, size = header[0] & 0x7F, int.from_bytes(header[1:], "big")
        if kind == STREAM_INFO:
            info = file.read(size)
            rate_hz = int.from_bytes(info[10:13], "big") >> 4 or None
            frames = int.from_bytes(info[13:18], "big") & 0xFFFFFFFFF
            seconds = frames / rate_hz if rate_hz and frames else None
        elif kind == VORBIS_COMMENT:
            tags.update(_vorbis(file.read(min(size, MOST_BYTES))))
            break
        else:
            file.seek(size, 1)
        if header[0] & 0x80:
            break
    return tags, rate_hz, seconds


def read_ogg(file: BinaryIO) -> dict[str, str]:
    """Return the comments of Vorbis or Opus in OGG, which are the second packet; none in other streams.

    Raises:
        OSError: the file can't be read.
    """
    packets, whole, left = [b""], 0, MOST_BYTES
    while whole < 2 and left > 0:
        header = file.read(27)
        if len(header) < 27 or header[:4] != b"OggS":
            break
        for size in file.read(header[26]):  # segments; one of less than 255 bytes ends its packet
            packets[-1] += file.read(size)
            left -= size
            if size < 255:
                whole += 1
                packets.append(b"")
    start = next((one for one in OGG_COMMENTS if len(packets) > 1 and packets[1].startswith(one)), None)
    return {} if start is None else dict(_vorbis(packets[1][len(start) :]))


def _vorbis(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the comments of a block: lengths and texts, little-endian."""
    place = 4 + int.from_bytes(data[:4], "little") + 4  # behind the vendor and the number of comments
    for _ in range(MOST_TAGS):
        if place + 4 > len(data):
            return
        length = int.from_bytes(data[place : place + 4], "little")
        text = data[place + 4 : place + 4 + length].decode("utf-8", "replace")
        place += 4 + length
        name, found, value = text.partition("=")
        if found:
            yield name.strip(), value.strip()


def read_id3(file: BinaryIO) -> dict[str, str]:
    """Return the tags at the start of an MP3; none if there are none.

    Raises:
        OSError: the file can't be read.
    """
    header = file.read(10)
    if len(header) < 10 or header[:3] != b"ID3":
        return {}
    return parse_id3(header + file.read(min(_seven_bits(header[6:10]), MOST_BYTES)))


def parse_id3(data: bytes) -> dict[str, str]:
    """Return the tags of ID3 version 2.3 or 2.4; user-defined ones by their own name."""
    if len(data) < 10 or data[:3] != b"ID3" or data[3] not in (3, 4):
        return {}
    tags: dict[str, str] = {}
    place = 10
    for _ in range(MOST_TAGS):
        if place + 10 > len(data) or not data[place : place + 4].isalnum():
            break
        name, raw = data[place : place + 4], data[place + 4 : place + 8]
        size = _seven_bits(raw) if data[3] == 4 else struct.unpack(">I", raw)[0]
        tags.update(_frame(name, data[place + 10 : place + 10 + size]))
        place += 10 + size
    return tags


def _frame(name: bytes, content: bytes) -> dict[str, str]:
    """Return one frame's text."""
    if not content or (name != b"TXXX" and name not in TEXT_FRAMES):
        return {}
    encoding = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}.get(content[0], "utf-8")
    body = content[4:] if name == b"COMM" else content[1:]  # a comment begins with its language
    texts = [text.strip("\0 \ufeff") for text in body.decode(encoding, "replace").split("\0")]
    texts = [text for text in texts if text]
    if name == b"TXXX":
        return {texts[0]: texts[1]} if len(texts) == 2 else {}
    return {TEXT_FRAMES[name]: texts[-1]} if texts else {}


def _seven_bits(data: bytes) -> int:
    """Return a number of which each byte holds seven bits."""
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
    return number
