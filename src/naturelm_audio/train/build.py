"""What scenes are made of: the clips, the sounds in them, and a tokenizer for their questions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from naturelm_audio import prompts
from naturelm_audio.train.data import Clip, ClipStore, read_manifest, to_int16
from naturelm_audio.train.questions import Asker, Heard, Sound
from naturelm_audio.train.scene_options import ScenesOptions
from naturelm_audio.train.synthetic import synthesise
from naturelm_audio.train.tokenizer import train_tokenizer

logger = logging.getLogger(__name__)

SYNTHETIC = {
    "cricket": Sound(label="cricket", kind="animal"),
    "frog": Sound(label="frog", kind="animal"),
    "bird": Sound(label="chirping birds", kind="animal"),
    "bird-trill": Sound(label="chirping birds", kind="animal"),
    "rain": Sound(label="rain", kind="environment"),
    "wind": Sound(label="wind", kind="environment"),
    "silence": Sound(label="silence", kind="environment"),
}
"""What each kind of our own synthesiser is called."""


def training_clips(
    options: ScenesOptions, split: str = "train", *, max_unreadable_share: float = 0.0
) -> ClipStore:
    """Return the clips of one split, read into memory, with synthetic ones in the train split.

    Raises:
        AudioError: more than this share of the recordings can't be read.
        NatureLMError: the manifest is missing, or lacks a column.
    """
    clips = read_manifest(options.manifest)
    unknown = set(options.exclude_paths) - {clip.path for clip in clips}
    if unknown:
        logger.warning(
            "scenes.exclude_paths: %d not in %s, such as %s", len(unknown), options.manifest, min(unknown)
        )
    wanted = [
        clip
        for clip in clips
        if clip.split == split
        and clip.source not in options.exclude_sources
        and clip.path not in options.exclude_paths
    ]
    folder = Path(options.manifest).parent
    store = ClipStore.read(wanted, folder, max_unreadable_share=max_unreadable_share)
    if split == "train" and options.synthetic_per_kind:
        store = store + synthetic_clips(options.synthetic_per_kind)
    return store


def synthetic_clips(per_kind: int, seconds: float = 10.0, first_seed: int = 1000) -> ClipStore:
    """Return clips of our own synthesiser, every one different; training uses seeds from 1000 on."""
    clips, parts = [], []
    for kind, sound in SYNTHETIC.items():
        for seed in range(first_seed, first_seed + per_kind):
            name = f"synthetic/{kind}/{seed}"
            clips.append(Clip(path=name, sound=sound, source="synthetic", split="train", recording=name))
            parts.append(to_int16(synthesise(kind, seed=seed, seconds=seconds, sample_rate_hz=16_000)))
    return ClipStore.of(clips, parts)


def sounds_of(store: ClipStore) -> list[Sound]:
    """Return every kind of sound of a store and of our synthesiser, sorted by label.

    Of a label's rows it's the best described one.
    """
    best: dict[str, Sound] = {}
    for sound in (*(clip.sound for clip in store.clips), *SYNTHETIC.values()):
        known = best.get(sound.label)
        if known is None or len(sound.taxonomic_name) > len(known.taxonomic_name):
            best[sound.label] = sound
    return [best[label] for label in sorted(best)]


def scene_tokenizer(store: ClipStore, vocabulary: int, texts: int = 12_000) -> PreTrainedTokenizerFast:
    """Return a tokenizer trained on random questions about the clips' sounds and their answers."""
    asker = Asker(sounds_of(store))

    def written() -> Iterator[str]:
        generator = np.random.default_rng(0)
        for _ in range(texts // 4):
            chosen = generator.choice(len(store), 1 + int(generator.random() < 0.3), replace=False)
            heard = Heard(tuple(store.clips[index].sound for index in chosen), focal=True)
            for wording, answer in asker.ask(heard, generator, 4):
                yield prompts.build(wording)
                yield answer

    return train_tokenizer(written(), vocabulary)
