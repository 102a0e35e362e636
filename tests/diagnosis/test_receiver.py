"""DICOM receiver, over real associations."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_camera import OPHTHALMIC, VERIFICATION, Associate, eye, the_study
from dicom_files import content_of
from fastapi.testclient import TestClient
from pydicom import uid

from teledx_fed.core.clinical import Gap
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis import gathering as gathering_module
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.gathering import REFUSED, SOURCE, Gathering
from teledx_fed.diagnosis.receiver import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.sessions import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role


def test_an_association_for_each_eye_makes_one_study(camera, clinic: Clinic, gathering, photographs) -> None:
    answers = camera.send(eye(photographs.right, "R"), eye(photographs.left, "L"))
    assert [answer.Status for answer in answers] == [SUCCESS, SUCCESS]
    assert clinic.store.worklist() == ()
    assert gathering.take_in() == 1
    stored = the_study(clinic)
    assert {image.eye for image in stored.images} == {Eye.RIGHT, Eye.LEFT}
    (suggestion,) = clinic.store.suggestions(stored.study.id)
    assert Gap.EYE_MISSING not in suggestion.diagnosis.reasons
    assert stored.study.patient not in (None, "MRN 7")
    kept = b"".join(file.read_bytes() for file in clinic.store.folder.parent.rglob("*") if file.is_file())
    assert b"MRN 7" not in kept
    assert clinic.identified.identity(stored.study.patient).number == "MRN 7"
    assert list(gathering._folder.rglob("*.dcm")) == []


@pytest.mark.slow
def test_a_study_waits_until_it_is_quiet(camera, clinic: Clinic, incoming: Path, photographs) -> None:
    patient = Gathering(clinic, incoming, quiet=60)
    camera.send(eye(photographs.right, "R"))
    assert patient.take_in() == 0
    (study,) = incoming.glob("waiting/*")
    os.utime(study, (time.time() - 50, time.time() - 50))
    camera.send(eye(photographs.left, "L"))
    assert patient.take_in() == 0
    os.utime(study, (time.time() - 61, time.time() - 61))
    assert patient.take_in() == 1
    assert len(the_study(clinic).images) == 2


@pytest.mark.parametrize("later", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"SOPInstanceUID": "1.2.3.82"}, "SOPInstanceUID must be one photograph's alone"),
        pytest.param({"PatientID": "MRN 8"}, "of one patient|PatientID must be that of", marks=pytest.mark.slow),
        pytest.param(
            {"IssuerOfPatientID": "OTHER"}, "of one patient|PatientID must be that of", marks=pytest.mark.slow
        ),
        pytest.param({"NumberOfFrames": 7}, "must be one frame", marks=pytest.mark.slow),
        pytest.param({"StudyInstanceUID": None}, "StudyInstanceUID must be in the file", marks=pytest.mark.slow),
    ],
)
def test_a_refused_photograph_fails_and_is_listed(
    camera, clinic, gathering, photographs, values, reason, later
) -> None:
    camera.send(eye(photographs.right, "R", IssuerOfPatientID="HERE"))
    if later:
        gathering.take_in()
    wrong = eye(photographs.left, "L", **{"IssuerOfPatientID": "HERE", **values})
    (answer,) = camera.send(wrong)
    assert answer.Status == CANNOT_UNDERSTAND
    assert 0 < len(answer.ErrorComment) <= 64
    camera.send(wrong)
    gathering.take_in()
    assert len(the_study(clinic).images) == 1
    (refusal,) = clinic.store.refusals.open()
    assert any(part in refusal.reason for part in reason.split("|"))
    assert (refusal.source, refusal.times) == ("dicom/CAMERA", 2)
    assert not any(word in refusal.reason for word in ("MRN", "Doe", "/", "1.2.3"))


def test_refused_photographs_are_listed_until_a_user_settles_them(camera, clinic, photographs) -> None:
    clinic.store.access.add_user("anna", Role.READER, hashed_password("correct horse battery"))
    camera.send(eye(photographs.right, "R", NumberOfFrames=7))
    site = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1")
    site.post("/login", data={"name": "anna", "password": "correct horse battery"})
    assert 'href="/refused"' in site.get("/").text
    page = site.get("/refused").text
    assert "must be one frame, got 7 frames" in page
    assert "MRN 7" not in page
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    (refusal,) = clinic.store.refusals.open()
    assert site.post(f"/refused/{refusal.id}/settled").status_code == 403
    assert "None." in site.post(f"/refused/{refusal.id}/settled", data={"csrf": csrf}).text
    assert 'href="/refused"' not in site.get("/").text


@pytest.mark.slow
def test_one_picture_is_not_two_eyes(camera, clinic: Clinic, gathering, incoming: Path, photographs) -> None:
    """The sender already got a success status, so the receiver keeps the file and the page lists it."""
    camera.send(eye(photographs.right, "R"))
    gathering.take_in()
    camera.send(eye(photographs.right, "L"))
    gathering.take_in()
    assert len(the_study(clinic).images) == 1
    assert ["one for both" in refusal.reason for refusal in clinic.store.refusals.open()] == [True]
    assert len(list((incoming / REFUSED).glob("*.dcm"))) == 1


@pytest.mark.slow
def test_more_photographs_than_a_study_may_have_fail(camera, clinic, gathering, photographs, monkeypatch) -> None:
    monkeypatch.setattr(gathering_module, "MOST_IMAGES", 1)
    answers = camera.send(eye(photographs.right, "R"), eye(photographs.left, "L"))
    assert [answer.Status for answer in answers] == [SUCCESS, CANNOT_UNDERSTAND]


@pytest.mark.slow
def test_after_a_full_disk_waiting_studies_are_received_later(camera, clinic, gathering, photographs, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(gathering_module, "write_bytes", full)
        (answer,) = camera.send(eye(photographs.right, "R"))
        assert answer.Status == OUT_OF_RESOURCES
    camera.send(eye(photographs.right, "R"), eye(photographs.left, "L"))
    with monkeypatch.context() as patched:
        patched.setattr(clinic.store, "add_study", full)
        assert gathering.take_in() == 0
    assert Gathering(clinic, gathering._folder, quiet=3600).take_in() == 1
    assert len(the_study(clinic).images) == 2


def test_after_an_unexpected_error_a_study_is_listed_with_a_reference_and_the_next_is_received(
    camera, clinic, gathering, photographs, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("Anna Bauer")

    camera.send(eye(photographs.right, "R"))
    with monkeypatch.context() as patched:
        patched.setattr(clinic.store, "add_study", fail)
        assert gathering.take_in() == 0
    (refusal,) = clinic.store.refusals.open()
    assert "unexpected error, reference" in refusal.reason
    assert "Anna" not in refusal.reason
    camera.send(eye(photographs.left, "L"))
    assert gathering.take_in() == 1


@pytest.mark.slow
def test_studies_left_by_a_crash_are_received_at_the_next_start(
    camera, clinic, gathering, incoming, photographs
) -> None:
    camera.send(eye(photographs.right, "R"), eye(photographs.left, "L"))
    (waiting,) = incoming.glob("waiting/*")
    again = incoming / "taking" / f"{waiting.name}-1"
    shutil.copytree(waiting, again)
    assert Gathering(clinic, incoming, quiet=3600).take_in() == 1
    assert Gathering(clinic, incoming, quiet=0).take_in() == 1, "it came before, and is the same"
    assert len(the_study(clinic).images) == 2
    assert len(clinic.store.suggestions(the_study(clinic).study.id)) == 1


def test_the_receiver_answers_c_echo(associate: Associate) -> None:
    association = associate("CAMERA", "TELEDX", VERIFICATION)
    assert association.send_c_echo().Status == SUCCESS
    association.release()


@pytest.mark.slow
@pytest.mark.parametrize("titles", [{"caller": "STRANGER"}, {"called": "OTHER"}])
def test_an_unknown_ae_title_is_rejected(associate: Associate, titles: dict[str, str]) -> None:
    association = associate(**titles)
    assert association.is_rejected


@pytest.mark.slow
def test_unsupported_objects_that_a_camera_offers_are_listed(associate, clinic: Clinic, photographs) -> None:
    association = associate("CAMERA", "TELEDX", OPHTHALMIC, uid.MPEG2MPML)
    assert association.accepted_contexts == []
    association.abort()
    until = time.monotonic() + 30
    while not clinic.store.refusals.open() and time.monotonic() < until:
        time.sleep(0.01)
    (refusal,) = clinic.store.refusals.open()
    assert "Ophthalmic Photography 8 Bit Image Storage (MPEG2 Main Profile" in refusal.reason


@pytest.mark.slow
def test_two_hospitals_with_one_number_have_two_patients(camera, clinic: Clinic, gathering, photographs) -> None:
    for issuer, study in (("NORTH", "1.2.31"), ("SOUTH", "1.2.32")):
        values = {"IssuerOfPatientID": issuer, "StudyInstanceUID": study, "SOPInstanceUID": f"{study}.1"}
        camera.send(eye(photographs.right, "R", **values))
    assert gathering.take_in() == 2
    patients = {entry.patient for entry in clinic.store.worklist()}
    assert {clinic.identified.identity(patient).issuer for patient in patients} == {"NORTH", "SOUTH"}


@pytest.mark.slow
def test_a_typed_number_must_be_that_of_the_files(clinic: Clinic, photographs) -> None:
    file = content_of(eye(photographs.right, "R"))
    sent = replace(photographs.submitted(patient="MRN 8"), photographs=(gathering_module.PhotographUpload(file),))
    with pytest.raises(ValueError, match="have the number that the DICOM files state"):
        clinic.receive(sent)
    assert clinic.receive(replace(sent, patient="MRN 7")).study.patient == clinic.patients.pseudonym_of("MRN 7")
    assert clinic.find_study(SOURCE, "1.2.3") is None
