"""Plots of the report, as SVG inside a page that sets their font and colours."""

import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import StringIO
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from teledx_fed.core.formatting import number
from teledx_fed.reporting.wording import EstimateValues

PALETTE = {
    "federated": "#0072b2",
    "local": "#e69f00",
    "ensemble": "#009e73",
    "centralised": "#cc79a7",
    "ink": "#1b1f24",
    "muted": "#6a7178",
    "rule": "#d8dcdf",
    "paper": "#fffffe",
}
"""Okabe and Ito's colours, distinct for colour-blind readers; in the SVG each is a CSS variable of this name."""

DASHES = {"federated": "-", "local": "--", "ensemble": ":", "centralised": "-."}

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "teledx_fed",
    "text.parse_math": False,
    "font.size": 10,
    "axes.edgecolor": PALETTE["rule"],
    "axes.labelcolor": PALETTE["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": PALETTE["rule"],
    "grid.linewidth": 0.6,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["rule"],
    "ytick.color": PALETTE["rule"],
    "xtick.labelcolor": PALETTE["muted"],
    "ytick.labelcolor": PALETTE["ink"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.transparent": True,
    "lines.solid_capstyle": "round",
}

BarRow = tuple[str, Mapping[str, EstimateValues | None]]
"""A row's label, and its estimates by model."""
ForestRow = tuple[str, EstimateValues | None]
"""A row's label, and its difference from the baseline."""
Course = Sequence[tuple[float, float | None]]
"""A score after each round, or by megabytes."""


@mpl.rc_context(STYLE)
def bars(rows: Sequence[BarRow], chance: float) -> str:
    """Draw estimates by site and model as bars from `chance`."""
    models = list(rows[0][1])
    figure, axes = _axes(4.6, 0.5 + len(rows) * max(0.45, 0.16 * len(models) + 0.14))
    thick = 0.8 / len(models)
    for i, (_, estimates) in enumerate(rows):
        for j, (model, estimate) in enumerate(estimates.items()):
            y = i + thick * (j - (len(models) - 1) / 2)
            value, low, high = _numbers(estimate)
            axes.barh(y, value - chance, 0.85 * thick, left=chance, color=PALETTE[model])
            axes.plot([low, high], [y, y], color=PALETTE["ink"], linewidth=1)
            text = number(estimate["value"] if estimate else None)
            axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", size=8)
    axes.axvline(chance, color=PALETTE["muted"], linewidth=0.8)
    axes.set_xlim(right=1)
    _rows(axes, [label for label, _ in rows])
    return _svg(figure)


@mpl.rc_context(STYLE)
def forest(rows: Sequence[ForestRow], baseline: str, span: tuple[float, float]) -> str:
    """Draw differences by site with intervals and a line at zero; the last row is their mean."""
    figure, axes = _axes(3.7, 0.5 + 0.45 * len(rows))
    axes.axvline(0, color=PALETTE["muted"], linewidth=0.8)
    for y, (_, estimate) in enumerate(rows):
        value, low, high = _numbers(estimate)
        mean = y == len(rows) - 1
        axes.plot([low, high], [y, y], color=PALETTE[baseline], linewidth=2.4 if mean else 1.4)
        axes.plot(value, y, "D" if mean else "o", color=PALETTE[baseline], markersize=8 if mean else 6)
        text = number(estimate["value"] if estimate else None)
        axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", size=9)
    axes.set_xlim(*span)
    _rows(axes, [label for label, _ in rows])
    return _svg(figure)


@mpl.rc_context(STYLE)
def learning_curve(courses: Sequence[Course], best: int | None) -> str:
    """Draw one federation's course, or the mean of several over faint single ones."""
    figure, axes = _axes(4.6, 2.2)
    colour = PALETTE["federated"]
    mean = mean_course(courses)
    for course in courses if len(courses) > 1 else []:
        axes.plot(*zip(*course, strict=True), color=colour, linewidth=0.6, alpha=0.35)
    axes.plot(*zip(*mean, strict=True), "o-", color=colour, markersize=4)
    if best is not None:
        axes.axvline(best, color=PALETTE["muted"], linewidth=0.8, linestyle="--")
        axes.plot(best, dict(mean).get(best, np.nan), "o", color=colour, markersize=9)
        name = f"best: round {best}" if best else "best: the initial model"
        axes.text(best, 1.04, name, transform=axes.get_xaxis_transform(), ha="center", size=9)
    axes.set_xlabel("after round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    return _svg(figure)


def mean_course(courses: Sequence[Course]) -> list[tuple[float, float]]:
    """Return the mean of defined scores at each place on the x axis."""
    scores: defaultdict[float, list[float]] = defaultdict(list)
    for course in courses:
        for place, value in course:
            scores[place].append(np.nan if value is None else value)
    defined = {place: [value for value in values if value == value] for place, values in scores.items()}
    return [(place, float(np.mean(values)) if values else np.nan) for place, values in sorted(defined.items())]


@mpl.rc_context(STYLE)
def roc(curves: Mapping[str, Mapping[str, Sequence[float]]], operating_point: Mapping[str, float] | None) -> str:
    """Draw ROC curves by model; the dot is the federated model's operating point."""
    figure, axes = _square("1 − specificity", "sensitivity")
    for model, curve in reversed(list(curves.items())):
        axes.plot(
            curve["false_positive_rate"],
            curve["true_positive_rate"],
            DASHES[model],
            color=PALETTE[model],
            linewidth=2.2 if model == "federated" else 1.3,
        )
    if operating_point:
        point = operating_point["false_positive_rate"], operating_point["true_positive_rate"]
        axes.plot(*point, "o", color=PALETTE["federated"], markersize=8, clip_on=False)
    return _svg(figure)


@mpl.rc_context(STYLE)
def reliability(curve: Mapping[str, Sequence[float]]) -> str:
    """Draw observed against predicted share of referable eyes; dots with more eyes are larger."""
    figure, axes = _square("predicted", "observed")
    count = np.array(curve["count"], dtype=float)
    axes.plot(curve["predicted"], curve["observed"], color=PALETTE["federated"], linewidth=1)
    axes.scatter(
        curve["predicted"],
        curve["observed"],
        s=12 + 150 * count / count.sum(),
        color=PALETTE["federated"],
        edgecolor=PALETTE["paper"],
        clip_on=False,
        zorder=3,
    )
    return _svg(figure)


def span(estimates: Sequence[EstimateValues | None]) -> tuple[float, float]:
    """Return the axis of several forest plots: all intervals, and zero, with a margin."""
    ends = [0.0, *np.ravel([_numbers(estimate) for estimate in estimates])]
    low, high = np.nanmin(ends), np.nanmax(ends)
    air = 0.05 * (high - low) or 0.01
    return low - air, high + air


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _axes(2.7, 2.6)
    axes.plot([0, 1], [0, 1], "--", color=PALETTE["muted"], linewidth=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=x, ylabel=y, xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    return figure, axes


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label rows, the first on top."""
    wrapped = [
        "\n".join(fill(line, 20, max_lines=2, placeholder="…") for line in label.splitlines()) for label in labels
    ]
    axes.set_yticks(range(len(labels)), wrapped, size=9, multialignment="right")
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _numbers(estimate: EstimateValues | None) -> list[float]:
    return [np.nan if (v := (estimate or {}).get(name)) is None else v for name in ("value", "low", "high")]


def _svg(figure: Figure) -> str:
    """Return SVG: equal bytes for equal figures, without unused ids, since many figures share one page."""
    file = StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has the font
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    for name, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{name})")
    return text
