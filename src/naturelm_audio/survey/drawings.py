"""Grids and curves -> HTML and SVG that scale, follow light and dark, and can be read without colours."""

from __future__ import annotations

import html
import itertools
import math
import re
import unicodedata
from collections.abc import Callable

from naturelm_audio.survey.grids import Column, Grid
from naturelm_audio.survey.richness import Accumulation

__all__ = ["LEVELS", "escaped", "heat_map", "level", "line_chart", "plural", "short_number"]

LEVELS = 8
WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 46
# Would end lines, hide text or change its direction far beyond the label it stands in.
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def escaped(text: str) -> str:
    """Return text for HTML, also inside quotes; what can't be shown becomes a blank."""
    return html.escape(UNSHOWN.sub(" ", unicodedata.normalize("NFC", text)), quote=True)


def plural(count: int, thing: str) -> str:
    """Return the word for so many things."""
    return thing if count == 1 else f"{thing}s"


def short_number(number: float) -> str:
    """Return a number in few characters: 7, 950, 1.2k, 31k, 2.5M."""
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}".removesuffix(".0") + letter if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{number:.0f}" if number >= 9.95 or number == int(number) else f"{number:.1f}"


def level(count: int, most: int) -> int:
    """Return the colour of a count, from 1 (few) to 8 (the most); 0 for none."""
    return math.ceil(LEVELS * math.sqrt(count / most)) if count > 0 else 0


def heat_map(grid: Grid, caption: str) -> str:
    """Return a grid as a table whose cells are coloured by their counts; the counts stand in them."""
    rows = "".join(
        f'<tr><th scope="row"><bdi>{escaped(label)}</bdi></th>{_cells(grid, counts)}</tr>\n'
        for label, counts in zip(grid.labels, grid.counts, strict=True)
    )
    effort = "".join(f"<td>{short_number(hours) if hours else ''}</td>" for hours in grid.effort_hours)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(caption)}">\n'
        f'<table class="heat"><caption>{escaped(caption)}</caption>\n<thead>{_heads(grid.columns)}</thead>\n'
        f'<tbody>{rows}</tbody>\n<tfoot><tr><th scope="row">hours listened</th>{effort}</tr></tfoot>\n'
        f"</table></div>\n{_legend(grid.most)}"
    )


def _heads(columns: tuple[Column, ...]) -> str:
    groups = [
        (group, len(list(members))) for group, members in itertools.groupby(columns, lambda one: one.group)
    ]
    above = ""
    if any(group for group, _ in groups):
        cells = "".join(
            f'<th scope="colgroup" colspan="{count}">{escaped(group if count > 1 else group[:3])}</th>'
            for group, count in groups
        )
        above = f"<tr><td></td>{cells}</tr>"
    titles = "".join(
        f'<th scope="col" title="{escaped(column.full)}">{escaped(column.title)}</th>' for column in columns
    )
    return f"{above}<tr><td></td>{titles}</tr>"


def _cells(grid: Grid, counts: tuple[int, ...]) -> str:
    cells = []
    for count, hours in zip(counts, grid.effort_hours, strict=True):
        if count:
            cells.append(f'<td class="h{level(count, grid.most)}">{short_number(count)}</td>')
        else:
            cells.append("<td></td>" if hours else '<td class="deaf"></td>')
    return "".join(cells)


def _legend(most: int) -> str:
    steps, lowest = [], 1
    for step in range(1, LEVELS + 1):
        highest = math.floor(most * (step / LEVELS) ** 2)
        if highest >= lowest:
            span = (
                short_number(lowest)
                if highest == lowest
                else f"{short_number(lowest)} to {short_number(highest)}"
            )
            steps.append(f'<li><i class="h{step}"></i>{span}</li>')
            lowest = highest + 1
    ends = "<li><i></i>none</li>", '<li><i class="deaf"></i>not listened to</li>'
    return f'<ul class="legend">{ends[0]}{"".join(steps)}{ends[1]}</ul>'


def line_chart(curve: Accumulation) -> str:
    """Return the accumulation curve as SVG."""
    most = max(curve.points[-1][1], 1.0)
    across, up = _ticks(curve.samples), _ticks(most)
    up += [up[-1] + up[1]] if up[-1] < most else []
    x_end, y_end = curve.samples, up[-1]

    def place(samples: float, labels: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * samples / x_end
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * labels / y_end
        return x, y

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in ((0, 0), *curve.points)))
    end_x, end_y = place(*curve.points[-1])
    title = f"{round(most)} {plural(round(most), 'label')} in {curve.samples} {curve.unit}"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(title)}">'
        f"<title>{escaped(title)}</title>\n{_axes(across, up, place)}"
        f'<polyline class="curve" points="{line}"/>'
        f'<circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="4"/>\n'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escaped(curve.unit)}</text>"
        f'<text transform="translate(14 {(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)" text-anchor="middle">'
        "expected labels</text></svg>"
    )


def _axes(across: list[float], up: list[float], place: Callable[[float, float], tuple[float, float]]) -> str:
    lines = []
    for value in up:
        x, y = place(0, value)
        lines.append(f'<line class="grid" x1="{x}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end">{short_number(value)}</text>')
    for value in across:
        x, y = place(value, 0)
        lines.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{short_number(value)}</text>')
    return "".join(lines)


def _ticks(end: float) -> list[float]:
    """Return about five round whole numbers from 0 to the end."""
    rough = max(end / 5, 1.0)
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= rough)
    return [step * index for index in range(math.floor(end / step + 1e-9) + 1)]
