from __future__ import annotations

import struct
import sys

import pytest

from naturelm_audio.components import beans_zero
from naturelm_audio.errors import MissingExtraError, OutputError
from naturelm_audio.predictions import Prediction
from naturelm_audio.scored import MODES, ScoreOptions
from naturelm_audio.scoring import score
from naturelm_audio.scoring_plot import plot_scores


@pytest.fixture(scope="module")
def scores():
    rows = [
        *(Prediction("zf-indiv", "One", label, str(n)) for n, label in enumerate(["One", "More", "One"])),
        Prediction("gibbons", "None", "None", "1"),
        Prediction("captioning", "a robin sings", "a robin sings loudly", "1"),
    ]
    options = {"resamples": 9, "spice": False, "partial": True}
    return {mode: score(rows, ScoreOptions(mode=mode, **options), beans_zero()) for mode in MODES}


def size_of(path):
    return struct.unpack(">II", path.read_bytes()[16:24])


def test_a_picture_grows_with_its_components(scores, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the [eval] extra")
    plot_scores(scores, tmp_path / "p.png")
    assert size_of(tmp_path / "p.png")[0] == 1350
    first = size_of(tmp_path / "p.png")
    rows = [Prediction(item.name, "x", item.labels[0], "1") for item in beans_zero() if item.labels]
    whole = {"strict": score(rows, ScoreOptions(resamples=2, partial=True))}
    plot_scores(whole, tmp_path / "q.png")
    assert size_of(tmp_path / "q.png")[1] > 2 * first[1]


def test_the_same_scores_make_the_same_picture(scores, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the [eval] extra")
    for name in ("a.png", "b.png"):
        plot_scores(scores, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_can_not_be_drawn(scores, tmp_path, monkeypatch):
    with pytest.raises(OutputError):
        plot_scores(scores, tmp_path / "none" / "p.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"\[eval\]"):
        plot_scores(scores, tmp_path / "p.png")
