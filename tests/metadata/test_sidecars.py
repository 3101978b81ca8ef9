"""Files beside recordings."""

from __future__ import annotations

from datetime import datetime

import pytest

from naturelm_audio.metadata.sidecars import audiomoth_zone, batlogger_time


def test_the_nearest_configuration_speaks(tmp_path):
    recording = tmp_path / "20240501" / "20240501_040000.WAV"
    recording.parent.mkdir()
    assert audiomoth_zone(recording) is None
    (tmp_path / "CONFIG.TXT").write_bytes(b"Time zone : UTC+2\r\n\xff\xff")
    assert audiomoth_zone(recording) == "UTC+2"
    (recording.parent / "CONFIG.TXT").write_text("Time zone : UTC-7\n")
    assert audiomoth_zone(recording) == "UTC-7"


@pytest.mark.parametrize(
    ("text", "time", "warned"),
    [
        ("<DateTime>01.05.2024 22:10:09</DateTime>", datetime(2024, 5, 1, 22, 10, 9), False),
        ("<DateTime>31.02.2024 22:10:09</DateTime>", None, True),
    ],
)
def test_batlogger(tmp_path, text, time, warned):
    (tmp_path / "10160435.xml").write_text(text)
    (found,) = batlogger_time(tmp_path / "10160435.wav")
    assert (found.time, bool(found.warnings)) == (time, warned)


def test_other_files_of_the_same_name(tmp_path):
    (tmp_path / "10160435.xml").write_text("<other/>")
    (tmp_path / "frog.xml").write_text("<DateTime>01.05.2024 22:10:09</DateTime>")
    assert list(batlogger_time(tmp_path / "10160435.wav")) == []
    assert list(batlogger_time(tmp_path / "frog.wav")) == []
