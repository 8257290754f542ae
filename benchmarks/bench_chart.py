"""The chart of RESULTS.md: how far each floor is passed, and how time grows with size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.bench_report import growth, judge_all
from benchmarks.bench_run import Run
from benchmarks.figures import OURS
from benchmarks.floor_table import FLOORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which the colour-blind tell apart: https://jfly.uni-koeln.de/color/
_COLOURS: Final = {OURS: "#0072B2", "quilt3": "#D55E00", "s5cmd": "#555555"}
_MET, _MISSED = "#0072B2", "#D55E00"
_GROWTH_IN: Final = 4.5
# Margins above this are drawn as this: it keeps the others readable.
_MOST: Final = 1000.0
_PANELS: Final = (
    ("Files: build, push, install", "files", {"build": "-", "push": "--", "install": ":"}),
    (
        "Manifests: open, top hash, diff",
        "entries",
        {"manifest-open": "-", "manifest-prove": "--", "manifest-diff": ":"},
    ),
    (
        "Browse on S3, 30 ms a request",
        "entries",
        {"browse-open": "-", "browse-folder": "--", "browse-key": ":"},
    ),
)


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write the chart as SVG: of the newest run, with the older one's margins as marks."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing

    margins = _margins_of(runs)
    bars_in = 1 + 0.23 * len(margins)
    # Text stays text, and the same figures give the same bytes.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "t4_ops", "font.size": 9}
    with mpl.rc_context(settings):
        drawing = Drawing(figsize=(12, bars_in + _GROWTH_IN), layout="constrained")
        # Figures of their own: the long labels above would squeeze the panels below.
        heights = (bars_in, _GROWTH_IN)
        above, below = drawing.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        _draw_margins(above.add_subplot(), margins, runs[-1].started)
        for number, (title, what, works) in enumerate(_PANELS, 1):
            _growth(below.add_subplot(1, len(_PANELS), number), runs[-1], title, what, works)
        drawing.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


def _margins_of(runs: Sequence[Run]) -> list[tuple[str, list[float]]]:
    """Return the margins of each floor that the newest run measured, newest last."""
    judged = [judge_all(run) for run in runs]
    found = []
    for number, floor in enumerate(FLOORS):
        margins = [of_run[number].margin for of_run in judged]
        if margins[-1] is not None:
            told = [min(margin, _MOST) for margin in margins if margin is not None]
            found.append((f"{floor.work}: {floor.target}".replace("`", ""), told))
    return found


def _draw_margins(axes: Axes, shown: list[tuple[str, list[float]]], started: str) -> None:
    axes.set_title(f"How many times better than its floor each figure is ({started})")
    if not shown:
        axes.text(0.5, 0.5, "No floor was measured at its own size.", ha="center", va="center")
        axes.set_axis_off()
        return
    every = [margin for _, margins in shown for margin in margins]
    for place, (_, margins) in enumerate(shown):
        newest = margins[-1]
        # Bars begin at the floor itself: those to its left are missed.
        axes.barh(place, newest - 1, left=1, color=_MET if newest >= 1 else _MISSED)
        axes.plot(margins[:-1], [place] * (len(margins) - 1), "|", color="black", markersize=9)
        axes.annotate(
            f"{newest:.2f}x" if newest < 10 else f"{newest:.0f}x",
            (max(*margins, 1), place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, *every) * 0.8, max(2, *every) * 1.6)
    axes.set_yticks(range(len(shown)), [words for words, _ in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("blue: met, orange: missed; the line is the floor, a mark the run before")


def _growth(axes: Axes, run: Run, title: str, what: str, works: dict[str, str]) -> None:
    axes.set_title(title)
    for work, dash in works.items():
        points = growth(run, work)
        for who, colour in _COLOURS.items():
            counts = [count for count, seconds in points.items() if who in seconds]
            if counts:
                axes.plot(
                    counts,
                    [points[count][who] for count in counts],
                    dash,
                    color=colour,
                    marker="o",
                    markersize=3,
                    label=f"{work.removeprefix('manifest-').removeprefix('browse-')}, {who}",
                )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(what)
    axes.set_ylabel("seconds")
    axes.grid(visible=True, which="major", linewidth=0.3)
    if axes.get_lines():
        axes.legend(fontsize=7, handlelength=4)
