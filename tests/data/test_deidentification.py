import hashlib
import hmac
import io
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import J2K_LOSSLESS, content_of, encoded, photograph, store
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import CANARIES, DIGITS, STRUCTURE, TEXT, VALUES, file_full_of_identifiers, full_of_identifiers
from pydicom import Dataset, config, uid
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pypdf import PdfReader
from reportlab.pdfgen.canvas import Canvas

from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.deidentification import deidentified, pseudonym, pseudonymous_uid
from teledx_fed.data.dicom import DicomPhotograph, Filing, PhotographUids, read_dataset, read_header
from teledx_fed.data.dicom_writing import ReportFacts, encapsulated_pdf
from teledx_fed.data.dicom_writing import encoded as written

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

KEY = bytes(range(32))
EYE = np.zeros((90, 120, 3), dtype=np.uint8)
cv2.circle(EYE, (60, 45), 35, (170, 90, 40), -1)
EYE[30:50, 50:70, 1] += np.arange(20, dtype=np.uint8)


def test_no_identifier_survives_in_any_element() -> None:
    content = file_full_of_identifiers(EYE)
    assert all(canary in content for canary in CANARIES if canary != TEXT.encode("utf-16-le"))
    assert content.count(TEXT.encode()) > 3000
    as_received = pydicom.dcmread(io.BytesIO(content))
    for dataset in (read_dataset(content, "x"), as_received, full_of_identifiers(EYE)):
        result = written(deidentified(dataset, KEY))
        for canary in CANARIES:
            assert canary not in result
            assert canary.lower() not in result.lower()


def test_the_canaries_are_in_elements_that_the_parser_reads() -> None:
    facts = read_dataset(file_full_of_identifiers(EYE), "x")
    assert facts.PatientID == facts.Manufacturer == facts.BurnedInAnnotation == TEXT
    assert facts.StudyInstanceUID == f"1.2.{DIGITS}"


USED = {"PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Laterality", "BurnedInAnnotation"}
UNUSED = [
    (tag, vr)
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
    if vr in VALUES and tag >> 16 > 2 and keyword not in USED | STRUCTURE | {"ImageLaterality"}
]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(UNUSED), st.text("ABCDEFGHIJ", min_size=1, max_size=16))
def test_no_other_field_changes_a_bit_of_the_result(field: tuple[int, str], text: str) -> None:
    (tag, vr), dataset = field, photograph(EYE)
    value = text.encode() if isinstance(VALUES[vr], bytes) else text if VALUES[vr] == TEXT else VALUES[vr]
    dataset[tag] = DataElement(tag, vr.split(" or ", maxsplit=1)[0], value, validation_mode=config.IGNORE)
    result = deidentified(read_dataset(content_of(dataset), "x"), KEY)
    assert written(result) == written(deidentified(photograph(EYE), KEY))


def test_the_deidentified_photograph_shows_the_same_eye(tmp_path: Path) -> None:
    position = Dataset()
    position.CodeValue = "111901"
    dataset = photograph(EYE, RelativeImagePositionCodeSequence=[position], ImageLaterality="R")
    path = tmp_path / "result"
    path.write_bytes(written(deidentified(dataset, KEY, cameras={"Topcon TRC-NW400"})))
    facts = read_header(path)
    assert (facts.eye, facts.field, facts.size, facts.free_of_text) == (Eye.RIGHT, Field.DISC, (90, 120), True)
    assert (facts.camera, facts.acquired, facts.patient) == ("Topcon TRC-NW400", None, pseudonym(KEY, "MRN 7"))
    np.testing.assert_array_equal(DicomPhotograph(path).read()[20:70, 40:80], EYE[20:70, 40:80])


def test_the_deidentified_file_is_marked_and_follows_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)
    result = pydicom.dcmread(io.BytesIO(written(deidentified(photograph(EYE), KEY))))
    assert result.pixel_array.shape == EYE.shape
    assert (result.PatientIdentityRemoved, result.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert result.DeidentificationMethod
    method = result.DeidentificationMethodCodeSequence[0]
    assert (method.CodeValue, method.CodingSchemeDesignator) == ("113100", "DCM")
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    assert all(uid.UID(result[keyword].value).is_valid for keyword in ("SOPInstanceUID", "StudyInstanceUID"))
    assert not [element for element in result if element.tag.is_private]


def test_text_beside_the_disc_is_blacked_out() -> None:
    image = EYE.copy()
    cv2.putText(image, "DOE", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    assert image[:15, :30].max() == 255
    result = deidentified(photograph(image, BurnedInAnnotation="YES"), KEY)
    shown = np.frombuffer(result.PixelData, np.uint8)[: image.size].reshape(image.shape)
    assert shown[:15, :30].max() == 0
    np.testing.assert_array_equal(shown[20:70, 40:80], image[20:70, 40:80])
    assert result.BurnedInAnnotation == "YES", "nobody said that there is none in the disc"


def test_the_stream_of_a_compressed_photograph_is_not_copied() -> None:
    dataset = photograph(EYE, syntax=J2K_LOSSLESS)
    frame = encoded(EYE, "JPEG2000", irreversible=False, comment=TEXT)
    assert TEXT.encode() in frame
    store(dataset, encapsulate([frame]))
    assert TEXT.encode() not in written(deidentified(dataset, KEY))


def test_studies_and_series_stay_together() -> None:
    first, second = (deidentified(photograph(EYE, SOPInstanceUID=f"1.2.3.4.{n}"), KEY) for n in (5, 6))
    assert first.StudyInstanceUID == second.StudyInstanceUID != first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.StudyInstanceUID == pseudonymous_uid(KEY, "1.2.3")
    other = deidentified(photograph(EYE), KEY[::-1])
    assert other.StudyInstanceUID != first.StudyInstanceUID
    assert other.PatientID != first.PatientID


def test_a_photograph_without_a_patient_stays_without_one() -> None:
    result = deidentified(photograph(EYE, PatientID="", StudyInstanceUID=None), KEY)
    assert not result.PatientID
    brighter = deidentified(photograph(EYE + (EYE > 0), PatientID="", StudyInstanceUID=None), KEY)
    assert brighter.StudyInstanceUID != result.StudyInstanceUID, "nor one study of all that name none"


def test_an_unknown_camera_is_not_named() -> None:
    assert not deidentified(photograph(EYE), KEY, cameras={"Canon CR-2"}).ManufacturerModelName


@given(st.text(max_size=64), st.binary(min_size=16, max_size=64))
def test_pseudonyms(patient: str, key: bytes) -> None:
    name = pseudonym(key, patient)
    assert name == hmac.new(key, b"patient\0" + patient.strip().encode(), hashlib.sha256).hexdigest()[:32]
    assert name == pseudonym(key, f" {patient} ")
    assert name != pseudonym(key + b"1", patient)
    assert uid.UID(pseudonymous_uid(key, patient)).is_valid


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="pseudonym key must have at least 16 bytes, got 8"):
        pseudonym(bytes(8), "MRN 7")


def test_a_photograph_without_a_fundus_is_refused() -> None:
    with pytest.raises(ValueError, match="must show a fundus"):
        deidentified(photograph(np.zeros_like(EYE)), KEY)


# Reports


def pdf(words: str) -> bytes:
    buffer = io.BytesIO()
    page = Canvas(buffer)
    page.drawString(100, 700, words)
    page.save()
    return buffer.getvalue()


FACTS = ReportFacts(
    title="Diabetic retinopathy, suggestion",
    created=datetime(2026, 1, 31, 10, 15, tzinfo=UTC),
    filing=Filing(
        "MRN 7", "NORTH", "Müller^Jane", "19600101", "F", "1.2.3", "20260130", "101500", "7", "A 7", "Who^Dr"
    ),
    series_uid="1.2.3.9",
    instance_uid="1.2.3.9.1",
    sources=(PhotographUids("1.2.3.4.5", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.77.1.5.1"),),
)


@pytest.mark.parametrize("padding", [b"", b"\n"])
def test_a_report_follows_the_standard(padding: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)
    content = pdf("refer") + padding
    report = pydicom.dcmread(io.BytesIO(encapsulated_pdf(content, FACTS)))
    assert report.SOPClassUID == report.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert report.EncapsulatedDocument[: report.EncapsulatedDocumentLength] == content
    assert "refer" in PdfReader(io.BytesIO(report.EncapsulatedDocument)).pages[0].extract_text()
    assert (report.StudyInstanceUID, report.PatientID, str(report.PatientName)) == ("1.2.3", "MRN 7", "Müller^Jane")
    filed = (report.IssuerOfPatientID, report.AccessionNumber, report.StudyDate, report.StudyID, report.PatientSex)
    assert filed == ("NORTH", "A 7", "20260130", "7", "F")
    assert [item.ReferencedSOPInstanceUID for item in report.SourceInstanceSequence] == ["1.2.3.4.5"]
    assert (report.ContentDate, report.ContentTime, report.Modality) == ("20260131", "101500", "DOC")
    assert (report.MIMETypeOfEncapsulatedDocument, report.VerificationFlag) == ("application/pdf", "UNVERIFIED")
    assert not [element.keyword for element in report if element.VR == "UI" and not uid.UID(element.value).is_valid]


def test_a_report_is_refused_as_a_photograph(tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(encapsulated_pdf(pdf("x"), FACTS))
    with pytest.raises(ValueError, match="must be a photograph, got Encapsulated PDF Storage"):
        read_header(tmp_path / "report")


def test_other_files_than_pdf_and_reports_without_a_study_are_refused() -> None:
    with pytest.raises(ValueError, match="pdf must be a PDF file"):
        encapsulated_pdf(b"<html>", FACTS)
    with pytest.raises(ValueError, match="Invalid value for VR UI"):
        encapsulated_pdf(pdf("x"), ReportFacts("x", FACTS.created, Filing(study_uid="study 7"), "1.2", "1.3"))
