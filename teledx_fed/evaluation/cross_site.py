"""Compare models on the same patients: at each site, in the mean of sites and over all patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from teledx_fed.core.examples import GRADES
from teledx_fed.evaluation.bootstrap import ModelScores, bootstrap
from teledx_fed.evaluation.calibration import reliability
from teledx_fed.evaluation.counts import confusion, predicted_grade
from teledx_fed.evaluation.intervals import estimate, holm, two_sided_p
from teledx_fed.evaluation.metrics import HEADLINE, METRICS, Metric
from teledx_fed.evaluation.predictions import Booleans, Floats, Predictions, all_or_none, same_eyes
from teledx_fed.evaluation.test_predictions import Evaluation

ROC_POINTS = 101

FEWEST = 5
"""The fewest eyes of a reliability bin: fewer would reveal the prediction for one eye."""

Json = dict[str, Any]


@dataclass(frozen=True)
class ModelComparison:
    """Metrics by model; differences by each model other than the reference."""

    models: Mapping[str, Json]
    differences: Mapping[str, Json]


def compare(
    repeats: Sequence[Evaluation],
    replicates: int,
    generator: np.random.Generator,
    reference: str = "federated",
    metrics: Mapping[str, Metric] = METRICS,
    others_minus_reference: bool = False,
) -> ModelComparison:
    """Return the metrics of each model and the differences `reference` − other model, with bootstrap intervals.

    `others_minus_reference` reverses the differences. All intervals come from the same replicates: each draws patients
    once for all models and `repeats` (the same experiment with other seeds). A value is the mean over repeats. It is
    undefined if one repeat is. In the replicates it also varies as Student's t does for that number of repeats.

    A metric is `{value, low, high}` or `None`; the mean of sites also has the number of `sites` where it is defined. A
    difference also has a two-sided `p`, and `holm`, adjusted for all baselines and sites (Holm, Scand J Stat 1979;
    6:65-70). `worst_of_sites` is the lowest value over sites, with the interval of that `site`, for metrics with
    `worst_site`. Its differences use the sites where both models have the metric.
    """
    for repeat in repeats:
        _assert_paired(repeat.predictions)
    scores = bootstrap(repeats, replicates, generator, metrics.values())
    baselines = [model for model in scores if model != reference]
    order = -1 if others_minus_reference else 1
    pairs = {model: (scores[reference], scores[model])[::order] for model in baselines}
    differences = {
        model: _report(first - second, metrics, difference=True)
        | {"worst_of_sites": _worst_difference(first, second, metrics)}
        for model, (first, second) in pairs.items()
    }
    _adjust([metrics for part in differences.values() for metrics in part["sites"].values()])
    for scope in ("mean_of_sites", "worst_of_sites", "all_patients"):
        _adjust([part[scope] for part in differences.values()])
    models = {
        model: _report(of_model, metrics) | {"worst_of_sites": _worst(of_model, metrics)}
        for model, of_model in scores.items()
    }
    return ModelComparison(models, differences)


def matrix(repeats: Sequence[Evaluation], replicates: int, generator: np.random.Generator) -> Json:
    """Return the two primary metrics with intervals, by model and site."""
    scores = bootstrap(repeats, replicates, generator, HEADLINE.values())
    return {
        model: {
            site: {name: _metric(metric, values[name]) for name, metric in HEADLINE.items()}
            for site, values in sites.items()
        }
        for model, sites in ((model, of_model.sites) for model, of_model in scores.items())
    }


def mean_prediction(members: Sequence[Predictions]) -> Predictions:
    """Return the mean of the predictions of several models for the same eyes."""
    first = members[0]
    assert all(same_eyes(first, member) for member in members), "an ensemble needs the same eyes in the same order"
    probabilities = all_or_none(member.probabilities for member in members)
    threats = all_or_none(member.vision_threatening_score for member in members)
    return replace(
        first,
        probabilities=np.mean(probabilities, axis=0) if probabilities else None,
        referable_score=np.mean([member.referable_score for member in members], axis=0),
        vision_threatening_score=np.mean(threats, axis=0) if threats else None,
    )


def curves(predictions: Predictions, called: Booleans) -> Json:
    """Return data for plots: grade × predicted grade, ROC with the point of the `called` eyes (n,), reliability."""
    p, ones = predictions, np.ones((1, predictions.eyes))
    counts = None if p.probabilities is None else confusion(p.grade, predicted_grade(p.probabilities), GRADES, ones)[0]
    rows, predicted, observed = reliability(p.referable, p.referable_score, ones)[0]
    filled = rows >= FEWEST
    return {
        "confusion": None if counts is None else counts.astype(int).tolist(),
        "roc": _roc(p.referable, p.referable_score, called),
        "reliability": {
            "predicted": (predicted[filled] / rows[filled]).tolist(),
            "observed": (observed[filled] / rows[filled]).tolist(),
            "count": rows[filled].astype(int).tolist(),
        },
    }


def _assert_paired(predictions: Mapping[str, Mapping[str, Predictions]]) -> None:
    first, *others = predictions.values()
    for other in others:
        assert other.keys() == first.keys(), "every model must be tested at the same sites"
        assert all(same_eyes(first[site], other[site]) for site in first), (
            "models must grade the same eyes in one order"
        )


def _report(scores: ModelScores, metrics: Mapping[str, Metric], difference: bool = False) -> Json:
    return {
        "sites": {
            site: {name: _metric(metric, values[name], difference) for name, metric in metrics.items()}
            for site, values in scores.sites.items()
        },
        "mean_of_sites": {name: _mean(metric, scores, difference) for name, metric in metrics.items()},
        "all_patients": {
            name: _metric(metric, scores.all_patients[name], difference) for name, metric in metrics.items()
        },
    }


def _metric(metric: Metric, values: Floats, difference: bool = False) -> Json | None:
    """Clip to the metric's range: with few repeats, replicates can leave it."""
    interval = estimate(values if difference else np.clip(values, metric.low, metric.high))
    if interval is None:
        return None
    return asdict(interval) | ({"p": two_sided_p(values)} if difference else {})


def _mean(metric: Metric, scores: ModelScores, difference: bool) -> Json | None:
    """Add the number of sites where the metric is defined."""
    sites = len(scores.defined(metric.name))
    mean = _metric(metric, scores.mean_of_sites(metric.name), difference) if sites else None
    return None if mean is None else mean | {"sites": sites}


def _worst(scores: ModelScores, metrics: Mapping[str, Metric]) -> Json:
    """Use the interval of the worst site: the minimum over sites in each replicate would be biased downwards."""
    return {name: _worst_of(metric, scores) for name, metric in metrics.items() if metric.worst_site}


def _worst_of(metric: Metric, scores: ModelScores) -> Json | None:
    values = {site: scores.sites[site][metric.name] for site in scores.defined(metric.name)}
    if not values:
        return None
    site = min(values, key=lambda site: float(values[site][0]))
    return (_metric(metric, values[site]) or {}) | {"site": site}


def _worst_difference(first: ModelScores, second: ModelScores, metrics: Mapping[str, Metric]) -> Json:
    """Subtract the minima over sites in each replicate, where both are defined."""
    differences: Json = {}
    for name, metric in metrics.items():
        if metric.worst_site:
            both = [site for site in first.defined(name) if site in second.defined(name)]
            worst = [np.fmin.reduce([model.sites[site][name] for site in both]) for model in (first, second) if both]
            differences[name] = _metric(metric, worst[0] - worst[1], difference=True) if worst else None
    return differences


def _adjust(differences: Sequence[Json]) -> None:
    """Add `holm` to every p, for each metric over all `differences`."""
    for name in differences[0] if differences else ():
        defined = [metrics[name] for metrics in differences if metrics[name] is not None]
        for difference, adjusted in zip(defined, holm([d["p"] for d in defined]), strict=True):
            difference["holm"] = adjusted


def _roc(truth: Booleans, scores: Floats, called: Booleans) -> Json:
    """Return at most 101 points of the ROC curve; none where there is only one class."""
    if truth.all() or not truth.any():
        return {"false_positive_rate": [], "true_positive_rate": [], "operating_point": None}
    false_positive, true_positive, _ = roc_curve(truth, scores)
    shown = np.unique(np.linspace(0, false_positive.size - 1, ROC_POINTS).round().astype(int))
    return {
        "false_positive_rate": false_positive[shown].tolist(),
        "true_positive_rate": true_positive[shown].tolist(),
        "operating_point": {
            "false_positive_rate": float(called[~truth].mean()),
            "true_positive_rate": float(called[truth].mean()),
        },
    }
