"""A camera sends over DICOM, by a real association; and one writes to a folder."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_files import photograph, wait_until_taken_in
from PIL import Image
from pynetdicom import AE, Association

from teledx_fed.clinical import Gap
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.receiver import SUCCESS, Receiver
from teledx_fed.diagnosis.watching import REASON, Watch

OPHTHALMIC = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
Associate = Callable[..., Association]


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "incoming"


@pytest.fixture
def associate(clinic: Clinic, folder: Path) -> Iterator[Associate]:
    server = Receiver(clinic, folder, "TELEDX", ["CAMERA"]).start("127.0.0.1", 0)
    port = server.socket.getsockname()[1]

    def make(caller: str = "CAMERA", called: str = "TELEDX") -> Association:
        entity = AE(ae_title=caller)
        entity.add_requested_context(OPHTHALMIC)
        return entity.associate("127.0.0.1", port, ae_title=called)

    yield make
    server.shutdown()


def test_two_eyes_of_one_study_become_one(associate: Associate, clinic: Clinic, folder: Path, photographs) -> None:
    association = associate()
    for side, content in (("R", photographs.right), ("L", photographs.left)):
        instance = f"1.2.3.{ord(side)}"
        sent = photograph(pixels(content), ImageLaterality=side, SOPInstanceUID=instance)
        assert association.send_c_store(sent).Status == SUCCESS
    association.release()
    wait_until_taken_in(folder)
    (entry,) = clinic.store.worklist()
    stored = clinic.store.study(entry.id)
    assert {image.eye for image in stored.images} == {"right", "left"}
    assert stored.study.patient not in (None, "MRN 7")
    assert b"MRN 7" not in b"".join(
        file.read_bytes() for file in clinic.store.folder.parent.rglob("*") if file.is_file()
    )
    assert clinic.identified.identity(stored.study.patient).number == "MRN 7"


@pytest.mark.parametrize("titles", [{"caller": "STRANGER"}, {"called": "OTHER"}])
def test_who_is_not_on_the_list_is_rejected(associate: Associate, titles: dict[str, str]) -> None:
    association = associate(**titles)
    assert association.is_rejected


def test_what_is_no_photograph_is_refused_at_once(associate: Associate, clinic: Clinic, folder: Path) -> None:
    association = associate()
    sent = photograph(np.zeros((40, 60, 3), np.uint8), NumberOfFrames=7)
    assert association.send_c_store(sent).Status not in (SUCCESS, None)
    association.release()
    wait_until_taken_in(folder)
    assert clinic.store.worklist() == ()


def test_what_a_crash_left_is_taken_in_at_the_next_start(clinic: Clinic, folder: Path, photographs) -> None:
    left = folder / "association-1" / "a.dcm"
    left.parent.mkdir(parents=True)
    photograph(pixels(photographs.left)).save_as(left, enforce_file_format=True)
    Receiver(clinic, folder, "TELEDX", ["CAMERA"])
    assert len(clinic.store.worklist()) == 1
    assert not left.exists()


def test_a_watched_folder_takes_in_what_is_no_longer_written_to(clinic: Clinic, tmp_path: Path, photographs) -> None:
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


def test_one_photograph_in_two_patients_folders_is_two_studies_that_are_doubted(
    clinic: Clinic, tmp_path: Path, photographs
) -> None:
    for patient in ("patient 7", "patient 8"):
        (tmp_path / "camera" / patient).mkdir(parents=True)
        (tmp_path / "camera" / patient / "OS.png").write_bytes(photographs.left)
    watch = Watch(clinic, tmp_path / "camera")
    assert (watch.look(), watch.look()) == (0, 2)
    doubts = [clinic.store.study(entry.id).images[0].doubts for entry in clinic.store.worklist()]
    assert sorted(doubts) == [(), (Gap.PHOTOGRAPH_SHARED,)]


def test_a_folder_that_is_not_there_is_named(clinic: Clinic, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a folder, got none"):
        Watch(clinic, tmp_path / "nowhere")
