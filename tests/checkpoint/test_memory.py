"""One load of what is needed: peak memory stays near the size of the weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toys

from naturelm_audio.checkpoint import save_model, save_official

CHILD = f"""
{toys.PEAK_BYTES}
import json
import accelerate, transformers
from naturelm_audio.checkpoint import load_model
before = peak_bytes()
model = load_model(sys.argv[1], device="cpu", dtype=sys.argv[2], qformer_heads=2)
checksum = sum(parameter.double().sum().item() for parameter in model.parameters() if parameter.numel() < 1e6)
after = peak_bytes()
print(json.dumps({{"growth": after - before, "weights": sum(p.nbytes for p in model.parameters())}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is measured with the resource module")
@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1.3), ("bfloat16", 1.3 + 2.0)])
def test_M11_peak_memory_is_near_the_size_of_the_weights(
    official: bool, dtype: str, limit: float, tmp_path: Path
):
    """Converting maps the float32 file beside the result, twice its size; those pages can go at any time."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8}
    model = toys.model(sizes | {"num_key_value_heads": 4}, padded_lengths_seconds=(10.0,))
    (save_official if official else save_model)(model, tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "model"), dtype],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    found = json.loads(done.stdout)
    assert found["weights"] > 40e6
    assert found["growth"] < limit * found["weights"] + 30e6  # the rest: modules that are imported on use
