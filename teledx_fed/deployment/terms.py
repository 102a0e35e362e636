"""What a hospital lets be asked of it: each refusal has a word of its own, and nothing else is told."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import ceil, inf, isclose

from teledx_fed.deployment.site_settings import LimitSettings, SiteSettings
from teledx_fed.records import LocalTraining


class Refusal(StrEnum):
    """All that a refused coordinator learns. `NOT_NOW` is no fault: ask again another hour."""

    NOT_NOW = "not now"
    NOT_APPROVED = "no approval in force"
    EXPERIMENT = "experiment not approved"
    RELEASE = "release too far from this site's"
    REQUEST = "request not understood"
    NETWORK = "initial weights not to be had at a hospital"
    EPOCHS = "more epochs than limits.epochs"
    BATCHES = "more batches than limits.batches"
    ROUNDS = "more rounds today than limits.rounds_a_day"
    QUESTIONS = "more questions today than limits.questions_a_day"
    IMAGE_SIZE = "larger images than limits.image_size"
    EPSILON = "more privacy spent than limits.epsilon"
    OUTBOUND = "reply stopped by the outbound rules"


@dataclass(frozen=True)
class Asked:
    """What a message wants of a hospital; `training` is None where nothing is to be trained."""

    experiment: str
    release: str
    training: LocalTraining | None


@dataclass(frozen=True)
class Today:
    """What was asked of a hospital since its midnight: rounds of training, and questions of any kind."""

    rounds: int
    questions: int


def refusal(asked: Asked, own: SiteSettings, release: str, today: Today, now: datetime) -> Refusal | None:
    """Before any data is touched. `release` is the hospital's own, `now` its local time."""
    if not neighbours(asked.release, release):
        return Refusal.RELEASE
    if not own.approval.given(now.date()):
        return Refusal.NOT_APPROVED
    if asked.experiment not in own.approval.experiments:
        return Refusal.EXPERIMENT
    if not within_hours(own, now):
        return Refusal.NOT_NOW
    if own.limits.questions_a_day is not None and today.questions >= own.limits.questions_a_day:
        return Refusal.QUESTIONS
    return _above_limits(asked.training, own.limits, today.rounds) if asked.training is not None else None


def _above_limits(asked: LocalTraining, limits: LimitSettings, trained_today: int) -> Refusal | None:
    if limits.epochs is not None and asked.epochs > limits.epochs:
        return Refusal.EPOCHS
    if limits.rounds_a_day is not None and trained_today >= limits.rounds_a_day:
        return Refusal.ROUNDS
    if limits.epsilon is not None and epsilon(asked) > limits.epsilon:
        return Refusal.EPSILON
    return None


def too_many_batches(asked: LocalTraining, examples: int, own: SiteSettings) -> bool:
    """Views of a photograph count like epochs: each passes the network, if only its frozen part."""
    limit = own.limits.batches
    return limit is not None and max(asked.epochs, asked.views) * ceil(examples / asked.batch_size) > limit


def as_ordered(asked: LocalTraining, ordered: LocalTraining) -> bool:
    """Whether a round asks for what the run's settings, which were checked, ask for; a last bit may differ."""
    rate = isclose(asked.learning_rate, ordered.learning_rate, rel_tol=1e-9, abs_tol=1e-15)
    return rate and replace(asked, learning_rate=ordered.learning_rate) == ordered


def epsilon(asked: LocalTraining) -> float:
    """What training as asked spends of privacy: without bound, until there is training with noise."""
    return inf


def within_hours(own: SiteSettings, now: datetime) -> bool:
    window = own.limits.window()
    if window is None:
        return True
    begin, end = window
    here = now.time()
    return begin <= here < end if begin <= end else here >= begin or here < end


def neighbours(one: str, other: str) -> bool:
    """Whether two releases are at most one minor apart: such sites can still take part."""
    try:
        (major, minor), (other_major, other_minor) = (tuple(map(int, text.split(".")[:2])) for text in (one, other))
    except ValueError:
        return False
    return major == other_major and abs(minor - other_minor) <= 1
