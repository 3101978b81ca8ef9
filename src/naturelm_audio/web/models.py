"""The models that users can choose among, loaded when first asked for; each has one queue for all users."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from naturelm_audio.batching import BatchingQueue
from naturelm_audio.checkpoint import load_model
from naturelm_audio.checkpoint.placement import LARGE_MODEL_PARAMETERS
from naturelm_audio.errors import CheckpointError, NatureLMError
from naturelm_audio.generate import Generator
from naturelm_audio.model.naturelm import NatureLMForConditionalGeneration
from naturelm_audio.options import BUNDLED_MODEL, OFFICIAL_MODEL, GenerateOptions
from naturelm_audio.pipeline import ACCELERATOR_BATCH, CPU_BATCH, Pipeline

__all__ = ["Loaded", "Shelf", "models_in"]

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0  # longer than a job takes between two batches
CARDS = ("README.md", "MODEL_CARD.md")
OFFICIAL_LICENCE = "non-commercial; see the model's card, and that of Llama"
Loader = Callable[[str], NatureLMForConditionalGeneration]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model with its queue."""

    name: str
    model: NatureLMForConditionalGeneration
    queue: BatchingQueue

    def pipeline(self, options: GenerateOptions) -> Pipeline:
        """Return a pipeline for one user, which works through the queue of all."""
        pipeline = Pipeline(self.model, options, batch_size=self.queue.inner.batch_size)
        pipeline.generator = self.queue.generator(options)
        return pipeline

    @property
    def is_demonstration(self) -> bool:
        """Whether it is the small model of the package."""
        return self.model.provenance.model_name == BUNDLED_MODEL

    @property
    def parameters(self) -> int:
        """How many numbers it has learnt."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def facts(self) -> dict[str, str]:
        """Return what the page says of it: name, size, where it runs, licence."""
        number_format = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        millions = self.parameters / 1e6
        size = f"{millions / 1000:.1f} billion" if millions >= 1000 else f"{millions:.1f} million"
        return {
            "Model": self.model.provenance.model_name,
            "Parameters": size,
            "Runs on": f"{device_name(self.model)}, {number_format}",
            "Licence": licence_of(self.model.provenance.source, self.model.provenance.model_name),
        }


class Shelf:
    """Models by name; a large one makes room for the next.

    Args:
        names: what users can choose among, the first one first: names, folders or hub ids.
        load: gives the model of a name.
        batch_size: rows at once; None chooses by device.
    """

    def __init__(
        self, names: Sequence[str], load: Loader = load_model, *, batch_size: int | None = None
    ) -> None:
        self.names = list(dict.fromkeys(names)) or [BUNDLED_MODEL]
        self._load = load
        self._batch_size = batch_size
        self._loaded: dict[str, Loaded] = {}
        self._lock = threading.Lock()

    def get(self, name: str | None = None) -> Loaded:
        """Return a model of the list, loaded if it isn't yet; None is the first one.

        Raises:
            NatureLMError: it isn't on the list, or can't be loaded; the others stay.
        """
        name = name or self.names[0]
        if name not in self.names:
            raise CheckpointError(f"{name}: not one of the models of this app")
        with self._lock:
            if name not in self._loaded:
                self._make_room()
                self._loaded[name] = self._open(name)
            return self._loaded[name]

    def close(self) -> None:
        """Let all models go."""
        with self._lock:
            for loaded in self._loaded.values():
                loaded.queue.close()
            self._loaded.clear()

    def _open(self, name: str) -> Loaded:
        try:
            model = self._load(name)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:  # files that lie, memory that ends
            logger.exception("%s could not be loaded", name)
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise CheckpointError(f"{name} can't be loaded: {reason[0]}") from error
        batch_size = self._batch_size
        if batch_size is None:
            batch_size = CPU_BATCH if model.device.type == "cpu" else ACCELERATOR_BATCH
        return Loaded(name, model, BatchingQueue(Generator(model, batch_size=batch_size)))

    def _make_room(self) -> None:
        """Let large models go that nobody is at work with: two of them seldom fit."""
        for name, loaded in list(self._loaded.items()):
            if loaded.parameters > LARGE_MODEL_PARAMETERS and loaded.queue.idle_seconds > IDLE_SECONDS:
                logger.info("%s makes room for another model", name)
                loaded.queue.close()
                del self._loaded[name]


def models_in(name: str) -> list[str]:
    """Return the models that a name stands for: those of a folder of models, else the name itself."""
    folder = Path(name).expanduser()
    if not folder.is_dir() or (folder / "config.json").is_file():
        return [name]
    inside = sorted(str(item.parent) for item in folder.glob("*/config.json"))
    return inside or [name]


def device_name(model: NatureLMForConditionalGeneration) -> str:
    """Return where a model runs, in words."""
    import torch

    device = model.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "processor (CPU)", "mps": "Apple GPU"}.get(device.type, str(device))


def licence_of(source: Path, name: str) -> str:
    """Return the licence that a model's card names."""
    folder = source if source.is_dir() else source.parent
    for card in CARDS:
        try:
            text = (folder / card).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        head = text.split("---\n")[1] if text.startswith("---\n") and text.count("---\n") > 1 else ""
        try:
            found = yaml.safe_load(head)
        except yaml.YAMLError:
            continue
        if isinstance(found, dict) and found.get("license"):
            return str(found["license"]).upper().replace("CC-BY", "CC BY")
    return OFFICIAL_LICENCE if name == OFFICIAL_MODEL else "not stated with the weights"


def sentence(error: NatureLMError) -> str:
    """Return an error as the page shows it."""
    return " ".join(str(error).split())
