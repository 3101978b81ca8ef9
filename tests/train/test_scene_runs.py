"""Runs on scenes by the one training system: stages, exact resume, processes, what is kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rehearsal import rows, write_rows
from safetensors.torch import load_file

from naturelm_audio.checkpoint import load_model
from naturelm_audio.errors import AudioError, CheckpointError, NatureLMError, OptionsError
from naturelm_audio.train import checkpoints, scene_runs
from naturelm_audio.train.recipe import read_recipes
from naturelm_audio.train.running import prepare, train, train_stages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer():
    """The tokenizer of toy runs is made once: it is the same for all, and takes seconds."""
    real, made = scene_runs.scene_tokenizer, {}

    def cached(store, vocabulary):
        labels = tuple(clip.sound.label for clip in store.clips)
        if labels not in made:
            made[labels] = real(store, vocabulary)
        return made[labels]

    scene_runs.scene_tokenizer = cached
    yield
    scene_runs.scene_tokenizer = real


@pytest.fixture(scope="module")
def whole(toy_config, tmp_path_factory):
    """Both stages, nobody interrupted them."""
    folder = tmp_path_factory.mktemp("scenes")
    return folder, train_stages(read_recipes(toy_config), folder)


def log(folder):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


def same(one, other):
    left, right = load_file(one), load_file(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_stages_of_one_file_follow_each_other(whole):
    folder, finished = whole
    assert finished.model == folder / "stage2" / "model"
    model = load_model(finished.model, dtype="float32")
    assert model.config.padded_lengths_seconds == (0.6, 1.2)
    assert {"loss_patch_label", "loss_vector_label"} <= log(folder / "stage1")[0].keys()
    assert "loss_answer" in log(folder / "stage2")[0]
    assert "loss_answer" not in log(folder / "stage1")[0]
    record = json.loads((folder / "stage2" / "run.json").read_text())
    assert record["rows"] == {"clips": 6, "labels": 8, "validation_clips": 3}
    assert Path(record["recipe"]["init"]["model"]) == folder / "stage1" / "checkpoint-3"


@pytest.mark.parametrize("name", ["tiny.yml", "tiny_minutes.yml"])
def test_T1_the_bundled_models_recipes_run_two_steps_of_each_stage(toy_manifest, tmp_path, name):
    changes = [
        f"scenes.manifest={toy_manifest}", "scenes.teacher=null", "scenes.synthetic_per_kind=1",
        "init.encoder.encoder_layers=1", "init.text.num_hidden_layers=1", "optimiser.steps=2",
        "optimiser.batch_size=4", "optimiser.rows_at_once=4", "optimiser.warmup_steps=1",
    ]  # fmt: skip
    stages = read_recipes(ROOT / "configs" / name, changes)
    finished = train_stages(stages, tmp_path / "run")
    assert finished.last == tmp_path / "run" / f"stage{len(stages)}" / "checkpoint-2"
    assert load_model(finished.model).config.padded_lengths_seconds == (5.0, 10.0)


def test_a_stage_can_start_from_the_mean_of_earlier_ones(toy_plan, tmp_path):
    folder = tmp_path / "run"
    third = toy_plan["stages"][1] | {"name": "polish", "init": {"mean_of_stages": [1, 2, 2]}}
    plan = toy_plan | {"stages": [*toy_plan["stages"], third]}
    path = tmp_path / "three.yml"
    path.write_text(yaml.safe_dump(plan))
    ended = train_stages(read_recipes(path), tmp_path / "run")
    assert ended.model == tmp_path / "run" / "stage3" / "model"
    mean = load_file(tmp_path / "run" / "stage3-init" / "model.safetensors")
    heads = load_file(tmp_path / "run" / "stage3-init" / "heads.safetensors")
    one, two = (
        load_file(checkpoint / "average.safetensors")
        for checkpoint in (folder / "stage1" / "checkpoint-3", folder / "stage2" / "checkpoint-3")
    )
    for name in one.keys() & two.keys():
        found = heads[name.removeprefix("heads.")] if name.startswith("heads.") else mean[name]
        torch.testing.assert_close(found, (one[name] + 2 * two[name]) / 3)
    load_model(tmp_path / "run" / "stage3-init")


def test_two_processes_that_make_one_mean_do_not_disturb_each_other(whole, tmp_path):
    folder, finished = whole
    sources = [folder / "stage1" / "checkpoint-3", finished.last]
    checkpoints.write_mean(sources, tmp_path / "mean")
    first = (tmp_path / "mean" / "model.safetensors").stat()
    checkpoints.write_mean(sources, tmp_path / "mean")  # as a second process does that comes later
    assert (tmp_path / "mean" / "model.safetensors").stat() == first
    assert [path.name for path in tmp_path.iterdir()] == ["mean"]


def test_the_mean_of_a_stage_to_come_is_refused(toy_plan, tmp_path):
    stages = [{**stage} for stage in toy_plan["stages"]]
    stages[0]["init"] = {"mean_of_stages": [2]}
    path = tmp_path / "wrong.yml"
    path.write_text(yaml.safe_dump(toy_plan | {"stages": stages}))
    with pytest.raises(OptionsError, match="stage 2 is not before this one, number 1"):
        train_stages(read_recipes(path), tmp_path / "run")


def test_the_next_stage_goes_on_from_weights_and_heads(whole, toy_config):
    folder, _ = whole
    record = json.loads((folder / "stage2" / "run.json").read_text())
    recipe = read_recipes(toy_config, [f"init={{model: {record['recipe']['init']['model']}}}"])[1]
    trainer = prepare(recipe, folder / "stage2")
    before = folder / "stage1" / "checkpoint-3"
    for state, file in ((trainer.plain.state_dict(), "model"), (trainer.heads.state_dict(), "heads")):
        for name, tensor in load_file(before / f"{file}.safetensors").items():
            assert torch.equal(state[name], tensor), name


def test_a_run_in_stages_may_be_moved(whole, toy_config, tmp_path):
    shutil.copytree(whole[0], tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "stage2" / "model")
    finished = train_stages(read_recipes(toy_config), tmp_path / "moved")
    assert finished.model == tmp_path / "moved" / "stage2" / "model"
    assert same(finished.model / "model.safetensors", whole[1].model / "model.safetensors")
    recipe = read_recipes(toy_config, [f"init={{model: {tmp_path / 'other' / 'checkpoint-3'}}}"])[1]
    with pytest.raises(OptionsError, match=r"init\.model was"):
        prepare(recipe, tmp_path / "moved" / "stage2")


def test_the_language_model_rests_without_questions(whole):
    folder, _ = whole
    first = load_file(folder / "stage1" / "checkpoint-3" / "model.safetensors")
    mean = load_file(folder / "stage1" / "checkpoint-3" / "average.safetensors")
    assert not any(name.startswith("language_model") for name in mean)
    after = load_file(folder / "stage2" / "checkpoint-3" / "model.safetensors")
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(first[name], after[name])


def test_the_mean_of_the_weights_is_the_model(whole):
    _, finished = whole
    mean = load_file(finished.last / "average.safetensors")
    model, last = (load_file(one / "model.safetensors") for one in (finished.model, finished.last))
    assert all(torch.equal(model[name], mean[name]) for name in mean if not name.startswith("heads."))
    assert any(not torch.equal(model[name], last[name]) for name in model)


@pytest.mark.parametrize("stop", [1, 2])
def test_T4_a_run_on_scenes_taken_up_is_the_unbroken_one(whole, toy_config, tmp_path, stop):
    recipe = read_recipes(toy_config)[0]
    assert train(recipe, tmp_path / "run", stop_after=stop) is None
    torch.manual_seed(999)
    finished = train(recipe, tmp_path / "run")
    for file in ("model", "heads", "average"):
        known = whole[0] / "stage1" / "checkpoint-3" / f"{file}.safetensors"
        assert same(finished.last / f"{file}.safetensors", known), file
    assert [row["loss"] for row in log(tmp_path / "run")] == [row["loss"] for row in log(whole[0] / "stage1")]


def test_a_run_learns(toy_config, tmp_path):
    changes = [
        "optimiser.steps=25",
        "scenes.long_every=0",
        "init.bridge.dropout=0.0",
        "scenes.mix.clips=[1.0]",
    ]
    finished = train_stages(read_recipes(toy_config, changes), tmp_path)
    for stage, name in (("stage1", "loss_patch_label"), ("stage2", "loss_answer")):
        losses = [row[name] for row in log(tmp_path / stage)]
        assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), (name, losses)
    assert finished.bad_updates == 0


def test_accumulation_changes_nothing_without_batch_statistics(toy_config, tmp_path):
    still = ["init.encoder.patch_stem=linear", "init.bridge.dropout=0.0", "scenes.questions=2",
             "parts.language_model=true"]  # fmt: skip
    for count in ("2", "4"):
        recipe = read_recipes(toy_config, [*still, f"optimiser.rows_at_once={count}"])[0]
        train(recipe, tmp_path / count)
    losses = [[row["loss"] for row in log(tmp_path / count)] for count in ("2", "4")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_give_the_losses_of_one(toy_config, tmp_path):
    still = ["init.encoder.patch_stem=linear", "init.bridge.dropout=0.0"]
    flags = [flag for option in still for flag in ("--options", option)]
    arguments = ["-m", "naturelm_audio", "train", "--cfg-path", str(toy_config), *flags, "--output-dir"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, *arguments, str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, timeout=700, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "destroy_process_group" not in done.stderr
    train_stages(read_recipes(toy_config, still), tmp_path / "one")
    for stage in ("stage1", "stage2"):
        one, two = ([row["loss"] for row in log(tmp_path / name / stage)] for name in ("one", "two"))
        assert two == pytest.approx(one, abs=1e-4)


def test_a_stage_ends_by_the_clock_too(toy_config, tmp_path):
    recipe = read_recipes(toy_config, ["optimiser.minutes=1e-9", "optimiser.warmup_steps=0"])[0]
    finished = train(recipe, tmp_path / "run")
    assert finished.last.name == "checkpoint-1"
    assert train(recipe, tmp_path / "run").last == finished.last


def test_scenes_are_judged_by_rows_too(toy_config, tmp_path):
    annotations = write_rows(tmp_path / "rows.jsonl", rows(tmp_path))
    changes = [f"data.valid=[{annotations}]", "validation.answers_per_task=1", "optimiser.steps=1",
               "validation.max_new_tokens=2"]  # fmt: skip
    finished = train(read_recipes(toy_config, changes)[1], tmp_path / "run")
    assert finished.figures["loss"] > 0
    assert finished.figures["common-classification/answers"] == 1.0
    assert str(annotations) in json.loads((tmp_path / "run" / "run.json").read_text())["files"]


def test_half_precision_for_the_model_alone(toy_config, tmp_path):
    recipe = read_recipes(toy_config, ["run.model_precision=float16", "optimiser.steps=1"])[0]
    finished = train(recipe, tmp_path / "run")
    kept, last = (load_file(one / "model.safetensors") for one in (finished.model, finished.last))
    assert {one.dtype for one in kept.values() if one.is_floating_point()} == {torch.float16}
    assert {one.dtype for one in last.values() if one.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.train=[rows.jsonl]", "from rows or from scenes, not from both"),
        ("run.distributed=fsdp", "fsdp"),
        ("parts.language_model=false", "nothing learns from them"),
        ("optimiser.rows_at_once=3", "must be even"),
        ("scenes.exclude_sources=[toy]", "no clip of the split train is left"),
        ("init.text={}", "give all sizes of a new language model"),
        ("scenes.teacher=none.tflite", "no YAMNet file here"),
    ],
)
def test_what_scenes_cannot_have_is_named(toy_config, tmp_path, change, message):
    if "teacher" in change:
        pytest.importorskip("ai_edge_litert")
    recipe = read_recipes(toy_config, [change])[1]
    with pytest.raises(NatureLMError, match=message):
        prepare(recipe, tmp_path / "run")


def test_another_recipe_or_manifest_is_refused(whole, toy_config, toy_manifest, tmp_path):
    with pytest.raises(OptionsError, match=r"scenes\.label_weight was 1\.0, now 2\.0"):
        train(read_recipes(toy_config, ["scenes.label_weight=2"])[0], whole[0] / "stage1")
    own = tmp_path / "toy"
    shutil.copytree(toy_manifest.parent, own)
    recipe = read_recipes(toy_config, [f"scenes.manifest={own / 'manifest.csv'}"])[0]
    train(recipe, tmp_path / "run", stop_after=1)
    with (own / "manifest.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(OptionsError, match="has changed since this run began"):
        train(recipe, tmp_path / "run")


def test_heads_of_other_labels_are_refused(whole):
    from naturelm_audio.train.heads import Heads

    with pytest.raises(CheckpointError, match="heads of other labels"):
        checkpoints.load_heads(Heads(16, 16, 5, teacher=False), whole[0] / "stage1" / "checkpoint-3")


def test_unreadable_clips_are_counted_and_too_many_are_an_error(toy_manifest, toy_config, tmp_path):
    own = tmp_path / "toy"
    shutil.copytree(toy_manifest.parent, own)
    (own / "crow_0.wav").write_bytes(b"not audio at all")
    recipe = f"scenes.manifest={own / 'manifest.csv'}"
    with pytest.raises(AudioError, match="1 of 6 recordings can't be read"):
        prepare(read_recipes(toy_config, [recipe])[0], tmp_path / "run")
    patient = [recipe, "data.max_unreadable_share=0.2", "optimiser.steps=1"]
    finished = train(read_recipes(toy_config, patient)[0], tmp_path / "run")
    assert list(finished.unreadable) == [2]
    assert "crow_0.wav" in finished.unreadable[2]
