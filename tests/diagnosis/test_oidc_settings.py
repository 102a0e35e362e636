"""Settings of the log-in with a provider, and users who log in with it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sites.diagnosis import app as commands
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.diagnosis.directory import DiagnosisDirectory
from teledx_fed.diagnosis.web.oidc import Provider
from teledx_fed.diagnosis.web.settings import OidcSettings

PASSWORD = "correct horse battery"


def test_a_user_is_added_without_a_password(tmp_path: Path) -> None:
    add = ["user", "add", "anna", "--oidc", "--dir", str(tmp_path)]
    assert CliRunner().invoke(commands, [*add, "--password", PASSWORD]).exit_code == 1
    assert CliRunner().invoke(commands, add).exit_code == 0
    (user,) = DiagnosisDirectory(tmp_path).store().access.users()
    assert (user.name, user.password) == ("anna", None)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("issuer", "http://login.hospital.example", "oidc.issuer must be an https:// address"),
        ("address", "http://page.hospital.example", "oidc.address must be an https:// address"),
        ("address", "https://hospital.example/page", "oidc.address must be without a path"),
        ("client_id", "", "oidc.client_id must be given"),
    ],
)
def test_unsafe_oidc_settings_are_refused(tmp_path: Path, setting: str, value: str, message: str) -> None:
    right = {"issuer": "https://login.hospital.example", "client_id": "page", "client_secret_file": "secret"}
    written = {**right, "address": "https://page.hospital.example", setting: value}
    (tmp_path / "diagnosis.yaml").write_text(json.dumps({"oidc": written}))
    with pytest.raises(ValueError, match=message):
        _ = DiagnosisDirectory(tmp_path).settings


def test_a_missing_client_secret_is_reported_at_the_start() -> None:
    provider, page = "https://login.hospital.example", "https://page.hospital.example"
    with pytest.raises(ConfigurationError, match=r"oidc\.client_secret_file must be a file"):
        Provider.of(OidcSettings(provider, "page", "nowhere", page))
