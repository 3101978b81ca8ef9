"""The nearest vectors are those of a search by hand, ties and all; queries are heard as the table was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturelm_audio.checkpoint import load_audio_tower
from naturelm_audio.embeddings import writer
from naturelm_audio.embeddings.encoder import Embedder
from naturelm_audio.embeddings.parts import EmbeddedSpan
from naturelm_audio.embeddings.run import EmbedOptions, run_embed
from naturelm_audio.embeddings.search import METRICS, Query, embed_query, nearest
from naturelm_audio.embeddings.table import EmbeddingTable
from naturelm_audio.embeddings.writer import TableWriter
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.recordings import Recording

SETTINGS = {"level": "encoder", "speed_factor": 1.0, "channel": None, "resampler": "soxr"}


def make_table(folder, vectors, rows_per_part=7, **more):
    vectors = np.asarray(vectors)
    with (
        pytest.MonkeyPatch.context() as patch,
        TableWriter.open(
            folder, mode="new", settings=SETTINGS | {"vectors": {"width": vectors.shape[1]}}, **more
        ) as table,
    ):
        patch.setattr(writer, "PART_BYTES", rows_per_part * vectors[0].nbytes)
        one = Recording(Path("/nowhere/a.wav"), "a.wav")
        for row, vector in enumerate(vectors):
            table.add(one, [EmbeddedSpan("a.wav", float(row), row + 1.0)], vector[None])
    return EmbeddingTable.open(folder)


def by_hand(vectors, query, metric):
    scores = vectors.astype(np.float64) @ query
    if metric == "cosine":
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(query)
        scores = np.where(lengths > 0, scores / np.where(lengths > 0, lengths, 1), 0)
    return scores


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 60), top_k=st.integers(1, 70))
@settings(max_examples=25)
def test_the_nearest_are_those_of_a_search_by_hand(tmp_path_factory, metric, seed, rows, top_k):
    random = np.random.default_rng(seed)
    # Small whole numbers: many ties, exact in any order of adding up.
    vectors = random.integers(-2, 3, (rows, 3)).astype(np.float32)
    query = random.integers(-2, 3, 3).astype(np.float32)
    table = make_table(tmp_path_factory.mktemp("t") / "t", vectors)
    hits = nearest(table, query, metric=metric, top_k=top_k)
    scores = by_hand(vectors, query, metric)
    found = [int(hit.span.start_seconds) for hit in hits]
    assert len(found) == min(top_k, rows) == len(set(found))
    np.testing.assert_allclose([hit.score for hit in hits], scores[found], atol=1e-6)
    np.testing.assert_allclose(sorted(scores)[::-1][: len(found)], scores[found], atol=1e-6)
    if metric == "inner":
        assert found == sorted(range(rows), key=lambda row: (-scores[row], row))[:top_k]


@pytest.mark.parametrize("file_format", ["numpy", "parquet"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_form_of_a_table_is_searched(tmp_path, file_format, dtype):
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(dtype)
    table = make_table(tmp_path / "t", vectors, file_format=file_format)
    (hit, *_) = nearest(table, vectors[31].astype(np.float32), top_k=3)
    assert hit.span == EmbeddedSpan("a.wav", 31.0, 32.0)
    assert hit.score == pytest.approx(1.0, abs=1e-3)


def test_rows_that_are_not_wanted_are_passed_over(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    table = make_table(tmp_path / "t", vectors, rows_per_part=50)
    order = np.argsort(-by_hand(vectors, vectors[0], "cosine"))
    hits = nearest(table, vectors[0], top_k=4, keep=lambda span: span.start_seconds not in order[:90])
    assert [int(hit.span.start_seconds) for hit in hits] == order[90:94].tolist()
    assert nearest(table, vectors[0], keep=lambda span: False) == []


def test_wrong_use_is_named(tmp_path):
    table = make_table(tmp_path / "t", np.ones((2, 4), np.float32))
    vector = np.ones(4, np.float32)
    with pytest.raises(OptionsError, match="--metric must be one of cosine, inner, not 'euclid'"):
        nearest(table, vector, metric="euclid")
    with pytest.raises(OptionsError, match="--top-k must be 1 or more"):
        nearest(table, vector, top_k=0)
    with pytest.raises(OptionsError, match=r"a vector of shape \(3,\) in a table of vectors of 4 numbers"):
        nearest(table, vector[:3])


@pytest.fixture(scope="module")
def tower(toy_model_dir):
    return load_audio_tower(toy_model_dir, device="cpu", dtype="float32")


@pytest.fixture
def embedded(tmp_path, wav, tower):
    """A folder of two recordings and its table."""
    wav("sounds/long.wav", seconds=25)
    wav("sounds/short.wav", seconds=4, sample_rate_hz=16_000)
    options = EmbedOptions(audio_paths=(str(tmp_path / "sounds"),), output_path=tmp_path / "t")
    run_embed(options, lambda _: Embedder(tower))
    return EmbeddingTable.open(tmp_path / "t"), tmp_path / "sounds"


def test_a_window_of_the_table_finds_itself(embedded, tower):
    table, sounds = embedded
    query = Query(path=sounds / "long.wav", start_seconds=10.0, end_seconds=20.0)
    vector = embed_query(Embedder(tower), table, query)
    hits = nearest(table, vector, top_k=10)
    assert hits[0].span == EmbeddedSpan("long.wav", 10.0, 20.0)
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    files = {name: Path(file) for name, file in table.files.items()}
    others = nearest(table, vector, keep=lambda span: not query.is_heard_in(span, files))
    assert [hit for hit in hits if hit.span != hits[0].span] == others
    assert len(others) == 3


def test_what_overlaps_a_query_is_the_query(tmp_path):
    files = {"a.wav": (tmp_path / "a.wav").resolve(), "b.wav": (tmp_path / "b.wav").resolve()}
    part = Query(path=tmp_path / "a.wav", start_seconds=10.0, end_seconds=20.0)
    heard = [
        part.is_heard_in(EmbeddedSpan("a.wav", start, start + 10), files) for start in (0.0, 5.0, 15.0, 20.0)
    ]
    assert heard == [False, True, True, False]
    assert not part.is_heard_in(EmbeddedSpan("b.wav", 10.0, 20.0), files)
    assert replace(part, end_seconds=None).is_heard_in(EmbeddedSpan("a.wav", 90.0, 100.0), files)


def test_queries_that_can_not_be_heard(embedded, tower, tmp_path, wav):
    table, sounds = embedded
    embedder = Embedder(tower)
    with pytest.raises(
        OptionsError, match=r"long\.wav: longer than the 10 s heard at once: choose a part with"
    ):
        embed_query(embedder, table, Query(path=sounds / "long.wav"))
    assert embed_query(embedder, table, Query(path=sounds / "long.wav", start_seconds=16.0)).shape == (16,)
    with pytest.raises(OptionsError, match="--end-seconds 3 is not after 4"):
        embed_query(embedder, table, Query(path=sounds / "long.wav", start_seconds=4.0, end_seconds=3.0))
    with pytest.raises(AudioError, match=r"0\.3 s of sound; a query needs at least 0\.5 s"):
        embed_query(embedder, table, Query(path=wav("click.wav", seconds=0.3)))
    with pytest.raises(AudioError, match="ends before 30 s"):
        embed_query(embedder, table, Query(path=sounds / "long.wav", start_seconds=30.0, end_seconds=33.0))
    with pytest.raises(AudioError, match="no such file"):
        embed_query(embedder, table, Query(path=tmp_path / "none.wav"))


def test_a_table_of_another_encoder_is_refused(embedded, toy_model_dir, tmp_path):
    table, sounds = embedded
    other = load_audio_tower(toy_model_dir, device="cpu", dtype="float32")
    assert other.provenance is not None
    query = Query(path=sounds / "short.wav")
    with pytest.raises(OptionsError, match=r"holds 16 numbers of level encoder, not the 12 of level qformer"):
        embed_query(Embedder(other, level="qformer"), table, query)
    other.provenance = replace(other.provenance, weights_fingerprint="0", model_name="another")
    with pytest.raises(OptionsError, match=r"was made with .*toy, and another gives other vectors"):
        embed_query(Embedder(other), table, query)
