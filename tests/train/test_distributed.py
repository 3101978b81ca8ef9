"""Two processes under torchrun, whole weights (DDP) and shared-out ones (FSDP): the losses of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toys
from rehearsal import recipe, rows, write_rows
from safetensors.torch import load_file

from naturelm_audio.checkpoint import load_model, save_model
from naturelm_audio.train.running import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import sys
from pathlib import Path
from rehearsal import recipe
from naturelm_audio.train.running import train

folder, name, kind, stop, layerdrop = Path(sys.argv[1]), *sys.argv[2:6]
plan = recipe(folder / "rows.jsonl", folder / "toy", parts={"encoder_layerdrop": float(layerdrop)},
              run={"distributed": kind})
train(plan, folder / name, stop_after=int(stop) or None)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    write_rows(folder / "rows.jsonl", rows(folder))
    save_model(toys.model(lora_rank=2, lora_alpha=4.0, spread=0.05), folder / "toy")
    (folder / "worker.py").write_text(WORKER)
    plan = recipe(folder / "rows.jsonl", folder / "toy", parts={"encoder_layerdrop": 0.0})
    train(plan, folder / "one")
    return folder


def launch(folder, name, kind, stop=0, layerdrop=0.0):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join(str(ROOT / part) for part in ("src", "tests"))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(port),
    ]
    given = [str(folder / "worker.py"), str(folder), name, kind, str(stop), str(layerdrop)]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command + given, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


def log(folder, key):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_give_the_losses_of_one(folder, kind):
    launch(folder, kind, kind)
    assert log(folder / kind, "loss") == pytest.approx(log(folder / "one", "loss"), abs=1e-5)
    assert log(folder / kind, "eval_loss") == pytest.approx(log(folder / "one", "eval_loss"), abs=1e-4)
    one, two = (load_file(folder / name / "model" / "model.safetensors") for name in ("one", kind))
    assert one.keys() == two.keys()
    assert load_model(folder / kind / "model", device="cpu") is not None


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_run_of_two_processes_is_taken_up_exactly(folder, kind):
    launch(folder, f"{kind}-taken", kind, stop=2)
    launch(folder, f"{kind}-taken", kind)
    if not (folder / kind).is_dir():
        launch(folder, kind, kind)
    whole, taken = (
        load_file(folder / name / "model" / "model.safetensors") for name in (kind, f"{kind}-taken")
    )
    assert all(torch.equal(whole[name], taken[name]) for name in whole)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_T11_layers_dropped_at_random_hang_nothing(folder, kind):
    launch(folder, f"{kind}-drop", kind, layerdrop=0.5)
    assert len(log(folder / f"{kind}-drop", "loss")) == 6
