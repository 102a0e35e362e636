"""The suggestion is never milder than that of the worse eye, for any combination of photographs."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teledx_fed.core.clinical import (
    Action,
    Certainty,
    Diabetes,
    Diagnosis,
    Fault,
    Gap,
    Graded,
    OutOfScope,
    PatientRecord,
    most_urgent,
)
from teledx_fed.core.examples import GRADES, Eye, Field
from teledx_fed.diagnosis.judgement import PhotographResult, judge
from teledx_fed.diagnosis.referral import ReferralSettings

NOTHING_KNOWN = PatientRecord()
REFERRAL = ReferralSettings()
EYES = (Eye.RIGHT, Eye.LEFT)


def graded(grade: int, oedema: float | None = None, grades: tuple[int, ...] = ()) -> Graded:
    probabilities = tuple(0.9 if other == grade else 0.025 for other in range(GRADES))
    referable, threatening = sum(probabilities[2:]), sum(probabilities[3:])
    signs = oedema is not None and oedema >= 0.5
    return Graded(
        probabilities,
        grades or (grade,),
        max(referable, oedema or 0),
        max(threatening, oedema or 0),
        grade >= 2 or signs,
        grade >= 3 or signs,
        oedema,
    )


def eye(
    which: Eye, shows: str | int, oedema: float | None = None, field: Field = Field.MACULA
) -> list[PhotographResult]:
    if shows == "missing":
        return []
    if shows == "no fundus":
        return [PhotographResult(which, field, (Fault.NOT_A_FUNDUS,))]
    if shows == "ungradable":
        return [PhotographResult(which, field, (Fault.BLURRED,), graded=graded(0, oedema))]
    return [PhotographResult(which, field, graded=graded(int(shows), oedema))]


def judged(*results: PhotographResult, record: PatientRecord = NOTHING_KNOWN) -> Diagnosis:
    return judge(results, record, REFERRAL, "digest", False)


SHOWN = [*range(GRADES), "ungradable", "no fundus", "missing"]


@pytest.mark.parametrize(("right", "left"), [pair for pair in product(SHOWN, SHOWN) if pair != ("missing",) * 2])
@pytest.mark.parametrize("oedema", [None, 0.1, 0.9])
def test_the_suggestion_is_never_milder_than_that_of_the_worse_eye(right, left, oedema) -> None:
    diagnosis = judged(*eye(Eye.RIGHT, right, oedema), *eye(Eye.LEFT, left))
    alone = [
        judged(*results).eyes[0].action for results in (eye(Eye.RIGHT, right, oedema), eye(Eye.LEFT, left)) if results
    ]
    assert most_urgent([diagnosis.action, *alone]) == diagnosis.action
    grades = [shown for shown in (right, left) if isinstance(shown, int)]
    if max(grades, default=0) >= 3:
        assert diagnosis.action is Action.URGENT
    elif max(grades, default=0) == 2:
        assert most_urgent([diagnosis.action, Action.REFER]) == diagnosis.action
    if {"ungradable", "no fundus", "missing"} & {right, left}:
        assert diagnosis.action is not Action.RESCREEN
        assert diagnosis.certainty is not Certainty.CONFIDENT
    if diagnosis.action is Action.RESCREEN:
        assert max(grades) <= 1
        assert len(grades) == 2


seen_photographs = st.builds(
    PhotographResult,
    eye=st.sampled_from(list(Eye)),
    field=st.sampled_from(list(Field)),
    faults=st.lists(st.sampled_from(list(Fault)), max_size=2, unique=True).map(tuple),
    outside=st.lists(st.sampled_from([OutOfScope.CAMERA, OutOfScope.IMAGE_SIZE]), max_size=1).map(tuple),
    doubts=st.lists(st.sampled_from(list(Gap)), max_size=2, unique=True).map(tuple),
    graded=st.none()
    | st.builds(
        graded,
        st.integers(0, 4),
        st.none() | st.floats(0, 1),
        st.lists(st.integers(0, 4), min_size=1, unique=True).map(tuple),
    ),
)


@given(st.lists(seen_photographs, min_size=1, max_size=6), seen_photographs)
def test_another_photograph_never_makes_the_suggestion_of_a_diseased_eye_milder(results, more) -> None:
    before, after = judged(*results), judged(*results, more)
    if any(one.graded and one.graded.refers for one in results):
        assert most_urgent([after.action, Action.REFER]) == after.action
    assert (before.action is Action.URGENT) <= (after.action is Action.URGENT)


@settings(max_examples=40)
@given(st.lists(seen_photographs, min_size=1, max_size=3), st.booleans())
def test_a_withheld_threshold_makes_no_eye_milder(results, referral_too: bool) -> None:
    """Without an urgent threshold, an eye is still referred; without a referral threshold, a clinician reads it."""

    def withheld(one: Graded) -> Graded:
        return replace(one, is_urgent=None, refers=one.refers or (None if referral_too else False))

    after = judged(*(replace(one, graded=one.graded and withheld(one.graded)) for one in results))
    for before, eye in zip(judged(*results).eyes, after.eyes, strict=True):
        expected = Action.REFER if before.action is Action.URGENT else before.action
        assert most_urgent([eye.action, expected]) == eye.action
        assert eye.action is not Action.URGENT
        if eye.graded is not None and eye.graded.refers is None:
            assert eye.action is not Action.RESCREEN


@given(st.lists(seen_photographs, min_size=1, max_size=6))
def test_rescreening_asks_for_two_whole_eyes_that_are_centred_on_the_macula(results) -> None:
    diagnosis = judged(*results)
    if diagnosis.action is Action.RESCREEN:
        assert {one.eye for one in results} == set(EYES)
        assert diagnosis.certainty is Certainty.CONFIDENT
        for which in EYES:
            whole = [one for one in results if one.eye is which and not one.faults]
            assert any(one.field is Field.MACULA for one in whole)
        assert not any(one.graded.refers for one in results if one.graded)
    assert (diagnosis.months is None) == (diagnosis.action in (Action.RETAKE, Action.HUMAN_READ))


@given(st.lists(seen_photographs, min_size=2, max_size=6), st.randoms())
def test_the_order_of_photographs_does_not_matter(results, random) -> None:
    shuffled = random.sample(results, len(results))
    one, other = judged(*results), judged(*shuffled)
    assert (one.action, one.certainty, one.months) == (other.action, other.certainty, other.months)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (PatientRecord(age=12), OutOfScope.AGE),
        (PatientRecord(pregnant=True), OutOfScope.PREGNANCY),
        (PatientRecord(diabetes=Diabetes.NONE), OutOfScope.NO_DIABETES),
        (PatientRecord(treated=True), OutOfScope.TREATED),
        (PatientRecord(known_retinopathy=True), OutOfScope.KNOWN_RETINOPATHY),
        (PatientRecord(acuity=0.3), OutOfScope.ACUITY),
        (PatientRecord(symptoms=True), OutOfScope.SYMPTOMS),
    ],
)
def test_outside_the_intended_use_a_clinician_reads_the_study(record, reason) -> None:
    diagnosis = judged(*eye(Eye.RIGHT, 0), *eye(Eye.LEFT, 0), record=record)
    assert (diagnosis.certainty, diagnosis.action, diagnosis.reasons) == (
        Certainty.OUT_OF_SCOPE,
        Action.HUMAN_READ,
        (reason,),
    )
    assert judged(*eye(Eye.RIGHT, 4), *eye(Eye.LEFT, 0), record=record).action is Action.URGENT


def test_a_poor_photograph_that_shows_disease_still_refers() -> None:
    poor = PhotographResult(Eye.RIGHT, Field.MACULA, (Fault.TOO_DARK,), graded=graded(2))
    diagnosis = judged(poor, *eye(Eye.LEFT, 0))
    assert diagnosis.action is Action.REFER
    assert diagnosis.eyes[0].certainty is Certainty.UNGRADABLE


def test_an_eye_without_its_macula_is_incomplete() -> None:
    disc = judged(*eye(Eye.RIGHT, 0, field=Field.DISC), *eye(Eye.LEFT, 0))
    assert (disc.eyes[0].certainty, disc.eyes[0].action) == (Certainty.INCOMPLETE, Action.RETAKE)
    both = judged(*eye(Eye.RIGHT, 0, field=Field.DISC), *eye(Eye.RIGHT, 0), *eye(Eye.LEFT, 0))
    assert both.action is Action.RESCREEN


def test_grades_on_both_sides_of_referral_are_uncertain() -> None:
    uncertain = PhotographResult(Eye.RIGHT, Field.MACULA, graded=graded(1, grades=(1, 2)))
    diagnosis = judged(uncertain, *eye(Eye.LEFT, 0))
    assert (diagnosis.certainty, diagnosis.action) == (Certainty.UNCERTAIN, Action.HUMAN_READ)


def test_a_disc_on_the_wrong_side_is_reported_and_the_eyes_are_not_swapped() -> None:
    contradicted = PhotographResult(Eye.RIGHT, Field.MACULA, doubts=(Gap.EYE_CONTRADICTED,), graded=graded(0))
    diagnosis = judged(contradicted, *eye(Eye.LEFT, 0))
    assert diagnosis.eyes[0].eye is Eye.RIGHT
    assert (diagnosis.eyes[0].reasons, diagnosis.action) == ((Gap.EYE_CONTRADICTED,), Action.HUMAN_READ)


def test_an_unknown_eye_makes_the_study_incomplete() -> None:
    diagnosis = judged(*eye(Eye.UNKNOWN, 0))
    assert (diagnosis.certainty, diagnosis.action) == (Certainty.INCOMPLETE, Action.RETAKE)
    assert set(diagnosis.reasons) == {Gap.EYE_UNKNOWN, Gap.EYE_MISSING}


def test_months_follow_the_worse_eye_and_signs_of_oedema() -> None:
    assert judged(*eye(Eye.RIGHT, 0), *eye(Eye.LEFT, 0)).months == 12
    assert judged(*eye(Eye.RIGHT, 1), *eye(Eye.LEFT, 0)).months == 6
    assert judged(*eye(Eye.RIGHT, 1), *eye(Eye.LEFT, 4)).months == 0.5
    assert judged(*eye(Eye.RIGHT, 1, oedema=0.9), *eye(Eye.LEFT, 0)).months == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"months": [12, 6, 3, 1]}, "referral.months must be 5 numbers above 0"),
        ({"months": [1, 2, 3, 4, 5]}, "none larger than the one before"),
        ({"youngest": -1}, "referral.youngest must lie in"),
    ],
)
def test_invalid_referral_rules_are_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        ReferralSettings(**change)
