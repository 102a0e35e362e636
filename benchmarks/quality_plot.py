"""Plot for each limit of the quality gate the good photographs refused against the bad ones caught."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.spoiling import LEVELS
from teledx_fed.core.clinical import Fault
from teledx_fed.data.quality import QualityLimits, Signs

Measured = tuple[str, Fault | None, str, Signs]
"""Site, added fault, its degree, and measurements."""
LIMITS = QualityLimits()
WORST = 0.1
"""End of the axis: a useful limit refuses no more."""

BADNESS: dict[Fault, tuple[str, Callable[[Signs], float], float]] = {
    Fault.BLURRED: ("sharpness", lambda signs: -signs.sharpness, -LIMITS.sharpness[0]),
    Fault.TOO_DARK: ("light", lambda signs: -signs.light, -LIMITS.light),
    Fault.TOO_BRIGHT: ("glare", lambda signs: signs.glare, LIMITS.glare),
    Fault.LOW_CONTRAST: ("detail", lambda signs: -signs.detail, -LIMITS.detail[0]),
    Fault.FIELD_CUT: ("field", lambda signs: -signs.field, -LIMITS.field),
}
"""By fault: name and value of the measurement that is too high, and its limit."""


def draw(path: Path, photographs: Sequence[Measured]) -> None:
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    for axes, fault in zip(figure.subplots(1, len(BADNESS), sharey=True), BADNESS, strict=True):
        _panel(axes, fault, photographs)
    figure.axes[0].set_ylabel("degraded photographs caught")
    figure.savefig(path, dpi=110)


def _panel(axes: Axes, fault: Fault, photographs: Sequence[Measured]) -> None:
    name, badness, limit = BADNESS[fault]
    sites = sorted({site for site, *_ in photographs})
    good = [
        np.array([badness(it) for site, made, _, it in photographs if made is None and site == here]) for here in sites
    ]
    steps = np.unique(np.concatenate([*good, [limit]]))
    cost = np.max([_above(values, steps) for values in good], axis=0)
    for shade, level in zip(np.linspace(0.25, 1, len(LEVELS[fault])), LEVELS[fault], strict=True):
        caught = _above(
            np.array([badness(it) for _, made, how, it in photographs if made is fault and how == level]), steps
        )
        (line,) = axes.plot(cost, caught, color="#0072b2", alpha=shade, label=level, drawstyle="steps-post")
        axes.plot(cost[steps == limit], caught[steps == limit], "o", color=line.get_color(), alpha=shade)
    axes.set(
        title=f"{fault}: {name}".replace("_", " "), xlabel="untouched refused", xlim=(0, WORST), ylim=(-0.02, 1.02)
    )
    axes.grid(color="#d8dcdf", linewidth=0.6)
    axes.legend(fontsize=7, loc="lower right")


def _above(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the share of values above each step."""
    return 1 - np.searchsorted(np.sort(values), steps, side="right") / len(values)
