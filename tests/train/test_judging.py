"""Questions about recordings that are kept for judging."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from naturelm_audio.train import judging
from naturelm_audio.train.finetune import _warnings
from naturelm_audio.train.manifest.labelled import Labelled


def test_lists_have_the_right_class_and_no_names_with_commas(monkeypatch):
    asked = []
    monkeypatch.setattr(judging, "answers", lambda _, clips, each: asked.append(each) or [""] * len(clips))
    names = ["Wren, Eurasian", *(f"bird {number}" for number in range(50))]
    judged = judging.Judged(
        tuple(Labelled(path=name, common_name=name) for name in names), (np.zeros(5, np.float32),) * 51
    )
    model = SimpleNamespace(config=SimpleNamespace(max_clip_seconds=10.0))
    open_question, choice = judging.figures(model, judged, sorted(names))
    assert (open_question.total, choice.total, choice.name) == (51, 50, "choice of 36")
    for name, wording in zip(names[1:], asked[1], strict=True):
        listed = wording.partition("? ")[2].split(", ")
        assert name in listed
        assert len(set(listed)) == 36
        assert "Eurasian" not in wording
    assert "no list has Wren, Eurasian: rename" in _warnings({names[0]: (9, 1), "b": (9, 1)})[0]
