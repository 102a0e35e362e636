"""Find metrics for which too few patients were tested: their intervals would describe one or two patients."""

from collections.abc import Mapping

import numpy as np

from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.predictions import Booleans, Predictions

FEWEST = 4
"""Patients of each kind that a metric needs. Of n patients, a bootstrap replicate is the lowest one alone with
probability n^-n. Up to n = 3 that is more than 2.5 %: the ends of a 95 % interval would be single patients."""

BOTH = ("referable", "not referable")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "referable_auroc": BOTH,
    "vision_threatening_auroc": ("vision-threatening", "not vision-threatening"),
    "qwk": ("of another grade than the commonest",),
    "sensitivity": ("referable",),
    "specificity": ("not referable",),
    "ppv": ("called referable",),
    "npv": ("called not referable",),
    **{f"{value}_{percent}": BOTH for value in ("ppv", "npv") for percent in (5, 10, 20)},
    **dict.fromkeys(("calibration_slope", "calibration_intercept"), BOTH),
    **dict.fromkeys(("accuracy", "macro_f1", "brier", "ece"), ("tested",)),
}
"""The kinds of patients without which a metric says nothing; counts of eyes need none."""

Counts = Mapping[str, int]
"""By kind, how many patients have an eye of it."""


def patients_of_kinds(predictions: Predictions, called: Booleans) -> dict[str, int]:
    p = predictions
    eyes = {
        "tested": np.ones(p.eyes, dtype=bool),
        "referable": p.referable,
        "not referable": ~p.referable,
        "vision-threatening": p.vision_threatening,
        "not vision-threatening": ~p.vision_threatening,
        "of another grade than the commonest": p.grade != np.bincount(p.grade).argmax(),
        "called referable": called,
        "called not referable": ~called,
    }
    return {kind: np.unique(p.patient[these]).size for kind, these in eyes.items()}


def eyes_of_kinds(tables: Tables) -> dict[str, int]:
    """The same of summed tables, which count eyes; kinds that they do not tell are left out."""
    (passed, alarmed), (missed, caught) = tables["called"]
    found = {
        "tested": tables["eyes"][0],
        "referable": missed + caught,
        "not referable": passed + alarmed,
        "called referable": alarmed + caught,
        "called not referable": passed + missed,
    }
    if "vision_threatening_scores" in tables:
        safe, threatened = tables["vision_threatening_scores"].sum(axis=1)
        found |= {"vision-threatening": threatened, "not vision-threatening": safe}
    if "confusion" in tables:
        rows = tables["confusion"].sum(axis=1)
        found["of another grade than the commonest"] = rows.sum() - rows.max()
    return {kind: int(count) for kind, count in found.items()}


def lacking(counts: Counts) -> dict[str, int]:
    """The kinds of which there are too few."""
    return {kind: count for kind, count in counts.items() if count < FEWEST}


def too_few(counts: Counts) -> frozenset[str]:
    """The metrics that `counts` say too little for."""
    few = lacking(counts)
    return frozenset(name for name, kinds in NEEDS.items() if any(kind in few for kind in kinds))
