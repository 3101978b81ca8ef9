"""Our own layout: written whole or not at all, read strictly, complete for transformers' Auto classes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor

from naturelm_audio import prompts
from naturelm_audio.checkpoint import load_model, save_model, save_official, saving
from naturelm_audio.errors import CheckpointError, OutputError
from naturelm_audio.model import NatureLMForConditionalGeneration

from .conftest import same_state


@pytest.fixture
def folder(toy_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the toy model that a test may damage."""
    return Path(shutil.copytree(toy_model_dir, tmp_path / "toy"))


def edit(folder: Path, drop: str | None = None, **changes: torch.Tensor) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: value for name, value in tensors.items() if name != drop} | changes
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_saved_is_what_is_loaded(folder: Path):
    made = toys.model(padded_lengths_seconds=(3.0, 10.0), lora_rank=2, lora_alpha=4.0)
    model = load_model(folder, device="cpu")
    assert same_state(model, made)
    assert not model.training
    assert model.config.padded_lengths_seconds == (3.0, 10.0)
    assert model.language_model.model.layers[0].self_attn.q_proj.scale == 2.0
    assert model.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    assert model.generation_config.eos_token_id == sorted(made.generation_config.eos_token_id)


def test_trap_of_lost_buffers(folder: Path):
    """Values computed while building, such as rotary frequencies, must survive building without memory."""
    made = toys.model(padded_lengths_seconds=(3.0, 10.0), lora_rank=2, lora_alpha=4.0)
    model = load_model(folder, device="cpu")
    buffers, expected = dict(model.named_buffers()), dict(made.named_buffers())
    assert buffers.keys() == expected.keys()
    assert all(torch.equal(buffers[name], expected[name]) for name in expected)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    waveform = toys.waveforms(1, 3.0)
    assert torch.equal(
        model.get_audio_features(waveform).pooler_output, made.get_audio_features(waveform).pooler_output
    )


@pytest.mark.parametrize(
    "name",
    [
        "bridge.projection.weight",
        "bridge.query_tokens",
        "audio_tower.encoder.relative_attention_bias.weight",
        "language_model.lm_head.weight",
        "language_model.model.layers.1.self_attn.v_proj.lora_B.weight",
    ],
)
def test_M12_a_missing_tensor_is_named(name: str, folder: Path):
    edit(folder, drop=name)
    with pytest.raises(CheckpointError, match=f"toy: 1 tensors missing: {name}$"):
        load_model(folder, device="cpu")


def test_M12_unexpected_and_wrong_tensors_are_named(folder: Path):
    edit(folder, **{"bridge.extra": torch.ones(1), "bridge.ln_audio.bias": torch.zeros(3)})
    with pytest.raises(
        CheckpointError, match=r"unexpected: bridge.extra; .*bridge.ln_audio.bias \[3\] instead of \[16\]"
    ):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file(missing: str, folder: Path):
    (folder / missing).unlink()
    if missing == "tokenizer.json":
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="toy"):
        load_model(folder, device="cpu")


def test_a_truncated_weights_file(folder: Path):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_damaged_config(text: str, folder: Path):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(folder, device="cpu")


def test_a_damaged_tokenizer(folder: Path):
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(CheckpointError, match="tokenizer can't be read"):
        load_model(folder, device="cpu")


def test_an_unsupported_value_in_the_config(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    config["audio_config"]["activation_fn"] = "relu"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="activation_fn"):
        load_model(folder, device="cpu")


def test_shards(folder: Path):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    half = len(names) // 2
    parts = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_model(folder, device="cpu")
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 files are missing: b\.safetensors"):
        load_model(folder, device="cpu")


def test_tied_embeddings_survive(tmp_path: Path):
    made = toys.model({"tie_word_embeddings": True})
    save_model(made, tmp_path / "tied")
    assert "language_model.lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    model = load_model(tmp_path / "tied", device="cpu")
    assert model.language_model.lm_head.weight is model.get_input_embeddings().weight
    assert same_state(model, made)


@pytest.mark.parametrize("dtype", ["bfloat16", "fp16"])
def test_one_dtype_for_all(dtype: str, folder: Path):
    model = load_model(folder, device="cpu", dtype=dtype)
    expected = torch.bfloat16 if dtype == "bfloat16" else torch.float16
    assert {parameter.dtype for parameter in model.parameters()} == {expected}
    assert model.dtype == expected


def test_weights_saved_in_half_precision_load_in_single(tmp_path: Path):
    save_model(toys.model().to(torch.bfloat16), tmp_path / "half")
    assert load_file(tmp_path / "half" / "model.safetensors")["bridge.query_tokens"].dtype == torch.bfloat16
    assert load_model(tmp_path / "half", device="cpu").dtype == torch.float32


def test_provenance(folder: Path, toy_model_dir: Path):
    first, second = (
        load_model(folder, device="cpu").provenance,
        load_model(toy_model_dir, device="cpu").provenance,
    )
    assert first.model_name == str(folder)
    assert first.model_revision is None
    assert first.weights_fingerprint == second.weights_fingerprint
    edit(folder, **{"bridge.ln_audio.bias": torch.ones(16)})
    assert load_model(folder, device="cpu").provenance.weights_fingerprint != first.weights_fingerprint


# --- saving ---


def test_a_saved_folder_holds_everything(toy_model_dir: Path):
    names = {path.name for path in toy_model_dir.iterdir()}
    assert {
        "config.json", "model.safetensors", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "processor_config.json", "chat_template.jinja",
    } == names  # fmt: skip
    generation = json.loads((toy_model_dir / "generation_config.json").read_text())
    assert len(generation["eos_token_id"]) == 2
    assert not generation.get("do_sample")
    assert (toy_model_dir / "config.json").stat().st_mode & 0o777 == 0o666 & ~saving._umask()


def test_auto_classes_read_it(toy_model_dir: Path, toy_model: Any):
    assert AutoConfig.from_pretrained(toy_model_dir).model_type == "naturelm_audio"
    model, report = AutoModelForMultimodalLM.from_pretrained(toy_model_dir, output_loading_info=True)
    assert isinstance(model, NatureLMForConditionalGeneration)
    assert not any(report.values())
    assert same_state(model, toy_model)
    processor = AutoProcessor.from_pretrained(toy_model_dir)
    inputs = processor(text=prompts.build("What?"), audio=[toys.waveform(2.0)], return_tensors="pt")
    assert inputs["input_values"].shape == (1, 48_000)
    slots = (inputs["input_ids"] == model.config.audio_token_id).sum()
    assert slots == model.config.audio_tokens(48_000)
    with torch.no_grad():
        assert model.eval()(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    "query", ["What is it?", "  spaces ", "braces {} and {x}", "<|eot_id|>", 'quotes " and \\']
)
def test_the_chat_template_is_the_prompt(query: str, toy_model_dir: Path):
    processor = AutoProcessor.from_pretrained(toy_model_dir)
    parts = [{"type": "audio", "audio": np.zeros(8000, np.float32)}, {"type": "text", "text": query}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
    )
    assert chat == prompts.build(query)


def test_the_chat_template_of_several_turns(toy_model_dir: Path):
    tokenizer = load_model(toy_model_dir, device="cpu").tokenizer
    tokenizer.chat_template = (toy_model_dir / "chat_template.jinja").read_text()
    turns = [
        {"role": "user", "content": prompts.with_audio("Which?")},
        {"role": "assistant", "content": "A wren"},
        {"role": "user", "content": "Sure?"},
    ]
    chat = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert chat == prompts.build("Which?") + "A wren<|end_of_text|>" + prompts.fill("Sure?")
    with pytest.raises(Exception, match="user and assistant"):
        tokenizer.apply_chat_template([{"role": "system", "content": "x"}], tokenize=False)


def test_saving_over_a_model_replaces_it_and_keeps_other_files(folder: Path):
    (folder / "README.md").write_text("a model card")
    (folder / "extra").mkdir()
    (folder / "old-00001.safetensors").write_bytes(b"x")
    save_model(toys.model(seed=1), folder)
    assert same_state(load_model(folder, device="cpu"), toys.model(seed=1))
    assert (folder / "README.md").read_text() == "a model card"
    assert (folder / "extra").is_dir()
    assert not (folder / "old-00001.safetensors").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("save", [save_model, save_official])
def test_a_full_disk_leaves_the_previous_model_intact(
    save: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(NatureLMForConditionalGeneration, "save_pretrained", full)
    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(OutputError, match="No space left on device; what was there is unchanged"):
        save(toys.model(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_saving_never_replaces_what_is_no_model(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "owl.jpg").write_text("x")
    with pytest.raises(OutputError, match="no model"):
        save_model(toys.model(), tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        save_model(toys.model(), tmp_path / "file")
    assert (tmp_path / "photos" / "owl.jpg").read_text() == "x"


def test_an_empty_folder_is_fine(tmp_path: Path):
    (tmp_path / "new").mkdir()
    save_model(toys.model(), tmp_path / "new")
    assert load_model(tmp_path / "new", device="cpu")


def test_saving_without_a_tokenizer(tmp_path: Path):
    model = toys.model()
    model.tokenizer = None
    for save in (save_model, save_official):
        with pytest.raises(CheckpointError, match="no tokenizer"):
            save(model, tmp_path / "x")


def test_a_convolutional_stem_has_no_official_form(tmp_path: Path):
    model = toys.model(audio_config=toys.beats_config(patch_stem="conv"))
    save_model(model, tmp_path / "ours")
    assert same_state(load_model(tmp_path / "ours", device="cpu"), model)
    with pytest.raises(CheckpointError, match="patch stem"):
        save_official(model, tmp_path / "official")


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("tied", [False, True])
def test_the_official_form_of_any_model_of_ours(lora_rank: int, tied: bool, tmp_path: Path):
    made = toys.model({"tie_word_embeddings": tied}, lora_rank=lora_rank, padded_lengths_seconds=(10.0,))
    save_official(made, tmp_path / "official")
    model = load_model(tmp_path / "official", device="cpu", qformer_heads=2)
    assert same_state(model, made)
    assert model.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    assert model.config.audio_token_id == made.config.audio_token_id
