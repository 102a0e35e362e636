"""Intake from a folder that a camera writes to."""

from pathlib import Path

import pytest

from teledx_fed.core.clinical import Gap
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.intake import StudyUpload
from teledx_fed.diagnosis.watching import REASON, Watch
from teledx_fed.store.values import StoredStudy


def test_a_watched_file_is_received_once_it_no_longer_changes(clinic: Clinic, tmp_path: Path, photographs) -> None:
    camera = tmp_path / "camera"
    (camera / "patient 7").mkdir(parents=True)
    (camera / "patient 7" / "7_OD.png").write_bytes(photographs.right)
    (camera / "patient 7" / "7_OS.png").write_bytes(photographs.left)
    (camera / "torn.png").write_bytes(photographs.left[:1000])
    watch = Watch(clinic, camera)
    assert watch.look() == 0
    (camera / "torn.png").write_bytes(photographs.left[:2000])
    assert watch.look() == 1
    (entry,) = clinic.store.worklist()
    assert [image.eye for image in clinic.store.study(entry.id).images] == ["right", "left"]
    assert watch.look() == 0
    assert "photograph 1 must be whole" in (camera / "refused" / "torn.png" / REASON).read_text()
    assert len(list((camera / "done").rglob("*.png"))) == 2
    assert watch.look() == 0
    assert len(clinic.store.worklist()) == 1
    (refusal,) = clinic.store.refusals.open()
    assert (refusal.source, "must be whole" in refusal.reason) == ("folder", True)


def test_a_file_with_an_unexpected_error_is_refused_with_a_reference_and_blocks_no_other(
    clinic: Clinic, tmp_path: Path, photographs, monkeypatch
) -> None:
    camera, receive = tmp_path / "camera", clinic.receive
    for name, content in (("7_OD.png", photographs.right), ("8_OD.png", photographs.left)):
        (camera / name[0]).mkdir(parents=True)
        (camera / name[0] / name).write_bytes(content)

    def fail(upload: StudyUpload) -> StoredStudy:
        if upload.photographs[0].name.startswith("7"):
            raise ValueError("Anna Bauer")
        return receive(upload)

    monkeypatch.setattr(clinic, "receive", fail)
    watch = Watch(clinic, camera)
    assert [watch.look(), watch.look()] == [0, 1]
    (reason,) = (camera / "refused").rglob(REASON)
    assert "unexpected error, reference" in reason.read_text()
    (refusal,) = clinic.store.refusals.open()
    assert "Anna" not in refusal.reason + reason.read_text()


def late(clinic: Clinic, camera: Path, photographs) -> None:
    """Write the second eye after the intake of the first."""
    camera.mkdir()
    watch = Watch(clinic, camera)
    for name, content in (("7_OD.png", photographs.right), ("7_OS.png", photographs.left)):
        (camera / "patient 7").mkdir(parents=True, exist_ok=True)
        (camera / "patient 7" / name).write_bytes(content)
        assert [watch.look(), watch.look()] == [0, 1]


def test_a_second_eye_that_comes_later_joins_its_patients_study(clinic: Clinic, tmp_path: Path, photographs) -> None:
    camera = tmp_path / "camera"
    late(clinic, camera, photographs)
    (entry,) = clinic.store.worklist()
    assert [image.eye for image in clinic.store.study(entry.id).images] == ["right", "left"]
    assert Gap.EYE_MISSING not in clinic.store.suggestions(entry.id)[-1].diagnosis.reasons
    assert sorted(file.name for file in (camera / "done").rglob("*.png")) == ["7_OD.png", "7_OS.png"]


@pytest.mark.slow
def test_the_next_visit_of_a_patient_is_another_study(clinic: Clinic, tmp_path: Path, photographs, monkeypatch) -> None:
    monkeypatch.setattr("teledx_fed.diagnosis.watching.VISIT_HOURS", 0)
    late(clinic, tmp_path / "camera", photographs)
    assert len(clinic.store.worklist()) == 2


def test_one_photograph_in_two_patients_folders_gives_two_studies_with_a_doubt(
    clinic: Clinic, tmp_path: Path, photographs
) -> None:
    for patient in ("patient 7", "patient 8"):
        (tmp_path / "camera" / patient).mkdir(parents=True)
        (tmp_path / "camera" / patient / "OS.png").write_bytes(photographs.left)
    watch = Watch(clinic, tmp_path / "camera")
    assert (watch.look(), watch.look()) == (0, 2)
    doubts = [clinic.store.study(entry.id).images[0].doubts for entry in clinic.store.worklist()]
    assert sorted(doubts) == [(), (Gap.PHOTOGRAPH_SHARED,)]


def test_a_missing_folder_is_named(clinic: Clinic, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a folder, got none"):
        Watch(clinic, tmp_path / "nowhere")
