"""`naturelm infer --format ...`: rows are JSON Lines, and what is made of them is right after any ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from format_rows import DATASET

from naturelm_audio import cli
from naturelm_audio.errors import OptionsError, OutputError
from naturelm_audio.journal import read_answers, read_states
from naturelm_audio.options import InferOptions
from naturelm_audio.run_outputs import RunOutputs, sound_facts

QUERY = "What is it?"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three recordings of 12 s, 3 s and 6 s below `sound`."""
    wav("sound/site1/a.wav", seconds=12, sample_rate_hz=48_000)
    wav("sound/site1/b.WAV", seconds=3, sample_rate_hz=8_000, channels=2)
    wav("sound/site2/c.flac", seconds=6, sample_rate_hz=16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def infer(folder: Path, toy_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command on the toy model: exit status and stderr."""

    def run(*words: object) -> tuple[int, str]:
        required = [
            "--model",
            toy_model_dir,
            "--audio-path",
            "sound",
            "--query",
            QUERY,
            "--max-new-tokens",
            4,
        ]
        with pytest.raises(SystemExit) as left:
            cli.main(["infer", *map(str, [*required, "--device", "cpu", *words])])
        return int(left.value.code or 0), capsys.readouterr().err

    return run


def options(*formats: str, **changes: object) -> InferOptions:
    values = {"audio_paths": ("sound",), "queries": (QUERY,), "output_path": Path("out.jsonl"), **changes}
    return InferOptions(formats=formats or None, **values)


def test_all_formats_come_into_a_folder_beside_the_rows(infer: Run):
    pytest.importorskip("pyarrow")
    names = "jsonl,csv,parquet,raven,audacity,birdnet,kaleidoscope,darwin-core,official"
    status, shown = infer("--format", names, "--output-path", "out.jsonl")
    assert status == 0
    assert "4 rows in out.jsonl; 13 files in out (csv, parquet, raven, audacity, birdnet" in shown
    assert [one.audio_path for one in read_answers("out.jsonl")] == ["site1/a.wav"] * 2 + [
        "site1/b.WAV",
        "site2/c.flac",
    ]
    with open("out/combined.csv", encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [one["output"] for one in read] == [one.output for one in read_answers("out.jsonl")]


def test_X2_the_rates_of_the_recordings_reach_raven(infer: Run, folder: Path):
    infer("--format", "raven", "--output-path", "out.jsonl")
    table = Path("out/site1/b.selections.txt").read_text().splitlines()
    assert table[1].split("\t")[5:9] == ["0", "4000", "b.WAV", str(folder / "sound/site1/b.WAV")]


def test_the_journal_has_the_facts_of_each_recording(infer: Run, folder: Path):
    infer("--output-path", "out.jsonl")
    state = read_states(Path("out.jsonl.state.jsonl"))["site1/b.WAV"]
    assert (state.sample_rate_hz, state.channels, state.frames, state.duration_seconds) == (
        8000,
        2,
        24_000,
        3.0,
    )
    assert state.file == str(folder / "sound/site1/b.WAV")


def test_X1_the_same_rows_combined_fit_the_sequence(infer: Run):
    infer("--output-path", "out.jsonl")
    with pytest.raises(SystemExit):
        cli.main(["convert", "out.jsonl", "--format", "raven", "--combined"])
    names = sorted(path.name for path in Path("out").glob("*.list.txt"))
    assert names == [
        "combined_16000Hz_1ch.list.txt",
        "combined_48000Hz_1ch.list.txt",
        "combined_8000Hz_2ch.list.txt",
    ]


def test_files_and_merging_are_chosen_like_in_a_conversion(infer: Run):
    words = ("--format", "csv,raven", "--hop-length-seconds", 5, "--output-path", "out.jsonl")
    status, _ = infer(*words, "--per-file", "--merge")
    assert status == 0
    assert sorted(path.name for path in Path("out").rglob("*.csv")) == ["a.csv", "b.csv", "c.csv"]
    assert "\tWindows\n" in Path("out/site1/a.selections.txt").read_text()
    params = json.loads(Path("out/out.params.json").read_text())
    assert params["formats"]["raven"]["options"] == {"per_file": True, "merge": True}
    assert infer(*words, "--combined", "--resume")[0] == 0
    assert Path("out/combined.csv").exists()
    assert Path("out/combined_8000Hz_2ch.selections.txt").exists()


def test_combined_tables_of_before_stay(infer: Run):
    Path("out").mkdir()
    mine = Path("out/combined_8000Hz_2ch.selections.txt")
    mine.write_text("mine")
    status, shown = infer("--format", "raven", "--combined", "--output-path", "out.jsonl")
    assert (status, "exists already" in shown) == (1, True)
    assert mine.read_text() == "mine"
    assert len(list(read_answers("out.jsonl"))) == 4


def test_formats_are_made_again_on_resume(infer: Run):
    words = ("--format", "csv,audacity", "--output-path", "out.jsonl")
    infer(*words)
    before = {path: path.read_bytes() for path in Path("out").rglob("*.*")}
    content = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(content[: len(content) // 3])
    Path("out.jsonl.state.jsonl").write_bytes(b"")
    Path("out/combined.csv").write_text("torn")
    assert infer(*words, "--resume")[0] == 0
    after = {path: path.read_bytes() for path in Path("out").rglob("*.*") if path.name != "out.params.json"}
    assert after == {path: data for path, data in before.items() if path.name != "out.params.json"}


def test_further_formats_can_be_asked_for_on_resume(infer: Run):
    infer("--output-path", "out.jsonl")
    status, shown = infer("--output-path", "out.jsonl", "--resume", "--format", "csv")
    assert status == 0
    assert "1 file in out (csv)" in shown


def test_nothing_is_replaced_unasked_and_it_is_said_before_any_work(infer: Run):
    Path("out").mkdir()
    Path("out/combined.csv").write_text("mine")
    status, shown = infer("--format", "csv", "--output-path", "out.jsonl")
    assert status == 2
    assert "out/combined.csv: exists already" in shown
    assert not Path("out.jsonl").exists()
    assert infer("--format", "csv", "--output-path", "out.jsonl", "--overwrite")[0] == 0


def test_I8_the_format_follows_the_name_of_the_output(infer: Run):
    status, shown = infer("--output-path", "answers.csv")
    assert status == 0
    assert "4 rows in answers.csv (made from answers.rows.jsonl)" in shown
    assert Path("answers.csv").read_text().startswith("audio_path,start_seconds")
    assert len(list(read_answers("answers.rows.jsonl"))) == 4


def test_I7_a_format_that_can_not_be_made_is_said_and_the_others_are_there(infer: Run):
    Path("project.yml").write_text(json.dumps(DATASET))
    words = ("--format", "csv,camtrap-dp", "--dataset", "project.yml", "--output-path", "out.jsonl")
    status, shown = infer(*words)
    assert status == 3
    assert "camtrap-dp was not made: it needs site and position and start time of site1/a.wav" in shown
    assert Path("out/combined.csv").exists()


@pytest.mark.parametrize(
    ("formats", "changes", "message"),
    [
        (("camtrap-dp",), {}, "camtrap-dp needs --dataset"),
        (("csv",), {"dataset": Path("x.yml")}, "--dataset needs --format camtrap-dp"),
        (("csv", "raven"), {"output_path": Path("out.csv")}, "holds JSON Lines"),
        (("jsonl",), {"output_path": Path("out.parquet")}, "name it out.jsonl"),
        (("jsonl",), {"nominal_end": True}, "--nominal-end needs --format official"),
        (("cvs",), {}, "did you mean csv"),
        ((), {"merge": True}, "--merge has no effect on jsonl"),
        (("csv",), {"merge": True}, "--merge has no effect on csv"),
        (("audacity",), {"combined": True}, "--combined has no effect on audacity"),
        (("raven",), {"combined": True, "per_file": True}, "exclude each other"),
        (("csv",), {"per_file": True, "output_path": Path("out.csv")}, "is one file: name it out.jsonl"),
    ],
)
def test_formats_and_options_must_fit(formats: tuple[str, ...], changes: dict[str, object], message: str):
    with pytest.raises(OptionsError, match=message):
        options(*formats, **changes)


def test_what_could_not_be_written_is_found_before(folder: Path):
    outputs = RunOutputs(options("csv", output_path=Path("out")), ["a.wav"])
    with pytest.raises(OptionsError, match=r"give it a suffix such as \.jsonl"):
        outputs.check(set())
    outputs = RunOutputs(options("audacity"), ["a.wav"])
    with pytest.raises(OptionsError, match="is one of the recordings"):
        outputs.check({Path("out/a.labels.txt").resolve()})
    Path("out").mkdir()
    Path("out/combined.kaleidoscope.csv").write_text("INDIR,MANUAL ID\nx,wren\n")
    with pytest.raises(OutputError, match="MANUAL ID"):
        RunOutputs(options("kaleidoscope", overwrite=True), ["a.wav"]).check(set())
    Path("project.yml").write_text("project: {title: x}")
    with pytest.raises(OptionsError, match=r"contributors.*samplingDesign"):
        RunOutputs(options("camtrap-dp", dataset=Path("project.yml")), ["a.wav"]).check(set())


def test_the_decoded_length_is_believed_where_a_header_differs(wav: Callable[..., Path]):
    path = wav("a.wav", seconds=2, sample_rate_hz=48_000)
    assert sound_facts(path, 2.0)["frames"] == 96_000
    assert sound_facts(path, 1.999998)["frames"] == 96_000
    assert sound_facts(path, 1.5)["frames"] == 72_000
    assert sound_facts(path, None)["frames"] == 96_000
    assert sound_facts(path.with_name("nowhere.wav"), None) == {"file": str(path.with_name("nowhere.wav"))}
