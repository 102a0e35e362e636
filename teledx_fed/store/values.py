"""What the store takes and gives back, beside the values of a study."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Action, Diagnosis, EyeReading, Fault, Gap, PatientRecord, Reading, Study
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Example, Eye, Field


class Status(StrEnum):
    """How far a study is. It goes back in one case: a photograph that comes after a reading reopens its study."""

    RECEIVED = "received"
    DIAGNOSED = "diagnosed"
    READ = "read"
    REOPENED = "reopened"
    SIGNED = "signed"


class Role(StrEnum):
    READER = "reader"
    ADMIN = "admin"


def check_text(name: str, value: str, longest: int = 200) -> None:
    """What both databases hold and a page can show."""
    fits = 0 < len(value) <= longest and value.isprintable()
    must(fits, name, f"be 1 to {longest} printable characters", value[: longest + 1], "Choose another.", DataError)


def check_path(name: str, path: str) -> None:
    check_text(name, path, 500)
    parts = PurePosixPath(path).parts
    inside = not path.startswith("/") and ".." not in parts and "/".join(parts) == path and "\\" not in path
    must(
        inside,
        name,
        "be relative to the image folder, and inside it",
        path,
        "Say where in the folder it lies.",
        DataError,
    )


@dataclass(frozen=True)
class StoredImage:
    """A photograph in the site's image folder: `path` relative to it, of this study alone, `digest` of its content.

    Those with `faults` cannot be graded; `doubts` are of its eye or its patient. `instance` is the sender's own name
    for it under a pseudonym, if it has one.
    """

    digest: str
    path: str
    width: int
    height: int
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    camera: str = "unknown"
    faults: tuple[Fault, ...] = ()
    doubts: tuple[Gap, ...] = ()
    instance: str | None = None

    def __post_init__(self) -> None:
        hexadecimal = len(self.digest) == 64 and set(self.digest) <= set("0123456789abcdef")
        must(
            hexadecimal, "image.digest", "be a SHA-256, hexadecimal", self.digest, "Hash the file's content.", DataError
        )
        if self.instance is not None:
            check_text("image.instance", self.instance, 64)
        check_path("image.path", self.path)
        check_text("image.camera", self.camera)
        sides = (self.width, self.height)
        must(
            min(sides) > 0, "image.width and image.height", "be positive", sides, "Read them from the file.", DataError
        )


@dataclass(frozen=True)
class Arrival:
    """A study as it comes in. `source` says which way, such as `page/anna` or `device/clinic 3`.

    The same `key` from the same source is the same study, sent again.
    """

    key: str
    source: str
    images: tuple[StoredImage, ...]
    patient: str | None = None
    record: PatientRecord = field(default_factory=PatientRecord)
    acquired: str | None = None

    def __post_init__(self) -> None:
        for name in ("key", "source", "patient", "acquired"):
            if (value := getattr(self, name)) is not None:
                check_text(f"study.{name}", value)
        digests = [image.digest for image in self.images]
        must(bool(digests), "study.images", "hold a photograph", digests, "Send one.", DataError)
        check_different(self.images)


def check_different(images: Sequence[StoredImage]) -> None:
    digests = [image.digest for image in images]
    different = len(set(digests)) == len(digests) == len({image.path for image in images})
    must(different, "study.images", "be different files", digests, "Send each photograph once.", DataError)


@dataclass(frozen=True)
class Entry:
    """A study in a list. `action` is the last reading's, before any reading the last suggestion's, and of a study that
    was reopened the sterner of both.
    """

    id: str
    patient: str | None
    acquired: str | None
    received: datetime
    source: str
    status: Status
    action: Action | None


@dataclass(frozen=True)
class StoredStudy:
    """`images` are those of `study`, in the same order."""

    entry: Entry
    study: Study
    images: tuple[StoredImage, ...]


@dataclass(frozen=True)
class Suggestion:
    """`digest` is that of the diagnosis; a reading names it."""

    study: str
    time: datetime
    digest: str
    diagnosis: Diagnosis


@dataclass(frozen=True)
class StoredReading:
    """`signed` says when; None where it is preliminary."""

    digest: str
    signed: datetime | None
    reading: Reading


@dataclass(frozen=True)
class TrainingReading:
    """One photograph as it can be learned from, and what was read of its eye; `seen`: after the suggestion."""

    example: Example
    eye: EyeReading
    study: str
    reader: str
    time: datetime
    seen: bool


@dataclass(frozen=True)
class View:
    """`what` was looked at: the page, a report."""

    study: str
    user: str
    what: str
    time: datetime


@dataclass(frozen=True)
class User:
    """`password` is a hash of the caller's making; None for one who logs in elsewhere."""

    name: str
    role: Role
    password: str | None
    disabled: bool


@dataclass(frozen=True)
class LoggedIn:
    """`csrf` goes into forms; the token itself is told once, when the session starts."""

    user: User
    csrf: str
    expires: datetime


@dataclass(frozen=True)
class Device:
    name: str
    created: datetime
    revoked: datetime | None

    @property
    def source(self) -> str:
        return f"device/{self.name}"


@dataclass(frozen=True)
class Link:
    """For one study of a `patient`, or of anybody where that is None; `label` says to whom it was given.

    `left`: how often photographs may still be sent by it, until a study is made of them.
    """

    id: str
    label: str
    patient: str | None
    expires: datetime
    left: int

    @property
    def source(self) -> str:
        return f"link/{self.id}"


@dataclass(frozen=True)
class Refusal:
    """Photographs that are in no study. `source` says who sent them, `patient` is a pseudonym, `times` how often the
    same was refused between `first` and `last`.
    """

    id: str
    source: str
    patient: str | None
    reason: str
    first: datetime
    last: datetime
    times: int


@dataclass(frozen=True)
class Forgotten:
    """What is gone from the database; the files at `paths` remain to be deleted."""

    studies: int
    paths: tuple[Path, ...]
