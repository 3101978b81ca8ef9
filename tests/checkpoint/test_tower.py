"""The audio half alone: same numbers as inside the model, and never the language model's memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file, save_file

from naturelm_audio.checkpoint import AudioEncoder, load_audio_tower, random_audio_tower
from naturelm_audio.errors import CheckpointError, OptionsError


def test_the_audio_half_of_our_own_layout(toy_model_dir: Path, toy_model: Any):
    tower = load_audio_tower(toy_model_dir, device="cpu")
    assert isinstance(tower, AudioEncoder)
    waveform = toys.waveforms(2, 3.0)
    with torch.no_grad():
        expected = toy_model.get_audio_features(waveform)
    assert torch.equal(tower(waveform), expected.last_hidden_state)
    assert torch.equal(tower.encode(waveform), expected.last_hidden_state)
    assert torch.equal(tower.bridge(tower(waveform)), expected.pooler_output)
    assert torch.equal(tower.encode_tokens(waveform), expected.pooler_output)
    assert tower.config.encoder_layers == 2
    assert not tower.training
    assert not any(parameter.requires_grad for parameter in tower.parameters())


def test_the_tower_says_whose_it_is_and_which_clips_it_knows(toy_model_dir: Path, toy_model: Any):
    tower = load_audio_tower(toy_model_dir, device="cpu")
    assert tower.provenance == toy_model.provenance
    assert tower.padded_lengths_seconds == (3.0, 10.0)
    assert random_audio_tower().provenance is None
    assert random_audio_tower().padded_lengths_seconds == (10.0,)


def test_q_former_outputs_before_the_projection(toy_model_dir: Path, toy_model: Any):
    tower, waveform = load_audio_tower(toy_model_dir, device="cpu"), toys.waveforms(2, 3.0)
    outputs = tower.query_outputs(waveform)
    assert outputs.shape[2:] == (1, 12)
    assert torch.equal(toy_model.bridge.projection(outputs).flatten(1, 2), tower.encode_tokens(waveform))


def test_the_padding_mask_reaches_the_encoder(toy_model_dir: Path, toy_model: Any):
    tower, waveform = load_audio_tower(toy_model_dir, device="cpu"), toys.waveforms(1, 3.0)
    mask = torch.arange(48_000)[None] >= 20_000
    with torch.no_grad():
        expected = toy_model.audio_tower(waveform, mask)
    assert torch.equal(tower(waveform, mask), expected)
    assert not torch.equal(tower(waveform), expected)


def test_the_language_model_is_not_read(toy_model_dir: Path, tmp_path: Path, toy_model: Any):
    """Its tensors may even be absent."""
    tensors = load_file(toy_model_dir / "model.safetensors")
    audio = {name: value for name, value in tensors.items() if not name.startswith("language_model.")}
    save_file(audio, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((toy_model_dir / "config.json").read_text())
    assert load_audio_tower(tmp_path, device="cpu")
    del audio["bridge.projection.bias"]
    save_file(audio, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="1 tensors missing"):
        load_audio_tower(tmp_path, device="cpu")


def test_dtype_and_device(toy_model_dir: Path):
    assert (
        load_audio_tower(toy_model_dir, device="cpu", dtype="bf16").encode(toys.waveforms(1)).dtype
        == torch.bfloat16
    )
    assert load_audio_tower(toy_model_dir, device="cpu").encode(toys.waveforms(1)).dtype == torch.float32
    with pytest.raises(OptionsError, match="dtype"):
        load_audio_tower(toy_model_dir, device="cpu", dtype="float8")


def test_random_weights_of_any_size():
    tower = random_audio_tower(toys.config(), dtype=torch.bfloat16)
    tokens = tower.encode_tokens(toys.waveforms(2))
    assert tokens.shape == (2, 2, 16)
    assert tokens.dtype == torch.bfloat16
    assert tokens.isfinite().all()


CHILD = f"""
{toys.PEAK_BYTES}
import json, torch
from naturelm_audio.checkpoint import load_audio_tower
tower = load_audio_tower(sys.argv[1], device="cpu", dtype="bfloat16")
tokens = tower.encode_tokens(torch.randn(1, 160_000) * 0.1)
parameters = sum(parameter.numel() for parameter in tower.parameters())
print(json.dumps({{"peak_bytes": peak_bytes(), "shape": list(tokens.shape), "parameters": parameters}}))
"""
BEATS_CFG = {
    "input_patch_size": 16, "deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True,
    "max_distance": 800,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is measured with the resource module")
def test_real_size_in_bfloat16_stays_below_two_gigabytes(tmp_path: Path):
    """A file like the released one: the audio half in float32, and a large table that is not to be read."""
    from naturelm_audio.checkpoint.layouts import to_official

    tower = random_audio_tower()
    state = {
        to_official(name): tensor for name, tensor in tower.state_dict().items() if "predictor" not in name
    }
    write_with_hole(tmp_path / "model.safetensors", state, "llama_embed_tokens.weight", (128_257, 4096))
    (tmp_path / "config.json").write_text(json.dumps({"llama_path": "absent/llama", "beats_cfg": BEATS_CFG}))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    found = json.loads(done.stdout)
    assert found["shape"] == [1, 29, 4096]
    assert found["parameters"] > 100e6
    assert found["peak_bytes"] < 2 * 2**30


def write_with_hole(path: Path, state: dict[str, torch.Tensor], hole: str, shape: tuple[int, int]) -> None:
    """Write a safetensors file whose last tensor takes no space on the disk."""
    save_file(state, path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    end = len(content) - 8 - size
    header[hole] = {
        "dtype": "BF16",
        "shape": list(shape),
        "data_offsets": [end, end + 2 * shape[0] * shape[1]],
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(memoryview(content)[8 + size :])
        file.truncate(8 + len(text) + header[hole]["data_offsets"][1])
