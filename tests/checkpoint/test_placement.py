"""Device and number format: chosen once, by name or by rule, refused with what would work."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from naturelm_audio.checkpoint import load_model, placement, resolve_device, resolve_dtype
from naturelm_audio.errors import OptionsError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:0"), torch.device("mps")
SMALL, LARGE = 10_000_000, 8_000_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with so many GPUs, with or without Apple's."""

    def pretend(gpus: int = 0, mps: bool = False, native_bfloat16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(placement, "cpu_has_bfloat16", lambda: native_bfloat16)

    return pretend


def test_I10_auto_takes_the_best_device(machine: Any):
    machine()
    assert resolve_device("auto") == CPU
    machine(mps=True)
    assert resolve_device("auto") == MPS
    machine(gpus=2, mps=True)
    assert resolve_device() == torch.device("cuda")


def test_I10_a_device_by_name(machine: Any):
    machine(gpus=2, mps=True)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "sees no GPU"),
        ("cuda:0", "use auto or cpu"),
        ("mps", "not available"),
        ("gpu", "unknown"),
        ("", "unknown"),
        ("meta", "not supported"),
        ("xla", "not supported|unknown"),
    ],
)
def test_I10_unavailable_devices(name: str, message: str, machine: Any):
    machine()
    with pytest.raises(OptionsError, match=message):
        resolve_device(name)


def test_I10_a_gpu_that_is_not_there(machine: Any):
    machine(gpus=2)
    with pytest.raises(OptionsError, match="this machine has 2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("device", "parameters", "native", "expected"),
    [
        (CUDA, SMALL, False, torch.bfloat16),
        (CUDA, LARGE, False, torch.bfloat16),
        (CPU, SMALL, True, torch.float32),
        (CPU, LARGE, True, torch.bfloat16),
        (CPU, LARGE, False, torch.float32),
    ],
)
def test_automatic_dtype(
    device: torch.device, parameters: int, native: bool, expected: torch.dtype, machine: Any, caplog: Any
):
    machine(native_bfloat16=native)
    with caplog.at_level(logging.INFO):
        assert resolve_dtype("auto", device, parameters) == expected
    assert len(caplog.records) == 1
    assert str(expected).removeprefix("torch.") in caplog.text


@pytest.mark.parametrize(("recent", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_automatic_dtype_on_apple(recent: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: recent)
    assert resolve_dtype("auto", MPS, LARGE) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("float32", torch.float32), ("fp32", torch.float32),
        ("bfloat16", torch.bfloat16), ("bf16", torch.bfloat16),
        ("float16", torch.float16), ("fp16", torch.float16), ("torch.float16", torch.float16),
        (torch.bfloat16, torch.bfloat16),
    ],
)  # fmt: skip
def test_dtype_by_name(name: Any, expected: torch.dtype):
    assert resolve_dtype(name, CPU, SMALL) == expected


@pytest.mark.parametrize("name", ["float64", "int8", "", torch.float64, torch.int8])
def test_unknown_dtypes(name: Any):
    with pytest.raises(OptionsError, match="dtype"):
        resolve_dtype(name, CPU, SMALL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_tile\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags : fpu avx2 avx512f bf16_not\n", False),
        ("", False),
    ],
)
def test_the_cpu_says_what_it_can(text: str, expected: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert placement.cpu_has_bfloat16() is expected


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch):
    def absent(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(placement.platform, "system", lambda: "Darwin")
    assert placement.cpu_has_bfloat16() is False


def test_options_are_checked_before_any_file_is_looked_for(machine: Any):
    machine()
    with pytest.raises(OptionsError, match="cuda"):
        load_model("/no/such/folder", device="cuda")


def test_M13_loading_changes_nothing_global(toy_model_dir: Path):
    before = (torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.get_num_threads())
    load_model(toy_model_dir, device="cpu", dtype="bfloat16")
    assert (
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
    ) == before
    assert torch.get_default_device() == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_everything_is_there(toy_model_dir: Path):
    model = load_model(toy_model_dir, device="cuda")
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cuda"}
    assert model.dtype == torch.bfloat16
