"""Decide what a hospital refuses. A refused coordinator receives the reason and nothing else."""

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil, isclose

from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import LocalTraining
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.settings import LimitSettings, SiteSettings
from teledx_fed.model.heads import HEADS

OFFLINE = ("lite0", "none", "file")
"""Initial weights that a hospital has without a download; the hospital must already have the file."""


@dataclass(frozen=True)
class Today:
    """The hospital's counts since midnight: rounds of training, and questions of any kind."""

    rounds: int
    questions: int


def refusal(
    release: str, site_release: str, trains: bool, settings: SiteSettings, today: Today, now: datetime
) -> Refusal | None:
    """Return why a message of any plan is refused, or None; `now` is local time."""
    limits = settings.limits
    if not neighbours(release, site_release):
        return Refusal.RELEASE
    if not within_hours(settings, now):
        return Refusal.NOT_NOW
    if limits.questions_a_day is not None and today.questions >= limits.questions_a_day:
        return Refusal.QUESTIONS
    if trains and limits.rounds_a_day is not None and today.rounds >= limits.rounds_a_day:
        return Refusal.ROUNDS
    return None


def plan_refusal(settings: Settings, limits: LimitSettings) -> Refusal | None:
    """Return why a plan is refused, before any data are read."""
    model, training = settings.model, settings.training
    least, most = limits.learning_rate
    allowed = {
        Refusal.NETWORK: model.name in limits.networks,
        Refusal.HEAD: model.head in limits.heads and model.head in HEADS,
        Refusal.START: model.initial in OFFLINE,
        Refusal.OPTIMIZER: training.optimizer in limits.optimizers,
        Refusal.LEARNING_RATE: least <= training.learning_rate <= most,
        Refusal.BATCH_SIZE: training.batch_size >= limits.batch_size,
        Refusal.CLIPPING: training.clip_norm == 0 or training.clip_norm >= limits.clip_norm,
        Refusal.EPOCHS: limits.epochs is None or training.epochs <= limits.epochs,
        Refusal.IMAGE_SIZE: settings.data.image_size <= limits.image_size,
    }
    return next((word for word, holds in allowed.items() if not holds), None)


def data_refusal(training: LocalTraining, photographs: int, patients: int, limits: LimitSettings) -> Refusal | None:
    """Return why a round is refused for these numbers of photographs and patients, or None.

    Views of a photograph count like epochs: each passes through the network, or at least its frozen part.
    """
    least, most = limits.steps
    batches = ceil(photographs / training.batch_size)
    if patients < limits.training_patients:
        return Refusal.PATIENTS
    within = training.epochs * batches >= least and max(training.epochs, training.views) * batches <= most
    return None if within else Refusal.STEPS


def same_training(training: LocalTraining, planned: LocalTraining) -> bool:
    """Return whether a round's training is the plan's, apart from rounding errors of the rate."""
    rate = isclose(training.learning_rate, planned.learning_rate, rel_tol=1e-9, abs_tol=1e-15)
    return rate and replace(training, learning_rate=planned.learning_rate) == planned


def within_hours(settings: SiteSettings, now: datetime) -> bool:
    window = settings.limits.window()
    if window is None:
        return True
    begin, end = window
    time = now.time()
    return begin <= time < end if begin <= end else time >= begin or time < end


def neighbours(one: str, other: str) -> bool:
    """Return whether two releases have the same major version and minor versions at most one apart."""
    try:
        (major, minor), (other_major, other_minor) = (tuple(map(int, text.split(".")[:2])) for text in (one, other))
    except ValueError:
        return False
    return major == other_major and abs(minor - other_minor) <= 1
