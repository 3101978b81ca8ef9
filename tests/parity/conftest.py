"""The stored outputs of the official release on small random weights, and a table of how far ours are from
them.

`pytest tests/parity` prints the table at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

TABLE = "parity"


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder of the fixtures; users of the project don't have it."""
    folder = Path(os.environ.get("NATURELM_SHARED", Path(__file__).parents[3] / "shared")) / "parity"
    if not folder.is_dir():
        pytest.skip("the folder shared/parity beside the checkout is not there (only its developers have it)")
    return folder


@pytest.fixture(scope="session")
def arrays(parity_dir: Path) -> Any:
    return np.load(parity_dir / "micro" / "parity.npz")


@pytest.fixture(scope="session")
def facts(parity_dir: Path) -> dict[str, Any]:
    return json.loads((parity_dir / "micro" / "parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def micro(parity_dir: Path) -> Any:
    from naturelm_audio.checkpoint import load_model

    return load_model(parity_dir / "micro", qformer_heads=4, device="cpu", dtype="float32")


@pytest.fixture
def check(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Compare with a tolerance and keep the difference for the table."""

    def compare(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
        ours = (
            ours.detach().float().numpy()
            if isinstance(ours, torch.Tensor)
            else np.asarray(ours, dtype=np.float64)
        )
        theirs = np.asarray(theirs, dtype=np.float64)
        assert ours.shape == theirs.shape, f"{name}: {ours.shape} against {theirs.shape}"
        difference = float(np.abs(ours - theirs).max()) if ours.size else 0.0
        record_property(TABLE, (name, difference, tolerance))
        assert difference <= tolerance, f"{name}: {difference:.3g} is more than {tolerance:g}"

    return compare


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None] | None:
    rows = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
        if name == TABLE
    ]
    if rows:
        terminalreporter.section("parity with the official release (largest absolute difference)")
        for name, difference, tolerance in rows:
            limit = "exact" if tolerance == 0 else f"<= {tolerance:g}"
            terminalreporter.write_line(f"{name:58} {difference:10.3g}   {limit}")
    return None
