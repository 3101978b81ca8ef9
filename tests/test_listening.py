"""Decoding ahead: in order, bounded, and a recording that can't be read ends with its error."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from naturelm_audio import listening
from naturelm_audio.audio import find_recordings
from naturelm_audio.errors import AudioError
from naturelm_audio.listening import Clip, End, Hearing, Piece, chunks, read_ahead, sources
from naturelm_audio.windows import WindowPlan

PLAN = WindowPlan(window_length_seconds=1.0)
HEARING = Hearing(channel=None, speed_factor=1.0, resampler="soxr")


def silence(seconds, name="silence"):
    return Clip(np.zeros(round(16_000 * seconds), np.float32), 16_000, name)


def threads():
    return [one for one in threading.enumerate() if one.name == "decode-ahead"]


def test_windows_come_in_order_and_each_source_ends(wav):
    wav("a.wav", seconds=2.5)
    items = list(read_ahead(find_recordings(wav("b.wav", seconds=1.0).parent), PLAN, HEARING, 4))
    assert [(one.source.name, isinstance(one, End)) for one in items] == [
        ("a.wav", False), ("a.wav", False), ("a.wav", False), ("a.wav", True),
        ("b.wav", False), ("b.wav", True),
    ]  # fmt: skip
    assert [len(one.samples) for one in items if isinstance(one, Piece)] == [16_000, 16_000, 8000, 16_000]
    ends = [one for one in items if isinstance(one, End)]
    assert [(one.windows, one.duration_seconds, one.error) for one in ends] == [
        (3, 2.5, None),
        (1, 1.0, None),
    ]
    assert not threads()


def test_a_bad_source_ends_with_its_error_and_the_next_one_is_heard(tmp_path, wav):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    wav("b.wav", seconds=1.0)
    bad, _, good = read_ahead(find_recordings(tmp_path), PLAN, HEARING, 4)
    assert bad.error.code == "audio_decode_failed"
    assert (bad.windows, bad.duration_seconds, good.error) == (0, None, None)
    (short,) = read_ahead([silence(0.2)], PLAN, HEARING, 4)
    assert short.error.code == "audio_too_short"


def test_the_thread_is_only_so_far_ahead(monkeypatch):
    heard = []
    read = listening._read

    def watched(*arguments):
        for item in read(*arguments):
            heard.append(item)
            yield item

    monkeypatch.setattr(listening, "_read", watched)
    items = read_ahead([silence(100.0)], PLAN, HEARING, 3)
    next(items)
    time.sleep(0.3)
    assert len(heard) <= 6  # taken, waiting, and one at the door
    items.close()
    assert not threads()


def test_a_mistake_of_ours_reaches_the_consumer(monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("ours")
        yield

    monkeypatch.setattr(listening, "_read", broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(read_ahead([silence(1.0)], PLAN, HEARING, 3))
    assert not threads()


def test_chunks_hold_as_many_windows_as_a_batch():
    items = list(read_ahead([silence(3.0), silence(2.0)], PLAN, HEARING, 10))
    found = [[isinstance(one, Piece) for one in chunk] for chunk in chunks(items, 2)]
    assert found == [[True, True], [True, False, True], [True, False]]
    assert list(chunks([], 2)) == []


def test_sources_of_every_kind_keep_their_order(wav):
    path = wav("a.wav", seconds=1.0)
    clip = silence(1.0)
    assert [one.name for one in sources([clip, path, str(path)])] == ["silence", "a.wav"]
    assert sources(clip) == [clip]
    with pytest.raises(AudioError, match="no recordings given"):
        sources([])
