"""Operating points: thresholds, how they were chosen, and their performance."""

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Evidence for a threshold.

    `local`: the hospital's own eyes. `pooled`: also the score counts of the federation, since the hospital has too few
    diseased eyes. `withheld`: too little evidence, so the model does not decide.
    """

    LOCAL = "local"
    POOLED = "pooled"
    WITHHELD = "withheld"


class Bound(StrEnum):
    """Which requirement set the threshold."""

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


@dataclass(frozen=True)
class Share:
    """A share: `count` of `of` eyes, with its exact 95 % interval (Clopper & Pearson 1934); None where `of` is 0.

    The interval treats eyes as independent.
    """

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Performance:
    """Performance of an operating point on one set of eyes; PPV is the positive predictive value."""

    sensitivity: Share
    specificity: Share
    ppv: Share


@dataclass(frozen=True)
class ChosenThreshold:
    """A threshold: the model calls an eye whose score, before the temperature, is at least `threshold`.

    The threshold is the highest that calls `target_sensitivity` of the diseased eyes, raised until at least
    `least_specificity` of the healthy ones are not called, with 95 % confidence. `positives` and `negatives` count the
    hospital's eyes that were used; `pooled_positives` counts those of the federation, 0 where none were used.
    """

    threshold: float
    source: Source
    bound_by: Bound
    target_sensitivity: float
    least_specificity: float
    positives: int
    negatives: int
    pooled_positives: int
    reason: str
    """Why it is withheld; empty otherwise."""
    validation: Performance
    """Performance on the eyes that were used to choose the threshold, so it is too good."""

    @property
    def withheld(self) -> bool:
        return self.source is Source.WITHHELD


@dataclass(frozen=True)
class OperatingPoint(ChosenThreshold):
    """A threshold with its performance on the hospital's test set, which was not used to choose it."""

    test: Performance | None = None


@dataclass(frozen=True)
class OperatingPoints:
    """Operating points of one model at one hospital; a head with one output has no `urgent`."""

    referable: OperatingPoint
    urgent: OperatingPoint | None


SOURCES = {
    Source.LOCAL: "chosen on this hospital's eyes",
    Source.POOLED: "chosen on this hospital's eyes and the federation's counts",
    Source.WITHHELD: "withheld",
}


def lines(points: OperatingPoints) -> tuple[str, ...]:
    """Describe each operating point in one sentence."""
    named = (("Referable", points.referable), ("Urgent", points.urgent))
    return tuple(f"{name}: {described(point)}." for name, point in named if point is not None)


def described(point: OperatingPoint) -> str:
    """Describe evidence, threshold and test performance of an operating point."""
    performance = "" if point.test is None else f"; on the test set {measured(point.test)}"
    return f"{basis(point)}, from a score of {point.threshold:.3f} on{performance}"


def basis(point: OperatingPoint) -> str:
    """Describe the evidence for the threshold, and the requirement that set it."""
    if point.withheld:
        return f"withheld ({point.reason})"
    required = {
        Bound.SENSITIVITY: f"sensitivity {point.target_sensitivity:g}",
        Bound.SPECIFICITY: f"specificity {point.least_specificity:g}",
    }
    return f"{SOURCES[point.source]}, to reach {required[point.bound_by]}"


def measured(performance: Performance) -> str:
    """Write sensitivity, specificity and PPV with their intervals."""
    names = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV"}
    return ", ".join(f"{title} {percentage(getattr(performance, name))}" for name, title in names.items())


def percentage(share: Share) -> str:
    """Write a share as `87 % (76–94), 47 of 54`."""
    if share.value is None or share.low is None or share.high is None:
        return "unknown, no eye"
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f}–{100 * share.high:.0f}), {share.count} of {share.of}"
