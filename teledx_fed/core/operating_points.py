"""Operating points: the score from which an eye is called, how it was chosen, and its performance."""

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """`local`: the hospital's own eyes. `pooled`: with the score counts of the whole federation, since the hospital has
    too few diseased eyes. `withheld`: there is too little evidence, so the model decides nothing by this threshold.
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
    """`count` of `of` eyes, with the exact 95 % interval of that share (Clopper & Pearson 1934); None where `of` is 0.

    Eyes count as independent.
    """

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Performance:
    sensitivity: Share
    specificity: Share
    ppv: Share


@dataclass(frozen=True)
class ChosenThreshold:
    """An eye whose score is at least `threshold` is called; scores are those before the temperature.

    The threshold is the highest that calls `target_sensitivity` of the diseased eyes, raised until at least
    `least_specificity` of the healthy ones are not called, with 95 % confidence. `positives` and `negatives` are the
    hospital's eyes that it was chosen by; `pooled_positives` are those of the federation, 0 where none were used.
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
    """On the eyes on which the threshold was chosen, so it is too good."""

    @property
    def withheld(self) -> bool:
        return self.source is Source.WITHHELD


@dataclass(frozen=True)
class OperatingPoint(ChosenThreshold):
    """A threshold with its performance on the hospital's test set, which was not used to choose it."""

    test: Performance | None = None


@dataclass(frozen=True)
class OperatingPoints:
    """Of one model at one hospital; a head with one output has no `urgent`."""

    referable: OperatingPoint
    urgent: OperatingPoint | None


SOURCES = {
    Source.LOCAL: "by this hospital's eyes",
    Source.POOLED: "by this hospital's eyes and the federation's counts",
    Source.WITHHELD: "withheld",
}


def lines(points: OperatingPoints) -> tuple[str, ...]:
    """What people are told of them, a sentence each."""
    named = (("Referable", points.referable), ("Urgent", points.urgent))
    return tuple(f"{name}: {described(point)}." for name, point in named if point is not None)


def described(point: OperatingPoint) -> str:
    found = "" if point.test is None else f"; on the test set {measured(point.test)}"
    return f"{basis(point)}, from a score of {point.threshold:.3f} on{found}"


def basis(point: OperatingPoint) -> str:
    """What the threshold rests on, and which requirement set it."""
    if point.withheld:
        return f"withheld ({point.reason})"
    required = {
        Bound.SENSITIVITY: f"sensitivity {point.target_sensitivity:g}",
        Bound.SPECIFICITY: f"specificity {point.least_specificity:g}",
    }
    return f"{SOURCES[point.source]}, set by {required[point.bound_by]}"


def measured(found: Performance) -> str:
    shares = (("sensitivity", found.sensitivity), ("specificity", found.specificity), ("PPV", found.ppv))
    return ", ".join(f"{name} {percentage(share)}" for name, share in shares)


def percentage(share: Share) -> str:
    """As in `87 % (76–94), 47 of 54`."""
    if share.value is None or share.low is None or share.high is None:
        return "unknown, no eye"
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f}–{100 * share.high:.0f}), {share.count} of {share.of}"
