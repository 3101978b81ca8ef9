"""Audacity, BirdNET, Kaleidoscope, Darwin Core: as documented; read by others and by our own readers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from format_rows import NAME, documented, failed, labelled, made, row, text_of
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.errors import OutputError
from naturelm_audio.formats import FormatOptions
from naturelm_audio.formats.text import one_line
from naturelm_audio.records import Label
from naturelm_audio.train.manifest.event_tables import audacity_rows, generic_rows, kaleidoscope_rows
from naturelm_audio.train.manifest.tables import read_table, read_text

LABELS = "site1/S4A01_20240501_040000.labels.txt"
BIRDNET = "combined.results.csv"
KALEIDOSCOPE = "combined.kaleidoscope.csv"
OCCURRENCES = "combined.occurrences.csv"
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: text.strip() and text.strip().lower() != "none"
)


def cells(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(folder, name), newline=""), strict=True))


class TestAudacity:
    def test_the_documented_labels_are_written(self, tmp_path: Path):
        made(tmp_path, documented(), "audacity")
        assert text_of(tmp_path, LABELS) == (
            "0.000000\t10.000000\tEurasian Wren (0.83)\n10.000000\t14.500000\tEuropean Robin (0.41)\n"
        )

    def test_the_band_stands_below_the_label(self, tmp_path: Path):
        made(tmp_path, [row()], "audacity", FormatOptions(frequency_lines=True))
        assert text_of(tmp_path, LABELS) == "0.000000\t10.000000\twren\n\\\t0.000000\t8000.000000\n"

    def test_silence_is_an_empty_track_and_failure_is_none(self, tmp_path: Path):
        made(tmp_path, [row(output="None"), failed()], "audacity")
        assert text_of(tmp_path, LABELS) == ""
        assert not (tmp_path / "out/site1/broken.labels.txt").exists()

    def test_it_is_never_combined(self, tmp_path: Path):
        done = made(tmp_path, documented(), "audacity", FormatOptions(per_file=False))
        assert [path.name for path in done.paths] == ["S4A01_20240501_040000.labels.txt"]

    def test_our_own_reader_reads_it(self, tmp_path: Path):
        made(tmp_path, documented(), "audacity", FormatOptions(frequency_lines=True))
        raws = list(audacity_rows(read_text(tmp_path / "out" / LABELS)))
        assert [(one.start, one.end, one.label, one.low_hz, one.high_hz) for one in raws] == [
            ("0.000000", "10.000000", "Eurasian Wren (0.83)", "0.000000", "8000.000000"),
            ("10.000000", "14.500000", "European Robin (0.41)", "0.000000", "8000.000000"),
        ]

    def test_crowsetta_reads_it(self, tmp_path: Path):
        import crowsetta  # slow, so not for every test

        made(tmp_path, documented(), "audacity")
        read = crowsetta.formats.seq.AudSeq.from_file(tmp_path / "out" / LABELS).to_seq()
        assert list(read.labels) == ["Eurasian Wren (0.83)", "European Robin (0.41)"]
        assert list(read.onsets_s) == [0.0, 10.0]
        assert list(read.offsets_s) == [10.0, 14.5]

    @given(st.lists(names, min_size=1, max_size=4))
    def test_any_label_is_one_line(self, tmp_path_factory: pytest.TempPathFactory, labels: list[str]):
        folder = tmp_path_factory.mktemp("audacity")
        made(folder, [row(10 * n, 10 * n + 10, label) for n, label in enumerate(labels)], "audacity")
        lines = text_of(folder, LABELS).split("\n")
        kept = [one_line(label) for label in labels]
        assert [line.split("\t")[2] for line in lines[:-1]] == kept


class TestBirdNet:
    def test_the_documented_table_is_written(self, tmp_path: Path):
        made(tmp_path, documented(), "birdnet")
        assert text_of(tmp_path, BIRDNET) == (
            "Start (s),End (s),Scientific name,Common name,Confidence,File,model\n"
            f"0.0,10.0,Troglodytes troglodytes,Eurasian Wren,0.8300,{NAME},naturelm-audio\n"
            f"10.0,14.5,Erithacus rubecula,European Robin,0.4100,{NAME},naturelm-audio\n"
        )

    def test_place_and_week_are_there_once_a_recording_has_a_place(self, tmp_path: Path):
        far = {"latitude": -33.9, "longitude": 18.4, "start_time": "2024-12-31T04:00:00+02:00"}
        rows = [row(audio_path="a.wav"), row(audio_path="b.wav", **far)]
        made(tmp_path, rows, "birdnet", FormatOptions(min_confidence=0.1))
        first, second = cells(tmp_path, BIRDNET)
        assert [first[key] for key in ("lat", "lon", "week", "min_conf")] == ["-1", "-1", "-1", "0.1"]
        assert [second[key] for key in ("lat", "lon", "week")] == ["-33.9", "18.4", "48"]

    def test_a_name_that_is_not_known_is_the_other_one(self, tmp_path: Path):
        made(tmp_path, [row(output="frog")], "birdnet")
        (read,) = cells(tmp_path, BIRDNET)
        assert (read["Scientific name"], read["Common name"], read["Confidence"]) == ("frog", "frog", "")

    def test_our_own_reader_reads_it(self, tmp_path: Path):
        made(tmp_path, documented(), "birdnet")
        raws = list(generic_rows(read_table(tmp_path / "out" / BIRDNET), None))
        assert [(one.start, one.end, one.label, one.audio) for one in raws] == [
            ("0.0", "10.0", "Eurasian Wren", NAME),
            ("10.0", "14.5", "European Robin", NAME),
        ]

    @given(names)
    def test_X4_any_name_stays_in_its_column(self, tmp_path_factory: pytest.TempPathFactory, name: str):
        folder = tmp_path_factory.mktemp("birdnet")
        made(folder, [row(output=name), row(10, 20, "Beluga, White Whale")], "birdnet")
        first, second = cells(folder, BIRDNET)
        assert (first["Common name"], second["Common name"]) == (name, "Beluga, White Whale")
        assert first["File"] == NAME


class TestKaleidoscope:
    def test_the_documented_table_is_written(self, tmp_path: Path):
        made(tmp_path, documented(), "kaleidoscope")
        assert text_of(tmp_path, KALEIDOSCOPE) == (
            "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST,MANUAL ID\n"
            "D:\\survey,site1,S4A01_20240501_040000.wav,0.0,10.0,Eurasian Wren,0.1700,\n"
            "D:\\survey,site1,S4A01_20240501_040000.wav,10.0,4.5,European Robin,0.5900,\n"
        )

    def test_X3_the_distance_is_1_minus_the_score_and_the_columns_are_eight(self, tmp_path: Path):
        made(tmp_path, [*documented(), row(20, 30, "frog")], "kaleidoscope")
        read = cells(tmp_path, KALEIDOSCOPE)
        assert [one["TOP1DIST"] for one in read] == ["0.1700", "0.5900", ""]
        assert list(read[0]) == [
            "INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST", "MANUAL ID",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("root", "place"),
        [
            ("D:\\survey\\", ("D:\\survey", "a\\b", "c.wav")),
            ("\\\\server\\share", ("\\\\server\\share", "a\\b", "c.wav")),
            ("/data/x", ("/data/x", "a/b", "c.wav")),
            ("/", ("/", "a/b", "c.wav")),
        ],
    )
    def test_the_three_parts_give_the_path(self, tmp_path: Path, root: str, place: tuple[str, ...]):
        made(tmp_path, [row(audio_path="a/b/c.wav")], "kaleidoscope", written_root=root)
        (read,) = cells(tmp_path, KALEIDOSCOPE)
        assert tuple(read[key] for key in ("INDIR", "FOLDER", "IN FILE")) == place

    def test_names_that_were_entered_are_never_overwritten(self, tmp_path: Path):
        made(tmp_path, documented(), "kaleidoscope")
        path = tmp_path / "out" / KALEIDOSCOPE
        made(tmp_path, documented(), "kaleidoscope", overwrite=True)
        path.write_text(path.read_text().replace("0.5900,", "0.5900,Robin"))
        before = path.read_bytes()
        with pytest.raises(OutputError, match="MANUAL ID"):
            made(tmp_path, documented(), ["csv", "kaleidoscope"], overwrite=True)
        assert path.read_bytes() == before
        assert not (tmp_path / "out/combined.csv").exists()

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_names_are_seen_however_a_spreadsheet_saved_them(
        self, tmp_path: Path, encoding: str, delimiter: str
    ):
        made(tmp_path, documented(), "kaleidoscope")
        path = tmp_path / "out" / KALEIDOSCOPE
        text = path.read_text().replace("\n", "\r\n").replace(",", delimiter)
        path.write_bytes(text.encode(encoding))
        made(tmp_path, documented(), "kaleidoscope", overwrite=True)
        path.write_bytes(text.replace(f"0.5900{delimiter}", f"0.5900{delimiter}Bläßhuhn").encode(encoding))
        with pytest.raises(OutputError, match="MANUAL ID"):
            made(tmp_path, documented(), "kaleidoscope", overwrite=True)

    def test_our_own_reader_reads_it(self, tmp_path: Path):
        made(tmp_path, documented(), "kaleidoscope")
        first, second = kaleidoscope_rows(read_table(tmp_path / "out" / KALEIDOSCOPE))
        assert (first.start, first.end, first.is_length, first.label) == (
            "0.0",
            "10.0",
            True,
            "Eurasian Wren",
        )
        assert first.audio == "D:/survey/site1/S4A01_20240501_040000.wav"
        assert float(second.confidence) == pytest.approx(0.41)


class TestDarwinCore:
    def test_the_documented_occurrences_are_written(self, tmp_path: Path):
        place = {"latitude": 52.52, "longitude": 13.405}
        options = FormatOptions(media_url="https://example.org/")
        made(tmp_path, documented(**place), "darwin-core", options)
        first, second = cells(tmp_path, OCCURRENCES)
        expected = {
            "basisOfRecord": "MachineObservation",
            "eventDate": "2024-05-01T04:00:00+02:00/2024-05-01T04:00:10+02:00",
            "scientificName": "Troglodytes troglodytes",
            "decimalLatitude": "52.52000",
            "decimalLongitude": "13.40500",
            "geodeticDatum": "EPSG:4326",
            "identifiedBy": "",
            "dateIdentified": "2024-06-13T10:15:00Z",
            "identificationVerificationStatus": "PredictedByMachine",
            "identificationReferences": "naturelm-audio 1a2b3c",
            "identificationRemarks": "score 0.83",
            "associatedMedia": "https://example.org/S4A01_20240501_040000.wav",
            "occurrenceStatus": "present",
        }
        assert {key: first[key] for key in expected} == expected
        assert second["eventDate"] == "2024-05-01T04:00:10+02:00/2024-05-01T04:00:14.5+02:00"
        assert first["occurrenceID"] != second["occurrenceID"]

    def test_the_place_in_the_recording_stands_in_a_table_beside_it(self, tmp_path: Path):
        made(tmp_path, documented(), "darwin-core")
        occurrences = cells(tmp_path, OCCURRENCES)
        first, second = cells(tmp_path, "combined.audiovisual.csv")
        assert [one["occurrenceID"] for one in (first, second)] == [
            one["occurrenceID"] for one in occurrences
        ]
        assert (second["ac:startTime"], second["ac:endTime"]) == ("10.0", "14.5")
        assert second["ac:startTimestamp"] == "2024-05-01T02:00:10Z"
        assert second["ac:endTimestamp"] == "2024-05-01T02:00:14.500000Z"
        assert (second["ac:freqLow"], second["ac:freqHigh"]) == ("0.0", "8000.0")

    def test_windows_are_merged_before_they_are_occurrences(self, tmp_path: Path):
        rows = [
            labelled(
                10 * n,
                10 * n + 10,
                "wren",
                "Troglodytes troglodytes",
                score,
                end_time=f"2024-05-01T00:00:{n}9Z",
            )
            for n, score in enumerate((0.2, 0.4, 0.6))
        ]
        made(tmp_path, rows, "darwin-core")
        (only,) = cells(tmp_path, OCCURRENCES)
        assert only["identificationRemarks"] == "score 0.4"
        assert only["eventDate"].endswith("2024-05-01T00:00:29Z")

    def test_what_is_no_taxon_is_left_out_and_said(self, tmp_path: Path):
        done = made(tmp_path, [*documented(), row(20, 30, "rain")], "darwin-core")
        assert len(cells(tmp_path, OCCURRENCES)) == done.rows["darwin-core"] == 2
        assert "darwin-core: left out: annotations without a scientific name (1)" in done.notes

    def test_ids_are_the_same_in_a_repeated_export(self, tmp_path: Path):
        made(tmp_path, documented(), "darwin-core")
        before = text_of(tmp_path, OCCURRENCES)
        made(tmp_path, [row(0, 1, audio_path="a.wav"), *documented()], "darwin-core", overwrite=True)
        assert text_of(tmp_path, OCCURRENCES) == before

    def test_a_place_that_is_not_known_is_never_0_0(self, tmp_path: Path):
        made(tmp_path, documented(), "darwin-core")
        first, _ = cells(tmp_path, OCCURRENCES)
        assert (first["decimalLatitude"], first["decimalLongitude"], first["geodeticDatum"]) == ("", "", "")


def test_a_time_that_is_none_stops_no_format(tmp_path: Path):
    rows = [
        replace(one, start_time="dawn", end_time="dusk", latitude=1.0, longitude=2.0) for one in documented()
    ]
    assert made(tmp_path, rows, ["birdnet", "darwin-core", "csv", "parquet"]).is_whole
    assert cells(tmp_path, BIRDNET)[0]["week"] == "-1"


def test_several_labels_are_several_annotations(tmp_path: Path):
    labels = (Label(label="wren", score=0.6), Label(label="robin", score=0.3))
    rows = [row(0, 10, "wren, robin", labels=labels, confidence=0.5, confidence_kind="token_probability")]
    made(tmp_path, rows, ["audacity", "birdnet", "kaleidoscope", "raven"])
    assert text_of(tmp_path, LABELS).count("\n") == 2
    assert len(cells(tmp_path, BIRDNET)) == len(cells(tmp_path, KALEIDOSCOPE)) == 2
