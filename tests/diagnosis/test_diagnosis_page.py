"""The clinicians' pages and the API for devices, with requests as from a browser and a camera."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clinic_reader import HASH, PASSWORD, READING, Reader
from fastapi.testclient import TestClient

from teledx_fed.core.clinical import Diabetes, PatientRecord
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import server
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role


def digests(clinic: Clinic, study: str) -> list[str]:
    return [image.digest for image in clinic.store.study(study).images]


def test_without_a_log_in_every_page_redirects_to_the_log_in(visitor: TestClient, clinic: Clinic, study: str) -> None:
    picture = digests(clinic, study)[0]
    pages = ["/", "/upload", f"/studies/{study}", f"/studies/{study}/images/{picture}.png"]
    for path in [*pages, f"/studies/{study}/maps/heat_map/{picture}.png"]:
        response = visitor.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/login"), path


@pytest.mark.slow
def test_a_wrong_password_and_an_unknown_name_get_the_same_answer_and_wait_after_five(
    visitor: TestClient, clinic: Clinic
) -> None:
    clinic.store.access.add_user("anna", Role.READER, HASH)
    wrong = [visitor.post("/login", data={"name": name, "password": "wrong"}) for name in ("anna", "nobody")]
    assert [response.status_code for response in wrong] == [401, 401]
    assert wrong[0].text == wrong[1].text
    for _ in range(5):
        visitor.post("/login", data={"name": "anna", "password": "wrong"})
    response = visitor.post("/login", data={"name": "anna", "password": PASSWORD})
    assert response.status_code == 401
    assert "Too many wrong passwords" in response.text


def test_a_form_of_another_page_changes_nothing(reader: Reader, clinic: Clinic, study: str) -> None:
    for path in (f"/studies/{study}/reading", "/logout"):
        assert reader.client.post(path, data={**READING, "csrf": "guessed"}).status_code == 403
        assert reader.client.post(path, data=READING).status_code == 403
    assert clinic.store.readings(study) == ()


def test_the_session_cookie_is_httponly_and_samesite_strict(reader: Reader) -> None:
    response = reader.client.post("/login", data={"name": "anna", "password": PASSWORD})
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_study_is_shown_with_its_suggestion_and_the_view_is_logged(
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


def test_a_blinded_reader_sees_no_suggestion_before_the_own_grade(blinded: Reader, clinic: Clinic, study: str) -> None:
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


def test_a_demonstration_is_marked_cannot_be_signed_and_is_served_to_this_machine_only(
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


def test_an_upload_on_the_page_becomes_a_study(reader: Reader, clinic: Clinic, photographs) -> None:
    files = [("right", ("a", photographs.right)), ("files", ("a_OS.png", photographs.left))]
    record = {"patient": "4711", "age": "61", "diabetes": "type_2", "pregnant": "no", "treated": ""}
    response = reader.client.post("/upload", data={"csrf": reader.csrf, "key": "1", **record}, files=files)
    (entry,) = clinic.store.worklist()
    assert response.headers["location"] == f"/studies/{entry.id}"
    study = clinic.store.study(entry.id).study
    assert [image.eye for image in study.images] == ["right", "left"]
    assert study.record == PatientRecord(age=61, diabetes=Diabetes.TYPE_2, pregnant=False)
    page = reader.get(f"/studies/{entry.id}").text
    assert "Patient 4711" in page
    assert "61 years old, type 2 diabetes, not pregnant." in page


def test_an_invalid_item_of_the_record_is_named(reader: Reader, clinic: Clinic, photographs) -> None:
    for item, wrong in {"age": "-5", "acuity": "nan", "diabetes": "type_9", "pregnant": "perhaps"}.items():
        data = {"csrf": reader.csrf, "key": "1", item: wrong}
        response = reader.client.post("/upload", data=data, files=[("right", ("a", photographs.right))])
        assert (response.status_code, f"record.{item}" in response.text) == (422, True), response.text
    assert clinic.store.worklist() == ()


@pytest.mark.parametrize("kind", ["integrated_gradients", pytest.param("shap", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:The set_.* function will be deprecated:PendingDeprecationWarning")
def test_another_kind_of_map_is_shown_over_the_photograph(
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


@pytest.mark.slow
def test_downloads_of_reports_need_a_log_in_and_are_logged(
    reader: Reader, clinic: Clinic, study: str, visitor: TestClient
) -> None:
    kinds = {
        "report.pdf": b"%PDF",
        "report-pseudonymous.dcm": bytes(128) + b"DICM",
        "report.fhir.json": b'{"resourceType":"Bundle"',
        "report.json": b'{"study":',
    }
    for name, begins in kinds.items():
        assert visitor.get(f"/studies/{study}/{name}").status_code == 303
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
    confirmation = reader.read(study, "yes", **READING)
    assert status() == "preliminary"
    reader.confirm(study, confirmation)
    assert status() == "final"
    reader.confirm(study, reader.read(study, "yes", **{**READING, "left_grade": "1"}))
    assert status() == "amended"


def test_reports_are_withheld_with_the_suggestion(blinded: Reader, study: str) -> None:
    for name in ("report.pdf", "report.dcm", "report-pseudonymous.dcm", "report.fhir.json", "report.json"):
        assert blinded.get(f"/studies/{study}/{name}").status_code == 404


def test_the_worklist_finds_a_patients_studies_by_pseudonym(clinic: Clinic, reader: Reader, photographs) -> None:
    one, other = (clinic.receive(photographs.submitted(number, patient=number)) for number in ("4711", "4712"))
    page = reader.get(f"/?pseudonym={one.study.patient[:8]}%20").text
    section = page.partition("pseudonym begins with")[2].partition("<h1>Waiting")[0]
    assert f"/studies/{one.study.id}" in section
    assert f"/studies/{other.study.id}" not in section
    assert "No study." in reader.get("/?pseudonym=%25").text, "no character is a wildcard"
