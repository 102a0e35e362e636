"""A clinician's workflow in a browser: Debian's chromium and chromium-driver; axe-core from npm."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import oidc_provider
import pytest
from browser_steps import (
    CHOICES,
    PASSWORD,
    PATIENCE,
    barriers,
    blurred,
    choose,
    chromium,
    heading,
    log_in,
    press,
    press_every_key,
    upload,
)
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from serving import free_port, served

from teledx_fed.core.clinical import Action, Certainty
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings, OidcSettings
from teledx_fed.store.values import Role, StudyStatus

pytestmark = pytest.mark.slow


AXE = "axe-core@4.11.0"


@pytest.fixture
def address(clinic: Clinic) -> Iterator[str]:
    clinic.store.access.add_user("anna", Role.ADMIN, hashed_password(PASSWORD))
    with served(clinic, DiagnosisSettings(port=free_port())) as address:
        yield address


@pytest.fixture
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def without_scripts() -> Iterator[Chrome]:
    with chromium(**{"profile.managed_default_content_settings.javascript": 2}) as driver:
        yield driver


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("npm") is None:
        pytest.skip("npm, which axe-core comes by, is not installed")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True)
    if packed.returncode:
        pytest.skip(f"npm could not fetch {AXE}")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def test_from_log_in_to_a_signed_report(browser: Chrome, address: str, clinic: Clinic, tmp_path, photographs) -> None:
    log_in(browser, address)
    upload(browser, address, tmp_path, photographs)
    pictures = browser.find_elements(By.CSS_SELECTOR, ".stack img:not(.heat)")
    assert [picture.get_property("naturalWidth") > 0 for picture in pictures] == [True, True]
    right, left = (picture.rect["x"] for picture in pictures)
    assert right < left
    heat, slider = (browser.find_element(By.CSS_SELECTOR, selector) for selector in (".heat", "[data-opacity]"))
    assert not heat.is_displayed()
    browser.execute_script("arguments[0].value = 60; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert heat.is_displayed()
    assert heat.value_of_css_property("opacity") == "0.6"
    browser.find_element(By.CSS_SELECTOR, "[data-zoom]").send_keys("\n")
    assert browser.find_elements(By.CSS_SELECTOR, ".zoomed")
    browser.find_element(By.CSS_SELECTOR, "[data-zoom]").send_keys("\n")
    choose(browser, CHOICES)
    browser.find_element(By.NAME, "overrules").send_keys("new vessels at the disc")
    press(browser, "yes")
    assert heading(browser) == "Sign this reading?"
    press_every_key(browser)
    assert clinic.store.signed() == ()
    press(browser, "yes")
    WebDriverWait(browser, PATIENCE).until(lambda driver: "No study is waiting." in driver.page_source)
    (entry,) = clinic.store.signed()
    (stored,) = clinic.store.readings(entry.id)
    assert (entry.status, stored.reading.urgency, stored.reading.eyes[0].grade) == (
        StudyStatus.SIGNED,
        Action.URGENT,
        4,
    )
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


@pytest.mark.parametrize("suggestion", ["shown", "after_own_grade"])
def test_no_key_signs_an_ungradable_eye_and_nothing_is_chosen_for_the_reader(
    browser: Chrome, clinic: Clinic, photographs, suggestion: str
) -> None:
    clinic.store.access.add_user("anna", Role.READER, hashed_password(PASSWORD))
    study = clinic.receive(replace(photographs.submitted(), photographs=(blurred(photographs.right),))).study.id
    (eye,) = clinic.store.suggestions(study)[0].diagnosis.eyes
    assert eye.certainty is Certainty.UNGRADABLE
    assert eye.graded
    with served(clinic, DiagnosisSettings(port=free_port(), suggestion=suggestion)) as address:
        log_in(browser, address)
        browser.get(f"{address}/studies/{study}")
        assert {box.get_property("value") for box in browser.find_elements(By.CSS_SELECTOR, ".reading select")} == {""}
        assert browser.find_elements(By.CSS_SELECTOR, ".reading :checked:not(option)") == []
        press_every_key(browser)
        press(browser, "yes", answered=False)
        press(browser, "no", answered=False)
        assert (browser.current_url, clinic.store.readings(study)) == (f"{address}/studies/{study}", ())
        choose(browser, {"right_grade": "ungradable", "right_oedema": "unknown", "urgency": "retake"})
        if suggestion == "shown":
            browser.find_element(By.NAME, "overrules").send_keys("blurred")
        press(browser, "yes")
        assert "Not gradable" in browser.find_element(By.TAG_NAME, "table").text
        press(browser, "yes")
    (stored,) = clinic.store.readings(study)
    assert [(eye.gradable, eye.grade) for eye in stored.reading.eyes] == [(False, None)]


def test_a_study_is_signed_without_scripts(without_scripts: Chrome, clinic: Clinic, photographs) -> None:
    browser = without_scripts
    clinic.store.access.add_user("anna", Role.READER, hashed_password(PASSWORD))
    study = clinic.receive(photographs.submitted()).study.id
    with served(clinic, DiagnosisSettings(port=free_port())) as address:
        log_in(browser, address)
        browser.get(f"{address}/studies/{study}")
        choose(browser, CHOICES)
        press(browser, "yes")
        assert (
            "State why you do not follow the suggestion." in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
        )
        browser.find_element(By.NAME, "overrules").send_keys("new vessels at the disc")
        press(browser, "yes")
        press(browser, "change")
        press(browser, "yes")
        press(browser, "yes")
        assert "No study is waiting." in browser.page_source
    (stored,) = clinic.store.readings(study)
    assert (stored.signed is not None, [eye.grade for eye in stored.reading.eyes]) == (True, [4, None])


def test_after_the_providers_page_the_user_is_logged_in_at_once(
    browser: Chrome, clinic: Clinic, tmp_path: Path
) -> None:
    clinic.store.access.add_user("anna", Role.READER, None)
    port, secret = free_port(), tmp_path / "secret"
    secret.write_text(oidc_provider.SECRET)
    provider = oidc_provider.LocalProvider(oidc_provider.new_key("one"), asks=True)
    with oidc_provider.served(provider):
        oidc = OidcSettings(provider.issuer, oidc_provider.CLIENT, str(secret), f"http://127.0.0.1:{port}")
        with served(clinic, DiagnosisSettings(port=port, oidc=oidc)) as address:
            browser.get(address)
            browser.find_element(By.LINK_TEXT, "Log in with your hospital account").click()
            browser.find_element(By.LINK_TEXT, "It is me").click()
            WebDriverWait(browser, PATIENCE).until(lambda driver: driver.current_url == f"{address}/")
            assert "anna" in browser.find_element(By.TAG_NAME, "header").text


def test_axe_finds_no_accessibility_fault(browser: Chrome, address: str, tmp_path, photographs, axe: str) -> None:
    browser.get(f"{address}/login")
    assert barriers(browser, axe) == {}
    log_in(browser, address)
    assert barriers(browser, axe) == {}
    for path in ("upload", "administration", "password", "nowhere"):
        browser.get(f"{address}/{path}")
        assert barriers(browser, axe) == {}, path
    upload(browser, address, tmp_path, photographs)
    assert barriers(browser, axe) == {}
    choose(browser, CHOICES)
    browser.execute_script("document.querySelector('form.reading').noValidate = true")
    press(browser, "yes")
    assert "State why" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    assert barriers(browser, axe) == {}
    browser.find_element(By.NAME, "overrules").send_keys("new vessels at the disc")
    press(browser, "yes")
    assert (heading(browser), barriers(browser, axe)) == ("Sign this reading?", {})


def test_on_a_tablet_nothing_is_cut_off(browser: Chrome, address: str, tmp_path, photographs) -> None:
    log_in(browser, address)
    upload(browser, address, tmp_path, photographs)
    for page in (browser.current_url, f"{address}/administration"):
        browser.get(page)
        for width in (1024, 768, 500):
            browser.set_window_size(width, 1000)
            wider = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, (page, width)
