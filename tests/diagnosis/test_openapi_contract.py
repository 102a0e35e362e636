"""Conformance of the API for devices to /api/v1/openapi.json, for any input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from serving import free_port, served

from teledx_fed.core.clinical import Diabetes, PatientRecord
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

HERE = Path(__file__).parent
OPERATIONS = {
    "POST /api/v1/studies",
    "GET /api/v1/studies/{study}",
    "POST /api/v1/fhir/studies",
    "POST /api/v1/uploads",
    "GET /api/v1/uploads/{upload}",
    "PATCH /api/v1/uploads/{upload}",
    "DELETE /api/v1/uploads/{upload}",
}


def test_every_response_fits_the_openapi_description(clinic: Clinic) -> None:
    served = app(clinic, DiagnosisSettings(allowed_hosts=["testserver"]))
    described = schemathesis.openapi.from_asgi("/api/v1/openapi.json", served)
    device = {"Authorization": f"Bearer {clinic.store.access.add_device('camera')}"}
    operations = {operation.label: operation for operation in (each.ok() for each in described.get_all_operations())}
    assert set(operations) == OPERATIONS
    for operation in operations.values():

        @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def as_described(case: schemathesis.Case) -> None:
            # valid by the description, but perhaps not a photograph
            case.call_and_validate(headers=device, excluded_checks=[positive_data_acceptance])

        as_described()


def test_a_generated_client_submits_a_study_and_reads_the_answer(clinic: Clinic, photographs, tmp_path: Path) -> None:
    token = clinic.store.access.add_device("camera")
    for name, content in (("right", photographs.right), ("left", photographs.left)):
        (tmp_path / f"{name}.png").write_bytes(content)
    with served(clinic, DiagnosisSettings(port=free_port())) as address:
        generate(f"{address}/api/v1/openapi.json", tmp_path / "made")
        program = [sys.executable, HERE / "generated_client.py", address, token]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "made"), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [*program, "right.png", "left.png"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    status, study = output["sent"]
    assert (status, output["again"], output["status"]) == (201, study["id"], "diagnosed")
    for each in (study, output["in_parts"], output["fhir"]):
        assert [photograph["eye"] for photograph in each["photographs"]] == ["right", "left"]
        assert clinic.store.study(each["id"]).entry.source == "device/camera"
    assert clinic.store.study(study["id"]).study.record == PatientRecord(age=61, diabetes=Diabetes.TYPE_2)
    assert (output["refused"][0], output["given_up"]) == (422, 204)
    assert "one for each photograph" in output["refused"][1]["detail"]
    assert "token" in output["stranger"]
    assert output["outcome"]["resourceType"] == "OperationOutcome"
    assert len(clinic.store.worklist()) == 3


def generate(description: str, folder: Path) -> None:
    """Generate a client without warnings: a generator warns about operations that it leaves out."""
    program = [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the generator formats its code with ruff
    arguments = ["--url", description, "--output-path", folder / "teledx_fed_client"]
    folder.mkdir()
    done = subprocess.run([*program, *arguments], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert (done.returncode, "arning" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr
