"""Feature extractor and processor: waveforms and text in, the model's tensors out.

The feature extractor only pads; the filterbank is part of the model, so that it runs batched and on its
device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import BatchFeature, ProcessorMixin, SequenceFeatureExtractor

from .config import SAMPLE_RATE_HZ, NatureLMConfig, padded_samples


class NatureLMFeatureExtractor(SequenceFeatureExtractor):
    """Pads mono waveforms at 16 kHz with zeros to a length that the model was trained with.

    Args:
        padded_lengths_seconds: allowed lengths, rising; a batch takes the first that holds its longest clip.
        tokens_per_length: audio vectors that a clip of each length becomes, in the same order.
        kwargs: passed on to transformers.
    """

    model_input_names = ["input_values"]

    def __init__(
        self,
        padded_lengths_seconds: tuple[float, ...] | list[float] = (10.0,),
        tokens_per_length: tuple[int, ...] | list[int] = (29,),
        sampling_rate: int = SAMPLE_RATE_HZ,
        feature_size: int = 1,
        padding_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs
        )
        self.padded_lengths_seconds = list(padded_lengths_seconds)
        self.tokens_per_length = list(tokens_per_length)
        self.chunk_length = self.padded_lengths_seconds[-1]

    @classmethod
    def from_config(cls, config: NatureLMConfig) -> NatureLMFeatureExtractor:
        """The extractor that belongs to a model."""
        lengths = config.padded_lengths_seconds
        return cls(lengths, [config.audio_tokens(round(seconds * SAMPLE_RATE_HZ)) for seconds in lengths])

    def __call__(self, raw_speech: Any, sampling_rate: int | None = None, **kwargs: Any) -> BatchFeature:
        """``input_values`` (A, N) float32 and ``num_audio_tokens`` (A,) of one waveform or a list of them.

        Raises:
            ValueError: another sample rate, not one-dimensional, empty, not finite, integers, or longer than
            the
                model hears at once.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"audio must be at {self.sampling_rate} Hz, not {sampling_rate}: resample it first"
            )
        several = isinstance(raw_speech, list | tuple) and len(raw_speech) > 0 and np.ndim(raw_speech[0]) > 0
        arrays = [_checked(np.asarray(clip)) for clip in (raw_speech if several else [raw_speech])]
        longest = max(array.size for array in arrays)
        allowed = [round(seconds * self.sampling_rate) for seconds in self.padded_lengths_seconds]
        if longest > allowed[-1]:
            raise ValueError(
                f"a clip of {longest / self.sampling_rate:g} s is longer than the {self.chunk_length:g} s "
                "that the model hears at once: split it into windows"
            )
        length = padded_samples(longest, self.padded_lengths_seconds)
        place = allowed.index(length)
        values = np.stack([np.pad(array[:length], (0, max(0, length - array.size))) for array in arrays])
        data = {"input_values": values, "num_audio_tokens": [self.tokens_per_length[place]] * len(arrays)}
        return BatchFeature(data, tensor_type=kwargs.get("return_tensors"))


def _checked(clip: np.ndarray) -> np.ndarray:
    """The clip (samples,) as float32."""
    if clip.ndim != 1 or not clip.size:
        raise ValueError(
            f"each clip must be a one-dimensional, non-empty waveform, not of shape {clip.shape}"
        )
    if not np.issubdtype(clip.dtype, np.floating):
        raise ValueError(
            f"a clip must be floating point in [-1, 1], not {clip.dtype}: divide it by its full scale"
        )
    if not np.isfinite(clip).all():
        raise ValueError("a clip has samples that are not finite")
    return clip.astype(np.float32)


class NatureLMProcessor(ProcessorMixin):
    """Makes ``input_ids``, ``attention_mask`` and ``input_values`` of text and clips.

    The text has one ``<AudioHere>`` per clip, which becomes as many audio slots as the clip has vectors. A
    tokenizer that puts no BOS token in front is set to do so, as the model was trained.

    Raises:
        ValueError: the tokenizer doesn't know ``<AudioHere>``.
    """

    def __init__(self, feature_extractor: Any, tokenizer: Any, chat_template: str | None = None) -> None:
        self.audio_token = "<AudioHere>"
        if self.audio_token not in tokenizer.get_vocab():
            raise ValueError(
                f"the tokenizer has no token {self.audio_token}: add it as a special token first"
            )
        self.audio_token_id = tokenizer.convert_tokens_to_ids(self.audio_token)
        if tokenizer.bos_token_id is not None and tokenizer("").input_ids[:1] != [tokenizer.bos_token_id]:
            tokenizer.add_bos_token = True
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)

    def validate_inputs(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> None:
        """Check that every placeholder has its clip, where there is text at all.

        Raises:
            ValueError: numbers differ.
        """
        if text is not None:
            texts = [text] if isinstance(text, str) else text
            placeholders = sum(one.count(self.audio_token) for one in texts)
            clips = 0 if audio is None else len(audio)
            if placeholders != clips:
                raise ValueError(f"{placeholders} {self.audio_token} in the text but {clips} audio clips")
        super().validate_inputs(images=images, text=text, videos=videos, audio=audio, **kwargs)

    def replace_audio_token(self, audio_inputs: dict[str, Any], audio_idx: int, **_: Any) -> str:
        """The placeholder repeated as often as clip ``audio_idx`` has vectors."""
        return self.audio_token * int(audio_inputs["num_audio_tokens"][audio_idx])

    @property
    def unused_input_names(self) -> list[str]:
        """Outputs of the feature extractor that ``forward`` does not take."""
        return ["num_audio_tokens"]
