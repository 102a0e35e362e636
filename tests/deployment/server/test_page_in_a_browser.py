"""The coordinator's page in a real browser: Debian's chromium and chromium-driver."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import which
from threading import Thread

import pytest
from invented_federation import HOSTILE, NODES, NOW, directory_in, flower_run, night, report, run
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.server.overview import Overview, overview
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.deployment.server.web.page import server

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = which("chromium"), which("chromedriver")
TOKEN = "a-token-that-nobody-guesses"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,900",
)
PATIENCE = 90


class Page:
    """The page of a coordinator's folder, served on loopback."""

    def __init__(self, directory: ServerDirectory) -> None:
        self.directory = directory
        self._server = server(self.status, TOKEN, "127.0.0.1", 0)
        self._thread = Thread(target=self._server.run)

    def status(self) -> Overview:
        return overview(self.directory, NODES, [flower_run("night-3")], NOW)

    def start(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Page, str]]:
    page = Page(directory_in(tmp_path / "server"))
    yield page, page.start()
    page.stop()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    chrome = Chrome(options=options, service=Service(DRIVER))
    yield chrome
    chrome.quit()


def text(browser: Chrome) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def until(browser: Chrome, holds: Callable[[], bool]) -> None:
    WebDriverWait(browser, PATIENCE).until(lambda _: holds())


def test_a_night_of_training(served: tuple[Page, str], browser: Chrome) -> None:
    page, address = served
    run(page.directory, "night-3", night())
    browser.get(f"{address}/?token={TOKEN}")
    assert "night-3 is in round 13 of 20." in text(browser)
    assert browser.title == "night-3 · round 13/20"
    assert HOSTILE in text(browser)
    assert browser.execute_script("return document.querySelectorAll('main img, main script').length") == 0
    curves = "return [...document.querySelectorAll('svg path')].map(path => path.getTotalLength())"
    assert all(length > 300 for length in browser.execute_script(curves))
    until(browser, lambda: browser.current_url == f"{address}/")
    assert browser.execute_script("return document.cookie") == ""
    browser.get(address)
    assert "night-3" in text(browser)
    assert browser.get_log("browser") == []


def test_without_a_token_the_page_explains_where_to_find_it(served: tuple[Page, str], browser: Chrome) -> None:
    browser.get(served[1])
    assert "python -m server page" in text(browser)
    assert "night-3" not in text(browser)


def test_the_page_refreshes_itself_and_shows_when_it_cannot(served: tuple[Page, str], browser: Chrome) -> None:
    page, address = served
    browser.get(f"{address}/?token={TOKEN}")
    assert "No run yet." in text(browser)
    browser.execute_script("window.mark = 1")
    run(page.directory, "night-3", [report(1)])
    until(browser, lambda: "night-3 is in round 2 of 20." in text(browser))
    assert browser.execute_script("return window.mark") == 1
    assert "does not answer" not in text(browser)
    page.stop()
    until(browser, lambda: "does not answer" in text(browser))
    assert "night-3" in text(browser)


@pytest.mark.parametrize("reports", [None, night()], ids=["empty", "night"])
def test_a_phone_scrolls_the_page_only_vertically(
    served: tuple[Page, str], browser: Chrome, reports: Sequence[RoundReport] | None
) -> None:
    page, address = served
    if reports:
        run(page.directory, "night-3", reports)
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get(f"{address}/?token={TOKEN}")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 360


def test_the_page_is_dark_on_a_dark_screen(served: tuple[Page, str], browser: Chrome) -> None:
    def paper(scheme: str) -> int:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(f"{served[1]}/?token={TOKEN}")
        colour = str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        return int(colour.removeprefix("rgb(").split(",")[0])

    assert paper("light") > 200 > 50 > paper("dark")
