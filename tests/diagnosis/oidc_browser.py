"""A browser that logs in with a provider."""

import httpx
from fastapi.testclient import TestClient

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.sessions import COOKIE
from teledx_fed.diagnosis.web.settings import DiagnosisSettings, OidcSettings

PAGE = "http://127.0.0.1"


class Browser:
    """A browser with the cookies of the diagnosis page; the provider is another site."""

    def __init__(self, clinic: Clinic, settings: OidcSettings | None) -> None:
        site = app(clinic, DiagnosisSettings(oidc=settings))
        self.client = TestClient(site, base_url=PAGE, follow_redirects=False)

    def sent_back(self) -> str:
        """Return the callback address that the provider sends the browser to."""
        with httpx.Client(trust_env=False) as elsewhere:
            return elsewhere.get(self.client.get("/login/oidc").headers["location"]).headers["location"]

    def log_in(self) -> httpx.Response:
        return self.client.get(self.sent_back())

    @property
    def inside(self) -> bool:
        return self.client.get("/").status_code == 200


def assert_refused(browser: Browser, response: httpx.Response, status: int, message: str) -> None:
    assert (response.status_code, message in response.text) == (status, True), response.text
    assert 'role="alert"' in response.text
    assert COOKIE not in browser.client.cookies
    assert not browser.inside
