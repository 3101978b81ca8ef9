"""Two processes under torchrun, whole weights (DDP) and shared-out ones (FSDP): the losses of one process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toys
from rehearsal import recipe, rows, write_rows, write_tone
from safetensors.torch import load_file

from naturelm_audio.checkpoint import load_model, save_model
from naturelm_audio.train.running import train

# Two processes start anew in each run: minutes where other work has the cores.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import sys
from pathlib import Path
from rehearsal import recipe
from naturelm_audio.train.running import train

folder, name, kind, stop, layerdrop = Path(sys.argv[1]), *sys.argv[2:6]
plan = recipe(folder / "rows.jsonl", folder / "toy", parts={"encoder_layerdrop": float(layerdrop)},
              data={"test": (str(folder / "rows.jsonl"),)}, run={"distributed": kind})
train(plan, folder / name, stop_after=int(stop) or None)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    write_rows(folder / "rows.jsonl", rows(folder))
    save_model(toys.model(lora_rank=2, lora_alpha=4.0, spread=0.05), folder / "toy")
    (folder / "worker.py").write_text(WORKER)
    plan = recipe(
        folder / "rows.jsonl", folder / "toy", parts={"encoder_layerdrop": 0.0},
        data={"test": (str(folder / "rows.jsonl"),)},
    )  # fmt: skip
    train(plan, folder / "one")
    return folder


def torchrun(script, *given):
    path = os.pathsep.join(str(ROOT / part) for part in ("src", "tests"))
    # Standalone: the launcher takes a free port itself, so no other program can take it first.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command += [str(script), *map(str, given)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=700)
    assert done.returncode == 0, done.stderr[-3000:]


def launch(folder, name, kind, stop=0, layerdrop=0.0):
    torchrun(folder / "worker.py", folder, name, kind, stop, layerdrop)


def log(folder, key):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_give_the_losses_of_one(folder, kind):
    launch(folder, kind, kind)
    assert log(folder / kind, "loss") == pytest.approx(log(folder / "one", "loss"), abs=1e-5)
    assert log(folder / kind, "eval_loss") == pytest.approx(log(folder / "one", "eval_loss"), abs=1e-4)
    exact = "eval_common-classification/exact_match"
    assert len(log(folder / kind, exact)) == 2  # answers are generated from shared-out weights too
    assert log(folder / kind, exact) == log(folder / "one", exact)
    alone, together = (
        json.loads((folder / name / "run.json").read_text())["test_figures"] for name in ("one", kind)
    )
    assert together == pytest.approx(alone, abs=1e-4)
    assert alone["loss"] > 0
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


TORN_WORKER = """
import sys
from pathlib import Path
from rehearsal import recipe
from naturelm_audio.train.running import train

folder, name = Path(sys.argv[1]), sys.argv[2]
plan = recipe(folder / "rows.jsonl", folder / "toy", data={"max_unreadable_share": 0.3},
              parts={"encoder_layerdrop": 0.0}, validation={"answers_per_task": 0})
train(plan, folder / name)
"""


def test_what_any_process_cant_read_is_counted_and_listed(folder, tmp_path):
    listed = rows(tmp_path)
    for name in ("low_0", "high_1"):
        (tmp_path / "audio" / f"{name}.wav").write_bytes(b"nothing")
    write_rows(tmp_path / "rows.jsonl", listed)
    (tmp_path / "toy").symlink_to(folder / "toy")
    (tmp_path / "worker.py").write_text(TORN_WORKER)
    plan = recipe(
        tmp_path / "rows.jsonl", folder / "toy", data={"max_unreadable_share": 0.3},
        parts={"encoder_layerdrop": 0.0}, validation={"answers_per_task": 0},
    )  # fmt: skip
    alone = train(plan, tmp_path / "one")
    torchrun(tmp_path / "worker.py", tmp_path, "two")
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["unreadable"] == {str(row): reason for row, reason in alone.unreadable.items()}
    assert len(alone.unreadable) == 4


STREAM_WORKER = """
import sys
from pathlib import Path
from rehearsal import recipe
from naturelm_audio.train.running import train

folder, name, stop = Path(sys.argv[1]), *sys.argv[2:4]
plan = recipe(folder / "shards", folder / "toy", data={"stream": True}, augment={"mixup_probability": 0.0})
train(plan, folder / name, stop_after=int(stop) or None)
"""


def test_X11_two_readers_of_a_stream_are_taken_up_exactly(folder):
    pytest.importorskip("datasets")
    from naturelm_audio.train.manifest.annotations import read_annotations
    from naturelm_audio.train.manifest.shards import ShardOptions, write_shards

    write_shards(
        read_annotations(folder / "rows.jsonl"), folder, folder / "shards", ShardOptions(rows_per_shard=5)
    )
    worker = folder / "stream_worker.py"
    worker.write_text(STREAM_WORKER)
    for name, stop in (("streamed", 0), ("streamed-taken", 2), ("streamed-taken", 0)):
        torchrun(worker, folder, name, stop)
    whole, taken = (
        load_file(folder / name / "model" / "model.safetensors") for name in ("streamed", "streamed-taken")
    )
    assert all(torch.equal(whole[name], taken[name]) for name in whole)
    progress = json.loads((folder / "streamed" / "checkpoint-6" / "progress.json").read_text())
    assert len(progress["stream"]) == 2


RECIPE_WORKER = """
import json, sys
from pathlib import Path
from naturelm_audio.train.recipe import read_recipes
from naturelm_audio.train.running import train

config, output, *changes = sys.argv[1:]
train(read_recipes(config, changes)[0], Path(output))
"""


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_large_recipe_runs_twenty_updates_at_micro_size(folder, kind):
    toy = toys.model()
    toy.language_model.save_pretrained(folder / "llama")
    toy.tokenizer.save_pretrained(folder / "llama")
    toy.generation_config.save_pretrained(folder / "llama")
    write_tone(folder / "noise" / "hum.wav", 50.0, 2.0)
    (folder / "recipe_worker.py").write_text(RECIPE_WORKER)
    encoder = {"embed_dim": 8, "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24,
               "encoder_attention_heads": 2, "conv_pos": 16, "conv_pos_groups": 4}  # fmt: skip
    changes = {
        "init.language_model": folder / "llama", "init.beats": "null", "init.encoder": json.dumps(encoder),
        "init.bridge": json.dumps({"hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20}),
        "init.clip_lengths_seconds": "[1.0]", "data.clip_seconds": 1.0, "data.domains": "[]",
        "data.train": f"[{folder / 'rows.jsonl'}]", "data.valid": "[]", "data.audio_root": folder,
        "data.workers": 0, "augment.noise_folders": f"[{folder / 'noise'}]", "optimiser.steps": 20,
        "optimiser.batch_size": 8, "optimiser.rows_at_once": 2, "validation.every": 10,
        "validation.max_new_tokens": 2, "run.report_to": "[]", "run.distributed": kind, "run.log_every": 1,
    }  # fmt: skip
    output = folder / f"micro-{kind}"
    given = [str(ROOT / "configs" / "train_stage1.yml"), str(output)]
    torchrun(folder / "recipe_worker.py", *given, *(f"{key}={value}" for key, value in changes.items()))
    assert len(log(output, "loss")) == 20
    assert all(math.isfinite(loss) for loss in log(output, "loss"))
    assert load_model(output / "model", device="cpu").config.lora_rank == 32
