"""From rows to training samples: which row comes when, its augmented clips, and what couldn't be read.

A run is one sequence of draws, numbered from 0; draw n depends on the seed and n alone. So processes, workers
and a resumed run all see the same samples, and no two draws share their random numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from naturelm_audio.audio import SAMPLE_RATE_HZ, find_recordings, probe, read_span
from naturelm_audio.errors import AudioError, NatureLMError, OptionsError
from naturelm_audio.model import NatureLMConfig
from naturelm_audio.train import augment, augmentation
from naturelm_audio.train.augment import Floats, Generator
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.mixing import load_clips
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import AugmentOptions
from naturelm_audio.train.stored import StoredAudio

__all__ = [
    "Draws",
    "NoisePool",
    "Reader",
    "Sample",
    "TrainingError",
    "Unreadable",
    "clip_samples",
    "order_of_pass",
    "refuse_too_many",
]

MOST_REPLACEMENTS = 20
FEW_FILES = 3000
FEW_FILES_WEIGHT = 3
"""A folder of few noise files counts so often, so that a large one doesn't drown it."""


class TrainingError(NatureLMError):
    """A run that can't go on: no finite gradients, or too much audio that can't be read."""


@dataclass(frozen=True)
class Unreadable:
    """A row whose audio couldn't be read; noise files are numbered down from -1, as they are no rows."""

    row: int
    reason: str


@dataclass(frozen=True, eq=False)
class Sample:
    """What the model learns from: clips (samples,) of one length, question and answer.

    ``unreadable`` are rows that should have stood in its place.
    """

    clips: tuple[Floats, ...]
    prompt: str
    text: str
    task: str
    row: int
    unreadable: tuple[Unreadable, ...] = field(default=())


class NoisePool:
    """Recordings without animals, from folders.

    Args:
        folders: searched deeply, for every format that can be read.

    Raises:
        AudioError: a folder is missing or holds no recording.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.paths: list[Path] = []
        for folder in folders:
            found = [recording.path for recording in find_recordings([folder])]
            self.paths += found * (FEW_FILES_WEIGHT if len(found) < FEW_FILES else 1)

    def __bool__(self) -> bool:
        return bool(self.paths)

    def draw(self, samples: int, generator: Generator, failed: list[Unreadable]) -> Floats:
        """Return (samples,) of a file that is drawn uniformly; those that can't be read go to ``failed``.

        Raises:
            AudioError: so many files in turn can't be read that something else is wrong.
        """
        for _ in range(MOST_REPLACEMENTS):
            place = int(generator.integers(len(self.paths)))
            path = self.paths[place]
            try:
                return augmentation.fitted_noise(_crop_of_file(path, samples, generator), samples, generator)
            except AudioError as error:
                # A file of a small folder stands in the list several times.
                failed.append(Unreadable(-1 - self.paths.index(path), f"noise, {error}"))
        raise AudioError(f"{MOST_REPLACEMENTS} noise files in turn can't be read; {failed[-1].reason}")


class Reader:
    """Reads clips of rows, no more of a file than is heard.

    Args:
        audio_root: folder that rows' paths start from.
        samples: length that every clip is cut or padded to.
        stored: audio of rows that come without files.
    """

    def __init__(self, audio_root: str | Path, samples: int, stored: StoredAudio | None = None) -> None:
        self.root = Path(audio_root)
        self.samples = samples
        self.stored = stored

    def from_start(self, example: Example) -> list[Floats]:
        """Return the clips from their starts, padded with zeros and clamped: what validation hears.

        Raises:
            AudioError: a file can't be read.
        """
        example = self._with_audio(example)
        if example.mix is None and not example.encoded:
            seconds = self.samples / SAMPLE_RATE_HZ
            start = example.start_seconds or 0.0
            end = min(example.end_seconds or math.inf, start + seconds)
            example = dataclasses.replace(example, start_seconds=start, end_seconds=end)
        return [self.finished(clip[: self.samples]) for clip in load_clips(example, self.root)]

    def cropped(self, example: Example, generator: Generator, largest_scale: float | None) -> list[Floats]:
        """Return the clips, changed in speed if asked for, cropped at random places and not yet padded.

        Raises:
            AudioError: a file can't be read.
        """
        example = self._with_audio(example)
        if example.mix is None and not example.encoded and largest_scale is None:
            return [
                _crop_of_file(
                    resolve(self.root, name),
                    self.samples,
                    generator,
                    start_seconds=example.start_seconds or 0.0,
                    end_seconds=example.end_seconds,
                    channel=example.channel,
                )
                for name in example.files
            ]
        clips = load_clips(example, self.root)
        if largest_scale is not None:
            clips = [augmentation.time_scale(clip, largest_scale, generator) for clip in clips]
        return [augment.crop(clip, self.samples, generator, tries=1) for clip in clips]

    def _with_audio(self, example: Example) -> Example:
        return self.stored.filled(example) if self.stored and example in self.stored else example

    def silence(self) -> Floats:
        """Return a clip of zeros."""
        return np.zeros(self.samples, np.float32)

    def finished(self, clip: Floats) -> Floats:
        """Return the clip padded with zeros and clamped."""
        return augment.clamp(np.pad(clip, (0, self.samples - len(clip))))


class Draws(Dataset[Sample]):
    """The samples of a run, by their number.

    Args:
        examples: rows to learn from.
        reader: reads their audio.
        options: of augmentation; None for none.
        seed: of order and augmentation.
        length: how many there are.
        noise: recordings without animals; by default those of the options.

    Raises:
        OptionsError: no rows, or noise is asked for without a folder of it.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        reader: Reader,
        options: AugmentOptions | None,
        *,
        seed: int,
        length: int,
        noise: NoisePool | None = None,
    ) -> None:
        if not examples:
            raise OptionsError("no rows are left to learn from")
        self.examples, self.reader, self.options = list(examples), reader, options
        self.seed, self.length = seed, length
        self.rows = len(self.examples)
        self._weights = np.array([example.weight for example in self.examples])
        if not self._weights.sum() > 0:
            raise OptionsError("the weights of all rows are 0: nothing could be drawn")
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self.noise = NoisePool(options.noise_folders if options else ()) if noise is None else noise
        if options and not self.noise and (options.noise_probability or options.replace_probability):
            raise OptionsError(
                "augment.noise_folders: name folders of recordings without animals, or set "
                "noise_probability and replace_probability to 0"
            )
        self.partners: dict[str, list[int]] = {"sci": [], "common": []}
        for row, example in enumerate(self.examples):
            for kind in augmentation.partner_kinds(example):
                self.partners[kind].append(row)

    def __len__(self) -> int:
        return self.length

    def row_of(self, draw: int) -> int:
        """Return the row that comes at a draw: each once in a pass, in an order of that pass's own."""
        turn, place = divmod(draw, len(self.examples))
        if self._order is None or self._order[0] != turn:
            self._order = (turn, order_of_pass(self.seed, turn, self._weights))
        return int(self._order[1][place])

    def __getitem__(self, draw: int) -> Sample:
        """Return the sample of a draw; another row stands in where its audio can't be read.

        Raises:
            AudioError: so many rows in turn can't be read that something else is wrong.
        """
        failed: list[Unreadable] = []
        row = self.row_of(draw)
        for attempt in range(MOST_REPLACEMENTS):
            generator = np.random.default_rng(digest(self.seed, "draw", draw, attempt))
            try:
                return dataclasses.replace(self.sample(row, generator, failed), unreadable=tuple(failed))
            except AudioError as error:
                failed.append(Unreadable(row, str(error)))
            row = int(generator.integers(len(self.examples)))
        raise AudioError(f"{MOST_REPLACEMENTS} rows in turn can't be read; the last one: {failed[-1].reason}")

    def sample(self, row: int, generator: Generator, failed: list[Unreadable]) -> Sample:
        """Return one row's sample with these random numbers; partners and noise that can't be read go to
        ``failed``.

        Raises:
            AudioError: its audio can't be read.
        """
        example, options = self.examples[row], self.options
        if options is None:
            return self._sample(row, example, self.reader.from_start(example))
        scale = options.time_scale_max if _hits(options.time_scale_probability, generator) else None
        scale = None if "pitch" in example.task else scale
        may_be_noise = augmentation.may_become_noise(example) and bool(self.noise)
        if may_be_noise and _hits(options.replace_probability, generator):
            clip = self.noise.draw(self.reader.samples, generator, failed)
            if scale is not None:
                clip = augmentation.time_scale(clip, scale, generator)
            return self._sample(row, augmentation.as_noise(example), [self.reader.finished(clip)])
        clips = [self._changed(clip, generator) for clip in self.reader.cropped(example, generator, scale)]
        if self.noise and augmentation.gets_noise(example):
            clips = [self._noisy(clip, generator, failed) for clip in clips]
        clips = [self.reader.finished(clip) for clip in clips]
        if augmentation.is_mixup_base(example) and _hits(options.mixup_probability, generator):
            example, clips = self._mixed(example, clips[0], generator, failed)
        return self._sample(row, example, clips)

    def _sample(self, row: int, example: Example, clips: Sequence[Floats]) -> Sample:
        return Sample(tuple(clips), example.prompt, example.text, example.task, row)

    def _changed(self, clip: Floats, generator: Generator) -> Floats:
        """Return the clip after those augmentations that the paper's recipe leaves off."""
        options = self.options or AugmentOptions()
        if _hits(options.band_mask_probability, generator):
            clip = augmentation.band_mask(clip, generator)
        if _hits(options.echo_probability, generator):
            clip = augmentation.echo(clip, generator)
        if _hits(options.flip_probability, generator):
            clip = clip[::-1].copy()
        return clip

    def _noisy(self, clip: Floats, generator: Generator, failed: list[Unreadable]) -> Floats:
        options = self.options or AugmentOptions()
        if not _hits(options.noise_probability, generator):
            return clip
        noise = self.noise.draw(len(clip), generator, failed)
        return augmentation.with_noise(clip, noise, float(generator.uniform(*options.noise_snr_db)))

    def _mixed(
        self, example: Example, clip: Floats, generator: Generator, failed: list[Unreadable]
    ) -> tuple[Example, list[Floats]]:
        """Return the row and its clip with one or two others mixed in, as far as there are any."""
        options = self.options or AugmentOptions()
        floor = 0.0 if options.mixup_min_db is None else 10.0 ** (options.mixup_min_db / 20.0)
        base_weight, targets = 1.0, list[str]()
        for row in self._partners(example, int(generator.integers(1, 3)), generator):
            weight = augmentation.mixup_weight(generator)
            if base_weight * weight < floor:
                continue
            try:
                other = self.reader.from_start(self.examples[row])[0]
            except AudioError as error:
                failed.append(Unreadable(row, str(error)))
                continue
            base_weight *= weight
            clip = np.float32(weight) * clip + np.float32(1.0 - weight) * other
            targets.append(self.examples[row].text)
        if not targets:
            return example, [clip]
        prompt, text = augmentation.merge_labels(example.prompt, example.text, targets, generator)
        return dataclasses.replace(example, prompt=prompt, text=text), [clip]

    def _partners(self, example: Example, wanted: int, generator: Generator) -> list[int]:
        """Return up to so many different rows of other files; fewer where hardly any are found."""
        pool = self.partners[augmentation.mixup_kind(example.task)]
        chosen: list[int] = []
        used = set(example.paths)
        for _ in range(MOST_REPLACEMENTS if pool else 0):
            row = pool[int(generator.integers(len(pool)))]
            if not used & set(self.examples[row].files):
                used |= set(self.examples[row].files)
                chosen.append(row)
            if len(chosen) == wanted:
                break
        return chosen


def clip_samples(config: NatureLMConfig, clip_seconds: float | None) -> int:
    """Return the length that clips are cut or padded to: the model's first that holds the wanted one."""
    wanted = round((clip_seconds or config.max_clip_seconds) * SAMPLE_RATE_HZ)
    try:
        return config.padded_samples(wanted)
    except ValueError as error:
        raise OptionsError(f"data.clip_seconds: {error}") from None


def refuse_too_many(reasons: Sequence[str], rows: int, share: float, what: str = "rows") -> None:
    """Check how many rows can't be read.

    Raises:
        TrainingError: more than this share of them.
    """
    if len(reasons) > share * rows:
        raise TrainingError(
            f"{len(reasons)} of {rows} {what} can't be read, more than data.max_unreadable_share {share:g} "
            f"allows: {'; '.join(reasons[:5])}"
        )


def order_of_pass(seed: int, turn: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return as many rows as there are, in the order of one pass over them.

    Each comes once where weights are equal; else as often as its weight says, rounded up or down at random.
    """
    generator = np.random.default_rng(digest(seed, "order", turn))
    count = len(weights)
    rows = np.arange(count)
    if np.ptp(weights) > 0:
        places = (rows + generator.random()) / count * weights.sum()
        rows = np.minimum(np.searchsorted(np.cumsum(weights), places, side="right"), count - 1)
    return rows[generator.permutation(count)]


def _crop_of_file(
    path: Path,
    samples: int,
    generator: Generator,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    channel: int | None = None,
) -> Floats:
    """Return at most ``samples`` from a random place of a file; decodes no more if its length is known."""
    place = generator.random()
    length = _seconds(path) if end_seconds is None else end_seconds
    if length is None:
        whole = read_span(path, start_seconds, channel=channel)
        start = int(place * (max(len(whole) - samples, 0) + 1))
        return whole[start : start + samples]
    spare = int((length - start_seconds) * SAMPLE_RATE_HZ) - samples
    if spare > 0:
        start_seconds += int(place * (spare + 1)) / SAMPLE_RATE_HZ
    left = None if end_seconds is None else end_seconds - start_seconds
    seconds = samples / SAMPLE_RATE_HZ
    return read_span(path, start_seconds, min(seconds, left or seconds), channel=channel)[:samples]


@lru_cache(maxsize=100_000)
def _seconds(path: Path) -> float | None:
    """Return the length of a file, if its header says it; looked up once, as opening a file costs time."""
    return probe(path).duration_seconds


def _hits(probability: float, generator: Generator) -> bool:
    return probability > 0 and float(generator.random()) < probability
