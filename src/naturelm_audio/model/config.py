"""Configurations of the parts and of the whole model; sizes that follow are derived here, once.

Symbols: N samples, F frames of 10 ms, T time steps of 16 frames, P patches, W windows, D width of the LLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, LlamaConfig, PreTrainedConfig

SAMPLE_RATE_HZ = 16_000
FRAME_LENGTH_SAMPLES = 400
FRAME_HOP_SAMPLES = 160
MEL_BANDS = 128
# The window formula was made for encoders that give 1500 vectors in 30 s; BEATs kept it although it gives 50
# patches a second of another kind: the factor is a constant of the checkpoint, no rate of this encoder.
WINDOW_UNITS_PER_SECOND = 1500 / 30


class BeatsConfig(PreTrainedConfig):
    """Sizes of the audio encoder, under the names of the official ``beats_cfg``.

    ``patch_stem`` is ours: ``"linear"`` is BEATs' one 16 x 16 convolution, ``"conv"`` four 3 x 3 convolutions
    of stride 2 with batch normalisation that give the same grid of patches (better when trained from little
    data).

    Raises:
        ValueError: a value that no known checkpoint uses and this encoder does not compute.
    """

    model_type = "naturelm_audio_beats"

    patch_stem: str = "linear"
    input_patch_size: int = 16
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_norm_first: bool = False
    deep_norm: bool = True
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = True
    gru_rel_pos: bool = True
    num_buckets: int = 320
    max_distance: int = 800
    finetuned_model: bool = True
    predictor_class: int = 527
    layer_wise_gradient_decay_ratio: float = 1.0
    encoder_layerdrop: float = 0.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    dropout_input: float = 0.0
    predictor_dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        fixed = {
            "input_patch_size": 16,
            "conv_bias": False,
            "activation_fn": "gelu",
            "layer_norm_first": False,
            "relative_position_embedding": True,
        }
        for name, supported in fixed.items():
            if getattr(self, name) != supported:
                raise ValueError(
                    f"beats_cfg: {name}={getattr(self, name)!r} is not supported; known is {supported!r}"
                )
        if self.patch_stem not in ("linear", "conv"):
            raise ValueError(f"patch_stem={self.patch_stem!r}: known are 'linear' and 'conv'")
        if self.encoder_embed_dim % self.encoder_attention_heads:
            raise ValueError(
                f"encoder_embed_dim {self.encoder_embed_dim} is no multiple of "
                f"encoder_attention_heads {self.encoder_attention_heads}"
            )

    @property
    def hidden_size(self) -> int:
        """Width of a patch vector."""
        return self.encoder_embed_dim

    @property
    def frequency_bands(self) -> int:
        """Patches per time step: mel bands over the patch height."""
        return MEL_BANDS // self.input_patch_size


class BridgeConfig(PreTrainedConfig):
    """Sizes of the windowed Q-Former; the number of heads is in no official file, 12 belongs to BERT-base."""

    model_type = "naturelm_audio_bridge"

    hidden_size: int = 768
    num_hidden_layers: int = 2
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    num_query_tokens: int = 1
    second_per_window: float = 0.333333
    second_stride: float = 0.333333
    dropout: float = 0.1

    @property
    def window_patches(self) -> int:
        """Patches in one window, 17 for the release."""
        return round(WINDOW_UNITS_PER_SECOND * self.second_per_window)

    @property
    def stride_patches(self) -> int:
        """Patches from one window's start to the next one's."""
        return round(WINDOW_UNITS_PER_SECOND * self.second_stride)


def filterbank_frames(samples: int) -> int:
    """How many log-mel frames ``samples`` samples give; the rest of a hop gives none."""
    return 1 + (samples - FRAME_LENGTH_SAMPLES) // FRAME_HOP_SAMPLES if samples >= FRAME_LENGTH_SAMPLES else 0


def padded_samples(samples: int, padded_lengths_seconds: Sequence[float]) -> int:
    """The length in samples to which a clip of ``samples`` is padded: the first of the lengths that holds it.

    A few samples over a length, too few for one more frame of the filterbank, don't call for a longer one:
    the caller cuts what nobody would hear. (Files of "5 s" are often 5.001 s.)

    Raises:
        ValueError: the clip is empty or longer than the longest.
    """
    if samples < 1:
        raise ValueError("an audio clip needs at least one sample")
    lengths = [round(seconds * SAMPLE_RATE_HZ) for seconds in padded_lengths_seconds]
    for length in lengths:
        if samples <= length or (
            length != lengths[-1] and filterbank_frames(samples) == filterbank_frames(length)
        ):
            return length
    raise ValueError(
        f"a clip of {samples / SAMPLE_RATE_HZ:g} s is longer than the {padded_lengths_seconds[-1]:g} s that "
        "this model hears at once: split it into windows"
    )


class NatureLMConfig(PreTrainedConfig):
    """Configuration of the whole model: audio encoder, bridge, any Llama-type LLM and its adapters.

    ``padded_lengths_seconds``: a clip is padded with zeros at its end to the first of these lengths that
    holds it (the model was trained on such clips); the last one is the longest clip the model hears at once.
    ``audio_token_id``: the id that stands for one audio vector; it may lie behind the embedding table.
    ``lora_rank`` 0 means no adapters.
    """

    model_type = "naturelm_audio"
    is_composition = True

    audio_config: Any = None  # as a dict, too; a BeatsConfig after construction, and so on
    bridge_config: Any = None
    text_config: Any = None
    audio_token_id: int = 128_257
    padded_lengths_seconds: list[float] | tuple[float, ...] = (10.0,)
    lora_rank: int = 0
    lora_alpha: float = 32.0
    lora_dropout: float = 0.1
    max_answer_tokens: int = 160
    end_symbol: str = "<|end_of_text|>"
    prompt_template: str | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.audio_config, PreTrainedConfig):
            self.audio_config = BeatsConfig(**(self.audio_config or {}))
        if not isinstance(self.bridge_config, PreTrainedConfig):
            self.bridge_config = BridgeConfig(**(self.bridge_config or {}))
        if not isinstance(self.text_config, PreTrainedConfig):
            text = dict(self.text_config or {})
            kind = text.pop("model_type", "llama")
            self.text_config = LlamaConfig(**text) if kind == "llama" else AutoConfig.for_model(kind, **text)
        self.padded_lengths_seconds = tuple(float(seconds) for seconds in self.padded_lengths_seconds)
        lengths = self.padded_lengths_seconds
        if not lengths or sorted(lengths) != list(lengths):
            raise ValueError(f"padded_lengths_seconds must rise, not {self.padded_lengths_seconds}")
        super().__post_init__(**kwargs)

    @property
    def max_clip_seconds(self) -> float:
        """The longest clip that the model hears at once."""
        return self.padded_lengths_seconds[-1]

    def padded_samples(self, samples: int) -> int:
        """The length in samples to which a clip of ``samples`` is padded with zeros.

        Raises:
            ValueError: the clip is empty or longer than the model's longest.
        """
        return padded_samples(samples, self.padded_lengths_seconds)

    def audio_tokens(self, samples: int) -> int:
        """How many vectors the LLM gets for ``samples`` samples at 16 kHz, 0 when they are too few.

        (A clip of 10 s gives 29 in the release; the last patches that fill no window are unused, as trained.)
        """
        patches = (
            filterbank_frames(samples)
            // self.audio_config.input_patch_size
            * self.audio_config.frequency_bands
        )
        window, stride = self.bridge_config.window_patches, self.bridge_config.stride_patches
        windows = (patches - window) // stride + 1 if patches >= window else 0
        return windows * self.bridge_config.num_query_tokens


# Sub-configurations that `save_pretrained` and per-part settings (the attention kernel) reach by name.
NatureLMConfig.sub_configs = {
    "audio_config": BeatsConfig,
    "bridge_config": BridgeConfig,
    "text_config": AutoConfig,
}
