"""Camtrap DP 1.0: deployments, media and observations of a survey, as biodiversity archives exchange them.

It was made for camera traps. For sound, seconds and hertz within a recording stand in ``observationTags``,
and a recorder takes the place of the camera. Nothing is invented: what is not known has to be given.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TextIO
from urllib.parse import quote

import naturelm_audio
from naturelm_audio.errors import OptionsError
from naturelm_audio.files import write_atomically
from naturelm_audio.formats.about import Recording
from naturelm_audio.formats.annotations import Annotation, band_hz
from naturelm_audio.formats.darwin_core import hashed, identified_by, occurrence_id
from naturelm_audio.formats.text import csv_rows, moment, one_line
from naturelm_audio.formats.writing import AnnotationWriter, Export
from naturelm_audio.options import parse_yaml
from naturelm_audio.records import Answer

__all__ = ["CamtrapWriter", "check_dataset", "read_dataset"]

VERSION = "1.0"
# The names of the format's own definitions, by which validators know it; nothing is ever fetched from there.
DEFINITIONS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
# fmt: off
DEPLOYMENTS = (
    "deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty",
    "deploymentStart", "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight",
    "cameraDepth", "cameraTilt", "cameraHeading", "detectionDistance", "timestampIssues", "baitUse",
    "featureType", "habitat", "deploymentGroups", "deploymentTags", "deploymentComments",
)
MEDIA = (
    "mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName",
    "fileMediatype", "exifData", "favorite", "mediaComments",
)
OBSERVATIONS = (
    "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
    "observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior",
    "individualID", "individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX",
    "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy", "classificationTimestamp",
    "classificationProbability", "observationTags", "observationComments",
)
DESIGNS = (
    "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic",
)
# fmt: on
TABLES = {"deployments": DEPLOYMENTS, "media": MEDIA, "observations": OBSERVATIONS}
MEDIA_TYPES = {".wave": "audio/wav", ".mp3": "audio/mpeg", ".aif": "audio/aiff", ".oga": "audio/ogg"}
MAKERS = {
    "audiomoth": "Open Acoustic Devices", "song meter": "Wildlife Acoustics", "sm": "Wildlife Acoustics",
    "soundtrap": "Ocean Instruments", "batlogger": "Elekon",
}  # fmt: skip
# Behind the model: AudioMoth 24F3190361DA539A, Song Meter Mini 2 S4A01; but a bare SM4BAT-FS is a model.
SERIAL = re.compile(r"(?P<model>.*\S)\s+(?P<serial>(?!SM\d)(?=[A-Z-]*\d)[0-9A-Z-]{4,})")
NAMED_AT_MOST = 3
Row = Callable[[Iterable[Any]], Any]


def check_dataset(dataset: Mapping[str, Any]) -> list[str]:
    """Return what the user's description of the project lacks."""
    project = dataset.get("project")
    project = project if isinstance(project, Mapping) else {}
    wanted = {
        "contributors (a list with a title for each)": isinstance(dataset.get("contributors"), list)
        and all(isinstance(one, Mapping) and one.get("title") for one in dataset["contributors"])
        and bool(dataset["contributors"]),
        "project.title": bool(project.get("title")),
        f"project.samplingDesign (one of {', '.join(DESIGNS)})": project.get("samplingDesign") in DESIGNS,
    }
    return [f"--dataset: {name}" for name, found in wanted.items() if not found]


def read_dataset(path: Path | None) -> dict[str, Any]:
    """Return the user's description of the project; an empty one for None.

    Raises:
        OptionsError: the file can't be read, or is no description.
    """
    content = {} if path is None else parse_yaml(path)
    if not isinstance(content, dict):
        raise OptionsError(f"--dataset {path}: must have keys such as contributors and project")
    return content


@dataclass
class _Deployment:
    """One site with its recorder, and the time from its first recording to its last."""

    site: str
    latitude: float
    longitude: float
    recorder: str
    start: datetime
    end: datetime


class CamtrapWriter(AnnotationWriter):
    """A folder with a data package; recordings are media, sites are deployments."""

    name: ClassVar[str] = "camtrap-dp"
    suffix: ClassVar[str] = ""
    only_one_way: ClassVar[bool] = True

    def __init__(self, export: Export) -> None:
        super().__init__(export)
        self._deployments: dict[str, _Deployment] = {}
        self._taxa: set[str] = set()

    def missing(self) -> Sequence[str]:
        """Return what the survey and its recordings lack, each kind with some of their names."""
        found: dict[str, list[str]] = {}
        for name in self.export.names:
            first = self.export.run.first(name)
            if first is None or first.start_seconds is None:  # it failed, so it is no media
                continue
            for lack in _lacks(first):
                found.setdefault(lack, []).append(name)
        lacks = check_dataset(self.options.dataset)
        together: dict[tuple[str, ...], list[str]] = {}
        for lack, names in found.items():
            together.setdefault(tuple(names), []).append(lack)
        for those, kinds in together.items():
            more = f" and {len(those) - NAMED_AT_MOST} more" if len(those) > NAMED_AT_MOST else ""
            named = ", ".join(those[:NAMED_AT_MOST])
            lacks.append(f"{' and '.join(kinds)} of {named}{more} (`naturelm convert --metadata table.csv`)")
        return lacks

    @property
    def folder(self) -> Path:
        """The folder of the package."""
        return self.export.folder / self.name

    def paths(self) -> Iterator[Path]:
        """Yield the four files."""
        yield from (self.folder / f"{table}.csv" for table in TABLES)
        yield self.folder / "datapackage.json"

    def start(self) -> None:
        """Open the tables."""
        rows = {
            table: csv_rows(self.opened(self.folder / f"{table}.csv", self._files), columns)
            for table, columns in TABLES.items()
        }
        self._rows: dict[str, Row] = rows
        stems = Counter(_stem(name) for name in self.export.names)
        self._shared = {stem for stem, uses in stems.items() if uses > 1}

    def head(self, file: TextIO) -> None:
        """Not used: the tables have headers of their own."""

    def begin(self, recording: Recording) -> None:
        """Take up a recording: its media row, and its part in the deployment."""
        super().begin(recording)
        first = self.export.run.first(recording.name)
        time = moment(first.start_time) if first is not None else None
        if first is None or first.start_seconds is None or time is None:
            return
        self._expansion = first.time_expansion or 1.0
        self._begun = start = time - timedelta(seconds=first.start_seconds / self._expansion)
        seconds = recording.exact_seconds or first.end_seconds or 0.0
        self._deploy(first, start, start + timedelta(seconds=float(seconds) / self._expansion))
        self._media_id = self._id_of(recording.name)
        self._row("media", {
            "mediaID": self._media_id,
            "deploymentID": first.site,
            "timestamp": _whole_seconds(start),
            "filePath": self._file_path(recording.name),
            "filePublic": "true" if self.options.media_url else "false",
            "fileName": one_line(recording.name.rsplit("/", 1)[-1]),
            "fileMediatype": _media_type(recording.name),
        })  # fmt: skip

    def annotation(self, annotation: Annotation) -> None:
        """Write an observation; what is no taxon is a comment."""
        answer, score = annotation.answer, annotation.score
        is_probability = answer.confidence_kind == "calibrated" or self.options.scores_as_probabilities
        name = one_line(annotation.scientific_name or "")
        if name:
            self._taxa.add(name)
        self._row("observations", {
            "observationID": occurrence_id(annotation),
            "deploymentID": answer.site,
            "mediaID": self._media_id,
            "eventStart": self._time(answer.start_time, annotation.start_seconds),
            "eventEnd": self._time(annotation.end_time, annotation.end_seconds),
            "observationLevel": "media",
            "observationType": "animal" if name else "unknown",
            "scientificName": name,
            "classificationMethod": "machine",
            "classifiedBy": identified_by(answer),
            "classificationTimestamp": self.export.run.made_at(answer.run_id),
            "classificationProbability": f"{score:.4g}" if score is not None and is_probability else "",
            "observationTags": self._tags(annotation, None if is_probability else score),
            "observationComments": "" if name else one_line(annotation.label),
        })  # fmt: skip

    def finish(self) -> None:
        """Write the deployments and the description of the package."""
        for deployment in self._deployments.values():
            serial, model = _camera(deployment.recorder)
            self._row("deployments", {
                "deploymentID": deployment.site,
                "latitude": f"{deployment.latitude:.5f}",
                "longitude": f"{deployment.longitude:.5f}",
                "deploymentStart": _whole_seconds(deployment.start),
                "deploymentEnd": _whole_seconds(deployment.end),
                "cameraID": serial,
                "cameraModel": model,
            })  # fmt: skip
        package = json.dumps(self._package(), indent=2, ensure_ascii=False)
        write_atomically(self.folder / "datapackage.json", f"{package}\n")

    def _time(self, told: str | None, seconds: float) -> str:
        """Return the time that the row tells, else that of its place in the recording."""
        time = moment(told)
        if time is None or time.tzinfo is None:
            time = self._begun + timedelta(seconds=seconds / self._expansion)
        return _whole_seconds(time)

    def _deploy(self, first: Answer, start: datetime, end: datetime) -> None:
        site, latitude, longitude = first.site or "", first.latitude or 0.0, first.longitude or 0.0
        known = self._deployments.setdefault(
            site, _Deployment(site, latitude, longitude, one_line(first.recorder or ""), start, end)
        )
        known.start, known.end = min(known.start, start), max(known.end, end)
        if (known.latitude, known.longitude) != (latitude, longitude):
            self.doubts["recordings at another position than the first of their site"] += 1

    def _row(self, table: str, values: Mapping[str, Any]) -> None:
        self._rows[table]([values.get(column, "") for column in TABLES[table]])

    def _id_of(self, name: str) -> str:
        """Return the recording's stem, with a hash where other recordings have it too."""
        stem = _stem(name)
        return f"{stem}-{hashed(name)[:8]}" if stem in self._shared else stem

    def _file_path(self, name: str) -> str:
        """Return an address, or a path below the survey's folder: the format allows no other."""
        parts = [part for part in name.split("/") if part.strip(".")]
        below = one_line("/".join(parts)).lstrip("./~").replace("..", "_")
        return f"{self.options.media_url.rstrip('/')}/{quote(below)}" if self.options.media_url else below

    def _tags(self, annotation: Annotation, score: float | None) -> str:
        tags = {"startSeconds": annotation.start_seconds, "endSeconds": annotation.end_seconds}
        band = band_hz(annotation.answer, self.recording.nyquist_hz)
        if band is not None:
            tags |= {"frequencyLow": band[0], "frequencyHigh": band[1]}
        if score is not None:
            tags["score"] = score
        return "|".join(f"{name}:{_exact(value)}" for name, value in tags.items())

    def _package(self) -> dict[str, Any]:
        given = dict(self.options.dataset)
        project = {"captureMethod": ["timeLapse"], "individualAnimals": False, "observationLevel": ["media"]}
        title = str(given["project"]["title"])
        sites = self._deployments.values()
        return {
            "name": re.sub(r"[^a-z0-9._-]+", "-", title.lower()).strip("-") or "survey",
            "created": self.export.run.made_at(None) or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            **given,
            "profile": f"{DEFINITIONS}/camtrap-dp-profile.json",
            "project": project | given["project"],
            "spatial": _spatial([(site.longitude, site.latitude) for site in sites]),
            "temporal": {
                "start": f"{min(site.start for site in sites):%Y-%m-%d}" if sites else "",
                "end": f"{max(site.end for site in sites):%Y-%m-%d}" if sites else "",
            },
            "taxonomic": [{"scientificName": name} for name in sorted(self._taxa)],
            "sources": [{"title": f"naturelm-audio {naturelm_audio.__version__}"}],
            "resources": [
                {
                    "name": table,
                    "path": f"{table}.csv",
                    "profile": "tabular-data-resource",
                    "format": "csv",
                    "mediatype": "text/csv",
                    "encoding": "utf-8",
                    "schema": f"{DEFINITIONS}/{table}-table-schema.json",
                }
                for table in TABLES
            ],
            "naturelm": self.export.run.provenance,
        }


def _lacks(first: Answer) -> Iterator[str]:
    """Yield what the first row of a recording doesn't say of its time and place."""
    if not first.site:
        yield "site"
    if first.latitude is None or first.longitude is None:
        yield "position"
    time = moment(first.start_time)
    if time is None:
        yield "start time"
    elif time.tzinfo is None:
        yield "time zone"


def _camera(recorder: str) -> tuple[str, str]:
    """Return serial number and maker-model of a recorder, as far as its text tells them apart."""
    found = SERIAL.fullmatch(recorder)
    serial, model = (found["serial"], found["model"]) if found else ("", recorder)
    maker = next((maker for start, maker in MAKERS.items() if model.casefold().startswith(start)), None)
    return serial, f"{maker}-{model}" if maker else model


def _exact(value: float) -> str:
    """Return a number of a row with all its decimals and no others."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _stem(name: str) -> str:
    return one_line(PurePosixPath(name).stem)


def _whole_seconds(time: datetime) -> str:
    """Return the time as the format has it: whole seconds, with its zone."""
    return time.replace(microsecond=0).isoformat()


def _media_type(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return MEDIA_TYPES.get(suffix, f"audio/{suffix[1:] or 'wav'}")


def _spatial(places: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the place, or the box around the places, as GeoJSON."""
    places = sorted(set(places))
    if len(places) == 1:
        return {"type": "Point", "coordinates": list(places[0])}
    if not places:
        return {"type": "MultiPoint", "coordinates": []}
    west, east = min(place[0] for place in places), max(place[0] for place in places)
    south, north = min(place[1] for place in places), max(place[1] for place in places)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
