"""Labelled recordings -> questions with answers, and a report on what came of each row.

Every question depends on (seed, recording, family) and on what all recordings together know, so the rows are
the same on any number of workers, in any order of the table, and under any hash seed.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from naturelm_audio.train.manifest.compile_options import ALL_FAMILIES, DEFAULT_FAMILIES, CompileOptions
from naturelm_audio.train.manifest.counting import Choir, counting_questions
from naturelm_audio.train.manifest.examples import Example, Recipe
from naturelm_audio.train.manifest.fewshot import Companions, event_questions, in_context_questions
from naturelm_audio.train.manifest.holdouts import HoldOuts
from naturelm_audio.train.manifest.labelled import Labelled, LabelledTable
from naturelm_audio.train.manifest.names import NameTable, is_english
from naturelm_audio.train.manifest.pools import pools_of
from naturelm_audio.train.manifest.report import CompileReport, taxon_of
from naturelm_audio.train.manifest.seeding import generator
from naturelm_audio.train.manifest.selection import select_recordings
from naturelm_audio.train.manifest.soundscapes import count_events, soundscape_questions
from naturelm_audio.train.manifest.tasks import FAMILIES, Asked, Pools
from naturelm_audio.train.manifest.wordings import answer_language

__all__ = ["ALL_FAMILIES", "DEFAULT_FAMILIES", "CompileOptions", "Compiled", "compile_manifest"]

_ENGLISH_ONLY = ("captions", "voice", "kind", "music", "free")


@dataclass(frozen=True)
class Compiled:
    """Rows in the order of their files, and the report."""

    rows: list[Example]
    report: CompileReport


def compile_manifest(
    table: LabelledTable | Iterable[Labelled],
    options: CompileOptions | None = None,
    *,
    holdouts: HoldOuts | None = None,
    names: NameTable | None = None,
) -> Compiled:
    """Return the questions that recordings give rise to, and what was left out and why.

    Raises:
        ManifestError: faulty rows or held-out taxa where they are to be refused; a recording in two splits.
        OptionsError: a language without names.
    """
    options, names = options or CompileOptions(), names or NameTable()
    names.require(options.languages)
    given = table if isinstance(table, LabelledTable) else LabelledTable(tuple(table))
    report = CompileReport()
    kept = select_recordings(given, options, holdouts, report)
    context = _Context.of(kept, options, names)
    rows = _weighted(_all_rows(kept, context, options.workers), options.balance)
    report.count_rows(rows, {one.path: one.seconds or 0.0 for one in kept})
    report.count_silent(kept, rows)
    return Compiled(rows, report)


# --- which questions --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Context:
    """What every question is drawn from; sent to each worker once."""

    options: CompileOptions
    pools: Mapping[str, Pools]
    names: NameTable
    choir: Choir
    companions: Companions
    counts: Mapping[str, int]

    @classmethod
    def of(cls, kept: Sequence[Labelled], options: CompileOptions, names: NameTable) -> _Context:
        learned = [one for one in kept if one.split == "train"] or list(kept)
        pools = {
            language: pools_of(learned, [names.localised(one, language) for one in learned], options.tasks)
            for language in options.languages
        }
        whole = [one for one in kept if not one.is_part]
        choir = Choir(whole if "counting" in options.families else ())
        companions = Companions(whole if "in-context" in options.families else ())
        return cls(options, pools, names, choir, companions, count_events(learned))


def _all_rows(kept: Sequence[Labelled], context: _Context, workers: int) -> list[Example]:
    """Return the rows of all recordings in the order of these, whoever makes them."""
    if workers == 1:
        return [row for one in kept for row in _rows_of(one, context)]
    chunks = [kept[start : start + 256] for start in range(0, len(kept), 256)]
    # Spawned, as forking a process with threads of torch or Arrow in it can hang.
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(context,)
    ) as pool:
        return list(itertools.chain.from_iterable(pool.map(_rows_of_chunk, chunks)))


_WORKER: list[_Context] = []


def _start_worker(context: _Context) -> None:
    _WORKER[:] = [context]


def _rows_of_chunk(chunk: Sequence[Labelled]) -> list[Example]:
    return [row for one in chunk for row in _rows_of(one, _WORKER[0])]


def _rows_of(recording: Labelled, context: _Context) -> list[Example]:
    """Return every row of one recording."""
    options = context.options
    language = generator(options.seed, recording.key, "language").choice(options.languages)
    pools, localised = context.pools[language], context.names.localised(recording, language)
    # The pools translate what is in the background, and so know its taxon too.
    localised = dataclasses.replace(localised, background=recording.background)
    rows: list[Example] = []
    for family in options.families:
        draw = generator(options.seed, recording.key, family)
        if family in FAMILIES:
            if is_english(language) or family not in _ENGLISH_ONLY:
                asked = FAMILIES[family](localised, pools, draw)
                rows += [_row(recording, _in_language(one, language)) for one in asked]
        elif not recording.is_part:  # these are about the whole file
            rows += _mixed_rows(recording, family, language, context, draw)
    return rows


def _mixed_rows(
    recording: Labelled, family: str, language: str, context: _Context, draw: random.Random
) -> Iterator[Example]:
    """Yield rows of families that are about parts of a recording, or about several."""
    options, pools = context.options, context.pools[language]
    if family == "counting":
        for recipe, asked in counting_questions(recording, context.choir, pools, draw, options.counting):
            yield _row(recording, asked, mix=recipe)
    elif family == "few-shot":
        for start, end, asked in event_questions(recording, pools, draw):
            yield _row(recording, asked, start=start, end=end)
    elif family == "in-context":
        for files, asked in in_context_questions(recording, context.companions, pools, draw):
            yield _row(recording, asked, files=files)
    elif recording.seconds and (recording.events or options.soundscapes.completely_annotated):
        for start, end, asked in soundscape_questions(
            recording, recording.seconds, context.counts, pools, draw, options.soundscapes
        ):
            yield _row(recording, _in_language(asked, language), start=start, end=end)


def _in_language(asked: Asked, language: str) -> Asked:
    """Return the question with the language of its answer, where that is a common name."""
    if asked.task.startswith(("sci-", "taxonomic-", "genus-", "family-", "order-", "class-")):
        return asked
    wish = answer_language(language)
    # Behind a list of names it would be read as part of the last one.
    with_list = wish and asked.task.endswith(("-random", "-hard", "-list"))
    return dataclasses.replace(
        asked, prompt=f"{wish.strip()} {asked.prompt}" if with_list else asked.prompt + wish
    )


def _row(
    recording: Labelled,
    asked: Asked,
    *,
    files: tuple[str, ...] = (),
    mix: Recipe | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Example:
    return Example(
        files=() if mix else files or (recording.path,),
        prompt=asked.prompt,
        text=asked.text,
        task=asked.task,
        start_seconds=recording.start_seconds if start is None else start,
        end_seconds=recording.end_seconds if end is None else end,
        channel=None if mix or files else recording.channel,
        split=recording.split,
        labels=asked.labels,
        source=recording.source,
        recording_id=recording.recording_id or recording.path,
        mix=mix,
        license=recording.licence,
        metadata=_metadata(recording),
    )


def _metadata(recording: Labelled) -> dict[str, str]:
    """Return what is known of the animal, under the public training set's names."""
    taxon = recording.taxon
    known = {
        "data_category": recording.kind,
        "phylum": taxon.phylum,
        "class": taxon.class_,
        "order": taxon.order,
        "family": taxon.family,
        "genus": taxon.genus,
        "species": taxon.species,
        "common_name": recording.common_name,
    }
    return {name: value for name, value in known.items() if value}


def _weighted(rows: list[Example], balance: float) -> list[Example]:
    """Return rows with weights by how rare their taxon is within its task, of mean 1 over training."""
    if not balance:
        return rows
    key: Callable[[Example], tuple[str, str]] = lambda row: (row.task, taxon_of(row))  # noqa: E731
    counts = Counter(key(row) for row in rows if row.split == "train")
    weights = [max(1, counts[key(row)]) ** -balance for row in rows]
    learned = [weight for weight, row in zip(weights, rows, strict=True) if row.split == "train"] or weights
    mean = sum(learned) / len(learned) if learned else 1.0
    return [
        dataclasses.replace(row, weight=round(weight / mean, 6) if row.split == "train" else 1.0)
        for weight, row in zip(weights, rows, strict=True)
    ]
