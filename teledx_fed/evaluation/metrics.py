"""Metrics: functions of counts. A function's parameters have the names of the counts that it needs (see counts.py).

A metric takes counts with a leading axis of B replicates and returns (B,), NaN where it is undefined. One function
works for the sample, its bootstrap replicates, and the summed tables of a federation.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Protocol

import numpy as np

from teledx_fed.core import extensions
from teledx_fed.core.checks import must
from teledx_fed.evaluation.calibration import expected_calibration_error
from teledx_fed.evaluation.counts import EYES, EyeCounts, auroc, mean_defined, ratio
from teledx_fed.evaluation.predictions import Booleans, Floats, Predictions
from teledx_fed.evaluation.sufficiency import PatientKind

ENTRY_POINTS = "teledx_fed.metrics"
"""The entry point group of metrics in installed packages, for reports of local runs."""
DEFAULT_THRESHOLD = 0.5


class CountsByName(Protocol):
    """Counts of eyes by name: those of single eyes, or summed tables."""

    def get(self, name: str, /) -> Floats | None:
        """Return counts with a leading axis of replicates, or None where the name is missing."""


@dataclass(frozen=True)
class Metric:
    """A metric, with its `title` and number format (`form`) in reports.

    It is undefined with too few patients of one of the `kinds`. `low` and `high` bound its values. With `worst_site`,
    the report names the hospital with the lowest value.
    """

    name: str
    title: str
    function: Callable[..., Floats]
    kinds: tuple[PatientKind, ...]
    low: float
    high: float
    worst_site: bool
    form: str

    def __post_init__(self) -> None:
        for count in self.needs:
            must(count in EYES, f"metric {self.name}", f"take counts among {', '.join(EYES)}", count, "Rename it.")

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(signature(self.function).parameters)

    def of(self, counts: CountsByName) -> Floats | None:
        """Return the metric (B,), or None where a count that it needs is missing."""
        arguments = [counts.get(name) for name in self.needs]
        return None if any(count is None for count in arguments) else self.function(*arguments)


def metric(
    title: str,
    *kinds: PatientKind,
    low: float = 0.0,
    high: float = 1.0,
    worst_site: bool = False,
    form: str = ".3f",
) -> Callable[[Callable[..., Floats]], Metric]:
    """Decorate a function as a metric of the same name."""
    return lambda function: Metric(function.__name__, title, function, kinds, low, high, worst_site, form)


@metric("Referable AUROC", PatientKind.REFERABLE, PatientKind.NOT_REFERABLE, worst_site=True)
def referable_auroc(referable_scores: Floats) -> Floats:
    return auroc(referable_scores)


@metric("QWK", PatientKind.NOT_COMMONEST_GRADE, low=-1.0, worst_site=True)
def qwk(confusion: Floats) -> Floats:
    """Return Cohen's kappa with quadratic weights (Cohen, Psychol Bull 1968;70:213-20)."""
    rows, columns, grade = confusion.sum(axis=2), confusion.sum(axis=1), np.arange(confusion.shape[1])
    distance = (grade[:, None] - grade) ** 2
    observed = (distance * confusion).sum(axis=(1, 2))
    by_chance = ratio(np.einsum("bi,ij,bj->b", rows, distance, columns), rows.sum(axis=1))
    return 1 - ratio(observed, by_chance)


@metric("Vision-threatening AUROC", PatientKind.VISION_THREATENING, PatientKind.NOT_VISION_THREATENING, worst_site=True)
def vision_threatening_auroc(vision_threatening_scores: Floats) -> Floats:
    return auroc(vision_threatening_scores)


@metric("Sensitivity", PatientKind.REFERABLE, worst_site=True)
def sensitivity(called: Floats) -> Floats:
    return ratio(called[:, 1, 1], called[:, 1, 1] + called[:, 1, 0])


@metric("Specificity", PatientKind.NOT_REFERABLE, worst_site=True)
def specificity(called: Floats) -> Floats:
    return ratio(called[:, 0, 0], called[:, 0, 0] + called[:, 0, 1])


@metric("PPV", PatientKind.CALLED)
def ppv(called: Floats) -> Floats:
    return ratio(called[:, 1, 1], called[:, 1, 1] + called[:, 0, 1])


@metric("NPV", PatientKind.NOT_CALLED)
def npv(called: Floats) -> Floats:
    return ratio(called[:, 0, 0], called[:, 0, 0] + called[:, 1, 0])


def _at_prevalence(percent: int) -> tuple[Metric, Metric]:
    """Return predictive values if `percent` of eyes are referable, by Bayes' theorem."""
    prevalence = percent / 100

    def positive(called: Floats) -> Floats:
        right = prevalence * sensitivity.function(called)
        return ratio(right, right + (1 - prevalence) * (1 - specificity.function(called)))

    def negative(called: Floats) -> Floats:
        right = (1 - prevalence) * specificity.function(called)
        return ratio(right, right + prevalence * (1 - sensitivity.function(called)))

    positive.__name__, negative.__name__ = f"ppv_{percent}", f"npv_{percent}"
    both = PatientKind.REFERABLE, PatientKind.NOT_REFERABLE
    return (
        metric(f"PPV at {percent} % prevalence", *both)(positive),
        metric(f"NPV at {percent} % prevalence", *both)(negative),
    )


@metric("Severe eyes (grade 3–4)", high=np.inf, form=".4g")
def severe(severe_called: Floats) -> Floats:
    return severe_called[:, 0] + severe_called[:, 1]


@metric("Severe eyes called not referable", high=np.inf, form=".4g")
def missed_severe(severe_called: Floats) -> Floats:
    return severe_called[:, 0]


@metric("Accuracy over five grades", PatientKind.TESTED, worst_site=True)
def accuracy(confusion: Floats) -> Floats:
    return ratio(np.einsum("bii->bi", confusion).sum(axis=1), confusion.sum(axis=2).sum(axis=1))


@metric("Macro F1", PatientKind.TESTED)
def macro_f1(confusion: Floats) -> Floats:
    """Return the mean F1 of grades, without those that neither occur nor are predicted."""
    hits, rows, columns = np.einsum("bii->bi", confusion), confusion.sum(axis=2), confusion.sum(axis=1)
    return mean_defined(ratio(2 * hits, rows + columns), axis=1)


@metric("Brier score", PatientKind.TESTED)
def brier(referable_scores: Floats, referable_sums: Floats) -> Floats:
    """Return the mean squared error of the referable score (Brier, Mon Weather Rev 1950;78:1-3)."""
    return ratio(referable_sums[:, 0], referable_scores.sum(axis=(1, 2)))


@metric("Calibration slope", PatientKind.REFERABLE, PatientKind.NOT_REFERABLE, low=-np.inf, high=np.inf)
def calibration_slope(calibration_line: Floats) -> Floats:
    return calibration_line[:, 1]


@metric("Calibration intercept", PatientKind.REFERABLE, PatientKind.NOT_REFERABLE, low=-np.inf, high=np.inf)
def calibration_intercept(calibration_line: Floats) -> Floats:
    return calibration_line[:, 0]


@metric("ECE", PatientKind.TESTED)
def ece(reliability: Floats) -> Floats:
    return expected_calibration_error(reliability)


PRIMARY = (referable_auroc.name, qwk.name)
"""The metrics of comparisons, the main one first."""
HEADLINE = {one.name: one for one in (referable_auroc, qwk)}
METRICS: Mapping[str, Metric] = {
    one.name: one
    for one in (
        *(referable_auroc, qwk, vision_threatening_auroc, sensitivity, specificity, ppv, npv),
        *(*_at_prevalence(5), *_at_prevalence(10), *_at_prevalence(20)),
        *(severe, missed_severe, accuracy, macro_f1, brier, calibration_slope, calibration_intercept, ece),
    )
}
"""The metrics of every report, in the order of its tables."""


def all_metrics() -> dict[str, Metric]:
    """Return `METRICS` and those of installed packages, for reports of local runs. A site computes only `METRICS`."""
    installed = {name: extensions.load(ENTRY_POINTS, name) for name in extensions.names(ENTRY_POINTS)}
    for name, supplied in installed.items():
        entry = f"entry point {name} of {ENTRY_POINTS}"
        must(isinstance(supplied, Metric), entry, "refer to a function under @metric", supplied, "Add @metric.")
        must(supplied.name == name, entry, "have the name of its function", supplied.name, "Rename one of them.")
        must(name not in METRICS, entry, "differ from built-in metrics", name, "Choose another name.")
    return {**METRICS, **installed}


def compute(
    predictions: Predictions, called: Booleans, multiplicity: Floats, metrics: Iterable[Metric] = METRICS.values()
) -> dict[str, Floats]:
    """Return each metric (B,) of `predictions`, for eyes `called` referable (n,) and multiplicity (B, n).

    NaN where the head does not give the counts that a metric needs.
    """
    counts, undefined = EyeCounts(predictions, called, multiplicity), np.full(len(multiplicity), np.nan)
    values = {metric.name: metric.of(counts) for metric in metrics}
    return {name: undefined if value is None else value for name, value in values.items()}


def compute_one(name: str, predictions: Predictions, threshold: float = DEFAULT_THRESHOLD) -> float:
    """Return one metric of the sample; eyes with a referable score of `threshold` or more are called."""
    called = predictions.referable_score >= threshold
    return float(compute(predictions, called, np.ones((1, predictions.eyes)), [METRICS[name]])[name][0])
