"""Which files make a study: a patient's folder, a group of rows in a table, or else one file."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISREG
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from teledx_fed.core.checks import one_of
from teledx_fed.core.clinical import Gap, PatientRecord, Study, StudyImage
from teledx_fed.core.errors import ConfigurationError, DataError
from teledx_fed.core.examples import Eye, Field, Photograph
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.data.deidentification import pseudonym
from teledx_fed.data.dicom import DicomAbout, DicomPhotograph, about, is_dicom
from teledx_fed.data.eye_names import NamedEye, eye_in, pairs_of_eyes
from teledx_fed.data.photographs import MOST_PIXELS, PhotographFile
from teledx_fed.data.tables import Row, on_disk, read_table
from teledx_fed.data.walk import Files, Why, in_words, walk

SNIFFED = 132
"""Bytes that tell DICOM from other files."""
RECORDS = TypeAdapter(PatientRecord)
RECORD = tuple(name for name in PatientRecord.__dataclass_fields__ if name != "not_understood")
"""What a form or a table can say."""


MOST_IMAGES = 16
LARGEST_MIB = 64


@dataclass(frozen=True)
class Sent:
    """A file as it came, with the eye and field that somebody stated for it, and the name that its sender gave it.

    `doubts` are those of who received it; `row` is the table's row that names the file.
    """

    file: Path
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    name: str = ""
    doubts: tuple[Gap, ...] = ()
    row: int | None = None


@dataclass(frozen=True)
class Submission:
    """What makes one study, by the name under which it came: for the hospital's own eyes.

    `origin` is the table or folder that was named, `patient` the one that the table names.
    """

    name: str
    sent: tuple[Sent, ...]
    origin: str = ""
    patient: str = ""
    record: PatientRecord = field(default_factory=PatientRecord)


@dataclass(frozen=True)
class Received:
    """`about` is what a DICOM file says of itself: identifying."""

    image: StudyImage
    pixels: NDArray[np.uint8]
    about: DicomAbout | None


@dataclass(frozen=True)
class Unreadable:
    sent: Sent
    reason: str


def submissions(paths: Sequence[Path], eye: Eye = Eye.UNKNOWN, reporter: Reporter = SILENT) -> list[Submission]:
    """Of files, folders and tables; `eye` is that of files that do not say.

    A folder below one that was named is a patient's: its files are one study. Files that were named, or lie directly in
    a folder that was, are studies of their own. A message names what is hidden in a folder, and left out, and
    files that look like both eyes of one patient in two studies; a `ValueError` names what cannot be read. A table
    (`.csv`) has the columns `file`, relative to it, and `study`, and may have `patient`, `eye`, `field` and the items
    of a patient's record.
    """
    found: list[Submission] = []
    for path in paths:
        if path.suffix.casefold() == ".csv":
            found += _of_table(path, eye)
        elif path.is_dir():
            files = walk(path).readable()
            found += of_folder(files, eye)
            if left := in_words(one for one in files.not_taken if one.why != Why.OTHER):
                reporter.message(f"{path}: {left}")
        elif path.is_file():
            found.append(_alone(path, eye))
        else:
            raise ConfigurationError(f"{path} must be a file or folder, got neither. Correct the path.")
    _warn_of_split_patients(found, reporter)
    return found


def _warn_of_split_patients(found: Sequence[Submission], reporter: Reporter) -> None:
    folders: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if one.sent[0].file.parent == Path(one.origin):
            folders[one.origin].append(one.name)
    for folder, names in folders.items():
        if pairs := pairs_of_eyes(names):
            more = f" (one of {len(pairs)} such pairs)" if len(pairs) > 1 else ""
            reporter.message(
                f"{folder}: {' and '.join(pairs[0])}{more} look like the right and left eye of one patient, but "
                "each is a study of its own. Put the files of each patient into a sub-folder, or name them in a table."
            )


def identity_of(submission: Submission, key: bytes, occurrence: int = 0) -> str:
    """Of a study, by what its sender calls it, never by its pixels; without `key` nobody finds a name from it.

    `occurrence` tells apart submissions that their sender calls the same.
    """
    called = "\0".join((submission.origin, submission.patient, submission.name, str(occurrence)))
    return pseudonym(key, called)[:16]


def study_of(
    submission: Submission, identity: str | None = None, most_pixels: int = MOST_PIXELS
) -> tuple[Study | None, tuple[Unreadable, ...]]:
    """What can be read of it; no study where nothing can. Without an `identity` it has a new one."""
    images, unreadable = [], []
    for number, sent in enumerate(submission.sent):
        try:
            if number >= MOST_IMAGES:
                raise DataError(f"{sent.file} must be one of at most {MOST_IMAGES} of a study. Split the study.")
            images.append(_image(sent, most_pixels))
        except DataError as error:
            unreadable.append(Unreadable(sent, str(error)))
    if not images:
        return None, tuple(unreadable)
    return Study(identity or uuid4().hex, tuple(images), record=submission.record), tuple(unreadable)


def _image(sent: Sent, most_pixels: int) -> StudyImage:
    """Raise a `ValueError` where the file cannot be read, for whatever reason."""
    try:
        if not S_ISREG(sent.file.stat().st_mode):
            raise DataError(f"{sent.file} must be a file, got a folder or a device. Correct the path.")
        return received(sent, most_pixels).image
    except OSError as error:
        got = error.strerror or error
        raise DataError(
            f"{sent.file} must be a file that can be read, got: {got}. Correct its path or permissions."
        ) from error


def received(sent: Sent, most_pixels: int = MOST_PIXELS) -> Received:
    """Read once, so that what cannot be read is known before the model is asked."""
    if (size := sent.file.stat().st_size) > LARGEST_MIB * 2**20:
        raise DataError(f"{sent.file} must be at most {LARGEST_MIB} MiB, got {size >> 20}. Scale it down.")
    with sent.file.open("rb") as file:
        dicom = is_dicom(file.read(SNIFFED))
    photograph: Photograph = (
        DicomPhotograph(sent.file, most_pixels) if dicom else PhotographFile(sent.file, most_pixels=most_pixels)
    )
    pixels = photograph.read()
    named = eye_in(sent.name)
    if not dicom:
        eye, doubts = _eye({sent.eye}, named)
        return Received(StudyImage(photograph, eye, sent.field, doubts=(*doubts, *sent.doubts)), pixels, None)
    header = about(sent.file)
    eye, doubts = _eye({sent.eye, header.eye}, named)
    field = header.field if sent.field is Field.UNKNOWN else sent.field
    return Received(StudyImage(photograph, eye, field, header.camera, (*doubts, *sent.doubts)), pixels, header)


def _eye(stated: set[Eye], named: NamedEye) -> tuple[Eye, tuple[Gap, ...]]:
    """As sender and header state it, or else as the name does; unknown where two of the former differ."""
    stated = stated - {Eye.UNKNOWN}
    if len(stated) > 1:
        return Eye.UNKNOWN, (Gap.EYE_STATED_TWICE,)
    if not stated:
        return named.eye, () if named.doubt is None else (named.doubt,)
    (eye,) = stated
    return eye, () if named.eye in (eye, Eye.UNKNOWN) else (Gap.EYE_NAME_OTHER,)


def _alone(file: Path, eye: Eye) -> Submission:
    return Submission(file.name, (_by_name(file, eye),), str(file.parent))


def of_folder(files: Files, eye: Eye = Eye.UNKNOWN) -> list[Submission]:
    """Of all that lies there, photographs or not: what is none is refused by name."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in sorted(files.images | files.dicom | files.others):
        folders[file.parent].append(file)
    found = [_alone(file, eye) for file in folders.pop(files.folder, ())]
    for folder, those in sorted(folders.items()):
        sent = tuple(_by_name(file, eye) for file in those)
        found.append(Submission(str(folder.relative_to(files.folder)), sent, str(files.folder)))
    return found


def _by_name(file: Path, eye: Eye, field: Field = Field.UNKNOWN) -> Sent:
    """`eye` is that of a file whose name does not speak of any."""
    return Sent(file, eye if eye_in(file.name) == NamedEye() else Eye.UNKNOWN, field, file.name)


def _of_table(table: Path, eye: Eye) -> list[Submission]:
    read = read_table(table, "file", "study")
    if read.problems:
        raise DataError("; ".join(map(str, read.problems)))
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in read.rows:
        groups[row["patient"], row["study"] or row["file"]].append(row)
    return [
        Submission(name, tuple(_sent(table.parent, row, eye) for row in rows), str(table), patient, _record(rows))
        for (patient, name), rows in groups.items()
    ]


def _sent(folder: Path, row: Row, eye: Eye) -> Sent:
    file = _spelt(folder / row["file"])
    stated, field = row.code("eye") or Eye.UNKNOWN, row.code("field") or Field.UNKNOWN
    try:
        one_of("eye", stated, Eye, DataError)
        one_of("field", field, Field, DataError)
    except DataError as error:
        raise DataError(str(row.problem(str(error)))) from error
    if row.code("eye"):
        return Sent(file, Eye(stated), Field(field), file.name, row=row.number)
    return replace(_by_name(file, eye, Field(field)), row=row.number)


def _spelt(file: Path) -> Path:
    """As the disk spells it; a path that the disk refuses stays as it is: its row gets the reason later."""
    try:
        return on_disk(file)
    except OSError:
        return file


def _record(rows: Sequence[Row]) -> PatientRecord:
    """Each item as one row or another states it; an empty cell states nothing, and no two may differ."""
    stated: dict[str, str] = {}
    for row in rows:
        for name in RECORD:
            if (value := row.code(name)) and stated.setdefault(name, value) != value:
                message = (
                    f"must state the {name} that another row of its study states, {stated[name]!r}, got {value!r}."
                )
                raise DataError(str(row.problem(f"{message} Correct it, or name another study.")))
    try:
        return record_of(stated)
    except DataError as error:
        raise DataError(str(rows[0].problem(str(error)))) from error


def record_of(stated: Mapping[str, object]) -> PatientRecord:
    """What is empty states nothing. A `ValueError` names the item."""
    try:
        return RECORDS.validate_python({name: value for name, value in stated.items() if value != ""})
    except ValidationError as error:
        first = error.errors()[0]
        name, got = ".".join(map(str, first["loc"])), first["input"]
        raise DataError(f"record.{name} must be right, got {got!r}: {first['msg']}. Correct it.") from error
