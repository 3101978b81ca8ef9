"""Conversions as a whole: repeatable, atomic, never over what is there, with a file of what made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from format_rows import DATASET, NAME, RUN_ID, documented, failed, made, row, text_of, write_rows

from naturelm_audio.errors import NatureLMError, OptionsError, OutputError
from naturelm_audio.format_names import OUTPUT_FORMATS
from naturelm_audio.formats import FORMATS, FormatOptions, convert
from naturelm_audio.formats.converting import planned_paths
from naturelm_audio.formats.rows import CsvWriter

PLACE = {"latitude": 52.52, "longitude": 13.405}
ALL = FormatOptions(dataset=DATASET)


@pytest.fixture(autouse=True)
def needs_pyarrow():
    pytest.importorskip("pyarrow", reason="needs the [parquet] extra")


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_names_of_options_are_those_of_the_registry():
    assert tuple(FORMATS) == OUTPUT_FORMATS
    assert all(FORMATS[name].name == name for name in FORMATS)


@pytest.mark.parametrize("per_file", [None, True, False])
def test_all_formats_at_once_and_again(tmp_path: Path, per_file: bool | None):
    """Times of the clock or of files must not be in them, so that a repetition changes nothing."""
    rows = [*documented(**PLACE), failed()]
    options = FormatOptions(dataset=DATASET, per_file=per_file)
    done = made(tmp_path, rows, list(FORMATS), options)
    assert done.is_whole
    before = content(tmp_path / "out")
    assert not [name for name in before if ".tmp-" in name]
    made(tmp_path, rows, list(FORMATS), options, overwrite=True)
    assert content(tmp_path / "out") == before


def test_every_file_that_is_written_was_announced(tmp_path: Path):
    done = made(tmp_path, documented(**PLACE), list(FORMATS), ALL)
    planned = {
        path for _, path in planned_paths(list(FORMATS), [NAME], ["q"], tmp_path / "out", FormatOptions())
    }
    assert set(done.paths) == planned
    assert set((tmp_path / "out").rglob("*.*")) == planned | {tmp_path / "out/results.params.json"}


def test_existing_files_are_refused_before_anything_is_written(tmp_path: Path):
    target = tmp_path / "out/site1/S4A01_20240501_040000.labels.txt"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already: replace it with --overwrite"):
        made(tmp_path, documented(), ["csv", "audacity"])
    assert content(tmp_path / "out") == {"site1/S4A01_20240501_040000.labels.txt": b"mine"}
    made(tmp_path, documented(), ["csv", "audacity"], overwrite=True)
    assert target.read_text().startswith("0.000000\t")


@pytest.mark.parametrize("per_file", [True, False])
def test_a_failure_leaves_the_files_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_file: bool
):
    names = ["jsonl", "csv", "parquet", "raven", "official"]
    rows = [*documented(), row(audio_path="site1/z.wav")]
    options = FormatOptions(per_file=per_file)
    made(tmp_path, rows[:2], names, options)
    before = content(tmp_path / "out")
    write = CsvWriter.write

    def full(self, answer):
        if answer.audio_path.endswith("z.wav"):
            raise OSError(28, "No space left on device")
        write(self, answer)

    monkeypatch.setattr(CsvWriter, "write", full)
    with pytest.raises((OutputError, OSError)):
        made(tmp_path, rows, names, options, overwrite=True)
    after = content(tmp_path / "out")
    assert {name: after[name] for name in before} == before or per_file
    assert not [name for name in after if ".tmp-" in name]


def test_the_rows_are_never_replaced(tmp_path: Path):
    source = write_rows(tmp_path / "combined.jsonl", documented())
    with pytest.raises(OutputError, match="holds the rows themselves"):
        convert(source, ["jsonl"], tmp_path, overwrite=True)
    assert source.read_text().count("\n") == 2


def test_one_file_that_two_formats_want_is_refused(tmp_path: Path):
    rows = [row(audio_path="a.results.wav"), row(audio_path="a.wav")]
    with pytest.raises(OutputError, match="is the name of a file of csv and one of birdnet"):
        made(tmp_path, rows, ["csv", "birdnet"], FormatOptions(per_file=True))


def test_bad_lines_are_listed_and_the_rest_is_converted(tmp_path: Path):
    source = write_rows(tmp_path / "r.jsonl", documented())
    source.write_text(source.read_text() + '{"audio_path": "x"\n')
    done = convert(source, ["csv"], tmp_path / "out")
    assert (done.bad_count, done.bad_lines[0].line, done.is_whole) == (1, 3, False)
    assert "line 3: not a row of results, left out" in next(done.messages)
    assert text_of(tmp_path, "combined.csv").count("\n") == 3


def test_what_made_the_files_stands_beside_them(tmp_path: Path):
    write_rows(tmp_path / "results.jsonl", documented())
    (tmp_path / "results.jsonl.run.json").write_text(json.dumps({"run_id": RUN_ID, "settings": {"seed": 3}}))
    made(tmp_path, documented(), ["csv"], FormatOptions(min_confidence=0.5))
    made(tmp_path, documented(), ["raven"], FormatOptions(merge=True))
    told = json.loads(text_of(tmp_path, "results.params.json"))
    assert told["formats"] == {
        "csv": {"rows": 1, "options": {"min_confidence": 0.5}},
        "raven": {"rows": 2, "options": {"merge": True}},
    }
    assert told["run"]["settings"] == {"seed": 3}
    assert "licence_of_weights" in told["run"]


def test_the_params_of_another_run_are_replaced(tmp_path: Path):
    made(tmp_path, documented(), ["csv"])
    made(tmp_path, documented(run_id="20250101T000000Z-0000"), ["raven"])
    assert list(json.loads(text_of(tmp_path, "results.params.json"))["formats"]) == ["raven"]
    (tmp_path / "out/results.params.json").write_text("[]")
    made(tmp_path, documented(), ["birdnet"])
    assert list(json.loads(text_of(tmp_path, "results.params.json"))["formats"]) == ["birdnet"]


def test_an_unfinished_run_is_said(tmp_path: Path):
    inputs = [{"path": NAME}, {"path": "late.wav"}]
    (tmp_path / "results.jsonl.run.json").write_text(json.dumps({"run_id": RUN_ID, "inputs": inputs}))
    state = {"path": NAME, "status": "ok", "rows": 2}
    (tmp_path / "results.jsonl.state.jsonl").write_text(json.dumps(state) + "\n")
    done = made(tmp_path, documented(), "csv")
    assert "the run is not finished: 1 recordings are not in these rows" in done.notes


def test_a_file_without_a_single_row_is_an_error(tmp_path: Path):
    with pytest.raises(OutputError, match="has no rows"):
        made(tmp_path, [], "csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("names", "message"), [([], "name a format"), (["xls"], "there is no format 'xls'")])
def test_formats_that_are_not_there_are_refused(tmp_path: Path, names: list[str], message: str):
    with pytest.raises(OptionsError, match=message):
        made(tmp_path, documented(), names)


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path):
    (tmp_path / "out").write_text("x")
    for names in (["csv"], ["parquet"], ["official"], ["raven"]):
        with pytest.raises(NatureLMError, match="out"):
            made(tmp_path, documented(), names)


def test_a_survey_across_midnight_and_a_change_of_clocks_keeps_its_times(tmp_path: Path):
    """The rows carry instants with their offsets; no format computes times anew."""
    rows = [
        row(
            0,
            10,
            start_time="2024-10-26T23:59:55+02:00",
            end_time="2024-10-27T00:00:05+02:00",
            site="s",
            **PLACE,
        ),
        row(
            10,
            20,
            start_time="2024-10-27T02:59:55+02:00",
            end_time="2024-10-27T02:00:05+01:00",
            site="s",
            **PLACE,
        ),
    ]
    made(tmp_path, rows, ["csv", "parquet", "camtrap-dp"], ALL)
    assert "2024-10-27T02:59:55+02:00,2024-10-27T02:00:05+01:00" in text_of(tmp_path, "combined.csv")
    assert "2024-10-27T02:59:55+02:00,2024-10-27T02:00:05+01:00" in text_of(
        tmp_path, "camtrap-dp/observations.csv"
    )
    from pyarrow import parquet

    second = parquet.read_table(tmp_path / "out/combined.parquet").to_pylist()[1]
    assert (second["end_time"] - second["start_time"]).total_seconds() == 10.0
    assert second["utc_offset_minutes"] == 120


@pytest.mark.parametrize(
    "name", ["a\tb.wav", "q\"uote'.wav", "lf\nx.wav", "ünï/ç ø.wav", "-=+@.wav", "x,y;z.wav"]
)
def test_names_with_any_characters_are_safe_in_all_formats(tmp_path: Path, name: str):
    rows = documented(**PLACE)
    rows = [type(one)(**{**vars(one), "audio_path": name}) for one in rows]
    done = made(tmp_path, rows, list(FORMATS), ALL)
    assert done.is_whole
    for path in done.paths:
        assert tmp_path / "out" in path.parents
        assert "\n" not in path.name
