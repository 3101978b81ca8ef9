"""The data card of a built benchmark: what is in it, where from, by which rules, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from naturelm_audio import __version__
from naturelm_audio.beans_build.leaks import LeakReport
from naturelm_audio.beans_build.options import BuildOptions
from naturelm_audio.beans_build.planned import Built, PlannedComponent
from naturelm_audio.runs import counted

__all__ = ["data_card"]

_MOST_LABELS = 60
_RULES = {
    "labels": "the label of each recording",
    "species": "the species of each recording; the forms (`-cmn` common, `-sci` scientific, `-tax` "
    "taxonomic name) "
    "have the same clips",
    "unseen-species": "species that are kept out of training, of genera that are in it; forms as with "
    "`species`",
    "unseen-genus": "species of genera that are kept out of training, of families that are in it",
    "unseen-family": "species of families that are kept out of training, of classes that are in it",
    "genus": "the genus of the species", "family": "the family of the species",
    "order": "the order of the species", "class": "the class of the species",
    "life-stage": "the life stage, where the table tells", "sex": "the sex, where the table tells",
    "call-type": "`call` or `song`, where the table tells one of the two",
    "presence": "which of the labels are heard in a whole clip, or `None`",
    "detection": "windows of recordings with annotated events; the labels heard in each, or `None`",
    "counting": "mixtures of different animals at random places and levels, half of one animal and half "
    "of more",
    "captioning": "the caption of each recording",
}  # fmt: skip


def data_card(options: BuildOptions, built: Built, leaks: LeakReport) -> str:
    """Return the README of a data set, with the settings that let ``datasets`` find its rows."""
    components, rows = built.components, built.rows
    parts = [
        _front_matter(options, components, rows),
        f"# {options.name}",
        f"{rows:,} questions about animal sounds in {counted(len(components), 'component')}, in the schema "
        "of BEANS-Zero: one split `test`, mono audio at 16 kHz as a list of float32 in -1...1. Made by "
        f"`naturelm beans-build` of naturelm-audio {__version__}, seed {options.seed}. Scored by `beans` and "
        "`naturelm score`, which take the components from `components.json` beside this file.",
        _components(components),
        _labels(components),
        _sources(components),
        _rules(options, components),
        _leakage(options, leaks),
        _left_out(built),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(options: BuildOptions, components: Sequence[PlannedComponent], rows: int) -> str:
    settings: dict[str, object] = {
        "pretty_name": options.name,
        "license": "other",
        "task_categories": ["audio-classification"],
        "tags": ["bioacoustics", "beans-zero-schema"],
        "size_categories": [_size(rows)],
    }
    if options.format == "parquet":
        files = [{"split": "test", "path": "data/test-*.parquet"}]
        settings["configs"] = [{"config_name": "default", "data_files": files}]
    return f"---\n{yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)}---"


def _size(rows: int) -> str:
    limits = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for limit, name in limits if rows < limit), "n>1M")


def _components(components: Sequence[PlannedComponent]) -> str:
    lines = [
        "## Components",
        "",
        "| component | task | rows | labels | clip | question |",
        "|---|---|---:|---:|---|---|",
    ]
    for one in components:
        windows = f" every {one.shift_seconds:g} s" if one.shift_seconds else ""
        labels = str(len(one.labels)) if one.labels else ""
        lines.append(
            f"| {_cell(one.name)} | {one.task} | {len(one.rows):,} | {labels} | {one.max_seconds:g} "
            f"s{windows} "
            f"| {_cell(one.prompt)} |"
        )
    return "\n".join(lines)


def _labels(components: Sequence[PlannedComponent]) -> str:
    lines = ["## Rows of each label", ""]
    for one in components:
        if not one.labels:
            continue
        counts = sorted(one.counts.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{_cell(label)} {count:,}" for label, count in counts[:_MOST_LABELS])
        more = f", and {len(counts) - _MOST_LABELS} more" if len(counts) > _MOST_LABELS else ""
        lines.append(f"- **{_cell(one.name)}**: {shown}{more}")
    return "\n".join(lines)


def _sources(components: Sequence[PlannedComponent]) -> str:
    counts = Counter((row.source, row.license) for one in components for row in one.rows)
    lines = [
        "## Sources and licences",
        "",
        "Each row has its own in the columns `source_dataset` and `license`; they hold for the audio, not "
        "for this "
        "card. Mixtures have those of all their recordings.",
        "",
        "| source | licence | rows |",
        "|---|---|---:|",
    ]
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines += [
        f"| {_cell(source or 'not stated')} | {_cell(licence or 'not stated')} | {count:,} |"
        for (source, licence), count in ordered
    ]
    return "\n".join(lines)


def _rules(options: BuildOptions, components: Sequence[PlannedComponent]) -> str:
    lines = [f"- `{rule}`: {_RULES[rule]}." for rule in dict.fromkeys(one.rule for one in components)]
    if any(one.rule.startswith("unseen") for one in components):
        held_out = {"paper": "the paper's lists", "rule": "drawn by the paper's rule"}
        lines.append(f"- Held-out taxa: {held_out.get(options.hold_out, options.hold_out)}.")
    lines += [
        f"- Splits taken: {', '.join(options.splits) or 'all rows'}.",
        "- A clip is the start of its recording, cut to the length above; what windows and mixtures are "
        "made of "
        "is in `rows.csv` and `metadata`.",
        "- Ids follow from component, source and span, and every draw from the seed: the same tables give "
        "the "
        "same files, on any number of processes.",
    ]
    return "\n".join(["## Rules", "", *lines])


def _leakage(options: BuildOptions, leaks: LeakReport) -> str:
    lines = ["## Compared with training", ""]
    if not leaks.checked:
        lines.append("Not compared: no training table was given (`--training`).")
        return "\n".join(lines)
    by_id = sum(leak.by == "recording" for leak in leaks.leaks)
    by_sound = sum(leak.by == "audio" for leak in leaks.leaks)
    sounds = f"{by_sound} by their sound" if leaks.compared_audio else "sounds were not compared"
    lines.append(f"Found again among {leaks.training_rows:,} training rows: {by_id} by their id, {sounds}.")
    if by_id + by_sound:
        lines.append("These recordings are left out.")
    if leaks.unreadable:
        lines.append(
            f"{leaks.unreadable:,} training recordings could not be read, so their sound is not compared."
        )
    if leaks.shared_taxa:
        shown = ", ".join(leaks.shared_taxa[:20]) + (" ..." if len(leaks.shared_taxa) > 20 else "")
        lines.append(
            f"Taxa that training has too, from other recordings: {len(leaks.shared_taxa)} ({shown})."
        )
    for reason, count in leaks.held_out.items():
        lines.append(f"Held out, but in training ({count:,} rows), so left out here: {reason}.")
    return "\n".join(lines)


def _left_out(built: Built) -> str:
    if not (built.left_out.counts or built.problems):
        return ""
    lines = ["## Left out", "", "Names of the first of each are in `build.json`.", ""]
    ordered: Mapping[str, int] = dict(
        sorted(built.left_out.counts.items(), key=lambda item: (-item[1], item[0]))
    )
    if built.problems:
        lines.append(f"- {len(built.problems):,}: can't be used")
    lines += [f"- {count:,}: {_cell(reason)}" for reason, count in ordered.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
