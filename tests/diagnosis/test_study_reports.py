"""DICOM reports: with the archive's identifiers for the archive, with pseudonyms for others."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pytest
from dicom_files import content_of, photograph
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import Dataset, dcmread
from pypdf import PdfReader

from teledx_fed.core.clinical import Action, EyeReading, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.sending import NotSent, send
from teledx_fed.diagnosis.study_reports import INVENTED, StudyReport, latest
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.sessions import hashed_password
from teledx_fed.diagnosis.web.settings import ArchiveSettings, DiagnosisSettings, DicomSettings
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
FILED = {"PatientID": "MRN 7", "PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3", "AccessionNumber": "A 7"}


def dicom(content: bytes, side: str, **values: object) -> PhotographUpload:
    with Image.open(io.BytesIO(content)) as image:
        dataset = photograph(np.array(image), ImageLaterality=side, SOPInstanceUID=f"1.2.3.{ord(side)}", **values)
    return PhotographUpload(content_of(dataset))


@pytest.fixture
def report(clinic: Clinic, photographs) -> StudyReport:
    """The report of a DICOM study; only the left eye's file has an accession number."""
    files = dicom(photographs.right, "R"), dicom(photographs.left, "L", AccessionNumber="A 7")
    return latest(clinic, clinic.receive(StudyUpload("1.2.3", "dicom", files)).study.id)


def sign(clinic: Clinic, study: str) -> StudyReport:
    clinic.store.access.add_user("anna", Role.READER, hashed_password(PASSWORD))
    eyes = tuple(EyeReading(eye, True, 1) for eye in (Eye.RIGHT, Eye.LEFT))
    photographs = tuple(image.digest for image in clinic.store.study(study).images)
    now = datetime.now(UTC)
    clinic.store.add_reading(
        Reading(study, "anna", now, eyes, Action.REFER, None, False, "", "", photographs), sign=True
    )
    return latest(clinic, study)


def words(report: Dataset) -> str:
    return " ".join(PdfReader(io.BytesIO(report.EncapsulatedDocument)).pages[0].extract_text().split())


def test_the_archives_report_is_in_the_study_of_its_photographs(report: StudyReport) -> None:
    content, _, remarks = report.for_archive()
    made = dcmread(io.BytesIO(content))
    assert {keyword: str(made[keyword].value) for keyword in FILED} == FILED
    assert [item.ReferencedSOPInstanceUID for item in made.SourceInstanceSequence] == ["1.2.3.76", "1.2.3.82"]
    assert "Patient Doe Jane, MRN 7" in words(made)
    assert remarks == ()


@pytest.mark.slow
def test_the_pseudonymous_report_has_no_identifier_of_the_archive(report: StudyReport) -> None:
    made = dcmread(io.BytesIO(report.for_outside(datetime.now(UTC))))
    assert made.PatientID == report.stored.study.patient
    everything = f"{made} {words(made)}"
    assert not any(value in everything for value in ("MRN 7", "Doe", "A 7", "1.2.3.4", "1.2.3.82"))
    assert made.StudyInstanceUID.startswith("2.25.")


@pytest.mark.slow
def test_remarks_name_the_identifiers_that_the_archive_did_not_give(clinic: Clinic, photographs) -> None:
    stored = clinic.receive(photographs.submitted(patient="MRN 8", acquired="2026-02-03"))
    content, _, remarks = latest(clinic, stored.study.id).for_archive()
    made = dcmread(io.BytesIO(content))
    assert (made.PatientID, made.StudyDate, made.get("SourceInstanceSequence")) == ("MRN 8", "20260203", None)
    assert remarks == (INVENTED,)
    nobodys = clinic.receive(photographs.submitted("another"))
    with pytest.raises(ValueError, match="have a patient's number for an archive"):
        latest(clinic, nobodys.study.id).for_archive()


class StrictArchive(BaseHTTPRequestHandler):
    """An archive that stores one object by STOW-RS, or refuses it with `reason` (PS3.18 10.5)."""

    reason: int | None = None
    received: list[Dataset]

    def do_POST(self) -> None:
        kind = self.headers["Content-Type"]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        (part,) = message.get_payload()
        assert (message.get_content_type(), message.get_param("type")) == ("multipart/related", "application/dicom")
        assert (self.path, part.get_content_type()) == ("/web/studies", "application/dicom")
        dataset = dcmread(io.BytesIO(body.split(b"\r\n\r\n", 1)[1]))
        self.received.append(dataset)
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        response = Dataset()
        if self.reason is None:
            response.ReferencedSOPSequence = [item]
        else:
            item.FailureReason = self.reason
            response.FailedSOPSequence = [item]
        content = response.to_json().encode()
        self.send_response(200 if self.reason is None else 409)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def archive():
    handler = type("Handler", (StrictArchive,), {"received": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler, ArchiveSettings(address=f"http://127.0.0.1:{server.server_port}/web")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_the_button_sends_the_signed_report_and_shows_the_result(report, clinic: Clinic, archive) -> None:
    handler, settings = archive
    study = report.stored.study.id
    with pytest.raises(ValueError, match="must be signed for its report to be sent, got 'preliminary'"):
        send(report, settings)
    sign(clinic, study)
    page = TestClient(
        app(clinic, DiagnosisSettings(dicom=DicomSettings(archive=settings))), base_url="http://127.0.0.1"
    )
    page.post("/login", data={"name": "anna", "password": PASSWORD})
    shown = page.get(f"/studies/{study}").text
    assert "Send the signed report to the archive" in shown
    csrf = shown.split('name="csrf" value="')[1].split('"')[0]
    assert page.post(f"/studies/{study}/sent").status_code == 403
    assert "The archive has the report" in page.post(f"/studies/{study}/sent", data={"csrf": csrf}).text
    (received,) = handler.received
    assert {keyword: str(received[keyword].value) for keyword in FILED} == FILED
    assert clinic.store.views.of_study(study)[-1].what == "report to the archive"
    handler.reason = 0xA700
    answer = page.post(f"/studies/{study}/sent", data={"csrf": csrf})
    assert (answer.status_code, "HTTP 409, failure reason 0xA700" in answer.text) == (502, True)
    with pytest.raises(NotSent, match="0xA700"):
        send(latest(clinic, study), settings)


@pytest.mark.slow
def test_a_report_of_fewer_photographs_than_there_are_is_not_sent(report, clinic: Clinic, archive) -> None:
    signed = sign(clinic, report.stored.study.id)
    late = replace(signed.readings[0], reading=replace(signed.readings[0].reading, photographs=("0" * 64,)))
    with pytest.raises(ValueError, match="must be signed for its report to be sent"):
        send(replace(signed, readings=[late]), archive[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [({}, "title and host, or address"), ({"address": "http://pacs.example/web"}, "must be an https:// address")],
)
def test_an_archive_has_one_secure_address(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArchiveSettings(**values)
