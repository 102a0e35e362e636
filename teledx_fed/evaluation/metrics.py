"""How good predictions are: for the sample and for each of its bootstrap replicates by one code path.

`multiplicity` (B, n) is how often each row counts in each of B replicates; ones (1, n) give the plain estimate. A
metric is (B,), NaN where it is undefined.
"""

import numpy as np

from teledx_fed.core.examples import GRADES
from teledx_fed.evaluation.calibration import expected_calibration_error, recalibration, reliability
from teledx_fed.evaluation.predictions import Booleans, Floats, Integers, Predictions

PRIMARY = ("referable_auroc", "qwk")
"""What models are compared by; the first decides."""
PREVALENCES = (5, 10, 20)
METRICS = (
    "qwk",
    "referable_auroc",
    "vision_threatening_auroc",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    *(f"{value}_{percent}" for percent in PREVALENCES for value in ("ppv", "npv")),
    "missed_severe",
    "severe",
    "accuracy",
    "macro_f1",
    "brier",
    "calibration_slope",
    "calibration_intercept",
    "ece",
)
"""`ppv_10` is where 10 % are referable; `missed_severe` of the `severe` eyes, of grade 3 and 4, are not called."""

DEFAULT_THRESHOLD = 0.5


def metrics(predictions: Predictions, called: Booleans, multiplicity: Floats) -> dict[str, Floats]:
    """Every one of METRICS, each (B,); `called` says which eyes are called referable."""
    p, severe = predictions, predictions.grade >= 3
    intercept, slope = recalibration(p.referable, p.referable_score, multiplicity)
    bins = reliability(p.referable, p.referable_score, multiplicity)
    return (
        dict.fromkeys(METRICS, np.full(len(multiplicity), np.nan))
        | _of_grades(p, multiplicity)
        | decisions(confusion(p.referable, called, 2, multiplicity))
        | {
            "referable_auroc": auroc(score_counts(p.referable, p.referable_score, multiplicity)),
            "missed_severe": multiplicity @ (severe & ~called),
            "severe": multiplicity @ severe,
            "brier": multiplicity @ (p.referable_score - p.referable) ** 2 / multiplicity.sum(axis=1),
            "calibration_slope": slope,
            "calibration_intercept": intercept,
            "ece": expected_calibration_error(bins),
        }
    )


def headline(predictions: Predictions, called: Booleans, multiplicity: Floats) -> dict[str, Floats]:
    """Referable AUROC and QWK alone, at a hundredth of the cost."""
    p = predictions
    graded = None if p.probabilities is None else predicted_grade(p.probabilities)
    undefined = np.full(len(multiplicity), np.nan)
    counts = None if graded is None else confusion(p.grade, graded, GRADES, multiplicity)
    return {
        "referable_auroc": auroc(score_counts(p.referable, p.referable_score, multiplicity)),
        "qwk": undefined if counts is None else agreement(counts)["qwk"],
    }


def metric(name: str, predictions: Predictions, threshold: float = DEFAULT_THRESHOLD) -> float:
    called = predictions.referable_score >= threshold
    return float(metrics(predictions, called, np.ones((1, predictions.eyes)))[name][0])


def confusion(truth: Integers | Booleans, said: Integers | Booleans, classes: int, multiplicity: Floats) -> Floats:
    """(B, truth, said)."""
    cell = classes * truth.astype(np.int64) + said.astype(np.int64)
    cells: Floats = (cell[:, None] == np.arange(classes**2)).astype(np.float64)
    return np.asarray(multiplicity @ cells).reshape(-1, classes, classes)


def score_counts(truth: Booleans, scores: Floats, multiplicity: Floats) -> Floats:
    """(B, 2, k): how many rows that are not so, and that are, at each of the k distinct scores, ascending."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    sorted_multiplicity = multiplicity[:, order]
    rows = [sorted_multiplicity * so[order] for so in (~truth, truth)]
    return np.stack([np.add.reduceat(row, starts, axis=1) for row in rows], axis=1)


def auroc(counts: Floats) -> Floats:
    """Of `score_counts` (B, 2, k); pairs at one score count half."""
    negative, positive = counts[:, 0], counts[:, 1]
    below = np.cumsum(negative, axis=1) - negative / 2
    return ratio((positive * below).sum(axis=1), negative.sum(axis=1) * positive.sum(axis=1))


def auroc_bound(counts: Floats) -> Floats:
    """How far `auroc` of binned scores can be from that of the scores: half of the pairs that share a bin."""
    negative, positive = counts[:, 0], counts[:, 1]
    return ratio((negative * positive).sum(axis=1) / 2, negative.sum(axis=1) * positive.sum(axis=1))


def decisions(counts: Floats) -> dict[str, Floats]:
    """Of counts (B, referable, called)."""
    (true_negative, false_positive), (false_negative, true_positive) = np.moveaxis(counts, 0, 2)
    sensitivity = ratio(true_positive, true_positive + false_negative)
    specificity = ratio(true_negative, true_negative + false_positive)
    found = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(true_positive, true_positive + false_positive),
        "npv": ratio(true_negative, true_negative + false_negative),
    }
    for percent in PREVALENCES:
        ill = percent / 100
        found[f"ppv_{percent}"] = _bayes(ill * sensitivity, (1 - ill) * (1 - specificity))
        found[f"npv_{percent}"] = _bayes((1 - ill) * specificity, ill * (1 - sensitivity))
    return found


def agreement(counts: Floats) -> dict[str, Floats]:
    """Of counts (B, grade, predicted grade)."""
    hits, rows, columns = np.einsum("bii->bi", counts), counts.sum(axis=2), counts.sum(axis=1)
    grade = np.arange(counts.shape[1])
    distance = (grade[:, None] - grade) ** 2
    observed = (distance * counts).sum(axis=(1, 2))
    by_chance = ratio(np.einsum("bi,ij,bj->b", rows, distance, columns), rows.sum(axis=1))
    return {
        "qwk": 1 - ratio(observed, by_chance),
        "accuracy": ratio(hits.sum(axis=1), rows.sum(axis=1)),
        "macro_f1": mean_defined(ratio(2 * hits, rows + columns), axis=1),
    }


def ratio(part: Floats, whole: Floats) -> Floats:
    """NaN where `whole` is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0))


def mean_defined(values: Floats, axis: int) -> Floats:
    """The mean of what is not NaN, and NaN where nothing is."""
    return ratio(np.nansum(values, axis=axis), np.asarray((~np.isnan(values)).sum(axis=axis)))


def predicted_grade(probabilities: Floats) -> Integers:
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def _of_grades(p: Predictions, multiplicity: Floats) -> dict[str, Floats]:
    if p.probabilities is None or p.vision_threatening_score is None:
        return {}
    threat = score_counts(p.vision_threatening, p.vision_threatening_score, multiplicity)
    counts = confusion(p.grade, predicted_grade(p.probabilities), GRADES, multiplicity)
    return {"vision_threatening_auroc": auroc(threat)} | agreement(counts)


def _bayes(right: Floats, wrong: Floats) -> Floats:
    return ratio(right, right + wrong)
