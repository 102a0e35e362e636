"""Values that the store accepts and returns, besides those in `core/clinical.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Action, Diagnosis, EyeReading, Fault, Gap, PatientRecord, Reading, Study
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Example, Eye, Field


class StudyStatus(StrEnum):
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
    """Raise a `DataError` unless both databases can store a text and a page can show it."""
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
    """A photograph in the site's image folder.

    `path` is relative to the folder, and of one study only. `digest` is the SHA-256 of the file; `width` and `height`
    are in pixels. `faults` make it ungradable; `doubts` concern its eye or patient. `instance` is the pseudonym of its
    SOPInstanceUID, if any.
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
    """A new study. `source` is the sender, such as `page/anna` or `device/clinic 3`.

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
class StudyEntry:
    """A study in a list.

    `action` is that of the last reading, or else of the last suggestion; for a reopened study, the more urgent of both.
    """

    id: str
    patient: str | None
    acquired: str | None
    received: datetime
    source: str
    status: StudyStatus
    action: Action | None


@dataclass(frozen=True)
class StoredStudy:
    """A study in the store; `images` are those of `study`, in the same order."""

    entry: StudyEntry
    study: Study
    images: tuple[StoredImage, ...]


@dataclass(frozen=True)
class Suggestion:
    """A stored suggestion; a reading refers to it by `digest`, that of its diagnosis."""

    study: str
    time: datetime
    digest: str
    diagnosis: Diagnosis


@dataclass(frozen=True)
class StoredReading:
    """A stored reading; `signed` is the time of signing, None if preliminary."""

    digest: str
    signed: datetime | None
    reading: Reading


@dataclass(frozen=True)
class TrainingReading:
    """A photograph for training with the signed reading of its eye; `seen`: the reader saw the suggestion first."""

    example: Example
    eye: EyeReading
    study: str
    reader: str
    time: datetime
    seen: bool


@dataclass(frozen=True)
class LoggedView:
    """A logged view; `what` was viewed, such as the page or a report."""

    study: str
    user: str
    what: str
    time: datetime


@dataclass(frozen=True)
class User:
    """A user; `password` is a hash by the caller, None for log-in with the hospital's provider."""

    name: str
    role: Role
    password: str | None
    disabled: bool


@dataclass(frozen=True)
class LoggedIn:
    """A session; pages put `csrf` into their forms."""

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
    """A link for one study of `patient`, or of any patient if None; `label` states who got the link.

    `left`: how many attempts to send photographs remain.
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
class StoredRefusal:
    """Refused photographs, which are in no study.

    `source` is the sender, `patient` a pseudonym; `times` counts equal refusals between `first` and `last`.
    """

    id: str
    source: str
    patient: str | None
    reason: str
    first: datetime
    last: datetime
    times: int


@dataclass(frozen=True)
class DeletedStudies:
    """The number of studies deleted from the database; the caller deletes the files at `paths`."""

    studies: int
    paths: tuple[Path, ...]
