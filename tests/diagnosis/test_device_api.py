"""The API for devices: submissions, resumable uploads, and its description."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings


class Camera:
    def __init__(self, clinic: Clinic, name: str) -> None:
        self.client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1")
        self.token = clinic.store.access.add_device(name)

    def submit(self, photographs, key: str = "1", **data: object) -> httpx.Response:
        images = [("images", ("a", photographs.right)), ("images", ("b", photographs.left))]
        sent = {"eyes": ["right", "left"], **data}
        return self.client.post(
            "/api/v1/studies", headers=self.headers | {"Idempotency-Key": key}, data=sent, files=images
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def test_a_contradicting_file_name_is_reported_to_device_and_reader(clinic: Clinic, reader, photographs) -> None:
    camera = Camera(clinic, "one")
    headers = camera.headers | {"Idempotency-Key": "1"}
    images = [("images", ("12_OD.png", photographs.left)), ("images", ("left_Smith_R.png", photographs.right))]
    answer = camera.client.post("/api/v1/studies", headers=headers, data={"eyes": ["left", "unknown"]}, files=images)
    doubts = [(image["eye"], image["doubts"]) for image in answer.json()["photographs"]]
    assert doubts == [("left", ["eye_name_other"]), ("unknown", ["eye_name_unclear"])]
    page = reader.client.get(f"/studies/{answer.json()['id']}").text
    assert "The name of the file names the other eye." in page
    assert "A letter in the name of the file may mean an eye, a grade or an initial." in page
    assert "Smith" not in page


def test_a_device_submits_once_and_sees_only_its_own_studies(clinic: Clinic, photographs) -> None:
    camera, other = Camera(clinic, "one"), Camera(clinic, "other")
    first, again = (camera.submit(photographs, record='{"age": 61}') for _ in range(2))
    assert first.status_code == 201
    assert first.json() == again.json()
    study = first.json()["id"]
    assert first.json()["retake"] is False
    assert camera.client.get(f"/api/v1/studies/{study}", headers=camera.headers).json()["status"] == "diagnosed"
    assert other.client.get(f"/api/v1/studies/{study}", headers=other.headers).status_code == 404
    assert "refer" not in first.text


def test_the_openapi_description_states_authorization_binary_bodies_and_responses(visitor: TestClient) -> None:
    described = visitor.get("/api/v1/openapi.json").json()
    schemes, schemas = described["components"]["securitySchemes"], described["components"]["schemas"]
    assert (schemes["device"]["type"], schemes["device"]["scheme"]) == ("http", "bearer")
    operations = {
        f"{verb} {path}": description
        for path, verbs in described["paths"].items()
        for verb, description in verbs.items()
    }
    for operation, description in operations.items():
        assert description["security"] == [{"device": []}], operation
        assert "authorization" not in [each["name"] for each in description.get("parameters", ())]
        assert {"400", "401", "422"} <= set(description["responses"]), operation
        for status, answer in description["responses"].items():
            fhir = "/fhir/" in operation and status >= "400"
            kinds = [] if status == "204" else ["application/fhir+json" if fhir else "application/json"]
            assert list(answer.get("content", {})) == kinds, (operation, status)
            assert all(answer["content"][kind]["schema"]["$ref"] for kind in kinds)
    images = schemas["Body_submit_study"]["properties"]["images"]["items"]
    patch = operations["patch /api/v1/uploads/{upload}"]["requestBody"]["content"]
    pieces = patch["application/octet-stream"]["schema"]
    for schema in (images, pieces):
        assert (schema["type"], schema["format"]) == ("string", "binary")
    assert "application/fhir+json" in operations["post /api/v1/fhir/studies"]["requestBody"]["content"]


def test_a_revoked_or_guessed_token_is_refused(clinic: Clinic, photographs) -> None:
    camera = Camera(clinic, "one")
    clinic.store.access.revoke_device("one")
    assert camera.submit(photographs).status_code == 401
    camera.token = "guessed"
    assert camera.submit(photographs).status_code == 401


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"eyes": ["right"]}, "eyes and fields must be one for each photograph"),
        ({"record": '{"age": "old"}'}, "record.age"),
        ({"record": "no json"}, "record: "),
        ({"eyes": ["right", "middle"]}, "eyes"),
    ],
)
def test_an_invalid_request_is_named(clinic: Clinic, photographs, data, message) -> None:
    response = Camera(clinic, "one").submit(photographs, **data)
    assert response.status_code == 422
    assert message in response.text


def test_requests_that_fit_the_description_may_still_be_refused(clinic: Clinic, photographs) -> None:
    camera = Camera(clinic, "one")
    right, none = ("images", ("a", photographs.right)), ("images", ("a", b""))

    def sent(images: list[object], key: str = "1", **data: object) -> tuple[int, str]:
        headers = camera.headers | {"Idempotency-Key": key}
        fields = {"eyes": ["right"] * len(images), **data}
        response = camera.client.post("/api/v1/studies", headers=headers, data=fields, files=images)
        return response.status_code, str(response.json().get("detail"))

    assert sent([right])[0] == 201
    for (status, detail), words in (
        (sent([right], record='{"age": 61}'), "key must be new"),
        (sent([right], "2", record='{"age": 131}'), "record.age must lie"),
        (sent([right], "2", record="[]"), "record: "),
        (sent([right], "2", fields=["macula", "disc"]), "one for each photograph"),
        (sent([right], "2", patient="a\x07"), "printable"),
        (sent([right], "2", acquired="a\x07"), "printable"),
        (sent([right, right], "2"), "different files"),
        (sent([none] * 17, "2"), "1 to 16 photographs"),
        (sent([none], "2"), "photograph 1 must be"),
    ):
        assert (status, words in detail) == (422, True), detail
    assert sent([], "2", eyes=["right"], uploads=["0" * 32])[0] == 404
    assert len(clinic.store.worklist()) == 1


def test_a_file_that_is_no_photograph_is_refused_by_its_number(clinic: Clinic, photographs) -> None:
    camera = Camera(clinic, "one")
    files = [("images", ("a", b"no photograph"))]
    headers = camera.headers | {"Idempotency-Key": "1"}
    response = camera.client.post("/api/v1/studies", headers=headers, data={"eyes": ["left"]}, files=files)
    assert (response.status_code, "photograph 1 must be" in response.text) == (422, True)
    assert str(clinic.store.folder) not in response.text


def announced(camera: Camera, content: bytes) -> str:
    response = camera.client.post("/api/v1/uploads", headers=camera.headers, json={"length": len(content)})
    assert response.status_code == 201
    return str(response.json()["id"])


def go_on(camera: Camera, upload: str, offset: int, content: bytes) -> httpx.Response:
    headers = camera.headers | {"Upload-Offset": str(offset)}
    return camera.client.patch(f"/api/v1/uploads/{upload}", headers=headers, content=content)


def test_an_upload_that_was_cut_continues_and_gives_one_study(clinic: Clinic, photographs) -> None:
    camera = Camera(clinic, "one")
    names = [announced(camera, content) for content in (photographs.right, photographs.left)]
    half = len(photographs.right) // 2
    assert go_on(camera, names[0], 0, photographs.right[:half]).json()["offset"] == half
    data = {"eyes": ["right", "left"], "uploads": names}
    headers = camera.headers | {"Idempotency-Key": "1"}
    early = camera.client.post("/api/v1/studies", headers=headers, data=data)
    assert (early.status_code, "must be complete" in early.text) == (409, True)
    assert go_on(camera, names[0], 0, photographs.right).status_code == 409
    standing = camera.client.get(f"/api/v1/uploads/{names[0]}", headers=camera.headers).json()["offset"]
    go_on(camera, names[0], standing, photographs.right[standing:])
    go_on(camera, names[1], 0, photographs.left)
    assert camera.client.post("/api/v1/studies", headers=headers, data=data).status_code == 201
    assert len(clinic.store.worklist()) == 1
    again = camera.submit(photographs, key="1")
    assert (again.status_code, len(clinic.store.worklist())) == (201, 1)
    assert list((clinic.store.folder / "uploads").iterdir()) == []


def test_an_upload_is_of_one_device_and_has_at_most_the_announced_length(clinic: Clinic) -> None:
    camera, other = Camera(clinic, "one"), Camera(clinic, "other")
    name = announced(camera, b"1234")
    assert go_on(other, name, 0, b"12").status_code == 404
    assert go_on(camera, name, 0, b"12345").status_code == 413
    assert go_on(camera, name, 0, b"12").status_code == 200


@pytest.mark.parametrize(
    "path", ["/upload", "/link/guessed", "/studies/x/reading", "/api/v1/studies", "/api/v1/uploads"]
)
def test_the_body_of_an_unknown_sender_is_not_read(visitor: TestClient, path: str) -> None:
    def endless() -> Iterator[bytes]:
        yield from (bytes(2**20) for _ in range(8))

    assert visitor.post(path, content=endless()).status_code == 411
    assert visitor.post(path, content=b"x" * 100).status_code in (303, 401, 404)
    assert visitor.post("/login", content=b"name=" + b"x" * 20_000).status_code == 413


@pytest.mark.parametrize(("length", "status"), [("9" * 5000, 413), ("-1", 411), ("1e3", 411)])
def test_an_invalid_content_length_is_refused(visitor: TestClient, length: str, status: int) -> None:
    answer = visitor.post("/api/v1/studies", headers={"Content-Length": length})
    assert (answer.status_code, len(answer.text) < 200) == (status, True)
