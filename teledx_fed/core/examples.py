"""Labelled photographs, and how a hospital holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

GRADES = 5
"""ICDR grades: 0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative."""


class Eye(StrEnum):
    LEFT = "left"
    RIGHT = "right"
    UNKNOWN = "unknown"


class Field(StrEnum):
    """What the photograph is centred on."""

    MACULA = "macula"
    DISC = "disc"
    UNKNOWN = "unknown"


class Patients(StrEnum):
    """How a source knows which photographs belong to one patient; `unknown` counts every image as a patient, the
    partly known ones some."""

    GIVEN = "given"
    PARTLY_GIVEN = "partly given"
    INFERRED = "inferred"
    PARTLY_INFERRED = "partly inferred"
    UNKNOWN = "unknown"

    @property
    def partly(self) -> "Patients":
        """The same where it does not hold of every photograph."""
        return {Patients.GIVEN: Patients.PARTLY_GIVEN, Patients.INFERRED: Patients.PARTLY_INFERRED}.get(self, self)


class Photograph(Protocol):
    """A photograph that can be read again; its name is for the site's own eyes and never leaves it."""

    @property
    def name(self) -> str: ...

    def digest(self) -> str:
        """Hexadecimal hash of the content: equal for exact duplicates wherever they lie."""

    def size(self) -> tuple[int, int]:
        """Height and width as they are stored, from the header alone. A `ValueError` where that cannot be had."""

    def read(self) -> NDArray[np.uint8]:
        """Height × width × 3, RGB. A `ValueError` says what is wrong with the file."""


@dataclass(frozen=True)
class Example:
    """The only labelled unit: one photograph of one eye. Without `patient_known` it counts as a patient of its own."""

    image: Photograph
    grade: int
    patient: str
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    oedema: bool | None = None
    camera: str = "unknown"
    acquired: str | None = None
    source: str = ""
    patient_known: bool = True

    @property
    def referable(self) -> bool:
        return self.grade >= 2 or self.oedema is True

    @property
    def vision_threatening(self) -> bool:
        return self.grade >= 3 or self.oedema is True


class Reason(StrEnum):
    """Why an image was set aside."""

    UNGRADABLE = "ungradable"
    UNGRADED = "ungraded"
    DUPLICATE = "duplicate"
    CONFLICTING_GRADES = "conflicting grades"
    ELSEWHERE = "at another hospital"
    BAD = "bad"


@dataclass(frozen=True)
class SetAside:
    """`elsewhere` is the other hospital of a simulation that has the same photograph or person."""

    name: str
    reason: Reason
    detail: str = ""
    elsewhere: str = ""


@dataclass(frozen=True)
class NotTaken:
    """Files of one suffix in a folder of a source that were not taken for photographs, and why."""

    folder: str
    suffix: str
    why: str
    count: int


@dataclass(frozen=True)
class Collection:
    """One source as it was read: what can be learned from, what was set aside, and which files were not taken."""

    examples: tuple[Example, ...]
    patients: Patients
    set_aside: tuple[SetAside, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()


@dataclass(frozen=True)
class Shard:
    """One hospital's examples; no patient is in two splits."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.everyone)

    @property
    def everyone(self) -> tuple[Example, ...]:
        return (*self.train, *self.validation, *self.test)


class Images(Protocol):
    """Prepared photographs by example; `folder` is this preparation's own, for what is derived from it."""

    folder: Path

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        """Examples × size × size × 3, RGB."""


@dataclass(frozen=True)
class Site:
    """A hospital as it sees itself. Never serialised, never sent."""

    name: str
    shard: Shard
    images: Images
    patients: Patients = Patients.UNKNOWN
    set_aside: tuple[SetAside, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()
