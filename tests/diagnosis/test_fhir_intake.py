"""FHIR intake from portals: the same study as by form, or a refusal with the path of the wrong element."""

import base64
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from teledx_fed.core.clinical import Action, Certainty, Diabetes, OutOfScope, PatientRecord
from teledx_fed.core.examples import Eye, Field
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.fhir.incoming import DIABETES
from teledx_fed.diagnosis.fhir.reading import NotUnderstood, read
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.diagnosis.wording import record_phrases

DOCUMENT = Path(__file__).parents[2] / "docs" / "diagnosis.md"
SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
TODAY = date(2026, 11, 26)
Resource = dict[str, Any]


def concept(code: str, system: str = SNOMED) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def condition(code: str, verification: str = "confirmed", clinical: str = "active") -> Resource:
    return {
        "resourceType": "Condition",
        "code": concept(code),
        "verificationStatus": concept(verification),
        "clinicalStatus": concept(clinical),
    }


def measured(code: Resource, value: float, unit: str) -> Resource:
    quantity = {"value": value, "code": unit}
    return {"resourceType": "Observation", "status": "final", "code": code, "valueQuantity": quantity}


def media(content: bytes, side: str, **elements: Any) -> Resource:
    data = base64.b64encode(content).decode()
    return {
        "resourceType": "Media",
        "status": "completed",
        "bodySite": concept(side),
        "content": {"data": data},
        **elements,
    }


def bundle(*resources: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


def told(*resources: Resource) -> Any:
    return read(json.dumps(bundle(*resources)).encode(), TODAY)


class Portal:
    def __init__(self, clinic: Clinic) -> None:
        self.client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1")
        self.token = clinic.store.access.add_device("portal")

    def send(self, content: Resource | bytes, key: str = "1", **headers: str) -> httpx.Response:
        sent = content if isinstance(content, bytes) else json.dumps(content).encode()
        told = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key, **headers}
        return self.client.post("/api/v1/fhir/studies", content=sent, headers=told)


@pytest.fixture
def portal(clinic: Clinic) -> Portal:
    return Portal(clinic)


def test_a_bundle_is_the_study_that_a_form_is_and_once(portal: Portal, clinic: Clinic, photographs) -> None:
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


FINE = {"resourceType": "Procedure", "status": "completed"}


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
def test_what_is_not_as_fhir_has_it_is_refused_by_its_path(portal: Portal, clinic: Clinic, wrong, path, why) -> None:
    answer = portal.send(bundle(FINE, wrong))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/fhir+json")
    (issue,) = answer.json()["issue"]
    assert issue["expression"] == [f"Bundle.entry[1].resource{path}"]
    assert why in issue["diagnostics"]
    assert clinic.store.worklist() == ()


HBA1C = measured(concept("4548-4", LOINC), 7.1, "%")
UNREAD = [
    (HBA1C, "Observation LOINC 4548-4", False),
    (condition("38341003"), "Condition SNOMED CT 38341003", False),
    (condition("399122003", "refuted"), "Condition SNOMED CT 399122003", False),
    ({"resourceType": "Encounter", "status": "finished"}, "Encounter", False),
    (condition("399122003"), "Condition SNOMED CT 399122003", True),
    ({"resourceType": "Condition", "code": {"text": "Jane Doe has diabetes"}}, "Condition without a code", True),
    ({"resourceType": "Condition", "code": concept("Jane Doe", "urn:x")}, "Condition without a code", True),
    (measured(concept("363983007"), 20, "[ft_us]"), "Observation SNOMED CT 363983007", True),
    ({"resourceType": "MedicationStatement"}, "MedicationStatement", True),
    ({"resourceType": "JaneDoe"}, "a resource of another kind", True),
]


@pytest.mark.parametrize(("resource", "what", "matters"), UNREAD)
def test_what_is_not_read_is_listed_and_a_person_reads_where_it_may_matter(resource, what, matters) -> None:
    found = told(FINE, HBA1C, resource)
    one = found.ignored[-1]
    assert (one.path, one.matters) == ("Bundle.entry[2].resource", matters)
    assert one.what.startswith(what)
    assert "Doe" not in one.what
    assert (OutOfScope.NOT_UNDERSTOOD in ReferralSettings().outside(found.record)) == matters
    assert found.record.treated is True, "the procedure is still read"


def test_the_answer_and_the_study_say_what_was_not_read(portal: Portal, clinic: Clinic, photographs) -> None:
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


def test_of_several_numbers_the_medical_record_number_is_the_hospitals() -> None:
    kind = concept("MR", "http://terminology.hl7.org/CodeSystem/v2-0203")
    several = [{"value": "passport"}, {"value": "4711", "type": kind}]
    assert told({"resourceType": "Patient", "identifier": several}).patient == "4711"


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
def test_whatever_is_sent_is_answered_with_an_outcome(portal: Portal, sent: bytes, status: int) -> None:
    answer = portal.send(sent)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome"), answer.text


def test_a_stranger_and_one_without_a_key_are_told_in_fhir_too(portal: Portal) -> None:
    assert portal.send(b"{}", Authorization="Bearer x").json()["issue"][0]["code"] == "login"
    nameless = portal.client.post(
        "/api/v1/fhir/studies", content=b"{}", headers={"Authorization": f"Bearer {portal.token}"}
    )
    assert "idempotency-key" in nameless.json()["issue"][0]["diagnostics"]


def test_of_two_patients_and_of_contradictions_nothing_is_guessed() -> None:
    with pytest.raises(NotUnderstood, match="one patient"):
        told({"resourceType": "Patient"}, {"resourceType": "Patient"})
    with pytest.raises(NotUnderstood, match="one patient"):
        told({**FINE, "subject": {"reference": "Patient/1"}}, {**FINE, "subject": {"reference": "Patient/2"}})
    with pytest.raises(NotUnderstood, match=r"entry\[1\].*pregnant"):
        told(condition("77386006"), condition("77386006", "refuted"))


@pytest.mark.parametrize(
    "changed",
    [
        {"modifierExtension": [{"url": "urn:x:negated", "valueBoolean": True}]},
        {"implicitRules": "urn:x"},
        {"code": {**concept("44054006"), "extension": [{"modifierExtension": [{"url": "urn:x"}]}]}},
    ],
)
def test_what_changes_the_meaning_of_an_element_is_never_passed_over(changed: Resource) -> None:
    found = told({**condition("44054006"), **changed})
    assert found.record.diabetes is None
    assert OutOfScope.NOT_UNDERSTOOD in ReferralSettings().outside(found.record)
    for kind in ({"resourceType": "Patient"}, media(b"", "24028007")):
        with pytest.raises(NotUnderstood, match=r"entry\[0\].resource must have no"):
            told({**kind, **changed})


def test_a_photograph_that_was_entered_in_error_is_not_taken() -> None:
    found = told(media(b"1", "24028007"), {**media(b"2", "7771000"), "status": "entered-in-error"})
    assert [one.content.data for one in found.photographs] == [b"1"]
    assert [(one.path, one.matters) for one in found.ignored] == [("Bundle.entry[1].resource", False)]


def test_a_photograph_of_both_eyes_is_of_none_that_is_known() -> None:
    sides = {"coding": [*concept("24028007")["coding"], *concept("7771000")["coding"]]}
    (photograph,) = told({**media(b"1", ""), "bodySite": sides}).photographs
    assert photograph.eye is Eye.UNKNOWN


@pytest.mark.parametrize("day", ["2024-13-45", "2024-01-01T::Z", "2024-02-30T10:00:00Z"])
def test_a_day_that_is_none_is_refused_by_its_path(day: str) -> None:
    with pytest.raises(NotUnderstood, match=r"entry\[1\].resource.createdDateTime"):
        told({"resourceType": "Patient", "birthDate": "1960"}, media(b"1", "24028007", createdDateTime=day))


def test_what_is_of_another_patient_than_the_bundles_is_refused() -> None:
    patient = {"resourceType": "Patient", "id": "1", "identifier": [{"value": "4711"}]}
    for other in ({"reference": "Patient/2"}, {"reference": "#1"}, {"identifier": {"value": "4712"}}):
        with pytest.raises(NotUnderstood, match=r"entry\[1\].resource.subject must be the Bundle's Patient"):
            told(patient, media(b"1", "24028007", subject=other))
    own = (
        {"reference": "Patient/1"},
        {"reference": "http://a/Patient/1/_history/3"},
        {"identifier": {"value": "4711"}},
    )
    for subject in own:
        assert told(patient, media(b"1", "24028007", subject=subject)).patient == "4711"
    addressed = bundle({**patient, "id": ""}, {**FINE, "subject": {"reference": "urn:uuid:2"}})
    addressed["entry"][0]["fullUrl"] = "urn:uuid:1"
    with pytest.raises(NotUnderstood, match="another"):
        read(json.dumps(addressed).encode(), TODAY)


@pytest.mark.parametrize(
    "quantity", [{"value": 1.0, "code": "1", "comparator": "<"}, {"value": -400, "code": "{logMAR}"}]
)
def test_an_acuity_that_is_no_number_is_read_by_a_person(quantity: Resource) -> None:
    found = told({**measured(concept("363983007"), 1.0, "1"), "valueQuantity": quantity})
    assert (found.record.acuity, [one.matters for one in found.ignored]) == (None, [True])


def test_what_was_entered_in_error_says_nothing_and_the_worse_eye_decides() -> None:
    assert told(condition("4855003", "entered-in-error")).record == PatientRecord()
    assert told({"resourceType": "Procedure", "status": "not-done"}).record.treated is False
    acuities = [
        measured(concept("363983007"), value, unit) for value, unit in ((0.8, "1"), (1, "{logMAR}"), (0.5, "1"))
    ]
    assert told(*acuities).record.acuity == pytest.approx(0.1)


@pytest.mark.parametrize(("birth", "age"), [("1961-11-26", 65), ("1961-11-27", 64), ("1961-11", 64), ("1961", 64)])
def test_of_a_date_that_is_not_whole_nobody_is_taken_for_older(birth: str, age: int) -> None:
    assert told({"resourceType": "Patient", "birthDate": birth}).record.age == age


RECORDS = st.builds(
    PatientRecord,
    age=st.none() | st.floats(0, 130),
    pregnant=st.none() | st.booleans(),
    diabetes=st.none() | st.sampled_from(Diabetes),
    treated=st.none() | st.booleans(),
    known_retinopathy=st.none() | st.booleans(),
    acuity=st.none() | st.floats(0, 3),
    symptoms=st.none() | st.booleans(),
)


def resources_of(record: PatientRecord) -> list[Resource]:
    found: list[Resource] = []
    if record.age is not None:
        found.append(measured(concept("30525-0", LOINC), record.age, "a"))
    if record.acuity is not None:
        found.append(measured(concept("363983007"), record.acuity, "1"))
    if record.treated is not None:
        found.append({"resourceType": "Procedure", "status": "completed" if record.treated else "not-done"})
    if record.diabetes is not None:
        code = next((code for code, kind in DIABETES.items() if kind is record.diabetes), "73211009")
        found.append(condition(code, "refuted" if record.diabetes is Diabetes.NONE else "confirmed"))
    for name, code in (("pregnant", "77386006"), ("known_retinopathy", "4855003"), ("symptoms", "63102001")):
        if (value := getattr(record, name)) is not None:
            found.append(condition(code, "confirmed" if value else "refuted"))
    return found


@settings(max_examples=200, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_every_record_comes_through_whole(record: PatientRecord, random) -> None:
    resources = resources_of(record)
    random.shuffle(resources)
    assert told(*resources).record == record
