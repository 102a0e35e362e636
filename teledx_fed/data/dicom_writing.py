"""DICOM objects that we write: files that any archive takes (PS3.10), and reports among them (PS3.3 A.45.1)."""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from pydicom import Dataset, config, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.valuerep import PersonName, validate_value

from teledx_fed.checks import must

UNKNOWN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "Manufacturer"),
)
"""What the standard asks for, and lets be empty."""
LONGEST_COMMENT = 64


@dataclass(frozen=True)
class ReportFacts:
    """Where a report is filed: the patient and study as the archive knows them; `verified` once a clinician signed.

    `patient_name` as PS3.5 writes it, `Doe^Jane`; `birth_date` and `study_date` as YYYYMMDD, empty where unknown.
    """

    title: str
    created: datetime
    study_uid: str
    instance_uid: str
    series_uid: str
    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""
    accession_number: str = ""
    verified: bool = False


def encapsulated_pdf(pdf: bytes, facts: ReportFacts) -> bytes:
    """A file of the Encapsulated PDF IOD, beside the photographs of its study."""
    must(pdf.startswith(b"%PDF-"), "pdf", "be a PDF file", f"{len(pdf)} other bytes", "Render the report anew.")
    report = stamped(Dataset(), uid.EncapsulatedPDFStorage, uid.UID(facts.instance_uid))
    report.StudyInstanceUID, report.SeriesInstanceUID = facts.study_uid, facts.series_uid
    report.PatientID, report.PatientName = facts.patient_id, facts.patient_name
    report.PatientBirthDate, report.PatientSex = facts.birth_date, facts.sex
    report.StudyDate, report.AccessionNumber = facts.study_date, facts.accession_number
    report.Modality, report.ConversionType, report.SeriesNumber, report.InstanceNumber = "DOC", "WSD", 1, 1
    report.Manufacturer = "teledx_fed"
    report.ContentDate, report.ContentTime = facts.created.strftime("%Y%m%d"), facts.created.strftime("%H%M%S")
    report.AcquisitionDateTime = ""
    report.BurnedInAnnotation = "YES"  # a report names its patient
    report.DocumentTitle = facts.title
    report.ConceptNameCodeSequence = []
    report.VerificationFlag = "VERIFIED" if facts.verified else "UNVERIFIED"
    report.MIMETypeOfEncapsulatedDocument = "application/pdf"
    report.EncapsulatedDocumentLength = len(pdf)
    report.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return encoded(report)


def stamped(dataset: Dataset, kind: uid.UID, instance_uid: uid.UID) -> Dataset:
    """With its identity, in Unicode, uncompressed, and with all that may be unknown left empty."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, instance_uid
    for keyword in UNKNOWN:
        setattr(dataset, keyword, None)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = kind, instance_uid
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """As a file, with nothing in its preamble. A `ValueError` names the value that its kind does not allow."""
    for element in dataset:
        if isinstance(element.value, str | PersonName):
            validate_value(element.VR, str(element.value), config.RAISE)
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def response(status: int, comment: str) -> Dataset:
    """To a request that failed; archives log the comment (PS3.7 C.4)."""
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, comment.encode("ascii", "replace").decode()[:LONGEST_COMMENT]
    return answer


def code(value: str, meaning: str) -> Dataset:
    """Of those that DICOM itself defines (PS3.16)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
