"""The teacher's front end on values, and the teacher itself where its file is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from naturelm_audio.errors import NatureLMError
from naturelm_audio.train import teacher


def tone(hertz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def test_mel_bands_are_triangles_of_height_one_at_most() -> None:
    weights = teacher.mel_matrix()
    assert weights.shape == (257, 64)
    assert weights.min() == 0.0
    assert weights.max() <= 1.0
    assert (weights.argmax(axis=0)[1:] >= weights.argmax(axis=0)[:-1]).all()
    hertz = np.arange(257) * 31.25
    assert weights[hertz < 125].sum() == 0.0
    assert weights[hertz > 7500].sum() == 0.0


def test_neighbouring_bands_sum_to_one_between_their_centres() -> None:
    sums = teacher.mel_matrix().sum(axis=1)
    hertz = np.arange(257) * 31.25
    np.testing.assert_allclose(sums[(hertz > 250) & (hertz < 7000)], 1.0, atol=1e-5)


def test_silence_is_the_log_of_the_offset() -> None:
    np.testing.assert_allclose(teacher.log_mel(np.zeros(16_000, np.float32)), np.log(0.001), rtol=1e-5)


def test_one_frame_every_10_ms() -> None:
    assert teacher.log_mel(np.zeros(16_000, np.float32)).shape == (98, 64)
    assert teacher.log_mel(np.zeros(399, np.float32)).shape == (0, 64)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_its_band(hertz: float) -> None:
    centres = (teacher.mel_matrix() * (np.arange(257) * 31.25)[:, None]).sum(0) / teacher.mel_matrix().sum(0)
    loudest = teacher.log_mel(tone(hertz)).mean(0).argmax()
    assert abs(centres[loudest] - hertz) <= 1.1 * np.diff(centres)[min(loudest, 62)]


@pytest.mark.parametrize(("seconds", "count"), [(0.3, 1), (0.975, 1), (1.455, 2), (5.0, 9), (10.0, 19)])
def test_patches_of_096_s_every_048_s(seconds: float, count: int) -> None:
    assert teacher.patches(np.zeros(round(16_000 * seconds), np.float32)).shape == (count, 96, 64)


def test_patches_overlap_by_half() -> None:
    patches = teacher.patches(tone(700, 3.0) * np.linspace(0, 1, 48_000, dtype=np.float32))
    np.testing.assert_array_equal(patches[0][48:], patches[1][:48])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the teacher needs the extra [distill]")
    with pytest.raises(NatureLMError, match=r"none\.tflite: no YAMNet file"):
        teacher.Yamnet(tmp_path / "none.tflite")


@pytest.fixture(scope="module")
def yamnet(shared_dir: Path) -> teacher.Yamnet:
    pytest.importorskip("ai_edge_litert", reason="the teacher needs the extra [distill]")
    return teacher.Yamnet(shared_dir / "models" / "yamnet_spectra_in.tflite")


def test_scores_follow_from_the_features_as_in_the_file(yamnet: teacher.Yamnet, shared_dir: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    plain = Interpreter(str(shared_dir / "models" / "yamnet_spectra_in.tflite"))
    plain.allocate_tensors()
    waveform = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    plain.set_tensor(plain.get_input_details()[0]["index"], teacher.patches(waveform))
    plain.invoke()
    expected = plain.get_tensor(plain.get_output_details()[0]["index"])
    np.testing.assert_allclose(yamnet(waveform).scores, expected, atol=0.04)  # the file rounds to 8 bits


def test_it_hears_nothing_in_silence_and_keeps_shapes(yamnet: teacher.Yamnet) -> None:
    heard = yamnet(np.zeros(80_000, np.float32))
    assert heard.scores.shape == (9, 521)
    assert heard.embeddings.shape == (9, 1024)
    assert heard.embeddings.min() >= 0.0
    assert heard.scores.mean(0).argmax() == 494  # its class "Silence"
