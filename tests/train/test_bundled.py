"""The weights in the package: small enough, and right about recordings they never learned from."""

from __future__ import annotations

from pathlib import Path

import pytest

import naturelm_audio
from naturelm_audio.checkpoint import load_model
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.train import evaluate, questions
from naturelm_audio.train.build import synthetic_clips, training_clips
from naturelm_audio.train.scene_options import ScenesOptions

FOLDER = Path(naturelm_audio.__file__).parent / "weights" / "naturelm-tiny"
DOCS = Path(__file__).resolve().parents[2] / "docs"
MOST_BYTES = 40_000_000


@pytest.fixture(scope="module")
def tiny() -> NatureLMForConditionalGeneration:
    return load_model("naturelm-tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def evaluation(shared_dir: Path) -> evaluate.Evaluation:
    settings = ScenesOptions(manifest=str(shared_dir / "recordings" / "manifest.csv"))
    return evaluate.Evaluation(training_clips(settings, "validation"))


def test_the_weights_are_small_and_have_a_card() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "non-commercial" in card
    assert "ESC-50" in card


def test_the_card_has_the_figures_of_the_docs() -> None:
    """The figures of the weights are told in two places, which must not part."""
    heading = "| question | right | of | share | 95 % interval |"
    told = []
    for path in (FOLDER / "MODEL_CARD.md", DOCS / "tiny-model.md"):
        _, _, behind = path.read_text(encoding="utf-8").partition(heading)
        told.append(behind.split("\n\n")[0].splitlines())
        assert len(told[-1]) == 11, path
    assert told[0] == told[1]


def test_it_names_the_right_one_of_19_categories(
    tiny: NatureLMForConditionalGeneration, evaluation: evaluate.Evaluation
) -> None:
    figure = evaluation.listed(tiny, "19 labels", questions.LABELS_19)
    assert figure.total == 152
    assert figure.share >= 0.85, figure.wrong


def test_synthetic_sounds_get_sensible_names(tiny: NatureLMForConditionalGeneration) -> None:
    store = synthetic_clips(2, first_seed=0)  # training begins at 1000
    truths = [clip.sound.label for clip in store.clips]
    waveforms = [store.waveform(place) for place in range(len(store))]
    given = evaluate.answers(tiny, waveforms, [questions.SOUND_NAME[0]] * len(truths))
    assert evaluate.count("synthetic", truths, given).share >= 0.7
