"""What /api/v1/openapi.json promises devices is what they get, whatever they send."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

OPERATIONS = {
    "POST /api/v1/studies",
    "GET /api/v1/studies/{study}",
    "POST /api/v1/fhir/studies",
    "POST /api/v1/uploads",
    "GET /api/v1/uploads/{upload}",
    "PATCH /api/v1/uploads/{upload}",
    "DELETE /api/v1/uploads/{upload}",
}


def test_every_answer_is_as_described(clinic: Clinic) -> None:
    described = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app(clinic, DiagnosisSettings()))
    device = {"Authorization": f"Bearer {clinic.store.access.add_device('camera')}"}
    operations = {operation.label: operation for operation in (each.ok() for each in described.get_all_operations())}
    assert set(operations) == OPERATIONS
    for operation in operations.values():

        @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def as_described(case: schemathesis.Case) -> None:
            # what fits the description may still be no photograph
            case.call_and_validate(headers=device, excluded_checks=[positive_data_acceptance])

        as_described()
