"""Score tables of a site: counts and two sums, from which the server computes scores.

The counts are exact. The sums are rounded: from a sum of full precision, a server with the scores of candidate patients
could find out which of them are referable. A table does not hide an eye that is alone in its bin from such a server.
"""

from collections.abc import Sequence

import numpy as np

from teledx_fed.core.examples import GRADES
from teledx_fed.core.score_tables import BINS, SHAPES
from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.counts import auroc, auroc_bound, confusion, mean_defined, predicted_grade, ratio
from teledx_fed.evaluation.metrics import METRICS
from teledx_fed.evaluation.predictions import REFERABLE, VISION_THREATENING, Booleans, Floats, Predictions

SUM_DECIMALS = 2

EFFECTS = (
    *("qwk", "referable_auroc", "vision_threatening_auroc", "sensitivity", "specificity", "ppv", "npv"),
    *("ppv_5", "npv_5", "ppv_10", "npv_10", "ppv_20", "npv_20"),
    *("missed_severe", "severe", "accuracy", "macro_f1", "brier"),
)
"""The metrics, in order, whose design effects a site sends with its test table. Others use the largest."""

BOUNDS = ("referable_auroc_bound", "vision_threatening_auroc_bound", "macro_auroc_bound")
SCORES = (
    *(name for name, metric in METRICS.items() if SHAPES.keys() >= set(metric.needs)),
    *("macro_auroc", "mean_score_excess", *BOUNDS),
)
"""`macro_auroc` is the mean AUROC of each grade against the others. `mean_score_excess` is the mean referable score
less the share of referable eyes. Errors: of AUROCs up to their bound, of a site's sums up to 0.005, of counts 0."""


def table(predictions: Predictions, called: Booleans, min_patients: int) -> Tables:
    """Return the tables; empty for fewer than `min_patients` patients."""
    p = predictions
    if p.patients < min_patients:
        return {}
    multiplicity = np.ones((1, p.eyes))
    squared_error = ((p.referable_score - p.referable) ** 2).sum()
    tables = {
        "eyes": np.array([p.eyes], dtype=np.float64),
        "patients": np.array([p.patients], dtype=np.float64),
        "called": confusion(p.referable, called, 2, multiplicity)[0],
        "severe_called": confusion(p.grade >= 3, called, 2, multiplicity)[0, 1],
        "referable_scores": _histogram(p.referable, p.referable_score),
        "referable_sums": np.round([squared_error, p.referable_score.sum()], SUM_DECIMALS),
        "referable_sought": _counts(p.referable_score[p.detectable(REFERABLE)]),
    }
    if p.probabilities is None or p.vision_threatening_score is None:
        return tables
    return tables | {
        "vision_threatening_scores": _histogram(p.vision_threatening, p.vision_threatening_score),
        "urgent_sought": _counts(p.vision_threatening_score[p.detectable(VISION_THREATENING)]),
        "confusion": confusion(p.grade, predicted_grade(p.probabilities), GRADES, multiplicity)[0],
        "grade_scores": np.stack([_histogram(p.grade == grade, p.probabilities[:, grade]) for grade in range(GRADES)]),
    }


def inconsistency(tables: Tables) -> str | None:
    """Return why these counts, which are whole and not negative, cannot be of one evaluation, or None."""
    eyes = float(tables["eyes"][0])
    counts = [table for name, table in tables.items() if name != "referable_sums"]
    once = tables.keys() & {"called", "referable_scores", "vision_threatening_scores", "confusion"}
    totals = [float(tables[name].sum()) for name in once]
    if "grade_scores" in tables:
        totals += tables["grade_scores"].sum(axis=(1, 2)).tolist()
    if (
        any(total != eyes for total in totals)
        or any((count > eyes).any() for count in counts)
        or (tables["referable_sums"] > eyes + 1).any()
    ):
        return "tables must count every eye once"
    pairs = (("referable_sought", "referable_scores"), ("urgent_sought", "vision_threatening_scores"))
    if any((tables[part] > tables[whole][1]).any() for part, whole in pairs if {part, whole} <= tables.keys()):
        return "tables must count no more eyes to be found than are ill"
    return None


def add(tables: Sequence[Tables]) -> Tables:
    """Sum the tables of sites; skip sites that sent none. All must come from one kind of head."""
    filled = [table for table in tables if table]
    assert all(table.keys() == filled[0].keys() for table in filled), "tables must hold the same arrays to be added"
    return {name: np.sum([table[name] for table in filled], axis=0) for name in (filled[0] if filled else ())}


def evidence_counts(tables: Sequence[Tables]) -> Tables:
    """Sum the counts of diseased eyes. A site can claim any number, so it counts at most as much as all others."""
    filled = [table for table in tables if table]
    names = [name for name in ("referable_sought", "urgent_sought") if filled and name in filled[0]]
    return {name: np.sum(_bounded([table[name] for table in filled]), axis=0) for name in names}


def _bounded(counts: Sequence[Floats]) -> list[Floats]:
    total = sum(float(count.sum()) for count in counts)
    limits = [total - float(count.sum()) if len(counts) > 1 else total for count in counts]
    return [
        count if count.sum() <= limit else np.floor(count * (limit / count.sum()))
        for count, limit in zip(counts, limits, strict=True)
    ]


def scores(tables: Tables) -> dict[str, float | None]:
    """Return SCORES by name; None where one is not finite or an array that it needs is missing."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = measure({name: array[None] for name, array in tables.items()})
    finite = {name: float(value[0]) for name, value in values.items() if np.isfinite(value[0])}
    return {name: finite.get(name) for name in SCORES}


def measure(tables: Tables) -> dict[str, Floats]:
    """Return scores (B,) of tables with a leading axis of replicates."""
    values = {name: metric.of(tables) for name, metric in METRICS.items()}
    scores = {name: value for name, value in values.items() if value is not None}
    for name in ("referable", "vision_threatening"):
        if (counts := tables.get(f"{name}_scores")) is not None:
            scores[f"{name}_auroc_bound"] = auroc_bound(counts)
    if "grade_scores" in tables:
        grades = np.moveaxis(tables["grade_scores"], 1, 0)
        scores["macro_auroc"] = mean_defined(np.stack([auroc(counts) for counts in grades]), axis=0)
        scores["macro_auroc_bound"] = mean_defined(np.stack([auroc_bound(counts) for counts in grades]), axis=0)
    if "referable_scores" in tables and "referable_sums" in tables:
        eyes, score = tables["referable_scores"].sum(axis=(1, 2)), tables["referable_sums"][:, 1]
        scores["mean_score_excess"] = ratio(score - tables["referable_scores"][:, 1].sum(axis=1), eyes)
    return scores


def resample(tables: Tables, design_effect: float, replicates: int, generator: np.random.Generator) -> Tables:
    """Return replicates (B, …): Poisson cells whose variance is `design_effect` times that of independent eyes.

    Sums vary with their histogram, taken at the middles of its bins.
    """

    def poisson(cells: Floats) -> Floats:
        return np.asarray(design_effect * generator.poisson(cells / design_effect, (replicates, *cells.shape)))

    resampled = {name: poisson(cells) for name, cells in tables.items() if name != "referable_sums"}
    if "referable_sums" in tables:
        middle = (np.arange(BINS) + 0.5) / BINS
        squared_error, score = np.stack([middle**2, (1 - middle) ** 2]), np.stack([middle, middle])
        weights = np.stack([squared_error, score]).reshape(2, -1).T
        binned = tables["referable_scores"].ravel() @ weights
        relative = resampled["referable_scores"].reshape(replicates, -1) @ weights / binned
        resampled["referable_sums"] = tables["referable_sums"] * relative
    return resampled


def _histogram(truth: Booleans, scores: Floats) -> Floats:
    return np.stack([_counts(scores[~truth]), _counts(scores[truth])])


def _counts(scores: Floats) -> Floats:
    cell = np.minimum(scores * BINS, BINS - 1).astype(np.int64)
    return np.bincount(cell, minlength=BINS).astype(np.float64)
