"""From a manifest of labelled recordings to scenes: clips in memory, mixed at random.

Everything random is drawn from the caller's generator, seeded by (seed, stage, step, row): a scene depends on
its number alone, so a run that is resumed hears what an unbroken one hears, on any number of processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from naturelm_audio.audio import read_span
from naturelm_audio.errors import AudioError
from naturelm_audio.train import augment
from naturelm_audio.train.manifest.examples import split_name
from naturelm_audio.train.manifest.labelled import KINDS
from naturelm_audio.train.manifest.problems import ManifestError, Problem, did_you_mean, refuse_if_any
from naturelm_audio.train.manifest.sounds import NONE, Sound
from naturelm_audio.train.manifest.tables import number, read_table
from naturelm_audio.train.questions import Heard
from naturelm_audio.train.scene_options import MixOptions

Floats = NDArray[np.float32]
Generator = np.random.Generator

SAMPLE_RATE_HZ = 16_000
PAIR_SOURCES = ("esc50-animals", "animal-sound-dataset")
"""Where each recording holds one animal and little else."""
COUNTABLE_DB = 8.0
"""Animals further apart in level are not counted: whether the quiet one is heard is a matter of opinion."""
_COLUMNS = ("path", "label", "kind", "split", "taxonomic_name", "source", "original_sample_rate", "recording")
_OPTIONAL = _COLUMNS[4:]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One row of a manifest."""

    path: str
    sound: Sound
    source: str
    split: str
    recording: str
    original_sample_rate_hz: int = SAMPLE_RATE_HZ


def read_manifest(path: str | Path) -> list[Clip]:
    """Return the rows of a manifest: a table with the columns of :class:`Clip`, others are passed over.

    Raises:
        ManifestError: it can't be read or lacks a column, or rows are faulty, all named with their lines.
    """
    table = read_table(path)
    columns = {name: table.column(name) for name in _COLUMNS}
    missing = [name for name, column in columns.items() if column is None and name not in _OPTIONAL]
    if missing:
        hint = did_you_mean(missing[0], table.columns)
        raise ManifestError(f"{path}: the manifest lacks the column {', '.join(missing)}{hint}")
    problems, clips = list(table.problems), list[Clip]()
    for row in table.rows:
        cells = {name: row.cells.get(column or "", "").strip() for name, column in columns.items()}
        try:
            clips.append(_clip(cells))
        except ValueError as error:
            problems.append(Problem(str(path), row.line, str(error)))
    refuse_if_any(problems, str(path))
    return clips


def _clip(row: dict[str, str]) -> Clip:
    """Return one row of a manifest as a clip.

    Raises:
        ValueError: what is wrong with it.
    """
    if not row["path"] or not row["label"]:
        raise ValueError("the path is empty" if not row["path"] else "the label is empty")
    if "," in row["label"]:
        raise ValueError(f"the label {row['label']!r} has a comma, which separates labels in questions")
    if row["kind"] not in KINDS:
        raise ValueError(f"there is no kind {row['kind']!r}; known are {', '.join(KINDS)}")
    split = {"train": "train", "valid": "validation", "test": "test"}.get(split_name(row["split"]), "")
    if not split:
        raise ValueError("the split is empty: write train or validation")
    rate = row["original_sample_rate"]
    return Clip(
        path=row["path"],
        sound=Sound(label=row["label"], kind=row["kind"], taxonomic_name=row["taxonomic_name"]),
        source=row["source"],
        split=split,
        recording=row["recording"] or row["path"],
        original_sample_rate_hz=round(number(rate)) if rate else SAMPLE_RATE_HZ,
    )


class ClipStore:
    """Clips with their samples in memory, as 16-bit integers.

    Args:
        clips: the rows.
        samples: their waveforms one after another.
        ends: where each one ends.
        unreadable: number of a row -> why it is not among the clips.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        samples: NDArray[np.int16],
        ends: NDArray[np.int64],
        unreadable: Mapping[int, str] | None = None,
    ) -> None:
        """Keep the arrays as they are."""
        self.clips = list(clips)
        self.unreadable = dict(unreadable or {})
        self._samples = samples
        self._ends = ends

    @classmethod
    def read(
        cls, clips: Sequence[Clip], folder: str | Path, *, max_unreadable_share: float = 0.0
    ) -> ClipStore:
        """Return a store of clips read from a folder, without those that can't be read.

        Raises:
            AudioError: more than this share of them can't be read.
        """

        def read(clip: Clip) -> NDArray[np.int16] | AudioError:
            try:
                return to_int16(read_span(Path(folder) / clip.path))
            except AudioError as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(read, clips))
        unreadable = {row: str(one) for row, one in enumerate(found) if isinstance(one, AudioError)}
        if len(unreadable) > max_unreadable_share * len(clips):
            listed = "; ".join(list(unreadable.values())[:5])
            raise AudioError(f"{len(unreadable)} of {len(clips)} recordings can't be read: {listed}")
        kept = [clip for row, clip in enumerate(clips) if row not in unreadable]
        return cls.of(kept, [one for one in found if not isinstance(one, AudioError)], unreadable)

    @classmethod
    def of(
        cls,
        clips: Sequence[Clip],
        parts: Sequence[NDArray[np.int16]],
        unreadable: Mapping[int, str] | None = None,
    ) -> ClipStore:
        """Return a store of clips and their 16-bit waveforms."""
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(clips, np.concatenate([*parts, np.zeros(0, np.int16)]), ends, unreadable)

    def __add__(self, other: ClipStore) -> ClipStore:
        """Return the clips of both."""
        ends = np.concatenate([self._ends, other._ends + len(self._samples)])
        samples = np.concatenate([self._samples, other._samples])
        return ClipStore(self.clips + other.clips, samples, ends, self.unreadable)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clips)

    def waveform(self, index: int) -> Floats:
        """Return the samples of a clip, (samples,) in [-1, 1]."""
        start = int(self._ends[index - 1]) if index else 0
        return self._samples[start : int(self._ends[index])].astype(np.float32) / np.float32(32768.0)


def to_int16(waveform: Floats) -> NDArray[np.int16]:
    """Return samples in [-1, 1] as 16-bit integers."""
    return np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)


@dataclass(frozen=True)
class Scene:
    """A waveform (samples,) mixed from clips, and what is heard in it."""

    waveform: Floats
    heard: Heard


class SceneMaker:
    """Mixes scenes from the clips of a store.

    Args:
        store: the clips.
        source_weights: factors on the sampling weight of sources.
    """

    def __init__(self, store: ClipStore, source_weights: dict[str, float] | None = None) -> None:
        """Count the clips of each label to balance them."""
        self.store = store
        self._weights = sampling_weights(store.clips, source_weights or {})
        self._single = [
            index
            for index, clip in enumerate(store.clips)
            if clip.source in PAIR_SOURCES and clip.sound.kind == "animal"
        ]
        # Only what no question asks for by name may lie behind another sound without being an answer.
        self._backgrounds = [
            index
            for index, clip in enumerate(store.clips)
            if clip.sound.label in ("background noise", "wind", "rain", "sea waves")
            and clip.source != "right-whale"
        ]

    def scene(self, generator: Generator, samples: int, options: MixOptions) -> Scene:
        """Return a random scene of so many samples."""
        chosen = self._choose(generator, options)
        mixture, quieter = self._component(chosen[0], generator, samples, options), []
        for index in chosen[1:]:
            level = float(generator.uniform(0.0, options.level_range_db))
            mixture = augment.mix(mixture, self._component(index, generator, samples, options), level)
            quieter.append(level)
        sounds = tuple(self.store.clips[index].sound for index in chosen)
        if not quieter and self._backgrounds and generator.random() < options.background_probability:
            mixture = self._with_background(mixture, sounds[0], generator)
        mixture = self._disturbed(mixture, self.store.clips[chosen[0]], generator, options)
        focal = min(quieter, default=options.focal_db) >= options.focal_db
        heard = Heard(_without_nothing(sounds), focal, _countable(sounds, quieter))
        return Scene(augment.clamp(mixture), heard)

    def _choose(self, generator: Generator, options: MixOptions) -> list[int]:
        """Return one to three clips of different labels."""
        if self._single and generator.random() < options.pair_probability:
            return self._different([int(index) for index in generator.choice(self._single, 2)])
        probabilities = np.array(options.clips)
        count = 1 + int(generator.choice(len(probabilities), p=probabilities / probabilities.sum()))
        chosen = [int(np.searchsorted(self._weights, generator.random())) for _ in range(count)]
        if self.store.clips[chosen[0]].source == "right-whale" and generator.random() < 0.8:
            chosen = chosen[:1]  # an underwater recording among land sounds is rare
        return self._different(chosen)

    def _different(self, chosen: list[int]) -> list[int]:
        """Return the clips without a second one of the same label."""
        seen: dict[str, int] = {}
        for index in chosen:
            seen.setdefault(self.store.clips[index].sound.label, index)
        return list(seen.values())

    def _component(self, index: int, generator: Generator, samples: int, options: MixOptions) -> Floats:
        """Return one clip, changed in speed, cropped or padded to the length of the scene."""
        waveform = self.store.waveform(index)
        if generator.random() < options.speed_probability:
            waveform = augment.speed(waveform[: 2 * samples], float(np.exp(generator.uniform(-0.12, 0.12))))
        waveform = augment.crop(waveform, samples, generator)
        return augment.pad(waveform, samples, generator, shift_probability=0.4)

    def _with_background(self, mixture: Floats, sound: Sound, generator: Generator) -> Floats:
        """Return a single clip with a quieter background, looped to its length."""
        index = self._backgrounds[int(generator.integers(len(self._backgrounds)))]
        if self.store.clips[index].sound.label == sound.label:
            return mixture
        noise = np.resize(self.store.waveform(index), len(mixture))
        return augment.mix(mixture, noise, float(generator.uniform(3.0, 25.0)))

    def _disturbed(self, mixture: Floats, clip: Clip, generator: Generator, options: MixOptions) -> Floats:
        """Return the scene filtered, in noise and at another level, each at random."""
        wide = clip.original_sample_rate_hz >= SAMPLE_RATE_HZ
        low_pass = (
            float(generator.uniform(2500, 7500))
            if wide and generator.random() < options.low_pass_probability
            else None
        )
        tilt = float(generator.uniform(-8, 8)) if generator.random() < options.equalise_probability else 0.0
        if low_pass or tilt:
            mixture = augment.equalise(mixture, low_pass_hz=low_pass, tilt_decibels=tilt)
        if generator.random() < options.noise_probability:
            noise = augment.coloured_noise(len(mixture), float(generator.uniform(0.0, 2.0)), generator)
            mixture = augment.mix(mixture, noise * np.float32(1e-3), float(generator.uniform(5.0, 30.0)))
        return augment.gain(mixture, float(generator.uniform(-12.0, 6.0)))


def _countable(sounds: tuple[Sound, ...], quieter: Sequence[float]) -> bool:
    """Return whether all animals of a scene are about as loud as the loudest of them."""
    levels = [level for sound, level in zip(sounds, [0.0, *quieter], strict=True) if sound.is_animal]
    return not levels or max(levels) - min(levels) <= COUNTABLE_DB


def _without_nothing(sounds: tuple[Sound, ...]) -> tuple[Sound, ...]:
    """Return the sounds; silence and the absence of whales are heard only where nothing else is."""
    loud = tuple(sound for sound in sounds if sound.label not in (NONE, "silence"))
    return loud or sounds[:1]


def sampling_weights(clips: Sequence[Clip], source_weights: dict[str, float]) -> NDArray[np.float64]:
    """Return cumulative probabilities of clips; n clips of a label in a source weigh sqrt(n) together."""
    sizes = Counter((clip.source, clip.sound.label) for clip in clips)
    weights = [
        source_weights.get(clip.source, 1.0) / sizes[clip.source, clip.sound.label] ** 0.5 for clip in clips
    ]
    cumulative = np.cumsum(weights)
    return np.asarray(cumulative / cumulative[-1], dtype=np.float64)
