"""Models of a few thousand random weights and their tokenizer, for tests: real code, two layers each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from naturelm_audio import prompts
from naturelm_audio.model import BeatsConfig, BridgeConfig, NatureLMConfig, NatureLMForConditionalGeneration

BOS, END, END_OF_TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
SPECIAL_TOKENS = (
    BOS,
    END,
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    END_OF_TURN,
    prompts.AUDIO_TOKEN,
)
LENGTHS_SECONDS = (0.5, 1.0)
PEAK_BYTES = """
import resource, sys
def peak_bytes():
    try:
        lines = open("/proc/self/status").read().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
"""
"""For a process of its own. On Linux ru_maxrss begins with what the parent had: a process full of tests."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte and the special tokens of Llama 3; the audio token comes last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def beats_config(**changes: Any) -> BeatsConfig:
    """Two layers of two heads."""
    sizes: dict[str, Any] = {
        "embed_dim": 8,
        "encoder_layers": 2,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 24,
        "encoder_attention_heads": 2,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "predictor_class": 5,
    }
    return BeatsConfig(**(sizes | changes))


def bridge_config(**changes: Any) -> BridgeConfig:
    """Two layers of two heads."""
    return BridgeConfig(**({"hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20} | changes))


def text_config(**changes: Any) -> dict[str, Any]:
    """A Llama of two layers; without a row for the audio token, as in the release."""
    vocabulary = tokenizer()
    sizes: dict[str, Any] = {
        "model_type": "llama",
        "vocab_size": len(vocabulary) - 1,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.pad_token_id,
        "tie_word_embeddings": False,
    }
    return sizes | changes


def config(text: dict[str, Any] | None = None, **changes: Any) -> NatureLMConfig:
    """The whole model's; clips of 0.5 s give 1 vector, of 1 s give 2."""
    return NatureLMConfig(
        **(
            {
                "audio_config": beats_config(),
                "bridge_config": bridge_config(),
                "text_config": text_config(**(text or {})),
                "audio_token_id": tokenizer().convert_tokens_to_ids(prompts.AUDIO_TOKEN),
                "padded_lengths_seconds": LENGTHS_SECONDS,
            }
            | changes
        )
    )


def model(
    text: dict[str, Any] | None = None, *, spread: float = 0.3, seed: int = 0, **changes: Any
) -> NatureLMForConditionalGeneration:
    """A model in evaluation mode; ``spread`` makes weights so large that answers depend on the prompt."""
    torch.manual_seed(seed)
    toy = NatureLMForConditionalGeneration(config(text, **changes))
    shake(toy, spread)
    vocabulary = tokenizer()
    toy.tokenizer = vocabulary
    toy.generation_config = GenerationConfig(
        bos_token_id=vocabulary.bos_token_id,
        eos_token_id=vocabulary.convert_tokens_to_ids([END, END_OF_TURN]),
        pad_token_id=vocabulary.pad_token_id,
        do_sample=False,
    )
    return toy.eval()


@torch.no_grad()
def shake(module: torch.nn.Module, spread: float = 0.3) -> None:
    """Add noise to every weight, so that no bias is 0, no norm 1, and no adapter without effect."""
    for parameter in module.parameters():
        parameter.add_(torch.randn_like(parameter) * spread)


def waveform(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """(samples,) float32: a tone with noise, different for every seed."""
    time_s = np.arange(round(16_000 * seconds)) / 16_000
    noise = np.random.default_rng(seed).standard_normal(time_s.size)
    return (0.3 * np.sin(2 * np.pi * 440 * (seed + 1) * time_s) + 0.1 * noise).astype(np.float32)


def waveforms(clips: int, seconds: float = 1.0, seed: int = 0) -> torch.Tensor:
    """(clips, samples) float32, all different."""
    return torch.from_numpy(np.stack([waveform(seconds, seed + clip) for clip in range(clips)]))
