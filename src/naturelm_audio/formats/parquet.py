"""Parquet: every row with typed columns, the run in the file's own metadata; needs pyarrow."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from naturelm_audio.errors import MissingExtraError
from naturelm_audio.files import replacing_file
from naturelm_audio.formats.text import moment
from naturelm_audio.formats.writing import Export, RowWriter, make_folder
from naturelm_audio.records import ANSWER_KEYS, Answer, dump_json

__all__ = ["ParquetWriter"]

RUN_KEY = "naturelm.run"
EPOCH, LOCAL = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
ROWS_AT_ONCE = 16_384
TIMES = {"start_time": "start_time_local", "end_time": "end_time_local"}
# fmt: off
KINDS = {
    "start_seconds": "double", "end_seconds": "double", "duration_seconds": "double", "confidence": "double",
    "latitude": "double", "longitude": "double", "low_freq_hz": "double", "high_freq_hz": "double",
    "speed_factor": "double", "time_expansion": "double", "sample_rate": "int32",
}
# fmt: on


class ParquetWriter(RowWriter):
    """One row per row. Times with a zone are UTC; those without one stand in columns of their own."""

    name: ClassVar[str] = "parquet"
    suffix: ClassVar[str] = ".parquet"

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingExtraError("parquet", "Parquet") from None
        self._arrow = pyarrow
        self._schema = _schema(pyarrow).with_metadata({RUN_KEY: dump_json(export.run.provenance)})

    def open_file(self, path: Path, files: ExitStack) -> None:
        """Open a file; its footer is written when it takes its place."""
        make_folder(path)
        temporary = files.enter_context(replacing_file(path))
        texts = [field.name for field in self._schema if self._arrow.types.is_string(field.type)]
        self._file = files.enter_context(
            self._arrow.parquet.ParquetWriter(
                temporary, self._schema, compression="zstd", use_dictionary=texts
            )
        )
        self._waiting: list[Answer] = []
        files.callback(self._flush)

    def write(self, answer: Answer) -> None:
        """Take a row; so many are written at once."""
        self.rows += 1
        self._waiting.append(answer)
        if len(self._waiting) == ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            columns = _columns(self._waiting)
            arrays = [self._arrow.array(columns[field.name], field.type) for field in self._schema]
            self._file.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
            self._waiting = []


def _schema(arrow: Any) -> Any:
    """Return the columns in the order of the rows' keys."""
    text = arrow.string()
    label = arrow.struct(
        [
            ("label", text),
            ("score", arrow.float64()),
            ("scientific_name", text),
            ("common_name", text),
            ("code", text),
        ]
    )
    fields = []
    for name in ANSWER_KEYS:
        if name in TIMES:
            fields.append(arrow.field(name, arrow.timestamp("us", tz="UTC")))
        elif name in ("labels", "warnings"):
            fields.append(arrow.field(name, arrow.list_(label if name == "labels" else text)))
        else:
            kind = getattr(arrow, {"double": "float64"}.get(KINDS.get(name, ""), KINDS.get(name, "string")))
            fields.append(arrow.field(name, kind(), nullable=name not in ("audio_path", "query")))
        if name == "end_time":
            fields += [arrow.field(local, arrow.timestamp("us")) for local in TIMES.values()]
            fields.append(arrow.field("utc_offset_minutes", arrow.int16()))
    return arrow.schema(fields)


def _columns(rows: list[Answer]) -> dict[str, list[Any]]:
    """Return the values of each column."""
    values = [vars(row) for row in rows]
    columns: dict[str, list[Any]] = {name: [row[name] for row in values] for name in ANSWER_KEYS}
    columns["labels"] = [row.labels and [vars(label) for label in row.labels] for row in rows]
    columns["channel"] = [None if value is None else str(value) for value in columns["channel"]]
    offsets: list[int | None] = [None] * len(rows)
    for name, local in TIMES.items():
        times = [moment(value) for value in columns[name]]
        columns[name] = [_microseconds(time, EPOCH) if time and time.tzinfo else None for time in times]
        columns[local] = [_microseconds(time, LOCAL) if time and not time.tzinfo else None for time in times]
        if name == "start_time":
            offsets = [_offset_minutes(time) for time in times]
    columns["utc_offset_minutes"] = offsets
    return columns


def _microseconds(time: datetime, since: datetime) -> int:
    """Return a time as Parquet stores it; pyarrow itself forgets zones in some surroundings."""
    return (time - since) // MICROSECOND


def _offset_minutes(time: datetime | None) -> int | None:
    offset = None if time is None else time.utcoffset()
    return None if offset is None else offset.days * 1440 + offset.seconds // 60
