"""Write DICOM files (PS3.10), including reports (PS3.3 A.45.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from pydicom import Dataset, config, dcmread, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.valuerep import PersonName, validate_value

from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError
from teledx_fed.data.dicom import FILED_BY, Filing, PhotographUids

UNCOMPRESSED = uid.ExplicitVRLittleEndian

UNKNOWN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "Manufacturer"),
)
"""Elements that the standard requires and allows to be empty."""
LONGEST_COMMENT = 64


@dataclass(frozen=True)
class ReportFacts:
    """Facts of a report. `sources` are its photographs.

    `filing` has the identifiers under which the archive files it. `verified` is true if a clinician has signed it.
    """

    title: str
    created: datetime
    filing: Filing
    series_uid: str
    instance_uid: str
    sources: Sequence[PhotographUids] = ()
    verified: bool = False


def encapsulated_pdf(pdf: bytes, facts: ReportFacts) -> bytes:
    """Write a report as Encapsulated PDF, in the study of its photographs."""
    must(
        pdf.startswith(b"%PDF-"),
        "pdf",
        "be a PDF file",
        f"{len(pdf)} bytes that do not begin with %PDF-",
        "Render the report again.",
        DataError,
    )
    report = with_identity(Dataset(), uid.EncapsulatedPDFStorage, uid.UID(facts.instance_uid))
    for name, keyword in FILED_BY.items():
        if keyword in UNKNOWN or getattr(facts.filing, name):
            setattr(report, keyword, getattr(facts.filing, name))
    report.SeriesInstanceUID = facts.series_uid
    report.Modality, report.ConversionType, report.SeriesNumber, report.InstanceNumber = "DOC", "WSD", 1, 1
    report.Manufacturer = "teledx_fed"
    report.ContentDate, report.ContentTime = facts.created.strftime("%Y%m%d"), facts.created.strftime("%H%M%S")
    report.TimezoneOffsetFromUTC = facts.created.strftime("%z")
    report.AcquisitionDateTime = ""
    report.BurnedInAnnotation = "YES"  # the PDF's text identifies the patient
    report.DocumentTitle = facts.title
    report.ConceptNameCodeSequence = []
    report.VerificationFlag = "VERIFIED" if facts.verified else "UNVERIFIED"
    if facts.sources:
        report.SourceInstanceSequence = [_referenced(source) for source in facts.sources]
    report.MIMETypeOfEncapsulatedDocument = "application/pdf"
    report.EncapsulatedDocumentLength = len(pdf)
    report.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return encoded(report)


def sop_uids(report: bytes) -> tuple[str, str]:
    """Return the SOPClassUID and SOPInstanceUID of a DICOM file."""
    dataset = dcmread(BytesIO(report), specific_tags=["SOPClassUID", "SOPInstanceUID"])
    return str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)


def _referenced(source: PhotographUids) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.kind, source.instance
    return item


def with_identity(dataset: Dataset, kind: uid.UID, instance_uid: uid.UID) -> Dataset:
    """Set class and UID of a data set, and empty its `UNKNOWN` elements. Declare UTF-8 text and no compression."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, instance_uid
    for keyword in UNKNOWN:
        setattr(dataset, keyword, None)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = kind, instance_uid
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Encode as a file with an empty preamble. Raise a `ValueError` for a value that its type does not allow."""
    for element in dataset:
        if isinstance(element.value, str | PersonName):
            validate_value(element.VR, str(element.value), config.RAISE)
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def response(status: int, comment: str) -> Dataset:
    """Make the response to a failed request; archives log the comment (PS3.7 C.4)."""
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, comment.encode("ascii", "replace").decode()[:LONGEST_COMMENT]
    return answer


def code(value: str, meaning: str) -> Dataset:
    """Make a code of DICOM's own terminology (PS3.16)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
