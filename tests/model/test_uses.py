"""What users of transformers do: pipelines, adapters, training, kernels, code in the checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForMultimodalLM, AutoProcessor, Trainer, TrainingArguments, pipeline

from naturelm_audio import prompts
from naturelm_audio.checkpoint import save_model
from naturelm_audio.model import (
    NatureLMConfig,
    NatureLMFeatureExtractor,
    NatureLMForConditionalGeneration,
    NatureLMProcessor,
    merge_lora,
)

# Of these libraries among themselves, not of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning"),
]
TEXTS = [prompts.build("What?"), prompts.build("Who calls here?")]
SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uses") / "model"
    save_model(toys.model(lora_rank=2), path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without adapters of its own."""
    path = tmp_path_factory.mktemp("uses") / "plain"
    save_model(toys.model(), path)
    return path


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return AutoProcessor.from_pretrained(folder)


def inputs_of(processor: Any) -> dict[str, torch.Tensor]:
    clips = [toys.waveform(0.4, seed) for seed in range(2)]
    inputs = dict(processor(text=TEXTS, audio=clips, padding=True, return_tensors="pt"))
    hidden = (inputs["input_ids"] == processor.audio_token_id) | (inputs["attention_mask"] == 0)
    return inputs | {"labels": inputs["input_ids"].masked_fill(hidden, -100)}


# --- pipelines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pipeline(folder: Path, processor: Any, dtype: torch.dtype) -> None:
    ask = pipeline("any-to-any", model=str(folder), dtype=dtype)
    assert ask.model.dtype == dtype
    settings = {"max_new_tokens": 5, "return_full_text": False}
    clip = toys.waveform(0.4)
    (raw,) = ask(text=TEXTS[0], audio=clip, **settings)
    content = [{"type": "audio", "audio": clip}, {"type": "text", "text": "What?"}]
    (chatted,) = ask([{"role": "user", "content": content}], **settings)
    assert raw["generated_text"] == chatted["generated_text"]
    inputs = processor(text=TEXTS[0], audio=clip, return_tensors="pt").to(dtype=dtype)
    with torch.no_grad():
        output = ask.model.generate(**inputs, max_new_tokens=5)[0, inputs["input_ids"].shape[1] :]
    assert raw["generated_text"] == processor.decode(output, skip_special_tokens=True)


# --- PEFT -----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("own_adapters", [False, True])
def test_peft_adapters_are_saved_and_loaded(
    own_adapters: bool, folder: Path, plain: Path, processor: Any, tmp_path: Path
) -> None:
    base = folder if own_adapters else plain

    def load() -> Any:
        return AutoModelForMultimodalLM.from_pretrained(base)

    pattern = r"language_model\..*\.(q|k|v|o)_proj"
    adapted = get_peft_model(load(), LoraConfig(r=2, target_modules=pattern, init_lora_weights=False)).eval()
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 4 * 2, "A and B of four projections in two layers, and nothing of the bridge"
    assert all(".language_model." in name and ".default." in name for name in trained)
    inputs = inputs_of(processor)
    expected = adapted(**inputs).logits
    assert (load()(**inputs).logits - expected).abs().max() > 1e-2
    adapted.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(load(), tmp_path).eval()(**inputs).logits, expected)
    loaded = load()
    loaded.load_adapter(str(tmp_path))
    torch.testing.assert_close(loaded.eval()(**inputs).logits, expected)
    if not own_adapters:
        torch.testing.assert_close(
            adapted.merge_and_unload()(**inputs).logits, expected, rtol=1e-4, atol=1e-4
        )


@torch.no_grad()
def test_folding_our_adapters_keeps_the_answers(folder: Path, processor: Any, tmp_path: Path) -> None:
    model = AutoModelForMultimodalLM.from_pretrained(folder)
    inputs = inputs_of(processor)
    expected = model(**inputs).logits
    merge_lora(model.language_model)
    model.config.lora_rank = 0
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForMultimodalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    torch.testing.assert_close(loaded(**inputs).logits, expected, rtol=0, atol=1e-4)


# --- training -------------------------------------------------------------------------------------


class Rows(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return index


def trained(model: Any, inputs: dict[str, torch.Tensor], folder: Path, *, checkpointing: bool) -> list[float]:
    """Losses of two steps."""
    settings = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        gradient_checkpointing=checkpointing,
        learning_rate=1e-2,
        logging_steps=1,
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=settings, train_dataset=Rows(), data_collator=lambda _: dict(inputs))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_trainer_with_gradient_checkpointing(plain: Path, processor: Any, tmp_path: Path) -> None:
    inputs, losses = inputs_of(processor), {}
    for checkpointing in (False, True):
        model = AutoModelForMultimodalLM.from_pretrained(plain)
        model.audio_tower.requires_grad_(False)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        losses[checkpointing] = trained(model, inputs, tmp_path, checkpointing=checkpointing)
        after = model.state_dict()
        frozen = [name for name in before if torch.equal(before[name], after[name])]
        assert {name for name in before if name.startswith("audio_tower.")} <= set(frozen)
        assert not {"bridge.query_tokens", "bridge.projection.weight", "language_model.lm_head.weight"} & {
            *frozen
        }
    assert len(losses[True]) == 2
    assert losses[True][1] < losses[True][0]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_peft_trains_with_gradient_checkpointing(plain: Path, processor: Any, tmp_path: Path) -> None:
    settings = LoraConfig(
        r=2, target_modules=r"language_model\..*\.(q|k|v|o)_proj", modules_to_save=["bridge"]
    )
    model = get_peft_model(AutoModelForMultimodalLM.from_pretrained(plain), settings)
    losses = trained(model, inputs_of(processor), tmp_path, checkpointing=True)
    assert losses[1] < losses[0]


# --- attention kernels ----------------------------------------------------------------------------


@torch.no_grad()
def test_every_part_has_its_own_attention_kernel(plain: Path, processor: Any) -> None:
    inputs = inputs_of(processor)

    def load(kernels: Any) -> Any:
        model = AutoModelForMultimodalLM.from_pretrained(plain, attn_implementation=kernels)
        language, bridge = model.language_model.config, model.bridge.qformer.config
        real = inputs["attention_mask"].bool()  # what a padded position says is nobody's business
        logits = model(**inputs).logits[real]
        return (language._attn_implementation, bridge._attn_implementation), logits

    kernels, expected = load(None)
    assert kernels == ("sdpa", "sdpa")
    for wanted, result in [
        ({"text_config": "sdpa", "bridge_config": "eager"}, ("sdpa", "eager")),
        ({"text_config": "eager", "bridge_config": "sdpa"}, ("eager", "sdpa")),
        ("eager", ("eager", "eager")),
    ]:
        kernels, logits = load(wanted)
        assert kernels == result
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


# --- code in the checkpoint -----------------------------------------------------------------------


def run_python(code: str, *, home: Path) -> str:
    """Output of a fresh interpreter."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))
    }
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_checkpoint_can_carry_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, auto_class in [
        (NatureLMConfig, "AutoConfig"),
        (NatureLMForConditionalGeneration, "AutoModelForMultimodalLM"),
        (NatureLMFeatureExtractor, "AutoFeatureExtractor"),
        (NatureLMProcessor, "AutoProcessor"),
    ]:
        monkeypatch.setattr(part, "_auto_class", None)  # and so again after the test
        part.register_for_auto_class(auto_class)
    target = tmp_path / "model"
    save_model(toys.model(lora_rank=2), target)
    siblings = {path.name for path in (SOURCE / "naturelm_audio" / "model").glob("*.py")} - {"__init__.py"}
    assert siblings <= {path.name for path in target.iterdir()}
    theirs = run_python(
        f"""
        import sys
        sys.modules["naturelm_audio"] = None
        import numpy
        from transformers import AutoModelForMultimodalLM, AutoProcessor
        model = AutoModelForMultimodalLM.from_pretrained({str(target)!r}, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained({str(target)!r}, trust_remote_code=True)
        sound = numpy.sin(numpy.arange(5000.0))
        inputs = processor(text={TEXTS[0]!r}, audio=sound, return_tensors="pt")
        assert type(model).__module__.startswith("transformers_modules.")
        print(model.generate(**inputs, max_new_tokens=6).tolist())
        """,
        home=tmp_path,
    )
    model, processor = AutoModelForMultimodalLM.from_pretrained(target), AutoProcessor.from_pretrained(target)
    assert type(model) is NatureLMForConditionalGeneration, "where our package is, its own code runs"
    assert type(processor) is NatureLMProcessor
    inputs = processor(text=TEXTS[0], audio=np.sin(np.arange(5000.0)), return_tensors="pt")
    assert theirs.strip() == str(model.generate(**inputs, max_new_tokens=6).tolist())
