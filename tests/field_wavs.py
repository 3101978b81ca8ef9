"""WAV files written byte by byte, with the chunks that recorders leave in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

COMMENT_UTC = (
    "Recorded at 02:00:00 01/05/2024 (UTC) by AudioMoth 24F3190361DA539A at medium gain while battery was "
    "4.2V and temperature was 11.3C."
)
COMMENT_PLUS_TWO = (
    "Recorded at 04:00:00 01/05/2024 (UTC+2) by AudioMoth 24F3190361DA539A at gain setting 2 while battery "
    "state was less than 2.5V."
)
GUANO = {
    "GUANO|Version": "1.0",
    "Timestamp": "2024-05-01T04:00:00+02:00",
    "Make": "Wildlife Acoustics, Inc.",
    "Model": "Song Meter Mini 2",
    "Serial": "S4A01",
    "Loc Position": "52.52000 13.40500",
    "Loc Elevation": "34.0",
    "Length": "0.01",
    "Samplerate": "48000",
    "TE": "1",
    "Original Filename": "S4A01_20240501_040000.wav",
    "WA|Song Meter|Prefix": "S4A01",
}


def chunk(name: bytes, data: bytes, *, padded: bool = True, size: int | None = None) -> bytes:
    """A chunk; odd ones get their pad byte unless told otherwise, and ``size`` may lie."""
    length = len(data) if size is None else size
    return name + struct.pack("<I", length) + data + (b"\0" if padded and len(data) % 2 else b"")


def form(rate_hz: int = 48_000) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16))


def sound(frames: int = 480) -> bytes:
    return chunk(b"data", b"\x01\x00" * frames)


def guano(**changes: str | None) -> bytes:
    """A GUANO chunk: the example of the field, with changes; keys with blanks are written with ``_``."""
    values = GUANO | {key.replace("_", " "): value for key, value in changes.items()}
    lines = [f"{key}: {value}" for key, value in values.items() if value is not None]
    return chunk(b"guan", "\n".join(lines).encode())


def comment(text: str, artist: str = "AudioMoth 24F3190361DA539A", *, fixed_bytes: int = 384) -> bytes:
    """AudioMoth's LIST chunk, whose fields have a fixed size and are filled up with NULs."""
    body = chunk(b"ICMT", text.encode().ljust(fixed_bytes, b"\0")) + chunk(
        b"IART", artist.encode().ljust(32, b"\0")
    )
    return chunk(b"LIST", b"INFO" + body)


def wamd(records: Sequence[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack("<HI", key, len(value)) + value for key, value in records)
    return chunk(b"wamd", struct.pack("<HIH", 0, 2, 1) + body)


def bext(date: str, clock: str) -> bytes:
    return chunk(
        b"bext", b"".ljust(320, b"\0") + date.encode().ljust(10) + clock.encode().ljust(8) + bytes(264)
    )


def write_wav(path: Path, *parts: bytes, rate_hz: int = 48_000, frames: int = 480) -> Path:
    """A WAV of a hundredth of a second with these chunks behind its sound."""
    body = form(rate_hz) + sound(frames) + b"".join(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    return path
