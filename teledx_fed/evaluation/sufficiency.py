"""Find metrics with too few tested patients: their intervals would describe one or two patients."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import numpy as np

from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.predictions import Booleans, Predictions

FEWEST = 4
"""The patients of each kind that a metric needs. A bootstrap replicate of n patients is n times the lowest one with
probability n^-n. Up to n = 3 that exceeds 2.5 %: the ends of a 95 % interval would be single patients."""


class PatientKind(StrEnum):
    """A kind of patients that a metric can need."""

    TESTED = "tested"
    REFERABLE = "referable"
    NOT_REFERABLE = "not referable"
    VISION_THREATENING = "vision-threatening"
    NOT_VISION_THREATENING = "not vision-threatening"
    NOT_COMMONEST_GRADE = "of another grade than the commonest"
    CALLED = "called referable"
    NOT_CALLED = "called not referable"


PatientCounts = Mapping[PatientKind, int]
"""How many patients have an eye of each kind."""


def patients_of_kinds(predictions: Predictions, called: Booleans) -> dict[PatientKind, int]:
    """Count the patients of each kind, with the eyes `called` referable (n,)."""
    p = predictions
    eyes = {
        PatientKind.TESTED: np.ones(p.eyes, dtype=bool),
        PatientKind.REFERABLE: p.referable,
        PatientKind.NOT_REFERABLE: ~p.referable,
        PatientKind.VISION_THREATENING: p.vision_threatening,
        PatientKind.NOT_VISION_THREATENING: ~p.vision_threatening,
        PatientKind.NOT_COMMONEST_GRADE: p.grade != np.bincount(p.grade).argmax(),
        PatientKind.CALLED: called,
        PatientKind.NOT_CALLED: ~called,
    }
    return {kind: np.unique(p.patient[these]).size for kind, these in eyes.items()}


def eyes_of_kinds(tables: Tables) -> dict[PatientKind, int]:
    """Count the eyes of each kind in summed tables; leave out kinds that the tables lack."""
    (passed, alarmed), (missed, caught) = tables["called"]
    eyes = {
        PatientKind.TESTED: tables["eyes"][0],
        PatientKind.REFERABLE: missed + caught,
        PatientKind.NOT_REFERABLE: passed + alarmed,
        PatientKind.CALLED: alarmed + caught,
        PatientKind.NOT_CALLED: passed + missed,
    }
    if "vision_threatening_scores" in tables:
        safe, threatened = tables["vision_threatening_scores"].sum(axis=1)
        eyes |= {PatientKind.VISION_THREATENING: threatened, PatientKind.NOT_VISION_THREATENING: safe}
    if "confusion" in tables:
        rows = tables["confusion"].sum(axis=1)
        eyes[PatientKind.NOT_COMMONEST_GRADE] = rows.sum() - rows.max()
    return {kind: int(count) for kind, count in eyes.items()}


def lacking(counts: PatientCounts) -> dict[PatientKind, int]:
    """Return the kinds of which there are fewer than `FEWEST`."""
    return {kind: count for kind, count in counts.items() if count < FEWEST}


def has_too_few(kinds: Iterable[PatientKind], counts: PatientCounts) -> bool:
    """Whether `counts` has too few patients of one of the kinds that a metric needs."""
    few = lacking(counts)
    return any(kind in few for kind in kinds)
