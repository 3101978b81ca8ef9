"""`naturelm calibrate`: which rows are learned from, who is judged by whom, and what is left on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from naturelm_audio import calibrating, cli
from naturelm_audio.calibrating import Judged, Sound, calibrate, labels_of, read_sounds
from naturelm_audio.calibration import read_calibration
from naturelm_audio.calibration_report import plot_calibration, report_text
from naturelm_audio.errors import AudioError, LabelError, MissingExtraError
from naturelm_audio.label_lists import LabelList
from naturelm_audio.options import GenerateOptions
from naturelm_audio.pipeline import Pipeline
from naturelm_audio.records import Label

MARKS = "path,start_seconds,end_seconds,label,score,mark,correct_label\n"


def write(folder: Path, content: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def listed(*texts: str, **changes: Any) -> LabelList:
    return LabelList(labels=tuple(Label(label=text) for text in texts), **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen short recordings of two labels, a longer one, and their table."""
    place = tmp_path_factory.mktemp("labelled")
    noise = np.random.default_rng(0)
    lines = ["path,label,recording,split"]
    for number in range(15):
        seconds = 12.0 if number == 14 else 1.0
        soundfile.write(place / f"{number}.wav", noise.normal(0, 0.1, round(16_000 * seconds)), 16_000)
        lines.append(f"{number}.wav,{('crow', 'wren')[number % 2]},r{number // 2},validation")
    write(place, "\n".join([*lines, "gone.wav,crow,r99,train", ""]))
    return place


@pytest.fixture
def pipeline(toy_model: Any) -> Pipeline:
    return Pipeline(toy_model, GenerateOptions(num_beams=1, max_new_tokens=3), batch_size=4)


class TestReading:
    def test_rows_of_a_table(self, tmp_path):
        table = write(tmp_path, "Path;Label;start_seconds;end_seconds\na.wav;crow;1,5;3\nb.wav;wren;;\n")
        assert read_sounds(table) == [
            Sound(tmp_path / "a.wav", "crow", str(tmp_path / "a.wav"), 1.5, 3.0),
            Sound(tmp_path / "b.wav", "wren", str(tmp_path / "b.wav")),
        ]

    def test_rows_can_be_chosen_by_column(self, folder):
        assert len(read_sounds(folder / "table.csv", only={"split": ["validation"], "label": ["crow"]})) == 8
        with pytest.raises(LabelError, match="no column source"):
            read_sounds(folder / "table.csv", only={"source": ["x"]})

    def test_marks_of_the_review_page(self, tmp_path):
        table = write(
            tmp_path,
            f"{MARKS}a.wav,0,10,crow,0.9,right,\na.wav,10,20,crow,0.5,wrong,wren\n"
            "b.wav,0,10,crow,0.4,wrong,\nb.wav,10,20,crow,,unsure,\n",
        )
        known = [(sound.label, sound.recording, sound.refuted) for sound in read_sounds(table)]
        assert known == [("crow", "a.wav", False), ("wren", "a.wav", False), ("crow", "b.wav", True)]
        with pytest.raises(LabelError, match="leave out --only"):
            read_sounds(table, only={"label": ["crow"]})

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("file,species\n", "has no row to learn from"),
            ("name,species\na,b\n", "needs the columns path and label"),
            ("path,label\na.wav,\n", "line 2: the label is empty"),
            ("path,label,start_seconds\na.wav,crow,x\n", "line 2: 'x' is not a number"),
        ],
    )
    def test_faulty_tables_are_refused(self, tmp_path, content, message):
        with pytest.raises(LabelError, match=message):
            read_sounds(write(tmp_path, content))

    def test_labels_in_alphabetical_order_without_none(self):
        sounds = [Sound(Path("x"), label, "x") for label in ("wren", "None", "crow", "wren")]
        assert [label.label for label in labels_of(sounds)] == ["crow", "wren"]


class TestReport:
    def test_it_is_fitted_and_told(self, pipeline, folder, caplog):
        sounds = read_sounds(folder / "table.csv")
        report = calibrate(pipeline, sounds, listed("crow", "wren"), free_answers=True)
        assert (report.failed, report.recordings, report.calibration.rows) == (1, 8, 16)
        assert "gone.wav" in caplog.text
        assert "16 windows are few" in caplog.text
        assert report.before.accuracy == report.after.accuracy
        assert report.free is not None
        assert report.calibration.labels == 3
        text = report_text(report)
        assert "16 windows of 8 recordings, 3 labels" in text
        assert f"temperature {report.calibration.temperature:.3f}" in text
        assert "free answer" in text

    def test_the_order_of_the_table_and_batches_change_nothing(self, pipeline, toy_model, folder):
        sounds = read_sounds(folder / "table.csv", only={"split": ["validation"]})
        first = calibrate(pipeline, sounds, listed("crow", "wren"))
        other = calibrate(Pipeline(toy_model, batch_size=7), sounds[::-1], listed("wren", "crow"))
        assert other.calibration.temperature == pytest.approx(first.calibration.temperature, rel=1e-3)
        assert other.after.error == pytest.approx(first.after.error, abs=1e-3)

    def test_labels_outside_the_list_are_left_aside(self, pipeline, folder, caplog):
        sounds = read_sounds(folder / "table.csv", only={"split": ["validation"]})
        more = [*sounds, Sound(sounds[0].path, "lark", "other")]
        assert calibrate(pipeline, more, listed("crow", "wren")).calibration.rows == 16
        assert "1 rows have a label outside the list" in caplog.text

    def test_what_can_not_be_fitted_is_refused(self, pipeline, folder, tmp_path):
        sounds = read_sounds(folder / "table.csv", only={"split": ["validation"]})
        with pytest.raises(LabelError, match="only 3 windows"):
            calibrate(pipeline, sounds[:3], listed("crow", "wren"))
        one = [Sound(sound.path, sound.label, "same") for sound in sounds]
        with pytest.raises(LabelError, match="of one recording"):
            calibrate(pipeline, one, listed("crow", "wren"))
        with pytest.raises(AudioError, match=r"gone\.wav"):
            calibrate(pipeline, [Sound(tmp_path / "gone.wav", "crow", "x")], listed("crow", "wren"))

    def test_a_recording_stays_in_one_fold(self):
        rows = [
            Judged(Sound(Path("x"), f"label {number % 3}", f"r{number // 2}"), 0, np.zeros(2))
            for number in range(60)
        ]
        folds = calibrating._folds(rows)
        assert folds[::2] == folds[1::2]
        assert sorted(set(folds)) == list(range(10))

    def test_folds_are_judged_by_the_others(self, monkeypatch):
        """The temperature of a fold never sees its rows."""
        rows = [
            Judged(Sound(Path("x"), "crow", f"r{row}"), 0, np.array([float(row), 0.0])) for row in range(20)
        ]
        seen: list[set[float]] = []

        def fit(some: Sequence[Judged]) -> float:
            seen.append({float(row.log_likelihoods[0]) for row in some})
            return 1.0

        monkeypatch.setattr(calibrating, "_fit", fit)
        calibrating._cross_fitted(rows)
        assert len(seen) == 10
        assert all(len(some) == 18 for some in seen)
        assert set.intersection(*seen) == set()

    def test_a_refuted_label_says_only_that_it_is_wrong(self):
        sound = Sound(Path("x"), "crow", "x", refuted=True)
        assert calibrating._first(Judged(sound, 0, np.array([1.0, 0.0])), 1.0)[1] is False
        assert calibrating._first(Judged(sound, 1, np.array([1.0, 0.0])), 1.0)[1] is None

    def test_the_picture(self, pipeline, folder, tmp_path):
        pytest.importorskip("matplotlib", reason="needs the extra [eval]")
        sounds = read_sounds(folder / "table.csv", only={"split": ["validation"]})
        report = calibrate(pipeline, sounds, listed("crow", "wren"), free_answers=True)
        plot_calibration(report, tmp_path / "c.png")
        assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


class TestCommand:
    @pytest.fixture
    def run(
        self, toy_model_dir: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, str, str]]:
        def run(*words: object) -> tuple[int, str, str]:
            required = ["calibrate", folder / "table.csv", "--model", toy_model_dir, "--device", "cpu"]
            with pytest.raises(SystemExit) as left:
                cli.main([str(word) for word in (*required, "--output", tmp_path / "c.json", *words)])
            shown = capsys.readouterr()
            return int(str(left.value.code)), shown.out, shown.err

        return run

    def test_it_writes_what_infer_reads(self, run, tmp_path):
        status, shown, said = run("--only", "split=validation", "--no-plot", "--no-none")
        assert status == 0
        assert "temperature" in shown
        assert "c.json" in said
        found = read_calibration(tmp_path / "c.json")
        assert (found.rows, found.labels) == (16, 2)
        assert json.loads((tmp_path / "c.json").read_text())["after"]["bins"]
        assert not (tmp_path / "c.png").exists()

    def test_recordings_are_heard_as_infer_will_hear_them(self, run, tmp_path, monkeypatch):
        heard = []
        stream = calibrating.stream

        def listening(*arguments: Any, **named: Any) -> Any:
            heard.append((named["channel"], named["speed_factor"]))
            return stream(*arguments, **named)

        monkeypatch.setattr(calibrating, "stream", listening)
        given = ("--only", "split=validation", "--no-plot", "--channel", 1, "--speed-factor", 0.5)
        assert run(*given)[0] == 0
        assert set(heard) == {(1, 0.5)}
        found = read_calibration(tmp_path / "c.json")
        assert found.more["hearing"] == {"channel": 1, "speed_factor": 0.5, "resampler": "soxr"}

    def test_recordings_that_are_all_right_calibrate_nothing(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(calibrating, "_fit", lambda rows: 0.01)
        status, shown, said = run("--only", "split=validation", "--no-plot")
        assert (status, "nothing was written" in said) == (2, True)
        assert "best label" in shown
        assert not (tmp_path / "c.json").exists()

    def test_unreadable_recordings_are_counted(self, run):
        status, _, said = run("--no-plot")
        assert (status, "1 recordings could not be read" in said) == (3, True)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--only", "split"], "write COLUMN=VALUE"),
            (["--output", "c.txt"], "ends in .json"),
            (["--output", "gone/c.json"], "is not there"),
            (["--labels", "gone.txt"], "can't be read"),
            (["--speed-factor", "0"], "--speed-factor must be"),
        ],
    )
    def test_wrong_use(self, run, words, message):
        status, _, said = run("--no-plot", *words)
        assert (status, message in said) == (2, True)

    @pytest.mark.parametrize("name", ["c.json", "c.png"])
    def test_nothing_is_replaced_unasked(self, run, tmp_path, monkeypatch, name):
        (tmp_path / name).write_text("of before")
        monkeypatch.setattr("naturelm_audio.calibration_report.require_plots", lambda: None)
        status, _, said = run()
        assert (status, f"{name}: exists already: replace it with --overwrite" in said) == (2, True)
        assert (tmp_path / name).read_text() == "of before"
        status, _, said = run("--overwrite", "--labels", "gone.txt")
        assert (status, "gone.txt" in said) == (2, True)

    def test_without_matplotlib_it_is_said_before_any_work(self, run, monkeypatch):
        def missing() -> None:
            raise MissingExtraError("eval", "A plot")

        monkeypatch.setattr("naturelm_audio.calibration_report.require_plots", missing)
        status, _, said = run()
        assert (status, "naturelm-audio[eval]" in said) == (2, True)
