"""Interoperability with dcmtk and Orthanc: they send photographs, and store the signed report in the same study."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dicom_camera import eye as camera_eye
from dicom_camera import the_study
from dicom_files import saved
from orthanc_server import KNOWN, STUDY, WEB_PLUGIN, Orthanc, tool
from pydicom import Dataset, dcmread
from serving import free_port

from teledx_fed.core.clinical import Action, EyeReading, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.gathering import Gathering
from teledx_fed.diagnosis.receiver import Receiver
from teledx_fed.diagnosis.sending import NotSent, send
from teledx_fed.diagnosis.study_reports import latest
from teledx_fed.diagnosis.web.settings import ArchiveSettings
from teledx_fed.store.values import Role

pytestmark = pytest.mark.slow


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool(name), *map(str, arguments)], capture_output=True, text=True, timeout=60)


def eye(content: bytes, side: str, **values: object) -> Dataset:
    uids = {"SOPInstanceUID": f"{STUDY}.1.{ord(side)}", "SeriesInstanceUID": f"{STUDY}.1"}
    return camera_eye(content, side, SpecificCharacterSet="ISO_IR 100", **KNOWN, **uids, **values)


@pytest.fixture
def port(gathering: Gathering) -> Iterator[int]:
    with Receiver(gathering, "TELEDX", ["CAMERA", "ORTHANC"]).listening("127.0.0.1", 0, every=3600) as port:
        yield port


@pytest.fixture
def eyes(tmp_path: Path, photographs) -> tuple[Path, Path]:
    right, left = eye(photographs.right, "R"), eye(photographs.left, "L")
    return saved(tmp_path, right, "right.dcm"), saved(tmp_path, left, "left.dcm")


def sign(clinic: Clinic) -> str:
    clinic.store.access.add_user("anna", Role.READER, None)
    stored = the_study(clinic)
    eyes = tuple(EyeReading(each, True, 1) for each in {image.eye for image in stored.images})
    photographs = tuple(image.digest for image in stored.images)
    now = datetime.now(UTC)
    reading = Reading(stored.study.id, "anna", now, eyes, Action.RESCREEN, None, False, "", "", photographs)
    clinic.store.add_reading(reading, sign=True)
    return stored.study.id


COMPRESSIONS = {
    "plain": (None, ()),
    "lossless JPEG": (("dcmcjpeg", "+e1"), ("-xs",)),
    "extended JPEG": (("dcmcjpeg", "+ee", "+un"), ("-xx",)),
    "JPEG-LS": (("dcmcjpls",), ("-xt",)),
    "RLE": (("dcmcrle",), ("-xr",)),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_storescu_sends_each_eye_by_itself(
    compression: str, port: int, clinic: Clinic, gathering, eyes, tmp_path
) -> None:
    here = ("-aet", "CAMERA", "-aec", "TELEDX", "127.0.0.1", port)
    assert run("echoscu", *here).returncode == 0
    compress, proposing = COMPRESSIONS[compression]
    for file in eyes:
        sent = file
        if compress is not None:
            sent = tmp_path / f"compressed-{file.name}"
            assert run(*compress, file, sent).returncode == 0
        answer = run("storescu", "-v", *proposing, *here, sent)
        assert (answer.returncode, "Success" in answer.stdout + answer.stderr) == (0, True), answer.stderr
    gathering.take_in()
    for file in eyes:
        assert run("storescu", *here, file).returncode == 0  # again, as an archive's own copy, uncompressed
    gathering.take_in()
    stored = the_study(clinic)
    assert {image.eye for image in stored.images} == {Eye.RIGHT, Eye.LEFT}
    assert len(stored.images) == 2
    assert clinic.store.refusals.open() == ()


def test_storescu_gets_the_reason_for_a_refusal(port: int, clinic: Clinic, tmp_path: Path, photographs) -> None:
    file = saved(tmp_path, eye(photographs.right, "R", NumberOfFrames=2), "two.dcm")
    answer = run("storescu", "-v", "-aet", "CAMERA", "-aec", "TELEDX", "127.0.0.1", port, file)
    assert "Success" not in answer.stdout + answer.stderr
    assert "CannotUnderstand" in (answer.stdout + answer.stderr).replace(" ", "")
    assert len(clinic.store.refusals.open()) == 1


@pytest.fixture
def orthanc(tmp_path: Path, port: int) -> Iterator[Orthanc]:
    if not WEB_PLUGIN.exists():
        pytest.skip("orthanc-dicomweb is not installed")
    archive = Orthanc(tmp_path / "orthanc", port)
    yield archive
    archive.client.close()
    archive.process.terminate()
    archive.process.wait(30)


@pytest.mark.parametrize("protocol", ["C-STORE", "STOW-RS"])
def test_orthanc_sends_both_eyes_and_files_the_report_beside_them(
    protocol: str, orthanc: Orthanc, clinic: Clinic, gathering: Gathering, eyes: tuple[Path, Path]
) -> None:
    for file in eyes:
        stored = orthanc.client.post("/instances", content=file.read_bytes()).json()
        orthanc.client.post("/modalities/teledx/store", content=stored["ID"]).raise_for_status()
    gathering.take_in()
    assert {image.eye for image in the_study(clinic).images} == {Eye.RIGHT, Eye.LEFT}
    study = sign(clinic)
    ways = {
        "C-STORE": ArchiveSettings("ORTHANC", "127.0.0.1", orthanc.dicom),
        "STOW-RS": ArchiveSettings(address=f"http://127.0.0.1:{orthanc.http}/dicom-web"),
    }
    sent = [send(latest(clinic, study), ways[protocol]) for _ in range(2)]
    assert sent[0].instance == sent[1].instance, "sent again, it is the same object"
    (one,) = orthanc.client.get("/studies").json()
    assert one == orthanc.client.post("/tools/lookup", content=STUDY).json()[0]["ID"]
    (report,) = [dataset for dataset in orthanc.instances() if dataset.Modality == "DOC"]
    assert {keyword: str(report[keyword].value) for keyword in KNOWN} == KNOWN
    assert {item.ReferencedSOPInstanceUID for item in report.SourceInstanceSequence} == {
        f"{STUDY}.1.{ord(side)}" for side in "RL"
    }
    assert report.VerificationFlag == "VERIFIED"


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., tuple[ArchiveSettings, Path]]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> tuple[ArchiveSettings, Path]:
        port, folder = free_port(), tmp_path / "archive"
        folder.mkdir()
        running.append(subprocess.Popen([tool("storescp"), "-od", str(folder), *options, str(port)]))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    probe.settimeout(30)
                    probe.shutdown(socket.SHUT_WR)
                    with suppress(ConnectionResetError):
                        probe.recv(1)  # until storescp has closed it: it takes one connection at a time
                    break
            time.sleep(0.05)
        return ArchiveSettings("ANY", "127.0.0.1", port), folder

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def take_in_and_sign(gathering: Gathering, clinic: Clinic, eyes: tuple[Path, Path]) -> str:
    for file in eyes:
        gathering.add(file.read_bytes(), "CAMERA")
    gathering.take_in()
    return sign(clinic)


def test_storescp_accepts_the_report_and_dciodvfy_finds_no_error(clinic, gathering, eyes, storescp) -> None:
    study = take_in_and_sign(gathering, clinic, eyes)
    archive, folder = storescp()
    send(latest(clinic, study), archive)
    (file,) = folder.iterdir()
    report = dcmread(file)
    assert (report.PatientID, report.StudyInstanceUID) == ("MRN 7", STUDY)
    output = run("dciodvfy", file)
    assert "EncapsulatedPDF" in output.stderr
    assert [line for line in (output.stdout + output.stderr).splitlines() if line.startswith("Error")] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom leaves a socket open
def test_a_report_is_not_sent_if_the_archive_refuses_it_or_is_unreachable(clinic, gathering, eyes, storescp) -> None:
    study = take_in_and_sign(gathering, clinic, eyes)
    archive, _ = storescp("--refuse")
    with pytest.raises(NotSent, match="rejected the association"):
        send(latest(clinic, study), archive)
    with pytest.raises(NotSent, match="could not be reached"):
        send(latest(clinic, study), ArchiveSettings("ANY", "127.0.0.1", free_port()))
    with pytest.raises(NotSent, match="could not be reached"):
        send(latest(clinic, study), ArchiveSettings(address=f"http://127.0.0.1:{free_port()}/web"))
