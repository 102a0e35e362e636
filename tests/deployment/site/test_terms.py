from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.config.learning import TrainingSettings
from teledx_fed.config.loading import build
from teledx_fed.config.settings import Settings
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.settings import LimitSettings, SiteSettings
from teledx_fed.deployment.site.terms import (
    Today,
    as_ordered,
    data_refusal,
    neighbours,
    plan_refusal,
    refusal,
    within_hours,
)

FRESH = Today(0, 0)
NOON = datetime(2026, 11, 25, 12)
TRAINING = Settings().local_training(1)


def own(**limits: object) -> SiteSettings:
    return SiteSettings("north", "localhost:9092", limits=LimitSettings(**limits))  # type: ignore[arg-type]


def found(own: SiteSettings, trains: bool = True, today: Today = FRESH, release: str = "0.1.0") -> Refusal | None:
    return refusal(release, "0.1.3", trains, own, today, NOON)


def test_what_is_within_the_terms_is_not_refused() -> None:
    assert found(own(rounds_a_day=1, hours="08:00-18:00")) is None


@pytest.mark.parametrize(
    ("limits", "trains", "today", "refused"),
    [
        ({"rounds_a_day": 4}, True, Today(4, 4), Refusal.ROUNDS),
        ({"rounds_a_day": 4}, False, Today(4, 4), None),
        ({"questions_a_day": 30}, False, Today(4, 30), Refusal.QUESTIONS),
        ({}, False, Today(0, 200), Refusal.QUESTIONS),
        ({"hours": "20:00-06:00"}, True, Today(0, 0), Refusal.NOT_NOW),
    ],
)
def test_more_than_the_limits_of_a_day_is_refused_with_its_reason(
    limits: dict[str, object], trains: bool, today: Today, refused: Refusal | None
) -> None:
    assert found(own(**limits), trains, today) is refused


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({"training": {"epochs": 51}}, Refusal.EPOCHS),
        ({"training": {"batch_size": 7}}, Refusal.BATCH_SIZE),
        ({"training": {"clip_norm": 1e-8}}, Refusal.CLIPPING),
        ({"training": {"optimizer": "sgd"}}, Refusal.OPTIMIZER),
        ({"training": {"learning_rate": 0.02}}, Refusal.LEARNING_RATE),
        ({"training": {"learning_rate": 1e-9}}, Refusal.LEARNING_RATE),
        ({"model": {"name": "vit_small_patch16_224", "initial": "none"}}, Refusal.NETWORK),
        ({"model": {"head": "seed"}}, Refusal.HEAD),
        ({"model": {"initial": "hub"}}, Refusal.START),
        ({"data": {"image_size": 2048}}, Refusal.IMAGE_SIZE),
        ({}, None),
    ],
)
def test_the_default_limits_take_the_projects_own_runs_and_none_that_give_photographs_back(
    asked: dict[str, object], refused: Refusal | None
) -> None:
    assert plan_refusal(build(asked), LimitSettings()) is refused


def test_a_round_asks_for_what_its_plan_does() -> None:
    assert as_ordered(replace(TRAINING, learning_rate=TRAINING.learning_rate * (1 + 1e-15)), TRAINING)
    for other in ({"views": 10**9}, {"batch_size": 10**6}, {"learning_rate": 0.5}, {"seed": 1}):
        assert not as_ordered(replace(TRAINING, **other), TRAINING)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "photographs", "patients", "refused"),
    [
        ({}, 100, 50, None),
        ({}, 100, 49, Refusal.PATIENTS),
        ({}, 96, 50, Refusal.STEPS),  # three steps
        ({"batch_size": 4096}, 100, 50, Refusal.STEPS),  # one step on all photographs: a gradient
        ({"batch_size": 4096, "epochs": 4}, 100, 50, None),
        ({"batch_size": 10, "views": 50}, 5000, 50, Refusal.STEPS),
        ({"batch_size": 10, "epochs": 50}, 5000, 50, Refusal.STEPS),
    ],
)
def test_steps_and_patients_are_those_of_the_shard_that_the_site_has(
    changed: dict[str, object], photographs: int, patients: int, refused: Refusal | None
) -> None:
    training = Settings(training=TrainingSettings(**changed)).local_training(1)  # type: ignore[arg-type]
    assert data_refusal(training, photographs, patients, LimitSettings()) is refused


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
