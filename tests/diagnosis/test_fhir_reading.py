"""Reading of FHIR Bundles: what each resource states, and what is refused or listed as not read."""

import json
from datetime import date
from typing import Any

import pytest
from fhir_resources import FINE, HBA1C, LOINC, Resource, bundle, concept, condition, measured, media
from hypothesis import given, settings
from hypothesis import strategies as st

from teledx_fed.core.clinical import Diabetes, OutOfScope, PatientRecord
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.fhir.incoming import DIABETES
from teledx_fed.diagnosis.fhir.reading import NotUnderstood, read
from teledx_fed.diagnosis.referral import ReferralSettings

TODAY = date(2026, 11, 26)


def read_bundle(*resources: Resource) -> Any:
    return read(json.dumps(bundle(*resources)).encode(), TODAY)


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
def test_unread_resources_are_listed_and_a_clinician_reads_studies_with_relevant_ones(resource, what, matters) -> None:
    content = read_bundle(FINE, HBA1C, resource)
    one = content.ignored[-1]
    assert (one.path, one.matters) == ("Bundle.entry[2].resource", matters)
    assert one.what.startswith(what)
    assert "Doe" not in one.what
    assert (OutOfScope.NOT_UNDERSTOOD in ReferralSettings().outside(content.record)) == matters
    assert content.record.treated is True, "the procedure is still read"


def test_the_medical_record_number_is_used_among_several_numbers() -> None:
    kind = concept("MR", "http://terminology.hl7.org/CodeSystem/v2-0203")
    several = [{"value": "passport"}, {"value": "4711", "type": kind}]
    assert read_bundle({"resourceType": "Patient", "identifier": several}).patient == "4711"


def test_two_patients_and_contradicting_facts_are_refused() -> None:
    with pytest.raises(NotUnderstood, match="one patient"):
        read_bundle({"resourceType": "Patient"}, {"resourceType": "Patient"})
    with pytest.raises(NotUnderstood, match="one patient"):
        read_bundle({**FINE, "subject": {"reference": "Patient/1"}}, {**FINE, "subject": {"reference": "Patient/2"}})
    with pytest.raises(NotUnderstood, match=r"entry\[1\].*pregnant"):
        read_bundle(condition("77386006"), condition("77386006", "refuted"))


@pytest.mark.parametrize(
    "changed",
    [
        {"modifierExtension": [{"url": "urn:x:negated", "valueBoolean": True}]},
        {"implicitRules": "urn:x"},
        {"code": {**concept("44054006"), "extension": [{"modifierExtension": [{"url": "urn:x"}]}]}},
    ],
)
def test_an_element_that_changes_the_meaning_of_others_is_never_ignored(changed: Resource) -> None:
    content = read_bundle({**condition("44054006"), **changed})
    assert content.record.diabetes is None
    assert OutOfScope.NOT_UNDERSTOOD in ReferralSettings().outside(content.record)
    for kind in ({"resourceType": "Patient"}, media(b"", "24028007")):
        with pytest.raises(NotUnderstood, match=r"entry\[0\].resource must have no"):
            read_bundle({**kind, **changed})


def test_a_photograph_that_was_entered_in_error_is_left_out() -> None:
    content = read_bundle(media(b"1", "24028007"), {**media(b"2", "7771000"), "status": "entered-in-error"})
    assert [one.content.data for one in content.photographs] == [b"1"]
    assert [(one.path, one.matters) for one in content.ignored] == [("Bundle.entry[1].resource", False)]


def test_a_photograph_of_both_eyes_has_an_unknown_eye() -> None:
    sides = {"coding": [*concept("24028007")["coding"], *concept("7771000")["coding"]]}
    (photograph,) = read_bundle({**media(b"1", ""), "bodySite": sides}).photographs
    assert photograph.eye is Eye.UNKNOWN


@pytest.mark.parametrize("day", ["2024-13-45", "2024-01-01T::Z", "2024-02-30T10:00:00Z"])
def test_an_invalid_date_is_refused_with_its_path(day: str) -> None:
    with pytest.raises(NotUnderstood, match=r"entry\[1\].resource.createdDateTime"):
        read_bundle({"resourceType": "Patient", "birthDate": "1960"}, media(b"1", "24028007", createdDateTime=day))


def test_a_resource_of_another_patient_is_refused() -> None:
    patient = {"resourceType": "Patient", "id": "1", "identifier": [{"value": "4711"}]}
    for other in ({"reference": "Patient/2"}, {"reference": "#1"}, {"identifier": {"value": "4712"}}):
        with pytest.raises(NotUnderstood, match=r"entry\[1\].resource.subject must be the Bundle's Patient"):
            read_bundle(patient, media(b"1", "24028007", subject=other))
    resources = (
        {"reference": "Patient/1"},
        {"reference": "http://a/Patient/1/_history/3"},
        {"identifier": {"value": "4711"}},
    )
    for subject in resources:
        assert read_bundle(patient, media(b"1", "24028007", subject=subject)).patient == "4711"
    addressed = bundle({**patient, "id": ""}, {**FINE, "subject": {"reference": "urn:uuid:2"}})
    addressed["entry"][0]["fullUrl"] = "urn:uuid:1"
    with pytest.raises(NotUnderstood, match="another"):
        read(json.dumps(addressed).encode(), TODAY)


@pytest.mark.parametrize(
    "quantity", [{"value": 1.0, "code": "1", "comparator": "<"}, {"value": -400, "code": "{logMAR}"}]
)
def test_an_invalid_acuity_is_listed_and_a_clinician_reads_the_study(quantity: Resource) -> None:
    content = read_bundle({**measured(concept("363983007"), 1.0, "1"), "valueQuantity": quantity})
    assert (content.record.acuity, [one.matters for one in content.ignored]) == (None, [True])


def test_resources_entered_in_error_are_ignored_and_the_worst_acuity_counts() -> None:
    assert read_bundle(condition("4855003", "entered-in-error")).record == PatientRecord()
    assert read_bundle({"resourceType": "Procedure", "status": "not-done"}).record.treated is False
    acuities = [
        measured(concept("363983007"), value, unit) for value, unit in ((0.8, "1"), (1, "{logMAR}"), (0.5, "1"))
    ]
    assert read_bundle(*acuities).record.acuity == pytest.approx(0.1)


@pytest.mark.parametrize(("birth", "age"), [("1961-11-26", 65), ("1961-11-27", 64), ("1961-11", 64), ("1961", 64)])
def test_an_incomplete_date_of_birth_gives_the_lower_age(birth: str, age: int) -> None:
    assert read_bundle({"resourceType": "Patient", "birthDate": birth}).record.age == age


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
    resources: list[Resource] = []
    if record.age is not None:
        resources.append(measured(concept("30525-0", LOINC), record.age, "a"))
    if record.acuity is not None:
        resources.append(measured(concept("363983007"), record.acuity, "1"))
    if record.treated is not None:
        resources.append({"resourceType": "Procedure", "status": "completed" if record.treated else "not-done"})
    if record.diabetes is not None:
        code = next((code for code, kind in DIABETES.items() if kind is record.diabetes), "73211009")
        resources.append(condition(code, "refuted" if record.diabetes is Diabetes.NONE else "confirmed"))
    for name, code in (("pregnant", "77386006"), ("known_retinopathy", "4855003"), ("symptoms", "63102001")):
        if (value := getattr(record, name)) is not None:
            resources.append(condition(code, "confirmed" if value else "refuted"))
    return resources


@settings(max_examples=200, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_every_record_is_read_back_from_its_resources(record: PatientRecord, random) -> None:
    resources = resources_of(record)
    random.shuffle(resources)
    assert read_bundle(*resources).record == record
