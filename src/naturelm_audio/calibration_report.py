"""What a calibration found, as text for a terminal and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from naturelm_audio.calibrating import CalibrationReport
from naturelm_audio.calibration import Reliability
from naturelm_audio.errors import MissingExtraError
from naturelm_audio.files import replacing_file

__all__ = ["plot_calibration", "report_text", "require_plots"]

INK, PALE, ACCENT, GRID = "#222222", "#9a9a9a", "#0b6e4f", "#e4e4e4"
PLOTS = "A plot of the calibration"


def report_text(report: CalibrationReport) -> str:
    """Return the tables, in plain text."""
    found = report.calibration
    lines = [
        f"{found.rows} windows of {report.recordings} recordings, {found.labels} labels",
        f"question: {found.question}",
        "",
        f"{'':22}{'right (95 %)':>24}{'error, ECE (95 %)':>24}{'AUROC (95 %)':>24}",
    ]
    if report.free is not None:
        lines.append(_figures("free answer", report.free))
    lines.append(_figures("best label", report.before))
    lines.append(_figures("best label, calibrated", report.after))
    lines += [
        "",
        f"Even perfect scores of {report.after.rows} windows would show an ECE of about "
        f"{report.after.error_by_chance:.3f}.",
        "Calibrated scores are judged with a temperature that was fitted to other recordings.",
        "",
        *_table(report.after),
        "",
        f"temperature {found.temperature:.3f}",
    ]
    return "\n".join(lines)


def _figures(name: str, figures: Reliability) -> str:
    right = f"{100 * figures.accuracy:.1f} % {_span(figures.accuracy_interval, 100, 1)}"
    error = f"{figures.error:.3f} {_span(figures.error_interval)}"
    area = "-"
    if figures.area is not None and figures.area_interval is not None:
        area = f"{figures.area:.3f} {_span(figures.area_interval)}"
    return f"{name:22}{right:>24}{error:>24}{area:>24}"


def _span(interval: tuple[float, float], factor: float = 1, decimals: int = 3) -> str:
    low, high = (f"{factor * end:.{decimals}f}" for end in interval)
    return f"({low} to {high})"


def _table(figures: Reliability) -> Iterator[str]:
    yield f"{'score':>12}{'windows':>10}{'mean score':>12}{'right':>10}   95 %"
    for one in figures.bins:
        yield (
            f"{one.low:.1f} to {one.high:.1f}{one.rows:>10}{one.confidence:>12.3f}{one.accuracy:>10.3f}   "
            f"{one.interval[0]:.3f} to {one.interval[1]:.3f}"
        )


def require_plots() -> None:
    """Do nothing if pictures can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.backends.backend_agg  # noqa: F401
    except ImportError:
        raise MissingExtraError("eval", PLOTS) from None


def plot_calibration(report: CalibrationReport, path: Path) -> None:
    """Write a PNG: how often scores are right, before and after, above how many windows have them.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: it can't be written.
    """
    require_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [("best label", report.before), ("best label, calibrated", report.after)]
    if report.free is not None:
        panels.insert(0, ("free answer", report.free))
    # A figure of its own, so that nothing is changed for programs that draw with matplotlib as well.
    figure = Figure(figsize=(3.5 * len(panels) + 0.4, 4.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(panels), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for column, (title, figures) in enumerate(panels):
        _draw(grid[0, column], grid[1, column], title, figures)
    grid[0, 0].set_ylabel("share that is right (95 %)")
    grid[1, 0].set_ylabel("windows")
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _draw(upper: Any, lower: Any, title: str, figures: Reliability) -> None:
    claimed = [one.confidence for one in figures.bins]
    right = [one.accuracy for one in figures.bins]
    below = [max(one.accuracy - one.interval[0], 0.0) for one in figures.bins]
    above = [max(one.interval[1] - one.accuracy, 0.0) for one in figures.bins]
    upper.plot([0, 1], [0, 1], color=PALE, linewidth=1, zorder=1)
    marks: dict[str, Any] = {"fmt": "o", "color": ACCENT, "ecolor": PALE, "capsize": 2, "zorder": 2}
    upper.errorbar(claimed, right, yerr=[below, above], **marks)
    area = "" if figures.area is None else f", AUROC {figures.area:.3f}"
    shares = f"{100 * figures.accuracy:.1f} % right, ECE {figures.error:.3f}{area}"
    upper.set_title(f"{title}\n{shares}", fontsize=9)
    upper.set(xlim=(0, 1.02), ylim=(0, 1.02))
    rows = [one.rows for one in figures.bins]
    lower.bar([one.low for one in figures.bins], rows, 0.1, align="edge", color=ACCENT)
    lower.set_xlabel("score")
    for axes in (upper, lower):
        axes.set_axisbelow(True)
        axes.grid(color=GRID)
        axes.tick_params(colors=INK, labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
