"""Operating points: chosen on a hospital's validation set, with the federation's counts where that has too few."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtr, betaincinv

from teledx_fed.config.run import EvaluationSettings
from teledx_fed.core.operating_points import Bound, OperatingPoint, OperatingPoints, Performance, Share, Source
from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.predictions import REFERABLE, VISION_THREATENING, Booleans, Floats, Predictions
from teledx_fed.evaluation.tables import BINS

CONFIDENCE = 0.95
DEFAULT_THRESHOLD = 0.5
"""Where no diseased eye is known at all."""


@dataclass(frozen=True)
class Evidence:
    """A federation's diseased eyes by score: counts in equal bins of 0…1; `urgent` is None for one output."""

    referable: Floats
    urgent: Floats | None


def evidence(tables: Tables) -> Evidence | None:
    """From the sum of the hospitals' tables; None where no hospital sent any."""
    return Evidence(tables["referable_sought"], tables.get("urgent_sought")) if tables else None


def operating_points(
    predictions: Predictions, settings: EvaluationSettings, pooled: Evidence | None = None
) -> OperatingPoints:
    """By `predictions` of the validation set. An eye that reaches the urgent threshold is at least referred."""
    p, lent = predictions, pooled or Evidence(np.zeros(BINS), None)
    sought = p.sought(REFERABLE)
    referable = operating_point(sought, p.referable_score, settings.referable_specificity, settings, lent.referable)
    if p.vision_threatening_score is None:
        points = OperatingPoints(referable, None)
    else:
        threat, floor = p.sought(VISION_THREATENING), settings.urgent_specificity
        urgent = operating_point(threat, p.vision_threatening_score, floor, settings, lent.urgent)
        points = OperatingPoints(referable, urgent)
    return replace(points, referable=replace(referable, validation=performance(sought, called(points, p))))


def operating_point(
    sought: Booleans, scores: Floats, least_specificity: float, settings: EvaluationSettings, pooled: Floats | None
) -> OperatingPoint:
    """`pooled` is the histogram of the federation's diseased eyes: it stands in for those that are missing here.

    Unless the eyes that are here contradict it: a coordinator can claim any counts.
    """
    positives, negatives, fewest = scores[sought], scores[~sought], settings.fewest_positives
    missing = max(0, fewest - positives.size)
    there = 0 if pooled is None else int(pooled.sum())
    lent = pooled if pooled is not None and missing and there >= fewest else np.zeros(BINS)
    reaching = _reaching(positives, lent, missing, settings.target_sensitivity)
    allowed = false_positives_allowed(negatives.size, least_specificity)
    keeping = _keeping(negatives, scores, allowed or 0)
    reason = _too_few(positives.size, there, fewest) if missing and not lent.any() else ""
    if lent.any():
        reason = _contradicted(positives >= reaching, settings.target_sensitivity)
    if allowed is None:
        reason = reason or _too_few_healthy(negatives.size, least_specificity)
    threshold = max(reaching, keeping)
    return OperatingPoint(
        threshold=threshold,
        source=Source.WITHHELD if reason else Source.POOLED if lent.any() else Source.LOCAL,
        bound_by=Bound.SPECIFICITY if keeping > reaching else Bound.SENSITIVITY,
        target_sensitivity=settings.target_sensitivity,
        least_specificity=least_specificity,
        positives=positives.size,
        negatives=negatives.size,
        pooled_positives=int(lent.sum()),
        reason=reason,
        validation=performance(sought, scores >= threshold),
    )


def called(points: OperatingPoints, predictions: Predictions) -> Booleans:
    """The eyes that are referred, urgently or not."""
    return refers(points, predictions.referable_score, predictions.vision_threatening_score)


def refers(points: OperatingPoints, referable: Floats, threat: Floats | None) -> Booleans:
    """A withheld urgent makes no eye milder: from that threshold on it is still referred."""
    found = referable >= points.referable.threshold
    return found if points.urgent is None or threat is None else found | (threat >= points.urgent.threshold)


def urgent(points: OperatingPoints, threat: Floats) -> Booleans:
    """The eyes that are called urgent: none where that is withheld."""
    if points.urgent is None or points.urgent.withheld:
        return np.zeros(threat.shape, dtype=bool)
    return np.asarray(threat >= points.urgent.threshold)


@dataclass(frozen=True)
class Decisions:
    """Of one photograph; None where the model does not decide."""

    refers: bool | None
    is_urgent: bool | None


def decisions(points: OperatingPoints, referable: float, threat: float) -> Decisions:
    """From scores before the temperature. From a withheld threshold on an eye is referred; below, a person decides."""
    referred = bool(refers(points, np.array(referable), np.array(threat)))
    undecided = points.referable.withheld and not referred
    withheld = points.urgent is None or points.urgent.withheld
    return Decisions(None if undecided else referred, None if withheld else bool(urgent(points, np.array(threat))))


def performance(sought: Booleans, called: Booleans) -> Performance:
    return Performance(share(called[sought]), share(~called[~sought]), share(sought[called]))


def tested(points: OperatingPoints, predictions: Predictions) -> OperatingPoints:
    """With their performance on a test set."""
    p = predictions
    referable = replace(points.referable, test=performance(p.sought(REFERABLE), called(points, p)))
    if points.urgent is None or p.vision_threatening_score is None:
        return replace(points, referable=referable)
    above = p.vision_threatening_score >= points.urgent.threshold
    return OperatingPoints(referable, replace(points.urgent, test=performance(p.sought(VISION_THREATENING), above)))


def share(held: Booleans) -> Share:
    count, of = int(held.sum()), held.size
    if of == 0:
        return Share(0, 0, None, None, None)
    low = 0.0 if count == 0 else float(betaincinv(count, of - count + 1, 0.025))
    high = 1.0 if count == of else float(betaincinv(count + 1, of - count, 0.975))
    return Share(count, of, count / of, low, high)


def false_positives_allowed(healthy: int, least_specificity: float) -> int | None:
    """How many of so many healthy eyes may be called, that new ones are spared by at least that specificity.

    With 95 % confidence, whatever the distribution of scores (Wilks, Ann Math Stat 1941;12:91-6). None where too few
    eyes are there to show it even with none called.
    """
    if least_specificity <= 0:
        return healthy
    count = np.arange(healthy)
    shown = int((betaincinv(count + 1, healthy - count, CONFIDENCE) <= 1 - least_specificity).sum())
    return shown - 1 if shown else None


def as_json(found: Evidence) -> Mapping[str, list[int]]:
    counts = {"referable": found.referable, "urgent": found.urgent}
    return {name: counted.astype(int).tolist() for name, counted in counts.items() if counted is not None}


def _reaching(positives: Floats, lent: Floats, missing: int, target: float) -> float:
    """The highest threshold that calls the target share of the eyes here, and of those lent as `missing` eyes weigh.

    A lent eye counts as called from the lower edge of its bin on, so never too early.
    """
    scores = np.concatenate([positives, np.arange(BINS) / BINS])
    weights = np.concatenate([np.ones(positives.size), lent * (missing / lent.sum() if lent.any() else 0)])
    if not weights.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    order = order[weights[order] > 0]
    enough = np.cumsum(weights[order]) >= target * weights.sum() - 1e-9
    return float(scores[order][enough.argmax()])


def _keeping(healthy: Floats, scores: Floats, allowed: int) -> float:
    """The lowest threshold that calls at most so many of the healthy: half-way to the next higher score of any eye."""
    if allowed >= healthy.size:
        return 0.0
    highest_spared = float(np.sort(healthy)[::-1][allowed])
    above = scores[scores > highest_spared]
    return (highest_spared + (float(above.min()) if above.size else max(1.0, highest_spared + 1))) / 2


def _too_few(here: int, pooled: int, fewest: int) -> str:
    return f"{here} diseased eyes in the validation set and {pooled} in the federation's counts: {fewest} are needed"


def _contradicted(found: Booleans, target: float) -> str:
    """Why a threshold that should call the target share of diseased eyes cannot, by an exact test of these at 5 %."""
    count, of = int(found.sum()), found.size
    if bdtr(count, of, target) >= 1 - CONFIDENCE:
        return ""
    return f"by the federation's counts {count} of {of} diseased eyes here would be found: the counts do not fit them"


def _too_few_healthy(here: int, least_specificity: float) -> str:
    needed = math.ceil(math.log(1 - CONFIDENCE) / math.log(least_specificity))
    return f"{here} healthy eyes in the validation set: a specificity of {least_specificity:g} needs {needed}"
