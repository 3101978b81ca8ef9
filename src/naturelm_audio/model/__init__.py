"""The model, native to transformers; importing this module registers it with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from .beats import BeatsModel
from .bridge import Bridge
from .config import BeatsConfig, BridgeConfig, NatureLMConfig
from .fbank import fbank
from .lora import LoraLinear, merge_lora, merging_alpha
from .naturelm import NatureLMForConditionalGeneration
from .processor import NatureLMFeatureExtractor, NatureLMProcessor

__all__ = [
    "BeatsConfig",
    "BeatsModel",
    "Bridge",
    "BridgeConfig",
    "LoraLinear",
    "NatureLMConfig",
    "NatureLMFeatureExtractor",
    "NatureLMForConditionalGeneration",
    "NatureLMProcessor",
    "fbank",
    "merge_lora",
    "merging_alpha",
]

AutoConfig.register(NatureLMConfig.model_type, NatureLMConfig)
AutoModel.register(NatureLMConfig, NatureLMForConditionalGeneration)
AutoModelForMultimodalLM.register(NatureLMConfig, NatureLMForConditionalGeneration)
AutoFeatureExtractor.register(NatureLMConfig, NatureLMFeatureExtractor)
AutoProcessor.register(NatureLMConfig, NatureLMProcessor)
