"""Labelled recordings -> questions with answers, and a report on what came of each row.

Every question depends on (seed, recording, family) and on what all recordings together know, so the rows are
the same on any number of workers, in any order of the table, and under any hash seed.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from naturelm_audio.audio import probe
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.counting import Choir, CountingOptions, counting_questions
from naturelm_audio.train.manifest.examples import Example, Recipe
from naturelm_audio.train.manifest.holdouts import HoldOuts, audio_hash
from naturelm_audio.train.manifest.labelled import Labelled, LabelledTable
from naturelm_audio.train.manifest.names import NameTable, is_english
from naturelm_audio.train.manifest.pools import pools_of
from naturelm_audio.train.manifest.problems import Problem, did_you_mean, refuse_if_any
from naturelm_audio.train.manifest.report import CompileReport, taxon_of
from naturelm_audio.train.manifest.seeding import digest, generator
from naturelm_audio.train.manifest.soundscapes import SoundscapeOptions, count_events, soundscape_questions
from naturelm_audio.train.manifest.splits import SplitBy, assign_splits, check_splits, group_of
from naturelm_audio.train.manifest.tasks import FAMILIES, Asked, Pools, TaskOptions
from naturelm_audio.train.manifest.wordings import answer_language

__all__ = ["ALL_FAMILIES", "CompileOptions", "Compiled", "compile_manifest"]

ROUNDING_SECONDS = 0.05
ALL_FAMILIES = (*FAMILIES, "soundscapes", "counting")


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What to make of a table.

    Raises:
        OptionsError: an unknown family, or a number out of range.
    """

    seed: int = 0
    families: tuple[str, ...] = ALL_FAMILIES
    tasks: TaskOptions = field(default_factory=TaskOptions)
    soundscapes: SoundscapeOptions = field(default_factory=SoundscapeOptions)
    counting: CountingOptions = field(default_factory=CountingOptions)
    languages: tuple[str, ...] = ("en",)
    """Of common names; each recording gets one of them."""
    audio_root: str | None = None
    """Where the files are; None doesn't look for them."""
    bad_rows: str = "refuse"
    """Or ``drop``: leave faulty rows out and count them."""
    held_out: str = "drop"
    """Or ``refuse``: any row of a held-out taxon is an error."""
    valid_share: float = 0.0
    """Of recordings without a split that are kept for validation."""
    split_by: SplitBy = "recording"
    balance: float = 0.0
    """Weight of a row by its taxon of n rows: n to the power of minus this; 1 makes all taxa equal."""
    most_per_taxon: int | None = None
    """More recordings than this of one taxon are left out, chosen by the seed."""
    compare_audio: bool = False
    """Whether recordings that sound the same as held-out or validation ones are left out; reads all audio."""
    workers: int = 1

    def __post_init__(self) -> None:
        """Check every field."""
        for family in self.families:
            if family not in ALL_FAMILIES:
                hint = did_you_mean(family, ALL_FAMILIES) or f"; there are {', '.join(ALL_FAMILIES)}"
                raise OptionsError(f"there is no family of tasks {family!r}{hint}")
        for name, value in (("bad_rows", self.bad_rows), ("held_out", self.held_out)):
            if value not in ("refuse", "drop"):
                raise OptionsError(f"{name} must be refuse or drop, not {value!r}")
        shares = (*dataclasses.astuple(self.tasks)[1:4], self.valid_share)
        if not all(0 <= share <= 1 for share in shares):
            raise OptionsError("probabilities and shares must be from 0 to 1")
        if not 0 <= self.balance <= 1:
            raise OptionsError(f"balance must be from 0 (by frequency) to 1 (equal), not {self.balance}")
        if self.workers < 1 or (self.most_per_taxon is not None and self.most_per_taxon < 1):
            raise OptionsError("workers and most_per_taxon must be 1 or more")
        if not 1 <= self.tasks.most_negatives <= 35 or not self.languages:
            raise OptionsError("most_negatives must be from 1 to 35, and there must be a language")


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
    kept = _usable(given, options, report)
    kept = _allowed(kept, holdouts, options, report)
    kept = _without_twins(_split(kept, options), options, report)
    kept = _limited(kept, options, report)
    context = _Context.of(kept, options, names)
    rows = _weighted(_all_rows(kept, context, options.workers), options.balance)
    report.count_rows(rows, {one.path: one.seconds or 0.0 for one in kept})
    report.count_silent(kept, rows)
    return Compiled(rows, report)


# --- which recordings -------------------------------------------------------------------------------------


def _usable(table: LabelledTable, options: CompileOptions, report: CompileReport) -> list[Labelled]:
    """Return rows that are sound and whose files are there, each once, with their lengths."""
    problems, kept = list(table.problems), {}
    for one in sorted(table.recordings, key=lambda one: (one.key, one.line)):
        if one.key in kept:
            report.drop("the same row again", one.path)
            continue
        try:
            kept[one.key] = _within(_with_length(one, options.audio_root), report)
        except AudioError as error:
            problems.append(Problem(one.table or one.path, one.line, str(error)))
    if options.bad_rows == "refuse":
        refuse_if_any(problems, "the table")
    for problem in problems:
        report.drop("faulty row", str(problem))
    return list(kept.values())


def _with_length(recording: Labelled, audio_root: str | None) -> Labelled:
    """Return the recording with its length, if its file can be asked.

    Raises:
        AudioError: there is no such file, or it is no audio.
    """
    if audio_root is not None:
        path = resolve(Path(audio_root), recording.path)
        if recording.seconds is None:
            recording = dataclasses.replace(recording, seconds=probe(path).duration_seconds)
        elif not path.is_file():
            raise AudioError("no such file", path=str(path), code="audio_not_found")
    return recording


def _within(recording: Labelled, report: CompileReport) -> Labelled:
    """Return the recording with its events cut at its end; more than 50 ms is reported."""
    end, spans = recording.seconds, []
    if end is None:
        return recording
    for span in recording.events:
        if span.start_seconds >= end:
            report.drop("an event after the end of its recording", f"{recording.path} {span}")
            continue
        if span.end_seconds > end + ROUNDING_SECONDS:
            report.drop("an event beyond the end of its recording, cut there", f"{recording.path} {span}")
        spans.append(dataclasses.replace(span, end_seconds=min(span.end_seconds, end)))
    return dataclasses.replace(recording, events=tuple(spans))


def _allowed(
    kept: Sequence[Labelled], holdouts: HoldOuts | None, options: CompileOptions, report: CompileReport
) -> list[Labelled]:
    """Return recordings of which nothing is held out."""
    if holdouts is None:
        return list(kept)
    holdouts = holdouts.with_names_from(kept)
    allowed, problems = [], []
    for one in kept:
        reason = holdouts.reason_of(one)
        if not reason and holdouts.audio_hashes and (found := _hash(one, options)):
            reason = "the same audio" if found in holdouts.audio_hashes else ""
        if reason:
            report.hold_out(reason, one)
            problems.append(Problem(one.table or one.path, one.line, f"held out: {reason}"))
        else:
            allowed.append(one)
    if options.held_out == "refuse":
        refuse_if_any(problems, "held-out taxa")
    return allowed


def _hash(recording: Labelled, options: CompileOptions) -> str:
    """Return what a recording sounds like, or nothing where sounds aren't compared."""
    if not options.compare_audio or options.audio_root is None:
        return ""
    return audio_hash(resolve(Path(options.audio_root), recording.path))


def _without_twins(
    kept: Sequence[Labelled], options: CompileOptions, report: CompileReport
) -> list[Labelled]:
    """Return recordings without those for training that sound the same as one kept for measuring."""
    hashes = {one.key: _hash(one, options) for one in kept} if options.compare_audio else {}
    measured = {hashes.get(one.key, "") for one in kept if one.split != "train"} - {""}
    twins = {one.key for one in kept if one.split == "train" and hashes.get(one.key) in measured}
    for one in kept:
        if one.key in twins:
            report.drop("the same audio as a recording of another split", one.path)
    return [one for one in kept if one.key not in twins]


def _split(kept: Sequence[Labelled], options: CompileOptions) -> list[Labelled]:
    """Return recordings with a split; those that have one keep it, and so does all of their group."""
    given = {_group(one, options): one.split for one in kept if one.split}
    free = sorted({_group(one, options) for one in kept} - set(given))
    assigned = assign_splits(free, valid_share=options.valid_share, seed=options.seed) if free else {}
    splits = assigned | given
    placed = [dataclasses.replace(one, split=one.split or splits[_group(one, options)]) for one in kept]
    check_splits(((f"{one.source}/{one.recording_id or one.path}", one.split) for one in placed), "the table")
    return placed


def _group(recording: Labelled, options: CompileOptions) -> str:
    group = group_of(recording.path, recording.recording_id, options.split_by)
    return f"{recording.source}/{group}"


def _limited(kept: Sequence[Labelled], options: CompileOptions, report: CompileReport) -> list[Labelled]:
    """Return at most so many training recordings of each taxon."""
    if options.most_per_taxon is None:
        return list(kept)
    by_taxon: dict[str, list[Labelled]] = defaultdict(list)
    for one in kept:
        if one.split == "train":
            by_taxon[_taxon_name(one)].append(one)
    surplus: set[str] = set()
    for group in by_taxon.values():
        group.sort(key=lambda one: (digest(options.seed, "limit", one.key), one.key))
        surplus |= {one.key for one in group[options.most_per_taxon :]}
    for one in kept:
        if one.key in surplus:
            report.drop("more recordings of its taxon than wanted", one.path)
    return [one for one in kept if one.key not in surplus]


def _taxon_name(recording: Labelled) -> str:
    return recording.taxon.species or recording.common_name or recording.instrument or recording.kind


# --- which questions --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Context:
    """What every question is drawn from; sent to each worker once."""

    options: CompileOptions
    pools: Mapping[str, Pools]
    names: NameTable
    choir: Choir
    counts: Mapping[str, int]

    @classmethod
    def of(cls, kept: Sequence[Labelled], options: CompileOptions, names: NameTable) -> _Context:
        learned = [one for one in kept if one.split == "train"] or list(kept)
        pools = {
            language: pools_of(learned, [names.localised(one, language) for one in learned], options.tasks)
            for language in options.languages
        }
        counting = "counting" in options.families
        return cls(options, pools, names, Choir(kept if counting else ()), count_events(learned))


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
        if family == "counting":
            for recipe, asked in counting_questions(recording, context.choir, pools, draw, options.counting):
                rows.append(_row(recording, asked, mix=recipe))
        elif family == "soundscapes":
            if recording.seconds and (recording.events or options.soundscapes.completely_annotated):
                for start, end, asked in soundscape_questions(
                    recording, recording.seconds, context.counts, pools, draw, options.soundscapes
                ):
                    rows.append(_row(recording, _in_language(asked, language), start=start, end=end))
        elif is_english(language) or family not in ("captions", "voice", "kind", "music"):
            rows += [
                _row(recording, _in_language(one, language))
                for one in FAMILIES[family](localised, pools, draw)
            ]
    return rows


def _in_language(asked: Asked, language: str) -> Asked:
    """Return the question with the language of its answer, where that is a common name."""
    if asked.task.startswith(("sci-", "taxonomic-", "genus-", "family-", "order-", "class-")):
        return asked
    return dataclasses.replace(asked, prompt=asked.prompt + answer_language(language))


def _row(
    recording: Labelled,
    asked: Asked,
    *,
    mix: Recipe | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Example:
    return Example(
        files=() if mix else (recording.path,),
        prompt=asked.prompt,
        text=asked.text,
        task=asked.task,
        start_seconds=start,
        end_seconds=end,
        channel=None if mix else recording.channel,
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
