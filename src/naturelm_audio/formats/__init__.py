"""Result rows in other forms: the rows are the truth, and a conversion can be repeated at any time.

    rows.jsonl -> source (an index; rows by recording) -> annotations (labels, merged) -> a writer per format
    run file, journal, headers -> about (the run and its recordings) ----^

``convert`` does it all; a new format is a class in a module of its own and a line in ``converting.FORMATS``.
"""

from naturelm_audio.formats.choices import FormatOptions
from naturelm_audio.formats.converting import FORMATS, Conversion, convert, open_writers
from naturelm_audio.formats.official import (
    OfficialRow,
    OfficialWindow,
    official_paths,
    official_string,
    parse_official_string,
    read_official,
    write_official,
)
from naturelm_audio.formats.rows import read_csv

__all__ = [
    "FORMATS",
    "Conversion",
    "FormatOptions",
    "OfficialRow",
    "OfficialWindow",
    "convert",
    "official_paths",
    "official_string",
    "open_writers",
    "parse_official_string",
    "read_csv",
    "read_official",
    "write_official",
]
