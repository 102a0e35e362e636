"""Clinic: it stores a study once and completely, with nothing else of the sent files."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import photograph
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmwrite

from teledx_fed.core.clinical import Action, Certainty, Diagnosis, Fault, Gap, PatientRecord, Study
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis import intake
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import assess_photograph, diagnose
from teledx_fed.diagnosis.evidence import map_of
from teledx_fed.diagnosis.intake import PhotographUpload
from teledx_fed.store import readings
from teledx_fed.store.database import StoreError
from teledx_fed.store.values import StudyStatus

CANARY = "Canary-Jane-Doe-1912"


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() + path.name.encode() for path in folder.rglob("*") if path.is_file())


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def as_in_a_batch(study: Study, clinic: Clinic) -> Diagnosis:
    results = [assess_photograph(image, clinic.bundle) for image in study.images]
    return diagnose(study, results, clinic.bundle, clinic.referral)[0]


def test_quality_is_assessed_once_on_the_pixels_that_were_sent(clinic: Clinic, photographs, monkeypatch) -> None:
    """Also when the study grows: the model runs again, but the first assessment of quality remains."""
    assessed: list[tuple[int, ...]] = []

    def counted(pixels: np.ndarray) -> tuple[Fault, ...]:
        assessed.append(pixels.shape)
        return (Fault.BLURRED,)

    monkeypatch.setattr(intake, "faults", counted)
    stored = clinic.receive(replace(photographs.submitted(), photographs=photographs.upload()[:1]))
    grown = clinic.grow(stored.study.id, photographs.upload()[1:])
    assert len(assessed) == 2
    assert [image.faults for image in grown.images] == [(Fault.BLURRED,)] * 2
    for suggestion in clinic.store.suggestions(grown.study.id):
        assert all(eye.certainty is Certainty.UNGRADABLE for eye in suggestion.diagnosis.eyes)
        assert all(Fault.BLURRED in eye.reasons for eye in suggestion.diagnosis.eyes)


def test_a_received_study_is_stored_and_diagnosed(clinic: Clinic, photographs) -> None:
    stored = clinic.receive(photographs.submitted(record=PatientRecord(age=50)))
    assert stored.entry.status is StudyStatus.DIAGNOSED
    assert [image.eye for image in stored.images] == [Eye.RIGHT, Eye.LEFT]
    (suggestion,) = clinic.store.suggestions(stored.study.id)
    assert suggestion.diagnosis == as_in_a_batch(stored.study, clinic)
    assert suggestion.diagnosis.model == clinic.bundle.digest
    for image in stored.images:
        with Image.open(clinic.store.folder / map_of(image)) as heat:
            assert heat.size == (image.width, image.height)
            alpha = np.array(heat.convert("RGBA"))[..., 3]
            assert 0 < (alpha > 0).mean() < 1, "laid over the disc alone, where there is evidence"


def test_a_study_sent_twice_is_stored_once(clinic: Clinic, photographs) -> None:
    first, again = (clinic.receive(photographs.submitted()) for _ in range(2))
    assert first.study.id == again.study.id
    assert len(clinic.store.suggestions(first.study.id)) == 1
    assert len(list(clinic.store.folder.rglob("*.png"))) == 4  # two photographs, two heat maps


def test_other_photographs_under_the_same_key_are_refused_and_leave_nothing(clinic: Clinic, photographs) -> None:
    clinic.receive(photographs.submitted())
    before = sorted(clinic.store.folder.rglob("*"))
    other = replace(photographs.submitted(), photographs=photographs.upload()[:1])
    with pytest.raises(ValueError, match="key must be new"):
        clinic.receive(other)
    assert sorted(clinic.store.folder.rglob("*")) == before


@pytest.mark.parametrize("error", [DataError, RuntimeError, KeyboardInterrupt])
def test_a_study_whose_suggestion_cannot_be_stored_leaves_nothing(
    clinic: Clinic, photographs, monkeypatch, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(readings, "add_suggestion", fail)
        with pytest.raises(error, match="disk"):
            clinic.receive(photographs.submitted())
    assert clinic.store.worklist() == ()
    assert files_in(clinic.store.folder) == []
    alone = replace(photographs.submitted(), photographs=photographs.upload()[:1])
    stored = clinic.receive(alone)
    assert stored.entry.status is StudyStatus.DIAGNOSED
    before = files_in(clinic.store.folder)
    with monkeypatch.context() as patched:
        patched.setattr(readings, "add_suggestion", fail)
        with pytest.raises(error, match="disk"):
            clinic.grow(stored.study.id, photographs.upload()[1:])
    assert files_in(clinic.store.folder) == before
    assert clinic.store.study(stored.study.id) == stored


def test_a_stored_study_keeps_its_photographs_when_a_later_step_fails(clinic: Clinic, photographs, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise DataError("the identified store is full")

    with monkeypatch.context() as patched:
        patched.setattr(clinic.patients, "file", fail)
        with pytest.raises(DataError, match="identified store"):
            clinic.receive(photographs.submitted())
    (entry,) = clinic.store.worklist()
    assert all((clinic.store.folder / image.path).is_file() for image in clinic.store.study(entry.id).images)
    assert clinic.receive(photographs.submitted()).entry.id == entry.id


def test_photographs_stay_if_the_connection_breaks_after_the_commit(clinic: Clinic, photographs, monkeypatch) -> None:
    add_study = clinic.store.add_study

    def break_after_commit(*arguments: object) -> None:
        add_study(*arguments)  # type: ignore[arg-type]
        raise StoreError("COMMIT", None, Exception("the connection broke"))

    with monkeypatch.context() as patched:
        patched.setattr(clinic.store, "add_study", break_after_commit)
        with pytest.raises(StoreError, match="connection broke"):
            clinic.receive(photographs.submitted())
    (entry,) = clinic.store.worklist()
    assert all((clinic.store.folder / image.path).is_file() for image in clinic.store.study(entry.id).images)


def test_the_store_has_only_pseudonyms_of_patients(clinic: Clinic, photographs) -> None:
    one = clinic.receive(photographs.submitted("a", patient=CANARY))
    other = clinic.receive(photographs.submitted("b", patient=CANARY))
    assert one.study.patient == other.study.patient is not None
    assert CANARY.encode() not in everything_in(clinic.store.folder.parent)
    assert clinic.identified.identity(one.study.patient).number == CANARY


def test_one_photograph_for_both_eyes_is_read_by_a_clinician_however_it_was_compressed(
    clinic: Clinic, photographs
) -> None:
    with Image.open(io.BytesIO(photographs.right)) as image:
        image.convert("RGB").save(again := io.BytesIO(), "JPEG", quality=90)
    sent = PhotographUpload(photographs.right, Eye.RIGHT), PhotographUpload(again.getvalue(), Eye.LEFT)
    stored = clinic.receive(replace(photographs.submitted(), photographs=sent))
    assert [image.doubts for image in stored.images] == [(Gap.BOTH_EYES_ALIKE,)] * 2
    (suggestion,) = clinic.store.suggestions(stored.study.id)
    assert suggestion.diagnosis.certainty is Certainty.INCOMPLETE
    assert suggestion.diagnosis.action in (Action.HUMAN_READ, Action.REFER, Action.URGENT)
    without_doubts = replace(stored.study, images=tuple(replace(image, doubts=()) for image in stored.study.images))
    assert suggestion.diagnosis == as_in_a_batch(without_doubts, clinic)
    alone = clinic.receive(replace(photographs.submitted("later"), photographs=sent[:1], patient="1"))
    grown = clinic.grow(alone.study.id, sent[1:])
    assert Gap.BOTH_EYES_ALIKE in grown.images[1].doubts


def test_a_photograph_that_another_patient_has_too_is_read_by_a_clinician(clinic: Clinic, photographs) -> None:
    first = clinic.receive(photographs.submitted("a", patient="7"))
    again = clinic.receive(photographs.submitted("a", patient="7"))
    retaken = clinic.receive(photographs.submitted("b", patient="7"))
    other = clinic.receive(photographs.submitted("c", patient="8"))
    assert first == again
    assert not any(image.doubts for image in (*first.images, *retaken.images))
    assert {image.doubts for image in other.images} == {(Gap.PHOTOGRAPH_SHARED,)}
    (suggestion,) = clinic.store.suggestions(other.study.id)
    assert all(Gap.PHOTOGRAPH_SHARED in eye.reasons for eye in suggestion.diagnosis.eyes)
    assert suggestion.diagnosis.action is not Action.RESCREEN


def test_photographs_of_two_patients_in_one_study_are_refused(clinic: Clinic, photographs) -> None:
    files = []
    for side, content in (("R", photographs.right), ("L", photographs.left)):
        with Image.open(io.BytesIO(content)) as image:
            dataset, file = photograph(np.array(image), ImageLaterality=side, PatientID=f"MRN {side}"), io.BytesIO()
        dcmwrite(file, dataset, enforce_file_format=True)
        files.append(PhotographUpload(file.getvalue()))
    with pytest.raises(ValueError, match=r"study\.images must be of one patient, got 2"):
        clinic.receive(replace(photographs.submitted(), photographs=tuple(files)))
    assert files_in(clinic.store.folder) == []


def test_only_the_fundus_of_a_file_is_stored(clinic: Clinic, photographs) -> None:
    """The clinic removes names in metadata and letters beside the fundus."""
    with Image.open(io.BytesIO(photographs.right)) as image:
        pixels = np.array(image)
    pixels[2:6, 2:30] = 255
    info, file = PngInfo(), io.BytesIO()
    info.add_text("Patient", CANARY)
    Image.fromarray(pixels).save(file, "PNG", pnginfo=info)
    stored = clinic.receive(
        replace(photographs.submitted(), photographs=(PhotographUpload(file.getvalue(), Eye.RIGHT),))
    )
    assert CANARY.encode() not in everything_in(clinic.store.folder.parent)
    with Image.open(clinic.store.folder / stored.images[0].path) as kept:
        assert np.array(kept)[2:6, 2:30].max() == 0


@pytest.mark.parametrize("content", [b"", b"no photograph", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50)])
def test_a_file_that_is_no_photograph_is_refused_and_leaves_nothing(
    clinic: Clinic, photographs, content: bytes
) -> None:
    with pytest.raises(ValueError, match="photograph 3 must be"):
        clinic.receive(replace(photographs.submitted(), photographs=(*photographs.upload(), PhotographUpload(content))))
    assert files_in(clinic.store.folder) == []
    assert clinic.store.worklist() == ()


def test_a_photograph_without_a_fundus_is_ungradable_and_its_pixels_are_not_stored(clinic: Clinic, photographs) -> None:
    letter, file = np.full((400, 300, 3), 250, np.uint8), io.BytesIO()
    letter[40:360:20, 30:270] = 30
    Image.fromarray(letter).save(file, "PNG")
    stored = clinic.receive(
        replace(photographs.submitted(), photographs=(PhotographUpload(file.getvalue(), Eye.LEFT),))
    )
    assert Fault.NOT_A_FUNDUS in stored.images[0].faults
    (suggestion,) = clinic.store.suggestions(stored.study.id)
    assert suggestion.diagnosis.certainty is Certainty.UNGRADABLE
    with Image.open(clinic.store.folder / stored.images[0].path) as kept:
        assert np.array(kept).max() == 0


def test_one_photograph_for_both_eyes_is_refused(clinic: Clinic, photographs) -> None:
    twice = (PhotographUpload(photographs.left, Eye.LEFT), PhotographUpload(photographs.left, Eye.RIGHT))
    with pytest.raises(ValueError, match="Send each photograph once"):
        clinic.receive(replace(photographs.submitted(), photographs=twice))
