from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.deployment.site_settings import ApprovalSettings, LimitSettings, SiteSettings
from teledx_fed.deployment.terms import (
    Asked,
    Refusal,
    Today,
    as_ordered,
    neighbours,
    refusal,
    too_many_batches,
    within_hours,
)
from teledx_fed.records import LocalTraining
from teledx_fed.settings import Settings

FRESH = Today(0, 0)
NOON = datetime(2026, 11, 25, 12)
APPROVED = ApprovalSettings("R1", "screening", ["quick"], "2026-11-25")
TRAINING = Settings().local_training(1)


def own(**limits: object) -> SiteSettings:
    return SiteSettings("north", "localhost:9092", approval=APPROVED, limits=LimitSettings(**limits))  # type: ignore[arg-type]


def asked(training: LocalTraining | None = TRAINING, experiment: str = "quick", release: str = "0.1.0") -> Asked:
    return Asked(experiment, release, training)


def found(asked: Asked, own: SiteSettings, today: Today = FRESH, now: datetime = NOON) -> Refusal | None:
    return refusal(asked, own, "0.1.3", today, now)


def test_what_is_within_the_terms_is_not_refused() -> None:
    assert found(asked(), own(epochs=1, rounds_a_day=1, hours="08:00-18:00")) is None


@pytest.mark.parametrize(
    "approval",
    [
        ApprovalSettings(),
        replace(APPROVED, reference=""),
        replace(APPROVED, purpose=""),
        replace(APPROVED, expires=""),
        replace(APPROVED, expires="2026-11-24"),
    ],
)
@pytest.mark.parametrize("training", [TRAINING, None])
def test_without_an_approval_in_force_nothing_is_answered(
    approval: ApprovalSettings, training: LocalTraining | None
) -> None:
    assert found(asked(training), replace(own(), approval=approval)) is Refusal.NOT_APPROVED


def test_an_approval_holds_for_its_experiments_alone() -> None:
    assert found(asked(experiment="quick_full"), own()) is Refusal.EXPERIMENT


@pytest.mark.parametrize(
    ("limits", "training", "today", "refused"),
    [
        ({"epochs": 2}, replace(TRAINING, epochs=3), Today(0, 0), Refusal.EPOCHS),
        ({"rounds_a_day": 4}, TRAINING, Today(4, 4), Refusal.ROUNDS),
        ({"questions_a_day": 30}, None, Today(4, 30), Refusal.QUESTIONS),
        ({}, None, Today(0, 200), Refusal.QUESTIONS),
        ({"epsilon": 8.0}, TRAINING, Today(0, 0), Refusal.EPSILON),
        ({"hours": "20:00-06:00"}, TRAINING, Today(0, 0), Refusal.NOT_NOW),
    ],
)
def test_more_than_the_limits_is_refused_with_its_reason(
    limits: dict[str, object], training: LocalTraining | None, today: Today, refused: Refusal
) -> None:
    assert found(asked(training), own(**limits), today) is refused


def test_limits_on_training_do_not_stop_a_score() -> None:
    assert found(asked(training=None), own(epochs=1, rounds_a_day=1, epsilon=1.0), Today(9, 9)) is None


def test_a_round_asks_for_what_the_settings_of_its_run_do() -> None:
    assert as_ordered(replace(TRAINING, learning_rate=TRAINING.learning_rate * (1 + 1e-15)), TRAINING)
    for other in ({"views": 10**9}, {"batch_size": 10**6}, {"learning_rate": 0.5}, {"seed": 1}):
        assert not as_ordered(replace(TRAINING, **other), TRAINING)  # type: ignore[arg-type]


def test_batches_are_those_of_the_shard_that_the_site_has() -> None:
    training = replace(TRAINING, epochs=2, batch_size=10)
    assert not too_many_batches(training, 45, own(batches=10))
    assert too_many_batches(training, 51, own(batches=10))
    assert too_many_batches(replace(training, views=3), 45, own(batches=10))
    assert not too_many_batches(training, 10**6, own())


@given(st.times())
def test_a_window_over_midnight_is_the_rest_of_one_over_noon(moment: object) -> None:
    now = datetime.combine(NOON, moment)  # type: ignore[arg-type]
    assert within_hours(own(hours="20:00-06:00"), now) != within_hours(own(hours="06:00-20:00"), now)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("0.1.0", "0.1.9", True),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.3.0", False),
        ("1.0.0", "2.0.0", False),
        ("", "0.1.0", False),
        ("one.two", "0.1.0", False),
    ],
)
def test_one_minor_release_apart_still_takes_part(one: str, other: str, near: bool) -> None:
    assert neighbours(one, other) == neighbours(other, one) == near


@pytest.mark.parametrize("hours", ["20:00", "late", "25:00-06:00"])
def test_hours_that_are_none_are_an_error(hours: str) -> None:
    with pytest.raises(ValueError, match=r"limits.hours must be HH:MM-HH:MM"):
        own(hours=hours)
