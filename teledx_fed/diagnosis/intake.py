"""Which files make a study: a patient's folder, a group of rows in a table, or else one file."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from teledx_fed.clinical import PatientRecord, Study, StudyImage
from teledx_fed.data.dicom import DicomPhotograph, about, is_dicom
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.tables import Row, read_table
from teledx_fed.records import Eye, Field, Photograph

EYES = re.compile(r"(?:^|[^a-z])(?:(left|l|os)|(right|r|od))(?![a-z])", re.IGNORECASE)
"""In a file's name, as cameras and people write it; the last one counts."""
SNIFFED = 132
"""Bytes that tell DICOM from other files."""
RECORDS = TypeAdapter(PatientRecord)
RECORD = tuple(PatientRecord.__dataclass_fields__)


MOST_IMAGES = 16
LARGEST_MIB = 64


@dataclass(frozen=True)
class Sent:
    """A file as it came, with the eye and field that somebody stated for it."""

    file: Path
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN


@dataclass(frozen=True)
class Submission:
    """What makes one study, by the name under which it came: for the hospital's own eyes."""

    name: str
    sent: tuple[Sent, ...]
    record: PatientRecord = field(default_factory=PatientRecord)


@dataclass(frozen=True)
class Received:
    """`patient` as a DICOM file names them: for a pseudonym, and nothing else."""

    image: StudyImage
    pixels: NDArray[np.uint8]
    patient: str | None


@dataclass(frozen=True)
class Unreadable:
    file: Path
    reason: str


def submissions(paths: Sequence[Path], eye: Eye = Eye.UNKNOWN) -> list[Submission]:
    """Of files, folders and tables; `eye` is that of files that do not say.

    A folder below one that was named is a patient's: its files are one study. Files that were named, or lie directly in
    a folder that was, are studies of their own. A table (`.csv`) has the columns `file`, relative to it, and `study`,
    and may have `eye`, `field` and the items of a patient's record.
    """
    found: list[Submission] = []
    for path in paths:
        if path.suffix.casefold() == ".csv":
            found += _of_table(path, eye)
        elif path.is_dir():
            found += _of_folder(path, eye)
        elif path.is_file():
            found.append(_alone(path, eye))
        else:
            raise ValueError(f"{path} must be a file or folder, got neither. Correct the path.")
    return found


def study_of(submission: Submission) -> tuple[Study | None, tuple[Unreadable, ...]]:
    """What can be read of it; no study where nothing can. Its id follows from the pixels and tells of no name."""
    images, unreadable = [], []
    for number, sent in enumerate(submission.sent):
        try:
            if number >= MOST_IMAGES:
                raise ValueError(f"{sent.file} must be one of at most {MOST_IMAGES} of a study. Split the study.")
            images.append(received(sent).image)
        except ValueError as error:
            unreadable.append(Unreadable(sent.file, str(error)))
    if not images:
        return None, tuple(unreadable)
    digests = sorted(image.photograph.digest() for image in images)
    identity = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
    return Study(identity, tuple(images), record=submission.record), tuple(unreadable)


def eye_in(name: str) -> Eye:
    """As a file's name says, if it does."""
    eyes = [Eye.LEFT if left else Eye.RIGHT for left, _ in EYES.findall(name)]
    return eyes[-1] if eyes else Eye.UNKNOWN


def received(sent: Sent) -> Received:
    """Read once, so that what cannot be read is known before the model is asked."""
    if (size := sent.file.stat().st_size) > LARGEST_MIB * 2**20:
        raise ValueError(f"{sent.file} must be at most {LARGEST_MIB} MiB, got {size >> 20}. Scale it down.")
    with sent.file.open("rb") as file:
        dicom = is_dicom(file.read(SNIFFED))
    photograph: Photograph = DicomPhotograph(sent.file) if dicom else PhotographFile(sent.file)
    pixels = photograph.read()
    if not dicom:
        return Received(StudyImage(photograph, sent.eye, sent.field), pixels, None)
    header = about(sent.file)
    eye = header.eye if header.eye is not Eye.UNKNOWN else sent.eye
    field = header.field if sent.field is Field.UNKNOWN else sent.field
    return Received(StudyImage(photograph, eye, field, header.camera), pixels, header.patient)


def _alone(file: Path, eye: Eye) -> Submission:
    return Submission(file.name, (Sent(file, _stated(file, eye)),))


def _of_folder(folder: Path, eye: Eye) -> list[Submission]:
    found = [_alone(file, eye) for file in _files(folder)]
    for below in sorted(path for path in folder.rglob("*") if path.is_dir() and not path.name.startswith(".")):
        if files := _files(below):
            sent = tuple(Sent(file, _stated(file, eye)) for file in files)
            found.append(Submission(str(below.relative_to(folder)), sent))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _stated(file: Path, eye: Eye) -> Eye:
    return found if (found := eye_in(file.stem)) is not Eye.UNKNOWN else eye


def _of_table(table: Path, eye: Eye) -> list[Submission]:
    read = read_table(table, "file", "study")
    if read.problems:
        raise ValueError("; ".join(map(str, read.problems)))
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in read.rows:
        groups[row["study"] or row["file"]].append(row)
    return [
        Submission(name, tuple(_sent(table.parent, row, eye) for row in rows), _record(rows))
        for name, rows in groups.items()
    ]


def _sent(folder: Path, row: Row, eye: Eye) -> Sent:
    file = folder / row["file"]
    try:
        stated = Eye(row.code("eye")) if row.code("eye") else _stated(file, eye)
        return Sent(file, stated, Field(row.code("field") or Field.UNKNOWN))
    except ValueError as error:
        raise ValueError(str(row.problem(f"eye and field must be words this program knows, got {error}."))) from error


def _record(rows: Sequence[Row]) -> PatientRecord:
    """Each item as one row or another states it; an empty cell states nothing."""
    try:
        return record_of({name: row.code(name) for row in rows for name in RECORD if row.code(name)})
    except ValueError as error:
        raise ValueError(str(rows[0].problem(str(error)))) from error


def record_of(stated: Mapping[str, object]) -> PatientRecord:
    """What is empty states nothing. A `ValueError` names the item."""
    try:
        return RECORDS.validate_python({name: value for name, value in stated.items() if value != ""})
    except ValidationError as error:
        first = error.errors()[0]
        name, got = ".".join(map(str, first["loc"])), first["input"]
        raise ValueError(f"record.{name} must be right, got {got!r}: {first['msg']}. Correct it.") from error
