"""Scores -> what is written of them: the metrics file, all details, rows with labels, a Markdown report.

Pure conversions; where files go is the caller's business.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from naturelm_audio import __version__
from naturelm_audio.components import Component
from naturelm_audio.predictions import Prediction
from naturelm_audio.ranking import Ranking, Rankings
from naturelm_audio.records import dump_json
from naturelm_audio.scored import ComponentScore, Scores

__all__ = ["details", "markdown", "metrics_of", "provenance", "row_lines"]

OURS = "NatureLM-audio"  # the published model that the report compares with
CONFUSIONS_SHOWN = 5
PACKAGES = ("numpy", "torch", "rapidfuzz")


def metrics_of(scores: Scores, rankings: Rankings | None = None) -> dict[str, dict[str, Any]]:
    """Return component -> its metrics under the official names.

    Strict mode adds how they came about, those of label rankings apart, and what was not scored.
    """
    if scores.options.mode == "official":
        return {item.name: dict(item.metrics) for item in scores.components}
    found = {item.name: {**item.metrics, **_account(item), **item.extras} for item in scores.components}
    for name, ranking in (rankings.components if rankings else {}).items():
        found[name]["ranking"] = ranking.to_mapping()
    reason = f"{scores.benchmark.name} has no such component"
    unscored = {
        name: {"n": rows, "status": "not scored", "reason": reason} for name, rows in scores.unscored.items()
    }
    return found | unscored


def _account(item: ComponentScore) -> dict[str, Any]:
    """What belongs to a component's metrics so that they can be judged."""
    return {
        "n": item.rows,
        "n_expected": item.expected,
        "n_errors": item.errors,
        "status": item.status,
        "reason": item.reason,
        "interval_95": list(item.interval) if item.interval else None,
        "interval_of": item.headline if item.interval else None,
        "rows_alone": dict(item.rows_alone),
    }


def details(scores: Mapping[str, Scores], rankings: Rankings, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything of all modes: scores, counts per class, confusions, notes, and what made them."""
    return {
        "provenance": dict(made_by),
        **{mode: _mode_details(item) for mode, item in scores.items()},
        "ranking": {name: ranking.to_mapping() for name, ranking in rankings.components.items()},
    }


def _mode_details(outcome: Scores) -> dict[str, Any]:
    return {
        "components": {item.name: _component_details(item) for item in outcome.components},
        "components_without_rows": list(outcome.absent),
        "unknown_components": dict(outcome.unscored),
        "notes": list(outcome.notes),
    }


def _component_details(item: ComponentScore) -> dict[str, Any]:
    classes = [
        {
            "label": one.label,
            "support": one.support,
            "predicted": one.predicted,
            "true_positives": one.true_positives,
            "precision": one.precision,
            "recall": one.recall,
            "f1": one.f1,
        }
        for one in item.classes
    ]
    confusion = [
        {"label": gold, "answer": text, "rows": rows} for (gold, text), rows in _most(item.confusion)
    ]
    return {
        "task": item.task,
        "metrics": dict(item.metrics),
        **_account(item),
        **item.extras,
        "notes": list(item.notes),
        "classes": classes,
        "confusion": confusion,
    }


def _most(confusion: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(confusion.items(), key=lambda pair: (-pair[1], pair[0]))


def provenance(path_name: str, sha256: str, rows: int, scores: Scores) -> dict[str, Any]:
    """Return what the numbers were made from and with."""
    return {
        "predictions": path_name,
        "predictions_sha256": sha256,
        "rows": rows,
        "benchmark": scores.benchmark.name,
        "benchmark_version": scores.benchmark.version,
        "partial": scores.options.partial,
        "bootstrap_resamples": scores.options.resamples,
        "seed": scores.options.seed,
        "python": platform.python_version(),
        "packages": {"naturelm-audio": __version__, **{name: _version(name) for name in PACKAGES}},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def row_lines(
    rows: Sequence[Prediction], scores: Mapping[str, Scores], rankings: Rankings | None = None
) -> Iterator[str]:
    """Return a JSON line for every row in the file's order, with the label it became in each mode.

    A row with a ranking has its likeliest label besides.
    """
    firsts = rankings.firsts if rankings else {}
    answers = {
        (mode, item.name): iter(item.answers) for mode, one in scores.items() for item in one.components
    }
    benchmark = next(iter(scores.values())).benchmark
    for row in rows:
        component = benchmark.find(row.dataset_name)
        name = component.name if component else row.dataset_name
        line: dict[str, Any] = {
            "dataset_name": name,
            "id": row.id,
            "label": row.label,
            "prediction": row.prediction,
            **({"error": row.error} if row.error else {}),
        }
        for mode in scores:
            answer = None if row.error else next(answers.get((mode, name), iter(())), None)
            if answer is not None:
                line[mode] = {"label": answer.label, "distance": answer.distance}
                line[mode] |= (
                    {"tied_with": [list(some[1:]) for some in answer.choices]} if answer.choices else {}
                )
        if row.where in firsts:
            line["ranking"] = firsts[row.where].to_mapping()
        yield dump_json(line)


def markdown(
    scores: Mapping[str, Scores],
    rankings: Rankings,
    made_by: Mapping[str, Any],
    *,
    plot: str | None = None,
) -> str:
    """Return the report: scores of all modes beside the published ones, and what to know about them.

    Args:
        scores: by mode.
        rankings: of labels.
        made_by: names and values, for the last section.
        plot: file name of an image beside the report.
    """
    sections = [
        f"# Scores of {made_by['predictions']} on {made_by['benchmark']}",
        f"{made_by['rows']:,} predictions. *official* repeats the published scorer, *strict* is complete "
        "and the same for every order of rows. Intervals are 95 % over resampled rows.",
        _score_table(scores),
        _source(scores),
        f"![Scores of every component]({plot})" if plot else "",
        _listed("Not scored, or not in full", _not_in_full(scores, rankings)),
        _answer_table(scores),
        _detection_table(scores),
        _ranking_table(rankings),
        _listed("Most frequent mistakes", _mistakes(scores)),
        _listed(
            "Made by", [f"{name}: {_plain(value)}" for name, value in made_by.items() if value is not None]
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in value.items() if text is not None)
    return str(value)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells)


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines)]) if lines else ""


def _names(scored: Mapping[str, Scores]) -> list[Component]:
    """Components with rows in any mode, in the benchmark's order."""
    there = {item.name for scores in scored.values() for item in scores.components}
    benchmark = next(iter(scored.values())).benchmark
    return [component for component in benchmark if component.name in there]


def _of(scores: Scores, name: str) -> ComponentScore | None:
    return next((item for item in scores.components if item.name == name), None)


def _by_component(scored: Mapping[str, Scores]) -> Iterator[tuple[str, ComponentScore]]:
    """Modes and scores, the modes of a component one after the other."""
    for component in _names(scored):
        for mode, scores in scored.items():
            item = _of(scores, component.name)
            if item is not None:
                yield mode, item


def _score_table(scored: Mapping[str, Scores]) -> str:
    names = _names(scored)
    published = [f"published {OURS}", "best other published"] if any(one.published for one in names) else []
    modes = [name for mode in scored for name in (mode, "95 %")]
    rows = []
    for component in names:
        items = [_of(scores, component.name) for scores in scored.values()]
        known = next(item for item in items if item is not None)
        cells = [component.name, f"{known.rows:,}"]
        cells += [f"{known.expected:,}" if known.expected else "?", known.headline]
        for item in items:
            cells += [_figure(item.metrics.get(item.headline) if item else None), _interval(item)]
        # Only scores of the same kind are put side by side.
        same = component.published if known.headline == component.headline else {}
        rows.append([*cells, *(_published(same) if published else [])])
    return _grid(["component", "rows", "of", "score", *modes, *published], rows)


def _published(scores: Mapping[str, float]) -> list[str]:
    others = {model: value for model, value in scores.items() if model not in (OURS, "chance")}
    best = max(others, key=lambda model: others[model], default=None)
    return [_figure(scores.get(OURS)), f"{others[best]:.3f} ({best})" if best else "-"]


def _interval(item: ComponentScore | None) -> str:
    if item is None or item.interval is None:
        return "-"
    return f"{item.interval[0]:.3f} to {item.interval[1]:.3f}"


def _source(scored: Mapping[str, Scores]) -> str:
    source = next(iter(scored.values())).benchmark.published_source
    return f"Published scores: {source}" if source else ""


def _not_in_full(scored: Mapping[str, Scores], rankings: Rankings) -> list[str]:
    lines: dict[str, None] = {}
    modes: dict[str, list[str]] = {}
    for mode, scores in scored.items():
        wrong = mode == "strict" and not scores.options.partial
        then = "count as wrong" if wrong else "are left out: a partial result"
        if scores.missing_rows:
            modes.setdefault(f"{then}: {', '.join(scores.missing_rows)}", []).append(mode)
    for then, some in modes.items():
        lines[f"rows without an answer ({' and '.join(some)}) {then}"] = None
    for scores in scored.values():
        lines.update({f"{item.name}: {item.reason}": None for item in scores.components if item.reason})
        lines.update(dict.fromkeys(scores.notes))
        if scores.absent:
            lines[f"components without a row: {', '.join(scores.absent)}"] = None
    return [*lines, *rankings.notes]


def _answer_table(scored: Mapping[str, Scores]) -> str:
    header = [
        "component",
        "mode",
        "exact match",
        "within 5 edits",
        "empty",
        "tied",
        "errors",
        "range over ties",
    ]
    rows = [
        [
            item.name,
            mode,
            _figure(item.extras.get("exact_match")),
            _figure(item.extras.get("accuracy_within_5_edits")),
            str(item.extras.get("empty_answers", 0)),
            str(item.extras.get("tied_answers", 0)),
            str(item.errors),
            _range_over_ties(item),
        ]
        for mode, item in _by_component(scored)
        if item.task != "captioning"
    ]
    return f"## Answers\n\n{_grid(header, rows)}" if rows else ""


def _range_over_ties(item: ComponentScore) -> str:
    if not item.extras.get("tied_answers"):
        return "-"
    return _range(item.extras.get("accuracy_range_of_ties") or item.extras.get("f1_range_of_ties"))


def _range(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else "-"


def _detection_table(scored: Mapping[str, Scores]) -> str:
    header = [
        "component",
        "mode",
        "mAP",
        "over all row orders",
        "ties grouped",
        "classes",
        "named without gold",
    ]
    rows = [
        [
            item.name,
            mode,
            _figure(item.metrics.get("mAP")),
            _range(item.extras.get("map_range_of_row_orders")),
            _figure(item.extras.get("map_ties_grouped")),
            str(len(item.classes)),
            str(sum(item.extras.get("false_positives_without_gold", {}).values())),
        ]
        for mode, item in _by_component(scored)
        if item.task == "detection"
    ]
    hint = (
        "Answers are yes or no, so mAP tells nothing of a ranking; the official one changes with the order "
        "of rows."
    )
    return f"## Detection\n\n{hint}\n\n{_grid(header, rows)}" if rows else ""


def _ranking_table(rankings: Rankings) -> str:
    items = rankings.components.values()
    if not items:
        return ""
    depths = sorted({depth for item in items for depth in item.top})
    header = ["component", "rows", "labels", "by", *(depth.replace("_", " ") for depth in depths)]
    header += ["chance", "mAP", "F1 above None", "calibration error", "with temperature", "temperature"]
    rows = []
    for item in items:
        for by, one in (("whole answer", item), ("mean per token", item.per_token)):
            if one is not None:
                figures = [_figure(one.top.get(depth)) for depth in depths]
                start = [one.name, f"{one.rows:,}", f"{one.labels:,}", by, *figures]
                rows.append([*start, *_ranking_figures(one)])
    hint = (
        "Every label of the component is scored by the likelihood of the whole answer (the sum over its "
        "tokens and the end of the turn), and the likeliest comes first; or by the mean per token, the loss "
        "of training. Detection: rows with a label; top k has one of theirs, and F1 takes what is likelier "
        "than None for detected. A calibration error of 0.1 means that a stated 80 % is right 70 or 90 times "
        "of 100; each half of the rows gets the temperature that fits the other half."
    )
    return f"## Label ranking\n\n{hint}\n\n{_grid(header, rows)}"


def _ranking_figures(item: Ranking) -> list[str]:
    """What stands behind top-k."""
    error, fitted = (item.calibration.get(f"calibration_error{kind}") for kind in ("", "_fitted"))
    temperature = item.calibration.get("temperature")
    return [
        _figure(item.chance if item.top else None),
        _figure(item.mean_average_precision),
        _figure(item.f1_above_none),
        _figure(error),
        _figure(fitted),
        "-" if temperature is None else f"{temperature:.2f}",
    ]


def _mistakes(scored: Mapping[str, Scores]) -> list[str]:
    scores = scored.get("strict") or next(iter(scored.values()))
    lines = []
    for item in scores.components:
        pairs = [
            f"{gold or 'nothing'} as {text or 'nothing'} ({rows})"
            for (gold, text), rows in _most(item.confusion)
        ]
        if pairs:
            lines.append(f"{item.name}: {'; '.join(pairs[:CONFUSIONS_SHOWN])}")
    return lines
