"""Chunks are found by seeking, whatever sizes claim."""

from __future__ import annotations

import io
import struct

import field_wavs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.metadata import chunks
from naturelm_audio.metadata.chunks import info_texts, read_chunks, text_of


def riff(*parts: bytes, kind: bytes = b"RIFF") -> io.BytesIO:
    body = b"".join(parts)
    return io.BytesIO(kind + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


def names(file: io.BytesIO) -> list[bytes]:
    return [chunk.name for chunk in read_chunks(file)]


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.total += len(data)
        return data


def test_metadata_behind_the_sound_is_found_without_reading_it():
    file = CountingFile(riff(field_wavs.form(), field_wavs.sound(1_000_000), field_wavs.guano()).getvalue())
    found = read_chunks(file)
    assert [chunk.name for chunk in found] == [b"fmt ", b"data", b"guan"]
    assert found[1].length == 2_000_000
    assert found[1].data == b""
    assert file.total < 1000


@pytest.mark.parametrize("padded", [True, False])
def test_odd_chunks_with_and_without_their_pad_byte(padded):
    odd = field_wavs.chunk(b"junk", b"123", padded=padded)
    assert names(riff(field_wavs.form(), odd, field_wavs.guano())) == [b"fmt ", b"guan"]


def test_rf64_takes_the_long_size_from_its_table():
    sizes = field_wavs.chunk(b"ds64", struct.pack("<QQQI", 0, 960, 480, 0))
    sound = field_wavs.chunk(b"data", b"\1\0" * 480, size=0xFFFFFFFF)
    file = riff(sizes, field_wavs.form(), sound, field_wavs.guano(), kind=b"RF64")
    assert names(file) == [b"fmt ", b"data", b"guan"]


def test_rf64_with_another_long_chunk():
    sizes = field_wavs.chunk(b"ds64", struct.pack("<QQQI4sQ", 0, 2, 1, 1, b"junk", 6))
    junk = field_wavs.chunk(b"junk", b"123456", size=0xFFFFFFFF)
    assert names(riff(sizes, junk, field_wavs.guano(), kind=b"BW64")) == [b"guan"]


def test_a_file_larger_than_4_gb_is_read_by_seeking(tmp_path):
    path = tmp_path / "huge.wav"
    size = 5 << 30
    sizes = field_wavs.chunk(b"ds64", struct.pack("<QQQI", size, size, size // 2, 0))
    with open(path, "wb") as file:
        file.write(b"RF64\xff\xff\xff\xffWAVE" + sizes + field_wavs.form() + b"data\xff\xff\xff\xff")
        file.seek(size, 1)
        file.write(field_wavs.guano())
    with open(path, "rb") as file:
        found = read_chunks(file)
    path.unlink()
    assert [chunk.name for chunk in found] == [b"fmt ", b"data", b"guan"]


def test_a_size_that_lies_allocates_nothing():
    lying = field_wavs.chunk(b"guan", b"GUANO|Version: 1.0", size=0xFFFFFFF0)
    (found,) = read_chunks(riff(lying))
    assert found.data.startswith(b"GUANO")
    assert found.length < 100


def test_not_more_than_a_megabyte_of_metadata_is_read():
    big = field_wavs.chunk(b"guan", b"x" * 700_000)
    found = read_chunks(riff(big, big, big))
    assert sum(len(chunk.data) for chunk in found) == chunks.MOST_BYTES


def test_sound_of_unknown_length_ends_the_walk():
    assert names(riff(field_wavs.form(), field_wavs.chunk(b"data", b"\0" * 64, size=0))) == [b"fmt ", b"data"]


def test_info_texts_end_at_the_first_nul():
    (found,) = read_chunks(riff(field_wavs.comment(field_wavs.COMMENT_UTC)))
    assert info_texts(found) == {"ICMT": field_wavs.COMMENT_UTC, "IART": "AudioMoth 24F3190361DA539A"}


def test_other_lists_have_no_texts():
    (found,) = read_chunks(riff(field_wavs.chunk(b"LIST", b"adtlnote")))
    assert info_texts(found) == {}


def test_text_is_cut_and_never_fails():
    assert text_of(b" abc \0\xff\xff") == "abc"
    assert text_of(b"\xff") == "\ufffd"


@given(st.binary(max_size=300), st.sampled_from([b"RIFF", b"RF64", b"BW64"]))
def test_any_bytes_are_read_without_an_error(data, kind):
    file = io.BytesIO(kind + b"\0\0\0\0WAVE" + data)
    for chunk in read_chunks(file):
        assert len(chunk.data) <= len(data)
        info_texts(chunk)


@given(st.integers(0, 2000))
def test_a_file_may_be_cut_anywhere(length):
    whole = riff(
        field_wavs.form(), field_wavs.comment(field_wavs.COMMENT_UTC), field_wavs.sound(), field_wavs.guano()
    )
    read_chunks(io.BytesIO(whole.getvalue()[:length]))
