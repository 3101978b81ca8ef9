"""Every official layout gives the same model."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from naturelm_audio import prompts
from naturelm_audio.checkpoint import load_audio_tower, save_model, save_official
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import NatureLMFeatureExtractor, NatureLMProcessor

from .conftest import HEADS, LLM, TABLE, Cutter, same_state


def layout_a(cut: Cutter, forget: Any) -> Any:
    return cut.folder(cut.release)


def layout_a_bfloat16(cut: Cutter, forget: Any) -> Any:
    """The released file is half as precise in the language model as in the audio half."""
    return cut.folder(
        cut.release | {"llama_embed_tokens.weight": cut.release["llama_embed_tokens.weight"].bfloat16()}
    )


def layout_b(cut: Cutter, forget: Any) -> Any:
    return cut.folder(cut.deduplicated)


def layout_b_file(cut: Cutter, forget: Any) -> Any:
    return cut.folder(cut.deduplicated) / "model.safetensors"


def layout_c_trained(cut: Cutter, forget: Any) -> Any:
    """The encoder was trained: its table is there under each layer's name. Settings are objects in it."""
    folder = cut.root / "run"
    folder.mkdir()
    path = cut.training(folder, cut.release | {TABLE.format(1): cut.full[TABLE.format(1)]})
    forget()
    return path


def layout_c_frozen(cut: Cutter, forget: Any) -> Any:
    folder = cut.root / "run"
    folder.mkdir()
    cut.beats_file(cut.root / "BEATs.pt")
    cut.write_settings(folder, beats_path="../BEATs.pt")
    path = cut.training(folder, cut.frozen)
    forget()
    return path


def layout_d_full(cut: Cutter, forget: Any) -> Any:
    folder = cut.root / "plain"
    folder.mkdir()
    cut.write_settings(folder)
    torch.save({"model": cut.full, "step": 10}, folder / "naturelm.pt")
    return folder


def layout_d_exported(cut: Cutter, forget: Any) -> Any:
    """The folder of the official export function; paths of the machine that wrote it don't exist here."""
    folder = cut.root / "export"
    (folder / "llama").mkdir(parents=True)
    settings = cut.settings | {
        "llama_path": "../tiny_llama",
        "ckpt": "/elsewhere/model.pt",
        "beats_path": None,
    }
    (folder / "model_config.yaml").write_text(yaml.safe_dump(settings))
    state = {name: value for name, value in cut.frozen.items() if not name.startswith("audio_llama_proj")}
    torch.save({"model": state}, folder / "model.pt")
    cut.beats_file(folder / "beats.pt")
    projection = {name: cut.full[f"audio_llama_proj.{name}"] for name in ("weight", "bias")}
    torch.save({"model": projection}, folder / "audio_llama_proj.pt")
    return folder


FULL = [layout_b, layout_b_file, layout_d_full]
PARTIAL = [layout_a, layout_a_bfloat16, layout_c_trained, layout_c_frozen, layout_d_exported]


@pytest.mark.parametrize("layout", [*FULL, *PARTIAL], ids=lambda make: make.__name__)
def test_I10_every_layout_gives_identical_token_ids_and_weights(
    layout: Any, cut: Cutter, load: Any, micro_model: Any, absent_package: Any
):
    model = load(layout(cut, absent_package))
    assert str(cut.root) not in str(model.config.to_dict())
    if layout is layout_a_bfloat16:
        embedding = model.get_input_embeddings().weight
        expected = micro_model.get_input_embeddings().weight
        assert torch.equal(embedding, expected.bfloat16().float())
        embedding.data = expected.data.clone()
    assert same_state(model, micro_model, but_pad_row=layout in PARTIAL)
    assert greedy(model) == greedy(micro_model)
    assert model.tokenizer.get_vocab() == micro_model.tokenizer.get_vocab()
    assert model.config.to_dict() == micro_model.config.to_dict() or layout in PARTIAL
    assert not model.training


def greedy(model: Any, tokens: int = 12) -> list[int]:
    processor = NatureLMProcessor(NatureLMFeatureExtractor.from_config(model.config), model.tokenizer)
    waveform = np.sin(np.arange(40_000) / 7).astype(np.float32)
    inputs = processor(text=prompts.build("Which species?"), audio=[waveform], return_tensors="pt")
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=tokens)[0].tolist()[-tokens:]


def test_ids_of_the_official_release(micro: Any, micro_model: Any):
    stored = np.load(micro / "parity.npz")
    processor = NatureLMProcessor(
        NatureLMFeatureExtractor.from_config(micro_model.config), micro_model.tokenizer
    )
    prompt = prompts.build("What is the common name for the focal species in the audio? Answer:")
    inputs = processor(text=prompt, audio=[stored["wav_chirp10"]], return_tensors="pt")
    with torch.no_grad():
        answer = micro_model.generate(**inputs, max_new_tokens=24)[0, -24:]
    assert answer.tolist() == stored["gen/f32/single0/beams1/ids"][0].tolist()


def test_the_unknown_output_row_of_the_pad_token_is_never_chosen(cut: Cutter, load: Any):
    head = load(cut.folder(cut.release)).language_model.lm_head.weight
    assert len(head) == 407
    logits = torch.randn(1000, head.shape[1], generator=torch.Generator().manual_seed(0)) * 5 @ head.T
    assert (logits[:, 406] < logits[:, :406].max(dim=1).values).all()


def test_beam_scores_hardly_notice_the_unknown_row(cut: Cutter, load: Any, micro: Any):
    stored = np.load(micro / "parity.npz")
    model = load(cut.folder(cut.release))
    processor = NatureLMProcessor(NatureLMFeatureExtractor.from_config(model.config), model.tokenizer)
    prompt = prompts.build("What is the common name for the focal species in the audio? Answer:")
    inputs = processor(text=prompt, audio=[stored["wav_chirp10"]], return_tensors="pt")
    with torch.no_grad():
        answer = model.generate(
            **inputs, max_new_tokens=24, num_beams=2, output_scores=True, return_dict_in_generate=True
        )
    assert answer.sequences[0, -24:].tolist() == stored["gen/f32/single0/beams2/ids"][0].tolist()
    assert answer.sequences_scores[0] == pytest.approx(
        stored["gen/f32/single0/beams2/sequences_scores"][0], abs=5e-4
    )


def test_a_checkpoint_without_the_pad_row(cut: Cutter, load: Any, micro_model: Any):
    embedding = cut.release["llama_embed_tokens.weight"][:-1]
    model = load(cut.folder(cut.release | {"llama_embed_tokens.weight": embedding}))
    assert model.config.text_config.vocab_size == 406
    assert "[PAD]" not in model.tokenizer.get_vocab()
    assert model.config.audio_token_id == 406
    assert greedy(model) == greedy(micro_model)


def test_base_keys_may_be_absent_with_both_embedding_names(cut: Cutter, load: Any, micro_model: Any):
    weights = {name: value for name, value in cut.release.items() if name != "llama_embed_tokens.weight"}
    assert greedy(load(cut.folder(weights))) == greedy(micro_model)


def test_llama_is_found_beside_the_checkpoint_then_in_the_working_directory(
    cut: Cutter, load: Any, monkeypatch: pytest.MonkeyPatch
):
    folder = cut.folder(cut.release, llama_path="./tiny_llama")
    with pytest.raises(
        CheckpointError, match=r"tiny_llama: no such file or folder \(looked in .*--llama-path"
    ):
        load(folder)
    monkeypatch.chdir(cut.root)
    assert load(folder)
    shutil.move(cut.root / "tiny_llama", folder / "tiny_llama")
    monkeypatch.chdir("/")
    assert load(folder)


def test_I11_llama_option_wins_over_the_settings(cut: Cutter, load: Any, micro_model: Any):
    folder = cut.folder(cut.release, llama_path="meta-llama/Meta-Llama-3.1-8B-Instruct")
    model = load(folder, llama=cut.root / "tiny_llama")
    assert same_state(model, micro_model, but_pad_row=True)


def test_official_beats_defaults_differ_between_json_and_yaml(cut: Cutter, load: Any):
    short = {
        name: value
        for name, value in cut.settings["beats_cfg"].items()
        if name
        not in {"deep_norm", "gru_rel_pos", "max_distance", "relative_position_embedding", "finetuned_model"}
    }
    folder = cut.root / "run"
    folder.mkdir()
    torch.save({"model": cut.full}, folder / "model.pt")
    (folder / "model_config.yaml").write_text(yaml.safe_dump(cut.settings | {"beats_cfg": short}))
    audio = load(folder).config.audio_config
    assert (audio.deep_norm, audio.gru_rel_pos, audio.max_distance, audio.finetuned_model) == (
        True,
        True,
        800,
        True,
    )
    cut.write_settings(folder, beats_cfg=short)
    with pytest.raises(CheckpointError, match="relative_position_embedding"):
        load(folder)


def test_without_a_predictor_the_encoder_has_none(cut: Cutter, load: Any):
    weights = {name: value for name, value in cut.deduplicated.items() if "predictor" not in name}
    model = load(cut.folder(weights))
    assert model.audio_tower.predictor is None
    assert not model.config.audio_config.finetuned_model


def test_an_unused_predictor_is_left_out(cut: Cutter, load: Any):
    beats = cut.settings["beats_cfg"] | {"finetuned_model": False}
    assert load(cut.folder(cut.deduplicated, beats_cfg=beats)).audio_tower.predictor is None


def test_lora_false(cut: Cutter, load: Any, micro_model: Any):
    weights = {
        name.replace(LLM, "llama_model.").replace(".base_layer", ""): value
        for name, value in cut.deduplicated.items()
        if "lora_" not in name
    }
    model = load(cut.folder(weights, lora=False))
    assert model.config.lora_rank == 0
    assert torch.equal(model.language_model.lm_head.weight, micro_model.language_model.lm_head.weight)


def test_tied_base(cut: Cutter, load: Any, tied: Any):
    weights, head = tied
    short = {name: value for name, value in weights.items() if name != head}
    model = load(cut.folder(short))
    assert model.language_model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.language_model.lm_head.weight, weights["llama_embed_tokens.weight"])
    assert same_state(load(cut.folder(weights, "with_alias")), model)
    partial = {
        name: value for name, value in weights.items() if LLM not in name or "lora_" in name or name == head
    }
    assert same_state(load(cut.folder(partial, "partial")), model)
    with pytest.raises(CheckpointError, match="one tensor in this model, but their values differ"):
        load(cut.folder(weights | {head: weights[head] + 1}, "other"))


@pytest.fixture
def tied(cut: Cutter) -> Any:
    """The small checkpoint with a base whose output head is its embedding, and the head's official name."""
    base = cut.root / "tiny_llama"
    config = (
        (base / "config.json")
        .read_text()
        .replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
    )
    (base / "config.json").write_text(config)
    tensors = load_file(base / "model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, base / "model.safetensors")
    head = LLM + "lm_head.weight"
    return cut.deduplicated | {head: cut.deduplicated["llama_embed_tokens.weight"].clone()}, head


# --- writing the official layout ---


def test_save_official_gives_the_same_file(cut: Cutter, load: Any, micro: Any, micro_model: Any):
    from safetensors import safe_open

    save_official(micro_model, cut.root / "written", llama_path="../tiny_llama")
    written, original = cut.root / "written" / "model.safetensors", micro / "model.safetensors"
    ours, theirs = load_file(written), load_file(original)
    assert ours.keys() == theirs.keys()
    assert all(
        torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours
    )
    with safe_open(written, "pt") as one, safe_open(original, "pt") as other:
        assert one.metadata() == other.metadata()
    assert same_state(load(cut.root / "written"), micro_model)


def test_save_official_brings_the_base_models_tokenizer(cut: Cutter, load: Any, micro_model: Any):
    from transformers import AutoTokenizer

    save_official(micro_model, cut.root / "written")
    tokenizer = AutoTokenizer.from_pretrained(cut.root / "written" / "llama", local_files_only=True)
    assert len(tokenizer) == 406
    shutil.rmtree(cut.root / "tiny_llama")
    model = load(cut.root / "written")
    assert same_state(model, micro_model)
    assert model.tokenizer.get_vocab() == micro_model.tokenizer.get_vocab()
    assert model.generation_config.eos_token_id == [401, 404, 405]


def test_from_official_to_ours_and_back(cut: Cutter, load: Any, micro_model: Any):
    save_model(micro_model, cut.root / "ours")
    model = load(cut.root / "ours")
    assert same_state(model, micro_model)
    assert greedy(model) == greedy(micro_model)
    save_official(model, cut.root / "official")
    assert same_state(load(cut.root / "official"), micro_model)


# --- the audio half ---


@pytest.mark.parametrize("layout", [*FULL, *PARTIAL], ids=lambda make: make.__name__)
def test_the_audio_half_of_every_layout(
    layout: Any, cut: Cutter, micro: Any, micro_model: Any, absent_package: Any
):
    path = layout(cut, absent_package)
    shutil.rmtree(cut.root / "tiny_llama")  # never needed
    tower = load_audio_tower(path, device="cpu", qformer_heads=HEADS)
    state = micro_model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in tower.state_dict().items())
    waveform = torch.from_numpy(np.load(micro / "parity.npz")["batch_wav"][:2])
    with torch.no_grad():
        expected = micro_model.get_audio_features(waveform)
    assert torch.equal(tower.encode(waveform), expected.last_hidden_state)
    assert torch.equal(tower.encode_tokens(waveform), expected.pooler_output)


def test_the_audio_half_of_a_beats_file(cut: Cutter, micro: Any, micro_model: Any):
    tower = load_audio_tower(cut.beats_file(cut.root / "beats.pt"), device="cpu")
    assert tower.bridge is None
    waveform = torch.from_numpy(np.load(micro / "parity.npz")["batch_wav"][:1])
    with torch.no_grad():
        assert torch.equal(tower(waveform), micro_model.audio_tower(waveform))
    with pytest.raises(CheckpointError, match="no audio tokens"):
        tower.encode_tokens(waveform)


def test_a_beats_file_lacking_a_tensor(cut: Cutter):
    content = torch.load(cut.beats_file(cut.root / "beats.pt"))
    del content["model"]["encoder.layers.1.fc2.bias"]
    torch.save(content, cut.root / "beats.pt")
    with pytest.raises(CheckpointError, match=r"1 tensors missing: beats.encoder.layers.1.fc2.bias"):
        load_audio_tower(cut.root / "beats.pt", device="cpu")
