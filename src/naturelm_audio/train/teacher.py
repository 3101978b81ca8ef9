"""YAMNet as a teacher: its front end in NumPy and its scores and embeddings through LiteRT.

YAMNet (Apache-2.0) names 521 kinds of sound. The tiny model's encoder learns to predict what YAMNet hears in
mixtures of our recordings, which teaches it far more than some thousand labels can. The teacher is needed for
training only: neither its file nor its runtime is part of the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from naturelm_audio.errors import MissingExtraError, NatureLMError

Floats = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 400
"""25 ms."""
HOP_SAMPLES = 160
"""10 ms."""
FFT_SIZE = 512
MEL_BANDS = 64
PATCH_FRAMES = 96
"""0.96 s."""
PATCH_HOP_FRAMES = 48
"""0.48 s."""
SCORES = 521
EMBEDDING = 1024


@cache
def mel_matrix() -> Floats:
    """Return the (257, 64) weights from magnitudes to 64 HTK mel bands between 125 and 7500 Hz."""
    low, high = (1127.0 * np.log1p(hz / 700.0) for hz in (125.0, 7500.0))
    edges = np.linspace(low, high, MEL_BANDS + 2)
    bins = 1127.0 * np.log1p(np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE_HZ / FFT_SIZE / 700.0)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # the constant component belongs to no band
    return weights.astype(np.float32)


@cache
def _window() -> Floats:
    """Return the periodic Hann window of 400 samples."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)).astype(np.float32)


def log_mel(waveform: Floats) -> Floats:
    """Return the (frames, 64) log-mel spectrogram of a 16 kHz waveform in [-1, 1], one frame every 10 ms."""
    if waveform.shape[-1] < FRAME_SAMPLES:
        return np.zeros((0, MEL_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME_SAMPLES)[::HOP_SAMPLES]
    magnitude = np.abs(np.fft.rfft(frames * _window(), FFT_SIZE)).astype(np.float32)
    return np.log(magnitude @ mel_matrix() + np.float32(0.001))


def patches(waveform: Floats) -> Floats:
    """Return the (n, 96, 64) patches of 0.96 s every 0.48 s; a shorter waveform is padded to one patch."""
    needed = (PATCH_FRAMES - 1) * HOP_SAMPLES + FRAME_SAMPLES
    if waveform.shape[-1] < needed:
        waveform = np.pad(waveform, (0, needed - waveform.shape[-1]))
    mel = log_mel(waveform)
    count = 1 + (len(mel) - PATCH_FRAMES) // PATCH_HOP_FRAMES
    starts = np.arange(count) * PATCH_HOP_FRAMES
    return mel[starts[:, None] + np.arange(PATCH_FRAMES)]


@dataclass(frozen=True)
class Heard:
    """What the teacher heard: one row per 0.48 s of a waveform."""

    scores: Floats
    """(n, 521), each in 0..1."""
    embeddings: Floats
    """(n, 1024), not negative."""


class Yamnet:
    """The teacher: `teacher(waveform)` gives its scores and embeddings every 0.48 s.

    The file's only output are the scores, but the 1024 features before its last layer teach more. So the
    output is moved to those features in memory, and the last layer is computed here.

    Raises:
        MissingExtraError: if `ai-edge-litert` is not installed.
        NatureLMError: if the file is missing or is not the expected network.
    """

    def __init__(self, path: str | Path) -> None:
        """Load the network from a `.tflite` file with one (1, 96, 64) input and (1, 521) scores."""
        try:
            from ai_edge_litert import interpreter, schema_py_generated
        except ImportError as error:
            raise MissingExtraError("distill", "Distilling from YAMNet") from error
        if not Path(path).is_file():
            raise NatureLMError(
                f"{path}: no YAMNet file here; give its path as `teacher_path` in the options."
            )
        content = bytearray(Path(path).read_bytes())
        model = schema_py_generated.Model.GetRootAs(content, 0)
        graph = model.Subgraphs(0)
        shapes = [tuple(graph.Tensors(index).ShapeAsNumpy()) for index in range(graph.TensorsLength())]
        try:
            features, weight = shapes.index((1, 1, 1, EMBEDDING)), shapes.index((SCORES, EMBEDDING))
        except ValueError as error:
            raise NatureLMError(
                f"{path}: this network has no {EMBEDDING} features; it is not YAMNet."
            ) from error
        bias = shapes.index((SCORES,))
        self._weight = _dequantised(model, graph.Tensors(weight), np.int8).reshape(SCORES, EMBEDDING)
        self._bias = _dequantised(model, graph.Tensors(bias), np.int32)
        graph.OutputsAsNumpy()[0] = features
        self._net: Any = interpreter.Interpreter(model_content=bytes(content), num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._output = features
        self._scale, self._zero = self._net.get_output_details()[0]["quantization"]

    def __call__(self, waveform: Floats) -> Heard:
        """Return what the teacher hears in a 16 kHz waveform (samples,) in [-1, 1]."""
        inputs = patches(waveform)
        embeddings = np.empty((len(inputs), EMBEDDING), np.float32)
        for row, patch in enumerate(inputs):
            self._net.set_tensor(self._input, patch[None])
            self._net.invoke()
            embeddings[row] = self._net.get_tensor(self._output).reshape(EMBEDDING)
        embeddings = np.float32(self._scale) * (embeddings - np.float32(self._zero))
        scores = 1.0 / (1.0 + np.exp(-(embeddings @ self._weight.T + self._bias)))
        return Heard(scores.astype(np.float32), embeddings)


def _dequantised(model: Any, tensor: Any, dtype: type[np.signedinteger[Any]]) -> Floats:
    """Return the values of a constant tensor as float32."""
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy().view(dtype).astype(np.float32)
    return (raw * tensor.Quantization().ScaleAsNumpy()[0]).astype(np.float32)
