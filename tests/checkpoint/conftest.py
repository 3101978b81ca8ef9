"""Other official layouts cut from the small full checkpoint, as the folder of stored outputs describes."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from naturelm_audio.checkpoint import load_model

TABLE = "beats.encoder.layers.{}.self_attn.relative_attention_bias.weight"
LLM = "llama_model.base_model.model."
EMBEDDING = LLM + "model.embed_tokens.weight"
HEADS = 4  # of the small checkpoint's Q-Former; no file says it


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach another machine fails the test."""

    def refuse(*args: Any, **_: Any) -> Any:
        raise AssertionError(f"network used: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@dataclass
class Cutter:
    """Writes layouts into a folder of the test, beside a copy of the base language model."""

    root: Path
    micro: Path

    @property
    def full(self) -> dict[str, Tensor]:
        """All official names, aliases included."""
        state = load_file(self.micro / "model.safetensors")
        return state | {
            TABLE.format(1): state[TABLE.format(0)],
            EMBEDDING: state["llama_embed_tokens.weight"],
        }

    @property
    def deduplicated(self) -> dict[str, Tensor]:
        return load_file(self.micro / "model.safetensors")

    @property
    def settings(self) -> dict[str, Any]:
        return json.loads((self.micro / "config.json").read_text())

    @property
    def release(self) -> dict[str, Tensor]:
        """Layout A: adapters and embedding, but nothing else of the language model."""
        return {
            name: value for name, value in self.deduplicated.items() if LLM not in name or "lora_" in name
        }

    @property
    def frozen(self) -> dict[str, Tensor]:
        """The state of a training checkpoint with a frozen encoder: one alias of the bias table is left."""
        kept = {name: value for name, value in self.release.items() if not name.startswith("beats.")}
        return kept | {TABLE.format(1): self.full[TABLE.format(0)]}

    @property
    def beats(self) -> dict[str, Tensor]:
        return {name.removeprefix("beats."): t for name, t in self.full.items() if name.startswith("beats.")}

    def folder(self, weights: Mapping[str, Tensor], name: str = "model", **settings: Any) -> Path:
        """A folder with config.json and model.safetensors."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        save_file({name: value.clone() for name, value in weights.items()}, folder / "model.safetensors")
        self.write_settings(folder, **settings)
        return folder

    def write_settings(self, folder: Path, **settings: Any) -> None:
        (folder / "config.json").write_text(json.dumps(self.settings | settings))

    def beats_file(self, path: Path, **cfg: Any) -> Path:
        content = {
            "cfg": self.settings["beats_cfg"] | cfg,
            "model": self.beats,
            "label_dict": {0: "/m/09x0r"},
        }
        torch.save(content, path)
        return path

    def training(self, folder: Path, weights: Mapping[str, Tensor], **entries: Any) -> Path:
        """A .pth with objects of a package that isn't installed."""
        content = {
            "model": dict(weights),
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []},
            "config": official_object(self.settings, folder),
            "scaler": None,
            "epoch": 2,
        }
        path = folder / "checkpoint_2.pth"
        torch.save(content | entries, path)
        return path


def official_object(settings: Mapping[str, Any], folder: Path) -> Any:
    """Settings as objects of classes that can be pickled now and are unknown when they are read."""
    module = types.ModuleType("an_absent_package")
    for name in ("Config", "ModelConfig", "BeatsConfig"):
        cls = type(name, (), {"__module__": module.__name__, "__qualname__": name})
        setattr(module, name, cls)
    sys.modules[module.__name__] = module
    config, model, beats = module.Config(), module.ModelConfig(), module.BeatsConfig()
    beats.__dict__.update(settings["beats_cfg"])
    model.__dict__.update(settings, beats_cfg=beats, ckpt=PosixPath(folder / "x.pth"))
    config.__dict__.update(model=model, seed=1)
    return config


@pytest.fixture
def absent_package() -> Any:
    """Call it once the pickles are written: from then on the classes in them are unknown."""

    def forget() -> None:
        sys.modules.pop("an_absent_package", None)

    yield forget
    forget()


@pytest.fixture(scope="session")
def micro(shared_dir: Path) -> Path:
    return shared_dir / "parity" / "micro"


@pytest.fixture
def cut(micro: Path, tmp_path: Path) -> Cutter:
    shutil.copytree(micro.parent / "tiny_llama", tmp_path / "tiny_llama", copy_function=shutil.copyfile)
    (tmp_path / "tiny_llama").chmod(0o755)
    return Cutter(tmp_path, micro)


@pytest.fixture(scope="session")
def micro_model(micro: Path) -> Any:
    """The full checkpoint, layout B, loaded from where it is."""
    return load_model(micro, device="cpu", dtype="float32", qformer_heads=HEADS)


@pytest.fixture
def load() -> Callable[..., Any]:
    """Load on the CPU in float32 with the small checkpoint's number of heads."""

    def call(path: Path | str, **options: Any) -> Any:
        return load_model(path, **({"device": "cpu", "dtype": "float32", "qformer_heads": HEADS} | options))

    return call


def same_state(model: Any, other: Any, *, but_pad_row: bool = False) -> bool:
    """Whether two models hold equal tensors; the output row of the pad token may be unknown."""
    ours, theirs = model.state_dict(), other.state_dict()
    if but_pad_row:
        for state in (ours, theirs):
            state["language_model.lm_head.weight"] = state["language_model.lm_head.weight"][:-1]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
