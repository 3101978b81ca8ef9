"""Reading .pt and .pth files never runs what is in them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from naturelm_audio.checkpoint.unpickle import Inert, load_pickle, plain
from naturelm_audio.errors import CheckpointError


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.fixture
def unknown() -> Any:
    """A class that can be pickled; calling the second value makes it unknown."""
    module = types.ModuleType("gone_package")
    cls = type("Settings", (), {"__module__": "gone_package", "__qualname__": "Settings"})
    module.Settings = cls  # type: ignore[attr-defined]
    sys.modules["gone_package"] = module
    yield cls, lambda: sys.modules.pop("gone_package", None)
    sys.modules.pop("gone_package", None)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "function", [os.system, subprocess.check_output, eval, exec, __import__, getattr, os.remove]
)
def test_M12_a_call_in_a_pickle_is_not_made(function: Any, protocol: int, tmp_path: Path):
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    victim.write_text("here")
    command = {
        os.system: f"rm {victim}",
        subprocess.check_output: ["rm", str(victim)],
        os.remove: str(victim),
        __import__: "this",
    }.get(function, f"__import__('os').remove({str(victim)!r})")
    call = Call(function, victim, "unlink") if function is getattr else Call(function, command)
    torch.save({"model": {"a": torch.ones(2)}, "config": call}, path, pickle_protocol=protocol)
    content = load_pickle(path)
    assert victim.exists()
    assert "this" not in sys.modules
    assert isinstance(content["config"], Inert)
    assert torch.equal(content["model"]["a"], torch.ones(2))


def test_M12_a_call_instead_of_a_tensor_is_not_made(tmp_path: Path):
    victim, path = tmp_path / "victim", tmp_path / "evil.pt"
    torch.save({"model": {"a": Call(os.mkdir, str(victim))}}, path)
    assert isinstance(load_pickle(path)["model"]["a"], Inert)
    assert not victim.exists()


def test_a_plain_pickle_is_refused_without_running(tmp_path: Path):
    victim, path = tmp_path / "victim", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Call(os.mkdir, str(victim))))
    with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
        load_pickle(path)
    assert not victim.exists()


def test_a_hostile_archive_is_a_checkpoint_error(tmp_path: Path):
    path = tmp_path / "broken.pt"
    torch.save({"a": torch.ones(3), "b": Call(os.getcwd)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, b"\x80\x02garbage" if name.endswith("data.pkl") else data)
    with pytest.raises(CheckpointError, match=r"broken\.pt: can't be read as a checkpoint"):
        load_pickle(path)


def test_a_program_is_no_checkpoint(tmp_path: Path):
    path = tmp_path / "program.pt"
    torch.save({"a": 1}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
        archive.writestr("archive/code/x.py", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 cut"])
def test_damaged_files_are_named(content: bytes, tmp_path: Path):
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.pth"):
        load_pickle(path)


def test_a_truncated_file_is_named(tmp_path: Path):
    path = tmp_path / "cut.pth"
    torch.save({"model": {"a": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        load_pickle(path)


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_pickle(tmp_path / "no.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_of_a_restricted_read_are_exact(dtype: torch.dtype, unknown: Any, tmp_path: Path):
    cls, forget = unknown
    shared = torch.arange(12).reshape(3, 4).to(dtype)
    content = {
        "model": {
            "a": shared,
            "view": shared[1:, ::2],
            "again": shared,
            "parameter": torch.nn.Parameter(torch.ones(2)),
        },
        "config": cls(),
    }
    torch.save(content, tmp_path / "a.pt")
    forget()
    found = load_pickle(tmp_path / "a.pt")["model"]
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["view"], shared[1:, ::2])
    assert found["a"].data_ptr() == found["again"].data_ptr()
    assert torch.equal(found["parameter"], torch.ones(2))


def test_unknown_objects_become_plain_values(unknown: Any, tmp_path: Path):
    cls, forget = unknown
    inner, outer = cls(), cls()
    inner.__dict__.update(rank=8, path=Path("/a/b"), names=["x"], pair=(1, 2))
    outer.__dict__.update(model=inner, seed=1, nothing=None)
    torch.save({"config": outer, "odd": cls}, tmp_path / "a.pt")
    forget()
    content = load_pickle(tmp_path / "a.pt")
    assert plain(content["config"]) == {
        "model": {"rank": 8, "path": "/a/b", "names": ["x"], "pair": [1, 2]},
        "seed": 1,
        "nothing": None,
    }


def test_containers_of_unknown_classes_keep_what_they_get(tmp_path: Path):
    stand_in = Inert("a", key=1)
    stand_in["k"] = 2
    stand_in.append(3)
    stand_in.extend([4, 5])
    stand_in.add(6)
    assert stand_in.items == [("k", 2), 3, 4, 5, 6]
    assert plain(stand_in) == "a"
    assert plain({"x": Inert(), 3: 1}) == {"x": None}
