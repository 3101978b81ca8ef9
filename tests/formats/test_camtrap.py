"""Camtrap DP: a data package that a validator accepts, and nothing in it that nobody knows."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from format_rows import DATASET, documented, failed, labelled, made, row, text_of

from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.formats import FormatOptions
from naturelm_audio.formats.camtrap import TABLES, check_dataset, read_dataset
from naturelm_audio.records import Answer

PLACE = {"latitude": 52.52, "longitude": 13.405, "recorder": "Song Meter Mini 2 S4A01"}
OPTIONS = FormatOptions(dataset=DATASET, scores_as_probabilities=True)
# What the format's definitions ask of a cell, so far as we fill it.
TIME = r"-?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([-+]\d\d:?\d\d|Z)"
PATTERNS = {
    "deploymentStart": TIME, "deploymentEnd": TIME, "timestamp": TIME, "eventStart": TIME, "eventEnd": TIME,
    "classificationTimestamp": TIME, "filePath": r"(?=^[^./~])(^((?!\.{2}).)*$).*",
    "filePublic": "true|false", "fileMediatype": "(image|video|audio)/.*", "observationLevel": "media|event",
    "observationType": "animal|human|vehicle|blank|unknown|unclassified",
    "classificationMethod": "human|machine",
}  # fmt: skip
REQUIRED = {
    "deployments": ["deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd"],
    "media": ["mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileMediatype"],
    "observations": [
        "observationID", "deploymentID", "eventStart", "eventEnd", "observationLevel", "observationType",
    ],
}  # fmt: skip


def table(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(folder, f"camtrap-dp/{name}.csv"), newline="")))


def rows() -> list[Answer]:
    return documented(**PLACE)


def check_cells(folder: Path) -> None:
    """Hold every cell against the definitions, and every reference against what it names."""
    for name in TABLES:
        for one in table(folder, name):
            assert all(one[column] for column in REQUIRED[name]), one
            for column, pattern in PATTERNS.items():
                assert not one.get(column) or re.fullmatch(pattern, one[column]), (column, one[column])
    sites = [one["deploymentID"] for one in table(folder, "deployments")]
    media = [one["mediaID"] for one in table(folder, "media")]
    seen = [one["observationID"] for one in table(folder, "observations")]
    for ids in (sites, media, seen):
        assert len(ids) == len(set(ids))
    for one in table(folder, "observations"):
        assert (one["deploymentID"] in sites, one["mediaID"] in media) == (True, True)


def test_the_documented_observations_are_written(tmp_path: Path):
    made(tmp_path, rows(), "camtrap-dp", OPTIONS)
    first, second = table(tmp_path, "observations")
    expected = {
        "deploymentID": "site1",
        "mediaID": "S4A01_20240501_040000",
        "eventStart": "2024-05-01T04:00:10+02:00",
        "eventEnd": "2024-05-01T04:00:14+02:00",
        "observationLevel": "media",
        "observationType": "animal",
        "scientificName": "Erithacus rubecula",
        "count": "",
        "classificationMethod": "machine",
        "classifiedBy": "naturelm-audio 1a2b3c",
        "classificationTimestamp": "2024-06-13T10:15:00Z",
        "classificationProbability": "0.41",
        "observationTags": "startSeconds:10|endSeconds:14.5|frequencyLow:0|frequencyHigh:8000",
        "observationComments": "",
    }
    assert {key: second[key] for key in expected} == expected
    assert list(first) == list(TABLES["observations"])
    check_cells(tmp_path)


def test_deployments_and_media_are_those_of_the_rows(tmp_path: Path):
    other = {"audio_path": "site2/S4A01_20240501_040000.wav", "site": "site2", "latitude": -1.0}
    later = {"audio_path": "site1/b.mp3", "start_time": "2024-05-02T23:59:55+02:00", "duration_seconds": 20.0}
    end = {"end_time": "2024-05-03T00:00:05+02:00"}
    more = [row(**{**PLACE, "site": "site1"} | later | end), row(**{**PLACE} | later | end | other)]
    made(tmp_path, [*rows(), *more], "camtrap-dp", OPTIONS)
    site1, site2 = table(tmp_path, "deployments")
    assert site1["deploymentStart"] == "2024-05-01T04:00:00+02:00"
    assert site1["deploymentEnd"] == "2024-05-03T00:00:15+02:00"
    assert (site1["latitude"], site2["latitude"]) == ("52.52000", "-1.00000")
    assert (site1["cameraID"], site1["cameraModel"]) == ("S4A01", "Wildlife Acoustics-Song Meter Mini 2")
    ids = {one["filePath"]: (one["mediaID"], one["fileMediatype"]) for one in table(tmp_path, "media")}
    assert ids["site1/b.mp3"] == ("b", "audio/mpeg")
    assert len({one[0] for one in ids.values()}) == 3, "equal stems have distinct ids"
    package = json.loads(text_of(tmp_path, "camtrap-dp/datapackage.json"))
    assert package["temporal"] == {"start": "2024-05-01", "end": "2024-05-03"}
    assert package["spatial"]["type"] == "Polygon"
    check_cells(tmp_path)


@pytest.mark.parametrize(
    ("recorder", "serial", "model"),
    [
        ("AudioMoth 24F3190361DA539A", "24F3190361DA539A", "Open Acoustic Devices-AudioMoth"),
        ("Song Meter Mini 2", "", "Wildlife Acoustics-Song Meter Mini 2"),
        ("SM4BAT-FS S4U01234", "S4U01234", "Wildlife Acoustics-SM4BAT-FS"),
        ("Song Meter SM4BAT-FS", "", "Wildlife Acoustics-Song Meter SM4BAT-FS"),
        ("SoundTrap 5146", "5146", "Ocean Instruments-SoundTrap"),
        ("the one by the pond", "", "the one by the pond"),
        (None, "", ""),
    ],
)
def test_a_recorder_is_a_camera_with_serial_and_maker(
    tmp_path: Path, recorder: str | None, serial: str, model: str
):
    made(tmp_path, documented(**PLACE | {"recorder": recorder}), "camtrap-dp", OPTIONS)
    (site,) = table(tmp_path, "deployments")
    assert (site["cameraID"], site["cameraModel"]) == (serial, model)


def test_tags_have_the_exact_place_in_a_long_recording(tmp_path: Path):
    times = {"start_time": "2024-05-01T04:00:00Z", "end_time": "2024-05-01T04:00:10Z", "site": "s"}
    made(tmp_path, [row(86_390.123456, 86_399.000001, **times, **PLACE)], "camtrap-dp", OPTIONS)
    (only,) = table(tmp_path, "observations")
    assert only["observationTags"].startswith("startSeconds:86390.123456|endSeconds:86399.000001|")


def test_addresses_of_recordings_are_addresses(tmp_path: Path):
    named = [Answer(**{**vars(one), "audio_path": "site 1/ü #1.wav"}) for one in rows()]
    made(tmp_path, named, "camtrap-dp", replace(OPTIONS, media_url="https://example.org/x/"))
    (only,) = table(tmp_path, "media")
    assert only["filePath"] == "https://example.org/x/site%201/%C3%BC%20%231.wav"
    assert only["fileName"] == "ü #1.wav"
    check_cells(tmp_path)


def test_a_score_is_no_probability_without_calibration(tmp_path: Path):
    calibrated = labelled(14.5, 20, "Wren", "Troglodytes troglodytes", 0.7, confidence_kind="calibrated")
    times = {"start_time": "2024-05-01T04:00:20Z", "end_time": "2024-05-01T04:00:25Z", "site": "site1"}
    last = Answer(**{**vars(calibrated), **PLACE, **times})
    made(tmp_path, [*rows(), last], "camtrap-dp", FormatOptions(dataset=DATASET))
    first, _, third = table(tmp_path, "observations")
    assert first["classificationProbability"] == ""
    assert first["observationTags"].endswith("|score:0.83")
    assert third["classificationProbability"] == "0.7"


def test_free_text_is_a_comment_on_something_unknown(tmp_path: Path):
    made(tmp_path, [row(output='a "song"\nof rain', start_time="2024-05-01T04:00:00Z", site="s",
                        end_time="2024-05-01T04:00:10Z", **PLACE)], "camtrap-dp", OPTIONS)  # fmt: skip
    (only,) = table(tmp_path, "observations")
    assert (only["observationType"], only["scientificName"]) == ("unknown", "")
    assert only["observationComments"] == 'a "song" of rain'


@pytest.mark.parametrize(
    ("changes", "lack"),
    [
        ({"latitude": None}, "position of site1/S4A01"),
        ({"site": None}, "site of site1/S4A01"),
        ({"start_time": None}, "start time of site1/S4A01"),
        ({"start_time": "2024-05-01T04:00:00"}, "time zone of site1/S4A01"),
        ({"start_time": "dawn"}, "start time of site1/S4A01"),
    ],
)
def test_what_is_missing_is_listed_and_never_invented(tmp_path: Path, changes: dict[str, None], lack: str):
    broken = [Answer(**{**vars(one), **changes}) for one in rows()]
    with pytest.raises(OutputError, match=lack):
        made(tmp_path, broken, "camtrap-dp", OPTIONS)
    assert not (tmp_path / "out").exists()
    done = made(tmp_path, broken, ["csv", "camtrap-dp"], OPTIONS)
    assert lack in " ".join(done.impossible["camtrap-dp"])
    assert not done.is_whole
    assert not (tmp_path / "out/camtrap-dp").exists()


def test_a_project_that_is_not_described_is_asked_for(tmp_path: Path):
    assert check_dataset(DATASET) == []
    lacks = " ".join(check_dataset({"contributors": [], "project": {"samplingDesign": "guess"}}))
    for name in ("contributors", "project.title", "project.samplingDesign"):
        assert name in lacks
    (tmp_path / "x.yml").write_text("- a list\n")
    with pytest.raises(OptionsError, match="--dataset"):
        read_dataset(tmp_path / "x.yml")
    (tmp_path / "p.json").write_text(json.dumps(DATASET))
    assert read_dataset(tmp_path / "p.json") == DATASET


def test_a_row_without_a_time_has_that_of_its_place(tmp_path: Path):
    first, second = rows()
    second = Answer(**{**vars(second), "start_time": None, "end_time": "later"})
    made(tmp_path, [first, second], "camtrap-dp", OPTIONS)
    assert table(tmp_path, "observations")[1]["eventStart"] == "2024-05-01T04:00:10+02:00"
    assert table(tmp_path, "observations")[1]["eventEnd"] == "2024-05-01T04:00:14+02:00"


def test_failed_recordings_are_no_media(tmp_path: Path):
    made(tmp_path, [*rows(), failed()], "camtrap-dp", OPTIONS)
    assert [one["mediaID"] for one in table(tmp_path, "media")] == ["S4A01_20240501_040000"]


@pytest.mark.parametrize("name", ["../a.wav", "/a/b.wav", "~/x.wav", "a/..b.wav"])
def test_paths_are_those_that_the_format_allows(tmp_path: Path, name: str):
    made(tmp_path, [Answer(**{**vars(one), "audio_path": name}) for one in rows()], "camtrap-dp", OPTIONS)
    check_cells(tmp_path)


def test_the_same_rows_give_the_same_package(tmp_path: Path):
    made(tmp_path, rows(), "camtrap-dp", OPTIONS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/camtrap-dp").iterdir()}
    made(tmp_path, rows(), "camtrap-dp", OPTIONS, overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/camtrap-dp").iterdir()} == before


def test_frictionless_accepts_the_tables(tmp_path: Path):
    """By the columns as we know them: the definitions themselves are on the network."""
    import frictionless  # slow, so not for every test

    made(tmp_path, rows(), "camtrap-dp", OPTIONS)
    package = json.loads(text_of(tmp_path, "camtrap-dp/datapackage.json"))
    package.pop("profile")
    for resource in package["resources"]:
        name = resource["name"]
        resource["schema"] = {"fields": [field(name, column) for column in TABLES[name]]}
        key = {"deployments": "deploymentID", "media": "mediaID", "observations": "observationID"}[name]
        resource["schema"]["primaryKey"] = key
        for other in {"media": ["deployments"], "observations": ["deployments", "media"]}.get(name, []):
            column = {"deployments": "deploymentID", "media": "mediaID"}[other]
            reference = {"fields": [column], "reference": {"resource": other, "fields": [column]}}
            resource["schema"].setdefault("foreignKeys", []).append(reference)
    report = frictionless.Package(package, basepath=str(tmp_path / "out/camtrap-dp")).validate()
    assert report.valid, report.flatten(["rowNumber", "fieldName", "type", "note"])


def field(table_name: str, column: str) -> dict[str, object]:
    """A column in the words of a table schema."""
    limits: dict[str, object] = {"required": True} if column in REQUIRED[table_name] else {}
    if column in PATTERNS and PATTERNS[column] != TIME:
        limits["pattern"] = PATTERNS[column]
    kind: dict[str, object] = {"type": "string"}
    if PATTERNS.get(column) == TIME:
        kind = {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%z"}
    elif column in ("latitude", "longitude", "classificationProbability"):
        kind = {"type": "number"}
    return {"name": column, **kind, "constraints": limits}
