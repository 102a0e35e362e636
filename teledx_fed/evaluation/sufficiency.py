"""Find metrics with too few tested patients: their intervals would describe one or two patients."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import numpy as np

from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.predictions import Booleans, Predictions

FEWEST = 4
"""The patients of each kind that a metric needs. A bootstrap replicate of n patients is n times the lowest one with
probability n^-n. Up to n = 3 that exceeds 2.5 %: the ends of a 95 % interval would be single patients."""


class Kind(StrEnum):
    """A kind of patients that a metric can need."""

    TESTED = "tested"
    REFERABLE = "referable"
    NOT_REFERABLE = "not referable"
    VISION_THREATENING = "vision-threatening"
    NOT_VISION_THREATENING = "not vision-threatening"
    NOT_COMMONEST_GRADE = "of another grade than the commonest"
    CALLED = "called referable"
    NOT_CALLED = "called not referable"


PatientCounts = Mapping[Kind, int]
"""How many patients have an eye of each kind."""


def patients_of_kinds(predictions: Predictions, called: Booleans) -> dict[Kind, int]:
    """Count the patients of each kind, with the eyes `called` referable (n,)."""
    p = predictions
    eyes = {
        Kind.TESTED: np.ones(p.eyes, dtype=bool),
        Kind.REFERABLE: p.referable,
        Kind.NOT_REFERABLE: ~p.referable,
        Kind.VISION_THREATENING: p.vision_threatening,
        Kind.NOT_VISION_THREATENING: ~p.vision_threatening,
        Kind.NOT_COMMONEST_GRADE: p.grade != np.bincount(p.grade).argmax(),
        Kind.CALLED: called,
        Kind.NOT_CALLED: ~called,
    }
    return {kind: np.unique(p.patient[these]).size for kind, these in eyes.items()}


def eyes_of_kinds(tables: Tables) -> dict[Kind, int]:
    """Count the eyes of each kind in summed tables; leave out kinds that the tables lack."""
    (passed, alarmed), (missed, caught) = tables["called"]
    eyes = {
        Kind.TESTED: tables["eyes"][0],
        Kind.REFERABLE: missed + caught,
        Kind.NOT_REFERABLE: passed + alarmed,
        Kind.CALLED: alarmed + caught,
        Kind.NOT_CALLED: passed + missed,
    }
    if "vision_threatening_scores" in tables:
        safe, threatened = tables["vision_threatening_scores"].sum(axis=1)
        eyes |= {Kind.VISION_THREATENING: threatened, Kind.NOT_VISION_THREATENING: safe}
    if "confusion" in tables:
        rows = tables["confusion"].sum(axis=1)
        eyes[Kind.NOT_COMMONEST_GRADE] = rows.sum() - rows.max()
    return {kind: int(count) for kind, count in eyes.items()}


def lacking(counts: PatientCounts) -> dict[Kind, int]:
    """Return the kinds of which there are fewer than `FEWEST`."""
    return {kind: count for kind, count in counts.items() if count < FEWEST}


def has_too_few(kinds: Iterable[Kind], counts: PatientCounts) -> bool:
    """Whether `counts` has too few patients of one of the kinds that a metric needs."""
    few = lacking(counts)
    return any(kind in few for kind in kinds)
