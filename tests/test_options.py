"""Options and configuration files: defaults, official files, and a clear message for everything else."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from naturelm_audio.errors import OptionsError
from naturelm_audio.options import (
    BUNDLED_MODEL,
    OFFICIAL_MODEL,
    GenerateOptions,
    InferOptions,
    RunConfig,
    read_config,
)

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "src" / "naturelm_audio" / "configs"
# The official configs/inference.yml: keys and values as published, comments and order ours.
OFFICIAL_YAML = r"""
generate: {max_new_tokens: 300, num_beams: 2, do_sample: False, min_length: 1, temperature: 0.1,
           repetition_penalty: 1.0, length_penalty: 1.0}
model:
  llama_path: "meta-llama/Meta-Llama-3.1-8B-Instruct"
  beats_path: "gs://foundation-models/beats_ckpts/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"
  ckpt: "gs://foundation-models/iclr/s2_e160.pt"
  freeze_beats: True
  use_audio_Qformer: True
  max_pooling: False
  downsample_factor: 8
  freeze_audio_QFormer: False
  window_level_Qformer: True
  num_audio_query_token: 1
  second_per_window: 0.333333
  second_stride: 0.333333
  audio_llama_proj_model: ""
  freeze_audio_llama_proj: False
  lora: True
  lora_rank: 32
  lora_alpha: 32
  lora_dropout: 0.1
  prompt_template: "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
  max_txt_len: 160
  end_sym: <|end_of_text|>
  beats_cfg: {input_patch_size: 16, embed_dim: 512, conv_bias: False, encoder_layers: 12, deep_norm: True,
              encoder_embed_dim: 768, encoder_ffn_embed_dim: 3072, encoder_attention_heads: 12,
              activation_fn: "gelu", layer_wise_gradient_decay_ratio: 0.6, layer_norm_first: False,
              dropout: 0.0, attention_dropout: 0.0, activation_dropout: 0.0, encoder_layerdrop: 0.05,
              dropout_input: 0.0, conv_pos: 128, conv_pos_groups: 16, relative_position_embedding: True,
              num_buckets: 320, max_distance: 800, gru_rel_pos: True, finetuned_model: True,
              predictor_dropout: 0.0, predictor_class: 527}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_config(text: str) -> Path:
        path = tmp_path / "settings.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


def infer(**changes: object) -> InferOptions:
    return InferOptions(**{"audio_paths": ("a.wav",), "queries": ("What is it?",), **changes})  # type: ignore[arg-type]


class TestGenerateOptions:
    def test_defaults_are_those_of_the_release(self):
        options = GenerateOptions()
        assert (options.max_new_tokens, options.num_beams, options.do_sample) == (300, 2, False)
        assert (options.repetition_penalty, options.length_penalty, options.merging_alpha) == (1.0, 1.0, 1.0)

    def test_every_option_has_a_help_text(self):
        assert all(item.metadata["help"] for item in dataclasses.fields(GenerateOptions))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_new_tokens", 0),
            ("max_new_tokens", 1.5),
            ("max_new_tokens", True),
            ("num_beams", 0),
            ("do_sample", 1),
            ("repetition_penalty", 0.0),
            ("length_penalty", float("nan")),
            ("merging_alpha", -0.1),
            ("merging_alpha", 1.1),
            ("merging_alpha", "high"),
        ],
    )
    def test_a_value_out_of_range_is_refused_by_name(self, name: str, value: object):
        with pytest.raises(OptionsError, match=f"^{name} must be"):
            GenerateOptions(**{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize(("name", "value"), [("temperature", 0.0), ("top_p", 0.0), ("top_p", 1.5)])
    def test_a_sampling_value_out_of_range_is_refused_by_name(self, name: str, value: float):
        with pytest.raises(OptionsError, match=f"^{name} must be"):
            GenerateOptions(do_sample=True, **{name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "inert",
        [{"temperature": 0.1}, {"top_p": 0.9}, {"num_beams": 1, "length_penalty": 0.5}],
        ids=["temperature", "top_p", "length_penalty"],
    )
    def test_M6_an_option_without_effect_is_refused(self, inert: dict[str, float]):
        with pytest.raises(OptionsError, match="has no effect"):
            GenerateOptions(**inert)  # type: ignore[arg-type]

    def test_P11_sampling_options_are_accepted(self):
        options = GenerateOptions(do_sample=True, temperature=0.6, top_p=0.9)
        assert (options.temperature, options.top_p) == (0.6, 0.9)

    def test_options_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            GenerateOptions().num_beams = 4  # type: ignore[misc]


class TestOfficialFile:
    def test_it_selects_the_official_model(self, write):
        config = read_config(write(OFFICIAL_YAML))
        assert config.model == OFFICIAL_MODEL
        assert config.llama_path == "meta-llama/Meta-Llama-3.1-8B-Instruct"
        assert config.generate == GenerateOptions()
        assert config.model_arguments["lora_rank"] == 32
        assert config.model_arguments["beats_cfg"]["num_buckets"] == 320

    def test_M6_options_without_effect_are_named_in_the_log(self, write, caplog):
        read_config(write(OFFICIAL_YAML))
        (line,) = [item.message for item in caplog.records if item.levelno >= logging.WARNING]
        assert "min_length" in line
        assert "temperature" in line

    def test_sampling_from_a_file_uses_the_temperature(self, write, caplog):
        config = read_config(write("generate: {do_sample: true, temperature: 1e-1, top_p: 0.9}"))
        assert config.generate.temperature == 0.1
        assert not caplog.records

    def test_I11_a_local_checkpoint_is_used(self, write, tmp_path: Path):
        (tmp_path / "mine.pt").touch()
        assert read_config(write("model: {ckpt: mine.pt, llama_path: llama}")).model == str(
            tmp_path / "mine.pt"
        )
        config = read_config(write("model: {ckpt: '', llama_path: x/llama}"))
        assert (config.model, config.llama_path) == (OFFICIAL_MODEL, "x/llama")

    @pytest.mark.parametrize("text", ["generate: null", "generate:", "model:\n", "", "{}", "# nothing\n"])
    def test_I11_empty_sections_are_defaults(self, write, text: str):
        path = write(text)
        assert read_config(path) == RunConfig(source=path)

    def test_sections_for_training_are_passed_over(self, write):
        assert read_config(write("run: {seed: 1}\ndatasets: {}\n")).generate == GenerateOptions()

    @pytest.mark.parametrize(
        "setting", ["use_audio_Qformer: false", "window_level_Qformer: false", "max_pooling: true"]
    )
    def test_M10_forms_the_model_does_not_have_are_refused(self, write, setting: str):
        with pytest.raises(OptionsError, match=setting.split(":")[0]):
            read_config(write(f"model: {{{setting}}}"))


class TestOurFile:
    def test_every_key_is_read(self, write):
        text = """
            model: naturelm-tiny
            llama_path: some/llama
            device: cpu
            dtype: float32
            batch_size: 4
            window_length_seconds: 5
            hop_length_seconds: 2.5
            channel: 2
            speed_factor: 0.1
            resampler: kaiser_best
            generate: {num_beams: 1, merging_alpha: 0.6}
        """
        config = read_config(write(text))
        assert config.model == BUNDLED_MODEL
        assert (config.llama_path, config.device, config.dtype) == ("some/llama", "cpu", "float32")
        assert (config.batch_size, config.channel, config.speed_factor) == (4, 2, 0.1)
        assert config.resampler == "kaiser_best"
        assert (config.window_length_seconds, config.hop_length_seconds) == (5.0, 2.5)
        assert config.generate == GenerateOptions(num_beams=1, merging_alpha=0.6)

    def test_paths_are_found_beside_the_file(self, write, tmp_path: Path):
        (tmp_path / "model").mkdir()
        (tmp_path / "llama").mkdir()
        config = read_config(write("model: ./model\nllama_path: llama"))
        assert config.model is not None
        assert Path(config.model).samefile(tmp_path / "model")
        assert config.llama_path == str(tmp_path / "llama")

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_files_with_a_byte_order_mark_are_read(self, tmp_path: Path, encoding: str):
        path = tmp_path / "settings.yml"
        path.write_bytes("model: a/Zaunkönig\r\ndevice: cpu\r\n".encode(encoding))
        assert read_config(path).model == "a/Zaunkönig"


class TestWrongFile:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("modell: x", "unknown key 'modell'; did you mean 'model'"),
            ("generate: {num_beam: 2}", "generate: unknown key 'num_beam'; did you mean 'num_beams'"),
            ("model: {lora_rnak: 2}", "model: unknown key 'lora_rnak'; did you mean 'lora_rank'"),
            (
                "model: {beats_cfg: {deepnorm: 1}}",
                "beats_cfg: unknown key 'deepnorm'; did you mean 'deep_norm'",
            ),
            ("zzz: 1", "unknown key 'zzz'; known keys: batch_size"),
            ("1: 1", "unknown key '1'"),
            ("generate: {num_beams: two}", "num_beams must be a whole number, found 'two'"),
            ("generate: {num_beams: 2.5}", "num_beams must be a whole number, found 2.5"),
            ("generate: {num_beams: 0}", "generate.num_beams must be a whole number of at least 1"),
            ("generate: {do_sample: 1}", "do_sample must be true or false, found 1"),
            ("generate: {repetition_penalty: high}", "repetition_penalty must be a number"),
            ("generate: [1]", "expected keys and values, found list"),
            ("generate: greedy", "expected keys and values, found str"),
            ("- a", "expected keys and values, found list"),
            ("just text", "expected keys and values, found str"),
            ("model: 3", "model: expected keys and values, found int"),
            ("device: 1", "device must be text"),
            ("channel: true", "channel must be a whole number"),
            ("a: [1", "line 1: not a valid YAML file"),
            ("device: cpu\ndevice: cuda", "line 1: not a valid YAML file: 'device' is given twice"),
            ("x: !!python/object/apply:os.getcwd []", "not a valid YAML file"),
            ("\x01", "not a valid YAML file"),
        ],
    )
    def test_the_message_says_what_is_wrong_and_where(self, write, text: str, message: str):
        path = write(text)
        with pytest.raises(OptionsError, match=re.escape(message)) as caught:
            read_config(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_named(self, tmp_path: Path):
        with pytest.raises(OptionsError, match=r"nowhere\.yml: no such configuration file"):
            read_config(tmp_path / "nowhere.yml")
        with pytest.raises(OptionsError, match="no such configuration file"):
            read_config(tmp_path)


class TestShippedFiles:
    def test_both_copies_are_equal(self):
        names = sorted(item.name for item in SHIPPED.glob("*.yml"))
        assert {"inference.yml", "naturelm_audio_8b.yml"} < set(names)
        assert {"train_stage1.yml", "train_stage2.yml"} < set(names)
        for name in names:
            assert (ROOT / "configs" / name).read_bytes() == (SHIPPED / name).read_bytes()

    def test_inference_yml_holds_the_defaults(self):
        config = read_config(SHIPPED / "inference.yml")
        defaults = infer()
        assert config.model == BUNDLED_MODEL
        assert config.generate == defaults.generate
        assert config.batch_size is defaults.batch_size is None
        assert (config.device, config.dtype) == (defaults.device, defaults.dtype)
        assert config.window_length_seconds == defaults.window_length_seconds
        assert config.hop_length_seconds is defaults.hop_length_seconds is None

    def test_the_8b_file_selects_the_official_model(self):
        config = read_config(SHIPPED / "naturelm_audio_8b.yml")
        assert config.model == OFFICIAL_MODEL
        assert config.llama_path == "meta-llama/Meta-Llama-3.1-8B-Instruct"
        assert config.generate == GenerateOptions()

    def test_I11_they_are_found_from_any_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        assert read_config("configs/inference.yml").source == SHIPPED / "inference.yml"
        assert read_config("naturelm_audio_8b.yml").model == OFFICIAL_MODEL
        with pytest.raises(OptionsError, match="no such configuration file"):
            read_config("elsewhere/inference.yml")

    def test_a_file_of_the_working_directory_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "inference.yml").write_text("model: mine")
        monkeypatch.chdir(tmp_path)
        assert read_config("configs/inference.yml").model == "mine"


class TestInferOptions:
    def test_the_hop_defaults_to_the_window(self):
        assert infer(window_length_seconds=5.0).hop_seconds == 5.0
        assert infer(window_length_seconds=5.0, hop_length_seconds=1.0).hop_seconds == 1.0

    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    @pytest.mark.parametrize("name", ["window_length_seconds", "hop_length_seconds", "speed_factor"])
    def test_I4_lengths_are_checked_first(self, name: str, value: float):
        with pytest.raises(
            OptionsError, match=f"^--{name.replace('_', '-')} must be a finite number above 0"
        ):
            infer(**{name: value})

    def test_I4_gaps_must_be_asked_for(self):
        with pytest.raises(OptionsError, match="--allow-gaps"):
            infer(window_length_seconds=5.0, hop_length_seconds=6.0)
        assert infer(window_length_seconds=5.0, hop_length_seconds=6.0, allow_gaps=True).hop_seconds == 6.0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"audio_paths": ()}, "--audio-path is missing"),
            ({"queries": ()}, "--query is missing"),
            ({"queries": (" \n",)}, "--query is empty"),
            ({"queries": ("a", "b", "a")}, "--query is given twice: 'a'"),
            ({"batch_size": 0}, "--batch-size must be a whole number of at least 1"),
            ({"channel": 0}, "--channel must be a whole number of at least 1"),
            ({"dtype": "int8"}, "--dtype must be one of auto, float32, bfloat16, float16"),
            ({"resampler": "sinc"}, "--resampler must be one of soxr, kaiser_best, found 'sinc'"),
            ({"formats": ("cvs",)}, "there is no format 'cvs'; did you mean csv"),
            ({"formats": ("jsonl",), "output_path": Path("a.csv")}, "name it a.jsonl"),
            ({"resume": True, "overwrite": True}, "--resume and --overwrite exclude each other"),
            ({"nominal_end": True}, "--nominal-end needs --format official"),
        ],
    )
    def test_the_message_names_the_flag(self, changes: dict[str, object], message: str):
        with pytest.raises(OptionsError, match=re.escape(message)):
            infer(**changes)

    def test_settings_hold_what_decides_the_rows(self):
        base = infer().settings()
        same = infer(device="cpu", batch_size=3, hop_length_seconds=10, output_path=Path("x"), resume=True)
        assert same.settings() == base
        changed: list[dict[str, object]] = [
            {"queries": ("Other?",)},
            {"window_length_seconds": 5.0, "hop_length_seconds": 5.0},
            {"channel": 1},
            {"speed_factor": 0.1},
            {"resampler": "kaiser_best"},
            {"generate": GenerateOptions(num_beams=1)},
        ]
        assert all(infer(**change).settings() != base for change in changed)


def test_P6_the_environment_is_not_read():
    code = "import naturelm_audio.options as o; print(o.read_config('configs/inference.yml').model)"
    environment = os.environ | {"MODEL": "x", "RUN": "y", "GENERATE": "z", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == BUNDLED_MODEL
