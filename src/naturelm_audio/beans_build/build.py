"""A whole benchmark: tables -> sounds -> components -> a folder with rows and data card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from naturelm_audio.beans_build.detection import detection
from naturelm_audio.beans_build.folder import require_free, write_folder
from naturelm_audio.beans_build.heldout import holdouts_of, unseen
from naturelm_audio.beans_build.leaks import (
    LeakReport,
    check_leaks,
    is_trained,
    refuse_trained_taxa,
    without_leaks,
)
from naturelm_audio.beans_build.mixtures import counting
from naturelm_audio.beans_build.options import LEVELS, BuildOptions, ComponentOptions
from naturelm_audio.beans_build.planned import Built, Heard, LeftOut, PlannedComponent, heard_of
from naturelm_audio.beans_build.reading import audio_root_of, of_splits, read_recordings, read_training
from naturelm_audio.beans_build.rules import captioning, classification, presence, species
from naturelm_audio.beans_build.sounds import Sound, listen
from naturelm_audio.errors import AudioError, OptionsError
from naturelm_audio.train.manifest.annotations import resolve
from naturelm_audio.train.manifest.holdouts import HoldOuts
from naturelm_audio.train.manifest.labelled import Labelled, LabelledTable
from naturelm_audio.train.manifest.problems import ManifestError, Problem
from naturelm_audio.train.manifest.splits import check_splits

__all__ = ["build_benchmark"]


def build_benchmark(options: BuildOptions) -> Built:
    """Build a benchmark into ``options.output``, which appears as a whole at the end.

    Raises:
        NatureLMError: a table is empty or faulty, a rule finds too little, or the folder can't be written.
    """
    if not options.components:
        raise OptionsError(
            "no component is asked for: name rules with --component, or list them in a settings file"
        )
    require_free(options)
    root = audio_root_of(options.tables, options.audio_root)
    table = read_recordings(options.tables, kind=options.kind, root=root, label_column=options.label_column)
    left_out = LeftOut()
    recordings = _selected(table, options, left_out)
    sounds, problems = _sounds(recordings, root, options)
    by_level = any(one.rule in LEVELS for one in options.components)
    holdouts = holdouts_of(options, table.recordings) if by_level else None
    leaks = _leaks(options, recordings, sounds, holdouts)
    refuse_trained_taxa(leaks, options.on_leak)
    heard = heard_of(without_leaks(recordings, leaks, options.on_leak, left_out), sounds)
    maker = _Maker(heard, options.seed, holdouts, leaks, left_out)
    components = [made for one in options.components for made in maker.made(one)]
    if holdouts is not None:
        holdouts = holdouts.with_names_from([one.recording for one in heard])
    built = Built(tuple(components), (*table.problems, *problems), left_out)
    write_folder(built, options, leaks, holdouts, root)
    return built


def _selected(table: LabelledTable, options: BuildOptions, left_out: LeftOut) -> list[Labelled]:
    """Return the recordings that some component takes, each row once.

    Raises:
        ManifestError: a recording is in two splits, or none is left.
    """
    named = ((f"{one.source}/{one.recording_id or one.path}", one.split) for one in table.recordings)
    check_splits(named, ", ".join(options.tables))
    found: dict[str, Labelled] = {}
    for one in of_splits(table.recordings, options.splits):
        if not any(_takes(component, one) for component in options.components):
            continue
        if one.key in found:
            left_out.add("the same row again", one.path)
        found.setdefault(one.key, one)
    if not found:
        sources = ", ".join(sorted({one.source for one in table.recordings if one.source})[:10])
        splits = ", ".join(sorted({one.split or "none" for one in table.recordings}))
        raise ManifestError(
            f"none of {len(table.recordings):,} rows is taken by a component: check 'splits' (there are "
            f"{splits}), "
            f"'kinds' and 'sources' (there are {sources or 'none'})",
            table.problems,
        )
    return list(found.values())


def _takes(component: ComponentOptions, one: Labelled) -> bool:
    by_source = not component.sources or one.source in component.sources
    by_kind = not component.kinds or one.kind in component.kinds
    return by_source and by_kind and one.common_name not in component.without_labels


def _sounds(
    recordings: Sequence[Labelled], root: Path, options: BuildOptions
) -> tuple[dict[str, Sound], list[Problem]]:
    """Return path -> sound, and which recordings can't be used.

    Raises:
        ManifestError: none can be used.
    """
    paths = {one.path: resolve(root, one.path) for one in recordings}
    found = listen(list(paths.values()), workers=options.workers)
    sounds, problems = {}, []
    for one in {one.path: one for one in recordings}.values():
        sound = found[paths[one.path]]
        if isinstance(sound, AudioError):
            problems.append(Problem(one.table or one.path, one.line, f"{one.path}: {sound.reason}"))
        else:
            sounds[one.path] = sound
    if not sounds:
        raise ManifestError(f"no recording can be used (paths are below {root}; see --audio-root):", problems)
    return sounds, problems


def _leaks(
    options: BuildOptions, recordings: Sequence[Labelled], sounds: dict[str, Sound], holdouts: HoldOuts | None
) -> LeakReport:
    """Return what the recordings share with training, where that is named."""
    if not options.training:
        return LeakReport()
    root = audio_root_of(options.training, options.training_root)
    training = read_training(options.training, root, options.training_splits)
    paths = [resolve(root, one.path) for one in training] if options.compare_audio else []
    held = [one for one in recordings if one.path in sounds]
    return check_leaks(training, listen(paths, workers=options.workers), root, held, sounds, holdouts)


@dataclass(frozen=True)
class _Maker:
    """Makes components of what was heard."""

    heard: Sequence[Heard]
    seed: int
    holdouts: HoldOuts | None
    leaks: LeakReport
    left_out: LeftOut

    def made(self, options: ComponentOptions) -> list[PlannedComponent]:
        """Return the components of one rule.

        Raises:
            LabelError: the rule finds too few recordings or labels.
        """
        given = [one for one in self.heard if _takes(options, one.recording)]
        if options.rule == "species":
            return species(given, options, self.seed, self.left_out)
        if options.rule in LEVELS:
            return species(self._unseen(given, options), options, self.seed, self.left_out)
        if options.rule == "captioning":
            return [captioning(given, options, self.left_out)]
        if options.rule == "detection":
            return [detection(given, options, self.left_out)]
        by_rule = {"presence": presence, "counting": counting}
        return [by_rule.get(options.rule, classification)(given, options, self.seed, self.left_out)]

    def _unseen(self, given: Sequence[Heard], options: ComponentOptions) -> list[Heard]:
        holdouts = self.holdouts or HoldOuts()
        kept = []
        for one in unseen(given, options, holdouts):
            if is_trained(one.recording, self.leaks, holdouts):
                self.left_out.add(f"{options.title}: training has its taxon", one.recording.path)
            else:
                kept.append(one)
        return kept
