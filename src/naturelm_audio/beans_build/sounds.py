"""What every recording sounds like: length, where it is silent, how loud, and which sound it is."""

from __future__ import annotations

import multiprocessing
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from naturelm_audio.audio import SAMPLE_RATE_HZ, stream
from naturelm_audio.errors import AudioError, NatureLMError
from naturelm_audio.train.manifest.holdouts import audio_hash

__all__ = ["SILENT_PEAK", "Sound", "listen", "listen_to", "with_workers"]

SILENT_PEAK = 1e-4  # -80 dB of full scale: below a bit of 14, so nothing that was recorded
_QUIETEST_DB = -120.0


@dataclass(frozen=True)
class Sound:
    """A recording's length, the largest sample of each second, level of its loudest second, and its hash.

    ``hash`` is that of :func:`~naturelm_audio.train.manifest.holdouts.audio_hash`.
    """

    seconds: float
    peaks: array[float]
    level_db: float
    hash: str

    def peak(self, start_seconds: float = 0.0, end_seconds: float | None = None) -> float:
        """Return the largest sample of every whole second that a span touches."""
        end = len(self.peaks) if end_seconds is None else int(np.ceil(end_seconds - 1e-6))
        return max(self.peaks[int(start_seconds) : max(end, int(start_seconds) + 1)], default=0.0)

    def is_silent(self, start_seconds: float = 0.0, end_seconds: float | None = None) -> bool:
        """Return whether nothing is heard in a span."""
        return self.peak(start_seconds, end_seconds) < SILENT_PEAK


def listen(paths: Sequence[Path], *, workers: int = 1, hashes: bool = True) -> dict[Path, Sound | AudioError]:
    """Return what each file sounds like, or why it can't be used.

    Args:
        paths: files; each is read once.
        workers: processes.
        hashes: without them a file is decoded once, not twice, and ``hash`` is empty.
    """
    different = list(dict.fromkeys(paths))
    jobs = [(path, hashes) for path in different]
    return dict(zip(different, with_workers(_heard, jobs, workers, "recordings checked"), strict=True))


def listen_to(path: Path, *, hashes: bool = True) -> Sound:
    """Return what a file sounds like; a constant amount of it is in memory.

    Raises:
        AudioError: it can't be read to its end, is empty, or is silent throughout.
    """
    peaks, loudest, samples = array("f"), 0.0, 0
    for second in _seconds(stream(path, block_seconds=1.0)):
        peaks.append(float(np.abs(second).max()))
        loudest = max(loudest, float(np.mean(second.astype(np.float64) ** 2)))
        samples += len(second)
    if not samples:
        raise AudioError("holds no sound", path=path, code="audio_empty")
    if max(peaks) < SILENT_PEAK:
        raise AudioError("is silent throughout", path=path, code="audio_silent")
    level = max(_QUIETEST_DB, float(10.0 * np.log10(max(loudest, 1e-12))))
    return Sound(samples / SAMPLE_RATE_HZ, peaks, level, audio_hash(path) if hashes else "")


def with_workers(function: Any, jobs: Sequence[Any], workers: int, title: str) -> Iterator[Any]:
    """Yield what a function makes of each job, in their order, and show how far it is.

    Raises:
        NatureLMError: a process was ended from outside.
    """
    size = max(1, min(32, len(jobs) // (4 * workers)))
    try:
        with _pool(workers) as pool:
            done: Iterable[Any] = pool.map(function, jobs, chunksize=size) if pool else map(function, jobs)
            yield from tqdm(done, total=len(jobs), desc=title, file=sys.stderr, disable=None, leave=False)
    except BrokenProcessPool:
        raise NatureLMError(
            "a process ended abruptly, perhaps for want of memory: pass fewer --workers"
        ) from None


def _heard(job: tuple[Path, bool]) -> Sound | AudioError:
    path, hashes = job
    try:
        return listen_to(path, hashes=hashes)
    except AudioError as error:
        return AudioError(error.reason, code=error.code)  # the path is told by whoever asked


def _seconds(blocks: Iterable[Any]) -> Iterator[Any]:
    """Yield float32 (samples,) of a second each; the last may be shorter."""
    rest = np.empty(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= SAMPLE_RATE_HZ:
            yield rest[:SAMPLE_RATE_HZ]
            rest = rest[SAMPLE_RATE_HZ:]
    if len(rest):
        yield rest


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    if workers == 1:
        yield None
        return
    # Spawned, as forking a process with threads of torch or Arrow in it can hang.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield pool
