"""Photographs that come late over DICOM: they join their study, which is judged again or reopened."""

from datetime import UTC, datetime

import pytest
from dicom_camera import OPHTHALMIC, eye, pixels, the_study
from dicom_files import store
from fastapi.testclient import TestClient
from jpeg_ls import encode_array
from pydicom import uid
from pydicom.encaps import encapsulate

from teledx_fed.core.clinical import Action, EyeReading, Gap, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.receiver import SUCCESS
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.sessions import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role, StoredStudy, StudyStatus


@pytest.mark.slow
def test_a_late_photograph_joins_its_study_and_the_study_is_judged_again(
    camera, clinic: Clinic, gathering, photographs
) -> None:
    camera.send(eye(photographs.right, "R"))
    gathering.take_in()
    camera.send(eye(photographs.left, "L"))
    gathering.take_in()
    stored = the_study(clinic)
    assert [image.eye for image in stored.images] == [Eye.RIGHT, Eye.LEFT]
    first, second = clinic.store.suggestions(stored.study.id)
    assert Gap.EYE_MISSING in first.diagnosis.reasons
    assert Gap.EYE_MISSING not in second.diagnosis.reasons
    assert first.diagnosis.eyes[0] == second.diagnosis.eyes[0]
    identifiers = clinic.identified.archive_identifiers(stored.study.id)
    assert [source.instance for source in identifiers.sources] == ["1.2.3.76", "1.2.3.82"]


def read(clinic: Clinic, stored: StoredStudy, sign: bool) -> Reading:
    photographs = tuple(image.digest for image in stored.images)
    eyes = tuple(EyeReading(image.eye, True, 0) for image in stored.images)
    reading = Reading(
        stored.study.id, "anna", datetime.now(UTC), eyes, Action.RESCREEN, None, False, "", "", photographs
    )
    clinic.store.add_reading(reading, sign)
    return reading


@pytest.mark.parametrize("sign", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_late_photograph_reopens_a_study_that_was_read(
    camera, clinic: Clinic, gathering, photographs, sign: bool
) -> None:
    clinic.store.access.add_user("anna", Role.READER, hashed_password("correct horse battery"))
    camera.send(eye(photographs.right, "R"))
    gathering.take_in()
    before = the_study(clinic)
    reading = read(clinic, before, sign)
    camera.send(eye(photographs.left, "L"))
    gathering.take_in()
    stored = the_study(clinic)
    assert stored.entry.status is StudyStatus.REOPENED
    assert [one.reading for one in clinic.store.readings(stored.study.id)] == [reading]
    assert stored.entry in clinic.store.worklist()
    assert {one.example.eye for one in clinic.store.readings_for_training()} == ({Eye.RIGHT} if sign else set())
    with pytest.raises(ValueError, match=r"a photograph was added in the meantime|must be the eyes on the study"):
        read(clinic, before, sign=True)
    site = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1")
    site.post("/login", data={"name": "anna", "password": "correct horse battery"})
    page = site.get(f"/studies/{stored.study.id}").text
    assert "A photograph came after this study was read. The study is open again" in page
    assert "before a later photograph came" in page
    report = site.get(f"/studies/{stored.study.id}/report.fhir.json").json()["entry"][0]["resource"]
    assert report["status"] == "preliminary"
    assert ("The study is open again" in report["conclusion"]) == sign
    read(clinic, stored, sign=True)
    assert the_study(clinic).entry.status is StudyStatus.SIGNED


@pytest.mark.slow
def test_a_photograph_sent_again_with_another_compression_is_stored_once(
    camera, associate, clinic, gathering, photographs
):
    right = eye(photographs.right, "R")
    plain = pixels(photographs.right)
    compressed = eye(photographs.right, "R")
    compressed.file_meta.TransferSyntaxUID = uid.JPEGLSNearLossless
    store(compressed, encapsulate([bytes(encode_array(plain, lossy_error=3))]))

    def resend() -> int:
        association = associate("CAMERA", "TELEDX", OPHTHALMIC, uid.JPEGLSNearLossless)
        status = int(association.send_c_store(compressed).Status)
        association.release()
        return status

    camera.send(right)
    assert resend() == SUCCESS
    gathering.take_in()
    assert resend() == SUCCESS
    camera.send(right)
    gathering.take_in()
    assert len(the_study(clinic).images) == 1
    assert clinic.store.refusals.open() == ()
