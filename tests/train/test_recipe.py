"""Recipes: files to options, refusals that name the key, the schedule; the shipped recipes at toy size."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
import toys
import yaml
from rehearsal import rows, write_rows

from naturelm_audio.checkpoint import load_model, save_model
from naturelm_audio.errors import CheckpointError, OptionsError
from naturelm_audio.train.initial import initial_model
from naturelm_audio.train.recipe import (
    AugmentOptions,
    DataOptions,
    InitOptions,
    OptimiserOptions,
    PartsOptions,
    Recipe,
    ValidationOptions,
    join_recipes,
    read_recipes,
)
from naturelm_audio.train.running import train
from naturelm_audio.train.yaml_options import differences

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STAGES = ("train_stage1.yml", "train_stage2.yml")


def write(tmp_path, **content):
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump({"optimiser": {"steps": 3}} | content))
    return path


def test_defaults_are_those_of_the_paper(tmp_path):
    recipe = read_recipes(write(tmp_path))[0]
    assert recipe.optimiser == OptimiserOptions(steps=3)
    assert (recipe.optimiser.batch_size, recipe.optimiser.betas, recipe.optimiser.clip_norm) == (
        128,
        (0.9, 0.999),
        2.0,
    )
    assert (recipe.augment.noise_probability, recipe.augment.noise_snr_db) == (0.4, (-10.0, 20.0))
    assert (recipe.augment.replace_probability, recipe.augment.mixup_probability) == (0.1, 0.45)
    assert (recipe.augment.time_scale_probability, recipe.augment.flip_probability) == (0.0, 0.0)
    assert (recipe.parts.lora_rank, recipe.parts.encoder_layerdrop, recipe.seed) == (32, 0.05, 13)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"optimizer": {}}, r"unknown key optimizer; did you mean optimiser\?"),
        (
            {"optimiser": {"steps": 3, "learning_rat": 1}},
            r"optimiser\.learning_rat; did you mean learning_rate\?",
        ),
        ({"optimiser": {"batch_size": 4}}, r"optimiser\.steps is missing"),
        ({"optimiser": {"steps": 0}}, r"optimiser\.steps must be 1 or more, not 0"),
        ({"optimiser": {"steps": "many"}}, r"optimiser\.steps must be a whole number, not 'many'"),
        ({"optimiser": {"steps": True}}, r"optimiser\.steps must be a whole number"),
        ({"optimiser": {"steps": 2, "precision": "fp16"}}, "must be one of float32, bfloat16, not 'fp16'"),
        ({"augment": {"noise_probability": 1.4}}, r"augment\.noise_probability must be from 0 to 1"),
        ({"augment": {"noise_snr_db": [1]}}, "needs 2 values, not 1"),
        ({"augment": {"noise_snr_db": [20, -10]}}, "must rise"),
        ({"data": {"domains": ["birds"]}}, "no 'birds'; known are animal"),
        ({"data": {"train": {"a": 1}}}, r"data\.train must be a list"),
        ({"parts": {"encoder": False, "bridge": False, "lora_rank": 0}}, "all parts are frozen"),
        ({"parts": []}, "parts needs keys and values"),
        ({"init": {"model": "a", "beats": "b"}}, "init.model is a whole model"),
        ({"validation": {"every": 0}}, r"validation\.every must be 1 or more"),
        ({"run": {"distributed": "deepspeed"}}, "one of ddp, fsdp"),
    ],
)
def test_T1_a_wrong_key_or_value_is_named(tmp_path, content, message):
    with pytest.raises(OptionsError, match=message):
        read_recipes(write(tmp_path, **content))


def test_options_change_single_keys(tmp_path):
    changes = [
        "optimiser.steps=5.0e5",
        "data.train=[a.jsonl]",
        "optimiser.learning_rate=1e-3",
        "init.model=x",
    ]
    recipe = read_recipes(write(tmp_path), changes)[0]
    assert recipe.optimiser.steps == 500_000
    assert recipe.optimiser.learning_rate == 1e-3
    assert (recipe.data.train, recipe.init.model) == (("a.jsonl",), "x")
    for change in ("steps", "=3", "optimiser.steps.x=3"):
        with pytest.raises(OptionsError, match="--options"):
            read_recipes(write(tmp_path), [change])[0]


def test_a_missing_file_and_a_key_given_twice_are_named(tmp_path):
    with pytest.raises(OptionsError, match="no such configuration file"):
        read_recipes(tmp_path / "absent.yml")
    twice = tmp_path / "twice.yml"
    twice.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(OptionsError, match="'seed' is given twice"):
        read_recipes(twice)
    twice.write_text("- 1\n")
    with pytest.raises(OptionsError, match="no keys and values"):
        read_recipes(twice)


def test_the_learning_rate_is_the_closed_formula():
    options = OptimiserOptions(steps=500_000)
    expected = {0: 0.0, 2_500: 4.5e-5, 5_000: 8.9983e-5, 250_000: 5.5e-5, 500_000: 2.0e-5, 600_000: 2.0e-5}
    for step, rate in expected.items():
        assert options.learning_rate_at(step) == pytest.approx(rate, rel=1e-5, abs=1e-12)
    assert OptimiserOptions(steps=10, warmup_steps=0).learning_rate_at(0) == 9e-5


def test_differences_name_nested_keys():
    old = Recipe(optimiser=OptimiserOptions(steps=3), data=DataOptions(train=("a",)))
    new = dataclasses.replace(old, optimiser=OptimiserOptions(steps=4))
    assert differences(old, new) == {"optimiser.steps": (3, 4)}
    stored = json.loads(json.dumps(dataclasses.asdict(old)))
    assert differences(stored, json.loads(json.dumps(dataclasses.asdict(old)))) == {}


def test_joined_stages_have_all_rows_from_the_first_weights():
    first = Recipe(
        name="a",
        optimiser=OptimiserOptions(steps=3),
        init=InitOptions(model="x"),
        data=DataOptions(train=("p", "q")),
    )
    data = DataOptions(train=("q", "r"), test=("t",))
    second = Recipe(name="b", optimiser=OptimiserOptions(steps=4), data=data)
    joined = join_recipes([first, second])
    assert joined.data.test == ("t",)
    assert (joined.name, joined.optimiser.steps, joined.data.train) == ("a+b", 7, ("p", "q", "r"))
    assert joined.init.model == "x"
    with pytest.raises(OptionsError):
        join_recipes([])


@pytest.mark.parametrize("name", STAGES)
def test_shipped_recipes_are_the_papers(name):
    recipe = read_recipes(CONFIGS / name)[0]
    assert recipe.optimiser == OptimiserOptions(steps=500_000 if "1" in name else 1_600_000)
    assert recipe.validation == ValidationOptions()
    assert recipe.augment == dataclasses.replace(recipe.augment.__class__(), noise_folders=("data/noise",))
    assert recipe.parts.lora_rank == 32
    shipped = CONFIGS.parent / "src" / "naturelm_audio" / "configs" / name
    assert shipped.read_bytes() == (CONFIGS / name).read_bytes()
    assert recipe.data.hold_outs == "paper"


def test_the_bundled_models_recipe_is_five_stages_in_two_hours():
    stages = read_recipes(CONFIGS / "tiny.yml")
    distil, answer, refine, _, polish = stages
    assert [stage.name for stage in stages] == ["distil", "answer", "refine", "count", "polish"]
    assert polish.init.mean_of_stages == (2, 3, 4, 4)
    assert sum(stage.optimiser.minutes for stage in stages) <= 120
    assert (distil.scenes.questions, answer.scenes.questions, refine.scenes.questions) == (0, 3, 4)
    assert not distil.parts.language_model
    assert answer.parts.language_model
    assert len({stage.seed for stage in stages}) == 5
    for stage in stages:
        assert "pak-birds" in stage.scenes.exclude_sources
        assert len(set(stage.scenes.exclude_paths)) == 21
        assert stage.scenes.source_weights["esc10"] >= 2.5
        assert stage.validation.best == "last"
    assert refine.scenes.mix.level_range_db == 8.0
    shipped = CONFIGS.parent / "src" / "naturelm_audio" / "configs" / "tiny.yml"
    assert shipped.read_bytes() == (CONFIGS / "tiny.yml").read_bytes()


def test_stages_share_what_stands_above_them(tmp_path):
    path = write(
        tmp_path,
        seed=3,
        scenes={"manifest": "a.csv", "mix": {"clips": [1, 1]}},
        stages=[{"name": "a"}, {"seed": 4, "scenes": {"mix": {"focal_db": 1}}}],
    )
    changes = ["optimiser.batch_size=7", "stages.1.optimiser.steps=9", "scenes.questions=2"]
    first, second = read_recipes(path, changes)
    assert (first.name, first.seed, second.seed) == ("a", 3, 4)
    assert (first.optimiser.steps, second.optimiser.steps) == (3, 9)
    assert second.scenes.mix.clips == first.scenes.mix.clips == (1.0, 1.0)
    assert (first.scenes.mix.focal_db, second.scenes.mix.focal_db) == (5.0, 1.0)
    assert {one.optimiser.batch_size for one in (first, second)} == {7}
    assert {one.scenes.questions for one in (first, second)} == {2}


def test_a_recipe_can_change_another(tmp_path):
    write(tmp_path, seed=3, scenes={"manifest": "a.csv", "mix": {"clips": [1]}}, stages=[{"name": "a"}])
    changed = tmp_path / "changed.yml"
    changed.write_text("base: recipe.yml\nscenes: {mix: {focal_db: 1}}\n")
    (found,) = read_recipes(changed, ["optimiser.batch_size=7"])
    assert (found.name, found.seed, found.optimiser.steps, found.optimiser.batch_size) == ("a", 3, 3, 7)
    assert (found.scenes.mix.clips, found.scenes.mix.focal_db) == ((1.0,), 1.0)
    changed.write_text("base: recipe.yml\nstages: [{seed: 1}, {seed: 2}]\n")
    assert [one.seed for one in read_recipes(changed)] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: changed.yml", "is its own base"),
        ("base: absent.yml", r"absent\.yml"),
        ("base: [recipe.yml]", "base must be the name of another file"),
        ("bse: recipe.yml", r"unknown key bse; did you mean base\?"),
    ],
)
def test_a_wrong_base_is_named(tmp_path, text, message):
    write(tmp_path)
    (tmp_path / "changed.yml").write_text(text)
    with pytest.raises(OptionsError, match=message):
        read_recipes(tmp_path / "changed.yml")


def test_the_recipe_of_five_minutes_is_the_long_one_in_short():
    distil, answer = read_recipes(CONFIGS / "tiny_minutes.yml")
    long = read_recipes(CONFIGS / "tiny.yml")
    assert distil.optimiser.minutes + answer.optimiser.minutes == 5
    for stage in (distil, answer):
        assert stage.scenes.manifest == long[0].scenes.manifest
        assert "pak-birds" in stage.scenes.exclude_sources
        assert stage.optimiser.betas == long[0].optimiser.betas
        assert stage.init.text == long[0].init.text
        assert stage.optimiser.batch_size % 4 == 0  # two processes, and long scenes take the place of two


@pytest.mark.parametrize(
    ("stages", "change", "message"),
    [
        ([{"optimiser": {"setps": 3}}], None, r"stages\.0: unknown key optimiser\.setps; did you mean steps"),
        ([{}, 3], None, r"stages\.1 needs keys and values, not 3"),
        ([], None, "stages must be a list of changes"),
        ({"name": "a"}, None, "stages must be a list of changes"),
        ([{}], "stages.1.seed=3", "there is no 1 in a list of 1"),
        ([{}], "stages.x.seed=3", "there is no x in a list of 1"),
        ([{"seed": 1}], "stages.0.seed.x=3", "seed holds a value"),
    ],
)
def test_wrong_stages_are_named(tmp_path, stages, change, message):
    with pytest.raises(OptionsError, match=message):
        read_recipes(write(tmp_path, stages=stages), [change] if change else [])


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ({}, r"scenes\.manifest is missing"),
        ({"manifest": "a", "mix": {"clips": []}}, r"scenes\.mix\.clips must be probabilities"),
        ({"manifest": "a", "mask_probability": 2}, r"scenes\.mask_probability must be from 0 to 1"),
        ({"manifest": "a", "questions": -1}, r"scenes\.questions must be 0 or more"),
        ({"manifest": "a", "source_weights": {"x": -1}}, "must be 0 or more"),
    ],
)
def test_wrong_scenes_are_named(tmp_path, scenes, message):
    with pytest.raises(OptionsError, match=message):
        read_recipes(write(tmp_path, scenes=scenes))


def test_the_cosine_follows_the_clock_if_that_is_further():
    options = OptimiserOptions(steps=100, minutes=10.0, warmup_steps=0)
    assert options.learning_rate_at(10, minutes=5.0) == pytest.approx(options.learning_rate_at(50))
    assert options.learning_rate_at(50, minutes=1.0) == pytest.approx(options.learning_rate_at(50))
    assert options.done(3, minutes=99.0) == 1.0


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A folder of a small language model with its tokenizer, as transformers saves it."""
    folder = tmp_path_factory.mktemp("llama")
    toy = toys.model()
    toy.language_model.save_pretrained(folder)
    toy.tokenizer.save_pretrained(folder)
    toy.generation_config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    from rehearsal import write_tone

    write_tone(folder / "noise" / "hum.wav", 50.0, 2.0)
    return write_rows(folder / "rows.jsonl", rows(folder))


def small(data, **more):
    sizes = {
        "data.train": f"[{data}]", "data.valid": "[]", "data.audio_root": data.parent, "data.workers": 0,
        "data.domains": "[]", "data.clip_seconds": 1.0, "augment.noise_folders": f"[{data.parent / 'noise'}]",
        "optimiser.steps": 2, "optimiser.batch_size": 4, "optimiser.rows_at_once": 2, "parts.lora_rank": 2,
        "validation.every": 2, "validation.answers_per_task": 1, "validation.max_new_tokens": 2,
        "run.report_to": "[]",
    }  # fmt: skip
    return [f"{key}={value}" for key, value in (sizes | more).items()]


def test_T1_both_shipped_recipes_run_two_steps(data, llama, tmp_path):
    new = {
        "init.language_model": llama, "init.beats": "null", "init.encoder": json.dumps(SIZES["encoder"]),
        "init.bridge": json.dumps(SIZES["bridge"]), "init.clip_lengths_seconds": "[1.0]",
    }  # fmt: skip
    first = read_recipes(CONFIGS / STAGES[0], small(data, **new))[0]
    finished = train(first, tmp_path / "one")
    assert math.isfinite(finished.figures["loss"])
    second = read_recipes(CONFIGS / STAGES[1], small(data, **{"init.model": finished.model}))[0]
    assert math.isfinite(train(second, tmp_path / "two").figures["loss"])
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["rows"]["train_tasks"].keys() == {"common-classification", "common-simple-detection"}


# --- the first weights ---


def plain(**init):
    return Recipe(
        optimiser=OptimiserOptions(steps=1),
        init=InitOptions(**init),
        parts=PartsOptions(lora_rank=2, lora_alpha=4.0),
    )


SIZES = {
    "encoder": {"embed_dim": 8, "encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24,
                "encoder_attention_heads": 2, "conv_pos": 16, "conv_pos_groups": 4},
    "bridge": {"hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20},
}  # fmt: skip


def test_a_language_model_gives_its_weights_and_the_rest_is_random(llama):
    model = initial_model(plain(language_model=str(llama), **SIZES))
    reference = toys.model()
    own, other = model.language_model.state_dict(), reference.language_model.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in other)
    assert model.config.lora_rank == 2
    assert model.tokenizer.convert_tokens_to_ids("<AudioHere>") == model.config.audio_token_id
    assert model.bridge.query_tokens.std() > 0
    again = initial_model(plain(language_model=str(llama), **SIZES))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_reduced_language_model_starts_at_random(llama):
    model = initial_model(plain(language_model=str(llama), text={"num_hidden_layers": 1}, **SIZES))
    assert model.config.text_config.num_hidden_layers == 1
    with pytest.raises(OptionsError, match=r"init\.text: unknown key layers_of_hidden"):
        initial_model(plain(language_model=str(llama), text={"layers_of_hidden": 1}, **SIZES))


def test_a_beats_file_gives_the_encoder(llama, tmp_path):
    reference = toys.model()
    sizes = toys.beats_config()
    names = (
        "input_patch_size", "embed_dim", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim",
        "encoder_attention_heads", "conv_pos", "conv_pos_groups", "deep_norm", "relative_position_embedding",
        "num_buckets", "max_distance", "gru_rel_pos", "finetuned_model", "predictor_class",
    )  # fmt: skip
    state = reference.audio_tower.state_dict()
    table = "encoder.relative_attention_bias.weight"
    from naturelm_audio.checkpoint.layouts import to_official

    official = {
        to_official(f"audio_tower.{name}").removeprefix("beats."): value for name, value in state.items()
    }
    official["encoder.layers.1.self_attn.relative_attention_bias.weight"] = state[table]
    torch.save(
        {"cfg": {name: getattr(sizes, name) for name in names}, "model": official}, tmp_path / "beats.pt"
    )
    model = initial_model(
        plain(language_model=str(llama), beats=str(tmp_path / "beats.pt"), bridge=SIZES["bridge"])
    )
    own = model.audio_tower.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in state)


def test_a_model_without_adapters_gets_them_and_other_ranks_are_refused(tmp_path):
    save_model(toys.model(), tmp_path / "bare")
    model = initial_model(plain(model=str(tmp_path / "bare")))
    assert model.config.lora_rank == 2
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("lora_A" in name for name in learning)
    save_model(toys.model(lora_rank=3), tmp_path / "other")
    with pytest.raises(OptionsError, match="adapters of rank 3: write 3"):
        initial_model(plain(model=str(tmp_path / "other")))


def test_what_is_missing_is_said(llama, tmp_path):
    with pytest.raises(OptionsError, match="name a model, or a language_model"):
        initial_model(plain())
    with pytest.raises(CheckpointError):
        initial_model(plain(language_model=str(tmp_path)))
    with pytest.raises(OptionsError, match=r"init\.encoder"):
        initial_model(plain(language_model=str(llama), encoder={"encoder_attention_heads": 7}))


@pytest.mark.parametrize(
    ("section", "sizes", "message"),
    [
        (
            "encoder",
            {"encoder_layer": 3},
            r"init\.encoder: unknown key encoder_layer; did you mean encoder_layers",
        ),
        ("bridge", {"hiden_size": 3}, r"init\.bridge: unknown key hiden_size; did you mean hidden_size\?"),
        ("bridge", {"hidden_size": "x"}, r"init\.bridge\.hidden_size: 'x' is not of the type of 768"),
        ("bridge", {"hidden_size": 25, "num_attention_heads": 4}, "hidden_size 25 is no multiple"),
        ("text", {"hiden_size": 8}, r"init\.text: unknown key hiden_size; did you mean hidden_size\?"),
        ("text", {"num_hidden_layers": 1.5}, r"init\.text\.num_hidden_layers: 1\.5 is not of the type"),
    ],
)
def test_T1_wrong_sizes_are_named(llama, section, sizes, message):
    with pytest.raises(OptionsError, match=message):
        initial_model(plain(language_model=str(llama), **(SIZES | {section: sizes})))
    if section == "text":
        with pytest.raises(OptionsError, match=message):
            initial_model(plain(text=sizes, **SIZES), toys.tokenizer)


def test_a_frozen_language_model_can_be_kept_small(llama):
    recipe = plain(language_model=str(llama), **SIZES)
    parts = dataclasses.replace(recipe.parts, frozen_precision="bfloat16")
    model = initial_model(dataclasses.replace(recipe, parts=parts))
    kinds = {parameter.requires_grad: parameter.dtype for parameter in model.language_model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_an_official_checkpoint_gives_all_weights_and_its_training_can_be_saved(shared_dir, data, tmp_path):
    micro = shared_dir / "parity" / "micro"
    rank = json.loads((micro / "config.json").read_text())["lora_rank"]
    recipe = Recipe(
        optimiser=OptimiserOptions(steps=1, batch_size=2, precision="float32", warmup_steps=0),
        init=InitOptions(model=str(micro), qformer_heads=4),
        data=DataOptions(train=(str(data),), hold_outs="none"),
        augment=AugmentOptions(noise_probability=0.0, replace_probability=0.0),
        parts=PartsOptions(lora_rank=rank),
        validation=ValidationOptions(answers_per_task=0, rows_per_task=1),
    )
    reference = load_model(micro, device="cpu", dtype="float32", qformer_heads=4)
    own = initial_model(recipe).state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in reference.state_dict().items())
    after = load_model(train(recipe, tmp_path / "run").model, device="cpu").state_dict()
    changed = {name.partition(".")[0] for name in own if not torch.equal(own[name], after[name])}
    assert changed == {"audio_tower", "bridge", "language_model"}
