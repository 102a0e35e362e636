"""What a person does in a browser on the pages of the clinic."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import ascii_letters, digits

import numpy as np
import pytest
from PIL import Image, ImageFilter
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from teledx_fed.core.examples import Eye
from teledx_fed.data.photographs import png
from teledx_fed.diagnosis.intake import PhotographUpload

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


PASSWORD = "correct horse battery"


PATIENCE = 90


@contextmanager
def chromium(**preferences: object) -> Iterator[Chrome]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium or chromedriver is not installed")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, "--window-size=1100,900"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=Service(DRIVER)) as driver:
        yield driver


def log_in(browser: Chrome, address: str) -> None:
    browser.get(f"{address}/")
    browser.find_element(By.NAME, "name").send_keys("anna")
    browser.find_element(By.NAME, "password").send_keys(PASSWORD)
    browser.find_element(By.CSS_SELECTOR, "main button").click()
    WebDriverWait(browser, PATIENCE).until(lambda driver: "Waiting to be read" in driver.page_source)


def upload(browser: Chrome, address: str, folder: Path, photographs) -> None:
    files = {"a_OD.png": photographs.right, "a_OS.png": photographs.left}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    browser.get(f"{address}/upload")
    browser.find_element(By.NAME, "files").send_keys("\n".join(str(folder / name) for name in files))
    browser.find_element(By.CSS_SELECTOR, "main button").click()
    WebDriverWait(browser, PATIENCE).until(lambda driver: "/studies/" in driver.current_url)


CHOICES = {
    "right_grade": "4",
    "right_oedema": "yes",
    "left_grade": "ungradable",
    "left_oedema": "unknown",
    "urgency": "urgent",
}


def choose(browser: Chrome, choices: dict[str, str]) -> None:
    for name, value in choices.items():
        Select(browser.find_element(By.NAME, name)).select_by_value(value)


def press(browser: Chrome, sign: str, answered: bool = True) -> None:
    """Press a button of the reading; not `answered` if the browser stops the form because an answer is missing."""
    page = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(By.CSS_SELECTOR, f"button[name=sign][value={sign}]").click()
    if answered:
        WebDriverWait(browser, PATIENCE).until(staleness_of(page))


def press_every_key(browser: Chrome) -> None:
    """Press each letter and digit, while no field has the focus."""
    page = browser.find_element(By.TAG_NAME, "body")
    page.send_keys(ascii_letters + digits)
    assert page.is_displayed(), "the page is still the same one"


def heading(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "h1").text.partition("\n")[0]


def blurred(photograph: bytes) -> PhotographUpload:
    """Return a blurred photograph: the model grades it, and it has a quality fault."""
    with Image.open(io.BytesIO(photograph)) as image:
        return PhotographUpload(png(np.array(image.filter(ImageFilter.GaussianBlur(12)))), Eye.RIGHT)


def barriers(browser: Chrome, axe: str) -> dict[str, str]:
    browser.execute_script(axe)
    violations = browser.execute_async_script(
        "axe.run().then((found) => arguments[0](JSON.stringify(found.violations)))"
    )
    return {one["id"]: one["nodes"][0]["html"] for one in json.loads(violations)}
