"""Validation of a model in training: the loss of every answer, and generated answers of some rows.

Rows are shared out among processes and their figures gathered in memory, so the numbers are those of one
process. No features are kept: the weights change.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional

from naturelm_audio import prompts
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.generate import Generator, Request
from naturelm_audio.model import NatureLMForConditionalGeneration
from naturelm_audio.options import GenerateOptions
from naturelm_audio.sequence import IGNORED
from naturelm_audio.train.collate import Collator, model_inputs
from naturelm_audio.train.draws import Reader, Sample, Unreadable, refuse_too_many
from naturelm_audio.train.manifest.examples import Example
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.recipe import Recipe, ValidationOptions
from naturelm_audio.train.scoring import Scored, answer_figures, loss_figures, names_of_figures
from naturelm_audio.train.yaml_options import closest

__all__ = ["Judge", "Judges", "Validation", "answer_losses", "chosen_rows", "judge_of", "require_figure"]

logger = logging.getLogger(__name__)


def chosen_rows(examples: Sequence[Example], per_task: int, seed: int) -> list[int]:
    """Return rows, at most so many of each task (0 for all), the same ones for every call."""
    by_task: dict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        by_task[example.task].append(row)
    kept: list[int] = []
    for rows in by_task.values():
        ordered = sorted(rows, key=lambda row: digest(seed, "validation", row))
        kept += ordered[: per_task or len(ordered)]
    return sorted(kept)


def answer_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return summed cross-entropy, number of tokens and number of arg-max hits of each row's answer, (B,).

    Args:
        logits: (B, K, V), of the last K positions.
        labels: (B, S), -100 outside the answer.
    """
    wanted = labels[:, 1:][:, -(logits.shape[1] - 1) :]
    said = logits[:, :-1].float()
    each = functional.cross_entropy(
        said.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(wanted)
    counted = wanted != IGNORED
    hits = (said.argmax(dim=2) == wanted) & counted
    return each.sum(dim=1), counted.sum(dim=1), hits.sum(dim=1)


def require_figure(name: str, known: Sequence[str]) -> None:
    """Check that the figure which says what is best is one of those that there are.

    Raises:
        OptionsError: it isn't.
    """
    if name not in known:
        raise OptionsError(f"validation.best: there is no figure {name!r}{closest(name, known)}")


class Judge(Protocol):
    """What a run is judged by."""

    @property
    def unreadable(self) -> Sequence[Unreadable]:
        """What has been left out, as its audio can't be read."""
        ...

    def names(self) -> list[str]:
        """Return the names of all figures."""
        ...

    def figures(
        self,
        model: NatureLMForConditionalGeneration,
        *,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 8,
        autocast: Any = contextlib.nullcontext,
        gathered: Any = contextlib.nullcontext,
    ) -> dict[str, float]:
        """Return figures by name, the same on every process; see :meth:`Validation.figures`."""
        ...


class Judges:
    """Several, one after the other.

    Args:
        judges: none of them has a figure of another's name.
    """

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.judges = tuple(judges)

    @property
    def unreadable(self) -> list[Unreadable]:
        """What any of them has left out."""
        return [one for judge in self.judges for one in judge.unreadable]

    def names(self) -> list[str]:
        """Return the names of the figures of all."""
        return [name for judge in self.judges for name in judge.names()]

    def figures(self, model: NatureLMForConditionalGeneration, **settings: Any) -> dict[str, float]:
        """Return the figures of all."""
        found: dict[str, float] = {}
        for judge in self.judges:
            found |= judge.figures(model, **settings)
        return found


class Validation:
    """Rows to validate on.

    Args:
        examples: all of them.
        reader: reads their audio, from the start of each file.
        collator: makes their batches.
        options: how many rows, and how answers are generated.
        seed: of the choice of rows.
        max_unreadable_share: of the rows, above which audio that can't be read is an error.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        reader: Reader,
        collator: Collator,
        options: ValidationOptions,
        *,
        seed: int,
        max_unreadable_share: float = 0.01,
    ) -> None:
        self.examples, self.reader, self.collator, self.options = examples, reader, collator, options
        self.max_unreadable_share = max_unreadable_share
        self.rows = chosen_rows(examples, options.rows_per_task, seed)
        kept = chosen_rows(examples, options.answers_per_task, seed) if options.answers_per_task else []
        self.answered = frozenset(kept) & frozenset(self.rows)
        self.unreadable: list[Unreadable] = []

    def names(self) -> list[str]:
        """Return the names of all figures."""
        tasks = (self.examples[row].task for row in self.rows)
        return names_of_figures(tasks, (self.examples[row].task for row in self.answered))

    def figures(
        self,
        model: NatureLMForConditionalGeneration,
        *,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 8,
        autocast: Any = contextlib.nullcontext,
        gathered: Any = contextlib.nullcontext,
    ) -> dict[str, float]:
        """Return figures by name, the same on every process.

        Args:
            model: without wrappers; every process calls its ``forward`` equally often.
            rank: of this process.
            world: number of processes.
            batch_size: rows at once.
            autocast: a function that gives the context for the precision of training.
            gathered: one that gives the context in which parts of the model can be called, each process in a
                rhythm of its own.

        Raises:
            TrainingError: too many rows can't be read.
        """
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), autocast():
                rows = list(self._scored(model, rank, world, batch_size))
                if self.answered:
                    with gathered():
                        rows = self._with_answers(model, rows, batch_size)
        finally:
            model.train(was_training)
        # Every process has as many rows, the last ones perhaps twice: one of each counts.
        found = [*rows, *self.unreadable]
        together = found if world == 1 else gather_object(found)
        failed = {one.row: one for one in together if isinstance(one, Unreadable)}
        self.unreadable = list(failed.values())
        reasons = [one.reason for one in self.unreadable]
        refuse_too_many(reasons, len(self.rows), self.max_unreadable_share, "validation rows")
        scored = (one for one in together if isinstance(one, Scored))
        unique = list({row.row: row for row in scored if row.row >= 0}.values())
        return loss_figures(unique) | answer_figures(unique)

    def _scored(
        self, model: NatureLMForConditionalGeneration, rank: int, world: int, batch_size: int
    ) -> Iterator[Scored]:
        device = next(model.parameters()).device
        for batch in self._batches(rank, world, batch_size):
            tensors = self.collator(batch)
            inputs = {
                name: value.to(device) if isinstance(value, Tensor) else value
                for name, value in model_inputs(tensors).items()
            }
            sums, tokens, hits = answer_losses(model(**inputs).logits, tensors["labels"].to(device))
            for place, sample in enumerate(batch):
                yield Scored(
                    row=sample.row,
                    task=sample.task,
                    loss_sum=float(sums[place]),
                    tokens=int(tokens[place]),
                    correct=int(hits[place]),
                    gold=sample.text,
                )

    def _batches(self, rank: int, world: int, batch_size: int) -> Iterator[list[Sample]]:
        """Yield as many batches on every process; rows are repeated at the end to make up for the rest."""
        share = -(-len(self.rows) // world)
        mine = [self.rows[place % len(self.rows)] for place in range(rank, share * world, world)]
        for start in range(0, len(mine), batch_size):
            yield [self._sample(row) for row in mine[start : start + batch_size]]

    def _sample(self, row: int) -> Sample:
        """Return a row's sample; one that can't be read is silence that doesn't count, under row -1."""
        example = self.examples[row]
        try:
            clips = self.reader.from_start(example)
        except AudioError as error:
            if row not in {one.row for one in self.unreadable}:
                logger.warning("left out of the validation: %s", error)
                self.unreadable.append(Unreadable(row, str(error)))
            silent = self.reader.silence()
            return Sample((silent,) * example.clips, example.prompt, example.text, example.task, -1)
        return Sample(tuple(clips), example.prompt, example.text, example.task, row)

    def _with_answers(
        self, plain: NatureLMForConditionalGeneration, rows: list[Scored], batch_size: int
    ) -> list[Scored]:
        """Return the rows, those that were chosen with their greedy answers."""
        options = GenerateOptions(max_new_tokens=self.options.max_new_tokens, num_beams=1)
        generator = Generator(plain, options, batch_size=batch_size)
        wanted = [place for place, row in enumerate(rows) if row.row in self.answered]
        found = list(rows)
        template = plain.config.prompt_template
        for start in range(0, len(wanted), batch_size):
            places = wanted[start : start + batch_size]
            samples = [self._sample(rows[place].row) for place in places]
            vectors = iter(generator.encode([clip for sample in samples for clip in sample.clips]))
            requests = [
                Request(
                    prompts.build(sample.prompt, clips=len(sample.clips), template=template),
                    tuple(next(vectors) for _ in sample.clips),
                )
                for sample in samples
            ]
            for place, answer in zip(places, generator.answer(requests), strict=True):
                found[place] = replace(rows[place], answer=answer.text)
        return found


def judge_of(
    recipe: Recipe, model: NatureLMForConditionalGeneration, rows: Sequence[Example], reader: Reader
) -> Validation | None:
    """Return what a recipe judges a model by on these rows; None where there are none."""
    if not rows:
        return None
    return Validation(
        rows,
        reader,
        Collator(model.config, model.tokenizer, recipe.data.max_answer_tokens),
        recipe.validation,
        seed=recipe.seed,
        max_unreadable_share=recipe.data.max_unreadable_share,
    )
