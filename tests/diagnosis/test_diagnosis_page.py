"""The clinicians' pages and the API for devices, with requests as from a browser and a camera."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from clinic_reader import HASH, PASSWORD, READING, Reader
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from teledx_fed.core.clinical import Diabetes, PatientRecord
from teledx_fed.data.photographs import png
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app, server
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role


@pytest.fixture
def study(clinic: Clinic, photographs) -> str:
    return clinic.receive(photographs.submitted()).study.id


@pytest.fixture
def reader(clinic: Clinic) -> Reader:
    return Reader(clinic, DiagnosisSettings())


@pytest.fixture
def blinded(clinic: Clinic) -> Reader:
    return Reader(clinic, DiagnosisSettings(suggestion="after_own_grade"))


@pytest.fixture
def anyone(clinic: Clinic) -> TestClient:
    return TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1", follow_redirects=False)


def digests(clinic: Clinic, study: str) -> list[str]:
    return [image.digest for image in clinic.store.study(study).images]


def test_without_a_log_in_there_is_nothing_to_see(anyone: TestClient, clinic: Clinic, study: str) -> None:
    picture = digests(clinic, study)[0]
    pages = ["/", "/upload", f"/studies/{study}", f"/studies/{study}/images/{picture}.png"]
    for path in [*pages, f"/studies/{study}/maps/heat_map/{picture}.png"]:
        response = anyone.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/login"), path


@pytest.mark.slow
def test_a_wrong_password_and_an_unknown_name_are_told_alike_and_wait_after_five(
    anyone: TestClient, clinic: Clinic
) -> None:
    clinic.store.access.add_user("anna", Role.READER, HASH)
    wrong = [anyone.post("/login", data={"name": name, "password": "wrong"}) for name in ("anna", "nobody")]
    assert [response.status_code for response in wrong] == [401, 401]
    assert wrong[0].text == wrong[1].text
    for _ in range(5):
        anyone.post("/login", data={"name": "anna", "password": "wrong"})
    response = anyone.post("/login", data={"name": "anna", "password": PASSWORD})
    assert response.status_code == 401
    assert "Too many wrong passwords" in response.text


def test_a_form_of_another_page_changes_nothing(reader: Reader, clinic: Clinic, study: str) -> None:
    for path in (f"/studies/{study}/reading", "/logout"):
        assert reader.client.post(path, data={**READING, "csrf": "guessed"}).status_code == 403
        assert reader.client.post(path, data=READING).status_code == 403
    assert clinic.store.readings(study) == ()


def test_a_cookie_that_no_script_reads_and_no_other_site_sends(reader: Reader) -> None:
    response = reader.client.post("/login", data={"name": "anna", "password": PASSWORD})
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_study_is_shown_with_its_suggestion_and_the_view_is_on_record(
    reader: Reader, clinic: Clinic, study: str
) -> None:
    page = reader.get(f"/studies/{study}").text
    assert page.index("Right eye") < page.index("Left eye")
    assert "Suggestion, not a diagnosis." in page
    assert "most likely" in page
    for picture in digests(clinic, study):
        for kind in ("images", "maps/heat_map"):
            assert f"/studies/{study}/{kind}/{picture}.png" in page
            assert reader.get(f"/studies/{study}/{kind}/{picture}.png").content.startswith(b"\x89PNG")
    assert [view.user for view in clinic.store.views.of_study(study)] == ["anna"]


def test_until_the_own_grade_nothing_tells_the_suggestion(blinded: Reader, clinic: Clinic, study: str) -> None:
    heat = f"/studies/{study}/maps/heat_map/{digests(clinic, study)[0]}.png"
    page = blinded.get(f"/studies/{study}").text
    assert "shown after you have graded" in page
    assert [word for word in ("most likely", "/maps/", " selected", "suggested=", "?map=") if word in page] == []
    assert blinded.get(f"/studies/{study}?map=shap").text.count("/maps/") == 0
    assert blinded.get(heat).status_code == 404
    assert blinded.read(study, **READING).status_code == 303
    assert "most likely" in blinded.get(f"/studies/{study}").text
    assert blinded.get(heat).status_code == 200
    (stored,) = clinic.store.readings(study)
    assert (stored.reading.seen, stored.reading.suggestion) == (False, None)


def test_a_demonstration_says_so_is_never_signed_and_stays_on_this_machine(
    open_clinic: Callable[[Path], Clinic], demonstration_folder: Path, photographs
) -> None:
    clinic = open_clinic(demonstration_folder)
    study = clinic.receive(photographs.submitted()).study.id
    reader = Reader(clinic, DiagnosisSettings())
    assert "Demonstration, not for patients." in reader.get(f"/studies/{study}").text
    response = reader.read(study, "yes", **READING)
    assert (response.status_code, "A demonstration cannot be signed." in response.text) == (422, True)
    elsewhere = DiagnosisSettings(host="0.0.0.0", certificate="c.pem", key="k.pem")
    with pytest.raises(ValueError, match="host must be of this machine alone for a demonstration"):
        server(clinic, elsewhere)


def test_other_machines_are_served_with_tls_alone() -> None:
    with pytest.raises(ValueError, match="certificate must be given where host"):
        DiagnosisSettings(host="0.0.0.0")


def test_what_is_uploaded_in_the_page_becomes_a_study(reader: Reader, clinic: Clinic, photographs) -> None:
    files = [("right", ("a", photographs.right)), ("files", ("a_OS.png", photographs.left))]
    told = {"patient": "4711", "age": "61", "diabetes": "type_2", "pregnant": "no", "treated": ""}
    response = reader.client.post("/upload", data={"csrf": reader.csrf, "key": "1", **told}, files=files)
    (entry,) = clinic.store.worklist()
    assert response.headers["location"] == f"/studies/{entry.id}"
    study = clinic.store.study(entry.id).study
    assert [image.eye for image in study.images] == ["right", "left"]
    assert study.record == PatientRecord(age=61, diabetes=Diabetes.TYPE_2, pregnant=False)
    page = reader.get(f"/studies/{entry.id}").text
    assert "Patient 4711" in page
    assert "61 years old, type 2 diabetes, not pregnant." in page


def test_an_item_of_the_record_that_makes_no_sense_is_named(reader: Reader, clinic: Clinic, photographs) -> None:
    for item, wrong in {"age": "-5", "acuity": "nan", "diabetes": "type_9", "pregnant": "perhaps"}.items():
        data = {"csrf": reader.csrf, "key": "1", item: wrong}
        response = reader.client.post("/upload", data=data, files=[("right", ("a", photographs.right))])
        assert (response.status_code, f"record.{item}" in response.text) == (422, True), response.text
    assert clinic.store.worklist() == ()


@pytest.mark.parametrize("kind", ["integrated_gradients", pytest.param("shap", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:The set_.* function will be deprecated:PendingDeprecationWarning")
def test_who_asks_for_another_map_gets_it_over_the_photograph(
    reader: Reader, clinic: Clinic, study: str, kind: str
) -> None:
    pictures = digests(clinic, study)
    assert reader.get(f"/studies/{study}/maps/{kind}/{pictures[0]}.png").status_code == 404
    page = reader.get(f"/studies/{study}?map={kind}").text
    for picture in pictures:
        assert f"/maps/{kind}/{picture}.png" in page
        assert reader.get(f"/studies/{study}/maps/{kind}/{picture}.png").content.startswith(b"\x89PNG")
    assert page.count("&#39;referable&#39;") == 2
    kept = set(clinic.store.folder.rglob("*.png"))
    assert kept <= set(clinic.store.retention.forget(datetime.now(UTC)).paths), "they go with the study"


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


def test_an_eye_that_a_file_name_contradicts_is_told_to_device_and_reader(clinic: Clinic, reader, photographs) -> None:
    camera = Camera(clinic, "one")
    headers = camera.headers | {"Idempotency-Key": "1"}
    images = [("images", ("12_OD.png", photographs.left)), ("images", ("left_Smith_R.png", photographs.right))]
    answer = camera.client.post("/api/v1/studies", headers=headers, data={"eyes": ["left", "unknown"]}, files=images)
    told = [(image["eye"], image["doubts"]) for image in answer.json()["photographs"]]
    assert told == [("left", ["eye_name_other"]), ("unknown", ["eye_name_unclear"])]
    page = reader.client.get(f"/studies/{answer.json()['id']}").text
    assert "The name of the file names the other eye." in page
    assert "A letter in the name of the file may mean an eye, a grade or an initial." in page
    assert "Smith" not in page


def test_a_device_submits_once_and_sees_its_own_studies_alone(clinic: Clinic, photographs) -> None:
    camera, other = Camera(clinic, "one"), Camera(clinic, "other")
    first, again = (camera.submit(photographs, record='{"age": 61}') for _ in range(2))
    assert first.status_code == 201
    assert first.json() == again.json()
    study = first.json()["id"]
    assert first.json()["retake"] is False
    assert camera.client.get(f"/api/v1/studies/{study}", headers=camera.headers).json()["status"] == "diagnosed"
    assert other.client.get(f"/api/v1/studies/{study}", headers=other.headers).status_code == 404
    assert "refer" not in first.text


def test_the_description_says_who_may_ask_what_is_binary_and_what_comes_back(anyone: TestClient) -> None:
    described = anyone.get("/api/v1/openapi.json").json()
    schemes, schemas = described["components"]["securitySchemes"], described["components"]["schemas"]
    assert (schemes["device"]["type"], schemes["device"]["scheme"]) == ("http", "bearer")
    operations = {f"{verb} {path}": told for path, verbs in described["paths"].items() for verb, told in verbs.items()}
    for operation, told in operations.items():
        assert told["security"] == [{"device": []}], operation
        assert "authorization" not in [each["name"] for each in told.get("parameters", ())]
        assert {"400", "401", "422"} <= set(told["responses"]), operation
        for status, answer in told["responses"].items():
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


def test_a_revoked_token_opens_nothing(clinic: Clinic, photographs) -> None:
    camera = Camera(clinic, "one")
    clinic.store.access.revoke_device("one")
    assert camera.submit(photographs).status_code == 401
    camera.token = "guessed"
    assert camera.submit(photographs).status_code == 401


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"eyes": ["right"]}, "eyes and fields must be one for each photograph"),
        ({"record": '{"age": "old"}'}, "record.age"),
        ({"record": "no json"}, "record: "),
        ({"eyes": ["right", "middle"]}, "eyes"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(clinic: Clinic, photographs, data, told) -> None:
    response = Camera(clinic, "one").submit(photographs, **data)
    assert response.status_code == 422
    assert told in response.text


def test_what_fits_the_description_and_is_refused_all_the_same(clinic: Clinic, photographs) -> None:
    camera = Camera(clinic, "one")
    right, none = ("images", ("a", photographs.right)), ("images", ("a", b""))

    def sent(images: list[object], key: str = "1", **data: object) -> tuple[int, str]:
        headers = camera.headers | {"Idempotency-Key": key}
        told = {"eyes": ["right"] * len(images), **data}
        response = camera.client.post("/api/v1/studies", headers=headers, data=told, files=images)
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


def test_a_photograph_that_is_none_is_refused_by_name(clinic: Clinic, photographs) -> None:
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


def test_an_upload_that_was_cut_at_half_goes_on_and_gives_one_study(clinic: Clinic, photographs) -> None:
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


def test_an_upload_is_its_devices_own_and_no_longer_than_announced(clinic: Clinic) -> None:
    camera, other = Camera(clinic, "one"), Camera(clinic, "other")
    name = announced(camera, b"1234")
    assert go_on(other, name, 0, b"12").status_code == 404
    assert go_on(camera, name, 0, b"12345").status_code == 413
    assert go_on(camera, name, 0, b"12").status_code == 200


@pytest.mark.slow
def test_reports_are_taken_along_by_who_is_logged_in_and_it_is_on_record(
    reader: Reader, clinic: Clinic, study: str, anyone: TestClient
) -> None:
    kinds = {
        "report.pdf": b"%PDF",
        "report-pseudonymous.dcm": bytes(128) + b"DICM",
        "report.fhir.json": b'{"resourceType":"Bundle"',
        "report.json": b'{"study":',
    }
    for name, begins in kinds.items():
        assert anyone.get(f"/studies/{study}/{name}").status_code == 303
        response = reader.get(f"/studies/{study}/{name}")
        assert response.content.startswith(begins)
    assert [view.what for view in clinic.store.views.of_study(study)] == list(kinds)


def test_a_signed_report_is_final_and_one_signed_after_it_amended(reader: Reader, study: str) -> None:
    path = f"/studies/{study}"

    def status() -> str:
        entries = reader.get(f"{path}/report.fhir.json").json()["entry"]
        (report,) = (e["resource"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport")
        return str(report["status"])

    assert status() == "preliminary"
    asked = reader.read(study, "yes", **READING)
    assert status() == "preliminary"
    reader.confirm(study, asked)
    assert status() == "final"
    reader.confirm(study, reader.read(study, "yes", **{**READING, "left_grade": "1"}))
    assert status() == "amended"


def test_withheld_is_withheld_in_reports_too(blinded: Reader, study: str) -> None:
    for name in ("report.pdf", "report.dcm", "report-pseudonymous.dcm", "report.fhir.json", "report.json"):
        assert blinded.get(f"/studies/{study}/{name}").status_code == 404


def test_a_link_takes_one_study_without_a_log_in_once(clinic: Clinic, anyone: TestClient, photographs) -> None:
    token, link = clinic.store.access.add_link("clinic by the sea", timedelta(hours=1))
    files = {"right": ("r", photographs.right), "left": ("l", photographs.left)}
    assert anyone.get(f"/link/{token}").status_code == 200
    assert "Thank you" in anyone.post(f"/link/{token}", files=files).text
    (entry,) = clinic.store.worklist()
    assert entry.source == link.source
    for response in (anyone.get(f"/link/{token}"), anyone.post(f"/link/{token}", files=files), anyone.get("/link/x")):
        assert (response.status_code, "Ask for another" in response.text) == (404, True)


def test_a_link_is_not_used_up_by_what_should_be_taken_again(clinic: Clinic, anyone: TestClient, photographs) -> None:
    token, _ = clinic.store.access.add_link("clinic by the sea", timedelta(hours=1))
    with Image.open(io.BytesIO(photographs.left)) as image:
        blurred = png(np.array(image.filter(ImageFilter.GaussianBlur(12))))
    files = {"right": ("r", photographs.right), "left": ("l", blurred)}
    response = anyone.post(f"/link/{token}", files=files)
    assert "Please take again" in response.text
    assert "Left eye: " in response.text
    assert "Right eye: " not in response.text
    assert clinic.store.worklist() == ()
    assert list(clinic.store.folder.rglob("*.png")) == []
    assert "No photograph of the left eye" in anyone.post(f"/link/{token}", files={"right": files["right"]}).text
    assert clinic.store.worklist() == ()
    assert "Thank you" in anyone.post(f"/link/{token}", files=files, data={"anyway": "yes"}).text
    assert len(clinic.store.worklist()) == 1


@pytest.mark.parametrize(
    "path", ["/upload", "/link/guessed", "/studies/x/reading", "/api/v1/studies", "/api/v1/uploads"]
)
def test_no_body_of_a_stranger_is_read(anyone: TestClient, path: str) -> None:
    def endless() -> Iterator[bytes]:
        yield from (bytes(2**20) for _ in range(8))

    assert anyone.post(path, content=endless()).status_code == 411
    assert anyone.post(path, content=b"x" * 100).status_code in (303, 401, 404)
    assert anyone.post("/login", content=b"name=" + b"x" * 20_000).status_code == 413


@pytest.mark.parametrize(("length", "status"), [("9" * 5000, 413), ("-1", 411), ("1e3", 411)])
def test_a_length_that_is_none_is_told_so(anyone: TestClient, length: str, status: int) -> None:
    answer = anyone.post("/api/v1/studies", headers={"Content-Length": length})
    assert (answer.status_code, len(answer.text) < 200) == (status, True)


def test_the_worklist_finds_a_patients_studies_by_pseudonym(clinic: Clinic, reader: Reader, photographs) -> None:
    one, other = (clinic.receive(photographs.submitted(number, patient=number)) for number in ("4711", "4712"))
    page = reader.get(f"/?pseudonym={one.study.patient[:8]}%20").text
    section = page.partition("pseudonym begins with")[2].partition("<h1>Waiting")[0]
    assert f"/studies/{one.study.id}" in section
    assert f"/studies/{other.study.id}" not in section
    assert "No study." in reader.get("/?pseudonym=%25").text, "no character is a wildcard"
