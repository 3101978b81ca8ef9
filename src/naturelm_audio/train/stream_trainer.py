"""The training loop over a stream of rows: checkpoints have the place of every process's reader."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader

from naturelm_audio.errors import OptionsError
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.train.collate import Collator
from naturelm_audio.train.recipe import Recipe
from naturelm_audio.train.streamed import Place, StreamedBatch, StreamedDraws
from naturelm_audio.train.trainer import RunTrainer
from naturelm_audio.train.validation import Judge

__all__ = ["StreamTrainer"]

PLACE = "place"


class StreamTrainer(RunTrainer):
    """One run on a stream.

    Args:
        recipe: everything it depends on.
        model: with its first weights.
        draws: the batches of this process.
        validation: what to judge it on; None for nothing.
        output_dir: folder of checkpoints and log.
    """

    draws: StreamedDraws

    def __init__(
        self,
        recipe: Recipe,
        model: NatureLMForConditionalGeneration,
        draws: StreamedDraws,
        validation: Judge | None,
        output_dir: Path,
    ) -> None:
        super().__init__(recipe, model, draws, validation, output_dir)
        self.args.ignore_data_skip = True  # the stream goes on where it was, nothing has to be skipped
        self.rows = Collator(model.config, model.tokenizer, recipe.data.max_answer_tokens)
        self._places: list[Place] = []
        self._place = Place()

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches as they come: each process has its own, so none are shared out."""
        return DataLoader(self.draws, batch_size=None, collate_fn=self._collated)

    def _collated(self, streamed: Any) -> dict[str, Any]:
        batch: StreamedBatch = streamed
        return {**self.rows(batch.samples), PLACE: batch.place}

    def take(self, batch: dict[str, Any]) -> None:
        """Take out what is not for the model: unreadable rows, and the reader's place."""
        before = len(self._failed)
        super().take(batch)
        # Each process counts its own rows, so their numbers are told apart by the process.
        world, rank = self.args.world_size, self.args.process_index
        self._failed[before:] = [
            dataclasses.replace(one, row=one.row * world + rank) if one.row >= 0 else one
            for one in self._failed[before:]
        ]
        self._place = batch.pop(PLACE)

    def left_out(self) -> dict[str, int]:
        """Return how many rows of the stream all readers left out for which reason."""
        total: Counter[str] = Counter()
        own = self.draws.left_out or self.draws.start.left_out  # of a run that was over already
        for counts in gather_object([dict(own)]):
            total.update(counts)
        return dict(sorted(total.items()))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint with all readers' places."""
        self._places = gather_object([self._place])
        super()._save_checkpoint(model, trial)

    def _progress(self) -> dict[str, Any]:
        return {**super()._progress(), "stream": [dataclasses.asdict(place) for place in self._places]}

    def _take_counts(self, folder: Path) -> dict[str, Any]:
        """Take up the counts of a checkpoint and the place of this process's reader.

        Raises:
            OptionsError: it is of another number of processes.
        """
        progress = super()._take_counts(folder)
        places = progress["stream"]
        if len(places) != self.args.world_size:
            raise OptionsError(
                f"{folder}: {len(places)} processes read this stream, and now there are "
                f"{self.args.world_size}: start as many again"
            )
        mine = json.loads(json.dumps(places[self.args.process_index]))
        self._place = self.draws.start = Place(**mine)
        return progress
