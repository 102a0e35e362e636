"""Intake of photographs: from the sender's upload to the model's result.

    PhotographUpload -> decode -> DecodedPhotograph -> assess_photograph -> PhotographResult

`decode` reads the pixels and the DICOM header, and finds quality faults. The clinic then blackens everything outside
the fundus and stores the result (`photograph_store.py`). `assess_photograph` (`diagnose.py`) prepares the pixels for
the model; it reuses the faults, so quality is assessed once, on the pixels that the sender sent. `judge`
(`judgement.py`) makes one suggestion from all results of a study. A batch stores no photographs: there,
`assess_photograph` decodes and assesses each file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from teledx_fed.core.clinical import Fault, Gap, PatientRecord, StudyImage
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye, Field, Photograph
from teledx_fed.data.dicom import DicomHeader, DicomPhotograph, is_dicom, read_header
from teledx_fed.data.eye_names import NamedEye, eye_in
from teledx_fed.data.photographs import MOST_PIXELS, PhotographFile
from teledx_fed.data.quality import faults

SNIFFED = 132
"""Leading bytes that show whether a file is DICOM."""
RECORDS = TypeAdapter(PatientRecord)
RECORD = tuple(name for name in PatientRecord.__dataclass_fields__ if name != "not_understood")
"""The items of a patient's record that a form or a table can state."""
MOST_IMAGES = 16
LARGEST_MIB = 64


@dataclass(frozen=True)
class PhotographUpload:
    """A photograph as its sender sends it: bytes, or a file on this machine.

    The sender states `eye` and `field`. `name` is the sender's file name: it is searched for the eye and not stored.
    The receiver sets `doubts`. `row` is the row of the table that names the file.
    """

    content: bytes | Path
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    name: str = ""
    doubts: tuple[Gap, ...] = ()
    row: int | None = None

    @property
    def file(self) -> Path:
        assert isinstance(self.content, Path)
        return self.content

    def read_bytes(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class StudyUpload:
    """The photographs of one study as their sender sends them.

    The same `key` from the same `source` is the same study, sent again. In a batch `source` is the table or folder and
    `key` the study's name in it. `patient` is the hospital's number for the patient; None: use that of the DICOM files.
    """

    key: str
    source: str
    photographs: tuple[PhotographUpload, ...]
    patient: str | None = None
    record: PatientRecord = field(default_factory=PatientRecord)
    acquired: str | None = None


@dataclass(frozen=True)
class DecodedPhotograph:
    """A decoded photograph: `pixels` (height, width, 3), RGB; `header` is DICOM's and identifies people."""

    image: StudyImage
    pixels: NDArray[np.uint8]
    faults: tuple[Fault, ...]
    header: DicomHeader | None


def decode(upload: PhotographUpload, most_pixels: int = MOST_PIXELS) -> DecodedPhotograph:
    """Read an uploaded file and assess its quality; raise a `DataError` if it cannot be read."""
    image, header = open_upload(upload, most_pixels)
    pixels = image.photograph.read()
    return DecodedPhotograph(image, pixels, faults(pixels), header)


def open_upload(upload: PhotographUpload, most_pixels: int = MOST_PIXELS) -> tuple[StudyImage, DicomHeader | None]:
    """Find eye and field of an uploaded file from its sender, header and name, without reading its pixels."""
    file = upload.file
    if not S_ISREG((stat := file.stat()).st_mode):
        raise DataError(f"{file} must be a file, got a folder or a device. Correct the path.")
    if stat.st_size > LARGEST_MIB * 2**20:
        raise DataError(f"{file} must be at most {LARGEST_MIB} MiB, got {stat.st_size >> 20}. Scale it down.")
    with file.open("rb") as content:
        dicom = is_dicom(content.read(SNIFFED))
    photograph: Photograph = DicomPhotograph(file, most_pixels) if dicom else PhotographFile(file, None, most_pixels)
    named = eye_in(upload.name)
    if not dicom:
        eye, doubts = _eye({upload.eye}, named)
        return StudyImage(photograph, eye, upload.field, doubts=(*doubts, *upload.doubts)), None
    header = read_header(file)
    eye, doubts = _eye({upload.eye, header.eye}, named)
    field = header.field if upload.field is Field.UNKNOWN else upload.field
    return StudyImage(photograph, eye, field, header.camera, (*doubts, *upload.doubts)), header


def _eye(stated_eyes: set[Eye], named: NamedEye) -> tuple[Eye, tuple[Gap, ...]]:
    """Return the eye that sender and header state, or else the file name's; unknown if the two differ."""
    stated_eyes = stated_eyes - {Eye.UNKNOWN}
    if len(stated_eyes) > 1:
        return Eye.UNKNOWN, (Gap.EYE_STATED_TWICE,)
    if not stated_eyes:
        return named.eye, () if named.doubt is None else (named.doubt,)
    (eye,) = stated_eyes
    return eye, () if named.eye in (eye, Eye.UNKNOWN) else (Gap.EYE_NAME_OTHER,)


def record_of(items: Mapping[str, object]) -> PatientRecord:
    """Make a patient's record; skip empty values. A `DataError` names the wrong item."""
    try:
        return RECORDS.validate_python({name: value for name, value in items.items() if value != ""})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise DataError(f"record.{name} must be valid, got {first['input']!r}: {first['msg']}. Correct it.") from error
