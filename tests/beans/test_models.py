from __future__ import annotations

import numpy as np
import pytest
from benchmark_rows import samples

from naturelm_audio import prompts
from naturelm_audio.beans.dataset import Row
from naturelm_audio.beans.models import Item, LocalModel
from naturelm_audio.beans.sounds import Sound
from naturelm_audio.components import Component
from naturelm_audio.errors import OptionsError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.options import GenerateOptions
from naturelm_audio.score import LabelScorer

GREEDY = GenerateOptions(num_beams=1, max_new_tokens=4)
SHORT = Component(name="short", task="classification", labels=("Hen", "Cat", "Owl"), max_seconds=3)
LONG = Component(name="long", task="detection", labels=("Hen", "Cat"), max_seconds=10)
CAPTIONS = Component(name="captions", task="captioning", max_seconds=5)


@pytest.fixture(scope="module")
def generator(toy_model):
    return Generator(toy_model, GREEDY, batch_size=4)


def local(generator, **settings):
    return LocalModel(generator, folder=None, resampler="soxr", **settings)


def item(number, component):
    sound = Sound(samples(number), 16_000)
    return Item(Row(component.name, str(number), "", "Hen", sound=sound), component, f"What {number}?")


def asked(model, *items):
    return model.answer([(one, model.prepare(one)) for one in items])


ITEMS = [item(n, component) for n, component in enumerate([SHORT, LONG, CAPTIONS, SHORT, LONG])]


def test_b6_clips_have_exactly_their_components_length(generator, toy_model):
    model = local(generator)
    clips = [model.prepare(one) for one in ITEMS]
    assert [len(clip) for clip in clips] == [48_000, 160_000, 80_000, 48_000, 160_000]
    # 5 s are heard as 5 s, though this model pads its own clips to 3 or 10.
    vectors = model._encode(clips)
    assert [len(one) for one in vectors] == [toy_model.config.audio_tokens(len(clip)) for clip in clips]
    for clip, vector in zip(clips, vectors, strict=True):
        np.testing.assert_allclose(model._encode([clip])[0], vector, atol=1e-5)


def test_b3_batches_never_change_an_answer(generator):
    model = local(generator)
    together = asked(model, *ITEMS)
    alone = [asked(model, one)[0] for one in ITEMS]
    assert [one.prediction for one in together] == [one.prediction for one in alone]
    assert all(0 <= one.extras["confidence"] <= 1 for one in together)
    assert [one.log_likelihoods for one in together] == [None] * 5


def test_labels_are_ranked_exactly_as_each_alone(generator):
    model = local(generator, rank_labels=True)
    outcomes = asked(model, *ITEMS)
    assert outcomes[2].log_likelihoods is None  # captions have no list
    assert [len(outcomes[place].log_likelihoods) for place in (0, 1, 3, 4)] == [3, 3, 3, 3]
    assert outcomes[0].label_tokens == LabelScorer(generator, ["Hen", "Cat", "Owl"]).label_tokens
    for place, labels in ((0, ("Hen", "Cat", "Owl")), (4, ("Hen", "Cat", "None"))):
        (vector,) = model._encode([model.prepare(ITEMS[place])])
        request = Request(prompts.build(ITEMS[place].question), (vector,))
        alone = [LabelScorer(generator, [label]).log_likelihoods([request])[0][0] for label in labels]
        np.testing.assert_allclose(outcomes[place].log_likelihoods, alone, atol=1e-5)


def test_clips_that_the_model_can_not_hear(generator):
    with pytest.raises(OptionsError, match="far has clips of 12 s; this model hears 10 s at once"):
        local(generator).check(Component(name="far", task="captioning", max_seconds=12))
    local(generator).check(LONG)


def test_the_model_is_named(generator, toy_model):
    about = local(generator).about()
    assert about["weights"] == toy_model.provenance.weights_fingerprint
    assert about["dtype"] == "float32"
