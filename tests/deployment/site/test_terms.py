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
    data_refusal,
    neighbours,
    plan_refusal,
    refusal,
    same_training,
    within_hours,
)

FRESH = Today(0, 0)
NOON = datetime(2026, 11, 25, 12)
TRAINING = Settings().local_training(1)


def site_settings(**limits: object) -> SiteSettings:
    return SiteSettings("north", "localhost:9092", limits=LimitSettings(**limits))  # type: ignore[arg-type]


def refusal_of(
    site_settings: SiteSettings, trains: bool = True, today: Today = FRESH, release: str = "0.1.0"
) -> Refusal | None:
    return refusal(release, "0.1.3", trains, site_settings, today, NOON)


def test_a_message_within_the_limits_is_not_refused() -> None:
    assert refusal_of(site_settings(rounds_a_day=1, hours="08:00-18:00")) is None


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
def test_a_message_beyond_the_daily_limits_is_refused_with_the_reason(
    limits: dict[str, object], trains: bool, today: Today, refused: Refusal | None
) -> None:
    assert refusal_of(site_settings(**limits), trains, today) is refused


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"training": {"epochs": 51}}, Refusal.EPOCHS),
        ({"training": {"batch_size": 7}}, Refusal.BATCH_SIZE),
        ({"training": {"clip_norm": 1e-8}}, Refusal.CLIPPING),
        ({"training": {"optimizer": "sgd"}}, Refusal.OPTIMIZER),
        ({"training": {"learning_rate": 0.02}}, Refusal.LEARNING_RATE),
        ({"training": {"learning_rate": 1e-9}}, Refusal.LEARNING_RATE),
        ({"model": {"name": "vit_small_patch16_224", "initial": "none"}}, Refusal.NETWORK),
        ({"model": {"head": "referable"}}, Refusal.HEAD),
        ({"model": {"initial": "hub"}}, Refusal.START),
        ({"data": {"image_size": 2048}}, Refusal.IMAGE_SIZE),
        ({}, None),
    ],
)
def test_the_default_limits_accept_the_defaults_and_refuse_runs_that_reveal_photographs(
    settings: dict[str, object], refused: Refusal | None
) -> None:
    assert plan_refusal(build(settings), LimitSettings()) is refused


def test_a_round_must_have_the_plan_s_training() -> None:
    assert same_training(replace(TRAINING, learning_rate=TRAINING.learning_rate * (1 + 1e-15)), TRAINING)
    for other in ({"views": 10**9}, {"batch_size": 10**6}, {"learning_rate": 0.5}, {"seed": 1}):
        assert not same_training(replace(TRAINING, **other), TRAINING)  # type: ignore[arg-type]


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
def test_limits_of_steps_and_patients_apply_to_the_site_s_shard(
    changed: dict[str, object], photographs: int, patients: int, refused: Refusal | None
) -> None:
    training = Settings(training=TrainingSettings(**changed)).local_training(1)  # type: ignore[arg-type]
    assert data_refusal(training, photographs, patients, LimitSettings()) is refused


@given(st.times())
def test_hours_past_midnight_are_the_complement_of_hours_over_noon(moment: object) -> None:
    now = datetime.combine(NOON, moment)  # type: ignore[arg-type]
    assert within_hours(site_settings(hours="20:00-06:00"), now) != within_hours(
        site_settings(hours="06:00-20:00"), now
    )


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
def test_releases_one_minor_version_apart_work_together(one: str, other: str, near: bool) -> None:
    assert neighbours(one, other) == neighbours(other, one) == near


@pytest.mark.parametrize("hours", ["20:00", "late", "25:00-06:00"])
def test_invalid_hours_are_an_error(hours: str) -> None:
    with pytest.raises(ValueError, match=r"limits.hours must be HH:MM-HH:MM"):
        site_settings(hours=hours)
