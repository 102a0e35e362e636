"""DICOM receiver, over real associations."""

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from dicom_files import content_of, photograph, store
from fastapi.testclient import TestClient
from jpeg_ls import encode_array
from PIL import Image
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate
from pynetdicom import AE, Association

from teledx_fed.core.clinical import Action, EyeReading, Gap, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis import gathering as gathering_module
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.gathering import REFUSED, SOURCE, Gathering
from teledx_fed.diagnosis.receiver import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS, Receiver
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.sessions import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role, StoredStudy, StudyStatus

OPHTHALMIC, VERIFICATION = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.1.1"
Associate = Callable[..., Association]


class Camera:
    """A camera that opens a new association for each photograph."""

    def __init__(self, associate: Associate) -> None:
        self.associate = associate

    def send(self, *datasets: Dataset) -> list[Dataset]:
        answers = []
        for dataset in datasets:
            association = self.associate()
            answers.append(association.send_c_store(dataset))
            association.release()
        return answers


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def eye(content: bytes, side: str, **values: object) -> Dataset:
    return photograph(pixels(content), **{"ImageLaterality": side, "SOPInstanceUID": f"1.2.3.{ord(side)}", **values})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "incoming"


@pytest.fixture
def gathering(clinic: Clinic, folder: Path) -> Gathering:
    return Gathering(clinic, folder, quiet=0)


@pytest.fixture
def associate(gathering: Gathering) -> Iterator[Associate]:
    """A receiver that takes in studies only when a test calls `take_in`."""
    receiver = Receiver(gathering, "TELEDX", ["CAMERA"])
    with receiver.listening("127.0.0.1", 0, every=3600) as port:

        def make(caller: str = "CAMERA", called: str = "TELEDX", kind: str = OPHTHALMIC, *syntaxes: str) -> Association:
            entity = AE(ae_title=caller)
            entity.add_requested_context(kind, list(syntaxes) or None)
            return entity.associate("127.0.0.1", port, ae_title=called)

        yield make


@pytest.fixture
def camera(associate: Associate) -> Camera:
    return Camera(associate)


def the_study(clinic: Clinic) -> StoredStudy:
    (entry,) = (*clinic.store.worklist(), *clinic.store.signed())
    return clinic.store.study(entry.id)


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
def test_a_study_waits_until_it_is_quiet(camera, clinic: Clinic, folder: Path, photographs) -> None:
    patient = Gathering(clinic, folder, quiet=60)
    camera.send(eye(photographs.right, "R"))
    assert patient.take_in() == 0
    (study,) = folder.glob("waiting/*")
    os.utime(study, (time.time() - 50, time.time() - 50))
    camera.send(eye(photographs.left, "L"))
    assert patient.take_in() == 0
    os.utime(study, (time.time() - 61, time.time() - 61))
    assert patient.take_in() == 1
    assert len(the_study(clinic).images) == 2


@pytest.mark.slow
def test_a_late_photograph_joins_its_study_which_is_judged_anew(camera, clinic: Clinic, gathering, photographs) -> None:
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
    assert [source.instance for source in clinic.identified.filed(stored.study.id).sources] == ["1.2.3.76", "1.2.3.82"]


def read(clinic: Clinic, stored: StoredStudy, sign: bool) -> Reading:
    photographs = tuple(image.digest for image in stored.images)
    eyes = tuple(EyeReading(image.eye, True, 0) for image in stored.images)
    said = Reading(stored.study.id, "anna", datetime.now(UTC), eyes, Action.RESCREEN, None, False, "", "", photographs)
    clinic.store.add_reading(said, sign)
    return said


@pytest.mark.parametrize("sign", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_study_that_was_read_is_open_again(camera, clinic: Clinic, gathering, photographs, sign: bool) -> None:
    clinic.store.access.add_user("anna", Role.READER, hashed_password("correct horse battery"))
    camera.send(eye(photographs.right, "R"))
    gathering.take_in()
    before = the_study(clinic)
    said = read(clinic, before, sign)
    camera.send(eye(photographs.left, "L"))
    gathering.take_in()
    stored = the_study(clinic)
    assert stored.entry.status is StudyStatus.REOPENED
    assert [one.reading for one in clinic.store.readings(stored.study.id)] == [said]
    assert stored.entry in clinic.store.worklist()
    assert {one.example.eye for one in clinic.store.readings_for_training()} == ({Eye.RIGHT} if sign else set())
    with pytest.raises(ValueError, match=r"a photograph came meanwhile|must be those of the study"):
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
def test_sent_again_it_is_one_photograph_however_it_is_compressed(camera, associate, clinic, gathering, photographs):
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
def test_what_is_not_kept_fails_and_is_listed(camera, clinic, gathering, photographs, values, reason, later) -> None:
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


def test_refused_photographs_are_on_the_page_until_somebody_has_seen_to_them(camera, clinic, photographs) -> None:
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
def test_one_picture_is_not_two_eyes(camera, clinic: Clinic, gathering, folder: Path, photographs) -> None:
    """The sender already got a success status, so the receiver keeps the file and the page lists it."""
    camera.send(eye(photographs.right, "R"))
    gathering.take_in()
    camera.send(eye(photographs.right, "L"))
    gathering.take_in()
    assert len(the_study(clinic).images) == 1
    assert ["one for both" in refusal.reason for refusal in clinic.store.refusals.open()] == [True]
    assert len(list((folder / REFUSED).glob("*.dcm"))) == 1


@pytest.mark.slow
def test_more_photographs_than_a_study_may_have_fail(camera, clinic, gathering, photographs, monkeypatch) -> None:
    monkeypatch.setattr(gathering_module, "MOST_IMAGES", 1)
    answers = camera.send(eye(photographs.right, "R"), eye(photographs.left, "L"))
    assert [answer.Status for answer in answers] == [SUCCESS, CANNOT_UNDERSTAND]


@pytest.mark.slow
def test_a_full_disk_fails_and_what_waits_is_taken_in_later(camera, clinic, gathering, photographs, monkeypatch):
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


@pytest.mark.slow
def test_what_a_crash_left_is_taken_in_at_the_next_start(camera, clinic, gathering, folder, photographs) -> None:
    camera.send(eye(photographs.right, "R"), eye(photographs.left, "L"))
    (waiting,) = folder.glob("waiting/*")
    again = folder / "taking" / f"{waiting.name}-1"
    shutil.copytree(waiting, again)
    assert Gathering(clinic, folder, quiet=3600).take_in() == 1
    assert Gathering(clinic, folder, quiet=0).take_in() == 1, "it came before, and is the same"
    assert len(the_study(clinic).images) == 2
    assert len(clinic.store.suggestions(the_study(clinic).study.id)) == 1


def test_a_camera_can_ask_whether_we_listen(associate: Associate) -> None:
    association = associate("CAMERA", "TELEDX", VERIFICATION)
    assert association.send_c_echo().Status == SUCCESS
    association.release()


@pytest.mark.slow
@pytest.mark.parametrize("titles", [{"caller": "STRANGER"}, {"called": "OTHER"}])
def test_who_is_not_on_the_list_is_rejected(associate: Associate, titles: dict[str, str]) -> None:
    association = associate(**titles)
    assert association.is_rejected


@pytest.mark.slow
def test_what_a_camera_offers_and_cannot_send_is_listed_by_name(associate, clinic: Clinic, photographs) -> None:
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
def test_a_typed_number_and_that_of_the_files_must_be_one(clinic: Clinic, photographs) -> None:
    file = content_of(eye(photographs.right, "R"))
    sent = replace(photographs.submitted(patient="MRN 8"), photographs=(gathering_module.PhotographUpload(file),))
    with pytest.raises(ValueError, match="have the number that the DICOM files state"):
        clinic.receive(sent)
    assert clinic.receive(replace(sent, patient="MRN 7")).study.patient == clinic.patients.pseudonym_of("MRN 7")
    assert clinic.find_study(SOURCE, "1.2.3") is None
