"""Scores of a benchmark -> a picture: every component with its interval, beside the published models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naturelm_audio.components import Component
from naturelm_audio.errors import MissingExtraError
from naturelm_audio.files import replacing_file
from naturelm_audio.scored import ComponentScore, Scores

__all__ = ["plot_scores"]

OURS = "NatureLM-audio"  # the published model
CHANCE = "chance"
HIGHEST = {"CIDEr": 10.0}  # scores that don't end at 1 are shown as a share
INK, PALE, ACCENT, SECOND = "#222222", "#8a8a8a", "#0b6e4f", "#c4661f"
OTHERS = {
    "BioLingual": "s",
    "BirdNET": "^",
    "Perch": "v",
    "CLAP-LAION": "P",
    "SALMONN": "<",
    "Qwen2-audio": ">",
    "LLM without audio": "x",
}
ROW_INCHES, MARGIN_INCHES, WIDTH_INCHES = 0.36, 1.9, 9.0


def plot_scores(scores: Mapping[str, Scores], path: Path) -> None:
    """Write a PNG of the headline scores, strict and official, with 95 % intervals and published scores.

    Args:
        scores: by mode; all of one benchmark.
        path: of the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: it can't be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("eval", "A plot of scores") from None
    strict = scores.get("strict") or next(iter(scores.values()))
    shown = strict.components
    # A figure of its own, so that nothing is changed for programs that draw with matplotlib as well.
    figure = Figure(figsize=(WIDTH_INCHES, MARGIN_INCHES + ROW_INCHES * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e4e4e4")
    _draw_published(axes, [strict.benchmark.components[item.name] for item in shown], shown)
    official = scores.get("official")
    if official is not None and official is not strict:
        _draw_official(axes, shown, {item.name: item for item in official.components})
    _draw_ours(axes, shown)
    _finish(axes, strict)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})


def _value(item: ComponentScore | None, headline: str) -> float | None:
    """The headline score as a share of its highest value."""
    value = item.metrics.get(headline) if item is not None else None
    return None if value is None else value / HIGHEST.get(headline, 1.0)


def _draw_ours(axes: Any, shown: Sequence[ComponentScore]) -> None:
    label: str | None = "this file, strict (95 %)"
    for row, item in enumerate(shown):
        value = _value(item, item.headline)
        if value is None:
            # At the end that few scores reach, so that it lies on no mark.
            look = {"color": SECOND, "va": "center", "ha": "right", "fontsize": 8, "style": "italic"}
            axes.text(1.0, row, "no strict score, see the report", **look)
            continue
        highest = HIGHEST.get(item.headline, 1.0)
        low, high = (bound / highest for bound in item.interval or (value, value))
        # Macro scores of resampled rows may leave the score itself outside.
        around = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
        axes.errorbar(
            [value], [row], xerr=around, fmt="o", color=ACCENT, markersize=7, capsize=3, label=label, zorder=4
        )
        label = None


def _draw_official(
    axes: Any, shown: Sequence[ComponentScore], official: Mapping[str, ComponentScore]
) -> None:
    points = [
        (value, row)
        for row, item in enumerate(shown)
        if (value := _value(official.get(item.name), item.headline)) is not None
    ]
    if points:
        values, rows = zip(*points, strict=True)
        label = "this file, official"
        axes.plot(values, rows, "D", markerfacecolor="none", color=INK, markersize=9, label=label, zorder=3)


def _draw_published(axes: Any, components: Sequence[Component], shown: Sequence[ComponentScore]) -> None:
    """Published scores of the same kind as ours; one legend entry for each model."""
    points: dict[str, list[tuple[float, int]]] = {}
    for row, (component, item) in enumerate(zip(components, shown, strict=True)):
        if component.headline != item.headline:
            continue
        chance = 1 / len(component.labels) if component.task == "classification" else None
        known = {CHANCE: chance, **component.published}
        for model, value in known.items():
            if value is not None:
                points.setdefault(model, []).append((value, row))
    for model, some in points.items():
        values, rows = zip(*some, strict=True)
        look: dict[str, Any] = {"marker": OTHERS.get(model, "."), "color": PALE, "markersize": 5}
        if model == OURS:
            look = {"marker": "*", "color": SECOND, "markersize": 11}
        elif model == CHANCE:
            look = {"marker": "|", "color": INK, "markersize": 13}
        axes.plot(values, rows, linestyle="none", label=model, **look)


def _finish(axes: Any, scores: Scores) -> None:
    shown = scores.components
    names = [
        f"{item.name}\n{item.headline}{' / 10' if item.headline in HIGHEST else ''}, {item.rows:,} rows"
        for item in shown
    ]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("score, 1 is best")
    published = any(scores.benchmark.components[item.name].published for item in shown)
    title = f"{scores.benchmark.name}{' (grey and orange: published scores)' if published else ''}"
    axes.set_title(title, fontsize=11)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
