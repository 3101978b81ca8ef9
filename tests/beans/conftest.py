from __future__ import annotations

from pathlib import Path

import benchmark_rows
import pytest


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """The tiny benchmark, as a folder of Parquet."""
    pytest.importorskip("pyarrow", reason="needs the [eval] extra")
    return benchmark_rows.write_parquet(tmp_path / "zoo", benchmark_rows.zoo_rows())
