"""BEATs audio encoder: waveform in, one vector per 16 x 16 patch of the log-mel filterbank out.

Symbols: B batch, N samples, F frames, T time steps of 16 frames (160 ms), P = 8 T patches (frequency runs
fastest), E patch width, C encoder width, H heads, d = C / H.
Source: Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers" (2023); DeepNorm: Wang et al.
(2022); gated relative position bias: Chi et al., "XLM-E" (2022), as in WavLM (2022).
Every attention is scaled dot-product attention with an additive bias. Knows nothing of windows or text.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import BeatsConfig
from .fbank import fbank


class BeatsModel(nn.Module):
    """The encoder. ``forward`` takes waveforms, :meth:`encode_fbank` filterbanks."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = _patch_stem(config)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        same_width = config.embed_dim == config.encoder_embed_dim
        self.post_extract_proj = None if same_width else nn.Linear(config.embed_dim, config.encoder_embed_dim)
        self.encoder = BeatsEncoder(config)
        self.predictor = (
            nn.Linear(config.encoder_embed_dim, config.predictor_class) if config.finetuned_model else None
        )

    def train(self, mode: bool = True) -> BeatsModel:
        """Itself; a frozen encoder stays in evaluation mode: no layer drop, no batch statistics."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def forward(self, waveform: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Patch vectors (B, P, C) of ``waveform`` (B, N) at 16 kHz; P = 8 * (F // 16).

        Args:
            waveform: float32 (or float64) samples in [-1, 1].
            padding_mask: (B, N) bool, True where a sample is padding; see :func:`patch_padding_mask`.

        Raises:
            ValueError: too few samples for one time step, a mask of another shape or a row that is all
            padding.
        """
        features = fbank(waveform)
        mask = None
        if padding_mask is not None:
            if padding_mask.shape != waveform.shape:
                raise ValueError(
                    f"padding mask {tuple(padding_mask.shape)} for audio {tuple(waveform.shape)}"
                )
            mask = patch_padding_mask(padding_mask, features.shape[1], self.config)
        return self.encode_fbank(features, mask)

    def encode_fbank(self, features: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Patch vectors (B, P, C) of normalised log-mel ``features`` (B, F, 128).

        Args:
            features: from :func:`fbank`.
            patch_mask: (B, P), True = padding.

        Raises:
            ValueError: fewer frames than one time step has.
        """
        if features.shape[1] < self.config.input_patch_size:
            raise ValueError(
                f"{features.shape[1]} frames of 10 ms are too few for one time step "
                f"of {self.config.input_patch_size}"
            )
        image = features.to(self.layer_norm.weight.dtype).unsqueeze(1)  # (B, 1, F, 128)
        grid = self.patch_embedding(image)  # (B, E, T, 8)
        patches = self.layer_norm(grid.flatten(2).transpose(1, 2))  # (B, P, E), time-major
        if self.post_extract_proj is not None:
            patches = self.post_extract_proj(patches)
        return self.encoder(patches, patch_mask)

    def class_probabilities(self, waveform: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Probabilities (B, classes) of the fine-tuned tagger, the mean over unmasked patches.

        Raises:
            ValueError: this checkpoint has no tagger.
        """
        if self.predictor is None:
            raise ValueError("this encoder has no class predictor (finetuned_model is false)")
        logits = self.predictor(self(waveform, padding_mask))  # (B, P, classes)
        if padding_mask is None:
            return logits.mean(dim=1).sigmoid()
        frames = 1 + (waveform.shape[1] - 400) // 160
        kept = ~patch_padding_mask(padding_mask, frames, self.config).unsqueeze(2)  # (B, P, 1)
        return ((logits * kept).sum(dim=1) / kept.sum(dim=1)).sigmoid()


def _patch_stem(config: BeatsConfig) -> nn.Module:
    """(B, 1, F, 128) -> (B, E, T, 8): one convolution, or four small ones with the same grid."""
    if config.patch_stem == "linear":
        return nn.Conv2d(1, config.embed_dim, config.input_patch_size, config.input_patch_size, bias=False)
    widths = [1, 32, 64, 128, config.embed_dim]
    return ConvolutionalStem(widths, config.input_patch_size)


class ConvolutionalStem(nn.Module):
    """Four 3 x 3 convolutions of stride 2, each with batch normalisation and GELU."""

    def __init__(self, widths: list[int], patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.GELU())
            for a, b in pairwise(widths)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, E, T, 8) of (B, 1, F, 128); frames that fill no time step are cut first."""
        grid = image[:, :, : image.shape[2] // self.patch_size * self.patch_size]
        for layer in self.layers:
            grid = layer(grid)
        return grid


class BeatsEncoder(nn.Module):
    """Convolutional positions and the transformer layers, which share one relative position table."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv = PositionalConvolution(config)
        self.layer_norm = nn.LayerNorm(config.encoder_embed_dim)
        self.relative_attention_bias = nn.Embedding(config.num_buckets, config.encoder_attention_heads)
        self.layers = nn.ModuleList(BeatsLayer(config) for _ in range(config.encoder_layers))

    def forward(self, patches: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """(B, P, C) -> (B, P, C)."""
        if patch_mask is not None:
            patches = patches.masked_fill(patch_mask.unsqueeze(2), 0.0)
        states = self.layer_norm(patches + self.pos_conv(patches))
        bias = self.position_bias(states.shape[1]).to(states.dtype)  # (H, P, P)
        decay = self.config.layer_wise_gradient_decay_ratio
        for layer in self.layers:
            if self.training and decay != 1.0:
                states = _ScaleGradient.apply(states, decay)  # type: ignore[no-untyped-call]
            if self.training and torch.rand(()).item() < self.config.encoder_layerdrop:
                continue
            states = layer(states, bias, patch_mask)
        return states

    def position_bias(self, patches: int) -> Tensor:
        """Ungated bias R (H, P, P) for query i and key j, a function of j - i."""
        offsets = _offset_buckets(patches, self.config.num_buckets, self.config.max_distance)
        offsets = offsets.to(self.relative_attention_bias.weight.device)
        values = self.relative_attention_bias(offsets).T  # (H, 2P - 1)
        # Row i is the slice that starts at offset -i: overlapping slices, no gather of P * P buckets.
        # (`flip` alone keeps odd strides, which slow the attention down.)
        return values.unfold(1, patches, 1).flip(1).contiguous()  # (H, P, P)


class PositionalConvolution(nn.Module):
    """Grouped convolution along the patches, its kernel normalised per position ("weight norm, dim 2")."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, kernel = config.encoder_embed_dim, config.conv_pos
        self.groups = config.conv_pos_groups
        self.bias = nn.Parameter(torch.zeros(width))
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.ones(width, width // self.groups, kernel))

    def forward(self, patches: Tensor) -> Tensor:
        """(B, P, C) -> (B, P, C), to be added to its input."""
        kernel = self.weight_v.shape[2]
        weight = torch._weight_norm(self.weight_v, self.weight_g, 2)
        states = functional.conv1d(
            patches.transpose(1, 2), weight, self.bias, padding=kernel // 2, groups=self.groups
        )
        if kernel % 2 == 0:  # an even kernel yields one position too many
            states = states[:, :, :-1]
        return functional.gelu(states.transpose(1, 2))


class GainLinear(nn.Linear):
    """A linear layer that knows the gain of its initial weights; transformers asks leaves, not parents."""

    def __init__(self, inputs: int, outputs: int, initial_gain: float) -> None:
        super().__init__(inputs, outputs)
        self.initial_gain = initial_gain


def deep_norm_gain(config: BeatsConfig) -> float:
    """DeepNorm keeps updates bounded by shrinking value, output and feed-forward weights at the start."""
    return (8 * config.encoder_layers) ** -0.25 if config.deep_norm else 1.0


class BeatsLayer(nn.Module):
    """One post-norm layer; DeepNorm scales the residual, not the branch."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, inner = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.residual_scale = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.dropout = config.dropout
        self.activation_dropout = config.activation_dropout
        self.self_attn = GatedAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        gain = deep_norm_gain(config)
        self.fc1, self.fc2 = GainLinear(width, inner, gain), GainLinear(inner, width, gain)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, bias: Tensor, patch_mask: Tensor | None) -> Tensor:
        """(B, P, C) -> (B, P, C)."""
        branch = functional.dropout(self.self_attn(states, bias, patch_mask), self.dropout, self.training)
        states = self.self_attn_layer_norm(torch.add(branch, states, alpha=self.residual_scale))
        inner = functional.dropout(functional.gelu(self.fc1(states)), self.activation_dropout, self.training)
        branch = functional.dropout(self.fc2(inner), self.dropout, self.training)
        return self.final_layer_norm(torch.add(branch, states, alpha=self.residual_scale))


class GatedAttention(nn.Module):
    """Self-attention whose relative position bias is gated by the projected query of every position."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        head_width = width // self.heads
        self.dropout = config.attention_dropout
        self.q_proj, self.k_proj = (GainLinear(width, width, math.sqrt(0.5)) for _ in range(2))
        self.v_proj, self.out_proj = (GainLinear(width, width, deep_norm_gain(config)) for _ in range(2))
        self.gated = config.gru_rel_pos
        if self.gated:
            self.grep_linear = nn.Linear(head_width, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, states: Tensor, bias: Tensor, patch_mask: Tensor | None) -> Tensor:
        """(B, P, C) -> (B, P, C); ``bias`` (H, P, P), ``patch_mask`` (B, P) True = masked key."""
        query, key, value = (
            projection(states).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, P, d)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        gate = self._gate(query) if self.gated else query.new_ones(())
        if query.device.type == "cpu" and query.dtype == torch.bfloat16:
            mixed = self._attend_by_products(query, key, value, gate, bias, patch_mask)
        else:
            additive = gate * bias if self.gated else bias.unsqueeze(0)  # (B, H, P, P)
            if patch_mask is not None:
                additive = additive.masked_fill(patch_mask[:, None, None, :], -math.inf)
            dropout = self.dropout if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(
                query, key, value, additive.to(query.dtype), dropout_p=dropout
            )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _attend_by_products(
        self, query: Tensor, key: Tensor, value: Tensor, gate: Tensor, bias: Tensor, patch_mask: Tensor | None
    ) -> Tensor:
        """The same attention (B, H, P, d) as two matrix products: for bfloat16 on CPUs twice as fast."""
        scores = torch.matmul(query * query.shape[3] ** -0.5, key.transpose(2, 3))  # (B, H, P, P)
        scores = torch.addcmul(scores, gate.to(scores.dtype), bias.to(scores.dtype))
        if patch_mask is not None:
            scores = scores.masked_fill(patch_mask[:, None, None, :], -math.inf)
        weights = functional.dropout(scores.softmax(dim=3), self.dropout, self.training)
        return torch.matmul(weights.to(value.dtype), value)

    def _gate(self, query: Tensor) -> Tensor:
        """Gate (B, H, P, 1) from the unscaled projected query (B, H, P, d)."""
        # The sum of four outputs of a linear layer is a linear layer with summed rows: 8 products become 2.
        weight = self.grep_linear.weight.unflatten(0, (2, 4)).sum(dim=1)  # (2, d)
        offset = self.grep_linear.bias.unflatten(0, (2, 4)).sum(dim=1)
        strong, mild = functional.linear(query, weight, offset).sigmoid().chunk(2, dim=3)
        return strong * (mild * self.grep_a - 1.0) + 2.0


class _ScaleGradient(torch.autograd.Function):
    """Identity forward; the gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def relative_position_bucket(offset: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Row of the bias table for offsets (key minus query): exact at first, then logarithmic."""
    half, exact = num_buckets // 2, num_buckets // 4
    distance = offset.abs()
    ratio = (distance.clamp_min(1).float() / exact).log() / math.log(max_distance / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp_max(half - 1)
    return (offset > 0).long() * half + torch.where(distance < exact, distance, far)


@lru_cache(maxsize=16)
def _offset_buckets(patches: int, num_buckets: int, max_distance: int) -> Tensor:
    """Buckets (2P - 1,) of the offsets -(P - 1) .. P - 1; on the CPU, whose logarithm training used."""
    with torch.inference_mode(False), torch.device("cpu"):  # cached in inference, used in training too
        return relative_position_bucket(torch.arange(-(patches - 1), patches), num_buckets, max_distance)


def reduce_mask(mask: Tensor, length: int) -> Tensor:
    """(B, length) of a mask (B, n): True where all n // length entries of a run are; the rest is cut."""
    run = mask.shape[1] // length
    return mask[:, : run * length].unflatten(1, (length, run)).all(dim=2)


def patch_padding_mask(padding_mask: Tensor, frames: int, config: BeatsConfig) -> Tensor:
    """Mask (B, P) of masked patches from a mask (B, N) of padded samples, by the official two reductions.

    The second one runs along the flat patch index, so around the end of a sound some bands of one time step
    are masked and others are not: that is how the weights were trained.

    Raises:
        ValueError: a row is all padding, which would make every attention weight undefined.
    """
    patches = frames // config.input_patch_size * config.frequency_bands
    mask = reduce_mask(reduce_mask(padding_mask.bool(), frames), patches)
    empty = mask.all(dim=1).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"clips {empty} of the batch are all padding")
    return mask
