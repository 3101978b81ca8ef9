"""Which recordings of a table are asked about: sound ones, allowed ones, in one split each, not too many."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from naturelm_audio.audio import probe
from naturelm_audio.errors import AudioError
from naturelm_audio.prompts import AUDIO_TOKEN
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.compile_options import CompileOptions
from naturelm_audio.train.manifest.holdouts import HoldOuts, audio_hash
from naturelm_audio.train.manifest.labelled import Labelled, LabelledTable
from naturelm_audio.train.manifest.problems import Problem, refuse_if_any
from naturelm_audio.train.manifest.report import CompileReport
from naturelm_audio.train.manifest.seeding import digest
from naturelm_audio.train.manifest.splits import assign_splits, check_splits, group_of

__all__ = ["select_recordings"]

ROUNDING_SECONDS = 0.05


def select_recordings(
    table: LabelledTable, options: CompileOptions, holdouts: HoldOuts | None, report: CompileReport
) -> list[Labelled]:
    """Return the recordings to ask about, sorted, each with its split; the report says what was left out.

    Raises:
        ManifestError: faulty rows or held-out taxa where they are to be refused; a recording in two splits.
    """
    kept = _usable(table, options, report)
    kept = _allowed(kept, holdouts, options, report)
    kept = _without_twins(_split(kept, options), options, report)
    return _limited(kept, options, report)


def _usable(table: LabelledTable, options: CompileOptions, report: CompileReport) -> list[Labelled]:
    """Return rows that are sound and whose files are there, each once, with their lengths."""
    problems, kept = list(table.problems), {}
    for one in sorted(table.recordings, key=lambda one: (one.key, one.line)):
        if one.key in kept:
            report.drop("the same row again", one.path)
            continue
        if any(AUDIO_TOKEN in text for text in (*one.texts, one.taxon.given)):
            problems.append(Problem(one.table or one.path, one.line, f"a text holds {AUDIO_TOKEN}"))
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
            # What only mentions a held-out species, or is known by its id or sound, is no test of names.
            if options.held_out == "test" and holdouts.reason(one.taxon, one.common_name):
                allowed.append(dataclasses.replace(one, split="test"))
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
