"""PEFT adapter folders on one of our models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file, save_file

from naturelm_audio.checkpoint import load_adapter, load_model, save_model
from naturelm_audio.errors import CheckpointError
from naturelm_audio.model import merging_alpha

from .conftest import same_state

CONFIG = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 6,
    "bias": "none",
    "target_modules": ["q_proj", "v_proj"],
}
WIDTHS = {"q_proj": 16, "k_proj": 8, "v_proj": 8, "o_proj": 16}


def write(
    folder: Path, prefix: str = "base_model.model.", names: Any = ("q_proj", "v_proj"), **config: Any
) -> Path:
    """An adapter folder of random numbers for the toy model."""
    folder.mkdir()
    noise = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(2):
        for name in names:
            path = f"{prefix}model.layers.{layer}.self_attn.{name}"
            tensors[f"{path}.lora_A.weight"] = torch.randn(2, 16, generator=noise)
            tensors[f"{path}.lora_B.weight"] = torch.randn(WIDTHS[name], 2, generator=noise)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None]).logits


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("whole", [True, False], ids=["whole model", "language model"])
def test_an_adapter_made_by_peft_gives_pefts_logits(whole: bool, tmp_path: Path):
    peft = pytest.importorskip("peft")
    theirs, ours = toys.model(), toys.model()
    pattern = r".*\.(q|k|v|o)_proj" if not whole else r"language_model\..*\.(q|k|v|o)_proj"
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=pattern)
    tuned = peft.get_peft_model(theirs if whole else theirs.language_model, config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
                )
    tuned.save_pretrained(tmp_path / "adapter")
    before = logits(ours)
    load_adapter(ours, tmp_path / "adapter")
    assert torch.allclose(logits(ours), logits(theirs), atol=1e-4)
    with merging_alpha(ours.language_model, 0.0):
        assert torch.equal(logits(ours), before)


def test_uncovered_projections_get_nothing(tmp_path: Path):
    model = toys.model()
    load_adapter(model, write(tmp_path / "a"))
    attention = model.language_model.model.layers[0].self_attn
    assert attention.q_proj.lora_B.weight.any()
    assert not attention.k_proj.lora_B.weight.any()
    assert attention.q_proj.scale == 3.0


def test_an_adapter_survives_saving(tmp_path: Path):
    model = toys.model()
    load_adapter(model, write(tmp_path / "a"))
    save_model(model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", device="cpu")
    assert same_state(loaded, model)
    assert torch.equal(logits(loaded), logits(model))


def test_adapters_are_replaced(tmp_path: Path):
    folder = write(tmp_path / "a", names=WIDTHS)
    fresh, other = toys.model(), toys.model(lora_rank=2)
    other.load_state_dict(fresh.state_dict(), strict=False)
    for model in (fresh, other):
        load_adapter(model, folder)
    assert torch.equal(logits(fresh), logits(other))


def test_rank_stabilised_scale(tmp_path: Path):
    model = toys.model()
    load_adapter(model, write(tmp_path / "a", use_rslora=True))
    assert model.language_model.model.layers[1].self_attn.v_proj.scale == pytest.approx(6 / 2**0.5)
    assert model.config.lora_alpha / model.config.lora_rank == pytest.approx(6 / 2**0.5)


def test_provenance_tells_the_adapter(toy_model_dir: Path, tmp_path: Path):
    model = load_model(toy_model_dir, device="cpu")
    before = model.provenance
    load_adapter(model, write(tmp_path / "birds", names=WIDTHS))
    assert model.provenance.model_name.endswith("+birds")
    assert model.provenance.weights_fingerprint != before.weights_fingerprint


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("peft_type", "IA3"), ("use_dora", True), ("bias", "all"), ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 3}),
    ],
)  # fmt: skip
def test_other_kinds_are_refused_by_name(setting: str, value: Any, tmp_path: Path):
    with pytest.raises(
        CheckpointError, match=r"adapter_config\.json: .*" + str(value).split("'")[0][:4].strip("[{")
    ):
        load_adapter(toys.model(), write(tmp_path / "a", **{setting: value}))


def test_another_rank_than_the_model_has(tmp_path: Path):
    with pytest.raises(CheckpointError, match="adapter of rank 2, but the model has adapters of 3"):
        load_adapter(toys.model(lora_rank=3), write(tmp_path / "a"))


def test_a_missing_layer_a_wrong_shape_and_strange_names(tmp_path: Path):
    folder = write(tmp_path / "a")
    path, model = folder / "adapter_model.safetensors", toys.model()
    good = load_file(path)
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    save_file({key: value for key, value in good.items() if key != name}, path)
    with pytest.raises(CheckpointError, match=r"missing: model\.layers\.1\.self_attn\.q_proj\.lora_B"):
        load_adapter(model, folder)
    save_file(good | {name: torch.zeros(5, 2)}, path)
    with pytest.raises(CheckpointError, match=r"\[5, 2\] instead of \[16, 2\]"):
        load_adapter(model, folder)
    save_file(good | {"classifier.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"not of a LoRA adapter: classifier\.weight"):
        load_adapter(model, folder)
    assert model.config.lora_rank == 0, "a refused adapter must not change the model"


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_files(file: str, tmp_path: Path):
    folder = write(tmp_path / "a")
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        load_adapter(toys.model(), folder)
