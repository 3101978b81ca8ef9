from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from naturelm_audio.errors import OptionsError
from naturelm_audio.scoring_command import metrics_path, score

ROWS = [("One", "One"), ("More", "More"), ("", "One"), ("One", "More")]


@pytest.fixture
def predictions(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [
        {"dataset_name": "zf-indiv", "prediction": text, "label": label, "id": str(number)}
        for number, (text, label) in enumerate(ROWS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments):
    return CliRunner().invoke(score, [str(argument) for argument in arguments], standalone_mode=False)


def test_official_metrics_go_to_the_output(predictions, tmp_path):
    output = tmp_path / "metrics.json"
    done = run(predictions, "--output-path", output, "--mode", "official")
    assert done.return_value == 0, done.output
    assert json.loads(output.read_text()) == {
        "zf-indiv": {
            "Accuracy": 0.75,
            "Precision": pytest.approx(5 / 6),
            "Recall": 0.75,
            "F1 Score": pytest.approx(11 / 15),
            "Top-1 Accuracy": 0.75,
        }
    }
    assert done.stdout == ""
    assert "official metrics of 1 component, 4 rows" in done.stderr


def test_details_rows_and_report_hold_both_modes(predictions, tmp_path):
    assert run(predictions, "--partial").return_value == 0
    assert json.loads((tmp_path / "p_metrics.json").read_text())["zf-indiv"]["Accuracy"] == 0.5
    found = json.loads((tmp_path / "p_metrics_details.json").read_text())
    assert found["official"]["components"]["zf-indiv"]["metrics"]["Accuracy"] == 0.75
    assert found["strict"]["components"]["zf-indiv"]["metrics"]["Accuracy"] == 0.5
    assert found["provenance"]["partial"] is True
    assert len((tmp_path / "p_metrics_rows.jsonl").read_text().splitlines()) == 4
    report = (tmp_path / "p_metrics_report.md").read_text()
    assert "| zf-indiv | 4 | 1,160 | Accuracy | 0.7500 |" in report


def test_missing_rows_are_said(predictions, tmp_path):
    done = run(predictions)
    assert (
        "rows without an answer count as wrong (naturelm score --partial leaves them out): zf-indiv 1,156 of "
        "1,160\n" in done.stderr
    )
    assert "components without a row: esc50, watkins, cbi, " in done.stderr
    assert json.loads((tmp_path / "p_metrics.json").read_text())["zf-indiv"]["Accuracy"] == pytest.approx(
        2 / 1160
    )


def test_a_strict_failure_has_exit_status_3_and_keeps_the_rest(predictions, tmp_path):
    with predictions.open("a") as file:
        file.write('{"dataset_name": "hiceas", "prediction": "None", "label": "None"}\n')
    assert run(predictions, "--partial").return_value == 3
    found = json.loads((tmp_path / "p_metrics.json").read_text())
    assert found["hiceas"]["status"] == "failed"
    assert {name: found["hiceas"][name] for name in ("mAP", "F1", "Recall", "Precision")} == dict.fromkeys(
        ("mAP", "F1", "Recall", "Precision")
    )
    assert found["zf-indiv"]["status"] == "ok"
    assert run(predictions, "--mode", "official").return_value == 0


def test_a_component_that_fails_leaves_the_others_their_scores(predictions, tmp_path):
    with predictions.open("a") as file:
        file.write('{"dataset_name": "call-type", "prediction": "song", "label": "growl"}\n')
        file.write('{"dataset_name": "fish", "prediction": "cod", "label": "cod"}\n')
        file.write('{"dataset_name": "zf-indiv", "prediction": NaN, "label": "One"}\n')
    done = run(predictions, "--partial")
    assert done.return_value == 3
    found = json.loads((tmp_path / "p_metrics.json").read_text())
    assert found["zf-indiv"]["Accuracy"] == 0.5
    assert (found["call-type"]["status"], found["fish"]["status"]) == ("failed", "not scored")
    assert found["call-type"].keys() >= found["zf-indiv"]["rows_alone"].keys()
    assert "line 5: label 'growl' is not one of the 2 labels of call-type" in done.stderr
    assert "unknown component 'fish'" in done.stderr
    assert "line 7: prediction is NaN" in done.stderr
    assert run(predictions, "--partial", "--mode", "official").return_value == 0


def test_a_plot_is_drawn_if_asked(predictions, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the [eval] extra")
    assert run(predictions, "--partial", "--plot").return_value == 0
    assert (tmp_path / "p_metrics_plot.png").read_bytes().startswith(b"\x89PNG")
    assert "(p_metrics_plot.png)" in (tmp_path / "p_metrics_report.md").read_text()


def test_own_benchmarks(predictions, tmp_path):
    table = tmp_path / "mine.json"
    table.write_text('[{"name": "zf-indiv", "task": "classification", "labels": ["One", "More"]}]')
    assert run(predictions, "--benchmark", table).return_value == 0
    assert json.loads((tmp_path / "p_metrics.json").read_text())["zf-indiv"]["n_expected"] is None


def test_b2_metrics_never_replace_predictions(predictions, tmp_path):
    before = predictions.read_bytes()
    for output in (predictions, tmp_path / "other.jsonl", tmp_path / "x.csv"):
        with pytest.raises(OptionsError, match="never replace predictions"):
            metrics_path(predictions, output)
    assert predictions.read_bytes() == before
    plain = tmp_path / "plain"
    plain.write_bytes(before)
    with pytest.raises(OptionsError, match="never replace"):
        metrics_path(plain, plain)
    assert metrics_path(plain, None) == tmp_path / "plain_metrics.json"


def test_a_folder_that_is_not_there(predictions, tmp_path):
    with pytest.raises(OptionsError, match="is not there"):
        metrics_path(predictions, tmp_path / "none" / "m.json")


def test_a_second_run_writes_the_same(predictions, tmp_path):
    contents = []
    for _ in range(2):
        run(predictions, "--partial")
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1]


def test_help_imports_nothing_heavy():
    script = "import sys, naturelm_audio.scoring_command; print({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "set()\n"
