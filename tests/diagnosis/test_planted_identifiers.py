"""Identifiers planted in files and file names, by each way of intake: none is returned, stored or logged."""

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from planted import CANARIES, TEXT, file_full_of_identifiers, full_of_identifiers
from pydicom import dcmread
from pynetdicom import AE
from pypdf import PdfReader

from teledx_fed.config.data import DataSettings, SourceSettings
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.layouts import read
from teledx_fed.diagnosis.batch import run
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.gathering import Gathering
from teledx_fed.diagnosis.receiver import SUCCESS, Receiver
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.study_files import study_uploads
from teledx_fed.diagnosis.watching import Watch
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

PASSWORD = "correct horse battery"
OPHTHALMIC = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
PATIENT = f"{TEXT}-4711"
KINDS = {"jpg": "JPEG", "tif": "TIFF", "png": "PNG"}
NAME = f"{TEXT} Jane_OD"


@pytest.fixture
def pixels(photographs) -> np.ndarray:
    with Image.open(io.BytesIO(photographs.right)) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture
def files(pixels: np.ndarray) -> dict[str, bytes]:
    """Files of each kind by name; their pixels differ a little, so each is a separate study."""
    exif, info = Image.Exif(), PngInfo()
    exif[0x010E] = exif[0x013B] = exif[0x9286] = TEXT
    info.add_text("Patient", TEXT)
    info.add_itxt("Comment", TEXT)
    made = {f"{NAME}.dcm": file_full_of_identifiers(pixels)}
    options = {"jpg": {"exif": exif, "comment": TEXT}, "tif": {"exif": exif}, "png": {"pnginfo": info, "exif": exif}}
    for shift, (suffix, options_of_format) in enumerate(options.items(), start=1):
        buffer = io.BytesIO()
        Image.fromarray(np.roll(pixels, shift, axis=0)).save(
            buffer, {"jpg": "JPEG", "tif": "TIFF", "png": "PNG"}[suffix], **options_of_format
        )
        made[f"{NAME}.{suffix}"] = buffer.getvalue()
    assert all(TEXT.encode() in content for content in made.values())
    return made


def found_in(content: bytes) -> list[bytes]:
    """Return the identifiers in a content; skip short ones, which compressed data contains by chance."""
    return [canary for canary in CANARIES if len(canary) > 6 and canary.lower() in content.lower()]


def kept(clinic: Clinic) -> dict[str, bytes]:
    """Return all files outside the identified store, by path."""
    folder = clinic.store.folder.parent
    apart = folder / "identified"
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(apart))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def text_of(pdf: bytes) -> bytes:
    reader = PdfReader(io.BytesIO(pdf))
    return " ".join((*(page.extract_text() for page in reader.pages), str(reader.metadata))).encode()


@pytest.fixture
def no_identifier_logged(files: dict[str, bytes], capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Check after a test that no log or output line contains an identifier."""
    logged, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(logged), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(level)
    root.removeHandler(handler)
    out, error = capfd.readouterr()
    lines = (logged.getvalue() + out + error).splitlines()
    assert [line for line in lines if found_in(line.encode())] == []


@pytest.fixture
def site(clinic: Clinic) -> TestClient:
    clinic.store.access.add_user("anna", Role.ADMIN, hashed_password(PASSWORD))
    client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1")
    client.post("/login", data={"name": "anna", "password": PASSWORD})
    return client


@pytest.mark.slow
@pytest.mark.usefixtures("no_identifier_logged")
def test_studies_from_page_device_and_link_store_no_identifier(
    clinic: Clinic, site: TestClient, files: dict[str, bytes]
) -> None:
    csrf = re.findall('name="csrf" value="([^"]+)"', site.get("/").text)[0]
    token = clinic.store.access.add_device("camera")
    link = clinic.link("by the sea", timedelta(hours=1), PATIENT)
    for number, (name, content) in enumerate(files.items()):
        if number == 0:
            device = {"Authorization": f"Bearer {token}", "Idempotency-Key": PATIENT}
            data = {"eyes": "right"}  # the file contains the patient's number
            answer = site.post("/api/v1/studies", headers=device, data=data, files={"images": (name, content)})
            assert found_in(answer.content) == []
        elif number == 1:
            answer = site.post(f"/link/{link}", files={"right": (name, content)}, data={"anyway": "yes"})
        else:
            sent = {"csrf": csrf, "key": str(number), "patient": PATIENT}
            answer = site.post("/upload", data=sent, files={"files": (name, content)})
        assert answer.is_success, answer.text
    assert len(clinic.store.worklist()) == len(files)
    assert_no_identifier(clinic, site)


def assert_no_identifier(clinic: Clinic, site: TestClient) -> None:
    assert {name: identifiers for name, content in kept(clinic).items() if (identifiers := found_in(content))} == {}
    for entry in clinic.store.worklist():
        report = f"/studies/{entry.id}/report"
        assert found_in(text_of(site.get(f"{report}.pdf").content)) == []
        dicom = site.get(f"{report}-pseudonymous.dcm").content
        assert found_in(dicom + text_of(dcmread(io.BytesIO(dicom)).EncapsulatedDocument)) == []
        for name in (f"{report}-pseudonymous.fhir.json", f"{report}.json"):
            content = site.get(name).content
            assert found_in(content + json.dumps(json.loads(content), ensure_ascii=False).encode()) == []
    assert found_in(site.get("/").content) == [], "a study's own page alone says whose it is"


@pytest.mark.slow
@pytest.mark.usefixtures("no_identifier_logged")
def test_studies_from_a_camera_and_a_watched_folder_store_no_identifier(
    clinic: Clinic, site: TestClient, tmp_path: Path, files: dict[str, bytes], pixels: np.ndarray
) -> None:
    gathering = Gathering(clinic, tmp_path / "incoming", quiet=0)
    entity = AE(ae_title="CAMERA")
    entity.add_requested_context(OPHTHALMIC)
    sent = full_of_identifiers(np.roll(pixels, 9, axis=0))
    sent.SOPClassUID = OPHTHALMIC
    with Receiver(gathering, "TELEDX", ["CAMERA"]).listening("127.0.0.1", 0, every=3600) as port:
        association = entity.associate("127.0.0.1", port, ae_title="TELEDX")
        assert association.send_c_store(sent).Status == SUCCESS
        association.release()
    assert gathering.take_in() == 1
    watched = tmp_path / "watched"
    (watched / TEXT).mkdir(parents=True)
    for name, content in {**files, f"{NAME}.torn.jpg": files[f"{NAME}.jpg"][:-99]}.items():
        (watched / name).write_bytes(content)
    watch = Watch(clinic, watched)
    assert (watch.look(), watch.look()) == (0, len(files))
    assert len(clinic.store.worklist()) == 1 + len(files)
    assert_no_identifier(clinic, site)


@pytest.mark.usefixtures("no_identifier_logged")
def test_a_batch_has_no_identifier_in_its_results(clinic: Clinic, tmp_path: Path, files: dict[str, bytes]) -> None:
    """Except in the first column of the table, which is for the hospital."""
    folder, out = tmp_path / "in" / TEXT, tmp_path / "out"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    run(study_uploads([tmp_path / "in"]), clinic.bundle, ReferralSettings(), out)
    assert len(list(out.iterdir())) > 1
    for file in out.iterdir():
        content = file.read_bytes()
        if file.name == "results.csv":
            content = b"\n".join(line.partition(b",")[2] for line in content.splitlines())
        assert found_in(file.name.encode() + content) == [], file
        if file.suffix == ".pdf":
            assert found_in(text_of(content)) == [], file


@pytest.mark.usefixtures("no_identifier_logged")
def test_training_stores_no_identifier(tmp_path: Path, files: dict[str, bytes]) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / f"{NAME}.dcm").write_bytes(files[f"{NAME}.dcm"])
    (root / "grades.csv").write_text(f"file,grade\n{NAME}.dcm,2\n")
    collection, problems = read("ward", SourceSettings("dicom", str(root)))
    assert (problems, len(collection.examples)) == ((), 1)
    cache = ImageCache(tmp_path / "cache", DataSettings(image_size=64))
    assert cache.prepare(collection.examples) == ()
    shards = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert shards
    assert [path for path in shards if found_in(str(path.relative_to(tmp_path)).encode() + path.read_bytes())] == []
