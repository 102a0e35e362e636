"""Calibration: reliability, recalibration, temperature, conformal sets. `multiplicity` (B, n): see counts.py."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax

from teledx_fed.evaluation.predictions import Booleans, Floats, Integers

RELIABILITY_BINS = 15
NEWTON_STEPS = 100
TOLERANCE = 1e-9


def recalibration(truth: Booleans, scores: Floats, multiplicity: Floats) -> tuple[Floats, Floats]:
    """Return intercept and slope (B,) of the logistic regression of `truth` on the logit of `scores` (Cox 1958).

    NaN where scores separate the classes without overlap: no finite slope exists.
    """
    logits = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    solution = np.full((len(multiplicity), 2), np.nan)
    overlap = _overlap(truth, logits, multiplicity)
    if overlap.any():
        sample = _newton(truth, logits, np.ones((1, truth.size)), np.zeros(2))
        solution[overlap] = _newton(truth, logits, multiplicity[overlap], sample[0])
    return solution[:, 0], solution[:, 1]


def reliability(truth: Booleans, scores: Floats, multiplicity: Floats) -> Floats:
    """Return (B, 3, 15): number of eyes, sum of scores and number of true eyes, in bins of equal width."""
    rows = np.stack([np.ones(truth.size), scores, truth], axis=1)
    inside = np.minimum(scores * RELIABILITY_BINS, RELIABILITY_BINS - 1).astype(int)[:, None]
    cells = rows[:, :, None] * (inside == np.arange(RELIABILITY_BINS))[:, None, :]
    return np.asarray(multiplicity @ cells.reshape(truth.size, -1)).reshape(-1, 3, RELIABILITY_BINS)


def expected_calibration_error(bins: Floats) -> Floats:
    """Return the ECE (B,) of `reliability` bins, weighted by eyes (Guo et al., arXiv 1706.04599)."""
    rows, predicted, observed = bins[:, 0], bins[:, 1], bins[:, 2]
    return np.asarray(np.abs(predicted - observed).sum(axis=1) / rows.sum(axis=1))


def temperature(probabilities: Floats, grade: Integers) -> float:
    """Return the temperature for which true grades (n,) are likeliest (Guo et al., arXiv 1706.04599)."""
    rows = np.arange(grade.size)

    def surprise(log_temperature: float) -> float:
        tempered_rows = tempered(probabilities, math.exp(log_temperature))
        return -float(np.log(np.maximum(tempered_rows[rows, grade], 1e-12)).mean())

    minimum = minimize_scalar(surprise, bounds=(math.log(0.05), math.log(20)), method="bounded")
    return math.exp(float(minimum.x))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities (n, k) after dividing their logits by `temperature`."""
    return np.asarray(softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=-1))


def conformal_threshold(probabilities: Floats, grade: Integers, coverage: float) -> float:
    """Return the probability above which grades include the true one in `coverage` of a hospital's new eyes.

    Split conformal prediction with the score 1 − p (Sadinle et al., JASA 2019;114:223-34). With too few eyes, return 0:
    every grade is possible.
    """
    rank = math.ceil((grade.size + 1) * coverage)
    if rank > grade.size:
        return 0.0
    scores = np.sort(1 - probabilities[np.arange(grade.size), grade])
    return float(1 - scores[rank - 1])


def conformal_set(probabilities: Floats, threshold: float) -> Booleans:
    """Return the possible grades (n, k), always with the likeliest."""
    likeliest = probabilities == probabilities.max(axis=-1, keepdims=True)
    return np.asarray((probabilities >= threshold) | likeliest)


def _overlap(truth: Booleans, x: Floats, multiplicity: Floats) -> Booleans:
    """Return where a maximum likelihood exists for the covariate x (Albert & Anderson 1984)."""
    counted = multiplicity > 0
    no, yes = counted & ~truth, counted & truth
    below = np.where(yes, x, np.inf).min(axis=1) < np.where(no, x, -np.inf).max(axis=1)
    above = np.where(yes, x, -np.inf).max(axis=1) > np.where(no, x, np.inf).min(axis=1)
    return np.asarray(below & above)


def _newton(truth: Booleans, x: Floats, multiplicity: Floats, start: Floats) -> Floats:
    """Return coefficients (B, 2). Damp each step by its largest change of a logit, to avoid overshoot (Bach 2010)."""
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
