"""Responses to browsers and devices after an unexpected error of the application."""

import re

import pytest
from fastapi.testclient import TestClient

from teledx_fed.core.errors import DataError, UnavailableError
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import HEADERS, app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings

SECRET = "Anna Bauer, born 1950"
PATHS = ("/planted", "/api/v1/planted", "/api/v1/fhir/planted")


def answering(clinic: Clinic, error: Exception) -> TestClient:
    site = app(clinic, DiagnosisSettings())

    def fail() -> None:
        raise error

    for path in PATHS:
        site.get(path)(fail)
    return TestClient(site, base_url="http://127.0.0.1", follow_redirects=False)


@pytest.mark.parametrize("error", [RuntimeError(SECRET), ValueError(SECRET)], ids=["RuntimeError", "ValueError"])
def test_an_unexpected_error_shows_a_reference_number_and_logs_its_traceback(
    clinic: Clinic, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    client = answering(clinic, error)
    for path in PATHS:
        caplog.clear()
        response = client.get(path)
        assert response.status_code == 500
        assert SECRET not in response.text
        reference = re.search("reference [0-9a-f]{8}", response.text)
        assert reference is not None
        assert reference[0] in caplog.text
        assert SECRET in caplog.text
        assert response.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_an_error_of_the_tree_and_a_full_disk_are_lines_with_what_to_do(clinic: Clinic) -> None:
    for error, status, line in (
        (DataError("eye must be left, got up."), 422, "Eye must be left"),
        (UnavailableError("the archive does not answer."), 503, "does not answer"),
        (OSError(28, "", "/ward"), 500, "/ward must have free space"),
    ):
        response = answering(clinic, error).get(PATHS[0])
        assert response.status_code == status
        assert line in response.text
