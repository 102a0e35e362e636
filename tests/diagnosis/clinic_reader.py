"""A reader for the tests of the diagnosis page."""

import re
from copy import copy
from html import unescape

import httpx
from fastapi.testclient import TestClient

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
HASH = hashed_password(PASSWORD)
READING = {
    "right_grade": "1",
    "right_oedema": "no",
    "left_grade": "0",
    "left_oedema": "unknown",
    "urgency": "refer",
    "overrules": "a reflex",
}
FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class Reader:
    """The user `anna`, logged in."""

    def __init__(self, clinic: Clinic, settings: DiagnosisSettings) -> None:
        self.clinic = clinic
        clinic.store.access.add_user("anna", Role.READER, HASH)
        self._log_in(settings)

    def at(self, settings: DiagnosisSettings) -> "Reader":
        """Return the same user on a page with other settings."""
        other = copy(self)
        other._log_in(settings)
        return other

    def _log_in(self, settings: DiagnosisSettings) -> None:
        self.client = TestClient(app(self.clinic, settings), base_url="http://127.0.0.1", follow_redirects=False)
        self.client.post("/login", data={"name": "anna", "password": PASSWORD})
        self.csrf = re.findall('name="csrf" value="([^"]+)"', self.client.get("/").text)[0]

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, **data: str) -> httpx.Response:
        return self.client.post(path, data={"csrf": self.csrf, **data})

    def version(self, study: str) -> str:
        return dict(FIELD.findall(self.get(f"/studies/{study}").text))["version"]

    def read(self, study: str, sign: str = "no", **choices: str) -> httpx.Response:
        return self.post(f"/studies/{study}/reading", **{"version": self.version(study), "sign": sign} | choices)

    def confirm(self, study: str, confirmation: httpx.Response) -> httpx.Response:
        """Press `Sign` on the confirmation page."""
        fields = {name: unescape(value) for name, value in FIELD.findall(confirmation.text.partition("<main>")[2])}
        return self.client.post(f"/studies/{study}/reading", data={**fields, "sign": "yes"})
