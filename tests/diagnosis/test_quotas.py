"""Limits of links, devices and disk space."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import disk_usage

import httpx
import pytest
from fastapi.testclient import TestClient

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.directory import DiagnosisDirectory
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.access import LINK_ATTEMPTS
from teledx_fed.store.uploads import OverQuota, UploadQuota

MIB = 2**20
LARGE = 64 * MIB


def page(clinic: Clinic, **settings: int) -> TestClient:
    return TestClient(app(clinic, DiagnosisSettings(**settings)), base_url="http://127.0.0.1")


class Camera:
    def __init__(self, client: TestClient, clinic: Clinic, name: str = "camera") -> None:
        self._client, token = client, clinic.store.access.add_device(name)
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str = "", **sent: object) -> httpx.Response:
        headers = self._headers | sent.pop("headers", {})
        return self._client.request(method, f"/api/v1/uploads{path}", headers=headers, **sent)

    def begin(self, length: int = LARGE) -> httpx.Response:
        return self.ask("POST", json={"length": length})


def left(clinic: Clinic, token: str) -> int:
    link = clinic.store.access.link(token)
    assert link is not None
    return link.left


def test_a_link_ends_after_its_attempts(clinic: Clinic) -> None:
    client, link = page(clinic), clinic.link("by the sea", timedelta(hours=1))
    answers = [client.post(f"/link/{link}", files={"right": b"no photograph"}) for _ in range(LINK_ATTEMPTS + 3)]
    assert Counter(answer.status_code for answer in answers) == {422: LINK_ATTEMPTS, 404: 3}
    assert "tried too often" in answers[-1].text
    assert client.get(f"/link/{link}").status_code == 404
    assert clinic.store.access.links() == ()


def test_concurrent_attempts_do_not_exceed_the_limit_of_a_link(clinic: Clinic) -> None:
    token = clinic.link("by the sea", timedelta(hours=1))
    with ThreadPoolExecutor(20) as pool:
        tried = [link for link in pool.map(lambda _: clinic.store.access.try_link(token), range(20)) if link]
    assert sorted(link.left for link in tried) == list(range(LINK_ATTEMPTS))


def test_the_last_attempt_of_a_link_accepts_poor_photographs(clinic: Clinic, photographs) -> None:
    client, link = page(clinic), clinic.link("by the sea", timedelta(hours=1), "4711")
    for _ in range(LINK_ATTEMPTS - 1):
        clinic.store.access.try_link(link)
    assert "the last attempt" in client.get(f"/link/{link}").text
    files = {"right": photographs.right, "left": photographs.left}
    assert "Thank you" in client.post(f"/link/{link}", files=files).text
    assert [entry.patient for entry in clinic.store.worklist()] == [clinic.patients.pseudonym_of("4711")]


def test_an_attempt_is_no_larger_than_two_photographs(clinic: Clinic) -> None:
    link = clinic.link("by the sea", timedelta(hours=1))
    length = {"Content-Length": str(2 * LARGE + 2 * MIB), "Content-Type": "multipart/form-data; boundary=x"}
    assert page(clinic).post(f"/link/{link}", headers=length).status_code == 413
    assert left(clinic, link) == LINK_ATTEMPTS


def test_uploads_of_a_device_are_limited_by_number_and_bytes(clinic: Clinic) -> None:
    client = page(clinic, device_uploads=4, device_upload_mib=192)
    camera, other = Camera(client, clinic), Camera(client, clinic, "other")
    large = [camera.begin() for _ in range(40)]
    assert Counter(answer.status_code for answer in large) == {201: 3, 429: 37}
    assert "device/camera must have at most 4 uploads of 201326592 bytes" in large[-1].json()["detail"]
    assert [camera.begin(length).status_code for length in (1, 1)] == [429, 429], "all bytes are taken"
    assert [other.begin(1).status_code for _ in range(6)] == [201] * 4 + [429] * 2


def test_concurrent_uploads_do_not_exceed_the_quota(clinic: Clinic) -> None:
    def begin(_: int) -> bool:
        try:
            clinic.store.uploads.begin("device/camera", LARGE, timedelta(hours=1), UploadQuota(4, 100 * LARGE))
        except OverQuota:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(begin, range(12))) == 4


def test_a_deleted_upload_frees_its_quota_and_its_bytes(clinic: Clinic) -> None:
    client = page(clinic, device_uploads=1)
    camera, other = Camera(client, clinic), Camera(client, clinic, "other")
    upload = camera.begin(10).json()["id"]
    camera.ask("PATCH", f"/{upload}", headers={"Upload-Offset": "0"}, content=b"12345")
    assert len([*(clinic.store.folder / "uploads").iterdir()]) == 1
    assert other.ask("DELETE", f"/{upload}").status_code == 404
    assert client.delete(f"/api/v1/uploads/{upload}").status_code == 401
    assert (camera.begin().status_code, camera.ask("DELETE", f"/{upload}").status_code) == (429, 204)
    assert [*(clinic.store.folder / "uploads").iterdir()] == []
    assert camera.begin().status_code == 201


@pytest.fixture
def full(clinic: Clinic) -> TestClient:
    free = disk_usage(clinic.store.folder).free // MIB
    return page(clinic, free_disk_mib=free)


def test_photographs_that_would_fill_the_disk_are_refused(full: TestClient, clinic: Clinic) -> None:
    camera, link = Camera(full, clinic), clinic.link("by the sea", timedelta(hours=1))
    refused = full.post("/api/v1/studies", headers=camera._headers, content=bytes(2 * MIB))
    assert (refused.status_code, "disk of this site is full" in refused.json()["detail"]) == (507, True)
    page = full.post(f"/link/{link}", content=bytes(2 * MIB))
    assert (page.status_code, "disk of this site is full" in page.text) == (507, True)
    assert left(clinic, link) == LINK_ATTEMPTS, "it is not the sender's fault"
    assert full.post("/login", data={"name": "anna", "password": "x"}).status_code == 401


@pytest.mark.slow
def test_a_serving_page_deletes_expired_uploads(bundle_folder: Path, tmp_path: Path) -> None:
    home = DiagnosisDirectory(tmp_path)
    store = home.store()
    store._clock = store.uploads._clock = lambda: datetime.now(UTC) - timedelta(days=2)
    upload = store.uploads.begin("device/camera", 10, timedelta(days=1))
    file = store.folder / upload.path
    file.parent.mkdir()
    file.write_bytes(b"12345")
    store.close()
    with home.forgetting():
        pass
    assert not file.exists()
