"""Device and number format, chosen once when a model is loaded; nothing here sets anything global."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import torch

from naturelm_audio.errors import OptionsError

logger = logging.getLogger(__name__)

LARGE_MODEL_PARAMETERS = 1e9
_NAMES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "half": torch.float16,
}
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def resolve_device(device: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` is the first GPU, Apple's, or the CPU.

    Raises:
        OptionsError: there is no such device here.
    """
    if str(device) == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        found = torch.device(device)
    except RuntimeError:
        raise OptionsError(f"device {device!r} is unknown: use auto, cpu, cuda, cuda:1 or mps") from None
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            have = f"this machine has {count}" if count else "this installation of PyTorch sees no GPU"
            raise OptionsError(f"device {device!r} is not available: {have}; use auto or cpu")
    elif found.type == "mps":
        if not torch.backends.mps.is_available():
            raise OptionsError(f"device {device!r} is not available here; use auto or cpu")
    elif found.type != "cpu":
        raise OptionsError(f"device {device!r} is not supported: use auto, cpu, cuda, cuda:1 or mps")
    return found


def resolve_dtype(dtype: str | torch.dtype, device: torch.device, parameters: int) -> torch.dtype:
    """Return the number format of that name; ``auto`` fits it to the device and the model's size.

    Raises:
        OptionsError: an unknown name.
    """
    if isinstance(dtype, torch.dtype) and dtype in _NAMES.values():
        return dtype
    name = str(dtype).removeprefix("torch.")
    if name != "auto":
        if name not in _NAMES:
            raise OptionsError(f"dtype {dtype!r} is unknown: use auto, float32, bfloat16 or float16")
        return _NAMES[name]
    found, reason = _automatic(device, parameters)
    logger.info("using %s on %s: %s", str(found).removeprefix("torch."), device, reason)
    return found


def _automatic(device: torch.device, parameters: int) -> tuple[torch.dtype, str]:
    if device.type == "cuda":
        return torch.bfloat16, "the format the model was trained in"
    if device.type == "mps":
        if torch.backends.mps.is_macos_or_newer(14, 0):
            return torch.bfloat16, "the format the model was trained in"
        return torch.float16, "this version of macOS has no bfloat16"
    if parameters <= LARGE_MODEL_PARAMETERS:
        return torch.float32, "a small model on the CPU"
    if cpu_has_bfloat16():
        return torch.bfloat16, "a large model, and this CPU computes bfloat16 natively"
    return (
        torch.float32,
        "this CPU has no native bfloat16, which would be slower (--dtype bfloat16 halves the memory)",
    )


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 natively; False where the system doesn't tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.system() == "Windows" and bool(torch.cpu._is_avx512_bf16_supported())
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(_CPU_FLAGS & set(flags.split()))
