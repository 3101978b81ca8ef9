"""Example recordings: those of a folder, else synthetic ones made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import soundfile

from naturelm_audio.audio import find_recordings
from naturelm_audio.errors import AudioError
from naturelm_audio.train.synthetic import mix, synthesise

__all__ = ["Examples"]

MOST = 12
RATE_HZ = 22_050
SYNTHETIC: dict[str, Callable[[], object]] = {
    "bird-song.wav": lambda: synthesise("bird", 4, 10.0, RATE_HZ),
    "cricket.wav": lambda: synthesise("cricket", 1, 8.0, RATE_HZ),
    "frog.wav": lambda: synthesise("frog", 3, 5.5, RATE_HZ),
}
MORNING = "mixture.wav"
MORNING_SECONDS = 60.0
MORNING_EVENTS = [
    ("cricket", 2.0, 9.0),
    ("bird", 12.0, 19.0),
    ("frog", 21.0, 29.0),
    ("rain", 31.0, 37.0),
    ("bird-trill", 41.0, 48.0),
    ("frog", 52.0, 58.0),
]


class Examples:
    """What the buttons under "Or an example" add.

    Args:
        folder: of recordings; None offers synthetic ones.

    Raises:
        AudioError: the folder isn't there or holds no recording.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._files: dict[str, Path] = {}
        if folder is not None:
            self._files = {one.name: one.path for one in find_recordings(folder)[:MOST]}

    def names(self, tab: str) -> list[str]:
        """Return the names for a tab."""
        if self._files:
            return list(self._files)
        return [MORNING] if tab == "long" else [*SYNTHETIC, MORNING] if tab == "batch" else list(SYNTHETIC)

    def write(self, name: str, path: Path) -> None:
        """Write the example of this name to a path.

        Raises:
            AudioError: there is no such example.
        """
        if name in self._files:
            shutil.copyfile(self._files[name], path)
        elif not self._files and name == MORNING:
            soundfile.write(
                path, mix(MORNING_EVENTS, 11, MORNING_SECONDS, RATE_HZ), RATE_HZ, subtype="PCM_16"
            )
        elif not self._files and name in SYNTHETIC:
            soundfile.write(path, SYNTHETIC[name](), RATE_HZ, subtype="PCM_16")
        else:
            raise AudioError(f"there is no example called {name}", code="audio_not_found")
