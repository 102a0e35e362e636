"""Words of reports: names of metrics and models, sentences on pages and the terminal."""

from collections.abc import Mapping
from typing import Any

from teledx_fed.config.federation import EVER, FaultSettings
from teledx_fed.core.formatting import number
from teledx_fed.evaluation import metrics
from teledx_fed.evaluation.sufficiency import FEWEST

MODELS = {
    "federated": "Federated",
    "local": "Each hospital alone",
    "ensemble": "Ensemble of the local models",
    "centralised": "All data in one place",
}
METRICS = {name: metric.title for name, metric in metrics.METRICS.items()}

EstimateValues = Mapping[str, float | None]
"""`value` with its 95 % interval `low` to `high`; a mean of hospitals also has their number, `sites`."""


def between(estimate: EstimateValues | None, form: str = ".2f") -> str:
    """Return the interval in brackets; "to" replaces the dash where a bound is negative."""
    if estimate is None or estimate["low"] is None or estimate["high"] is None:
        return ""
    dash = "–" if estimate["low"] >= 0 else " to "
    return f"({number(estimate['low'], form)}{dash}{number(estimate['high'], form)})"


def too_few(report: Mapping[str, Any]) -> str:
    """Explain dashes: the kinds of patients of which a hospital tested too few; empty where there are none."""
    lacking = {site: kinds for site, kinds in report["too_few"].items() if kinds}
    if not lacking:
        return ""
    hospitals = "; ".join(
        f"{site} tested {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        for site, kinds in lacking.items()
    )
    return f"A dash (–): too few patients. A metric needs {FEWEST} patients of each kind that it uses; {hospitals}."


def no_bundle(parts: int) -> str:
    """Explain why a run of several seeds or folds has no bundle, and how to get one; else empty."""
    if parts == 1:
        return ""
    return (
        f"No bundle was written: this run trained {parts} models, one a seed and fold, to measure the method. For a "
        "model to diagnose with, run the same command with seeds=[] evaluation.folds=1 and a new folder."
    )


def failing(faults: FaultSettings) -> str:
    """Describe the simulated faults: kind, hospitals, frequency and rounds; empty without faults."""
    if not faults.kinds:
        return ""
    kinds = " or ".join(kind.replace("_", " ") for kind in faults.kinds)
    sites = ", ".join(faults.sites) or "every hospital"
    rounds = f"round {faults.first}" + (" on" if faults.last >= EVER else f" to {faults.last}")
    often = "" if faults.share == 1 else f" with probability {faults.share:g}"
    return f"{kinds} at {sites}{often}, from {rounds}"


def verdict(report: Mapping[str, Any]) -> str:
    """Return the result in one sentence: the primary metric, and the difference from the baselines."""
    auroc = report["federated"]["mean_of_sites"]["referable_auroc"]
    if auroc is None:
        return (
            "Referable AUROC is undefined: too few patients, since no hospital tested "
            f"at least {FEWEST} patients with referable disease and {FEWEST} without."
        )
    hospitals = mean_of(len(report["sites"]), auroc.get("sites", len(report["sites"])))
    kept = "No round was better than the initial model. " if _untrained(report) else ""
    result = f"{kept}Federated referable AUROC {number(auroc['value'])} {between(auroc)}, {hospitals}"
    against = [
        _against(report["differences"][baseline]["mean_of_sites"]["referable_auroc"], MODELS[baseline].lower())
        for baseline in ("local", "centralised")
        if baseline in report["differences"]
    ]
    return "; ".join([result, *filter(None, against)]) + "."


def _untrained(report: Mapping[str, Any]) -> bool:
    return all(part["best_round"] == 0 for part in report["parts"])


def mean_of(sites: int, defined: int) -> str:
    """Describe a mean of hospitals; the metric may be undefined at some."""
    hospitals = "1 hospital" if sites == 1 else f"{sites} hospitals"
    return f"mean of {hospitals}" if defined == sites else f"mean of {defined} of {hospitals}"


def _against(difference: EstimateValues | None, baseline: str) -> str:
    match difference:
        case {"value": float(value), "low": float(low), "high": float(high)} if low > 0:
            return f"{number(value)} ({number(low)}–{number(high)}) above {baseline} on average"
        case {"value": float(value), "low": float(low), "high": float(high)} if high < 0:
            return f"{number(-value)} ({number(-high)}–{number(-low)}) below {baseline} on average"
        case {"value": float(value)}:
            return f"no clear difference from {baseline}, {number(value)} {between(difference)}"
        case _:
            return ""
