"""The user's own table."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from naturelm_audio.errors import OptionsError
from naturelm_audio.metadata.clocks import iso_time, parse_zone
from naturelm_audio.metadata.table import read_known_table

HEADER = "audio_path,start_time,latitude,longitude,site\n"


def table(tmp_path: Path, text: str | bytes, **options):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_known_table(path, **options)


def test_one_row_for_one_recording(tmp_path):
    rows = table(tmp_path, HEADER + "site1/a.wav,2024-05-01T04:00:00+02:00,52.5,13.4,pond\n")
    row = rows.row("site1/a.wav")
    assert row.start == datetime(2024, 5, 1, 2, tzinfo=UTC)
    assert (row.latitude, row.longitude, row.site) == (52.5, 13.4, "pond")
    assert rows.row("a.wav").site is None
    assert rows.unused == set()


def test_a_row_for_a_folder_holds_below_it_and_special_rows_win(tmp_path):
    rows = table(tmp_path, HEADER + ".,,1.0,2.0,all\nsite1/,,3.0,4.0,\nsite1/deep/a.wav,,,,mine\n")
    assert rows.row("site1/deep/a.wav").site == "mine"
    assert (rows.row("site1/deep/a.wav").latitude, rows.row("site1/b.wav").site) == (3.0, "all")
    assert (rows.row("c.wav").latitude, rows.row("c.wav").longitude) == (1.0, 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffaudio_path,site\r\na.wav,pond\r\n".encode(),
        b"audio_path;site\na.wav;pond\n",
        b"audio_path\tsite\na.wav\tpond\n",
        "audio_path,site\na.wav,pond\n".encode("utf-16"),
        b"habitat, audio_path ,site\nwood,a.wav,pond\n",
        b"audio_path,site\n.\\a.wav,pond\n",
    ],
)
def test_tables_of_spreadsheets(tmp_path, text):
    assert table(tmp_path, text).row("a.wav").site == "pond"


def test_zones_of_rows_and_of_the_option(tmp_path):
    text = "audio_path,start_time,time_zone\na.wav,2024-05-01 04:00,UTC-5\nb.wav,2024-05-01 04:00,\n"
    rows = table(tmp_path, text, zone=parse_zone("Europe/Berlin"))
    assert iso_time(rows.row("a.wav").start) == "2024-05-01T04:00:00-05:00"
    assert iso_time(rows.row("b.wav").start) == "2024-05-01T04:00:00+02:00"
    assert iso_time(table(tmp_path, text).row("b.wav").start) == "2024-05-01T04:00:00"


def test_paths_with_commas_quotes_and_line_feeds(tmp_path):
    rows = table(tmp_path, 'audio_path,site\n"a, ""b"".wav","two\nlines"\n')
    assert rows.row('a, "b".wav').site == "two\nlines"


def test_decimal_commas_are_read(tmp_path):
    row = table(tmp_path, "audio_path;latitude;longitude\na.wav;52,5;13,4\n").row("a.wav")
    assert (row.latitude, row.longitude) == (52.5, 13.4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column audio_path"),
        ("path,site\na.wav,b\n", "its columns are path, site"),
        (HEADER + "a.wav,yesterday,,,\n", "line 2: start_time 'yesterday'"),
        (HEADER + "a.wav,,91,0,\n", "latitude must be decimal degrees"),
        (HEADER + "a.wav,,nan,0,\n", "latitude must be decimal degrees"),
        (HEADER + "a.wav,,52.5,,\n", "both latitude and longitude"),
        (HEADER + "a.wav,,,,\na.wav,,,,\n", "line 3: a.wav is there twice"),
        (HEADER + ",,,,pond\n", "audio_path is empty"),
        ("audio_path,time_zone\na.wav,Mars\n", "line 2: 'Mars': there is no such zone"),
        ('audio_path,site\na.wav,"open\n', "is not a row"),
        (b"audio_path,site\na.wav,\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_names_the_line(tmp_path, text, words):
    with pytest.raises(OptionsError, match=r"^--metadata") as error:
        table(tmp_path, text)
    assert words in str(error.value)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(OptionsError, match="can't be read"):
        read_known_table(tmp_path / "none.csv")


def test_a_start_time_for_a_folder_is_refused(tmp_path):
    rows = table(tmp_path, HEADER + "site1,2024-05-01T04:00:00Z,,,\n")
    with pytest.raises(OptionsError, match="is a folder"):
        rows.row("site1/a.wav")
