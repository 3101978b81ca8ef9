"""Predictions through the published BEANS-Zero scorer: every metric, processed answer and caption."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from naturelm_audio.predictions import Prediction, read_predictions
from naturelm_audio.scoring import ScoreOptions, Scores, score

COMPONENTS = [
    *("esc50", "watkins", "cbi", "humbugdb", "enabirds", "hiceas", "rfcx", "gibbons", "dcase"),
    *("lifestage", "unseen-species-sci", "zf-indiv"),
]
OFFICIAL = ScoreOptions(mode="official", resamples=1)


@pytest.fixture(scope="module")
def rows(parity_dir: Path) -> list[Prediction]:
    return read_predictions(parity_dir / "metrics" / "predictions_noties.jsonl")


@pytest.fixture(scope="module")
def published(parity_dir: Path) -> dict[str, Any]:
    return json.loads((parity_dir / "metrics" / "metrics_noties_hashseed0.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ours(rows: list[Prediction]) -> Scores:
    return score(rows, OFFICIAL)


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_metric_of_a_component(ours, published, check: Callable[..., None], name: str) -> None:
    theirs = published["compute_metrics"][name]
    assert set(ours[name].metrics) == set(theirs)
    for metric, value in theirs.items():
        check(f"{name} {metric}", ours[name].metrics[metric], value, 1e-9)


def test_no_component_is_left_out(ours, published) -> None:
    assert [item.name for item in ours.components if item.task != "captioning"] == COMPONENTS
    assert set(COMPONENTS) == set(published["compute_metrics"])


def test_captions(ours, published, check: Callable[..., None], rows) -> None:
    from naturelm_audio.metrics import cider

    captions = [row for row in rows if row.dataset_name == "captioning"]
    each = cider([row.label for row in captions], [row.prediction for row in captions])
    check("captioning CIDEr of each row", each, published["cider_only"]["per_sample"], 1e-6)
    check("captioning CIDEr", ours["captioning"].metrics["CIDEr"], published["cider_only"]["score"], 1e-6)


def test_every_processed_answer(ours, published, rows) -> None:
    for component in ours.components:
        ids = [row.id for row in rows if row.dataset_name == component.name]
        found = {one: answer.label for one, answer in zip(ids, component.answers, strict=True)}
        assert found == {one: published["post_processed"][one] for one in ids}


def test_only_average_precision_depends_on_the_order_of_rows(published, rows) -> None:
    shuffled = rows.copy()
    random.Random(3).shuffle(shuffled)
    for component in score(shuffled, OFFICIAL).components:
        for metric, value in published["compute_metrics"].get(component.name, {}).items():
            if metric != "mAP":
                assert component.metrics[metric] == pytest.approx(value, abs=1e-9)
            else:
                low, high = component.extras["map_range_of_row_orders"]
                assert low - 1e-6 <= value <= high + 1e-6


SCRIPT = """
import json, sys
from naturelm_audio.predictions import read_predictions
from naturelm_audio.scoring import ScoreOptions, score
found = score(read_predictions(sys.argv[1]), ScoreOptions(mode="official", resamples=50))
rows = [[c.name, dict(c.metrics), c.interval, [a.label for a in c.answers]] for c in found.components]
print(json.dumps(rows))
"""


def test_any_hash_seed_gives_the_same(parity_dir: Path) -> None:
    path = str(parity_dir / "metrics" / "predictions_noties.jsonl")
    results = set()
    for seed in ("0", "1", "4242"):
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT, path],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        results.add(found.stdout)
    assert len(results) == 1
