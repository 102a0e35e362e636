"""Studies, suggestions and readings for the store's tests."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teledx_fed.core.clinical import (
    Action,
    Certainty,
    Diagnosis,
    EyeDiagnosis,
    EyeReading,
    Graded,
    PatientRecord,
    Reading,
)
from teledx_fed.core.examples import Eye
from teledx_fed.store.store import Store
from teledx_fed.store.values import Arrival, StoredImage

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.slow))

START = datetime(2026, 1, 1, tzinfo=UTC)

EYE = EyeDiagnosis(
    Eye.LEFT, Certainty.CONFIDENT, Action.REFER, (), Graded((0.1, 0.1, 0.6, 0.1, 0.1), (2,), 0.8, 0.2, True, False)
)
SUGGESTED = Diagnosis((EYE,), Certainty.CONFIDENT, Action.REFER, 3.0, "a" * 64, False)


class Clock:
    """A clock that advances by a second at each call, and by `pass_days`."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def pass_days(self, days: float) -> None:
        self.time += timedelta(days=days)


def photograph(folder: Path, name: str, eye: Eye = Eye.LEFT) -> StoredImage:
    """Write a file with its name as content, and return it as a stored image."""
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
    return StoredImage(hashlib.sha256(name.encode()).hexdigest(), f"{name}.png", 640, 480, eye)


def arrival(store: Store, key: str, patient: str | None = "p1", source: str = "page/anna") -> Arrival:
    images = tuple(photograph(store.folder, f"{key}-{eye}", eye) for eye in (Eye.RIGHT, Eye.LEFT))
    return Arrival(key, source, images, patient, PatientRecord(age=61.5, pregnant=False), "2026-01-01")


def reading(study: str, urgency: Action = Action.REFER, grade: int | None = 2, **others: object) -> Reading:
    details: dict[str, object] = {"suggestion": None, "seen": False} | others
    eyes = (EyeReading(Eye.LEFT, grade is not None, grade), EyeReading(Eye.RIGHT, True, 0, oedema=False))
    return Reading(study, "anna", START, eyes, urgency, **details)  # type: ignore[arg-type]
