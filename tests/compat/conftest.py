"""The official interface on a small checkpoint in the official layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

SHARED = Path(__file__).resolve().parents[3] / "shared"
MICRO = SHARED / "parity" / "micro"
EXAMPLES = SHARED / "recordings" / "examples"
MICRO_QFORMER_HEADS = 4  # in no file of an official checkpoint


@pytest.fixture(scope="session")
def micro():
    """The folder of the small official checkpoint."""
    if not MICRO.is_dir():
        pytest.skip("the folder ../shared/parity with stored outputs of the original is not here")
    return MICRO


@pytest.fixture(scope="session")
def stored(micro):
    """What the original gave: the text side as a dictionary."""
    return json.loads((micro / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def arrays(micro):
    """What the original gave: arrays by name."""
    with np.load(micro / "parity.npz") as file:
        return {name: file[name] for name in file.files if name.startswith(("batch_", "encode_", "fwd_f32"))}


@pytest.fixture(scope="session")
def model(micro):
    """The small checkpoint through the official class, as official code loads it."""
    from NatureLM.models import NatureLM

    return NatureLM.from_pretrained(micro, dtype=torch.float32, qformer_heads=MICRO_QFORMER_HEADS)


@pytest.fixture(scope="session")
def waveforms(arrays):
    """Rows chirp10, chirp5pad, frog, lazuli: (4, 160000)."""
    return torch.from_numpy(arrays["batch_wav"])


@pytest.fixture(scope="session")
def padding_mask(arrays):
    """True where the second row is padding: (4, 160000)."""
    return torch.from_numpy(np.unpackbits(arrays["batch_padding_mask"], axis=1).astype(bool))


@pytest.fixture
def generate_yaml(tmp_path):
    """A configuration file in the official form that keeps answers short."""
    path = tmp_path / "inference.yml"
    path.write_text(
        "model:\n  llama_path: meta-llama/Meta-Llama-3.1-8B-Instruct\n  use_audio_Qformer: True\n"
        "  lora: True\n  max_txt_len: 160\n"
        "generate:\n  max_new_tokens: 6\n  num_beams: 1\n  do_sample: False\n  min_length: 1\n"
        "  temperature: 0.1\n  repetition_penalty: 1.0\n  length_penalty: 1.0\n"
    )
    return path
