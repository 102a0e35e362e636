"""Photographs as DICOM files, and their headers (PS3.3)."""

import hashlib
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from teledx_fed.core.examples import Eye, Field
from teledx_fed.data import dicom_pixels
from teledx_fed.data.dicom_parsing import PREFIX, exact, parse, text, whole
from teledx_fed.data.dicom_pixels import image_size, pixels
from teledx_fed.data.photographs import MOST_PIXELS, InvalidPhotograph

EYES = {"L": Eye.LEFT, "R": Eye.RIGHT}
MACULA_CENTRED, DISC_CENTRED = "111900", "111901"
FIELDS = {
    MACULA_CENTRED: Field.MACULA,
    DISC_CENTRED: Field.DISC,
    "410434001": Field.MACULA,  # Diabetic Retinopathy Study field 2
    "408734008": Field.DISC,  # field 1
    "67046006": Field.MACULA,  # fovea centralis, once T-AA621
    "T-AA621": Field.MACULA,
    "81016008": Field.DISC,  # optic nerve head, once T-AA630
    "T-AA630": Field.DISC,
}
"""Fields by code value: image positions of PS3.16 CID 4207, and structures of CID 4209 that name a field."""

KEYWORDS = (
    *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "ImageLaterality", "Laterality"),
    *("RelativeImagePositionCodeSequence", "AnatomicRegionSequence", "Manufacturer", "ManufacturerModelName"),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime", "StudyDate"),
    *("StudyTime", "BurnedInAnnotation", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


FILED_BY = {
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "study_uid": "StudyInstanceUID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_id": "StudyID",
    "accession_number": "AccessionNumber",
    "referring_physician": "ReferringPhysicianName",
}


@dataclass(frozen=True)
class Filing:
    """The identifiers under which an archive files a photograph. They identify a person and never leave the site.

    Missing values are empty. Dates are YYYYMMDD, `patient_name` is written as `Doe^Jane` (PS3.5 6.2).
    """

    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_uid: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    accession_number: str = ""
    referring_physician: str = ""


@dataclass(frozen=True, order=True)
class PhotographUids:
    """The UIDs of a photograph in its archive: `kind` is the SOP class."""

    instance: str
    series: str
    kind: str


@dataclass(frozen=True)
class DicomHeader:
    """The header of a photograph's file.

    `filing`, `series`, `instance` and `kind`, the SOP class, are the archive's values, empty where missing. `acquired`
    is ISO 8601, `size` height and width. `free_of_text` is True only where the header states it.
    """

    eye: Eye
    field: Field
    camera: str
    acquired: str | None
    filing: Filing
    series: str
    instance: str
    kind: str
    size: tuple[int, int]
    free_of_text: bool

    @property
    def patient(self) -> str:
        return self.filing.patient_id

    @property
    def study(self) -> str:
        return self.filing.study_uid


@dataclass(frozen=True)
class DicomPhotograph:
    """A DICOM file with one photograph; one of more than `most_pixels` is refused before it is decoded."""

    path: Path
    most_pixels: int = dataclass_field(default=MOST_PIXELS, compare=False, repr=False)

    @property
    def name(self) -> str:
        return str(self.path)

    def digest(self) -> str:
        return hashlib.sha256(_content(self.path)).hexdigest()

    def size(self) -> tuple[int, int]:
        return read_header(self.path).size

    def read(self) -> NDArray[np.uint8]:
        return pixels(read_dataset(_content(self.path), self.name), self.name, self.most_pixels)


def is_dicom(content: bytes) -> bool:
    """Whether content is a DICOM file, whatever the file's name."""
    return content[PREFIX] == b"DICM"


def read_header(file: Path) -> DicomHeader:
    """Read the header of a file. Raise an `InvalidPhotograph` where the file is not a photograph in DICOM."""
    return described(read_dataset(_content(file), str(file)), str(file))


def read_dataset(content: bytes, name: str) -> Dataset:
    """Parse the elements of a photograph's file that this program uses, and no others."""
    if not is_dicom(content):
        raise InvalidPhotograph(name, "a DICOM file", "no DICM after a preamble", "Export it as DICOM")
    return parse(content, name, (*dicom_pixels.KEYWORDS, *KEYWORDS))


def described(dataset: Dataset, name: str) -> DicomHeader:
    """Return the header of a parsed file. Raise an `InvalidPhotograph` where it is no photograph."""
    size = image_size(dataset, name)
    with whole(name, "a header"):
        return DicomHeader(
            eye=_eye(dataset, name),
            field=_field(dataset),
            camera=f"{text(dataset, 'Manufacturer')} {text(dataset, 'ManufacturerModelName')}".strip() or "unknown",
            acquired=_acquired(dataset),
            filing=Filing(**{name: exact(dataset, keyword) for name, keyword in FILED_BY.items()}),
            series=text(dataset, "SeriesInstanceUID"),
            instance=text(dataset, "SOPInstanceUID"),
            kind=text(dataset, "SOPClassUID"),
            size=size,
            free_of_text=text(dataset, "BurnedInAnnotation") == "NO",
        )


def _eye(dataset: Dataset, name: str) -> Eye:
    """Return the eye of the image, or else of its series."""
    stated = [text(dataset, keyword) for keyword in ("ImageLaterality", "Laterality")]
    side = next((side for side in stated if side not in ("", "U")), "")
    if side == "B":
        raise InvalidPhotograph(
            name, "a photograph of one eye", "laterality B, both", "Export each eye as a file of its own"
        )
    return EYES.get(side, Eye.UNKNOWN)


def _field(dataset: Dataset) -> Field:
    sequences = (dataset.get(keyword) for keyword in ("RelativeImagePositionCodeSequence", "AnatomicRegionSequence"))
    codes = [text(item, "CodeValue") for sequence in sequences for item in sequence or ()]
    return next((FIELDS[code] for code in codes if code in FIELDS), Field.UNKNOWN)


def _acquired(dataset: Dataset) -> str | None:
    """Return when the photograph was taken, or else when its content or study began; None without a valid date."""
    stated = [text(dataset, "AcquisitionDateTime")]
    stated += [text(dataset, f"{of}Date") + text(dataset, f"{of}Time") for of in ("Acquisition", "Content", "Study")]
    return next((time for time in map(_iso, stated) if time), None)


def _iso(time: str) -> str | None:
    date, clock = time[:8], time[8:]
    try:
        return datetime.fromisoformat(f"{date}T{clock}" if clock else date).isoformat()
    except ValueError:
        return None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidPhotograph(str(path), "readable", error.strerror, "Check the path and its permissions") from error
