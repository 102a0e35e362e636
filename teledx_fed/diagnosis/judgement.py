"""Suggestion for a patient from the results of all photographs, never milder than that of the worse eye."""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.clinical import (
    Action,
    Certainty,
    Diagnosis,
    EyeDiagnosis,
    Fault,
    Gap,
    Graded,
    OutOfScope,
    PatientRecord,
    Reason,
    most_urgent,
)
from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.disc import Disc
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.evaluation.predictions import REFERABLE

BOTH = (Eye.RIGHT, Eye.LEFT)
DOUBTS = (
    Certainty.OUT_OF_SCOPE,
    Certainty.UNGRADABLE,
    Certainty.INCOMPLETE,
    Certainty.UNCERTAIN,
    Certainty.CONFIDENT,
)
"""In order of priority: the patient gets the first that an eye has."""


@dataclass(frozen=True)
class PhotographResult:
    """The model's result for one photograph.

    `outside` are reasons why the photograph is out of the model's scope; `doubts` concern its eye or its patient.
    `graded` is set even for a photograph with faults, if it shows a fundus: disease in a poor photograph is still
    disease. `pixels` (height, width, 3) are the whole photograph. `heat` (h, w), 0 to 1, covers the prepared square; it
    is None if the model did not run.
    """

    eye: Eye
    field: Field
    faults: tuple[Fault, ...] = ()
    outside: tuple[OutOfScope, ...] = ()
    doubts: tuple[Gap, ...] = ()
    graded: Graded | None = None
    disc: Disc | None = None
    pixels: NDArray[np.uint8] | None = dataclass_field(default=None, compare=False, repr=False)
    heat: NDArray[np.float32] | None = dataclass_field(default=None, compare=False, repr=False)


def judge(
    results: Sequence[PhotographResult],
    record: PatientRecord,
    referral: ReferralSettings,
    model: str,
    demonstration: bool,
) -> Diagnosis:
    """Return the suggestion for a patient from the results of all photographs of the study."""
    outside = referral.outside(record)
    eyes = tuple(
        _eye(eye, [result for result in results if result.eye is eye], outside)
        for eye in (*BOTH, Eye.UNKNOWN)
        if any(result.eye is eye for result in results)
    )
    gaps = _gaps({eye.eye for eye in eyes})
    doubts = {eye.certainty for eye in eyes} | ({Certainty.INCOMPLETE} if gaps else set())
    action = most_urgent([*(eye.action for eye in eyes), Action.RETAKE if gaps else Action.RESCREEN])
    return Diagnosis(
        eyes=eyes,
        certainty=next(doubt for doubt in DOUBTS if doubt in doubts),
        action=action,
        months=_months(eyes, action, referral),
        model=model,
        demonstration=demonstration,
        reasons=(*gaps, *outside),
    )


def _eye(eye: Eye, results: Sequence[PhotographResult], outside: tuple[OutOfScope, ...]) -> EyeDiagnosis:
    """Return the suggestion for an eye: the grade of its worst photograph, and the doubts of all."""
    worst = max((result.graded for result in results if result.graded), key=_gravity, default=None)
    certainty, floor, reasons = _doubt(results, outside, worst)
    decisions = [Action.URGENT] * (worst is not None and worst.is_urgent is True)
    decisions += [Action.REFER] * (worst is not None and worst.refers is True)
    doubts = (doubt for result in results for doubt in result.doubts)
    return EyeDiagnosis(
        eye, certainty, most_urgent([floor, *decisions]), tuple(dict.fromkeys((*reasons, *doubts))), worst
    )


def _doubt(
    results: Sequence[PhotographResult], outside: tuple[OutOfScope, ...], worst: Graded | None
) -> tuple[Certainty, Action, tuple[Reason, ...]]:
    """Return the certainty of an eye, the mildest action that it allows, and the reasons."""
    whole = [result for result in results if not result.faults]
    if outside or any(result.outside for result in results):
        reasons = dict.fromkeys(reason for result in results for reason in result.outside)
        return Certainty.OUT_OF_SCOPE, Action.HUMAN_READ, tuple(reasons)
    if worst is None or not whole:
        return Certainty.UNGRADABLE, Action.RETAKE, tuple(dict.fromkeys(f for result in results for f in result.faults))
    if any(result.doubts for result in results):
        return Certainty.INCOMPLETE, Action.HUMAN_READ, ()
    if all(result.field is Field.DISC for result in whole):
        return Certainty.INCOMPLETE, Action.RETAKE, (Gap.NO_MACULA,)
    if not any(result.field is Field.MACULA for result in whole):
        return Certainty.INCOMPLETE, Action.HUMAN_READ, (Gap.NO_MACULA,)
    if {grade >= REFERABLE for grade in worst.grades} != {worst.refers}:
        return Certainty.UNCERTAIN, Action.HUMAN_READ, ()
    return Certainty.CONFIDENT, Action.RESCREEN, ()


def _gaps(eyes: set[Eye]) -> tuple[Gap, ...]:
    unknown = (Gap.EYE_UNKNOWN,) if Eye.UNKNOWN in eyes else ()
    return (Gap.EYE_MISSING, *unknown) if not set(BOTH) <= eyes else unknown


def _months(eyes: Sequence[EyeDiagnosis], action: Action, referral: ReferralSettings) -> float | None:
    if action in (Action.RETAKE, Action.HUMAN_READ):
        return None
    return min(referral.months_until(eye.graded) for eye in eyes if eye.graded)


def _gravity(graded: Graded) -> tuple[bool, bool, float, int, float, tuple[int, ...]]:
    oedema = graded.oedema or 0.0
    return bool(graded.is_urgent), bool(graded.refers), graded.referable, graded.grade, oedema, graded.grades
