"""Models side by side on the same patients: at each site, in the mean of sites, over all patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from teledx_fed.core.examples import GRADES
from teledx_fed.evaluation.calibration import reliability
from teledx_fed.evaluation.examined import Examination
from teledx_fed.evaluation.intervals import estimate, holm, two_sided_p
from teledx_fed.evaluation.measured import Measure, Measured, over_repeats
from teledx_fed.evaluation.metrics import PRIMARY, confusion, headline, metrics, predicted_grade
from teledx_fed.evaluation.predictions import Booleans, Floats, Predictions, given, same_eyes

ROC_POINTS = 101

FEWEST = 5
"""A point of reliability of fewer eyes would tell what was said of one."""

Json = dict[str, Any]

HIGHER_IS_BETTER = ("qwk", "referable_auroc", "vision_threatening_auroc", "sensitivity", "specificity", "accuracy")
RANGES = {
    "qwk": (-1.0, 1.0),
    **dict.fromkeys(("severe", "missed_severe"), (0.0, np.inf)),
    **dict.fromkeys(("calibration_slope", "calibration_intercept"), (-np.inf, np.inf)),
}
"""What lies elsewhere than in 0…1."""


@dataclass(frozen=True)
class Compared:
    """Metrics by model, and their differences by the model that is not the reference."""

    models: Mapping[str, Json]
    differences: Mapping[str, Json]


def compare(
    repeats: Sequence[Examination],
    replicates: int,
    generator: np.random.Generator,
    reference: str = "federated",
    measure: Measure = metrics,
    reversed: bool = False,
) -> Compared:
    """Metrics of each model, and the `reference` minus each other, all with intervals from the same replicates; or,
    `reversed`, each other minus the `reference`.

    A replicate draws patients anew, one draw for all models and `repeats` (the same experiment with other seeds). A
    value is the mean over repeats, which in a replicate strays from it as Student's t does for so few of them, and is
    undefined where it is in one of them. A metric is `{value, low, high}`, in the mean of sites with the number of
    `sites` where it is defined, or `None`; a difference has also `p`, two-sided, and `holm`, adjusted for all baselines
    and sites (Holm 1979). `worst_of_sites` is the least of a metric's values, for metrics of which more is better, with
    the interval of the `site` that it is at; a difference is of two such values, over the sites where both are defined.
    """
    for repeat in repeats:
        _assert_paired(repeat.predictions)
    measured = over_repeats(repeats, replicates, generator, measure)
    baselines = [model for model in measured if model != reference]
    pairs = {model: (measured[reference], measured[model])[:: -1 if reversed else 1] for model in baselines}
    differences = {
        model: _report(one - other, differing=True) | {"worst_of_sites": _worst_less(one, other)}
        for model, (one, other) in pairs.items()
    }
    _adjust([found for part in differences.values() for found in part["sites"].values()])
    for whole in ("mean_of_sites", "worst_of_sites", "all_patients"):
        _adjust([part[whole] for part in differences.values()])
    models = {model: _report(found) | {"worst_of_sites": _worst(found)} for model, found in measured.items()}
    return Compared(models, differences)


def matrix(repeats: Sequence[Examination], replicates: int, generator: np.random.Generator) -> Json:
    """By model and site, the two headline metrics with intervals: how each model does at each hospital."""
    measured = over_repeats(repeats, replicates, generator, headline)
    return {
        model: {site: {name: _metric(name, values[name]) for name in PRIMARY} for site, values in found.sites.items()}
        for model, found in measured.items()
    }


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


def curves(predictions: Predictions, called: Booleans) -> Json:
    """What plots are drawn from: grade × predicted grade, the ROC with the point of those `called`, and reliability."""
    p, once = predictions, np.ones((1, predictions.eyes))
    counts = None if p.probabilities is None else confusion(p.grade, predicted_grade(p.probabilities), GRADES, once)[0]
    rows, predicted, observed = reliability(p.referable, p.referable_score, once)[0]
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
        assert other.keys() == first.keys(), "every model must be read at the same sites"
        assert all(same_eyes(first[site], other[site]) for site in first), (
            "models must grade the same eyes in one order"
        )


def _report(measured: Measured, differing: bool = False) -> Json:
    sites, names = measured.sites, tuple(measured.all_patients)
    return {
        "sites": {
            site: {name: _metric(name, found[name], differing) for name in names} for site, found in sites.items()
        },
        "mean_of_sites": {name: _mean(measured, name, differing) for name in names},
        "all_patients": {name: _metric(name, measured.all_patients[name], differing) for name in names},
    }


def _metric(name: str, values: Floats, differing: bool = False) -> Json | None:
    """What strays for few repeats stays where the metric can be."""
    found = estimate(values if differing else np.clip(values, *RANGES.get(name, (0.0, 1.0))))
    if found is None:
        return None
    return asdict(found) | ({"p": two_sided_p(values)} if differing else {})


def _mean(measured: Measured, name: str, differing: bool) -> Json | None:
    """With the number of sites where the metric is defined."""
    sites = len(measured.defined(name))
    found = _metric(name, measured.mean_of_sites(name), differing) if sites else None
    return None if found is None else found | {"sites": sites}


def _worst(measured: Measured) -> Json:
    """The interval is that of the site: the least of a replicate's values lies below what it is to tell of."""
    return {name: _worst_of(name, measured) for name in measured.all_patients if name in HIGHER_IS_BETTER}


def _worst_of(name: str, measured: Measured) -> Json | None:
    values = {site: measured.sites[site][name] for site in measured.defined(name)}
    if not values:
        return None
    site = min(values, key=lambda site: float(values[site][0]))
    return (_metric(name, values[site]) or {}) | {"site": site}


def _worst_less(one: Measured, other: Measured) -> Json:
    """Replicate by replicate, over the sites where both are defined."""
    found: Json = {}
    for name in one.all_patients:
        if name in HIGHER_IS_BETTER:
            both = [site for site in one.defined(name) if site in other.defined(name)]
            least = [np.fmin.reduce([model.sites[site][name] for site in both]) for model in (one, other) if both]
            found[name] = _metric(name, least[0] - least[1], differing=True) if least else None
    return found


def _adjust(differences: Sequence[Json]) -> None:
    """Adds `holm` to every p, metric by metric over all of `differences`."""
    for name in differences[0] if differences else ():
        defined = [found[name] for found in differences if found[name] is not None]
        for difference, adjusted in zip(defined, holm([d["p"] for d in defined]), strict=True):
            difference["holm"] = adjusted


def _roc(truth: Booleans, scores: Floats, called: Booleans) -> Json:
    """Empty where there is one class only."""
    if truth.all() or not truth.any():
        return {"false_positive_rate": [], "true_positive_rate": [], "operating_point": None}
    false_positive, true_positive, _ = roc_curve(truth, scores)
    kept = np.unique(np.linspace(0, false_positive.size - 1, ROC_POINTS).round().astype(int))
    return {
        "false_positive_rate": false_positive[kept].tolist(),
        "true_positive_rate": true_positive[kept].tolist(),
        "operating_point": {
            "false_positive_rate": float(called[~truth].mean()),
            "true_positive_rate": float(called[truth].mean()),
        },
    }
