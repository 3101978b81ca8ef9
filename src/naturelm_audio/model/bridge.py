"""The bridge: patch vectors -> windows of 17 -> Q-Former -> vectors of the LLM's width.

Symbols: B batch, P patches, C encoder width, W windows, k = 17 patches in a window, n queries per window,
Q Q-Former width, D width of the LLM.
Source: window-level Q-Former, Tang et al., "SALMONN" (2024), section 3.1; BLIP-2, Li et al. (2023).
Windows are runs of flat patches and deliberately not aligned to time (17 = two time steps and one band), as
trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from .config import BridgeConfig


class Bridge(nn.Module):
    """Layer norm, windows, Q-Former with its query tokens, and one linear projection."""

    def __init__(
        self, config: BridgeConfig, patch_width: int, llm_width: int, attention: str = "sdpa"
    ) -> None:
        super().__init__()
        self.config = config
        self.ln_audio = nn.LayerNorm(patch_width)
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, config.hidden_size))
        self.qformer = Blip2QFormerModel._from_config(
            Blip2QFormerConfig(
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                encoder_hidden_size=patch_width,
                cross_attention_frequency=1,
                layer_norm_eps=1e-12,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
            ),
            attn_implementation=attention,
        )
        self.projection = nn.Linear(config.hidden_size, llm_width)

    def forward(self, patches: Tensor) -> Tensor:
        """Vectors for the LLM (B, W * n, D), window-major, of ``patches`` (B, P, C)."""
        return self.projection(self.query_outputs(patches)).flatten(1, 2)

    def query_outputs(self, patches: Tensor) -> Tensor:
        """Q-Former outputs (B, W, n, Q) before the projection: one set per window of a third of a second.

        Raises:
            ValueError: too few patches for one window (less than about half a second of audio).
        """
        windows = self._windows(self.ln_audio(patches))  # (B, W, k, C)
        batch = windows.shape[0]
        queries = self.query_tokens.expand(batch * windows.shape[1], -1, -1)
        states = self.qformer(queries, encoder_hidden_states=windows.flatten(0, 1)).last_hidden_state
        return states.unflatten(0, (batch, -1))

    def _windows(self, patches: Tensor) -> Tensor:
        """(B, W, k, C); patches that fill no window at the end are unused, as trained."""
        size, stride = self.config.window_patches, self.config.stride_patches
        if patches.shape[1] < size:
            raise ValueError(
                f"{patches.shape[1]} patches are too few for one window of {size}: "
                "the clip needs at least 7920 samples (0.495 s at 16 kHz), pad it with zeros"
            )
        return patches.unfold(1, size, stride).transpose(2, 3)
