"""`naturelm infer --labels` as a user meets it: what is written, resumed, and refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from naturelm_audio import cli, prompts
from naturelm_audio.calibration import Calibration, write_calibration
from naturelm_audio.journal import read_answers
from naturelm_audio.records import Answer

LABELS = "crow\nwren\ngull\ntern\n"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def infer(
    tmp_path: Path,
    wav: Callable[..., Path],
    toy_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """A function that runs `naturelm infer` on two recordings and a list; exit status and stderr."""
    wav("sound/a.wav", seconds=12, sample_rate_hz=16_000)
    wav("sound/b.wav", seconds=3, sample_rate_hz=16_000)
    (tmp_path / "labels.txt").write_text(LABELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(*words: object, labels: str | None = "labels.txt") -> tuple[int, str]:
        required = ["--model", toy_model_dir, "--device", "cpu", "--audio-path", "sound"]
        listed = [] if labels is None else ["--labels", labels]
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in ("infer", *required, *listed, *words)])
        shown = capsys.readouterr()
        assert shown.out == ""
        return int(str(left.value.code)), shown.err

    return run


def rows(path: str = "inference_output.jsonl") -> list[Answer]:
    return list(read_answers(path))


def without_run_id(path: str) -> str:
    return re.sub(r'"run_id":"[^"]*"', "", Path(path).read_text(encoding="utf-8"))


def test_each_window_has_its_best_labels(infer: Run) -> None:
    status, _ = infer("--top-k", 3)
    assert status == 0
    assert [(row.audio_path, row.start_seconds) for row in rows()] == [
        ("a.wav", 0.0),
        ("a.wav", 10.0),
        ("b.wav", 0.0),
    ]
    for row in rows():
        assert row.query == prompts.CATEGORIES.format("crow, gull, tern, wren")
        assert len(row.labels or ()) == 3
        assert row.labels is not None
        assert row.output == row.labels[0].label
        assert row.confidence_kind == "label_softmax"
    run = json.loads(Path("inference_output.jsonl.run.json").read_text(encoding="utf-8"))
    assert run["labels"] == ["crow", "wren", "gull", "tern", "None"]
    assert run["settings"]["ranking"]["top_k"] == 3


def test_a_run_cut_anywhere_is_resumed_to_the_same_rows(infer: Run) -> None:
    infer("--output-path", "whole.jsonl")
    infer("--output-path", "cut.jsonl")
    lines = Path("cut.jsonl").read_bytes().splitlines(keepends=True)
    Path("cut.jsonl").write_bytes(lines[0] + lines[1][:40])
    Path("cut.jsonl.state.jsonl").write_bytes(Path("cut.jsonl.state.jsonl").read_bytes().splitlines(True)[0])
    status, _ = infer("--output-path", "cut.jsonl", "--resume")
    assert status == 0
    assert without_run_id("cut.jsonl") == without_run_id("whole.jsonl")


@pytest.mark.parametrize(
    "change", [["--top-k", 2], ["--no-none"], ["--min-confidence", 0.1], ["--query", "Who?"], "labels"]
)
def test_another_ranking_is_not_resumed_into_the_same_file(infer: Run, change: Any) -> None:
    infer()
    if change == "labels":
        Path("labels.txt").write_text(f"{LABELS}lark\n", encoding="utf-8")
        change = ["--query", rows()[0].query]
    status, shown = infer("--resume", *change)
    assert status == 2
    assert "has rows made with" in shown


def test_free_answers_are_not_resumed_into_a_ranking(infer: Run) -> None:
    infer("--query", "Who?", labels=None)
    status, shown = infer("--query", "Who?", "--resume")
    assert (status, "ranking" in shown) == (2, True)
    infer("--query", "Who?", "--overwrite")
    status, shown = infer("--query", "Who?", "--resume", labels=None)
    assert (status, "ranking" in shown) == (2, True)


@pytest.mark.parametrize("flag", ["--num-beams", "--max-new-tokens"])
def test_options_of_free_answers_are_refused(infer: Run, flag: str) -> None:
    status, shown = infer(flag, 2)
    assert (status, f"{flag} has no effect with --labels" in shown) == (2, True)


def test_batches_never_show(infer: Run) -> None:
    for size in (1, 3):
        infer("--batch-size", size, "--output-path", f"{size}.jsonl")
    for row, other in zip(rows("1.jsonl"), rows("3.jsonl"), strict=True):
        assert [label.label for label in row.labels or ()] == [label.label for label in other.labels or ()]
        assert row.confidence == pytest.approx(other.confidence, abs=2e-4)


def test_a_calibration_is_heeded_and_checked(infer: Run) -> None:
    write_calibration(
        Path("c.json"), Calibration(temperature=3.0, rows=9, weights="other", model="elsewhere")
    )
    infer("--output-path", "plain.jsonl")
    status, shown = infer("--calibration", "c.json")
    assert status == 0
    assert "the calibration is of other weights (elsewhere)" in shown
    for row, plain in zip(rows(), rows("plain.jsonl"), strict=True):
        assert row.confidence_kind == "calibrated"
        assert row.output == plain.output
        assert (row.confidence or 0) < (plain.confidence or 0)


def test_annotation_formats_have_one_line_per_window(infer: Run) -> None:
    status, _ = infer("--no-none", "--format", "jsonl,raven,csv", "--output-path", "out.jsonl")
    assert status == 0
    (table,) = Path("out").glob("**/a*.selections.txt")
    lines = table.read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[10] for line in lines] == [
        "Annotation",
        *(row.output for row in rows("out.jsonl")[:2]),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no labels"),
        ("wren\nWren\n", "'Wren' differs from 'wren' in case only"),
        ("wr\ten\n", "has a tab"),
        ("wren<|eot_id|>\nrobin\n", "control token"),
    ],
)
def test_faulty_lists_are_refused_and_leave_nothing(infer: Run, content: str, message: str) -> None:
    Path("bad.txt").write_text(content, encoding="utf-8")
    status, shown = infer(labels="bad.txt")
    assert status == 2
    assert message in shown
    assert not Path("inference_output.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top-k", 0], "--top-k must be a whole number of at least 1"),
        (["--min-confidence", 2], "--min-confidence must be"),
        (["--calibration", "gone.json"], "gone.json: can't be read"),
    ],
)
def test_wrong_values_are_refused_by_name(infer: Run, words: list[object], message: str) -> None:
    status, shown = infer(*words)
    assert (status, message in shown) == (2, True)


@pytest.mark.parametrize(
    "words", [["--top-k", 2], ["--no-none"], ["--min-confidence", 0.5], ["--calibration", "c.json"]]
)
def test_settings_of_a_ranking_need_a_list(infer: Run, words: list[object]) -> None:
    status, shown = infer("--query", "Who?", *words, labels=None)
    assert (status, f"{words[0]} needs --labels" in shown) == (2, True)


def test_without_a_list_a_question_is_needed(infer: Run) -> None:
    status, shown = infer(labels=None)
    assert (status, "or rank a list with --labels" in shown) == (2, True)
