"""Operating points: thresholds from a hospital's validation set and, if it is small, from the federation's counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtr, betaincinv

from teledx_fed.config.run import EvaluationSettings
from teledx_fed.core.operating_points import Bound, OperatingPoint, OperatingPoints, Performance, Share, Source
from teledx_fed.core.score_tables import BINS
from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.metrics import DEFAULT_THRESHOLD
from teledx_fed.evaluation.predictions import REFERABLE, VISION_THREATENING, Booleans, Floats, Predictions

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PooledEvidence:
    """Score histograms (64,) of a federation's diseased eyes, in equal bins of 0…1.

    `urgent` is None for a head with one output.
    """

    referable: Floats
    urgent: Floats | None


def pooled_evidence(tables: Tables) -> PooledEvidence | None:
    """Return the evidence in the hospitals' summed tables; None where no hospital sent any."""
    return PooledEvidence(tables["referable_sought"], tables.get("urgent_sought")) if tables else None


def choose_operating_points(
    predictions: Predictions, settings: EvaluationSettings, pooled: PooledEvidence | None = None
) -> OperatingPoints:
    """Choose thresholds on validation `predictions`. An eye at or above the urgent threshold is also referred."""
    p, counts = predictions, pooled or PooledEvidence(np.zeros(BINS), None)
    diseased, specificity = p.detectable(REFERABLE), settings.referable_specificity
    referable = choose_operating_point(diseased, p.referable_score, specificity, settings, counts.referable)
    if p.vision_threatening_score is None:
        points = OperatingPoints(referable, None)
    else:
        threatened, specificity = p.detectable(VISION_THREATENING), settings.urgent_specificity
        urgent = choose_operating_point(threatened, p.vision_threatening_score, specificity, settings, counts.urgent)
        points = OperatingPoints(referable, urgent)
    return replace(points, referable=replace(referable, validation=performance(diseased, call_referable(points, p))))


def choose_operating_point(
    diseased: Booleans, scores: Floats, least_specificity: float, settings: EvaluationSettings, pooled: Floats | None
) -> OperatingPoint:
    """Choose a threshold for `scores` (n,), given which eyes are `diseased` (n,).

    `pooled` (64,) is the histogram of the federation's diseased eyes. It is used if the hospital has too few of its
    own. These few must then agree with it, since a dishonest coordinator can send any counts.
    """
    positives, negatives, fewest = scores[diseased], scores[~diseased], settings.fewest_positives
    missing = max(0, fewest - positives.size)
    available = 0 if pooled is None else int(pooled.sum())
    used = pooled if pooled is not None and missing and available >= fewest else np.zeros(BINS)
    for_sensitivity = _threshold_for_sensitivity(positives, used, missing, settings.target_sensitivity)
    allowed = false_positives_allowed(negatives.size, least_specificity)
    for_specificity = _threshold_for_specificity(negatives, scores, allowed or 0)
    reason = _too_few(positives.size, available, fewest) if missing and not used.any() else ""
    if used.any():
        reason = _contradicted(positives >= for_sensitivity, settings.target_sensitivity)
    if allowed is None:
        reason = reason or _too_few_healthy(negatives.size, least_specificity)
    threshold = max(for_sensitivity, for_specificity)
    return OperatingPoint(
        threshold=threshold,
        source=Source.WITHHELD if reason else Source.POOLED if used.any() else Source.LOCAL,
        bound_by=Bound.SPECIFICITY if for_specificity > for_sensitivity else Bound.SENSITIVITY,
        target_sensitivity=settings.target_sensitivity,
        least_specificity=least_specificity,
        positives=positives.size,
        negatives=negatives.size,
        pooled_positives=int(used.sum()),
        reason=reason,
        validation=performance(diseased, scores >= threshold),
    )


def call_referable(points: OperatingPoints, predictions: Predictions) -> Booleans:
    """Return the eyes (n,) that the operating points refer, urgently or not."""
    return refer_by_scores(points, predictions.referable_score, predictions.vision_threatening_score)


def refer_by_scores(points: OperatingPoints, referable: Floats, threat: Floats | None) -> Booleans:
    """Return the eyes (n,) that reach either threshold, even if the urgent operating point is withheld.

    `referable` and `threat` (n,) are the scores for referable and for vision-threatening disease.
    """
    referred = referable >= points.referable.threshold
    return referred if points.urgent is None or threat is None else referred | (threat >= points.urgent.threshold)


def call_urgent(points: OperatingPoints, threat: Floats) -> Booleans:
    """Return the eyes (n,) whose `threat` (n,) reaches the urgent threshold; none if that point is withheld."""
    if points.urgent is None or points.urgent.withheld:
        return np.zeros(threat.shape, dtype=bool)
    return np.asarray(threat >= points.urgent.threshold)


@dataclass(frozen=True)
class Decisions:
    """Decisions for one photograph; None where a person decides."""

    refers: bool | None
    is_urgent: bool | None


def decisions(points: OperatingPoints, referable: float, threat: float) -> Decisions:
    """Decide by the scores before temperature scaling.

    If the referable operating point is withheld, a person decides about a photograph that reaches no threshold.
    """
    referred = bool(refer_by_scores(points, np.array(referable), np.array(threat)))
    undecided = points.referable.withheld and not referred
    withheld = points.urgent is None or points.urgent.withheld
    return Decisions(None if undecided else referred, None if withheld else bool(call_urgent(points, np.array(threat))))


def performance(diseased: Booleans, called: Booleans) -> Performance:
    """Return sensitivity, specificity and positive predictive value of the calls (n,)."""
    return Performance(share(called[diseased]), share(~called[~diseased]), share(diseased[called]))


def add_test_performance(points: OperatingPoints, predictions: Predictions) -> OperatingPoints:
    """Return the points with their performance on a test set."""
    p = predictions
    referable = replace(points.referable, test=performance(p.detectable(REFERABLE), call_referable(points, p)))
    if points.urgent is None or p.vision_threatening_score is None:
        return replace(points, referable=referable)
    above = p.vision_threatening_score >= points.urgent.threshold
    return OperatingPoints(referable, replace(points.urgent, test=performance(p.detectable(VISION_THREATENING), above)))


def share(eyes: Booleans) -> Share:
    """Return the share of true values, with its exact 95 % interval (Clopper & Pearson, Biometrika 1934;26:404-13)."""
    count, of = int(eyes.sum()), eyes.size
    if of == 0:
        return Share(0, 0, None, None, None)
    low = 0.0 if count == 0 else float(betaincinv(count, of - count + 1, 0.025))
    high = 1.0 if count == of else float(betaincinv(count + 1, of - count, 0.975))
    return Share(count, of, count / of, low, high)


def false_positives_allowed(healthy: int, least_specificity: float) -> int | None:
    """Return how many of the `healthy` eyes may be called positive so that the specificity holds for new eyes.

    It holds with 95 % confidence, for any distribution of scores (Wilks, Ann Math Stat 1941;12:91-6). Return None if
    there are too few eyes to show it, even with no false positive.
    """
    if least_specificity <= 0:
        return healthy
    count = np.arange(healthy)
    sufficient = int((betaincinv(count + 1, healthy - count, CONFIDENCE) <= 1 - least_specificity).sum())
    return sufficient - 1 if sufficient else None


def as_json(pooled_evidence: PooledEvidence) -> Mapping[str, list[int]]:
    """Return the counts as lists, for pooled.json."""
    counts = {"referable": pooled_evidence.referable, "urgent": pooled_evidence.urgent}
    return {name: histogram.astype(int).tolist() for name, histogram in counts.items() if histogram is not None}


def _threshold_for_sensitivity(positives: Floats, pooled: Floats, missing: int, target: float) -> float:
    """Return the highest threshold that calls at least the target share of diseased eyes.

    The `pooled` eyes together weigh as much as the `missing` ones. Each gets the lower edge of its bin as its score.
    This is at most its true score, so the sensitivity is not overestimated.
    """
    scores = np.concatenate([positives, np.arange(BINS) / BINS])
    weights = np.concatenate([np.ones(positives.size), pooled * (missing / pooled.sum() if pooled.any() else 0)])
    if not weights.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    order = order[weights[order] > 0]
    enough = np.cumsum(weights[order]) >= target * weights.sum() - 1e-9
    return float(scores[order][enough.argmax()])


def _threshold_for_specificity(healthy: Floats, scores: Floats, allowed: int) -> float:
    """Return a threshold that calls at most `allowed` healthy eyes.

    It is half-way between two scores: the highest of the healthy eyes not called, and the next higher one of any eye.
    """
    if allowed >= healthy.size:
        return 0.0
    highest_not_called = float(np.sort(healthy)[::-1][allowed])
    above = scores[scores > highest_not_called]
    return (highest_not_called + (float(above.min()) if above.size else max(1.0, highest_not_called + 1))) / 2


def _too_few(local: int, pooled: int, fewest: int) -> str:
    return (
        f"{local} diseased eyes in the validation set and {pooled} in the federation's counts: "
        f"{fewest} are needed in one of the two"
    )


def _contradicted(called: Booleans, target: float) -> str:
    """Return why the diseased eyes here contradict the target sensitivity (exact binomial test at 5 %), or ''."""
    count, of = int(called.sum()), called.size
    if bdtr(count, of, target) >= 1 - CONFIDENCE:
        return ""
    return f"with the federation's counts, the threshold would find only {count} of {of} diseased eyes of this hospital"


def _too_few_healthy(local: int, least_specificity: float) -> str:
    required = math.ceil(math.log(1 - CONFIDENCE) / math.log(least_specificity))
    return f"{local} healthy eyes in the validation set: {required} are needed for specificity {least_specificity:g}"
