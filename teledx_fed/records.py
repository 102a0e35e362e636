"""The values that cross layers: values flow, functions act."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from teledx_fed.weights import Weights

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


@dataclass(frozen=True)
class LocalTraining:
    """What the server asks of a site for one round: flat scalars, one ConfigRecord."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    class_balance: str
    label_smoothing: float
    proximal_mu: float
    clip_norm: float
    augment: bool
    views: int
    mixed_precision: bool
    compression: str
    seed: int


@dataclass(frozen=True)
class GlobalModel:
    """Goes down: the weights that round `round` starts from, `trained_in` an earlier one."""

    round: int
    weights: Weights
    trained_in: int


Tables = Mapping[str, NDArray[np.float64]]
"""Named arrays of counts and sums of one site; the only form in which an evaluation leaves it."""


@dataclass(frozen=True)
class LocalUpdate:
    """Goes up: what a site learned in a round, and how the model that it was sent did on its validation set.

    `train_loss` is None except under q-FedAvg, which weighs by it.
    """

    round: int
    weights: Weights
    examples: int
    oedema_examples: int
    train_loss: float | None
    tables: Tables


@dataclass(frozen=True)
class RoundReport:
    """One JSON line a round; `metrics` are those of the model that the round started from, `ended` is ISO 8601.

    A `void` round had no quorum and left the model as it was.
    """

    round: int
    ended: str
    accepted: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    void: bool = False


Counts = Mapping[str, Mapping[str, int]]
"""What a site tells of its data before training: by table and cell."""


@dataclass(frozen=True)
class Readiness:
    """Whether a site, or all of them together, can train: `reasons` against it come before mere warnings."""

    name: str
    go: bool
    reasons: tuple[str, ...] = ()
    counts: Counts = field(default_factory=dict)
