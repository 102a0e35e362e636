"""Requests that the page refuses, by host name, by origin of the form, by proxy, and by demonstration password."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from serving import free_port, served
from typer.testing import CliRunner

from sites.diagnosis import app as commands
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.directory import DiagnosisDirectory
from teledx_fed.diagnosis.web import administration, links, logging_in, new_study, reading
from teledx_fed.diagnosis.web.app import app, server
from teledx_fed.diagnosis.web.passwords import DEMONSTRATION_PASSWORD, DEMONSTRATION_USER
from teledx_fed.diagnosis.web.settings import DiagnosisSettings, OidcSettings
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(1, 64, 1)
HASH, DEMONSTRATION = CHEAP.hash(PASSWORD), CHEAP.hash(DEMONSTRATION_PASSWORD)
ANNA = {"name": "anna", "password": PASSWORD}
DEMO = {"name": DEMONSTRATION_USER, "password": DEMONSTRATION_PASSWORD}


@pytest.fixture
def client(clinic: Clinic) -> TestClient:
    clinic.store.access.add_user("anna", Role.READER, HASH)
    settings = DiagnosisSettings(allowed_hosts=["Retina.hospital.example", "192.0.2.7"])
    return TestClient(app(clinic, settings), base_url="http://127.0.0.1", follow_redirects=False)


HOSTS = [
    ("127.0.0.1:8466", 200),
    ("localhost", 200),
    ("[::1]:8466", 200),
    ("retina.hospital.example", 200),
    ("RETINA.hospital.example:443", 200),
    ("192.0.2.7:8466", 200),
    ("attacker.example", 400),
    ("127.0.0.1.attacker.example", 400),
    ("retina.hospital.example.attacker.example", 400),
    ("127.0.0.1@attacker.example", 400),
    ("[::1", 400),
    ("", 400),
]


def test_a_request_under_another_name_is_refused(client: TestClient) -> None:
    for host, status in HOSTS:
        answers = [
            client.get(path, headers={"Host": host}) for path in ("/login", "/api/v1/openapi.json", "/static/page.css")
        ]
        assert [answer.status_code for answer in answers] == [status] * 3
        assert client.post("/api/v1/studies", headers={"Host": host}, content=b"").status_code == (
            401 if status == 200 else 400
        )


def test_host_names_come_from_all_settings() -> None:
    oidc = OidcSettings("https://login.example", "teledx", "secret", "https://eye.hospital.example:8443")
    settings = DiagnosisSettings(host="10.1.2.3", certificate="c", key="k", oidc=oidc)
    assert {"10.1.2.3", "eye.hospital.example", "localhost"} <= settings.hosts


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("allowed_hosts", "*", "names without scheme"),
        ("allowed_hosts", "https://retina.example", "names without scheme"),
        ("allowed_hosts", "", "names without scheme"),
        ("trusted_proxies", "*", "addresses or networks"),
        ("trusted_proxies", "proxy.example", "addresses or networks"),
    ],
)
def test_a_setting_that_admits_every_host_is_refused(setting: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be {message}"):
        DiagnosisSettings(**{setting: [value]})


def test_serving_every_address_needs_host_names(clinic: Clinic) -> None:
    with pytest.raises(ValueError, match="allowed_hosts must name this page"):
        server(clinic, DiagnosisSettings(host="0.0.0.0", certificate="c", key="k"))


SENDERS: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Origin": "http://127.0.0.1"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://attacker.example"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1"}, False),
    ({"Origin": "https://attacker.example"}, False),
    ({"Origin": "http://127.0.0.1:9999"}, False),
    ({"Origin": "http://127.0.0.1.attacker.example"}, False),
    ({"Origin": "null"}, False),
]


def test_no_other_site_sends_a_form_for_its_visitor(client: TestClient) -> None:
    """Also not a log-in: another site could log a reader in as another user, who would then own the readings."""
    for headers, allowed in SENDERS:
        answer = client.post("/login", data=ANNA, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == ((303, True) if allowed else (403, False))


def test_forms_of_another_site_are_refused_and_its_links_work(client: TestClient) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://attacker.example"}
    parts = (logging_in, new_study, reading, links, administration)
    for path in (route.path for part in parts for route in part.router.routes if "POST" in route.methods):
        assert client.post(path, headers=foreign).status_code == 403, path
    assert client.get("/login", headers=foreign).status_code == 200


def test_a_device_may_send_from_any_site(client: TestClient, clinic: Clinic) -> None:
    token = clinic.store.access.add_device("app")
    headers = {"Authorization": f"Bearer {token}", "Origin": "capacitor://localhost", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/v1/uploads", headers=headers, json={"length": 9}).status_code == 201


def told_to_wait(address: str, client: httpx.Client, **headers: str) -> list[int]:
    """Send seven wrong passwords with different X-Forwarded-For; return which responses say to wait."""
    wrong = {"name": "anna", "password": "wrong"}
    tries = [
        client.post(f"{address}/login", data=wrong, headers={"X-Forwarded-For": f"10.0.0.{n}"} | headers)
        for n in range(7)
    ]
    return [answer.text.count("Too many") for answer in tries]


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


@pytest.mark.parametrize(("trusted", "refused"), [([], 2), (["10.9.9.9"], 2), (["127.0.0.0/8"], 0)])
def test_only_a_trusted_proxy_may_state_the_address(
    clinic: Clinic, browser: httpx.Client, trusted: list[str], refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.store.access.add_user("anna", Role.READER, HASH)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with served(clinic, DiagnosisSettings(port=free_port(), trusted_proxies=trusted)) as address:
        assert sum(told_to_wait(address, browser)) == refused
        cookies = browser.post(f"{address}/login", data=ANNA, headers={"X-Forwarded-Proto": "https"}).headers
        assert ("secure" in cookies.get("set-cookie", "").lower()) == (refused == 0)


def test_a_real_hospital_refuses_the_demonstrations_password(client: TestClient, clinic: Clinic) -> None:
    access = clinic.store.access
    access.add_user(DEMONSTRATION_USER, Role.READER, DEMONSTRATION)
    assert client.post("/login", data=DEMO).status_code == 401
    with pytest.raises(ValueError, match="user demo"):
        server(clinic, DiagnosisSettings())
    access.set_disabled(DEMONSTRATION_USER, True)
    server(clinic, DiagnosisSettings())


def test_no_user_can_be_given_the_demonstrations_password(client: TestClient, clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "hospital").mkdir()
    home = ["--dir", str(tmp_path / "hospital")]
    refused = CliRunner().invoke(commands, ["user", "add", "demo", "--password", DEMONSTRATION_PASSWORD, *home])
    assert (refused.exit_code, "password must be secret" in str(refused.exception)) == (1, True)
    assert DiagnosisDirectory(tmp_path / "hospital").store().access.users() == ()
    client.post("/login", data=ANNA)
    csrf = client.get("/password").text.partition('name="csrf" value="')[2].partition('"')[0]
    answer = client.post("/password", data={"csrf": csrf, "old": PASSWORD, "new": DEMONSTRATION_PASSWORD})
    assert (answer.status_code, "Password must be secret" in answer.text) == (422, True)


def test_the_demonstration_accepts_the_password_of_the_guide(
    open_clinic: Callable[[Path], Clinic], demonstration_folder: Path
) -> None:
    clinic = open_clinic(demonstration_folder)
    clinic.store.access.add_user(DEMONSTRATION_USER, Role.READER, DEMONSTRATION)
    client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1", follow_redirects=False)
    assert client.post("/login", data=DEMO).status_code == 303
