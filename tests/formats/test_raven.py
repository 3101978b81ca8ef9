"""Raven selection tables: what Raven refuses must never be in them, and times must fit sequences of files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from format_rows import QUERY, documented, failed, labelled, made, row, text_of
from hypothesis import given
from hypothesis import strategies as st

from naturelm_audio.formats import FormatOptions
from naturelm_audio.records import Answer
from naturelm_audio.train.manifest.event_tables import raven_files, raven_rows
from naturelm_audio.train.manifest.tables import read_table

TABLE = "site1/S4A01_20240501_040000.selections.txt"
PATH = "D:\\survey\\site1\\S4A01_20240501_040000.wav"
COMBINED = FormatOptions(per_file=False)
NUMBERS = ["Selection", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]


def selections(folder: Path, name: str = TABLE) -> list[dict[str, str]]:
    """The rows of a table, read as Raven does: by tabs, without quoting."""
    return list(csv.DictReader(io.StringIO(text_of(folder, name)), delimiter="\t", quoting=csv.QUOTE_NONE))


def windows(count: int, hop: float, end: float, output: str = "wren", **changes: object) -> list[Answer]:
    return [row(hop * n, min(hop * n + 10, end), output, confidence=0.5, **changes) for n in range(count)]


def test_the_documented_table_is_written(tmp_path: Path):
    made(tmp_path, documented(), "raven")
    assert text_of(tmp_path, TABLE) == (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin File\t"
        "Begin Path\tFile Offset (s)\tAnnotation\tScore\tScientific Name\n"
        f"1\tSpectrogram 1\t1\t0.000000\t10.000000\t0\t8000\tS4A01_20240501_040000.wav\t{PATH}\t0.000000\t"
        "Eurasian Wren\t0.8300\tTroglodytes troglodytes\n"
        f"2\tSpectrogram 1\t1\t10.000000\t14.500000\t0\t8000\tS4A01_20240501_040000.wav\t{PATH}\t10.000000\t"
        "European Robin\t0.4100\tErithacus rubecula\n"
    )


def test_W7_four_equal_windows_that_overlap_are_one_selection(tmp_path: Path):
    made(tmp_path, windows(4, 5.0, 25.0), "raven", FormatOptions(merge=True))
    (only,) = selections(tmp_path)
    assert (only["Begin Time (s)"], only["End Time (s)"], only["Windows"]) == ("0.000000", "25.000000", "4")


def test_W7_tabs_and_line_feeds_do_not_break_the_table(tmp_path: Path):
    made(tmp_path, [row(output='a\tb\r\nc\u2028d\x85e "f"', sample_rate=48_000)], "raven")
    (only,) = selections(tmp_path)
    assert only["Annotation"] == "a b c d e 'f'"
    assert None not in only


def test_W7_the_columns_that_name_the_file_are_there(tmp_path: Path):
    made(tmp_path, documented(), "raven")
    assert {"Begin File", "Begin Path", "File Offset (s)"} <= set(selections(tmp_path)[0])


@pytest.mark.parametrize(
    ("rate", "changes", "high"),
    [
        (48_000, {}, "8000"),
        (8_000, {}, "4000"),
        (2_000, {}, "1000"),
        (11_025, {}, "5512.5"),
        (22_050, {"low_freq_hz": 1000.0, "high_freq_hz": 20_000.0}, "11025"),
        (256_000, {"speed_factor": 0.1}, "80000"),
        (96_000, {"speed_factor": 0.1}, "48000"),
        (48_000, {"high_freq_hz": 5000.123456}, "5000.123"),
    ],
)
def test_X2_high_frequency_never_exceeds_nyquist(
    tmp_path: Path, rate: int, changes: dict[str, float], high: str
):
    made(tmp_path, [row(sample_rate=rate, **changes)], "raven")
    assert [one["High Freq (Hz)"] for one in selections(tmp_path)] == [high]


def test_X2_a_band_above_nyquist_is_left_out_and_said(tmp_path: Path):
    rows = [row(sample_rate=8000, low_freq_hz=5000.0, high_freq_hz=9000.0), row(10, 20)]
    done = made(tmp_path, rows, "raven")
    assert [one["Selection"] for one in selections(tmp_path)] == ["1"]
    assert any("above the highest frequency" in note for note in done.notes)


def test_what_is_not_known_of_a_recording_is_said(tmp_path: Path):
    done = made(tmp_path, [row(sample_rate=None)], "raven", written_root=None)
    assert [note.split(": ")[1] for note in done.notes] == [
        "recordings of unknown sample rate, whose bands Raven may refuse",
        "recordings whose folder is not known",
    ]
    assert all(note.endswith("(1)") for note in done.notes)
    assert selections(tmp_path)[0]["Begin Path"] == "site1/S4A01_20240501_040000.wav"


def two_files(**changes: object) -> list[Answer]:
    """14.5 s with two hits, 3 s of silence, and 900 s with a hit at 20 s."""
    quiet = {"audio_path": "site1/quiet.wav", "duration_seconds": 3.0}
    late = {"audio_path": "site1/z.wav", "duration_seconds": 900.0, **changes}
    return [
        *documented(),
        row(0, 3, "None", **quiet),
        labelled(20, 30, "Robin", "Erithacus rubecula", 0.5, **late),
    ]


def test_X1_silent_files_count_in_a_combined_table(tmp_path: Path):
    made(tmp_path, two_files(), "raven", COMBINED)
    last = selections(tmp_path, "combined.selections.txt")[-1]
    assert (last["Begin Time (s)"], last["End Time (s)"]) == ("37.500000", "47.500000")
    assert last["File Offset (s)"] == "20.000000"
    assert text_of(tmp_path, "combined.list.txt").splitlines() == [
        "D:\\survey\\site1\\S4A01_20240501_040000.wav",
        "D:\\survey\\site1\\quiet.wav",
        "D:\\survey\\site1\\z.wav",
    ]


def test_X1_files_of_other_rates_are_another_sequence(tmp_path: Path):
    done = made(tmp_path, two_files(sample_rate=16_000), "raven", COMBINED)
    names = sorted(path.name for path in done.paths)
    assert names == [
        "combined_16000Hz_unknown_ch.list.txt",
        "combined_16000Hz_unknown_ch.selections.txt",
        "combined_48000Hz_unknown_ch.list.txt",
        "combined_48000Hz_unknown_ch.selections.txt",
    ]
    (other,) = selections(tmp_path, "combined_16000Hz_unknown_ch.selections.txt")
    assert (other["Selection"], other["Begin Time (s)"]) == ("1", "20.000000")


def test_X1_a_recording_of_unknown_length_is_in_no_sequence(tmp_path: Path):
    done = made(tmp_path, [*documented(), row(audio_path="site1/z.wav")], "raven", COMBINED)
    assert len(selections(tmp_path, "combined.selections.txt")) == 2
    assert len(text_of(tmp_path, "combined.list.txt").splitlines()) == 1
    assert any("unknown length" in note for note in done.notes)
    assert done.rows == {"raven": 2}


@given(
    frames=st.lists(st.integers(1, 10**9), min_size=2, max_size=6),
    rate=st.sampled_from([8_000, 11_025, 44_100, 48_000, 96_000]),
)
def test_X6_starts_in_a_sequence_are_sums_of_exact_lengths(
    tmp_path_factory: pytest.TempPathFactory, frames: list[int], rate: int
):
    """Lengths that are no decimal numbers come from the journal, in frames."""
    folder = tmp_path_factory.mktemp("sequence")
    names = [f"{number}.wav" for number in range(len(frames))]
    states = "".join(
        f'{{"path":"{name}","status":"ok","sample_rate_hz":{rate},"channels":1,"frames":{count},"rows":1}}\n'
        for name, count in zip(names, frames, strict=True)
    )
    (folder / "results.jsonl.state.jsonl").write_text(states)
    made(folder, [row(0, 0.5, audio_path=name) for name in names], "raven", COMBINED)
    found = [one["Begin Time (s)"] for one in selections(folder, "combined.selections.txt")]
    starts = [Fraction(sum(frames[:number]), rate) for number in range(len(frames))]
    assert found == [f"{float(start):.6f}" for start in starts]


def test_numbers_start_again_in_every_file_and_silence_is_an_empty_table(tmp_path: Path):
    made(tmp_path, [*two_files(), failed()], "raven")
    assert [one["Selection"] for one in selections(tmp_path, "site1/z.selections.txt")] == ["1"]
    assert len(text_of(tmp_path, "site1/quiet.selections.txt").splitlines()) == 1
    assert not (tmp_path / "out/site1/broken.selections.txt").exists()


def test_the_question_has_a_column_only_if_there_are_several(tmp_path: Path):
    made(tmp_path, [row(), row(query="Who\tcalls?")], "raven")
    assert [one["Query"] for one in selections(tmp_path)] == [QUERY, "Who calls?"]
    made(tmp_path, [row()], "raven", overwrite=True)
    assert "Query" not in selections(tmp_path)[0]


def test_the_channel_is_that_of_the_row_and_1_for_a_mix(tmp_path: Path):
    made(tmp_path, [row(), row(10, 20, channel=2), row(20, 30, channel="mix")], "raven")
    assert [one["Channel"] for one in selections(tmp_path)] == ["1", "2", "1"]


def test_our_own_reader_reads_it(tmp_path: Path):
    made(tmp_path, documented(), "raven")
    table = read_table(tmp_path / "out" / TABLE)
    assert raven_files(table) == {"s4a01_20240501_040000.wav"}
    raws = list(raven_rows(table, None, "seconds", None))
    assert [(one.start, one.end, one.label, one.confidence) for one in raws] == [
        ("0.000000", "10.000000", "Eurasian Wren", "0.8300"),
        ("10.000000", "14.500000", "European Robin", "0.4100"),
    ]
    first = raws[0]
    assert (first.low_hz, first.high_hz, first.scientific_name) == ("0", "8000", "Troglodytes troglodytes")


def test_our_own_reader_finds_the_place_in_each_file_of_a_sequence(tmp_path: Path):
    made(tmp_path, two_files(), "raven", COMBINED)
    last = list(raven_rows(read_table(tmp_path / "out/combined.selections.txt"), None, "seconds", None))[-1]
    assert float(last.start) + last.shift_seconds == pytest.approx(20.0)
    assert last.audio.endswith("z.wav")


@pytest.mark.filterwarnings("ignore:.*inplace keyword")  # its, of pandas
def test_crowsetta_reads_it(tmp_path: Path):
    import crowsetta  # slow, so not for every test

    bands = ({"low_freq_hz": 100.5, "high_freq_hz": 4000.5}, {"low_freq_hz": 0.0, "high_freq_hz": 6000.25})
    rows = [replace(one, **band) for one, band in zip(documented(), bands, strict=True)]
    made(tmp_path, rows, "raven")  # it takes a column of whole hertz for another type and refuses it
    boxes = crowsetta.formats.bbox.Raven.from_file(tmp_path / "out" / TABLE, annot_col="Annotation").to_bbox()
    assert [(box.onset, box.offset, box.low_freq, box.high_freq, box.label) for box in boxes] == [
        (0.0, 10.0, 100.5, 4000.5, "Eurasian Wren"),
        (10.0, 14.5, 0.0, 6000.25, "European Robin"),
    ]


@given(labels=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4))
def test_any_label_leaves_a_table_that_pandas_reads(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str]
):
    pandas = pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("raven")
    rows = [row(10 * n, 10 * n + 10, label, audio_path="a/b.wav") for n, label in enumerate(labels)]
    made(folder, rows, "raven", FormatOptions(keep_none=True))
    table = pandas.read_csv(folder / "out/a/b.selections.txt", sep="\t", keep_default_na=False)
    kept = [n for n, label in enumerate(labels) if label.strip()]
    assert list(table["File Offset (s)"]) == [10.0 * n for n in kept]
    assert all(table[name].dtype.kind in "if" for name in NUMBERS) or table.empty
    assert len(text_of(folder, "a/b.selections.txt").split("\n")) == len(kept) + 2
