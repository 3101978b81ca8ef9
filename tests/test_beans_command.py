from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import benchmark_rows
import pytest
import soundfile
from click.testing import CliRunner
from prediction_server import serving, success

from naturelm_audio import audio, beans_command, prompts
from naturelm_audio.beans_command import beans, merge_options
from naturelm_audio.errors import NatureLMError, OptionsError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.options import GenerateOptions, RunConfig

pytest.importorskip("pyarrow", reason="needs the [eval] extra")
CHEAP = ("--num-beams", "1", "--max-new-tokens", "3", "--no-spice")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return benchmark_rows.write_parquet(tmp_path / "zoo", benchmark_rows.zoo_rows())


def run(*arguments):
    return CliRunner().invoke(beans, [str(argument) for argument in arguments], standalone_mode=False)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def predictions(tmp_path):
    return tmp_path / "p.jsonl"


def test_from_rows_to_scores_report_and_plot(zoo, toy_model_dir, predictions, tmp_path):
    done = run(
        "--data-path",
        zoo,
        "--model",
        toy_model_dir,
        "--device",
        "cpu",
        "--output-path",
        predictions,
        *CHEAP,
        "--rank-labels",
    )
    assert done.exception is None, done.output
    assert done.return_value == 0
    found = lines(predictions)
    assert len(found) == 10
    assert len(found[0]["log_likelihoods"]) == 2
    assert sorted(one["label"] for one in found[0]["labels"]) == ["Cat", "Hen"]
    assert sum(one["score"] for one in found[0]["labels"]) == pytest.approx(1, abs=2e-4)
    assert found[0]["labels"][0]["score"] >= 0.5
    assert "log_likelihoods" not in found[9]
    metrics = json.loads((tmp_path / "p_metrics.json").read_text())
    assert list(metrics) == ["zoo-cmn", "zoo-open", "zoo-cap"]
    assert set(metrics["zoo-cmn"]["ranking"]) >= {"top_1", "mAP", "calibration_error_fitted"}
    report = (tmp_path / "p_metrics_report.md").read_text()
    assert "| zoo-cmn | 4 | 4 | Accuracy |" in report
    assert "## Label ranking" in report
    assert "- generation: max_new_tokens 3, num_beams 1" in report
    assert "10 predictions, 0 of them errors" in done.stderr
    assert done.stdout == ""


def answers_of(model):
    """The loaded model behind a server: it hears what arrives, at 16 kHz, cut or padded as asked."""
    generator = Generator(model, GenerateOptions(num_beams=1, max_new_tokens=3))

    def one(request):
        (slot,) = request["audio_inputs"]
        heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(slot["data"])), dtype="float32")
        seconds = request["generation_config"]["max_length_seconds"]
        clip = audio.as_waveform(heard, rate_hz, resampler="kaiser_best")[: seconds * 16_000]
        (vector,) = generator.encode([clip])
        prompt = prompts.build(request["messages"][0]["content"])
        return success(request, generator.answer([Request(prompt, (vector,))])[0].text)

    return lambda requests: [one(request) for request in requests]


def test_a_server_gets_the_same_scores_as_the_model_itself(zoo, toy_model, toy_model_dir, tmp_path):
    outputs = [tmp_path / "local.jsonl", tmp_path / "remote.jsonl"]
    local = run(
        "--data-path",
        zoo,
        "--model",
        toy_model_dir,
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--output-path",
        outputs[0],
        *CHEAP,
    )
    with serving(answers_of(toy_model)) as server:
        remote = run("--data-path", zoo, "--predict-url", server.address, "--output-path", outputs[1], *CHEAP)
    assert (local.return_value, remote.return_value) == (0, 0), local.output + remote.output
    texts = [[row["prediction"] for row in lines(output)] for output in outputs]
    assert texts[0] == texts[1]
    scores = [json.loads((tmp_path / f"{name}_metrics.json").read_text()) for name in ("local", "remote")]
    assert scores[0] == scores[1]


def answer_hens(requests):
    return [
        success(one, "Hen")
        if not one["sample_id"].endswith("zoo-cmn-1")
        else {"sample_id": one["sample_id"], "predictions": [], "error": "internal: no"}
        for one in requests
    ]


def answer_zoo(requests):
    return [success(one, "Hen") for one in requests]


def test_what_a_server_could_not_answer_is_counted_and_makes_the_exit_status(zoo, predictions, tmp_path):
    with serving(answer_hens) as server:
        done = run("--data-path", zoo, "--predict-url", server.address, "--output-path", predictions, *CHEAP)
    assert done.return_value == 3
    assert json.loads((tmp_path / "p_metrics.json").read_text())["zoo-cmn"]["n_errors"] == 1
    assert "rows without an answer count as wrong" in done.stderr
    assert "zoo-cmn: 1 of 4 rows have no answer, the first" in done.stderr
    assert "10 predictions, 1 of them errors" in done.stderr


def test_a_server_that_is_broken_stops_the_run_with_one_line(zoo, predictions):
    with serving(answer_hens) as server:
        server.script = [
            lambda body: (
                200,
                {"schema_version": "predictions_v1", "responses": answer_hens(body["requests"])},
            ),
            lambda body: (400, {"detail": "out of hay"}),
        ]
        command = ("--data-path", zoo, "--predict-url", server.address, "--output-path", predictions, *CHEAP)
        done = run(*command, "--num-workers", 1)
        assert done.return_value == 1
        assert done.stderr.splitlines()[-1].startswith("Error: http://127.0.0.1:")
        assert "2 rows on file" in done.stderr
        assert run(*command, "--resume").return_value == 3
    assert len(lines(predictions)) == 10


def test_a_component_that_the_data_lacks_is_said_and_makes_the_exit_status(tmp_path, predictions, caplog):
    part = benchmark_rows.write_parquet(tmp_path / "part", benchmark_rows.zoo_rows()[:4])
    with serving(answer_zoo) as server:
        command = ("--data-path", part, "--predict-url", server.address, "--output-path", predictions, *CHEAP)
        done = run(*command)
        assert done.return_value == 3
        assert "components without a row in the data: zoo-open, zoo-cap\n" in done.stderr
        assert "part: has no row of zoo-open, zoo-cap, components of zoo" in caplog.text
        assert run(*command, "--overwrite", "--components", "zoo-cmn").return_value == 0


def test_a_limit_makes_a_partial_result(zoo, predictions, tmp_path):
    with serving(answer_zoo) as server:
        command = ("--data-path", zoo, "--predict-url", server.address, "--output-path", predictions)
        done = run(
            *command, "--limit", 1, "--components", "zoo-cmn,zoo-cap", "--components", "zoo-cmn", *CHEAP
        )
    assert done.return_value == 0
    found = json.loads((tmp_path / "p_metrics.json").read_text())
    assert (found["zoo-cmn"]["Accuracy"], found["zoo-cmn"]["n"]) == (1.0, 1)
    assert "partial: True" in (tmp_path / "p_metrics_report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data-path", "none"), "there is no such folder or file. Nothing is downloaded"),
        (("--data-path", "x", "--output-path", "p.json"), r"name a file that ends in \.jsonl"),
        (("--data-path", "x", "--limit", "0"), "--limit must be a whole number of at least 1, found 0"),
        (("--data-path", "x", "--batch-size", "0"), "--batch-size must be a whole number of at least 1"),
        (("--data-path", "x", "--num-beams", "0"), "--num-beams must be a whole number"),
        (("--data-path", "x", "--resume", "--overwrite"), "exclude each other"),
        (("--data-path", "x", "--predict-url", "u", "--rank-labels"), "--rank-labels needs the model itself"),
        (("--data-path", "x", "--predict-url", "u", "--model", "m"), "--model has no effect beside"),
        (("--data-path", "x", "--timeout-seconds", "-1"), "--timeout-seconds must be a finite number"),
        (("--data-path", "x", "--cfg-path", "none.yml"), "no such configuration file"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert isinstance(done.exception, NatureLMError)
    with pytest.raises(NatureLMError, match=message):
        raise done.exception
    assert list(tmp_path.iterdir()) == []


def test_official_options_and_files(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("naturelm_audio.beans.run.run_beans", lambda options, load: seen.append(options))
    monkeypatch.setattr(beans_command, "score_run", lambda options, summary: 0)
    done = run(
        "--cfg-path",
        "configs/inference.yml",
        "--data-path",
        "d",
        "--output-path",
        tmp_path / "o.jsonl",
        "--batch-size",
        16,
        "--num-workers",
        4,
    )
    assert done.exception is None, done.exception
    (options,) = seen
    assert (options.batch_size, options.workers, options.data) == (16, 4, "d")
    assert options.generate.num_beams == 2


def test_a_flag_wins_over_the_file_and_the_defaults_are_the_published_ones():
    config = RunConfig(batch_size=4, resampler="soxr", model="m", model_arguments={"a": 1}, llama_path="l")
    given = {"data_path": "d", "batch_size": 8, "components": ("a, b", "a"), "resume": False}
    options = merge_options(config, given)
    assert (options.batch_size, options.resampler, options.components) == (8, "soxr", ("a", "b"))
    assert (options.model, dict(options.model_arguments), options.llama_path) == ("m", {"a": 1}, "l")
    other = merge_options(config, {**given, "model": "n"})
    assert (other.model, dict(other.model_arguments), other.llama_path) == ("n", {}, None)
    assert merge_options(config, {**given, "predict_url": "u"}).model is None
    plain = merge_options(RunConfig(), {"data_path": "d"})
    assert (plain.resampler, plain.mode, plain.generate.num_beams) == ("kaiser_best", "strict", 2)
    with pytest.raises(OptionsError, match="--merging-alpha must be a finite number"):
        merge_options(RunConfig(), {"data_path": "d", "merging_alpha": 2.0})


def test_help_imports_nothing_heavy():
    script = "import sys, naturelm_audio.beans_command; print({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "set()\n"
