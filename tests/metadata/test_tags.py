"""Tags of FLAC, OGG and ID3, written byte by byte or by another program."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.metadata.tags import parse_id3, read_flac, read_id3, read_ogg


def vorbis(*comments: str) -> bytes:
    texts = [text.encode() for text in comments]
    body = struct.pack("<I", 3) + b"ven" + struct.pack("<I", len(texts))
    return body + b"".join(struct.pack("<I", len(text)) + text for text in texts)


def block(kind: int, data: bytes, *, last: bool = False) -> bytes:
    return bytes([kind | (0x80 if last else 0)]) + len(data).to_bytes(3, "big") + data


def stream_info(rate_hz: int, frames: int) -> bytes:
    return bytes(10) + (rate_hz << 44 | 15 << 36 | frames).to_bytes(8, "big") + bytes(16)


def flac(*blocks: bytes) -> io.BytesIO:
    return io.BytesIO(b"fLaC" + b"".join(blocks))


def test_tags_rate_and_length_of_flac():
    tags = vorbis("Timestamp=2024-05-01T04:00:00+02:00", "no separator", "a=b=c")
    file = flac(block(0, stream_info(48_000, 96_000)), block(6, bytes(5000)), block(4, tags, last=True))
    found, rate_hz, seconds = read_flac(file)
    assert found == {"Timestamp": "2024-05-01T04:00:00+02:00", "a": "b=c"}
    assert (rate_hz, seconds) == (48_000, 2.0)


def page(*packets: bytes) -> bytes:
    """A page of OGG with whole packets; the last may be cut by leaving out its last segment."""
    table = b"".join(b"\xff" * (len(one) // 255) + bytes([len(one) % 255]) for one in packets)
    return b"OggS" + bytes(22) + bytes([len(table)]) + table + b"".join(packets)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_comments_of_ogg_as_libsndfile_writes_them(tmp_path, subtype):
    path = tmp_path / "a.ogg"
    with soundfile.SoundFile(path, "w", 48_000, 1, format="OGG", subtype=subtype) as file:
        file.comment, file.artist = "Recorded at 02:00:00 " * 40, "AudioMoth ünï"
        file.write(np.zeros(4800))
    with open(path, "rb") as file:
        found = {name.casefold(): text for name, text in read_ogg(file).items()}
    assert (found["comment"], found["artist"]) == (("Recorded at 02:00:00 " * 40).strip(), "AudioMoth ünï")


def test_a_comment_packet_may_go_on_in_the_next_page():
    packet = b"OpusTags" + vorbis("Timestamp=2024-05-01T04:00:00Z", "Note=" + "x" * 700)
    first = b"OggS" + bytes(22) + bytes([2]) + b"\xff\xff" + packet[:510]
    file = io.BytesIO(page(b"OpusHead" + bytes(11)) + first + page(packet[510:]) + page(b"sound"))
    assert read_ogg(file) == {"Timestamp": "2024-05-01T04:00:00Z", "Note": "x" * 700}


def frame(name: bytes, content: bytes, version: int) -> bytes:
    size = len(content)
    raw = struct.pack(">I", size) if version == 3 else bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return name + raw + b"\0\0" + content


def id3(version: int, *frames: bytes) -> bytes:
    body = b"".join(frames) + bytes(20)
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + body


@pytest.mark.parametrize("version", [3, 4])
def test_tags_of_id3(version):
    data = id3(
        version,
        frame(b"TPE1", b"\x03AudioMoth", version),
        frame(b"TXXX", b"\x03Serial\x00S4A01", version),
        frame(b"TXXX", b"\x01" + "Site\0pönd".encode("utf-16"), version),
        frame(b"COMM", b"\x00eng\x00" + b"Recorded" * 20, version),
        frame(b"APIC", bytes(300), version),
    )
    expected = {"artist": "AudioMoth", "Serial": "S4A01", "Site": "pönd", "comment": "Recorded" * 20}
    assert parse_id3(data) == expected
    assert read_id3(io.BytesIO(data + b"sound")) == expected


def test_other_files_have_no_tags():
    assert read_flac(io.BytesIO(b"OggS" * 10)) == ({}, None, None)
    assert read_id3(io.BytesIO(b"\xff\xfb" * 10)) == {}
    assert read_ogg(io.BytesIO(b"RIFF" * 10)) == {}
    assert read_ogg(io.BytesIO(page(b"\x01video"))) == {}
    assert read_ogg(io.BytesIO(page(b"fLaC", b"other"))) == {}
    assert parse_id3(b"ID3\x02" + bytes(30)) == {}


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(data):
    read_flac(io.BytesIO(b"fLaC" + data))
    read_flac(flac(block(4, data)))
    read_ogg(io.BytesIO(b"OggS" + data))
    read_ogg(io.BytesIO(page(b"", b"OpusTags" + data)))
    parse_id3(b"ID3\x03" + data)
    parse_id3(b"ID3\x04" + data)
