"""Counts of eyes for metrics, in the sample and in each bootstrap replicate.

`multiplicity` (B, n) is how often each of n eyes counts in each of B replicates; ones (1, n) count the sample.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from teledx_fed.core.examples import GRADES
from teledx_fed.evaluation.calibration import recalibration, reliability
from teledx_fed.evaluation.predictions import VISION_THREATENING, Booleans, Floats, Integers, Predictions

EYES = {
    "called": "(B, 2, 2) referable × called referable",
    "severe_called": "(B, 2) eyes of grade 3 and 4: not called referable, called",
    "referable_scores": "(B, 2, k) not referable and referable × score, ascending",
    "referable_sums": "(B, 2) sums of squared error and of referable score",
    "vision_threatening_scores": "(B, 2, k) as referable_scores",
    "confusion": "(B, 5, 5) grade × predicted grade",
    "reliability": "(B, 3, 15) eyes, sum of scores and referable eyes, by score",
    "calibration_line": "(B, 2) intercept and slope of the recalibration",
}
"""The counts that a metric can use. A site sends all but the last two, with scores in 64 equal bins: see tables.py.
For single eyes, k is the number of distinct scores. Counts of grades are missing for a head with one output."""


@dataclass(frozen=True)
class EyeCounts:
    """The counts named in `EYES`, each computed at its first use. `called_referable` is (n,)."""

    predictions: Predictions
    called_referable: Booleans
    multiplicity: Floats

    def get(self, name: str) -> Floats | None:
        """Return the counts, or None where the head lacks them."""
        counts: Floats | None = getattr(self, name)
        return counts

    @cached_property
    def called(self) -> Floats:
        return confusion(self.predictions.referable, self.called_referable, 2, self.multiplicity)

    @cached_property
    def severe_called(self) -> Floats:
        severe = self.predictions.grade >= VISION_THREATENING
        return confusion(severe, self.called_referable, 2, self.multiplicity)[:, 1]

    @cached_property
    def referable_scores(self) -> Floats:
        return score_counts(self.predictions.referable, self.predictions.referable_score, self.multiplicity)

    @cached_property
    def referable_sums(self) -> Floats:
        p = self.predictions
        squared_error = (p.referable_score - p.referable) ** 2
        return np.stack([self.multiplicity @ squared_error, self.multiplicity @ p.referable_score], axis=1)

    @cached_property
    def vision_threatening_scores(self) -> Floats | None:
        p = self.predictions
        if p.vision_threatening_score is None:
            return None
        return score_counts(p.vision_threatening, p.vision_threatening_score, self.multiplicity)

    @cached_property
    def confusion(self) -> Floats | None:
        p = self.predictions
        if p.probabilities is None:
            return None
        return confusion(p.grade, predicted_grade(p.probabilities), GRADES, self.multiplicity)

    @cached_property
    def reliability(self) -> Floats:
        return reliability(self.predictions.referable, self.predictions.referable_score, self.multiplicity)

    @cached_property
    def calibration_line(self) -> Floats:
        p = self.predictions
        return np.stack(recalibration(p.referable, p.referable_score, self.multiplicity), axis=1)


def confusion(truth: Integers | Booleans, predicted: Integers | Booleans, classes: int, multiplicity: Floats) -> Floats:
    """Count truth × predicted (B, classes, classes), for classes (n,)."""
    cell = classes * truth.astype(np.int64) + predicted.astype(np.int64)
    cells: Floats = (cell[:, None] == np.arange(classes**2)).astype(np.float64)
    return np.asarray(multiplicity @ cells).reshape(-1, classes, classes)


def score_counts(truth: Booleans, scores: Floats, multiplicity: Floats) -> Floats:
    """Count negative and positive eyes (B, 2, k) at each of the k distinct scores, ascending."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    sorted_multiplicity = multiplicity[:, order]
    rows = [sorted_multiplicity * eyes[order] for eyes in (~truth, truth)]
    return np.stack([np.add.reduceat(row, starts, axis=1) for row in rows], axis=1)


def predicted_grade(probabilities: Floats) -> Integers:
    """Return the likeliest grade (n,) of probabilities (n, 5)."""
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def auroc(counts: Floats) -> Floats:
    """Return the area under the ROC curve (B,) of score counts (B, 2, k); tied pairs count half.

    Hanley & McNeil, Radiology 1982;143:29-36.
    """
    negative, positive = counts[:, 0], counts[:, 1]
    below = np.cumsum(negative, axis=1) - negative / 2
    return ratio((positive * below).sum(axis=1), negative.sum(axis=1) * positive.sum(axis=1))


def auroc_bound(counts: Floats) -> Floats:
    """Return the largest error (B,) of `auroc` on binned scores: half the share of pairs in one bin."""
    negative, positive = counts[:, 0], counts[:, 1]
    return ratio((negative * positive).sum(axis=1) / 2, negative.sum(axis=1) * positive.sum(axis=1))


def ratio(part: Floats, total: Floats) -> Floats:
    """Divide; NaN where `total` is 0."""
    return np.asarray(np.divide(part, total, out=np.full(total.shape, np.nan), where=total != 0))


def mean_defined(values: Floats, axis: int) -> Floats:
    """Return the mean of the values that are not NaN; NaN where there are none."""
    return ratio(np.nansum(values, axis=axis), np.asarray((~np.isnan(values)).sum(axis=axis)))
