"""Vectors of clips: the encoder's own numbers, pooled over what was heard, the same in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio.checkpoint import AudioEncoder, load_audio_tower
from naturelm_audio.embeddings.encoder import LEVELS, POOLINGS, Embedder
from naturelm_audio.errors import NatureLMError, OptionsError

RATE_HZ = 16_000
CLIPS = [toys.waveform(seconds, seed) for seed, seconds in enumerate((3.0, 0.5, 2.9, 10.0, 1.0, 4.5))]


@pytest.fixture(scope="module")
def tower(toy_model_dir):
    return load_audio_tower(toy_model_dir, device="cpu", dtype="float32")


def padded(clip, seconds):
    return torch.nn.functional.pad(torch.from_numpy(clip), (0, round(seconds * RATE_HZ) - len(clip)))[None]


def test_the_encoder_level_is_the_mean_of_its_bands(tower):
    (vectors,) = Embedder(tower, pooling="frames").embed([CLIPS[0]])
    patches = tower(padded(CLIPS[0], 3.0))[0]
    assert patches.shape == (18 * 8, 16)
    np.testing.assert_allclose(vectors, patches.unflatten(0, (18, 8)).mean(dim=1), atol=1e-6)
    (mean,) = Embedder(tower).embed([CLIPS[0]])
    np.testing.assert_allclose(mean[0], patches.mean(dim=0), atol=1e-6)


def test_the_levels_behind_the_q_former(tower):
    clip = padded(CLIPS[0], 3.0)
    (tokens,) = Embedder(tower, level="tokens", pooling="frames").embed([CLIPS[0]])
    np.testing.assert_allclose(tokens, tower.encode_tokens(clip)[0], atol=1e-6)
    (outputs,) = Embedder(tower, level="qformer", pooling="frames").embed([CLIPS[0]])
    np.testing.assert_allclose(outputs, tower.query_outputs(clip)[0, :, 0], atol=1e-6)
    assert [Embedder(tower, level=level).width for level in LEVELS] == [16, 12, 16]
    assert tokens.shape == (8, 16)
    assert outputs.shape == (8, 12)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_clip_has_the_same_vectors_alone_and_in_any_batch(tower, level, pooling):
    together = Embedder(tower, level=level, pooling=pooling, batch_size=4).embed(CLIPS)
    alone = Embedder(tower, level=level, pooling=pooling, batch_size=1)
    for clip, vectors in zip(CLIPS, together, strict=True):
        (expected,) = alone.embed([clip])
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(alone.spans(len(clip))), alone.width)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_padding_is_left_out(tower):
    """In a second of sound, in a clip of three, begin seven steps of 0.16 s and three of 0.34 s."""
    clip = CLIPS[4]
    (frames,) = Embedder(tower, pooling="frames").embed([clip])
    (mean,) = Embedder(tower).embed([clip])
    every = tower(padded(clip, 3.0))[0].unflatten(0, (18, 8)).mean(dim=1)
    assert len(frames) == 7
    np.testing.assert_allclose(frames, every[:7], atol=1e-6)
    np.testing.assert_allclose(mean[0], frames.mean(axis=0), atol=1e-6)
    assert not np.allclose(mean[0], every.mean(dim=0), atol=1e-4)
    assert len(Embedder(tower, level="tokens", pooling="frames").embed([clip])[0]) == 3


@pytest.mark.parametrize("level", LEVELS)
@given(samples=st.integers(8000, 160_000))
@settings(max_examples=40)
def test_spans_cover_the_clip_in_order(tower, level, samples):
    embedder = Embedder(tower, level=level, pooling="frames")
    spans = embedder.spans(samples)
    assert spans[0][0] == 0.0
    assert all(0 <= start < end <= samples / RATE_HZ for start, end in spans)
    assert [start for start, _ in spans] == sorted({start for start, _ in spans})
    # Patches that fill no frame of the encoder, or no window of the Q-Former, are at the end and never heard.
    assert spans[-1][1] >= min(samples / RATE_HZ, 2.8) - 0.4
    assert Embedder(tower, level=level).spans(samples) == [(0.0, samples / RATE_HZ)]


def test_spans_are_those_of_the_vectors(tower):
    embedder = Embedder(tower, pooling="frames")
    step = embedder.spans(16_000)
    assert step[:2] == [(0.0, 0.16), (0.16, 0.32)]
    assert step[-1] == (0.96, 1.0)
    seconds = np.diff(
        [start for start, _ in Embedder(tower, level="qformer", pooling="frames").spans(48_000)]
    )
    np.testing.assert_allclose(seconds, 0.34)


def test_half_precision_gives_float32(toy_model_dir, tower):
    half = Embedder(load_audio_tower(toy_model_dir, device="cpu", dtype="bfloat16"))
    (vectors,) = half.embed([CLIPS[0]])
    (exact,) = Embedder(tower).embed([CLIPS[0]])
    assert (vectors.dtype, half.dtype) == (np.float32, "bfloat16")
    np.testing.assert_allclose(vectors, exact, atol=0.1)


def test_wrong_use_is_named(tower):
    with pytest.raises(OptionsError, match="--level must be one of encoder, qformer, tokens, not 'beats'"):
        Embedder(tower, level="beats")
    with pytest.raises(OptionsError, match="--pooling must be one of"):
        Embedder(tower, pooling="max")
    with pytest.raises(OptionsError, match="--batch-size must be at least 1"):
        Embedder(tower, batch_size=0)
    with pytest.raises(OptionsError, match="needs a Q-Former; these weights are a BEATs encoder alone"):
        Embedder(AudioEncoder(toys.beats_config()), level="tokens")
    with pytest.raises(ValueError, match="longer than the 10 s"):
        Embedder(tower).embed([np.zeros(160_001, np.float32)])
    assert Embedder(tower).embed([]) == []


def test_too_large_a_batch_says_what_to_do(tower, monkeypatch):
    embedder = Embedder(tower, batch_size=2)

    def full(waveforms):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(embedder, "_vectors", full)
    with pytest.raises(
        NatureLMError, match="out of memory with 2 windows at once: give a smaller --batch-size"
    ):
        embedder.embed(CLIPS[:2])
