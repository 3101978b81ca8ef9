"""When, where and with what recordings were made: recorders' metadata, file names, the user's own table."""

from naturelm_audio.metadata.checks import SequenceCheck
from naturelm_audio.metadata.clocks import iso_time, parse_time, parse_zone
from naturelm_audio.metadata.noting import FieldNotes
from naturelm_audio.metadata.reading import RecordingMetadata, read_metadata
from naturelm_audio.metadata.table import KnownRow, KnownTable, read_known_table

__all__ = [
    "FieldNotes",
    "KnownRow",
    "KnownTable",
    "RecordingMetadata",
    "SequenceCheck",
    "iso_time",
    "parse_time",
    "parse_zone",
    "read_known_table",
    "read_metadata",
]
