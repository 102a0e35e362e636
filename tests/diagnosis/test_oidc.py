"""Log-in with a hospital's OpenID Connect provider: which users and tokens the page accepts."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from oidc_browser import PAGE, Browser, assert_refused
from oidc_provider import CLIENT, LIES, SECRET, LocalProvider, new_key, served, unsigned

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web import oidc
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.sessions import COOKIE
from teledx_fed.diagnosis.web.settings import OidcSettings
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
HASH = hashed_password(PASSWORD)


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return new_key("one")


@pytest.fixture(scope="module")
def other_key() -> RSAKey:
    return new_key("one")


@pytest.fixture
def provider(key: RSAKey) -> Iterator[LocalProvider]:
    with served(LocalProvider(key)) as running:
        yield running


@pytest.fixture
def settings(provider: LocalProvider, tmp_path: Path) -> OidcSettings:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return OidcSettings(provider.issuer, CLIENT, str(tmp_path / "secret"), PAGE)


@pytest.fixture
def browser(clinic: Clinic, settings: OidcSettings) -> Browser:
    clinic.store.access.add_user("anna", Role.READER, None)
    return Browser(clinic, settings)


def test_a_user_of_the_provider_sees_the_worklist(browser: Browser) -> None:
    assert f'href="{PAGE}/login/oidc"' in browser.client.get("/login").text
    response = browser.log_in()
    assert (response.status_code, response.headers["refresh"]) == (200, "0; url=/")
    session = next(line for line in response.headers.get_list("set-cookie") if line.startswith(COOKIE)).lower()
    assert "httponly" in session
    assert "samesite=strict" in session
    page = browser.client.get("/").text
    assert "Waiting to be read" in page or "No study is waiting." in page
    assert "anna" in page


def test_the_cookie_of_a_log_in_attempt_is_short_lived_and_httponly(browser: Browser) -> None:
    cookie = browser.client.get("/login/oidc").headers["set-cookie"].lower()
    assert [
        part for part in ("httponly", "samesite=lax", "path=/login/oidc", "max-age=600") if part not in cookie
    ] == []


def test_without_a_provider_its_log_in_page_does_not_exist(clinic: Clinic) -> None:
    browser = Browser(clinic, None)
    assert "/login/oidc" not in browser.client.get("/login").text
    assert browser.client.get("/login/oidc").status_code == 404


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_is_not_for_this_log_in_is_refused(browser: Browser, provider: LocalProvider, lie: str) -> None:
    provider.claims |= LIES[lie]
    assert_refused(browser, browser.log_in(), 401, "The page refused the provider")


def test_a_token_that_the_provider_did_not_sign_is_refused(
    browser: Browser, provider: LocalProvider, other_key: RSAKey
) -> None:
    ours = OctKey.import_key(SECRET, {"kid": "ours"})
    provider.published = [ours.as_dict(private=True)]
    provider.told.clear()
    for sign in (
        unsigned,
        lambda claims: jwt.encode({"alg": "HS256", "kid": "ours"}, claims, ours),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, other_key),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "unheard of"}, claims, other_key),
        lambda _: "no token",
    ):
        provider.sign = sign
        assert_refused(browser, browser.log_in(), 401, "The page refused the provider")
    assert len(provider.told) == 15, "each was asked for, and given"


def test_a_provider_may_change_its_key(browser: Browser, provider: LocalProvider, key: RSAKey) -> None:
    browser.log_in()
    browser.client.cookies.clear()
    provider.key = new_key("two")
    assert browser.log_in().status_code == 200
    browser.client.cookies.clear()
    provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)
    assert_refused(browser, browser.log_in(), 401, "page refused the provider")


def test_a_log_in_that_began_in_another_browser_is_refused(
    browser: Browser, clinic: Clinic, settings: OidcSettings
) -> None:
    begun_elsewhere = Browser(clinic, settings).sent_back()
    assert_refused(browser, browser.client.get(begun_elsewhere), 401, "did not begin in this browser")
    browser.client.get("/login/oidc")
    assert_refused(browser, browser.client.get(begun_elsewhere), 401, "did not begin in this browser")
    assert_refused(browser, browser.client.get("/login/oidc/callback"), 401, "did not begin in this browser")


def test_a_callback_of_the_provider_is_valid_once(browser: Browser) -> None:
    back = browser.sent_back()
    remembered = {"teledx_fed_login": browser.client.cookies["teledx_fed_login"]}
    assert browser.client.get(back).status_code == 200
    browser.client.cookies.delete(COOKIE)
    assert_refused(browser, browser.client.get(back), 401, "did not begin in this browser")
    header = {"Cookie": "; ".join(f"{name}={value}" for name, value in remembered.items())}
    assert_refused(browser, browser.client.get(back, headers=header), 502, "sent no valid response")


@pytest.mark.slow
def test_only_an_enabled_user_without_a_password_logs_in_with_the_provider(
    browser: Browser, clinic: Clinic, provider: LocalProvider
) -> None:
    clinic.store.access.add_user("berta", Role.ADMIN, HASH)
    for name in ("nobody", "berta", "Anna", "", "anna\n"):
        provider.claims["preferred_username"] = name
        assert_refused(browser, browser.log_in(), 401, "No user who logs in with the provider is named")
    provider.claims["preferred_username"] = "anna"
    clinic.store.access.set_disabled("anna", True)
    assert_refused(browser, browser.log_in(), 401, "No user who logs in with the provider is named")
    assert {user.name for user in clinic.store.access.users()} == {"anna", "berta"}


def test_a_user_with_a_password_can_still_log_in(browser: Browser, clinic: Clinic) -> None:
    clinic.store.access.add_user("berta", Role.READER, HASH)
    for password in (PASSWORD, "nobody's"):
        response = browser.client.post("/login", data={"name": "anna", "password": password})
        assert_refused(browser, response, 401, "Name or password is wrong")
    assert browser.client.post("/login", data={"name": "berta", "password": PASSWORD}).status_code == 303
    assert browser.inside


def test_an_email_address_is_a_name_only_if_it_is_verified(
    clinic: Clinic, provider: LocalProvider, settings: OidcSettings
) -> None:
    clinic.store.access.add_user("anna@hospital.example", Role.READER, None)
    browser = Browser(clinic, replace(settings, claim="email"))
    provider.claims = {"email": "anna@hospital.example"}
    assert_refused(browser, browser.log_in(), 401, "page refused the provider")
    provider.claims["email_verified"] = True
    assert browser.log_in().status_code == 200


def test_the_secret_is_in_the_form_if_the_provider_supports_only_that(
    browser: Browser, provider: LocalProvider
) -> None:
    provider.discovered["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    assert browser.log_in().status_code == 200


def test_an_error_of_the_provider_is_shown(browser: Browser, provider: LocalProvider) -> None:
    provider.error = "access_denied"
    assert_refused(browser, browser.log_in(), 401, "The provider did not log you in.")


def test_an_unreachable_provider_is_reported_on_the_log_in_page(
    browser: Browser, clinic: Clinic, settings: OidcSettings
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = Browser(clinic, replace(settings, issuer=f"http://127.0.0.1:{taken.getsockname()[1]}"))
        assert_refused(away, away.client.get("/login/oidc"), 502, "sent no valid response")


@pytest.mark.parametrize(
    ("discovered", "status", "message"),
    [
        ({"jwks_uri": None}, 502, "sent no valid response. Try again in a minute"),
        ({"issuer": "http://localhost:1"}, 500, "The setting oidc.issuer must be"),
        (
            {"authorization_endpoint": "http://provider"},
            500,
            "authorization_endpoint must be an https:// address",
        ),
    ],
)
def test_an_invalid_discovery_document_is_refused_and_a_wrong_setting_is_named(
    browser: Browser,
    provider: LocalProvider,
    discovered: dict[str, object],
    status: int,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    back = browser.sent_back()
    provider.discovered = discovered
    for path in (back, "/login/oidc"):
        caplog.clear()
        response = browser.client.get(path)
        assert_refused(browser, response, status, message)
        assert ("Try again in a minute" in response.text) == (status == 502)
        assert ("settings" in caplog.text) == (status == 500)


def test_a_provider_that_hangs_is_given_up_after_the_timeout(
    browser: Browser, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "TIMEOUT_SECONDS", 0.1)
    honest = provider.discovery()
    monkeypatch.setattr(provider, "discovery", lambda: time.sleep(0.3) or honest)
    assert_refused(browser, browser.client.get("/login/oidc"), 502, "sent no valid response")


def test_few_log_ins_wait_for_the_provider_at_once(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    places = browser.client.app.state.provider._places  # type: ignore[attr-defined]
    for _ in range(oidc.AT_ONCE):
        assert places.acquire(blocking=False)
    assert_refused(browser, browser.client.get("/login/oidc"), 502, "Too many people log in at the same time")
    places.release()
    assert browser.client.get("/login/oidc").status_code == 303


def test_nothing_secret_is_logged(
    browser: Browser, provider: LocalProvider, caplog: pytest.LogCaptureFixture, other_key: RSAKey
) -> None:
    browser.log_in()
    provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, other_key)
    browser.log_in()
    provider.sign = lambda _: ["opens-nothing"]
    browser.log_in()
    assert "was refused" in caplog.text
    assert "sent no valid response" in caplog.text
    assert [secret for secret in (*provider.told, SECRET, "opens-nothing") if secret in caplog.text] == []
