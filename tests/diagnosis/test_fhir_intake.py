"""FHIR intake from portals: the same study as by form, or a refusal with the path of the wrong element."""

import base64
import json
import re
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from fhir_resources import FINE, HBA1C, Resource, bundle, concept, condition, media

from teledx_fed.core.clinical import Action, Certainty, Diabetes, OutOfScope, PatientRecord
from teledx_fed.core.examples import Eye, Field
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.diagnosis.wording import record_phrases

DOCUMENT = Path(__file__).parents[2] / "docs" / "diagnosis.md"


class Portal:
    def __init__(self, clinic: Clinic) -> None:
        self.client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1")
        self.token = clinic.store.access.add_device("portal")

    def send(self, content: Resource | bytes, key: str = "1", **headers: str) -> httpx.Response:
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        all_headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key, **headers}
        return self.client.post("/api/v1/fhir/studies", content=sent, headers=all_headers)


@pytest.fixture
def portal(clinic: Clinic) -> Portal:
    return Portal(clinic)


def test_a_bundle_gives_the_same_study_as_a_form_and_only_once(portal: Portal, clinic: Clinic, photographs) -> None:
    sent = bundle(
        {
            "resourceType": "Patient",
            "identifier": [{"value": "4711"}],
            "birthDate": "1961-02-03",
            "name": [{"text": "X"}],
        },
        condition("44054006"),
        condition("77386006", "refuted"),
        media(photographs.right, "24028007", createdDateTime="2026-02-02T10:00:00Z"),
        media(photographs.left, "8966001", view=concept("67046006")),
    )
    answer = portal.send(sent)
    assert answer.status_code == 201, answer.text
    assert "Every resource was read" in answer.text
    assert portal.send(sent).json() == answer.json()
    (entry,) = clinic.store.worklist()
    stored = clinic.store.study(entry.id)
    assert stored.study.patient == clinic.patients.pseudonym_of("4711")
    assert stored.study.record == PatientRecord(64, pregnant=False, diabetes=Diabetes.TYPE_2)
    assert stored.study.acquired == "2026-02-02T10:00:00Z"
    assert [image.eye for image in stored.images] == [Eye.RIGHT, Eye.LEFT]
    assert [image.field for image in stored.images] == [Field.UNKNOWN, Field.MACULA]
    assert portal.client.get(
        f"/api/v1/studies/{entry.id}", headers={"Authorization": f"Bearer {portal.token}"}
    ).is_success


def test_the_example_of_the_guide(portal: Portal, clinic: Clinic, photographs) -> None:
    example = re.findall(r"```json\n(\{\s*\"resourceType\".*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    for side in ("right", "left"):
        assert f"{side} photograph, base64" in example
        data = base64.b64encode(getattr(photographs, side)).decode()
        example = example.replace(f"{side} photograph, base64", data)
    assert portal.send(example.encode()).status_code == 201
    (entry,) = clinic.store.worklist()
    record = clinic.store.study(entry.id).study.record
    assert None not in (record.age, record.diabetes, record.treated, record.acuity, record.pregnant)


@pytest.mark.parametrize(
    ("wrong", "path", "why"),
    [
        ({"resourceType": "Media", "content": {"url": "http://10.0.0.1/a.png"}}, ".content.url", "none is fetched"),
        ({"resourceType": "Media", "content": {"data": "=?="}}, ".content.data", "base64"),
        ({"resourceType": "Media", "content": {}}, ".content.data", "required"),
        ({"resourceType": "Patient", "birthDate": "1961-13-01"}, ".birthDate", "pattern"),
        ({"resourceType": "Patient", "identifier": [{"value": "1"}, {"value": "2"}]}, ".identifier", "of type MR"),
        ({"resourceType": "Condition"}, ".code", "required"),
    ],
)
def test_invalid_fhir_is_refused_with_its_path(portal: Portal, clinic: Clinic, wrong, path, why) -> None:
    answer = portal.send(bundle(FINE, wrong))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/fhir+json")
    (issue,) = answer.json()["issue"]
    assert issue["expression"] == [f"Bundle.entry[1].resource{path}"]
    assert why in issue["diagnostics"]
    assert clinic.store.worklist() == ()


def test_the_response_and_the_study_name_resources_that_were_not_read(
    portal: Portal, clinic: Clinic, photographs
) -> None:
    eyes = media(photographs.right, "24028007"), media(photographs.left, "7771000")
    (issue,) = portal.send(bundle(*eyes, HBA1C)).json()["outcome"]["issue"]
    assert (issue["severity"], issue["expression"]) == ("information", ["Bundle.entry[2].resource"])
    (entry,) = clinic.store.worklist()
    assert clinic.store.suggestions(entry.id)[-1].diagnosis.certainty is not Certainty.OUT_OF_SCOPE
    answer = portal.send(bundle(*eyes, HBA1C, {"resourceType": "MedicationStatement"}), key="2").json()
    assert [issue["severity"] for issue in answer["outcome"]["issue"]] == ["information", "warning"]
    stored = clinic.store.study(answer["id"])
    diagnosis = clinic.store.suggestions(answer["id"])[-1].diagnosis
    assert (diagnosis.certainty, diagnosis.reasons) == (Certainty.OUT_OF_SCOPE, (OutOfScope.NOT_UNDERSTOOD,))
    assert diagnosis.action in (Action.HUMAN_READ, Action.REFER, Action.URGENT)
    assert "not read: MedicationStatement" in record_phrases(stored.study.record)


def test_the_capability_statement_needs_no_token(portal: Portal) -> None:
    answer = portal.client.get("/api/v1/fhir/metadata")
    assert answer.headers["content-type"] == "application/fhir+json"
    assert {**answer.json(), "rest": 0}["resourceType"] == "CapabilityStatement"
    assert (answer.json()["fhirVersion"], answer.json()["kind"]) == ("4.0.1", "instance")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[" * 100_000, 422),
        (b'{"entry":' * 50_000, 422),
        (b"\xff\xfe{}", 422),
        (b'{"resourceType": "Bundle", "type": "collection", "entry": 3}', 422),
        (b'{"resourceType": "Bundle", "type": "document", "entry": []}', 422),
        (b'{"resourceType": "Bundle", "type": "collection", "entry": []}', 422),
    ],
)
def test_every_response_to_a_bundle_is_an_outcome(portal: Portal, sent: bytes, status: int) -> None:
    answer = portal.send(sent)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome"), answer.text


def test_an_unknown_sender_and_a_missing_key_get_an_outcome(portal: Portal) -> None:
    assert portal.send(b"{}", Authorization="Bearer x").json()["issue"][0]["code"] == "login"
    nameless = portal.client.post(
        "/api/v1/fhir/studies", content=b"{}", headers={"Authorization": f"Bearer {portal.token}"}
    )
    assert "idempotency-key" in nameless.json()["issue"][0]["diagnostics"]
