"""Darwin Core occurrences (GBIF, OBIS): merged detections of taxa, each a prediction until somebody looks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path
from typing import ClassVar, TextIO
from urllib.parse import quote

from naturelm_audio.formats.annotations import Annotation, band_hz
from naturelm_audio.formats.text import csv_rows, decimal, moment, one_line
from naturelm_audio.formats.writing import AnnotationWriter
from naturelm_audio.records import Answer

__all__ = ["DarwinCoreWriter", "hashed", "identified_by", "occurrence_id"]

# fmt: off
TERMS = (
    "occurrenceID", "basisOfRecord", "eventDate", "scientificName", "taxonRank", "decimalLatitude",
    "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters", "identifiedBy", "dateIdentified",
    "identificationVerificationStatus", "identificationReferences", "identificationRemarks",
    "associatedMedia", "recordedBy", "samplingProtocol", "occurrenceStatus",
)


AUDIOVISUAL = (
    "occurrenceID", "ac:startTime", "ac:endTime", "ac:startTimestamp", "ac:endTimestamp", "ac:freqLow",
    "ac:freqHigh",
)
# fmt: on
AUDIOVISUAL_SUFFIX = ".audiovisual.csv"


def occurrence_id(annotation: Annotation) -> str:
    """Return an id that a repeated export gives again: a hash of recording, start, question and label."""
    answer = annotation.answer
    parts = (
        answer.audio_path,
        f"{annotation.start_seconds:.6f}",
        answer.query,
        answer.channel,
        annotation.label,
    )
    return hashed("\0".join(map(str, parts)))


def hashed(text: str) -> str:
    """Return 16 letters that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def identified_by(answer: Answer) -> str:
    """Return the model and its revision."""
    return one_line(" ".join(part for part in (answer.model, answer.model_revision) if part))


class DarwinCoreWriter(AnnotationWriter):
    """One occurrence per merged run of windows with a taxon; what is no taxon has no place here.

    Beside it goes a table of the Audiovisual Core: where in its recording each occurrence is heard.
    """

    name: ClassVar[str] = "darwin-core"
    suffix: ClassVar[str] = ".occurrences.csv"
    always_merges: ClassVar[bool] = True

    def paths(self) -> Iterator[Path]:
        """Yield each table of occurrences and the one beside it."""
        for path in super().paths():
            yield from (path, _beside(path))

    def open_file(self, path: Path, files: ExitStack) -> None:
        """Open both tables."""
        super().open_file(path, files)
        self._write_span = csv_rows(self.opened(_beside(path), files), AUDIOVISUAL)

    def head(self, file: TextIO) -> None:
        """Take the file and write the terms."""
        self._write = csv_rows(file, TERMS)

    def annotation(self, annotation: Annotation) -> None:
        """Write an occurrence."""
        if not annotation.scientific_name:
            self.leave_out("annotations without a scientific name")
            return
        answer = annotation.answer
        has_place = answer.latitude is not None and answer.longitude is not None
        if not has_place or answer.start_time is None:
            self.doubts["occurrences whose time or place is not known"] += 1
        values = {
            "occurrenceID": occurrence_id(annotation),
            "basisOfRecord": "MachineObservation",
            "eventDate": "/".join(time for time in (answer.start_time, annotation.end_time) if time),
            "scientificName": one_line(annotation.scientific_name),
            "decimalLatitude": f"{answer.latitude:.5f}" if has_place else "",
            "decimalLongitude": f"{answer.longitude:.5f}" if has_place else "",
            "geodeticDatum": "EPSG:4326" if has_place else "",
            "dateIdentified": self.export.run.made_at(answer.run_id),
            "identificationVerificationStatus": "PredictedByMachine",
            "identificationReferences": identified_by(answer),
            "identificationRemarks": "" if annotation.score is None else f"score {annotation.score:.4g}",
            "associatedMedia": self._link(answer.audio_path),
            "occurrenceStatus": "present",
        }
        self._write([values.get(term, "") for term in TERMS])
        self._write_span(
            (
                values["occurrenceID"],
                decimal(annotation.start_seconds),
                decimal(annotation.end_seconds),
                _in_utc(answer.start_time),
                _in_utc(annotation.end_time),
                *(band_hz(answer, self.recording.nyquist_hz) or ("", "")),
            )
        )

    def _link(self, name: str) -> str:
        """Return the address of the recording, if the user said where recordings are."""
        root = self.options.media_url
        return f"{root.rstrip('/')}/{quote(name.rsplit('/', 1)[-1])}" if root else ""


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(DarwinCoreWriter.suffix) + AUDIOVISUAL_SUFFIX)


def _in_utc(time: str | None) -> str:
    """Return a time as an instant; "" if its zone is not known."""
    found = moment(time)
    if found is None or found.tzinfo is None:
        return ""
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
