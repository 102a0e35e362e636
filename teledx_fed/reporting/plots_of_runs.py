"""Plots of several runs, as files for a page or a paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from teledx_fed.core.files import make_folder
from teledx_fed.reporting.plots import PALETTE, STYLE, Course

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#8c8c00")
DASHES = ("-", "--", ":", "-.")
ROW = 0.34
"""Height in inches."""
LINE = 110
"""Letters that fit in one row of a legend, with six for the sample of each line."""


@mpl.rc_context(STYLE)
def learning_curves(learned: Mapping[str, tuple[Course, Course]], title: str) -> Figure:
    """Draw each run's validation score by round and by megabytes."""
    columns = max(1, min(3, LINE // (max(map(len, learned)) + 6)))
    figure = Figure(figsize=(9, 3.2 + 0.2 * len(learned) / columns), layout="constrained")
    by_round, by_bytes = figure.subplots(1, 2, sharey=True)
    for i, (name, courses) in enumerate(learned.items()):
        for axes, course in zip((by_round, by_bytes), courses, strict=True):
            x, y = zip(*course, strict=True)
            colour, dashes = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS)]
            axes.plot(x, y, dashes, color=colour, linewidth=1.4, label=name if axes is by_round else None)
    by_round.set(xlabel="after round", ylabel=f"{title}, validation")
    by_round.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_bytes.set_xlabel("megabytes sent to and from all hospitals")
    for axes in (by_round, by_bytes):
        axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


@mpl.rc_context(STYLE)
def critical_difference(ranks: Mapping[str, float], apart: float, title: str) -> Figure:
    """Draw mean ranks, the best on top; a bar joins runs without a clear difference (Demšar 2006)."""
    ordered = sorted(ranks.items(), key=lambda named: named[1])
    groups = _groups([rank for _, rank in ordered], apart)
    figure = Figure(figsize=(6.4, 0.9 + ROW * (len(ordered) + 1)), layout="constrained")
    axes = figure.add_subplot()
    for y, (_, rank) in enumerate(ordered):
        axes.plot(rank, y, "o", color=PALETTE["federated"], markersize=7)
        axes.text(rank + 0.02 * len(ordered), y, f"{rank:.2f}", va="center", size=8, color=PALETTE["muted"])
    for i, (first, last) in enumerate(groups):
        x = len(ordered) + 0.35 + 0.18 * i
        axes.plot([x, x], [first - 0.2, last + 0.2], color=PALETTE["ink"], linewidth=2.5)
    axes.plot([1, min(1 + apart, len(ordered))], [-1, -1], "|-", color=PALETTE["muted"], markersize=8)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.text(1, -1.25, f"critical difference {apart:.2f}", size=8, color=PALETTE["muted"], va="bottom", bbox=box)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set(xlim=(0.8, len(ordered) + 0.6 + 0.18 * len(groups)), ylim=(len(ordered) - 0.4, -1.9))
    axes.set_xlabel(f"mean rank by {title} (1 is the best)")
    axes.set_xticks(range(1, len(ordered) + 1))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure


@mpl.rc_context(STYLE)
def heat(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], titles: Sequence[str]) -> Figure:
    """Draw values (panel, row, column) with their numbers; each panel has its own colour scale."""
    figure = Figure(figsize=(2.2 + 0.95 * len(columns) * len(values), 1.7 + ROW * len(rows)), layout="constrained")
    panels: list[Axes] = list(np.atleast_1d(figure.subplots(1, len(values), sharey=True)))
    for axes, panel, title in zip(panels, values, titles, strict=True):
        defined = panel[~np.isnan(panel)]
        low, high = (float(defined.min()), float(defined.max())) if defined.size else (0.0, 1.0)
        axes.imshow(panel, cmap="cividis", vmin=low, vmax=high, aspect="auto")
        for (y, x), value in np.ndenumerate(panel):
            dark = (value - low) < 0.55 * (high - low)
            text = "–" if np.isnan(value) else f"{value:.3f}"
            axes.text(x, y, text, ha="center", va="center", size=8, color="white" if dark else "black")
        axes.set_xticks(range(len(columns)), [column.replace("_", " ") for column in columns], rotation=35, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0, labelcolor=PALETTE["ink"])
        axes.set_title(title, size=10)
        axes.spines[:].set_visible(False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save a PNG for a page and a PDF for a paper."""
    make_folder(path.parent)
    figure.savefig(path.with_suffix(".png"), dpi=160, facecolor="white", transparent=False)
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None}, transparent=False, facecolor="white")


def _groups(ranks: Sequence[float], apart: float) -> list[tuple[int, int]]:
    """Return first and last index of the longest groups of ranks within `apart`."""
    reach = [max(j for j, other in enumerate(ranks) if other - rank <= apart) for rank in ranks]
    return [(i, j) for i, j in enumerate(reach) if j > i and (i == 0 or reach[i - 1] < j)]
