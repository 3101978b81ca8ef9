"""The official README's Python snippets and its helpers, as existing code calls them."""

from __future__ import annotations

import inspect
import json
import re

import numpy as np
import pytest
import soundfile
import torch

from NatureLM import infer
from NatureLM.config import Config, GenerateConfig, ModelConfig
from NatureLM.infer import Pipeline, load_model_and_config, sliding_window_inference
from NatureLM.processors import (
    NatureLMAudioEvalProcessor,
    NatureLMAudioProcessor,
    NatureLMInferenceDataset,
    collater,
)
from NatureLM.utils import move_to_device, prepare_sample_waveforms
from naturelm_audio import listening
from naturelm_audio.audio import read_span
from naturelm_audio.errors import AudioError, OptionsError, PromptError

QUESTION = "What is the common name for the focal species in the audio? Answer:"
LINE = re.compile(r"#(\d+\.\d\d)s - (\d+\.\d\d)s#: (.*)\n", re.DOTALL)
HEAD = "<|start_header_id|>user<|end_header_id|>\n\n<Audio><AudioHere></Audio> "


def tone(seconds, sample_rate_hz=16_000, hertz=440.0):
    times = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "recording.wav"
    soundfile.write(path, tone(12.0, 22_050), 22_050)
    return path


@pytest.fixture
def pipeline(model, generate_yaml):
    return Pipeline(model=model, cfg_path=generate_yaml)


def spans(text):
    """The (start, end) texts of the lines of one official string."""
    return re.findall(r"^#(\d+\.\d\d)s - (\d+\.\d\d)s#: ", text, re.MULTILINE)


# --- Pipeline -----------------------------------------------------------------------------------------------


def test_the_readme_snippet_runs_as_written(model, generate_yaml, recording):
    audio_paths = [str(recording)]
    queries = [QUESTION]
    pipeline = Pipeline(model=model, cfg_path=generate_yaml)
    results = pipeline(audio_paths, queries, window_length_seconds=10.0, hop_length_seconds=10.0)
    assert len(results) == 1
    assert LINE.match(results[0])
    assert results[0].endswith("\n")


def test_signatures_are_the_official_ones():
    official = ["audios", "queries", "window_length_seconds", "hop_length_seconds", "input_sample_rate"]
    assert list(inspect.signature(Pipeline.__call__).parameters)[1:6] == official
    assert list(inspect.signature(Pipeline).parameters) == ["model", "cfg_path"]
    assert list(inspect.signature(load_model_and_config).parameters) == ["cfg_path", "device"]


def test_the_resampler_of_the_official_package_can_be_asked_for(pipeline, recording, monkeypatch):
    asked = []
    original = listening.audio.stream
    spy = lambda path, **options: asked.append(options["resampler"]) or original(path, **options)  # noqa: E731
    monkeypatch.setattr(listening.audio, "stream", spy)
    pipeline(recording, QUESTION)
    pipeline.resampler = "kaiser_best"
    pipeline(recording, QUESTION)
    sliding_window_inference(recording, QUESTION, None, pipeline.model, pipeline.cfg, resampler="kaiser_best")
    assert asked == ["soxr", "kaiser_best", "kaiser_best"]
    clip = NatureLMAudioProcessor(max_length_seconds=2, resampler="kaiser_best").prepare_audio(recording)
    truth = read_span(recording, 0, 2, resampler="kaiser_best")
    np.testing.assert_array_equal(clip.numpy(), truth)
    samples = soundfile.read(recording, dtype="float32")[0]
    clip = NatureLMAudioProcessor(max_length_seconds=2, resampler="kaiser_best").prepare_audio(
        samples, 22_050
    )
    np.testing.assert_allclose(clip.numpy(), truth, atol=1e-6)


def test_I1_I2_the_tail_is_answered_and_ends_with_the_recording(pipeline, recording):
    assert spans(pipeline(recording, QUESTION)[0]) == [("0.00", "10.00"), ("10.00", "12.00")]


@pytest.mark.parametrize("form", ["path", "text", "array", "tensor", "numbers", "stereo", "integers"])
def test_I9_one_recording_in_every_form(pipeline, recording, form):
    samples = tone(3.0)
    audio, end = {
        "path": (recording, "12.00"),
        "text": (str(recording), "12.00"),
        "array": (samples, "3.00"),
        "tensor": (torch.from_numpy(samples), "3.00"),
        "numbers": (samples.tolist(), "3.00"),
        "stereo": (np.stack([samples, samples]), "3.00"),
        "integers": ((samples * 32767).astype(np.int16), "3.00"),
    }[form]
    results = pipeline(audio, QUESTION)
    assert len(results) == 1
    assert spans(results[0])[-1][1] == end


def test_I9_lists_of_paths_and_arrays_keep_their_order(pipeline, recording):
    results = pipeline([tone(3.0), recording, tone(4.0).tolist()], QUESTION)
    assert [spans(text)[-1][1] for text in results] == ["3.00", "12.00", "4.00"]


def test_one_query_per_recording_gives_each_its_own_answer(pipeline):
    first, second = tone(3.0), tone(3.0, hertz=1000.0)
    together = pipeline([first, second, first], [QUESTION, "Caption the audio.", "Caption the audio."])
    apart = [
        pipeline(first, QUESTION),
        pipeline(second, "Caption the audio."),
        pipeline(first, "Caption the audio."),
    ]
    assert together == [text for texts in apart for text in texts]


def test_one_query_in_a_list_serves_all(pipeline):
    assert pipeline([tone(3.0), tone(4.0)], [QUESTION]) == pipeline([tone(3.0), tone(4.0)], QUESTION)


def test_the_same_recording_twice_gives_two_results(pipeline, recording):
    first, second = pipeline([recording, recording], QUESTION)
    assert first == second
    assert len(spans(first)) == 2


def test_queries_and_recordings_of_different_number_are_refused(pipeline):
    with pytest.raises(OptionsError, match="2 queries for 3 recordings"):
        pipeline([tone(1.0)] * 3, ["a?", "b?"])


def test_the_sample_rate_of_arrays_is_heeded(pipeline):
    assert spans(pipeline(tone(3.0, 48_000), QUESTION, input_sample_rate=48_000)[0]) == [("0.00", "3.00")]


def test_windows_and_hops_may_leave_gaps_as_officially(pipeline, recording):
    text = pipeline(recording, QUESTION, window_length_seconds=2.0, hop_length_seconds=5.0)[0]
    assert spans(text) == [("0.00", "2.00"), ("5.00", "7.00"), ("10.00", "12.00")]


@pytest.mark.parametrize("hop", [0.0, -1.0])
def test_I4_a_hop_of_nothing_is_refused(pipeline, hop):
    with pytest.raises(OptionsError, match="hop"):
        pipeline(tone(3.0), QUESTION, hop_length_seconds=hop)


def test_a_recording_that_is_too_short_is_an_error(pipeline):
    with pytest.raises(AudioError, match=r"recording 2: .*0\.5 s"):
        pipeline([tone(3.0), tone(0.1)], QUESTION)


def test_a_missing_file_is_an_error_that_names_it(pipeline, tmp_path):
    with pytest.raises(AudioError, match=r"absent\.wav"):
        pipeline(tmp_path / "absent.wav", QUESTION)


def test_sliding_window_inference_is_the_pipeline_of_one(model, pipeline, generate_yaml, recording):
    cfg = Config.from_sources(generate_yaml)
    processor = NatureLMAudioProcessor()
    assert (
        sliding_window_inference(recording, QUESTION, processor, model, cfg)
        == pipeline(recording, QUESTION)[0]
    )


# --- loading ------------------------------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch):
    """Replaces loading by a record of what would be loaded: (path, llama path, device)."""
    calls = []
    monkeypatch.setattr(
        infer.NatureLM,
        "from_pretrained",
        lambda path, llama=None, device=None: calls.append((path, llama, device)),
    )
    return calls


def test_I11_the_model_of_the_configuration_is_loaded(loads, tmp_path):
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine.yml"
    path.write_text("model: mine\ngenerate:\n  num_beams: 1\n")
    _, cfg = load_model_and_config(path, device="cpu")
    assert loads == [(str(tmp_path / "mine"), None, "cpu")]
    assert cfg.generate.num_beams == 1


def test_an_official_file_and_no_file_load_the_official_model(loads, generate_yaml):
    load_model_and_config(generate_yaml)
    Pipeline()
    official = "EarthSpeciesProject/NatureLM-audio"
    assert [path for path, *_ in loads] == [official, official]


# --- configuration ------------------------------------------------------------------------------------------


def test_config_from_an_official_file(generate_yaml):
    cfg = Config.from_sources(generate_yaml)
    assert cfg.generate.max_new_tokens == 6
    assert cfg.model.max_txt_len == 160
    assert cfg.model.llama_path == "meta-llama/Meta-Llama-3.1-8B-Instruct"
    assert ModelConfig.from_yaml(generate_yaml) == cfg.model


def test_I11_a_null_generate_section_is_the_defaults(tmp_path):
    path = tmp_path / "x.yml"
    path.write_text("model: naturelm-tiny\ngenerate: null\n")
    assert Config.from_sources(path).generate == GenerateConfig()


def test_generate_settings_may_be_changed_after_loading(generate_yaml):
    cfg = Config.from_sources(generate_yaml, ["generate.num_beams=3", "generate.merging_alpha=0.5"])
    cfg.generate.length_penalty = 2.0
    assert (cfg.generate.num_beams, cfg.generate.merging_alpha, cfg.generate.length_penalty) == (3, 0.5, 2.0)


def test_an_override_of_another_section_is_refused(generate_yaml):
    with pytest.raises(OptionsError, match=r"run\.seed=1"):
        Config.from_sources(generate_yaml, ["run.seed=1"])


def test_P6_the_environment_is_not_read(generate_yaml, monkeypatch):
    plain = Config.from_sources(generate_yaml)
    for name in ("MODEL", "RUN", "GENERATE", "DATASETS"):
        monkeypatch.setenv(name, "x")
    assert Config.from_sources(generate_yaml) == plain


# --- processors ---------------------------------------------------------------------------------------------


def test_processor_of_the_official_docstring():
    processor = NatureLMAudioProcessor()
    audios = [np.random.default_rng(0).random(32_000), np.random.default_rng(1).random(32_000)]
    waveforms, instructions = processor(audios, ["What is it?", "How many?"], [32_000, 32_000])
    assert waveforms.shape == (2, 160_000)
    assert waveforms.dtype == torch.float32
    assert instructions[0].startswith(HEAD + "What is it?<|eot_id|>")


def test_processor_cuts_long_clips_and_pads_short_ones(recording):
    processor = NatureLMAudioProcessor(max_length_seconds=5)
    waveforms, _ = processor([recording, tone(1.0)], ["a?", "b?"], [None, 16_000])
    assert waveforms.shape == (2, 80_000)
    assert waveforms[0].abs().max() <= 1
    assert not waveforms[1, 16_000:].any()


@pytest.mark.parametrize("question", ["<AudioHere> Who?", "<Audio><AudioHere></Audio> Who?", "Who?"])
def test_I15_a_question_gets_exactly_one_placeholder(question):
    assert NatureLMAudioProcessor().prepare_instruction(question).count("<AudioHere>") == 1


def test_a_question_with_braces_is_taken_literally():
    assert "{x} {} {prompt}" in NatureLMAudioProcessor().prepare_instruction("{x} {} {prompt}")


def test_own_prompt_template():
    processor = NatureLMAudioProcessor(prompt_template="USER {prompt} END")
    assert processor.prepare_instruction("Who?") == "USER <Audio><AudioHere></Audio> Who? END"


def test_two_placeholders_for_one_clip_are_refused():
    with pytest.raises(PromptError):
        NatureLMAudioProcessor().prepare_instruction("<AudioHere> <AudioHere> Who?")


def test_S3_a_length_in_fractions_and_NaN():
    processor = NatureLMAudioProcessor(max_length_seconds=2.5)
    assert processor.prepare_audio(tone(1.0)).shape == (40_000,)
    with pytest.raises(AudioError):
        processor.prepare_audio([0.0, float("nan")] * 8000)


def test_S1_labels_are_optional():
    processor = NatureLMAudioEvalProcessor(task="classification")
    assert "Who?" in processor.prepare_instruction("Who?")


@pytest.mark.parametrize(("labels", "fixed"), [(7, False), (8, True)])
def test_S2_detection_with_many_labels_asks_the_fixed_question(labels, fixed):
    # "None" counts, so eight labels are nine.
    names = [f"bird {number}" for number in range(labels)]
    prompt = NatureLMAudioEvalProcessor(task="detection", true_labels=names).prepare_instruction(
        "Own question"
    )
    assert ("What are the common names for the species in the audio, if any?" in prompt) == fixed
    assert ("Own question" in prompt) != fixed


def test_dataset_and_collater_make_a_batch():
    rows = [
        {
            "audio": tone(2.0, 32_000).tolist(),
            "metadata": json.dumps({"sample_rate": 32_000}),
            "instruction": f"Question {number}?",
            "task": "classification",
            "id": f"row-{number}",
            "output": "None",
        }
        for number in range(2)
    ]
    dataset = NatureLMInferenceDataset(rows, NatureLMAudioProcessor())
    batch = collater([dataset[place] for place in range(len(dataset))])
    assert batch["raw_wav"].shape == batch["padding_mask"].shape == (2, 160_000)
    assert not batch["padding_mask"].any()
    assert (batch["id"], batch["index"], batch["label"]) == (["row-0", "row-1"], [0, 1], ["None", "None"])
    assert "Question 1?" in batch["prompt"][1]


# --- utils --------------------------------------------------------------------------------------------------


def test_prepare_sample_waveforms_feeds_generate(model, recording):
    samples = prepare_sample_waveforms([recording, recording], cuda_enabled=False)
    assert samples["raw_wav"].shape == (2, 160_000)
    assert samples["audio_chunk_sizes"] == [2]
    prompt = NatureLMAudioProcessor().prepare_instruction("Who?")
    assert len(model.generate(samples, GenerateConfig(max_new_tokens=4), [prompt, prompt])) == 2


def test_prepare_sample_waveforms_stays_on_the_cpu_without_a_gpu(recording, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert prepare_sample_waveforms([recording])["raw_wav"].device.type == "cpu"


def test_move_to_device_walks_through_containers():
    moved = move_to_device({"a": [torch.zeros(2)], "b": (torch.ones(1), "text"), "c": 3}, "meta")
    assert moved["a"][0].device.type == moved["b"][0].device.type == "meta"
    assert (moved["b"][1], moved["c"]) == ("text", 3)
