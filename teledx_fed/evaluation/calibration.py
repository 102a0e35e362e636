"""Whether a score of 0.3 comes true three times in ten. `multiplicity` as in metrics.py."""

import numpy as np
from scipy.special import expit, logit

from teledx_fed.evaluation.predictions import Booleans, Floats

RELIABILITY_BINS = 15
NEWTON_STEPS = 100
TOLERANCE = 1e-9


def recalibration(truth: Booleans, scores: Floats, multiplicity: Floats) -> tuple[Floats, Floats]:
    """Intercept and slope (B,) of the logistic regression of `truth` on the logit of `scores` (Cox 1958).

    NaN where the scores part the two classes without overlap: then there is no finite slope.
    """
    logits = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    solution = np.full((len(multiplicity), 2), np.nan)
    overlap = _overlap(truth, logits, multiplicity)
    if overlap.any():
        everyone = _newton(truth, logits, np.ones((1, truth.size)), np.zeros(2))
        solution[overlap] = _newton(truth, logits, multiplicity[overlap], everyone[0])
    return solution[:, 0], solution[:, 1]


def reliability(truth: Booleans, scores: Floats, multiplicity: Floats) -> Floats:
    """(B, 3, 15): how many rows, the sum of their scores, and how many of them came true, in bins of equal width."""
    rows = np.stack([np.ones(truth.size), scores, truth], axis=1)
    inside = np.minimum(scores * RELIABILITY_BINS, RELIABILITY_BINS - 1).astype(int)[:, None]
    cells = rows[:, :, None] * (inside == np.arange(RELIABILITY_BINS))[:, None, :]
    return np.asarray(multiplicity @ cells.reshape(truth.size, -1)).reshape(-1, 3, RELIABILITY_BINS)


def expected_calibration_error(bins: Floats) -> Floats:
    rows, predicted, observed = bins[:, 0], bins[:, 1], bins[:, 2]
    return np.asarray(np.abs(predicted - observed).sum(axis=1) / rows.sum(axis=1))


def _overlap(truth: Booleans, x: Floats, multiplicity: Floats) -> Booleans:
    """Where a largest likelihood exists (Albert & Anderson 1984), x being one covariate."""
    drawn = multiplicity > 0
    no, yes = drawn & ~truth, drawn & truth
    below = np.where(yes, x, np.inf).min(axis=1) < np.where(no, x, -np.inf).max(axis=1)
    above = np.where(yes, x, -np.inf).max(axis=1) > np.where(no, x, np.inf).min(axis=1)
    return np.asarray(below & above)


def _newton(truth: Booleans, x: Floats, multiplicity: Floats, start: Floats) -> Floats:
    """Coefficients (B, 2). A step is damped by the most that it moves any row, so none overshoots (Bach 2010)."""
    design = np.stack([np.ones_like(x), x], axis=1)
    squares = (design[:, :, None] * design[:, None, :]).reshape(-1, 4)
    ends = design[[x.argmin(), x.argmax()]]
    coefficients = np.tile(start, (len(multiplicity), 1))
    for _ in range(NEWTON_STEPS):
        probability = expit(coefficients @ design.T)
        gradient = (multiplicity * (truth - probability)) @ design
        hessian = ((multiplicity * probability * (1 - probability)) @ squares).reshape(-1, 2, 2)
        step = (np.linalg.pinv(hessian, hermitian=True) @ gradient[:, :, None])[:, :, 0]
        reach = np.abs(step @ ends.T).max(axis=1, keepdims=True) + TOLERANCE / 2
        coefficients += step * np.log1p(reach) / reach
        if reach.max() < TOLERANCE:
            break
    return np.where(reach < 1e-4, coefficients, np.nan)
