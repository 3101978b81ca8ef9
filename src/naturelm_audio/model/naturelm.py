"""The whole model: audio encoder, bridge and a Llama-type LLM, native to transformers.

Symbols: B rows, S positions, A clips, N samples, D width of the LLM, V vocabulary.
Source: Robinson et al., "NatureLM-audio: an Audio-Language Foundation Model for Bioacoustics" (2025).
Audio vectors replace the audio placeholder's positions in the prompt. Knows nothing of files, windows of
recordings or prompts' wording.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.utils import logging

from .beats import BeatsModel, GainLinear, GatedAttention, PositionalConvolution
from .bridge import Bridge
from .config import NatureLMConfig
from .lora import LoraLinear, attach_lora

logger = logging.get_logger(__name__)


class NatureLMPreTrainedModel(PreTrainedModel):
    """Base class: loading, saving and initial weights."""

    config_class = NatureLMConfig
    config: NatureLMConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = ["BeatsLayer", "LlamaDecoderLayer"]

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Give every weight that was not loaded its initial value."""
        super().initialize_weights()
        # The LLM's own class has initialised what is inside it, adapters too, and as any other linear layer.
        for module in self.modules():
            if isinstance(module, LoraLinear):
                init.kaiming_uniform_(module.lora_A.weight, a=5**0.5)
                init.zeros_(module.lora_B.weight)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initial values for training from scratch: BEATs with DeepNorm's gains, Q-Former N(0, 0.02)."""
        if isinstance(module, Bridge):
            init.normal_(module.query_tokens, mean=0.0, std=0.02)
            bound = 1 / math.sqrt(module.projection.in_features)
            init.uniform_(module.projection.weight, -bound, bound)
        elif isinstance(module, PositionalConvolution):
            kernel_positions, width = module.weight_v.shape[2], module.weight_v.shape[0]
            init.normal_(module.weight_v, mean=0.0, std=math.sqrt(4.0 / (kernel_positions * width)))
            init.copy_(module.weight_g, module.weight_v.norm(dim=(0, 1), keepdim=True))
            init.zeros_(module.bias)
        elif isinstance(module, GainLinear):
            init.xavier_normal_(module.weight, gain=module.initial_gain)
            init.zeros_(module.bias)
        elif isinstance(module, GatedAttention) and module.gated:
            init.ones_(module.grep_a)
        else:
            super()._init_weights(module)


class NatureLMForConditionalGeneration(NatureLMPreTrainedModel, GenerationMixin):
    """Audio and text in, text out."""

    def __init__(self, config: NatureLMConfig) -> None:
        super().__init__(config)
        self.audio_tower = BeatsModel(config.audio_config)
        self.bridge = Bridge(
            config.bridge_config,
            config.audio_config.encoder_embed_dim,
            config.text_config.hidden_size,
            attention=config.bridge_config._attn_implementation or "sdpa",
        )
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        if config.lora_rank:
            attach_lora(
                self.language_model,
                rank=config.lora_rank,
                alpha=config.lora_alpha,
                dropout=config.lora_dropout,
            )
        self.tokenizer: Any = None
        self.provenance: Any = None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's embedding of tokens."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the LLM's embedding of tokens."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's output head."""
        return self.language_model.get_output_embeddings()

    def get_decoder(self) -> nn.Module:
        """The LLM without its head."""
        return self.language_model.get_decoder()

    def get_audio_features(
        self, input_values: Tensor, input_values_mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Encoder and bridge alone: ``last_hidden_state`` (A, P, C) and ``pooler_output`` (A, tokens, D).

        Args:
            input_values: (A, N) float32 samples at 16 kHz in [-1, 1], padded as the model is used to.
            input_values_mask: (A, N), 1 for real samples. Without it padding is heard, as in the official
            release.
            kwargs: ignored; transformers passes settings for other modalities.
        """
        if input_values.dtype in (torch.bfloat16, torch.float16):
            # transformers' pipelines cast every input to the model's dtype; better that than to refuse it.
            logger.warning_once(f"audio came in {input_values.dtype}, which rounds it: pass float32")
            input_values = input_values.float()
        padding = None if input_values_mask is None else ~input_values_mask.bool()
        patches = self.audio_tower(input_values, padding)
        vectors = self.bridge(patches.to(self.bridge.projection.weight.dtype))
        return BaseModelOutputWithPooling(last_hidden_state=patches, pooler_output=vectors)

    def embed_prompt(self, input_ids: Tensor, audio_features: Tensor | None) -> Tensor:
        """Embeddings (B, S, D) of ``input_ids`` (B, S), each audio slot replaced by the next audio vector.

        Args:
            input_ids: ids with ``config.audio_token_id`` once for every audio vector.
            audio_features: (A, tokens, D), clips in the order of their slots; None for text alone.

        Raises:
            ValueError: the number of slots is not that of the vectors.
        """
        slots = input_ids == self.config.audio_token_id
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(slots, 0))
        if audio_features is None:
            if slots.any():
                raise ValueError(f"{int(slots.sum())} audio slots in the prompt but no audio")
            return embeddings
        self._check_slots(slots, audio_features)
        vectors = audio_features.to(embeddings.dtype).flatten(0, 1)
        return embeddings.masked_scatter(slots.unsqueeze(2), vectors)

    @staticmethod
    def _check_slots(slots: Tensor, audio_features: Tensor) -> None:
        clips, tokens = audio_features.shape[:2]
        per_row = slots.sum(dim=1).tolist()
        for row, count in enumerate(per_row):
            if count % tokens:
                raise ValueError(f"row {row} has {count} audio slots; one clip needs {tokens}")
        if sum(per_row) != clips * tokens:
            raise ValueError(
                f"{sum(per_row)} audio slots but {clips} clips of {tokens} vectors: the numbers must agree"
            )

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_values: Tensor | None = None,
        input_values_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, S, V), and the loss when ``labels`` (B, S; -100 outside the answer) are given.

        Either ``input_ids`` with ``input_values`` (A, N), or ready ``inputs_embeds`` (B, S, D).
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError(
                    "give input_ids, with input_values where they have audio slots, or inputs_embeds"
                )
            features = None
            if mm_encoder_outputs and "audio" in mm_encoder_outputs:
                features = mm_encoder_outputs["audio"].pooler_output
            elif input_values is not None:
                features = self.get_audio_features(input_values, input_values_mask).pooler_output
            goes_on = past_key_values is not None and past_key_values.get_seq_length() > 0
            if features is None and goes_on:  # tokens that the model said, perhaps the audio token among them
                inputs_embeds = self.get_input_embeddings()(input_ids)
            else:
                inputs_embeds = self.embed_prompt(input_ids, features)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
