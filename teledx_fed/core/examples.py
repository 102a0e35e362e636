"""Labelled photographs, and a hospital's training, validation and test examples."""

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
    """Which eye a photograph shows."""

    LEFT = "left"
    RIGHT = "right"
    UNKNOWN = "unknown"


class Field(StrEnum):
    """What the photograph is centred on."""

    MACULA = "macula"
    DISC = "disc"
    UNKNOWN = "unknown"


class Identification(StrEnum):
    """How a source identifies patients. `unknown` counts every photograph as a patient; the partly ones, some."""

    GIVEN = "given"
    PARTLY_GIVEN = "partly given"
    INFERRED = "inferred"
    PARTLY_INFERRED = "partly inferred"
    UNKNOWN = "unknown"

    @property
    def partly(self) -> "Identification":
        """The value for a source where this applies only to some photographs."""
        return {
            Identification.GIVEN: Identification.PARTLY_GIVEN,
            Identification.INFERRED: Identification.PARTLY_INFERRED,
        }.get(self, self)


class Photograph(Protocol):
    """A photograph that can be read again. Its name never leaves the site."""

    @property
    def name(self) -> str: ...

    def digest(self) -> str:
        """Return the hexadecimal hash of the content: equal for exact duplicates."""

    def size(self) -> tuple[int, int]:
        """Return stored height and width, of a file from its header. Raise a `DataError` if they cannot be read."""

    def read(self) -> NDArray[np.uint8]:
        """Return the pixels, height × width × 3, RGB. Raise a `DataError` if the file is invalid."""


@dataclass(frozen=True)
class Example:
    """One labelled photograph of one eye. Without `patient_known` it counts as a patient of its own."""

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


class SetAsideReason(StrEnum):
    """Why an image was set aside."""

    UNGRADABLE = "ungradable"
    UNGRADED = "ungraded"
    DUPLICATE = "duplicate"
    CONFLICTING_GRADES = "conflicting grades"
    ELSEWHERE = "at another hospital"
    BAD = "bad"


@dataclass(frozen=True)
class SetAside:
    """A photograph set aside. `elsewhere` is another hospital of the simulation that has the photograph or person."""

    name: str
    reason: SetAsideReason
    detail: str = ""
    elsewhere: str = ""


@dataclass(frozen=True)
class NotTaken:
    """Number of files of one suffix in a source's folder that are not taken as photographs, and the reason."""

    folder: str
    suffix: str
    why: str
    count: int


@dataclass(frozen=True)
class Collection:
    """One source after reading: its examples, what was set aside, and which files were not taken."""

    examples: tuple[Example, ...]
    patients: Identification
    set_aside: tuple[SetAside, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()


@dataclass(frozen=True)
class Shard:
    """One hospital's examples; no patient is in two of the three sets."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def examples(self) -> tuple[Example, ...]:
        return (*self.train, *self.validation, *self.test)


class Images(Protocol):
    """Prepared photographs by example. `folder` is for values derived from this preparation."""

    folder: Path

    def batch(self, examples: Sequence[Example]) -> NDArray[np.uint8]:
        """Return prepared photographs, examples × size × size × 3, RGB."""


@dataclass(frozen=True)
class Site:
    """A hospital's own data. Never serialised, never sent."""

    name: str
    shard: Shard
    images: Images
    patients: Identification = Identification.UNKNOWN
    set_aside: tuple[SetAside, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()
