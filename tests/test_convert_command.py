"""`naturelm convert` as a user meets it: exit status, messages on stderr, files in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from format_rows import DATASET, NAME, documented, failed, row, write_rows

from naturelm_audio import cli
from naturelm_audio.convert_command import read_species
from naturelm_audio.errors import LabelError
from naturelm_audio.format_names import NEEDS, OUTPUT_FORMATS, split_formats

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that converts `results.jsonl` of the working directory: exit status and stderr."""
    monkeypatch.chdir(tmp_path)
    write_rows(Path("results.jsonl"), documented())

    def run(*words: object, results: str = "results.jsonl") -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["convert", results, *map(str, words)])
        shown = capsys.readouterr()
        assert shown.out == ""
        assert isinstance(left.value.code, int)
        return left.value.code, shown.err

    return run


def test_several_formats_come_into_a_folder_named_like_the_rows(convert: Run):
    status, shown = convert("--format", "csv,birdnet", "--format", "Raven")
    assert status == 0
    assert shown == (
        "raven: recordings whose folder is not known: give --audio-root or --paths-as (1)\n"
        "3 files in results; rows: csv 2, birdnet 2, raven 2\n"
    )
    assert sorted(path.name for path in Path("results").rglob("*.*")) == [
        "S4A01_20240501_040000.selections.txt",
        "combined.csv",
        "combined.results.csv",
        "results.params.json",
    ]


def test_a_second_time_needs_overwrite(convert: Run):
    convert("--format", "csv", "--output-path", "out")
    status, shown = convert("--format", "csv", "--output-path", "out")
    assert status == 2
    assert "out/combined.csv: exists already: replace it with --overwrite" in shown
    assert convert("--format", "csv", "--output-path", "out", "--overwrite")[0] == 0


def test_damaged_lines_are_listed_and_the_status_says_so(convert: Run):
    Path("results.jsonl").write_text("x\n" * 12 + Path("results.jsonl").read_text() + '{"audio_path":1}\n')
    status, shown = convert("--format", "csv")
    assert status == 3
    assert "line 1: not a row of results, left out: Expecting value" in shown
    assert "13 lines in all are no rows and were left out" in shown
    assert "rows: csv 2" in shown


def test_a_file_without_rows_is_refused(convert: Run):
    Path("notes.txt").write_text("my notes\n")
    status, shown = convert("--format", "csv", results="notes.txt")
    assert status == 2
    assert "notes.txt: has no row of results; line 1" in shown
    status, shown = convert("--format", "csv", results="nowhere.jsonl")
    assert (status, shown.count("\n")) == (2, 1)
    assert "nowhere.jsonl: can't be read" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "cvs"], "--format: there is no format 'cvs'; did you mean csv?"),
        (["--format", "csv", "--per-file", "--combined"], "exclude each other"),
        (["--format", "csv", "--merge"], "--merge has no effect on csv: it is for raven, audacity"),
        (["--format", "raven", "--long"], "--long has no effect on raven: it is for csv"),
        (["--format", "audacity", "--combined"], "--combined has no effect on audacity"),
        (["--format", "csv", "--min-confidence", "2"], "--min-confidence must be from 0 to 1"),
        (["--format", "raven", "--top-k", "0"], "--top-k must be at least 1"),
        (["--format", "csv", "--species", "nowhere.txt"], "nowhere.txt: can't be read"),
        (["--format", "official", "--nominal-end"], "--nominal-end needs the length of the windows"),
        (["--format", "csv", "--time-zone", "Moon"], "Moon"),
        (["--format", "camtrap-dp"], "camtrap-dp needs --dataset: contributors"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_leaves_nothing(convert: Run, words: list[str], message: str):
    status, shown = convert(*words)
    assert status == 2
    (line,) = [line for line in shown.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert not Path("results").exists()


def test_the_formats_that_an_option_needs_exist():
    assert {name for names in NEEDS.values() for name in names} <= set(OUTPUT_FORMATS)


def test_options_reach_the_files(convert: Run):
    rows = [row(5 * n, 5 * n + 10, confidence=0.9) for n in range(4)] + [row(40, 50, "frog", confidence=0.2)]
    write_rows(Path("results.jsonl"), rows)
    words = ("--merge", "--min-confidence", 0.5, "--paths-as", "E:\\x", "--combined", "--frequency-lines")
    convert("--format", "birdnet,kaleidoscope,audacity", *words)
    assert "\n0.0,25.0,wren,wren,0.9000," in Path("results/combined.results.csv").read_text()
    assert "E:\\x,site1,S4A01" in Path("results/combined.kaleidoscope.csv").read_text()
    labels = Path("results/site1/S4A01_20240501_040000.labels.txt").read_text()
    assert labels == "0.000000\t25.000000\twren (0.90)\n\\\t0.000000\t8000.000000\n"


def test_what_is_left_out_is_left_out_of_every_format(convert: Run):
    rows = [row(0, 10, "wren", confidence=0.9), row(10, 20, "frog", confidence=0.2), failed()]
    write_rows(Path("results.jsonl"), rows)
    names = "jsonl,csv,raven,audacity,birdnet,kaleidoscope,official"
    convert("--format", names, "--min-confidence", 0.5)
    made = [path for path in Path("results").rglob("*") if path.is_file() and "params" not in path.name]
    texts = {path.name: path.read_text(encoding="utf-8") for path in made}
    assert len(texts) == 7
    assert all("wren" in text and "frog" not in text for text in texts.values()), texts
    lines = [json.loads(line) for line in texts["combined.official.jsonl"].splitlines()]
    assert [line["output"] for line in lines] == ["#0.00s - 10.00s#: wren\n", None]


def test_a_list_of_species_keeps_those_by_any_of_their_names(convert: Run, tmp_path: Path):
    (tmp_path / "list.txt").write_text("\ufeffTroglodytes TROGLODYTES_Zaunko\u0308nig\r\n\r\n")
    assert read_species(tmp_path / "list.txt") == {"troglodytes troglodytes", "zaunk\u00f6nig"}
    convert("--format", "csv,audacity", "--species", "list.txt")
    assert Path("results/combined.csv").read_text().count("\n") == 2
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(LabelError, match="has no labels"):
        read_species(tmp_path / "empty.txt")


def test_times_and_places_come_from_a_table_and_a_zone(convert: Run):
    """Rows of a run without them, as older versions wrote them."""
    old = row(0, 10, audio_path="site1/20240501_040000.wav")
    naive = row(0, 10, audio_path="site1/20240502_040000.wav", start_time="2024-05-02T04:00:00")
    write_rows(Path("results.jsonl"), [old, naive])
    Path("places.csv").write_text("audio_path,latitude,longitude,site\nsite1,52.52,13.405,Site One\n")
    Path("project.json").write_text(json.dumps(DATASET))
    words = ("--metadata", "places.csv", "--time-zone", "+02:00", "--dataset", "project.json")
    status, shown = convert("--format", "csv,camtrap-dp", *words)
    assert (status, shown.splitlines()[-1]) == (0, "5 files in results; rows: csv 2, camtrap-dp 2")
    table = Path("results/combined.csv").read_text()
    assert "2024-05-01T04:00:00+02:00,2024-05-01T04:00:10+02:00,52.52,13.405,Site One" in table
    assert "2024-05-02T04:00:00+02:00" in table
    assert "Site One" in Path("results/camtrap-dp/deployments.csv").read_text()


def test_one_format_that_lacks_something_does_not_stop_the_others(convert: Run):
    Path("project.yml").write_text(json.dumps(DATASET))
    status, shown = convert("--format", "csv,camtrap-dp", "--dataset", "project.yml")
    assert status == 3
    assert f"camtrap-dp was not made: it needs position of {NAME}" in shown
    assert Path("results/combined.csv").exists()


def test_names_of_formats_are_split_and_kept_once():
    assert split_formats(["csv, raven", "CSV"]) == ("csv", "raven")
