"""Models side by side on the same patients: at each site, in the mean of sites, over all patients."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from teledx_fed.evaluation.calibration import reliability
from teledx_fed.evaluation.intervals import estimate, multiplicities
from teledx_fed.evaluation.metrics import METRICS, confusion, mean_defined, metrics, predicted_grade
from teledx_fed.evaluation.predictions import Booleans, Floats, Integers, Predictions, given, pool, same_eyes
from teledx_fed.records import GRADES

CHUNK = 250
"""Replicates that are held at once: 1,200 eyes at each of four sites then take about 10 MB an array."""

ROC_POINTS = 101

Json = dict[str, Any]
Values = Mapping[str, Floats]
"""By metric, the sample itself followed by its replicates."""


@dataclass(frozen=True)
class Measured:
    """One model, or the difference of two."""

    sites: Mapping[str, Values]
    all_patients: Values

    def __sub__(self, other: "Measured") -> "Measured":
        sites = {site: _minus(values, other.sites[site]) for site, values in self.sites.items()}
        return Measured(sites, _minus(self.all_patients, other.all_patients))


def compare(
    predictions: Mapping[str, Mapping[str, Predictions]],
    thresholds: Mapping[str, Mapping[str, float]],
    replicates: int,
    generator: np.random.Generator,
    reference: str = "federated",
) -> Json:
    """Metrics of each model, and the `reference` minus each other, all with intervals from the same replicates.

    `predictions` and `thresholds` are by model and site; each eye is called at its own site's threshold. A metric is
    `{value, low, high}`, in the mean of sites with the number of `sites` where it is defined, or `None`.
    """
    _assert_paired(predictions)
    patients = {site: found.patient for site, found in predictions[reference].items()}
    parts: dict[str, list[Measured]] = {model: [] for model in predictions}
    for drawn in _draws(patients, replicates, generator):
        for model, sites in predictions.items():
            parts[model].append(_measure(sites, thresholds[model], drawn))
    measured = {model: _joined(chunks) for model, chunks in parts.items()}
    baselines = [model for model in measured if model != reference]
    differences = {model: _report(measured[reference] - measured[model]) for model in baselines}
    return {model: _report(found) for model, found in measured.items()} | {"differences": differences}


def ensemble(members: Sequence[Predictions]) -> Predictions:
    """The mean of what several models said of the same eyes."""
    first = members[0]
    assert all(same_eyes(first, member) for member in members), "an ensemble needs the same eyes in the same order"
    probabilities = given(member.probabilities for member in members)
    threats = given(member.vision_threatening_score for member in members)
    return replace(
        first,
        probabilities=np.mean(probabilities, axis=0) if probabilities else None,
        referable_score=np.mean([member.referable_score for member in members], axis=0),
        vision_threatening_score=np.mean(threats, axis=0) if threats else None,
    )


def curves(predictions: Predictions, threshold: float) -> Json:
    """What plots are drawn from: grade × predicted grade, the ROC with the point at `threshold`, and reliability."""
    p, once = predictions, np.ones((1, predictions.eyes))
    counts = None if p.probabilities is None else confusion(p.grade, predicted_grade(p.probabilities), GRADES, once)[0]
    rows, predicted, observed = reliability(p.referable, p.referable_score, once)[0]
    filled = rows > 0
    return {
        "confusion": None if counts is None else counts.astype(int).tolist(),
        "roc": _roc(p.referable, p.referable_score, threshold),
        "reliability": {
            "predicted": (predicted[filled] / rows[filled]).tolist(),
            "observed": (observed[filled] / rows[filled]).tolist(),
            "count": rows[filled].astype(int).tolist(),
        },
    }


def _assert_paired(predictions: Mapping[str, Mapping[str, Predictions]]) -> None:
    first, *others = predictions.values()
    for other in others:
        assert other.keys() == first.keys(), "every model must be read at the same sites"
        assert all(same_eyes(first[site], other[site]) for site in first), (
            "models must grade the same eyes in one order"
        )


def _draws(
    patients: Mapping[str, Integers], replicates: int, generator: np.random.Generator
) -> Iterator[dict[str, Floats]]:
    """By site, everyone once; then replicates, a chunk at a time."""
    yield {site: np.ones((1, patient.size)) for site, patient in patients.items()}
    for start in range(0, replicates, CHUNK):
        count = min(CHUNK, replicates - start)
        yield {site: multiplicities(patient, count, generator) for site, patient in patients.items()}


def _measure(
    sites: Mapping[str, Predictions], thresholds: Mapping[str, float], drawn: Mapping[str, Floats]
) -> Measured:
    called = {site: found.referable_score >= thresholds[site] for site, found in sites.items()}
    everyone, everyone_called = pool(list(sites.values())), np.concatenate(list(called.values()))
    return Measured(
        {site: metrics(found, called[site], drawn[site]) for site, found in sites.items()},
        metrics(everyone, everyone_called, np.hstack([drawn[site] for site in sites])),
    )


def _joined(chunks: Sequence[Measured]) -> Measured:
    def joined(parts: Sequence[Values]) -> Values:
        return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}

    sites = {site: joined([chunk.sites[site] for chunk in chunks]) for site in chunks[0].sites}
    return Measured(sites, joined([chunk.all_patients for chunk in chunks]))


def _minus(one: Values, other: Values) -> Values:
    return {name: one[name] - other[name] for name in one}


def _report(measured: Measured) -> Json:
    return {
        "sites": {site: {name: _metric(values[name]) for name in METRICS} for site, values in measured.sites.items()},
        "mean_of_sites": {name: _mean(measured.sites.values(), name) for name in METRICS},
        "all_patients": {name: _metric(measured.all_patients[name]) for name in METRICS},
    }


def _metric(values: Floats) -> Json | None:
    found = estimate(values)
    return None if found is None else asdict(found)


def _mean(sites: Iterable[Values], name: str) -> Json | None:
    """Over the sites where the metric is defined."""
    defined = [values[name] for values in sites if not np.isnan(values[name][0])]
    found = _metric(mean_defined(np.stack(defined), axis=0)) if defined else None
    return None if found is None else found | {"sites": len(defined)}


def _roc(truth: Booleans, scores: Floats, threshold: float) -> Json:
    """Empty where there is one class only."""
    if truth.all() or not truth.any():
        return {"false_positive_rate": [], "true_positive_rate": [], "operating_point": None}
    false_positive, true_positive, _ = roc_curve(truth, scores)
    kept = np.unique(np.linspace(0, false_positive.size - 1, ROC_POINTS).round().astype(int))
    called = scores >= threshold
    return {
        "false_positive_rate": false_positive[kept].tolist(),
        "true_positive_rate": true_positive[kept].tolist(),
        "operating_point": {
            "false_positive_rate": float(called[~truth].mean()),
            "true_positive_rate": float(called[truth].mean()),
        },
    }
