"""The command line as a user meets it: exit status, one-line errors, and what is left on disk."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from naturelm_audio import cli
from naturelm_audio.formats import read_official
from naturelm_audio.journal import Journal, read_answers
from naturelm_audio.options import GenerateOptions, InferOptions, RunConfig
from naturelm_audio.records import Answer

ROOT = Path(__file__).parents[1]
QUERY = "What is it?"
SECOND = "Caption the audio."
HEAVY = {"numpy", "torch", "transformers", "soundfile", "soxr", "tqdm", "yaml", "gradio", "fastapi", "peft"}

Run = Callable[..., tuple[int, str]]


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"} | changes


@pytest.fixture
def naturelm(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command in this process: exit status and stderr; nothing goes to stdout."""

    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in words])
        shown = capsys.readouterr()
        assert shown.out == ""
        assert isinstance(left.value.code, int)
        return left.value.code, shown.err

    return run


@pytest.fixture
def folder(tmp_path: Path, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three recordings of 12 s, 3 s and 6 s below `sound`."""
    wav("sound/site1/a.wav", seconds=12, sample_rate_hz=16_000)
    wav("sound/site1/b.WAV", seconds=3, sample_rate_hz=8_000)
    wav("sound/site2/c.flac", seconds=6, sample_rate_hz=16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def infer(naturelm: Run, folder: Path, toy_model_dir: Path) -> Run:
    """A function that runs `naturelm infer` on the toy model, `sound` and one question, with more options."""

    def run(*words: object, model: object = toy_model_dir, audio: str = "sound") -> tuple[int, str]:
        required = ["--model", model, "--audio-path", audio, "--query", QUERY, "--max-new-tokens", 4]
        return naturelm("infer", *required, "--device", "cpu", *words)

    return run


def rows(path: str | Path = "inference_output.jsonl") -> list[Answer]:
    return list(read_answers(path))


def spans(path: str | Path = "inference_output.jsonl") -> list[tuple[str, float | None, float | None]]:
    return [(row.audio_path, row.start_seconds, row.end_seconds) for row in rows(path)]


def without_run_id(path: str | Path) -> str:
    return re.sub(r'"run_id":"[^"]*"', "", Path(path).read_text(encoding="utf-8"))


def cut(path: Path, share: float) -> None:
    """Leave the first share of a file's bytes, as a kill would."""
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])


ALL_SPANS = [
    ("site1/a.wav", 0.0, 10.0),
    ("site1/a.wav", 10.0, 12.0),
    ("site1/b.WAV", 0.0, 3.0),
    ("site2/c.flac", 0.0, 6.0),
]


class TestHelp:
    def test_P10_help_comes_at_once(self):
        """Processor time is asserted always, real time only where no other program has the processors."""
        command = [sys.executable, "-m", "naturelm_audio", "--help"]
        real, processor = [], []
        for _ in range(3):
            started, before = time.perf_counter(), os.times()
            done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
            after = os.times()
            real.append(time.perf_counter() - started)
            processor.append(sum(after[2:4]) - sum(before[2:4]))
        assert "Answer questions about every window" in done.stdout
        assert statistics.median(processor) < 0.3
        if hasattr(os, "getloadavg") and os.getloadavg()[0] < 0.5 * (os.cpu_count() or 1):
            assert statistics.median(real) < 0.3

    @pytest.mark.parametrize("command", ["", "infer", "train", "inference-app", "serve"])
    def test_P10_help_imports_nothing_heavy(self, command: str):
        code = (
            "import sys\nfrom naturelm_audio.cli import main\n"
            f"try: main({[*command.split(), '--help']})\n"
            "except SystemExit as left: print(left.code, *sorted(name.split('.')[0] for name in sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
        )
        status, *modules = done.stdout.splitlines()[-1].split()
        assert status == "0"
        assert not HEAVY & set(modules)

    @pytest.mark.parametrize(
        "words", [["-h"], ["--help"], ["infer", "-h"], ["infer", "--help"], ["train", "--help"]]
    )
    def test_help_is_no_error(self, words: list[str], capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        assert left.value.code == 0
        assert "Usage: naturelm" in capsys.readouterr().out

    def test_infer_has_the_official_options_and_ours(self, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SystemExit):
            cli.main(["infer", "--help"])
        shown = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        official = (
            "cfg-path audio-path query output-path window-length-seconds hop-length-seconds merging-alpha"
        )
        ours = "model llama-path device dtype batch-size num-beams max-new-tokens channel speed-factor"
        more = "resampler format resume overwrite nominal-end allow-gaps verbose help"
        assert {f"--{name}" for name in f"{official} {ours} {more}".split()} <= shown

    def test_the_version_is_shown(self, capsys: pytest.CaptureFixture[str]):
        import naturelm_audio

        with pytest.raises(SystemExit) as left:
            cli.main(["--version"])
        assert left.value.code == 0
        assert capsys.readouterr().out == f"naturelm-audio {naturelm_audio.__version__}\n"


class TestLaterCommands:
    @pytest.mark.parametrize(
        "words",
        [["serve"]],
        ids=lambda words: words[0],
    )
    def test_a_command_of_a_later_version_says_so(self, naturelm: Run, words: list[str]):
        status, shown = naturelm(*words)
        assert status == 2
        assert shown.startswith(f"Error: `naturelm {words[0]}` is not part of this version")
        assert shown.count("\n") == 1

    def test_beans_is_a_command_of_its_own(self, capsys: pytest.CaptureFixture[str]):
        with pytest.raises(SystemExit) as left:
            cli.beans_main(["--help"])
        assert left.value.code == 0
        assert "--data-path" in capsys.readouterr().out


class TestInfer:
    def test_every_window_of_every_recording_has_a_row(self, infer: Run):
        status, shown = infer()
        assert status == 0
        assert spans() == ALL_SPANS
        assert "4 rows in inference_output.jsonl" in shown
        assert "4/4 windows" in shown
        for row in rows():
            assert (row.query, row.error, row.confidence_kind) == (QUERY, None, "token_probability")
            assert isinstance(row.output, str)
            assert 0 <= (row.confidence or 0) <= 1

    def test_rows_are_traceable_to_the_run_file(self, infer: Run, toy_model_dir: Path):
        infer("--num-beams", 1)
        run = json.loads(Path("inference_output.jsonl.run.json").read_text())
        assert {row.run_id for row in rows()} == {run["run_id"]}
        assert run["settings"]["generate"]["num_beams"] == 1
        assert run["settings"]["model"]["name"] == str(toy_model_dir)
        assert re.fullmatch(r"[0-9a-f]{64}", run["settings"]["model"]["weights"])
        assert (run["settings"]["model"]["dtype"], run["device"], run["status"]) == (
            "float32",
            "cpu",
            "finished",
        )
        assert run["counts"] == {"recordings": 3, "finished": 3, "failed": 0, "rows": 4}
        assert run["inputs"][1]["path"] == "site1/b.WAV"
        assert run["versions"]["torch"]

    def test_questions_are_asked_in_order(self, infer: Run):
        infer("--query", SECOND)
        assert [row.query for row in rows()] == [QUERY, SECOND] * 4
        assert spans()[::2] == ALL_SPANS

    def test_I1_windows_overlap_as_asked(self, infer: Run):
        infer("--window-length-seconds", 4, "--hop-length-seconds", 3, audio="sound/site2/c.flac")
        assert spans() == [("c.flac", 0.0, 4.0), ("c.flac", 3.0, 6.0)]

    def test_inputs_can_be_files_folders_and_patterns(self, infer: Run):
        assert infer("--audio-path", "sound/site1/*.WAV", audio="sound/site2")[0] == 0
        assert [name for name, _, _ in spans()] == ["b.WAV", "c.flac"]

    def test_a_channel_and_a_speed_reach_the_model(self, infer: Run):
        status, _ = infer("--channel", 1, "--speed-factor", 0.5, audio="sound/site2/c.flac")
        assert status == 0
        assert spans() == [("c.flac", 0.0, 5.0), ("c.flac", 5.0, 6.0)]
        assert {(row.channel, row.speed_factor) for row in rows()} == {(1, 0.5)}

    def test_a_batch_of_any_size_gives_the_same_rows(self, infer: Run):
        for number, size in enumerate((1, 3, "auto")):
            infer("--query", SECOND, "--batch-size", size, "--output-path", f"{number}.jsonl")
        assert without_run_id("0.jsonl") == without_run_id("1.jsonl") == without_run_id("2.jsonl")

    def test_P6_foreign_environment_variables_change_nothing(
        self, infer: Run, monkeypatch: pytest.MonkeyPatch
    ):
        infer("--output-path", "a.jsonl")
        for name in ("MODEL", "RUN", "GENERATE", "DATASETS"):
            monkeypatch.setenv(name, "x")
        assert infer("--output-path", "b.jsonl")[0] == 0
        assert without_run_id("a.jsonl") == without_run_id("b.jsonl")

    def test_more_is_said_on_request(self, infer: Run):
        assert "INFO: " in infer("-v", "--dtype", "auto", "--overwrite")[1]
        assert "INFO: " not in infer("--overwrite")[1]


class TestBadRecordings:
    @pytest.fixture
    def broken(self, folder: Path, wav: Callable[..., Path]) -> Path:
        sound = folder / "sound"
        (sound / "empty.mp3").touch()
        (sound / "text.wav").write_text("not a sound, whatever its name says")
        (sound / "cut.flac").write_bytes((sound / "site2" / "c.flac").read_bytes()[:100])
        wav("sound/short.wav", seconds=0.2)
        return sound

    def test_I7_each_has_a_row_and_the_run_goes_on(self, infer: Run, broken: Path):
        status, shown = infer()
        assert status == 3
        failed = [row for row in rows() if row.failed]
        assert [row.audio_path for row in failed] == ["cut.flac", "empty.mp3", "short.wav", "text.wav"]
        assert all(re.match(r"[a-z_]+: \S", row.error or "") for row in failed)
        assert failed[2].error is not None
        assert failed[2].error.startswith("audio_too_short: ")
        assert [span for span in spans() if span[1] is not None] == ALL_SPANS
        for row in failed:
            assert f"{row.audio_path}: {row.error}\n" in shown
        assert "8 rows in inference_output.jsonl; 4 recordings failed" in shown
        assert "Traceback" not in shown

    def test_the_exit_status_stays_on_resume(self, infer: Run, broken: Path):
        infer()
        before = Path("inference_output.jsonl").read_bytes()
        assert infer("--resume")[0] == 3
        assert Path("inference_output.jsonl").read_bytes() == before

    def test_nothing_but_bad_ones_is_status_3_too(self, infer: Run, broken: Path):
        status, shown = infer(audio="sound/text.wav")
        assert status == 3
        assert "1 row in" in shown
        assert "1 recording failed" in shown


class TestWrongUse:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--hop-length-seconds", 0], "--hop-length-seconds must be a finite number above 0, found 0"),
            (["--hop-length-seconds", "-1"], "--hop-length-seconds must be"),
            (["--window-length-seconds", "-10"], "--window-length-seconds must be"),
            (["--window-length-seconds", "nan"], "--window-length-seconds must be"),
            (["--window-length-seconds", 0.1], "at least 0.5 s"),
            (["--hop-length-seconds", 11], "--allow-gaps"),
            (["--num-beams", 0], "--num-beams must be a whole number of at least 1"),
            (["--max-new-tokens", 0], "--max-new-tokens must be"),
            (["--merging-alpha", 7], "--merging-alpha must be"),
            (["--batch-size", 0], "--batch-size must be"),
            (["--channel", 0], "--channel must be"),
            (["--speed-factor", 0], "--speed-factor must be"),
            (["--query", " "], "--query is empty"),
            (["--query", QUERY], "--query is given twice"),
            (["--query", "<AudioHere> or <AudioHere>?"], "<AudioHere>"),
            (["--audio-path", "nowhere"], "nowhere: no such file or folder"),
            (["--audio-path", "empty"], "no recording found"),
            (["--audio-path", "sound/*.xyz"], "no recording found"),
            (["--resume", "--overwrite"], "exclude each other"),
            (["--nominal-end"], "--format official"),
            (["--cfg-path", "nowhere.yml"], "nowhere.yml: no such configuration file"),
            (["--cfg-path", "wrong.yml"], "unknown key 'num_beam'; did you mean 'num_beams'"),
            (["--output-path", "nowhere/out.jsonl"], "there is no folder nowhere: create it first"),
            (["--output-path", "sound"], "is a folder"),
            (["--output-path", "sound/site1/a.wav", "--overwrite"], "is one of the recordings"),
            (["--device", "abacus"], "abacus"),
            (["--model", "nowhere/model"], "nowhere/model"),
        ],
        ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else "",
    )
    def test_the_message_is_one_line_and_nothing_is_left(
        self, infer: Run, folder: Path, words: list[object], message: str
    ):
        (folder / "empty").mkdir()
        (folder / "wrong.yml").write_text("generate: {num_beam: 1}")
        before = sorted(folder.rglob("*"))
        status, shown = infer(*words)
        assert status == 2
        (line,) = [line for line in shown.splitlines() if line.startswith("Error: ")]
        assert message in line
        assert "Traceback" not in shown
        assert sorted(folder.rglob("*")) == before

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["infer"], "--audio-path"),
            (["infer", "--audio-path", "x"], "--query"),
            (["infer", "--audio-path", "x", "--query", "y", "--quary", "z"], "--quary"),
            (["infer", "--audio-path", "x", "--query", "y", "--dtype", "int4"], "int4"),
            (["infer", "--audio-path", "x", "--query", "y", "--format", "xml"], "xml"),
            (
                ["infer", "--audio-path", "x", "--query", "y", "--batch-size", "many"],
                "neither a whole number",
            ),
            (["fly"], "fly"),
        ],
        ids=lambda value: value[-1] if isinstance(value, list) else "",
    )
    def test_a_misspelt_command_line_is_status_2(self, naturelm: Run, words: list[str], message: str):
        status, shown = naturelm(*words)
        assert status == 2
        assert message in shown
        assert "Traceback" not in shown

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where nobody may create files")
    def test_a_place_where_nobody_may_write(self, infer: Run):
        status, shown = infer("--output-path", "/proc/out.jsonl")
        assert status == 2
        assert "Error: /proc/out.jsonl: can't be written" in shown

    def test_it_is_found_before_the_model_is_loaded(self, infer: Run):
        status, shown = infer("--output-path", "nowhere/out.jsonl", model="nowhere/model")
        assert status == 2
        assert "no folder nowhere" in shown


class TestExistingOutput:
    def test_it_is_never_replaced_unasked(self, infer: Run):
        Path("out.jsonl").write_text("mine\n")
        status, shown = infer("--output-path", "out.jsonl")
        assert status == 2
        assert (
            "out.jsonl: exists already: continue it with --resume, begin it again with --overwrite" in shown
        )
        assert Path("out.jsonl").read_text() == "mine\n"

    def test_it_is_replaced_on_request(self, infer: Run):
        infer()
        before = without_run_id("inference_output.jsonl")
        assert infer("--overwrite")[0] == 0
        assert without_run_id("inference_output.jsonl") == before

    def test_another_process_may_be_writing(self, infer: Run):
        pytest.importorskip("fcntl")
        with Journal.open("inference_output.jsonl", mode="new", settings={}):
            status, shown = infer("--resume")
        assert status == 2
        assert "another process is writing to it" in shown

    def test_a_model_that_is_not_there_leaves_the_place_free(self, infer: Run):
        assert infer(model="nowhere/model")[0] == 2
        assert infer()[0] == 0


class TestResume:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 0.8, 0.99])
    def test_a_cut_run_goes_on_to_the_same_file(self, infer: Run, share: float):
        infer("--query", SECOND, "--output-path", "whole.jsonl")
        infer("--query", SECOND, "--output-path", "cut.jsonl")
        cut(Path("cut.jsonl"), share)
        cut(Path("cut.jsonl.state.jsonl"), 0.0)
        status, shown = infer("--query", SECOND, "--output-path", "cut.jsonl", "--resume")
        assert status == 0
        assert "8 rows in cut.jsonl" in shown
        assert without_run_id("cut.jsonl") == without_run_id("whole.jsonl")
        assert len({row.run_id for row in rows("cut.jsonl")}) == 1

    def test_without_an_output_it_is_a_new_run(self, infer: Run):
        assert infer("--resume")[0] == 0
        assert spans() == ALL_SPANS

    def test_a_finished_run_needs_no_model(self, infer: Run):
        infer()
        assert infer("--resume", model="nowhere/model")[0] == 0
        assert spans() == ALL_SPANS

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--query", SECOND], "queries"),
            (["--window-length-seconds", 5], "window_length_seconds 10.0, now it is 5.0"),
            (["--num-beams", 1], "generate.num_beams 2, now it is 1"),
            (["--merging-alpha", 0.5], "generate.merging_alpha 1.0, now it is 0.5"),
            (["--channel", 1], "channel null, now it is 1"),
            (["--speed-factor", 2], "speed_factor 1.0, now it is 2.0"),
            (["--resampler", "kaiser_best"], 'resampler "soxr", now it is "kaiser_best"'),
        ],
        ids=lambda value: value[0] if isinstance(value, list) else "",
    )
    def test_other_settings_are_refused_by_name(self, infer: Run, words: list[object], message: str):
        infer()
        before = Path("inference_output.jsonl").read_bytes()
        status, shown = infer("--resume", *words)
        assert status != 0
        assert message in shown
        assert Path("inference_output.jsonl").read_bytes() == before

    def test_another_model_is_refused_by_name(self, infer: Run, tmp_path: Path):
        import toys

        from naturelm_audio.checkpoint import save_model

        infer()
        cut(Path("inference_output.jsonl"), 0.5)
        cut(Path("inference_output.jsonl.state.jsonl"), 0.0)
        save_model(toys.model(seed=1, padded_lengths_seconds=(5.0, 10.0)), tmp_path / "other")
        status, shown = infer("--resume", model=tmp_path / "other")
        assert status == 2
        assert "model.name" in shown

    def test_settings_of_speed_may_change(self, infer: Run):
        infer()
        assert infer("--resume", "--batch-size", 1)[0] == 0


class TestOfficialForm:
    def test_each_recording_is_a_line(self, infer: Run):
        status, shown = infer("--format", "official", "--output-path", "out.jsonl")
        assert status == 0
        assert "4 rows in out.jsonl (made from out.rows.jsonl)" in shown
        lines = list(read_official("out.jsonl"))
        assert [line.audio_path for line in lines] == ["site1/a.wav", "site1/b.WAV", "site2/c.flac"]
        windows = [(window.start_seconds, window.end_seconds) for window in lines[0].windows]
        assert windows == [(0.0, 10.0), (10.0, 12.0)]
        assert set(json.loads(Path("out.jsonl").read_text().splitlines()[0])) == {"audio_path", "output"}

    def test_the_nominal_end_is_a_switch(self, infer: Run):
        infer("--format", "official", "--nominal-end", "--output-path", "out.jsonl")
        assert [window.end_seconds for window in next(read_official("out.jsonl")).windows] == [10.0, 20.0]

    def test_each_question_has_a_file(self, infer: Run):
        infer("--query", SECOND, "--format", "official", "--output-path", "out.jsonl")
        assert not Path("out.jsonl").exists()
        for number in (1, 2):
            assert len(list(read_official(f"out.query{number}.jsonl"))) == 3

    def test_it_is_made_again_on_resume(self, infer: Run):
        words = ("--format", "official", "--output-path", "out.jsonl")
        infer(*words)
        before = Path("out.jsonl").read_bytes()
        Path("out.jsonl").unlink()
        cut(Path("out.rows.jsonl"), 0.4)
        cut(Path("out.rows.jsonl.state.jsonl"), 0.0)
        assert infer(*words, "--resume")[0] == 0
        assert Path("out.jsonl").read_bytes() == before

    def test_nothing_is_replaced_unasked(self, infer: Run):
        words = ("--format", "official", "--output-path", "out.jsonl")
        Path("out.jsonl").write_text("mine")
        assert infer(*words)[0] == 2
        assert Path("out.jsonl").read_text() == "mine"
        assert infer(*words, "--overwrite")[0] == 0

    @pytest.mark.parametrize("mode", ["--resume", "--overwrite"])
    def test_rows_are_never_replaced(self, infer: Run, mode: str):
        infer("--output-path", "out.jsonl")
        before = Path("out.jsonl").read_bytes()
        status, shown = infer("--format", "official", "--output-path", "out.jsonl", mode)
        assert status == 2
        assert "another --format" in shown
        assert Path("out.jsonl").read_bytes() == before


class TestConfiguration:
    def test_a_file_of_ours_is_used(self, infer: Run, naturelm: Run, toy_model_dir: Path):
        Path("mine.yml").write_text(
            f"model: {toy_model_dir}\ndevice: cpu\nwindow_length_seconds: 6\n"
            "generate: {max_new_tokens: 2, num_beams: 1}"
        )
        words = ("infer", "--cfg-path", "mine.yml", "--audio-path", "sound/site1", "--query", QUERY)
        assert naturelm(*words)[0] == 0
        assert [span[1:] for span in spans()] == [(0.0, 6.0), (6.0, 12.0), (0.0, 3.0)]
        assert naturelm(*words, "--window-length-seconds", 4, "--overwrite")[0] == 0
        assert [span[1:] for span in spans()][:3] == [(0.0, 4.0), (4.0, 8.0), (8.0, 12.0)]

    def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(self):
        config = RunConfig(
            model="file",
            dtype="float32",
            batch_size=4,
            generate=GenerateOptions(num_beams=3, max_new_tokens=9),
        )
        given: dict[str, Any] = {"audio_path": ("a",), "query": ("q",), "model": "given", "num_beams": 1}
        options = cli.merge_options(config, {**given, "batch_size": "auto", "channel": None, "resume": False})
        assert options == InferOptions(
            audio_paths=("a",),
            queries=("q",),
            model="given",
            dtype="float32",
            batch_size=None,
            generate=GenerateOptions(num_beams=1, max_new_tokens=9),
        )

    def test_a_model_of_the_command_line_does_not_take_the_base_of_the_file(self):
        config = RunConfig(model="file", llama_path="base", model_arguments={"lora": True})
        given: dict[str, Any] = {"audio_path": ("a",), "query": ("q",)}
        kept = cli.merge_options(config, given)
        assert (kept.llama_path, dict(kept.model_arguments)) == ("base", {"lora": True})
        other = cli.merge_options(config, {**given, "model": "given"})
        assert (other.llama_path, dict(other.model_arguments)) == (None, {})


def slow_run(folder: Path, model: Path, output: str = "slow.jsonl") -> list[str]:
    """A command that takes a while: one answer at a time."""
    words = ["infer", "--model", str(model), "--audio-path", str(folder / "long.wav"), "--query", QUERY]
    more = ["--window-length-seconds", "1", "--batch-size", "1", "--max-new-tokens", "30", "--device", "cpu"]
    return [sys.executable, "-m", "naturelm_audio", *words, *more, "--output-path", output]


WINDOWS_TO_INTERRUPT = 100  # so many that even a fast machine is still at work when the signal comes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_says_how_to_go_on(
    folder: Path, wav: Callable[..., Path], toy_model_dir: Path, infer: Run, naturelm: Run
):
    wav("long.wav", seconds=WINDOWS_TO_INTERRUPT, sample_rate_hz=8_000)
    command = slow_run(folder, toy_model_dir)
    process = subprocess.Popen(
        command,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    output = folder / "slow.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not output.exists() or output.stat().st_size == 0):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    count = len(rows(output))
    assert 1 <= count < WINDOWS_TO_INTERRUPT
    message = rf"Interrupted: {count} rows? on file in slow\.jsonl; the same command with --resume goes on"
    assert re.fullmatch(message, err.splitlines()[-1])
    assert json.loads(Path("slow.jsonl.run.json").read_text())["status"] == "interrupted"
    assert naturelm(*command[3:], "--resume")[0] == 0
    assert naturelm(*slow_run(folder, toy_model_dir, "whole.jsonl")[3:])[0] == 0
    assert without_run_id("slow.jsonl") == without_run_id("whole.jsonl")


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
def test_a_disk_that_fills_up_stops_the_run_with_status_1(infer: Run):
    import resource

    words = ("--window-length-seconds", 1, "--output-path", "full.jsonl")
    infer(*words[:2], "--output-path", "whole.jsonl")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        status, shown = infer(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    (line,) = [line for line in shown.splitlines() if line.startswith("Error: ")]
    assert "full.jsonl: the disk is full or the file too large" in line
    assert "the same command with --resume goes on" in line
    assert Path("full.jsonl").read_bytes().endswith(b"\n")
    assert infer(*words, "--resume")[0] == 0
    assert without_run_id("full.jsonl") == without_run_id("whole.jsonl")


# One process loads the model once and forks a child per attempt, which is killed for real.
KILLER = """
import os, random, re, signal, sys, time
from pathlib import Path
from naturelm_audio.checkpoint import load_model
from naturelm_audio.options import GenerateOptions, InferOptions
from naturelm_audio.pipeline import Pipeline
from naturelm_audio.runs import run_infer

model = load_model(sys.argv[1], device="cpu")

def run(output, **mode):
    options = InferOptions(
        audio_paths=("sound",), queries=("What is it?", "Caption the audio."), output_path=Path(output),
        window_length_seconds=2.0, hop_length_seconds=1.5, generate=GenerateOptions(max_new_tokens=4), **mode)
    summary = run_infer(options, lambda options: Pipeline(model, options.generate, batch_size=2))
    return 3 if summary.failed else 0

def start(output):
    child = os.fork()
    if child == 0:
        os._exit(run(output, resume=True))
    return child

def text(output):
    return re.sub(r'"run_id":"[^"]*"', "", Path(output).read_text(encoding="utf-8"))

whole = run("whole.jsonl")  # everything is imported now
began = time.monotonic()
run("whole.jsonl", overwrite=True)
seconds = time.monotonic() - began
chance, kills, runs = random.Random(int(sys.argv[2])), 0, 0
while kills < int(sys.argv[3]) or not runs:
    child = start("killed.jsonl")
    # Later ones live longer, so that an end is reached on a machine that has become slower, too.
    time.sleep(chance.uniform(0.0, 0.6 * seconds * (1 + kills / 20)))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        kills += 1
        continue
    runs += 1
    if os.waitstatus_to_exitcode(status) != whole or text("killed.jsonl") != text("whole.jsonl"):
        sys.exit(f"after {kills} kills: status {status}, rows\\n" + text("killed.jsonl"))
    for path in Path().glob("killed.jsonl*"):
        path.unlink()
print(kills, "kills,", runs, "finished runs, status", whole)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_I7_twenty_kills_leave_every_row_exactly_once(folder: Path, toy_model_dir: Path):
    (folder / "sound" / "text.wav").write_text("not a sound")
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(toy_model_dir), "1", "20"],
        env=environment(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.fullmatch(r"[2-9]\d+ kills, [1-9]\d* finished runs, status 3\n", done.stdout)
