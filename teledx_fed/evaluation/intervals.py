"""Confidence intervals: percentile bootstrap over patients, and its form for a federation.

Within a site or a simulation, replicates draw patients with all their eyes. In a network, no replicate leaves a site:
with the weights, a server could solve replicates for single patients. There the server resamples the summed tables, and
each site sends design effects, which measure how dependent the eyes of a patient are (Kish 1965).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.metrics import METRICS, compute
from teledx_fed.evaluation.predictions import Booleans, Floats, Integers, Predictions
from teledx_fed.evaluation.sufficiency import eyes_of_kinds, has_too_few
from teledx_fed.evaluation.tables import EFFECTS, add, measure, resample

PERCENTILES = (2.5, 97.5)
STEPS_PER_UNIT = 4
LARGEST_EFFECT = 100


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def multiplicities(patient: Integers, replicates: int, generator: np.random.Generator) -> Floats:
    """Return how often each row counts (B, n) when patients (n,), numbered from 0, are drawn with replacement."""
    patients = int(patient.max()) + 1
    draws = generator.multinomial(patients, np.full(patients, 1 / patients), size=replicates)
    return draws[:, patient].astype(np.float64)


def estimate(values: Floats) -> Estimate | None:
    """Estimate from values (1 + B,): the sample, then its replicates. Undefined replicates are ignored."""
    sample, replicates = values[0], values[1:][~np.isnan(values[1:])]
    if np.isnan(sample) or replicates.size == 0:
        return None
    low, high = np.percentile(replicates, PERCENTILES)
    return Estimate(float(sample), float(low), float(high))


def two_sided_p(differences: Floats) -> float:
    """Return the two-sided p of no difference from values (1 + B,); at least 2 / (1 + B), so never 0."""
    replicates = differences[1:][~np.isnan(differences[1:])]
    fewer = min((replicates <= 0).sum(), (replicates >= 0).sum())
    return float(min(1.0, 2 * (1 + fewer) / (1 + replicates.size)))


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p values for their number, step down (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted.tolist()


def design_effects(
    predictions: Predictions, called: Booleans, replicates: int, generator: np.random.Generator
) -> dict[str, float]:
    """Return by metric the variance of a bootstrap over patients ÷ that of a bootstrap over eyes.

    Effects are rounded to quarters, coarser than their own noise, so that they reveal little about a patient. They are
    at least 1, and 1 for a metric that does not vary. Both bootstraps use one seed: with one eye a patient the effect
    is exactly 1. It is at most the largest number of eyes of a patient, the bound for a cell. Rare draws of a steep
    metric, such as the NPV of few eyes, exceed it. Resampled cells repeat them: they would widen the interval twice.
    """
    largest = min(int(np.bincount(predictions.patient).max()), LARGEST_EFFECT)
    seed = generator.integers(2**63)
    metrics = [METRICS[name] for name in EFFECTS]
    by_patient, by_eye = (
        compute(predictions, called, multiplicities(cluster, replicates, np.random.default_rng(seed)), metrics)
        for cluster in (predictions.patient, np.arange(predictions.eyes))
    )
    return {name: _coarse(_variance(by_patient[name]), _variance(by_eye[name]), largest) for name in EFFECTS}


def table_intervals(
    tables: Sequence[Tables],
    design_effects: Sequence[Mapping[str, float]],
    replicates: int,
    generator: np.random.Generator,
) -> dict[str, Estimate | None]:
    """Return the interval of each metric for the sites' summed tables; None where they count too few eyes.

    The design effect of a metric is the mean over sites, weighted by eyes.
    """
    answers = [(table, effects) for table, effects in zip(tables, design_effects, strict=True) if table]
    if not answers:
        return {}
    summed = add([table for table, _ in answers])
    eyes = [float(table["eyes"][0]) for table, _ in answers]
    pooled = {
        name: float(np.average([effects[name] for _, effects in answers], weights=eyes).round(2))
        for name in answers[0][1]
    }
    sample = measure({name: array[None] for name, array in summed.items()})
    pooled |= {name: max(pooled.values()) for name in METRICS if name in sample and name not in pooled}
    replicates_of = {
        effect: measure(resample(summed, effect, replicates, generator)) for effect in sorted(set(pooled.values()))
    }
    counts = eyes_of_kinds(summed)
    defined = {name for name in sample if name in METRICS and not has_too_few(METRICS[name].kinds, counts)}
    return {
        name: estimate(np.concatenate([sample[name], replicates_of[effect][name]])) if name in defined else None
        for name, effect in pooled.items()
    }


def _variance(replicates: Floats) -> float:
    defined = replicates[~np.isnan(replicates)]
    return float(defined.var()) if defined.size else 0.0


def _coarse(by_patient: float, by_eye: float, largest: int) -> float:
    effect = min(by_patient / by_eye, largest) if by_eye > 0 else 1.0
    return max(1.0, round(effect * STEPS_PER_UNIT) / STEPS_PER_UNIT)
